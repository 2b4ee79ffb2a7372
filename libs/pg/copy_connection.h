// One libpq connection that never blocks without an end: every call has a deadline, also against a server that is
// stopped or unreachable. Carries what libpqxx cannot: binary COPY in and out, whole scripts, session-level locks. Used
// by the group writer, the migration runner and the tests. Used by one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/binary_row.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/value.h"

namespace pga::pg {

struct CopyConnectionOptions {
  // postgresql:// URI or key=value words; may hold a password, never printed.
  std::string url = {};
  std::string application_name = "pganalytics";
  // SET ROLE after connect when this role exists and the login is a member of it.
  std::string role = {};
  // Set on the server, so that a statement also ends there when this side has gone. Zero = none.
  absl::Duration statement_timeout = absl::Seconds(60);
  absl::Duration lock_timeout = absl::Seconds(10);
  absl::Duration idle_in_transaction_timeout = absl::Seconds(60);
  // Gets the server's notices and warnings, during calls of this object.
  std::function<void(const std::string&)> on_notice = {};
};

// After DEADLINE_EXCEEDED from this side, and after UNAVAILABLE, the connection is closed (ok() is false) and only a
// new one helps. Errors of the server leave it usable. A write that ends with UNAVAILABLE or DEADLINE_EXCEEDED may have
// happened.
class CopyConnection {
 public:
  // Ends with `deadline`, the look-up of the host's name included.
  static absl::StatusOr<std::unique_ptr<CopyConnection>> Connect(const CopyConnectionOptions& options,
                                                                 clock::SteadyTime deadline);
  ~CopyConnection();
  CopyConnection(const CopyConnection&) = delete;
  CopyConnection& operator=(const CopyConnection&) = delete;

  // With parameters one statement; without any, `sql` may hold several, run as one implicit transaction unless it says
  // otherwise. Returns the last statement's result.
  absl::StatusOr<Result> Exec(const std::string& sql, const Params& params, clock::SteadyTime deadline);
  absl::StatusOr<Result> Exec(const std::string& sql, clock::SteadyTime deadline) { return Exec(sql, {}, deadline); }

  // One statement whose rows come in binary, one at a time, so that no more than one of them is in memory. Asks
  // `limit.cancelled` at least every 100 ms. CANCELLED, DEADLINE_EXCEEDED and a failure of `sink` leave the statement
  // running (query_open()); EndQuery then waits for its end.
  using RowSink = std::function<absl::Status(const BinaryRow&)>;
  absl::Status Query(const std::string& sql, const Params& params, const RowSink& sink, const CallLimit& limit);
  // Reads what is left of an open query and throws it away; its error is none of this call.
  absl::Status EndQuery(clock::SteadyTime deadline);
  bool query_open() const;

  // Sends parameterless statements in one go and reads all their answers: one round trip for many statements. Stops at
  // the first error, which it returns.
  absl::Status ExecAll(const std::vector<std::string>& statements, clock::SteadyTime deadline);

  // COPY ... FROM STDIN: BeginCopy, PutCopyData any number of times (blocks only while the socket is full), EndCopy.
  // After an error inside COPY the server ends it by itself; the transaction is then in the failed state.
  absl::Status BeginCopy(const std::string& sql, clock::SteadyTime deadline);
  absl::Status PutCopyData(std::string_view data, clock::SteadyTime deadline);
  // Rows stored.
  absl::StatusOr<int64_t> EndCopy(clock::SteadyTime deadline);
  // Gives up the COPY; the transaction fails.
  absl::Status AbortCopy(std::string_view reason, clock::SteadyTime deadline);

  // COPY ... TO STDOUT: `sink` gets one row (text) or chunk (binary) at a time and may end it by a status, which closes
  // the connection.
  absl::Status CopyOut(const std::string& sql, const std::function<absl::Status(std::string_view)>& sink,
                       clock::SteadyTime deadline);

  // Sends COMMIT. UNKNOWN: the connection was lost and it may have happened. FAILED_PRECONDITION: the transaction had
  // failed and was rolled back.
  absl::Status Commit(clock::SteadyTime deadline);

  // Breaks the connection from any thread: a call that waits ends with UNAVAILABLE, and so does every later one. The
  // server ends the transaction when it notices.
  void Interrupt();

  bool ok() const;
  bool in_transaction() const;
  int backend_pid() const;
  int server_version_num() const;

 private:
  struct Impl;
  explicit CopyConnection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pga::pg
