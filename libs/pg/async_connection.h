// Non-blocking libpq on a Boost.Asio executor: one connection, one statement at a time, every step with a deadline. For
// the collector, which watches many servers from one thread. Host names are looked up by libs/net, because libpq
// would block on them; cancelling a statement is its statement_timeout plus closing the socket.
//
// Everything of one connection runs on one executor (a single thread or a strand). Results arrive row by row in binary
// form, so that a large result is never held in memory.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

struct pg_conn;
struct pg_result;

namespace pga::net {
class HostResolver;
}

namespace pga::pg {

struct AsyncConnectOptions {
  // Name, address, or folder of a unix socket.
  std::string host;
  int port = 5432;
  std::string user;
  std::string password;
  std::string database;
  std::string sslmode = "prefer";
  // Empty = libpq's default.
  std::string sslrootcert;
  std::string application_name;
  // SQL_ASCII: texts and names come and go as the bytes that the server stores.
  std::string client_encoding = "UTF8";
  // For name look-up, connecting, TLS and authentication together.
  absl::Duration connect_timeout = absl::Seconds(5);
  // What of the addresses of `host` may be connected to, or why none may; empty = all.
  std::function<absl::StatusOr<std::vector<std::string>>(const std::vector<std::string>& addresses)> filter;
};

// One row of a result, valid during the call of the sink.
class AsyncRow {
 public:
  AsyncRow(const pg_result* result, int row) : result_(result), row_(row) {}

  int columns() const;
  std::string_view name(int column) const;
  uint32_t type_oid(int column) const;
  bool IsNull(int column) const;
  // Binary value.
  std::string_view bytes(int column) const;

  // Conversions; INVALID_ARGUMENT names the column if its type does not fit. NULL gives 0 or an empty text.
  // int2, int4, int8, oid, bool.
  absl::StatusOr<int64_t> Int(int column) const;
  // float4, float8 and the integers.
  absl::StatusOr<double> Double(int column) const;
  absl::StatusOr<bool> Bool(int column) const;
  // text, varchar, bpchar, name, "char".
  absl::StatusOr<std::string_view> Text(int column) const;
  // timestamptz as microseconds since 1970-01-01 UTC. The infinities become the ends of int64.
  absl::StatusOr<int64_t> TimestampUs(int column) const;
  // interval as microseconds; a month counts 30 days, a day 24 hours.
  absl::StatusOr<int64_t> IntervalUs(int column) const;
  // pg_lsn as a byte position.
  absl::StatusOr<int64_t> Lsn(int column) const;

 private:
  absl::Status WrongType(int column, std::string_view wanted) const;

  const pg_result* result_;
  int row_;
};

class AsyncConnection {
 public:
  using RowSink = std::function<absl::Status(const AsyncRow&)>;

  // Connects, with no settings but application_name and client_encoding: a pooler refuses or forgets others. The error
  // carries the SQLSTATE when the server refuses (codes as in libs/pg/errors.h), else UNAVAILABLE with libpq's message;
  // DEADLINE_EXCEEDED after connect_timeout. `resolver` must outlive the call.
  static boost::asio::awaitable<absl::StatusOr<std::unique_ptr<AsyncConnection>>> Connect(AsyncConnectOptions options,
                                                                                          net::HostResolver* resolver);
  // Closes the socket; a statement that still runs on the server is left to its statement_timeout.
  ~AsyncConnection();
  AsyncConnection(const AsyncConnection&) = delete;
  AsyncConnection& operator=(const AsyncConnection&) = delete;

  // Runs one statement by the extended protocol with text parameters and binary results. `sink` may be empty. Codes as
  // in libs/pg/errors.h; DEADLINE_EXCEEDED from `timeout` itself and UNAVAILABLE leave the connection broken. An error
  // of the sink is returned after the rest of the result was read. Not to be called while another Query runs.
  boost::asio::awaitable<absl::Status> Query(std::string sql, std::vector<std::string> params, absl::Duration timeout,
                                             RowSink sink);

  // Runs constant text by the simple protocol: several statements without parameters, whose results are dropped. Errors
  // as for Query.
  boost::asio::awaitable<absl::Status> Script(std::string sql, absl::Duration timeout);

  // No further statement will work: make a new connection.
  bool broken() const { return broken_; }
  // Number like 150020.
  int server_version() const;
  int backend_pid() const;

 private:
  struct Io;

  AsyncConnection(pg_conn* connection, std::shared_ptr<Io> io);
  // Writes out what was sent and reads all results, until `timeout` from the call of SetDeadline.
  boost::asio::awaitable<absl::Status> Finish(absl::Duration timeout, RowSink sink);
  absl::Status ConnectionError(std::string_view what);
  absl::Status ResultError(const pg_result* result);

  pg_conn* connection_;
  std::shared_ptr<Io> io_;
  bool broken_ = false;
};

}  // namespace pga::pg
