#include "services/api/migrate.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/status/status.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/schema/roles.h"

namespace pga::api {

namespace {

absl::Status CheckUrls(const ApiConfig& config) {
  if (config.database_url.empty()) {
    return absl::InvalidArgumentError("DATABASE_URL is missing: postgresql:// URL of the metadata database");
  }
  if (config.metrics_url.empty()) {
    return absl::InvalidArgumentError("TIMESCALE_URL is missing: postgresql:// URL of the metrics database");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status MigrateUp(const ApiConfig& config, const std::function<void(const std::string&)>& print) {
  PGA_RETURN_IF_ERROR(CheckUrls(config));
  storage::MigrateOptions options;
  PGA_ASSIGN_OR_RETURN(options.layout, storage::ParseLayout(config.storage_layout));
  PGA_ASSIGN_OR_RETURN(const std::shared_ptr<const catalog::Catalog> catalog,
                       config.catalog_folder.empty() ? catalog::Catalog::Builtin()
                                                     : catalog::Catalog::WithCustom(config.catalog_folder));
  options.progress = print;
  print("metadata database:");
  PGA_RETURN_IF_ERROR(status::Annotate(
      storage::MigrateUp(config.database_url.Reveal(), storage::Database::kMetadata, options), "DATABASE_URL"));
  for (const auto& metric : catalog->metrics()) options.metrics.push_back(&metric);
  print("metrics database:");
  return status::Annotate(storage::MigrateUp(config.metrics_url.Reveal(), storage::Database::kMetrics, options),
                          "TIMESCALE_URL");
}

absl::Status MigrateStatus(const ApiConfig& config, const std::function<void(const std::string&)>& print) {
  PGA_RETURN_IF_ERROR(CheckUrls(config));
  int pending = 0;
  bool unfinished = false;
  for (const auto& [name, url, database] : {std::tuple{"metadata", &config.database_url, storage::Database::kMetadata},
                                            std::tuple{"metrics", &config.metrics_url, storage::Database::kMetrics}}) {
    PGA_ASSIGN_OR_RETURN(const storage::MigrationStatus state, storage::GetMigrationStatus(url->Reveal(), database));
    print(absl::StrCat(name, " database", state.layout.empty() ? "" : absl::StrCat(", layout ", state.layout), ":"));
    for (const storage::MigrationEntry& entry : state.migrations) {
      std::string line = absl::StrCat("  ", absl::Dec(entry.version, absl::kZeroPad4), " ", entry.name, ": ");
      if (entry.unknown) {
        absl::StrAppend(&line, "applied by a newer program");
      } else if (entry.changed) {
        absl::StrAppend(&line, "applied, but this program's file differs");
      } else if (entry.applied) {
        absl::StrAppend(&line, "applied ", absl::FormatTime(absl::RFC3339_sec, entry.applied_at, absl::UTCTimeZone()));
      } else {
        absl::StrAppend(&line, "pending");
      }
      print(line);
    }
    pending += state.pending;
    if (state.unfinished) print("  begun and not ended");
    unfinished = unfinished || state.unfinished;
  }
  if (unfinished) {
    return absl::FailedPreconditionError(
        "a migration was begun and has not ended; run again: pganalytics-api migrate up");
  }
  if (pending == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(pending, " migrations are pending; run: pganalytics-api migrate up"));
}

absl::Status PrintRoles(const ApiConfig& config, const std::string& only,
                        const std::function<void(const std::string&)>& print) {
  if (!only.empty() && only != "metadata" && only != "metrics") {
    return absl::InvalidArgumentError(absl::StrCat("migrate roles takes metadata or metrics, not ", only));
  }
  print(
      "-- Run once by an administrator of the database server, before `migrate up`:\n"
      "--   pganalytics-api migrate roles | psql -v ON_ERROR_STOP=1\n"
      "-- Then give each login its password with psql's \\password, which sends no clear text.");
  for (const auto& [name, variable, url, database] :
       {std::tuple{"metadata", "DATABASE_URL", &config.database_url, storage::Database::kMetadata},
        std::tuple{"metrics", "TIMESCALE_URL", &config.metrics_url, storage::Database::kMetrics}}) {
    if (!only.empty() && only != name) continue;
    if (url->empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(variable, " is missing: postgresql:// URL of the ", name, " database"));
    }
    const absl::StatusOr<std::string> sql = storage::AdministratorSql(url->Reveal(), database);
    if (!sql.ok()) return status::Annotate(sql.status(), variable);
    print(*sql);
  }
  return absl::OkStatus();
}

}  // namespace pga::api
