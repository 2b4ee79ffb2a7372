#include "libs/backup/database_facts.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"

namespace pga::backup {
namespace {

constexpr char kFacts[] =
    "SELECT d.datname, d.oid::int8, current_setting('server_version'), current_setting('server_version_num')::int4 / "
    "10000, (SELECT system_identifier FROM pg_control_system())::text, pg_encoding_to_char(d.encoding), d.datcollate, "
    "d.datctype, pg_database_size(d.oid), to_regclass('pganalytics.schema_migration') IS NOT NULL, "
    "to_regclass('metrics.schema_migration') IS NOT NULL, (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON "
    "n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', "
    "'p', 'v', 'm', 'f', 'S') AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND "
    "e.objid = c.oid AND e.deptype = 'e')), coalesce((SELECT extversion FROM pg_extension WHERE extname = "
    "'timescaledb'), ''), coalesce((SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = "
    "e.extnamespace WHERE e.extname = 'timescaledb'), '') FROM pg_database d WHERE d.datname = current_database()";

struct Counted {
  const char* name;
  const char* sql;
};

constexpr Counted kMetadata[] = {
    {"audit_log", "SELECT count(*) FROM pganalytics.audit_log"},
    {"collectors", "SELECT count(*) FROM pganalytics.collectors"},
    {"registration_secrets", "SELECT count(*) FROM pganalytics.registration_secrets"},
    {"revocations", "SELECT count(*) FROM pganalytics.revocations"},
    {"sources", "SELECT count(*) FROM pganalytics.sources"},
    {"users", "SELECT count(*) FROM pganalytics.users"},
};
constexpr Counted kMetrics[] = {
    {"blocks", "SELECT count(*) FROM metrics.block"},
    {"frames", "SELECT metrics.frame_count()"},
    {"query_texts", "SELECT count(*) FROM metrics.query_text"},
    {"receipts", "SELECT count(*) FROM metrics.ingest_receipt"},
    {"rows",
     "SELECT (SELECT coalesce(sum(rows), 0) FROM metrics.frame)::int8 + (SELECT coalesce(sum(rows), 0) FROM "
     "metrics.block WHERE level = 0)::int8"},
    {"sources", "SELECT count(*) FROM metrics.source"},
    {"watermarks", "SELECT count(*) FROM metrics.ingest_watermark"},
};

}  // namespace

std::string KindName(storage::Database database) {
  return database == storage::Database::kMetadata ? "metadata" : "metrics";
}

absl::StatusOr<std::unique_ptr<pg::CopyConnection>> ConnectTo(const std::string& url, clock::SteadyTime deadline) {
  pg::CopyConnectionOptions options;
  options.url = url;
  options.application_name = "pgactl backup";
  options.statement_timeout = absl::ZeroDuration();
  options.idle_in_transaction_timeout = absl::ZeroDuration();
  return pg::CopyConnection::Connect(options, std::min(deadline, clock::SteadyNow() + absl::Seconds(20)));
}

absl::StatusOr<DatabaseFacts> AskFacts(pg::CopyConnection& connection, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result, connection.Exec(kFacts, deadline));
  const pg::Row row = result[0];
  DatabaseFacts facts;
  facts.name = row.Text(0);
  facts.oid = row.Int64(1);
  facts.server_version = row.Text(2);
  facts.server_major = row.Int32(3);
  facts.system_identifier = row.Text(4);
  facts.encoding = row.Text(5);
  facts.collate = row.Text(6);
  facts.ctype = row.Text(7);
  facts.bytes = row.Int64(8);
  facts.has_metadata = row.Bool(9);
  facts.has_metrics = row.Bool(10);
  facts.relations = row.Int64(11);
  facts.timescaledb_version = row.Text(12);
  facts.timescaledb_schema = row.Text(13);
  return facts;
}

absl::StatusOr<int64_t> AskMigration(pg::CopyConnection& connection, storage::Database database,
                                     clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      connection.Exec(
          absl::StrCat("SELECT coalesce(max(version), 0)::int8 FROM ",
                       database == storage::Database::kMetadata ? "pganalytics" : "metrics", ".schema_migration"),
          deadline));
  return result[0].Int64(0);
}

absl::StatusOr<std::map<std::string, int64_t>> AskCounts(pg::CopyConnection& connection, storage::Database database,
                                                         const std::map<std::string, int64_t>* only,
                                                         clock::SteadyTime deadline) {
  std::vector<Counted> counted;
  if (database == storage::Database::kMetadata) {
    counted.assign(std::begin(kMetadata), std::end(kMetadata));
  } else {
    counted.assign(std::begin(kMetrics), std::end(kMetrics));
  }
  std::map<std::string, int64_t> counts;
  for (const Counted& one : counted) {
    if (only != nullptr && !only->contains(one.name)) continue;
    auto result = connection.Exec(one.sql, deadline);
    if (!result.ok()) return status::Annotate(result.status(), absl::StrCat("counting ", one.name));
    counts[one.name] = (*result)[0].Int64(0);
  }
  return counts;
}

absl::StatusOr<std::map<std::string, int64_t>> AskTableSizes(pg::CopyConnection& connection,
                                                             clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      connection.Exec("SELECT n.nspname || '.' || c.relname, pg_table_size(c.oid) FROM pg_class c JOIN pg_namespace n "
                      "ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> "
                      "'information_schema'",
                      deadline));
  std::map<std::string, int64_t> sizes;
  for (const pg::Row row : result) {
    if (!row.IsNull(1)) sizes[std::string(row.Text(0))] = row.Int64(1);
  }
  return sizes;
}

}  // namespace pga::backup
