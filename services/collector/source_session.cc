#include "services/collector/source_session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/status/status.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

constexpr int kSessionTimeoutMs = catalog::kDefaultTimeoutMs;

// Everything that names a run of the server's statistics, in one row. All of it is open to every role except the
// checkpointer's start, which needs pg_read_all_stats.
constexpr char kIdentifySql[] =
    "SELECT (SELECT c.system_identifier FROM pg_control_system() c)::int8, "
    "(SELECT c.timeline_id FROM pg_control_checkpoint() c)::int8, "
    "(SELECT a.backend_start FROM pg_stat_activity a WHERE a.backend_type = 'checkpointer' LIMIT 1), "
    "(SELECT b.stats_reset FROM pg_stat_bgwriter b), pg_is_in_recovery(), "
    "pg_has_role(current_user, 'pg_monitor', 'USAGE'), "
    "(SELECT d.oid FROM pg_database d WHERE d.datname = current_database())::int8";

constexpr char kExtensionsSql[] =
    "SELECT e.extname::text, e.extversion::text, n.nspname::text FROM pg_extension e "
    "JOIN pg_namespace n ON n.oid = e.extnamespace";

constexpr char kDatabasesSql[] =
    "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate "
    "AND has_database_privilege(oid, 'CONNECT') ORDER BY datname";

}  // namespace

asio::awaitable<absl::Status> OpenSession(const SourceConfig* config, pg::HostResolver* resolver, std::string database,
                                          SourceSession* session) {
  pg::AsyncConnectOptions options;
  options.host = config->host;
  options.port = config->port;
  options.user = config->user;
  options.password = config->password.Reveal();
  options.database = std::move(database);
  options.sslmode = config->sslmode;
  options.sslrootcert = config->sslrootcert;
  options.application_name = "pganalytics-collector";
  options.settings = {{"search_path", "pg_catalog"},
                      {"default_transaction_read_only", "on"},
                      {"lock_timeout", "500"},
                      {"idle_in_transaction_session_timeout", "60000"},
                      {"statement_timeout", std::to_string(kSessionTimeoutMs)},
                      {"timezone", "UTC"}};
  session->connection.reset();
  auto connection = co_await pg::AsyncConnection::Connect(std::move(options), resolver);
  if (!connection.ok()) co_return connection.status();
  session->connection = std::move(*connection);
  if (session->connection->server_version() < 130000) {
    co_return absl::FailedPreconditionError(absl::StrCat("the server is PostgreSQL ",
                                                         session->connection->server_version() / 10000,
                                                         "; 13 is the oldest that can be watched"));
  }
  absl::Status status = co_await IdentifySession(session);
  if (!status.ok()) co_return status;
  status = co_await LearnExtensions(session);
  co_return status;
}

asio::awaitable<absl::Status> LearnExtensions(SourceSession* session) {
  session->extensions.clear();
  pg::AsyncConnection::RowSink sink = [session](const pg::AsyncRow& row) {
    session->extensions[TextOf(row, 0)] = {TextOf(row, 1), TextOf(row, 2)};
    return absl::OkStatus();
  };
  absl::Status status = co_await session->connection->Query(kExtensionsSql, {}, absl::Seconds(6), std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> IdentifySession(SourceSession* session) {
  pg::AsyncConnection::RowSink sink = [session](const pg::AsyncRow& row) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(session->epoch.system_identifier, row.Int(0));
    PGA_ASSIGN_OR_RETURN(session->epoch.timeline, row.Int(1));
    PGA_ASSIGN_OR_RETURN(session->epoch.checkpointer_start_us, row.TimestampUs(2));
    PGA_ASSIGN_OR_RETURN(session->epoch.statistics_reset_us, row.TimestampUs(3));
    PGA_ASSIGN_OR_RETURN(session->in_recovery, row.Bool(4));
    PGA_ASSIGN_OR_RETURN(session->monitor, row.Bool(5));
    PGA_ASSIGN_OR_RETURN(session->database_oid, row.Int(6));
    return absl::OkStatus();
  };
  absl::Status status = co_await session->connection->Query(kIdentifySql, {}, absl::Seconds(6), std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> ListDatabases(SourceSession* session, std::vector<std::string>* names) {
  names->clear();
  pg::AsyncConnection::RowSink sink = [names](const pg::AsyncRow& row) {
    names->push_back(TextOf(row, 0));
    return absl::OkStatus();
  };
  absl::Status status = co_await session->connection->Query(kDatabasesSql, {}, absl::Seconds(6), std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> RunReadOnly(pg::AsyncConnection* connection, std::string sql,
                                          std::vector<std::string> params, absl::Duration timeout,
                                          pg::AsyncConnection::RowSink sink) {
  const absl::Duration patience = timeout + absl::Seconds(2);
  absl::Status status = co_await connection->Query("BEGIN READ ONLY", {}, absl::Seconds(5), nullptr);
  if (status.ok() && timeout != absl::Milliseconds(kSessionTimeoutMs)) {
    std::string set = absl::StrCat("SET LOCAL statement_timeout = ", absl::ToInt64Milliseconds(timeout));
    status = co_await connection->Query(std::move(set), {}, absl::Seconds(5), nullptr);
  }
  if (status.ok()) {
    status = co_await connection->Query(std::move(sql), std::move(params), patience, std::move(sink));
  }
  if (connection->broken()) co_return status;
  absl::Status end = co_await connection->Query(status.ok() ? "COMMIT" : "ROLLBACK", {}, absl::Seconds(5), nullptr);
  co_return status.ok() ? end : status;
}

ingestpb::SourceInfo DescribeSource(const SourceConfig& config, const std::string& source_id,
                                    const SourceSession& session) {
  ingestpb::SourceInfo info;
  info.set_source_id(source_id);
  info.set_name(config.name);
  info.set_owner_epoch(config.owner_epoch);
  info.set_system_identifier(session.epoch.system_identifier);
  info.set_server_version_num(session.connection == nullptr ? 0 : session.connection->server_version());
  info.set_in_recovery(session.in_recovery);
  return info;
}

std::string QuoteIdentifier(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    out.push_back(c);
    if (c == '"') out.push_back('"');
  }
  out.push_back('"');
  return out;
}

std::string TextOf(const pg::AsyncRow& row, int column) {
  auto text = row.Text(column);
  return text.ok() ? std::string(*text) : std::string();
}

int64_t IntOf(const pg::AsyncRow& row, int column) {
  return row.Int(column).value_or(0);
}

}  // namespace pga::collector
