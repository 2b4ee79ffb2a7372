// A bounded pool of connections for reads of much data: each read is one transaction that sees one state of the
// database, gets its rows in binary, one at a time, and ends on the server when its caller has gone. Small statements
// and writes have pool.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/binary_row.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/copy_connection.h"
#include "libs/pg/value.h"

namespace pga::pg {

struct ReadPoolOptions {
  // postgresql:// URI or key=value words; may hold a password, never printed.
  std::string url = {};
  std::string application_name = "pganalytics";
  // Most connections, from 1.
  int size = 4;
  // As PoolOptions::role.
  std::string role = {};
  absl::Duration connect_timeout = absl::Seconds(5);
  // Upper limit of any statement; the caller's deadline may be nearer.
  absl::Duration statement_timeout = absl::Seconds(60);
  absl::Duration lock_timeout = absl::Seconds(10);
  absl::Duration max_lifetime = absl::Minutes(30);
};

// How much a read asks for. Wide ones take turns: more of them at once than there are processors would only make each
// other late, and narrow ones too. The next is of the caller (CallLimit) who has fewest under way, and of its own the
// first that came; who has none under way need not wait until one of the others ends. While several callers ask, one
// has at most half of the turns. Where a pool has more than one connection, one is left for narrow ones.
enum class Width { kNarrow, kWide };

class ReadPool;

// The transaction of a read; not to be kept.
class ReadTransaction {
 public:
  // CopyConnection::Query within the read's limit.
  absl::Status Query(const std::string& sql, const Params& params, const CopyConnection::RowSink& sink);

  // One of `workers` transactions that read at the same time, from 0.
  using Share = std::function<absl::Status(ReadTransaction& tx, size_t worker, size_t workers)>;
  // Runs `share` once for each of at most `most` workers, on threads of their own that end before this returns; worker
  // 0 is this transaction on this thread. The others see what this transaction sees. There are as many as connections
  // for wide reads are free now, so that a read that finds the pool busy does all by itself. The first error.
  absl::Status Together(size_t most, const Share& share);

 private:
  friend class ReadPool;
  ReadTransaction(ReadPool* pool, CopyConnection* connection, const CallLimit& limit)
      : pool_(pool), connection_(connection), limit_(limit) {}
  ReadPool* const pool_;
  CopyConnection* const connection_;
  const CallLimit& limit_;
};

// Thread-safe. Connections are opened when first needed.
class ReadPool {
 public:
  // INVALID_ARGUMENT when the URL cannot be parsed or a bound is below 1.
  static absl::StatusOr<std::unique_ptr<ReadPool>> Create(ReadPoolOptions options);
  // No read may be running.
  ~ReadPool();

  // BEGIN (REPEATABLE READ, READ ONLY), `body`, COMMIT. RESOURCE_EXHAUSTED when all connections that it may use are in
  // use until the deadline; CANCELLED when the caller went. A statement that is still running when `body` returns is
  // cancelled on the server: before this call returns, at most two seconds later.
  absl::Status Read(const CallLimit& limit, Width width, const std::function<absl::Status(ReadTransaction&)>& body);
  absl::Status Read(const CallLimit& limit, const std::function<absl::Status(ReadTransaction&)>& body) {
    return Read(limit, Width::kNarrow, body);
  }

 private:
  friend class ReadTransaction;
  struct Core;
  explicit ReadPool(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

}  // namespace pga::pg
