// One connection to a watched server and what was learnt over it: which run of the server's statistics this is, what
// the login may see, which extensions there are. The session is read-only and its timeouts are set on the server too,
// so that a statement ends there even when the collector is gone.
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
#include "absl/time/time.h"
#include "libs/pg/async_connection.h"
#include "services/collector/config.h"
#include "services/collector/delta_engine.h"

namespace pga::collector {

struct Extension {
  std::string version;
  std::string schema;
};

struct SourceSession {
  std::unique_ptr<pg::AsyncConnection> connection;  // null until OpenSession has succeeded
  Epoch epoch;
  bool in_recovery = false;
  bool monitor = false;  // the login has the role pg_monitor
  int64_t database_oid = 0;
  std::map<std::string, Extension> extensions;
  int64_t last_used_ns = 0;  // CLOCK_BOOTTIME; kept by the owner

  bool usable() const { return connection != nullptr && !connection->broken(); }
};

// Connects anew to `database` and learns everything above. FAILED_PRECONDITION if the server is older than
// PostgreSQL 13. After an error the session may hold a connection; throw it away.
boost::asio::awaitable<absl::Status> OpenSession(const SourceConfig* config, pg::HostResolver* resolver,
                                                 std::string database, SourceSession* session);
// Learns epoch, recovery, role and database again; extensions stay as they are.
boost::asio::awaitable<absl::Status> IdentifySession(SourceSession* session);
// Learns the database's extensions again: one was created, updated, moved or dropped.
boost::asio::awaitable<absl::Status> LearnExtensions(SourceSession* session);
// Databases that the login may connect to, without templates, by name.
boost::asio::awaitable<absl::Status> ListDatabases(SourceSession* session, std::vector<std::string>* names);
// Runs one statement in a transaction of its own: BEGIN READ ONLY, the statement, COMMIT.
boost::asio::awaitable<absl::Status> RunReadOnly(pg::AsyncConnection* connection, std::string sql,
                                                 std::vector<std::string> params, absl::Duration timeout,
                                                 pg::AsyncConnection::RowSink sink);

// What a batch says about the source that its frames are of.
ingestpb::SourceInfo DescribeSource(const SourceConfig& config, const std::string& source_id,
                                    const SourceSession& session);

// Quoted for SQL; the name comes from the server's own catalog.
std::string QuoteIdentifier(std::string_view name);
// Empty or 0 for NULL and for a value of another type.
std::string TextOf(const pg::AsyncRow& row, int column);
int64_t IntOf(const pg::AsyncRow& row, int column);

}  // namespace pga::collector
