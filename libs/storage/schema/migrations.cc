#include "libs/storage/schema/migrations.h"

#include <openssl/sha.h>

#include <algorithm>
#include <map>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/clock/steady.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/errors.h"
#include "libs/status/status.h"
#include "libs/storage/schema/catalog_schema.h"
#include "libs/storage/schema/roles.h"

namespace pga::storage {
namespace {

using internal::EmbeddedMigration;

constexpr char kAdvisoryLock[] = "pganalytics migration";

struct Target {
  Database database;
  std::string schema;
  std::string name;  // for people
  const std::vector<EmbeddedMigration>& files;
};

Target TargetOf(Database database, const std::vector<EmbeddedMigration>* files) {
  if (database == Database::kMetadata) {
    return {database, "pganalytics", "metadata", files != nullptr ? *files : internal::metadata_migrations()};
  }
  return {database, "metrics", "metrics", files != nullptr ? *files : internal::metrics_migrations()};
}

std::string Checksum(const std::string& sql) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(sql.data()), sql.size(), digest);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), sizeof digest));
}

struct Applied {
  std::string name;
  std::string checksum;
  absl::Time at;
};

absl::StatusOr<std::map<int, Applied>> LoadApplied(pg::CopyConnection& connection, const Target& target,
                                                   clock::SteadyTime deadline) {
  std::map<int, Applied> applied;
  PGA_ASSIGN_OR_RETURN(pg::Result there, connection.Exec("SELECT to_regclass($1) IS NOT NULL",
                                                         {target.schema + ".schema_migration"}, deadline));
  if (!there[0].Bool(0)) return applied;
  PGA_ASSIGN_OR_RETURN(
      pg::Result rows,
      connection.Exec(absl::StrCat("SELECT version, name, checksum, (extract(epoch FROM applied_at) * 1e6)::int8 FROM ",
                                   target.schema, ".schema_migration ORDER BY version"),
                      deadline));
  for (const pg::Row row : rows) {
    applied[row.Int32(0)] = {std::string(row.Text(1)), std::string(row.Text(2)), absl::FromUnixMicros(row.Int64(3))};
  }
  return applied;
}

// One run of MigrateUp.
class Runner {
 public:
  Runner(Target target, const MigrateOptions& options)
      : target_(std::move(target)), options_(options), deadline_(clock::SteadyNow() + options.timeout) {}

  absl::Status Run(const std::string& url) {
    pg::CopyConnectionOptions connect;
    connect.url = url;
    connect.application_name = "pganalytics-migrate";
    connect.statement_timeout = options_.timeout;
    connect.lock_timeout = absl::Seconds(10);
    connect.idle_in_transaction_timeout = absl::ZeroDuration();
    connect.on_notice = [this](const std::string& notice) {
      // IF NOT EXISTS is no news, nor that views over tables of the coordinator stay there.
      if (absl::EndsWith(notice, ", skipping") || absl::EndsWith(notice, "that is not in Citus' metadata")) return;
      Say("notice: " + notice);
    };
    PGA_ASSIGN_OR_RETURN(connection_, pg::CopyConnection::Connect(connect, deadline_));
    PGA_RETURN_IF_ERROR(Lock());
    PGA_RETURN_IF_ERROR(Bootstrap());
    PGA_ASSIGN_OR_RETURN(const auto applied, LoadApplied(*connection_, target_, deadline_));
    PGA_RETURN_IF_ERROR(Check(applied));
    if (target_.schema == "metrics") {
      PGA_RETURN_IF_ERROR(
          Exec("INSERT INTO metrics.setting (name, value) VALUES ('migration', 'begun') "
               "ON CONFLICT (name) DO NOTHING"));
    }
    PGA_RETURN_IF_ERROR(Exec(RolesSql(target_.database)));
    if (target_.database == Database::kMetrics) PGA_RETURN_IF_ERROR(Exec(TakeFromPublicSql()));
    int count = 0;
    for (const EmbeddedMigration& file : target_.files) {
      if (applied.contains(file.version)) continue;
      PGA_RETURN_IF_ERROR(Apply(file));
      ++count;
    }
    if (target_.schema == "metrics" && !target_.files.empty()) {
      PGA_RETURN_IF_ERROR(Exec("SET search_path = pg_catalog"));
      if (!options_.metrics.empty()) {
        PGA_RETURN_IF_ERROR(ApplyCatalog(*connection_, options_.metrics, options_.progress, deadline_));
      }
      PGA_RETURN_IF_ERROR(
          Exec("DO $$ BEGIN IF to_regproc('metrics.apply_readable') IS NOT NULL THEN PERFORM metrics.apply_readable(); "
               "END IF; IF to_regproc('metrics.apply_grants') IS NOT NULL THEN PERFORM metrics.apply_grants(); END IF; "
               "DELETE FROM metrics.setting WHERE name = 'migration'; END $$"));
    }
    // The server may end the session some time after the connection is closed.
    PGA_RETURN_IF_ERROR(
        connection_->Exec("SELECT pg_advisory_unlock(hashtext($1)::int8)", {kAdvisoryLock}, deadline_).status());
    const int newest = target_.files.empty() ? 0 : target_.files.back().version;
    if (count == 0) {
      Say(absl::StrCat(target_.name, ": nothing to do, at version ", newest));
    } else {
      Say(absl::StrCat(target_.name, ": ", count, " migration", count == 1 ? "" : "s", " applied, now at version ",
                       newest));
    }
    return absl::OkStatus();
  }

 private:
  void Say(const std::string& line) const {
    if (options_.progress) options_.progress(line);
  }

  absl::Status Exec(const std::string& sql) { return connection_->Exec(sql, deadline_).status(); }

  // Session lock, released with the connection. Polled, because a wait inside the server would end by lock_timeout.
  absl::Status Lock() {
    bool said = false;
    while (true) {
      PGA_ASSIGN_OR_RETURN(pg::Result locked, connection_->Exec("SELECT pg_try_advisory_lock(hashtext($1)::int8)",
                                                                {kAdvisoryLock}, deadline_));
      if (locked[0].Bool(0)) return absl::OkStatus();
      if (!said) Say(absl::StrCat(target_.name, ": another migration is running, waiting for it"));
      said = true;
      if (clock::SteadyNow() + absl::Milliseconds(200) > deadline_) {
        return absl::DeadlineExceededError("another migration did not end in time");
      }
      clock::SleepFor(absl::Milliseconds(200));
    }
  }

  absl::Status Bootstrap() {
    PGA_ASSIGN_OR_RETURN(pg::Result there, connection_->Exec("SELECT to_regclass($1) IS NOT NULL",
                                                             {target_.schema + ".schema_migration"}, deadline_));
    if (!there[0].Bool(0)) {
      const auto created = Exec(absl::StrCat("BEGIN; CREATE SCHEMA IF NOT EXISTS ", target_.schema,
                                             "; CREATE TABLE IF NOT EXISTS ", target_.schema,
                                             ".schema_migration (version int4 PRIMARY KEY, name text NOT NULL, "
                                             "checksum text NOT NULL, applied_at timestamptz "
                                             "NOT NULL DEFAULT now(), program text NOT NULL); COMMIT"));
      if (!created.ok()) {
        return status::Annotate(created, absl::StrCat("the login needs the right to create schema ", target_.schema));
      }
    }
    if (target_.schema == "metrics") return ChooseLayout();
    return absl::OkStatus();
  }

  absl::Status ChooseLayout() {
    PGA_RETURN_IF_ERROR(
        Exec("CREATE TABLE IF NOT EXISTS metrics.setting (name text PRIMARY KEY, value text NOT NULL)"));
    PGA_ASSIGN_OR_RETURN(pg::Result recorded,
                         connection_->Exec("SELECT value FROM metrics.setting WHERE name = 'layout'", deadline_));
    if (!recorded.empty()) {
      const std::string value(recorded[0].Text(0));
      if (options_.layout != Layout::kAuto && LayoutName(options_.layout) != value) {
        return absl::FailedPreconditionError(
            absl::StrCat("this database was made with layout ", value, " and cannot be switched to ",
                         std::string(LayoutName(options_.layout)), "; use layout ", value, " or auto"));
      }
      return absl::OkStatus();
    }
    PGA_ASSIGN_OR_RETURN(const Layout layout, FitLayout());
    PGA_RETURN_IF_ERROR(connection_
                            ->Exec("INSERT INTO metrics.setting (name, value) VALUES ('layout', $1)",
                                   {std::string(LayoutName(layout))}, deadline_)
                            .status());
    Say(absl::StrCat("metrics: layout ", std::string(LayoutName(layout))));
    return absl::OkStatus();
  }

  // The layout asked for, if the server has what it needs.
  absl::StatusOr<Layout> FitLayout() {
    if (options_.layout == Layout::kNative) return Layout::kNative;
    if (options_.layout == Layout::kCitus) {
      PGA_ASSIGN_OR_RETURN(const std::string missing, LackOfCitus());
      if (missing.empty()) return Layout::kCitus;
      return absl::FailedPreconditionError("layout citus cannot be used: " + missing);
    }
    PGA_ASSIGN_OR_RETURN(const std::string missing, PrepareTimescale());
    if (missing.empty()) return Layout::kTimescaledb;
    if (options_.layout == Layout::kTimescaledb) {
      return absl::FailedPreconditionError("layout timescaledb cannot be used: " + missing);
    }
    Say("metrics: layout native, because " + missing);
    return Layout::kNative;
  }

  // Makes the extension where it is not. Empty when it is there; else why not. Either licence will do: nothing but
  // hypertables and drop_chunks is used.
  absl::StatusOr<std::string> PrepareTimescale() {
    // The loader's settings exist only when it is preloaded; the licence's only when the extension itself is in this
    // session, as in a database that has it already.
    PGA_ASSIGN_OR_RETURN(
        pg::Result state,
        connection_->Exec("SELECT current_setting('timescaledb.max_background_workers', true) IS NOT NULL "
                          "OR current_setting('timescaledb.license', true) IS NOT NULL, "
                          "EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')",
                          deadline_));
    if (!state[0].Bool(0)) return std::string("the server has not preloaded TimescaleDB");
    if (!state[0].Bool(1)) {
      const absl::Status created = Exec("CREATE EXTENSION timescaledb");
      if (!created.ok()) {
        return absl::StrCat("CREATE EXTENSION timescaledb failed: ", std::string(created.message()));
      }
    }
    return std::string();
  }

  // Empty when this is the coordinator of a cluster that can take the tables; else what it lacks. Nothing is made here:
  // the extension must be in the database of the same name on every node, which is an administrator's work.
  absl::StatusOr<std::string> LackOfCitus() {
    PGA_ASSIGN_OR_RETURN(
        pg::Result state,
        connection_->Exec("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')", deadline_));
    if (!state[0].Bool(0)) {
      return std::string(
          "this database has no extension citus; on every node preload it and run CREATE EXTENSION citus in the "
          "metrics "
          "database, then run citus_add_node for each worker on the coordinator");
    }
    PGA_ASSIGN_OR_RETURN(
        pg::Result nodes,
        connection_->Exec(
            "SELECT (SELECT groupid FROM pg_catalog.pg_dist_local_group LIMIT 1) = 0, (SELECT count(*) FROM "
            "pg_catalog.pg_dist_node WHERE isactive AND shouldhaveshards AND noderole = 'primary')",
            deadline_));
    if (!nodes[0].Bool(0)) return std::string("this server is a worker; give the URL of the coordinator");
    if (nodes[0].Int64(1) == 0) {
      return std::string("the coordinator knows no active worker; run citus_add_node for each on the coordinator");
    }
    // Every transaction that stores frames is prepared on the workers.
    PGA_ASSIGN_OR_RETURN(
        pg::Result prepares,
        connection_->Exec("SELECT string_agg(nodename || ':' || nodeport, ', ' ORDER BY nodename, nodeport) FROM "
                          "pg_catalog.run_command_on_workers('SELECT current_setting(''max_prepared_transactions'')') "
                          "WHERE NOT success OR result = '0'",
                          deadline_));
    if (!prepares[0].IsNull(0)) {
      return absl::StrCat("these workers do not answer or have max_prepared_transactions = 0: ",
                          std::string(prepares[0].Text(0)));
    }
    return std::string();
  }

  absl::Status Check(const std::map<int, Applied>& applied) const {
    std::map<int, const EmbeddedMigration*> known;
    for (const EmbeddedMigration& file : target_.files) known[file.version] = &file;
    for (const auto& [version, entry] : applied) {
      const auto file = known.find(version);
      if (file == known.end()) {
        return absl::FailedPreconditionError(absl::StrCat("the ", target_.name, " database has migration ", entry.name,
                                                          ", which this program does not know: the database is newer; "
                                                          "use the newer program"));
      }
      if (Checksum(file->second->sql) != entry.checksum) {
        return absl::FailedPreconditionError(
            absl::StrCat("migration ", file->second->name,
                         ".sql was changed after it had been applied; applied files are "
                         "never edited, add a new one"));
      }
    }
    if (!applied.empty()) {
      for (const EmbeddedMigration& file : target_.files) {
        if (!applied.contains(file.version) && file.version < applied.rbegin()->first) {
          return absl::FailedPreconditionError(
              absl::StrCat("migration ", file.name, ".sql is older than the newest applied one and was never applied"));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status Apply(const EmbeddedMigration& file) {
    const clock::SteadyTime start = clock::SteadyNow();
    const absl::Status applied = [&]() -> absl::Status {
      PGA_RETURN_IF_ERROR(Exec("BEGIN; SET LOCAL search_path = public"));
      PGA_RETURN_IF_ERROR(Exec(file.sql));
      PGA_RETURN_IF_ERROR(
          connection_
              ->Exec(absl::StrCat("INSERT INTO ", target_.schema,
                                  ".schema_migration (version, name, checksum, program) VALUES ($1, $2, $3, $4)"),
                     {file.version, file.name, Checksum(file.sql), PGA_VERSION}, deadline_)
              .status());
      return connection_->Commit(deadline_);
    }();
    if (!applied.ok()) {
      if (connection_->ok()) Exec("ROLLBACK").IgnoreError();
      return status::Annotate(applied, absl::StrCat("migration ", file.name, ".sql"));
    }
    Say(absl::StrCat(target_.name, ": applied ", file.name, " in ",
                     absl::ToInt64Milliseconds(clock::SteadyNow() - start), " ms"));
    return absl::OkStatus();
  }

  const Target target_;
  const MigrateOptions& options_;
  const clock::SteadyTime deadline_;
  std::unique_ptr<pg::CopyConnection> connection_;
};

absl::StatusOr<std::unique_ptr<pg::CopyConnection>> Open(const std::string& url, clock::SteadyTime deadline) {
  pg::CopyConnectionOptions options;
  options.url = url;
  options.application_name = "pganalytics-migrate";
  return pg::CopyConnection::Connect(options, deadline);
}

}  // namespace

absl::StatusOr<Layout> ParseLayout(std::string_view text) {
  if (text == "auto" || text.empty()) return Layout::kAuto;
  if (text == "native") return Layout::kNative;
  if (text == "timescaledb") return Layout::kTimescaledb;
  if (text == "citus") return Layout::kCitus;
  return absl::InvalidArgumentError(
      absl::StrCat("layout is ", std::string(text.substr(0, 40)), "; write auto, native, timescaledb or citus"));
}

std::string_view LayoutName(Layout layout) {
  switch (layout) {
    case Layout::kAuto:
      return "auto";
    case Layout::kNative:
      return "native";
    case Layout::kTimescaledb:
      return "timescaledb";
    case Layout::kCitus:
      return "citus";
  }
  return "";
}

absl::Status MigrateUp(const std::string& url, Database database, const MigrateOptions& options) {
  return Runner(TargetOf(database, options.files), options).Run(url);
}

absl::StatusOr<MigrationStatus> GetMigrationStatus(const std::string& url, Database database,
                                                   const std::vector<EmbeddedMigration>* files) {
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(30);
  const Target target = TargetOf(database, files);
  PGA_ASSIGN_OR_RETURN(const auto connection, Open(url, deadline));
  PGA_ASSIGN_OR_RETURN(auto applied, LoadApplied(*connection, target, deadline));
  MigrationStatus status;
  for (const EmbeddedMigration& file : target.files) {
    MigrationEntry entry;
    entry.version = file.version;
    entry.name = file.name;
    if (const auto found = applied.find(file.version); found != applied.end()) {
      entry.applied = true;
      entry.applied_at = found->second.at;
      entry.changed = found->second.checksum != Checksum(file.sql);
      applied.erase(found);
    } else {
      ++status.pending;
    }
    status.migrations.push_back(std::move(entry));
  }
  for (const auto& [version, left] : applied) {
    MigrationEntry entry;
    entry.version = version;
    entry.name = left.name;
    entry.applied = true;
    entry.unknown = true;
    entry.applied_at = left.at;
    status.migrations.push_back(std::move(entry));
    status.newer = true;
  }
  if (database == Database::kMetrics) {
    const auto layout = RecordedLayout(*connection);
    if (layout.ok()) {
      status.layout = std::string(LayoutName(*layout));
      PGA_ASSIGN_OR_RETURN(const pg::Result begun,
                           connection->Exec("SELECT 1 FROM metrics.setting WHERE name = 'migration'", deadline));
      status.unfinished = !begun.empty();
    }
  }
  return status;
}

namespace {

// Whether the tables are in the server's database postgres in place of that of the URL; false if nobody can say.
bool InDatabasePostgres(const std::string& url, Database database) {
  const auto other = pg::WithDatabase(url, "postgres");
  if (!other.ok() || *other == url) return false;
  const auto found = GetMigrationStatus(*other, database);
  return found.ok() && found->pending < static_cast<int>(found->migrations.size());
}

}  // namespace

absl::Status CheckMigrated(const std::string& url, Database database) {
  PGA_ASSIGN_OR_RETURN(const MigrationStatus status, GetMigrationStatus(url, database));
  const std::string name = database == Database::kMetadata ? "metadata" : "metrics";
  if (status.pending == static_cast<int>(status.migrations.size()) && InDatabasePostgres(url, database)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the ", name,
        " database has no tables, but database postgres of the same server has them: a dump was restored "
        "there; restore it with psql -d or pg_restore -d into the right one, then drop the schema in postgres"));
  }
  const Database other = database == Database::kMetadata ? Database::kMetrics : Database::kMetadata;
  if (status.pending == static_cast<int>(status.migrations.size())) {
    const auto found = GetMigrationStatus(url, other);
    if (found.ok() && found->pending < static_cast<int>(found->migrations.size())) {
      return absl::FailedPreconditionError(
          absl::StrCat("this database has the tables of the ", database == Database::kMetadata ? "metrics" : "metadata",
                       " database and none of the ", name, " database; name another one, or run: pgactl migrate up"));
    }
  }
  if (status.unfinished) {
    return absl::FailedPreconditionError(absl::StrCat(
        "a migration of the ", name, " database was begun and has not ended; run again: pgactl migrate up"));
  }
  if (status.pending > 0) {
    return absl::FailedPreconditionError(absl::StrCat("the ", name, " database lacks ", status.pending, " of ",
                                                      status.migrations.size(), " migrations; run: pgactl migrate up"));
  }
  return absl::OkStatus();
}

absl::Status CheckDurability(const std::string& url, bool allow_unsafe) {
  if (allow_unsafe) return absl::OkStatus();
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(10);
  PGA_ASSIGN_OR_RETURN(const auto connection, Open(url, deadline));
  PGA_ASSIGN_OR_RETURN(
      pg::Result settings,
      connection->Exec(
          "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND "
          "setting = 'off' ORDER BY name",
          deadline));
  if (settings.empty()) return absl::OkStatus();
  std::vector<std::string> off;
  for (const pg::Row row : settings) off.emplace_back(row.Text(0));
  return absl::FailedPreconditionError(
      absl::StrCat("the metrics server runs with ", absl::StrJoin(off, ", "),
                   " = off: acknowledged data can be lost or damaged by a crash; turn it on in postgresql.conf"));
}

absl::StatusOr<Layout> RecordedLayout(pg::CopyConnection& connection) {
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(10);
  auto value = connection.Exec("SELECT value FROM metrics.setting WHERE name = 'layout'", deadline);
  if (!value.ok() && value.status().code() != absl::StatusCode::kNotFound) return value.status();
  if (!value.ok() || value->empty()) {
    return absl::FailedPreconditionError("the metrics database has not been migrated yet; run: pgactl migrate up");
  }
  return ParseLayout((*value)[0].Text(0));
}

}  // namespace pga::storage
