// What both databases say: reached, let in, version, rights, migrations, connections, durability, TLS, clock, disk.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/copy_connection.h"
#include "libs/pg/errors.h"
#include "libs/storage/schema/migrations.h"
#include "services/api/preflight.h"

namespace pga::api {
namespace {

std::string Text(const pg::Row& row, size_t column) {
  return std::string(row.Text(column));
}

constexpr absl::Duration kLimit = absl::Seconds(10);
constexpr int kOldestServer = 130000;
// Beyond this, times of data and lives of tokens are wrong in a way that people see.
constexpr absl::Duration kSkewWarns = absl::Seconds(2);
constexpr absl::Duration kSkewFails = absl::Seconds(60);
// A fresh deployment has this much free.
constexpr int64_t kLeastDisk = 30'000'000'000;
constexpr int64_t kSourcesUnlessSet = 50;
constexpr int64_t kDaysUnlessSet = 30;

struct Target {
  const char* name;      // "metadata"
  const char* variable;  // "DATABASE_URL"
  const log::Secret* url;
  storage::Database database;
  std::vector<std::string> roles;
  // Connections that the suite opens at most.
  int connections;
};

std::string ConnectRemedy(const Target& target, const absl::Status& status) {
  const std::string state(pg::SqlStateOf(status));
  if (state == "28P01")
    return absl::StrCat("the password in ", target.variable, " is not that of the login, or is missing");
  if (state == "28000") {
    return absl::StrCat("the login of ", target.variable,
                        " does not exist, or pg_hba.conf has no line for it, this host and its TLS");
  }
  if (state == "3D000") {
    return absl::StrCat("make the database: pganalytics-api migrate roles ", target.name,
                        " | psql as an administrator");
  }
  if (state == "53300") return "the server has no connection left: raise max_connections, or end what holds them";
  if (state == "57P03") return "the server starts, stops or recovers; try again";
  if (absl::IsInvalidArgument(status))
    return absl::StrCat("correct ", target.variable, ": postgresql://LOGIN:PASSWORD@HOST/DATABASE");
  return absl::StrCat("check host, port, sslmode and its CA in ", target.variable,
                      ", that PostgreSQL listens there (listen_addresses), and the firewall");
}

std::string Gigabytes(int64_t bytes) {
  return absl::StrFormat("%.1f GB", static_cast<double>(bytes) / 1e9);
}

// Runs one statement and reports when it cannot be run; nothing then.
std::optional<pg::Result> Ask(pg::CopyConnection& connection, const std::string& sql, const std::string& name,
                              PreflightReport* report) {
  absl::StatusOr<pg::Result> answer = connection.Exec(sql, clock::SteadyNow() + kLimit);
  if (answer.ok() && !answer->empty()) return *std::move(answer);
  report->Add(name, CheckState::kSkip, answer.ok() ? "no answer" : std::string(answer.status().message()));
  return std::nullopt;
}

void CheckRights(pg::CopyConnection& connection, const Target& target, PreflightReport* report) {
  const std::string name = absl::StrCat(target.name, ".rights");
  const auto answer =
      Ask(connection,
          "SELECT has_database_privilege(current_database(), 'CREATE'), current_user, current_database(), "
          "pg_has_role(d.datdba, 'USAGE') FROM pg_database d WHERE datname = current_database()",
          name, report);
  if (!answer) return;
  const pg::Row row = (*answer)[0];
  const std::string who = absl::StrCat(Text(row, 1), " in ", Text(row, 2));
  if (!row.Bool(0)) {
    report->Add(name, CheckState::kFail, absl::StrCat(who, " may not create schemas"),
                absl::StrCat("as an administrator: ALTER DATABASE ", Text(row, 2), " OWNER TO ", Text(row, 1),
                             "; (or run what `pganalytics-api migrate roles` prints)"));
    return;
  }
  std::vector<std::string> missing;
  for (const std::string& role : target.roles) {
    const auto member = connection.Exec("SELECT pg_has_role(r.oid, 'MEMBER') FROM pg_roles r WHERE rolname = $1",
                                        {role}, clock::SteadyNow() + kLimit);
    if (!member.ok() || member->empty() || !(*member)[0].Bool(0)) missing.push_back(role);
  }
  if (!missing.empty()) {
    report->Add(
        name, CheckState::kWarn,
        absl::StrCat(who, " is in no role ", absl::StrJoin(missing, ", "),
                     ": services work with the login's own rights"),
        absl::StrCat("as an administrator: pganalytics-api migrate roles ", target.name, " | psql -v ON_ERROR_STOP=1"));
    return;
  }
  report->Add(name, CheckState::kOk, absl::StrCat(who, row.Bool(3) ? ", its owner" : ""));
}

void CheckMigrations(const Target& target, PreflightReport* report) {
  const std::string name = absl::StrCat(target.name, ".migrations");
  const auto state = storage::GetMigrationStatus(target.url->Reveal(), target.database);
  if (!state.ok()) {
    report->Add(name, CheckState::kFail, std::string(state.status().message()),
                "make the login of the URL the database's owner, or restore the database from a backup");
  } else if (state->newer) {
    report->Add(name, CheckState::kWarn, "the database is newer than this program",
                "install the version that migrated it");
  } else if (state->unfinished) {
    report->Add(name, CheckState::kFail, "a migration was begun and has not ended", "pganalytics-api migrate up");
  } else if (state->pending > 0) {
    report->Add(name, CheckState::kWarn, absl::StrCat(state->pending, " are pending"),
                "after a backup: pganalytics-api migrate up");
  } else {
    report->Add(name, CheckState::kOk, absl::StrCat(state->migrations.size(), " applied"));
  }
}

void CheckConnections(pg::CopyConnection& connection, const Target& target, PreflightReport* report) {
  const std::string name = absl::StrCat(target.name, ".connections");
  const auto answer =
      Ask(connection,
          "SELECT current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8, "
          "(SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND pid <> pg_backend_pid()), "
          "(SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user)",
          name, report);
  if (!answer) return;
  const pg::Row row = (*answer)[0];
  const int64_t left = row.Int64(0) - row.Int64(1);
  if (row.Int64(2) >= 0 && row.Int64(2) < target.connections) {
    report->Add(name, CheckState::kFail,
                absl::StrCat("the login may open ", row.Int64(2), ", the suite opens ", target.connections),
                absl::StrCat("ALTER ROLE … CONNECTION LIMIT ", 2 * target.connections));
  } else if (left < target.connections) {
    report->Add(name, CheckState::kFail, absl::StrCat(left, " are free, the suite opens ", target.connections),
                absl::StrCat("raise max_connections by ", target.connections - left + 10,
                             " or more and start the server again"));
  } else {
    report->Add(name, CheckState::kOk, absl::StrCat(left, " are free, the suite opens ", target.connections));
  }
}

bool Local(std::string_view address) {
  return address.empty() || address == "::1" || address.starts_with("127.") || address.starts_with("/");
}

void CheckTransport(pg::CopyConnection& connection, const Target& target, PreflightReport* report) {
  const std::string name = absl::StrCat(target.name, ".tls");
  const auto answer = Ask(connection,
                          "SELECT coalesce(host(inet_server_addr()), ''), coalesce(host(inet_client_addr()), ''), ssl, "
                          "coalesce(version, '') "
                          "FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                          name, report);
  if (!answer) return;
  const pg::Row row = (*answer)[0];
  if (row.Bool(2)) {
    const std::string mode = *pg::ConninfoValue(target.url->Reveal(), "sslmode");
    const bool verified = mode.starts_with("verify");
    if (!verified && !Local(Text(row, 1))) {
      report->Add(name, CheckState::kWarn, absl::StrCat(Text(row, 3), ", but the server's certificate is not checked"),
                  absl::StrCat("sslmode=verify-full and sslrootcert in ", target.variable));
      return;
    }
    report->Add(name, CheckState::kOk, Text(row, 3));
  } else if (Local(Text(row, 0)) && Local(Text(row, 1))) {
    report->Add(name, CheckState::kOk, "not encrypted, on this host");
  } else {
    report->Add(name, CheckState::kWarn, absl::StrCat("not encrypted, from ", Text(row, 1), " to ", Text(row, 0)),
                absl::StrCat("turn ssl on at the server, and sslmode=verify-full in ", target.variable));
  }
}

void CheckClock(pg::CopyConnection& connection, const Target& target, PreflightReport* report) {
  const std::string name = absl::StrCat(target.name, ".clock");
  const absl::Time before = clock::WallNow();
  const clock::SteadyTime begun = clock::SteadyNow();
  const auto answer = Ask(connection, "SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::int8", name, report);
  if (!answer) return;
  const absl::Duration trip = clock::SteadyNow() - begun;
  const absl::Time there = absl::FromUnixMicros((*answer)[0].Int64(0));
  // Between the two ends of the call both clocks agree; outside of it they are apart by at least that.
  absl::Duration skew = absl::ZeroDuration();
  if (there < before) skew = there - before;
  if (there > before + trip) skew = there - (before + trip);
  const std::string detail = absl::StrCat("the server's clock is ", absl::FormatDuration(absl::AbsDuration(skew)),
                                          skew < absl::ZeroDuration() ? " behind" : " ahead");
  if (absl::AbsDuration(skew) < kSkewWarns) {
    report->Add(name, CheckState::kOk, skew == absl::ZeroDuration() ? "the same time" : detail);
    return;
  }
  report->Add(name, absl::AbsDuration(skew) < kSkewFails ? CheckState::kWarn : CheckState::kFail, detail,
              "set both hosts by NTP (timedatectl set-ntp true)");
}

void CheckDurability(pg::CopyConnection& connection, const Target& target, PreflightReport* report) {
  const std::string name = absl::StrCat(target.name, ".durability");
  const auto answer = Ask(connection,
                          "SELECT coalesce(string_agg(name, ', ' ORDER BY name), '') FROM pg_settings "
                          "WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'",
                          name, report);
  if (!answer) return;
  const std::string off = Text((*answer)[0], 0);
  if (off.empty()) {
    report->Add(name, CheckState::kOk, "a commit survives a crash");
    return;
  }
  report->Add(name, CheckState::kFail, absl::StrCat(off, " = off: what was acknowledged can be lost by a crash"),
              "turn it on in postgresql.conf and reload");
}

// A folder of the file system that a server on this host writes to; empty when that cannot be known. The login may not
// ask for data_directory unless it is in pg_read_all_settings; then the backend's own folder says it, where this user
// may see that, and the folder that Debian makes otherwise.
std::filesystem::path DataFolder(pg::CopyConnection& connection) {
  const auto setting = connection.Exec("SELECT current_setting('data_directory')", clock::SteadyNow() + kLimit);
  std::error_code error;
  std::filesystem::path folder;
  if (setting.ok() && !setting->empty()) {
    folder = Text((*setting)[0], 0);
  } else {
    folder = std::filesystem::read_symlink(absl::StrCat("/proc/", connection.backend_pid(), "/cwd"), error);
    if (error) folder = "/var/lib/postgresql";
  }
  // A folder that is closed to this user lies on the same file system as what holds it, mostly.
  while (!folder.empty() && !std::filesystem::exists(folder, error) && folder.has_relative_path())
    folder = folder.parent_path();
  return folder;
}

// Free space can be seen on this host alone.
void CheckDisk(pg::CopyConnection& connection, const ApiConfig& config, const Target& target, PreflightReport* report) {
  const std::string name = absl::StrCat(target.name, ".disk");
  const int64_t sources =
      config.registry.max_concurrent_collectors > 0 ? config.registry.max_concurrent_collectors : kSourcesUnlessSet;
  int64_t days = kDaysUnlessSet;
  // That of most metrics; before the first migration the default.
  const auto kept = connection.Exec(
      "SELECT coalesce(mode() WITHIN GROUP (ORDER BY raw_days_most), 0)::int8 FROM metrics.catalog_metric",
      clock::SteadyNow() + kLimit);
  if (kept.ok() && !kept->empty() && (*kept)[0].Int64(0) > 0) days = (*kept)[0].Int64(0);
  const int64_t wanted = std::max(kLeastDisk, MetricsBytes(sources, days));
  const std::string need = absl::StrCat(Gigabytes(wanted), " at most for ", sources, " servers over ", days, " days");
  const auto size = connection.Exec("SELECT pg_database_size(current_database())", clock::SteadyNow() + kLimit);
  const int64_t taken = size.ok() && !size->empty() ? (*size)[0].Int64(0) : 0;
  const auto where = connection.Exec("SELECT coalesce(host(inet_server_addr()), '')", clock::SteadyNow() + kLimit);
  if (where.ok() && !where->empty() && Local((*where)[0].Text(0))) {
    const std::filesystem::path folder = DataFolder(connection);
    std::error_code error;
    const std::filesystem::space_info space = std::filesystem::space(folder, error);
    if (!folder.empty() && !error) {
      const auto available = static_cast<int64_t>(space.available);
      const bool enough = available + taken >= wanted;
      report->Add(name, enough ? CheckState::kOk : CheckState::kWarn,
                  absl::StrCat(Gigabytes(available), " free at ", folder.string(), ", ", Gigabytes(taken),
                               " taken; needs ", need),
                  enough ? "" : "give the volume more room, or keep readings for fewer days (docs/sizing.md)");
      return;
    }
  }
  report->Add(name, CheckState::kSkip, absl::StrCat("free space is not seen from here; needs ", need));
}

void CheckDatabase(const ApiConfig& config, const Target& target, PreflightReport* report) {
  const std::string connect = absl::StrCat(target.name, ".connect");
  if (target.url->empty()) {
    report->Add(connect, CheckState::kFail, absl::StrCat(target.variable, " is not set"),
                absl::StrCat("set ", target.variable, " to postgresql://LOGIN:PASSWORD@HOST/DATABASE"));
    return;
  }
  auto connection = pg::CopyConnection::Connect(
      {.url = std::string(target.url->Reveal()), .application_name = "pganalytics preflight"},
      clock::SteadyNow() + kLimit);
  if (!connection.ok()) {
    report->Add(connect, CheckState::kFail, std::string(connection.status().message()),
                ConnectRemedy(target, connection.status()));
    return;
  }
  report->Add(connect, CheckState::kOk, absl::StrCat("reached, process ", (*connection)->backend_pid()));
  const int version = (*connection)->server_version_num();
  const std::string shown = absl::StrCat("PostgreSQL ", version / 10000, ".", version % 10000);
  if (version < kOldestServer) {
    report->Add(absl::StrCat(target.name, ".version"), CheckState::kFail, shown, "use PostgreSQL 13 or newer");
  } else {
    report->Add(absl::StrCat(target.name, ".version"), CheckState::kOk, shown);
  }
  const auto standby = (*connection)->Exec("SELECT pg_is_in_recovery()", clock::SteadyNow() + kLimit);
  if (standby.ok() && !standby->empty() && (*standby)[0].Bool(0)) {
    report->Add(absl::StrCat(target.name, ".writable"), CheckState::kFail,
                "the server is a standby and takes no writes", absl::StrCat("name the primary in ", target.variable));
    return;
  }
  CheckRights(**connection, target, report);
  CheckMigrations(target, report);
  CheckConnections(**connection, target, report);
  CheckDurability(**connection, target, report);
  CheckTransport(**connection, target, report);
  CheckClock(**connection, target, report);
  if (target.database == storage::Database::kMetrics) CheckDisk(**connection, config, target, report);
}

}  // namespace

void internal::CheckDatabases(const ApiConfig& config, PreflightReport* report) {
  const Target metadata{
      .name = "metadata",
      .variable = "DATABASE_URL",
      .url = &config.database_url,
      .database = storage::Database::kMetadata,
      .roles = {"pganalytics_auth", "pganalytics_registry", "pganalytics_ruler", "pganalytics_insight"},
      // Query has 3 for small statements here, too.
      .connections = config.auth.connections + config.registry.connections + config.ruler.connections + 3};
  // Besides its pool, query has 3 for small statements; the compactor has 8, ingest one a writer.
  const Target metrics{
      .name = "metrics",
      .variable = "TIMESCALE_URL",
      .url = &config.metrics_url,
      .database = storage::Database::kMetrics,
      .roles = {"pganalytics_ingest", "pganalytics_query", "pganalytics_maintenance"},
      .connections = config.query.connections + 3 + 8 + config.ingest.connections + 4 + config.ingest.writers};
  CheckDatabase(config, metadata, report);
  CheckDatabase(config, metrics, report);
  if (!config.database_url.empty() && config.database_url.Reveal() == config.metrics_url.Reveal()) {
    report->Add("databases", CheckState::kFail, "DATABASE_URL and TIMESCALE_URL name one database",
                "make two, in one server or two: pganalytics and metrics");
  }
}

}  // namespace pga::api
