// One connection to a watched server and what was learnt over it: which run of the server's statistics this is, what
// the login may see, which extensions there are.
//
// Every statement runs in a transaction of its own that protects itself: read only, READ COMMITTED, with search_path,
// time limits and what else results depend on set by statements inside it. So it holds whatever the server, the
// database or the role is configured to, and behind a pooler that gives each transaction another session. The limits
// are the server's own, so that a statement ends there even when the collector is gone.
//
// Coroutines on the event loop, one at a time per session; what their pointers lead to lives until they are done.
// Errors are those of pg::AsyncConnection; after one of them ask connection->broken() whether the session can still be
// used.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/net/host_resolver.h"
#include "libs/pg/async_connection.h"
#include "services/collector/config.h"
#include "services/collector/delta_engine.h"
#include "services/collector/text_decoder.h"

namespace pga::collector {

struct Extension {
  std::string version;
  std::string schema;
};

struct SourceSession {
  std::unique_ptr<pg::AsyncConnection> connection;  // null until OpenSession has succeeded
  Epoch epoch;
  bool in_recovery = false;
  bool monitor = false;         // the login has the rights of pg_monitor
  bool monitor_member = false;  // the login is a member of pg_monitor, with its rights or without (NOINHERIT)
  int64_t database_oid = 0;
  std::map<std::string, Extension> extensions;
  // What decides which statements are possible: rights, extensions, role and version of the server. A metric that was
  // refused is worth another try when it changes.
  std::string facts;
  std::string encoding;      // of the database, as PostgreSQL names it
  TextDecoder own_texts;     // of the database
  TextDecoder shared_texts;  // of the whole server: names of databases and roles, texts of any session

  bool usable() const { return connection != nullptr && !connection->broken(); }
};

// Connects anew to `database`, with the password that its file holds now, and learns everything above.
// FAILED_PRECONDITION if the server is older than PostgreSQL 13. After an error the session may hold a connection;
// throw it away.
boost::asio::awaitable<absl::Status> OpenSession(const SourceConfig* config, net::HostResolver* resolver,
                                                 std::string database, SourceSession* session);
// Learns everything again: the server may have been promoted, a right granted, an extension created, updated or moved.
boost::asio::awaitable<absl::Status> IdentifySession(SourceSession* session);
// Databases that the login may connect to, without templates and invalid ones, by name.
boost::asio::awaitable<absl::Status> ListDatabases(SourceSession* session, std::vector<std::string>* names);
// Databases in SQL_ASCII among them.
boost::asio::awaitable<absl::Status> ListSqlAsciiDatabases(SourceSession* session, std::vector<std::string>* names);
// Runs one statement in a protected transaction. `timeout` is the server's statement_timeout.
boost::asio::awaitable<absl::Status> RunReadOnly(pg::AsyncConnection* connection, std::string sql,
                                                 std::vector<std::string> params, absl::Duration timeout,
                                                 pg::AsyncConnection::RowSink sink);

// The login's password as its file says now, or as it was given. PERMISSION_DENIED if the file cannot be read.
absl::StatusOr<std::string> PasswordNow(const SourceConfig& config);

// Quoted for SQL; the name comes from the server's own catalog.
std::string QuoteIdentifier(std::string_view name);
// Empty or 0 for NULL and for a value of another type. Texts are bytes as the server stores them.
std::string TextOf(const pg::AsyncRow& row, int column);
int64_t IntOf(const pg::AsyncRow& row, int column);

}  // namespace pga::collector
