// A bounded pool of libpqxx connections for ordinary statements: everything but binary COPY and the collector's probes.
// Every wait has an end: Acquire by its deadline, statements by statement_timeout on the server, and a watchdog that
// shuts the socket when a server does not answer at all (stopped, unreachable). libpqxx's exceptions end here
// (errors.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/value.h"

namespace pga::pg {

struct PoolOptions {
  // postgresql:// URI or key=value words; may hold a password, never printed.
  std::string url = {};
  // Shown in pg_stat_activity.
  std::string application_name = "pganalytics";
  // Most connections, from 1.
  int size = 4;
  // SET ROLE after connect when this role exists and the login is a member of it; else the login is used as it is.
  std::string role = {};
  // For one attempt to connect; the caller's deadline may be nearer. libpq counts whole seconds, at least 2.
  absl::Duration connect_timeout = absl::Seconds(5);
  // Upper limit of any statement; the caller's deadline may be nearer.
  absl::Duration statement_timeout = absl::Seconds(60);
  // For a lock; a statement that waits longer fails with ABORTED.
  absl::Duration lock_timeout = absl::Seconds(10);
  // A connection older than this is closed when it comes back, so that the pool follows a moved server.
  absl::Duration max_lifetime = absl::Minutes(30);
};

struct PoolStats {
  int size = 0;     // limit
  int open = 0;     // connections that exist
  int leased = 0;   // of these in use
  int waiting = 0;  // callers in Acquire
  int64_t connects = 0;
  int64_t failures = 0;  // failed attempts to connect
};

namespace internal {
class PoolCore;
class Session;
}  // namespace internal

// How a transaction runs. kSnapshot: REPEATABLE READ READ ONLY, every statement sees the same state.
enum class Isolation { kReadCommitted, kReadOnly, kSnapshot };

// Runs statements inside InTransaction's function; not to be kept. After an error only rolling back is left.
class Transaction {
 public:
  // Statement with $1.. parameters; without parameters `sql` may hold several statements, whose last result is
  // returned.
  absl::StatusOr<Result> Exec(const std::string& sql, const Params& params = {});

 private:
  friend class Lease;
  Transaction(internal::Session* session, clock::SteadyTime deadline) : session_(session), deadline_(deadline) {}
  internal::Session* session_;
  clock::SteadyTime deadline_;
  absl::Status failure_;
};

// One connection, returned to the pool by the destructor (which does not wait). Movable, used by one thread at a time.
// The pool must outlive it.
class Lease {
 public:
  Lease(Lease&&) noexcept;
  Lease& operator=(Lease&&) noexcept;
  ~Lease();

  // One statement in autocommit; blocks until `deadline` at most (plus 1 s when the server is silent). UNAVAILABLE
  // after sending means the outcome of a write is not known: repeat only what may happen twice.
  absl::StatusOr<Result> Exec(const std::string& sql, const Params& params, clock::SteadyTime deadline);

  // BEGIN, `body`, COMMIT; ROLLBACK when `body` fails, and then its status. UNKNOWN: the connection was lost during
  // COMMIT.
  absl::Status InTransaction(clock::SteadyTime deadline, const std::function<absl::Status(Transaction&)>& body,
                             Isolation isolation = Isolation::kReadCommitted);

  // Closes the connection instead of returning it; for sessions whose state must not be reused.
  void Discard();

 private:
  friend class Pool;
  Lease(internal::PoolCore* core, std::unique_ptr<internal::Session> session);
  internal::PoolCore* core_;
  std::unique_ptr<internal::Session> session_;
};

// Thread-safe. Connections are opened when first needed, so Create does not need a server.
class Pool {
 public:
  // InvalidArgument when the URL cannot be parsed.
  static absl::StatusOr<std::unique_ptr<Pool>> Create(PoolOptions options);
  // All leases must have been returned.
  ~Pool();

  // A live connection, opened if need be. RESOURCE_EXHAUSTED when all are in use until `deadline`; UNAVAILABLE,
  // PERMISSION_DENIED or NOT_FOUND when connecting fails.
  absl::StatusOr<Lease> Acquire(clock::SteadyTime deadline);

  // Acquire and Exec in one.
  absl::StatusOr<Result> Exec(const std::string& sql, const Params& params, clock::SteadyTime deadline);
  // Acquire and InTransaction in one.
  absl::Status InTransaction(clock::SteadyTime deadline, const std::function<absl::Status(Transaction&)>& body,
                             Isolation isolation = Isolation::kReadCommitted);

  // Round trip to the server.
  absl::Status Ping(clock::SteadyTime deadline);

  PoolStats stats() const;

 private:
  explicit Pool(std::unique_ptr<internal::PoolCore> core);
  std::unique_ptr<internal::PoolCore> core_;
};

}  // namespace pga::pg
