#include "services/collector/source_session.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "libs/config/config.h"
#include "libs/status/status.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

constexpr absl::Duration kLearnTimeout = absl::Seconds(5);

// Time-outs of the client are longer than the server's, which keep the connection.
constexpr absl::Duration kGrace = absl::Seconds(2);

// What decides which statements are possible, and names a run of the server's statistics. All of it is open to every
// role except the checkpointer's start, which needs pg_read_all_stats.
constexpr char kIdentifySql[] =
    "SELECT (SELECT a.backend_start FROM pg_stat_activity a WHERE a.backend_type = 'checkpointer' LIMIT 1), "
    "(SELECT b.stats_reset FROM pg_stat_bgwriter b), pg_is_in_recovery(), "
    "pg_has_role(current_user, 'pg_monitor', 'USAGE'), pg_has_role(current_user, 'pg_monitor', 'MEMBER'), "
    "(SELECT d.oid FROM pg_database d WHERE d.datname = current_database())::int8, "
    "has_function_privilege('pg_control_system()', 'EXECUTE') AND "
    "has_function_privilege('pg_control_checkpoint()', 'EXECUTE'), "
    "pg_backend_pid(), coalesce(current_setting('idle_session_timeout', true), '0') <> '0', "
    "md5((SELECT coalesce(string_agg(r.oid::text, ',' ORDER BY r.oid), '') FROM pg_roles r "
    "WHERE pg_has_role(current_user, r.oid, 'USAGE')) || ';' || "
    "(SELECT coalesce(string_agg(p.oid || p.proacl::text, ',' ORDER BY p.oid), '') FROM pg_proc p "
    "WHERE p.proacl IS NOT NULL AND p.pronamespace = 'pg_catalog'::regnamespace))";

// Managed servers take these functions away.
constexpr char kControlSql[] =
    "SELECT (SELECT c.system_identifier FROM pg_control_system() c)::int8, "
    "(SELECT c.timeline_id FROM pg_control_checkpoint() c)::int8";

constexpr char kExtensionsSql[] =
    "SELECT e.extname::text, e.extversion::text, n.nspname::text FROM pg_extension e "
    "JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.extname";

// The encoding of template1 stands for names that all databases share: every session of the server sees the same.
constexpr char kEncodingsSql[] =
    "SELECT pg_catalog.current_setting('server_encoding'), "
    "(SELECT pg_catalog.pg_encoding_to_char(d.encoding)::text FROM pg_catalog.pg_database d WHERE d.datname = "
    "'template1')";

constexpr char kDatabasesSql[] =
    "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2 "
    "AND has_database_privilege(oid, 'CONNECT') ";
constexpr char kByName[] = "ORDER BY datname";

// Begins a transaction that nothing in the server's, the database's or the role's configuration can change the meaning
// of. SET takes no function call, so that no object of a hostile search_path is reached. A pooler in transaction mode
// keeps the settings in this transaction.
std::string ProtectedBegin(int server_version, absl::Duration timeout) {
  return absl::StrCat(
      "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY NOT DEFERRABLE; SET LOCAL search_path = "
      "pg_catalog, pg_temp; SET LOCAL statement_timeout = ",
      absl::ToInt64Milliseconds(timeout),
      "; SET LOCAL lock_timeout = 500; SET LOCAL idle_in_transaction_session_timeout = 60000; "
      "SET LOCAL timezone = 'UTC'; SET LOCAL standard_conforming_strings = on; SET LOCAL jit = off; "
      // Results of a set-returning function spill to temporary files beyond it, which a role's
      // temp_file_limit may refuse.
      "SET LOCAL work_mem = '32MB'",
      server_version >= 170000 ? "; SET LOCAL transaction_timeout = 0" : "");
}

asio::awaitable<absl::Status> LearnEncodings(SourceSession* session) {
  pg::AsyncConnection::RowSink sink = [session](const pg::AsyncRow& row) {
    session->encoding = TextOf(row, 0);
    session->own_texts = TextDecoder(session->encoding);
    session->shared_texts = TextDecoder(TextOf(row, 1));
    return absl::OkStatus();
  };
  absl::Status status =
      co_await RunReadOnly(session->connection.get(), kEncodingsSql, {}, kLearnTimeout, std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> ListNames(SourceSession* session, std::string sql, std::vector<std::string>* names) {
  names->clear();
  pg::AsyncConnection::RowSink sink = [names](const pg::AsyncRow& row) {
    names->push_back(TextOf(row, 0));
    return absl::OkStatus();
  };
  absl::Status status =
      co_await RunReadOnly(session->connection.get(), std::move(sql), {}, kLearnTimeout, std::move(sink));
  co_return status;
}

}  // namespace

absl::StatusOr<std::string> PasswordNow(const SourceConfig& config) {
  if (config.password_file.empty()) return config.password.Reveal();
  absl::StatusOr<std::string> password = config::ReadSecretFile(config.password_file);
  if (password.ok()) return password;
  return absl::PermissionDeniedError(
      absl::StrCat("password file ", config.password_file, ": ", password.status().message()));
}

asio::awaitable<absl::Status> OpenSession(const SourceConfig* config, net::HostResolver* resolver, std::string database,
                                          SourceSession* session) {
  session->connection.reset();
  absl::StatusOr<std::string> password = PasswordNow(*config);
  if (!password.ok()) co_return password.status();
  pg::AsyncConnectOptions options;
  options.host = config->host;
  options.port = config->port;
  options.user = config->user;
  options.password = *std::move(password);
  options.database = std::move(database);
  options.sslmode = config->sslmode;
  options.sslrootcert = config->sslrootcert;
  options.application_name = "pganalytics-collector";
  options.client_encoding = "SQL_ASCII";
  options.connect_timeout = config->connect_timeout;
  if (config->allowed_hosts != nullptr) {
    options.filter = [config](const std::vector<std::string>& addresses) {
      return config->allowed_hosts->Filter(config->host, addresses);
    };
  }
  auto connection = co_await pg::AsyncConnection::Connect(std::move(options), resolver);
  if (!connection.ok()) co_return connection.status();
  session->connection = std::move(*connection);
  if (session->connection->server_version() < 130000) {
    co_return absl::FailedPreconditionError(absl::StrCat("the server is PostgreSQL ",
                                                         session->connection->server_version() / 10000,
                                                         "; 13 is the oldest that can be watched"));
  }
  absl::Status status = co_await LearnEncodings(session);
  if (status.ok()) status = co_await IdentifySession(session);
  co_return status;
}

asio::awaitable<absl::Status> IdentifySession(SourceSession* session) {
  pg::AsyncConnection* const connection = session->connection.get();
  bool control = false;
  bool idle_timeout = false;
  int64_t backend_pid = 0;
  std::string rights;
  pg::AsyncConnection::RowSink sink = [&](const pg::AsyncRow& row) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(session->epoch.checkpointer_start_us, row.TimestampUs(0));
    PGA_ASSIGN_OR_RETURN(session->epoch.statistics_reset_us, row.TimestampUs(1));
    PGA_ASSIGN_OR_RETURN(session->in_recovery, row.Bool(2));
    PGA_ASSIGN_OR_RETURN(session->monitor, row.Bool(3));
    PGA_ASSIGN_OR_RETURN(session->monitor_member, row.Bool(4));
    PGA_ASSIGN_OR_RETURN(session->database_oid, row.Int(5));
    PGA_ASSIGN_OR_RETURN(control, row.Bool(6));
    PGA_ASSIGN_OR_RETURN(backend_pid, row.Int(7));
    PGA_ASSIGN_OR_RETURN(idle_timeout, row.Bool(8));
    rights = TextOf(row, 9);
    return absl::OkStatus();
  };
  absl::Status status = co_await RunReadOnly(connection, kIdentifySql, {}, kLearnTimeout, std::move(sink));
  if (!status.ok()) co_return status;
  session->epoch.system_identifier = 0;
  session->epoch.timeline = 0;
  if (control) {
    pg::AsyncConnection::RowSink control_sink = [session](const pg::AsyncRow& row) -> absl::Status {
      PGA_ASSIGN_OR_RETURN(session->epoch.system_identifier, row.Int(0));
      PGA_ASSIGN_OR_RETURN(session->epoch.timeline, row.Int(1));
      return absl::OkStatus();
    };
    status = co_await RunReadOnly(connection, kControlSql, {}, kLearnTimeout, std::move(control_sink));
    if (!status.ok()) co_return status;
  }
  session->extensions.clear();
  std::string facts = absl::StrCat(rights, ";", connection->server_version(), ";", session->in_recovery);
  pg::AsyncConnection::RowSink extensions_sink = [session, &facts](const pg::AsyncRow& row) {
    session->extensions[TextOf(row, 0)] = {TextOf(row, 1), TextOf(row, 2)};
    absl::StrAppend(&facts, ";", TextOf(row, 0), " ", TextOf(row, 1), " ", TextOf(row, 2));
    return absl::OkStatus();
  };
  status = co_await RunReadOnly(connection, kExtensionsSql, {}, kLearnTimeout, std::move(extensions_sink));
  if (!status.ok()) co_return status;
  session->facts = std::move(facts);
  // The only limit that acts between transactions. Behind a pooler (another process answers than the one that let us
  // in) the session is not ours to set, and the pooler keeps its own.
  if (idle_timeout && backend_pid == connection->backend_pid()) {
    status = co_await connection->Script("SET idle_session_timeout = 0", kLearnTimeout);
  }
  co_return status;
}

asio::awaitable<absl::Status> ListDatabases(SourceSession* session, std::vector<std::string>* names) {
  absl::Status status = co_await ListNames(session, absl::StrCat(kDatabasesSql, kByName), names);
  co_return status;
}

asio::awaitable<absl::Status> ListSqlAsciiDatabases(SourceSession* session, std::vector<std::string>* names) {
  absl::Status status = co_await ListNames(session, absl::StrCat(kDatabasesSql, "AND encoding = 0 ", kByName), names);
  co_return status;
}

asio::awaitable<absl::Status> RunReadOnly(pg::AsyncConnection* connection, std::string sql,
                                          std::vector<std::string> params, absl::Duration timeout,
                                          pg::AsyncConnection::RowSink sink) {
  std::string begin = ProtectedBegin(connection->server_version(), timeout);
  absl::Status status = co_await connection->Script(std::move(begin), absl::Seconds(5));
  if (status.ok()) {
    status = co_await connection->Query(std::move(sql), std::move(params), timeout + kGrace, std::move(sink));
  }
  if (connection->broken()) co_return status;
  absl::Status end = co_await connection->Script(status.ok() ? "COMMIT" : "ROLLBACK", absl::Seconds(5));
  co_return status.ok() ? end : status;
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
