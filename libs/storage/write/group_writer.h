// Writes batches of many collectors in one transaction: records, receipts and watermarks commit together, which is what
// makes delivery exactly once (services/ingest/README.md). One libpq connection, one thread.
//
// A group that fails is written batch by batch, unless the reason has nothing to do with what is in it: a lost
// connection, a server without resources, an aborted transaction. A batch that fails alone goes to quarantine in the
// transaction that advances its watermark: at once when its data is refused (SQLSTATE class 22, 23 or 54), after
// kMaxFailuresAlone attempts for any other reason. What may pass later is answered with kRetry or kSchema and leaves no
// trace. Reasons are distinguished by SQLSTATE, never by words, which are in the server's language.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/storage/write/prepared_batch.h"

namespace pga::storage {

// Attempts at one batch alone, over calls of one writer, before it is put aside.
inline constexpr int kMaxFailuresAlone = 3;

enum class BatchOutcome {
  kCommitted,    // stored by this call, or shown to be stored after a COMMIT of unknown outcome
  kDuplicate,    // stored earlier with the same hash
  kQuarantined,  // put aside; the watermark has passed it
  kGap,          // its number is beyond expected_seq
  kFork,         // other bytes were stored under its number or before it
  kFenced,       // a newer session of the collector has taken over
  kLocked,       // another writer holds the stream's watermark; write it again, alone
  kRetry,        // the database cannot take it now
  kSchema,       // a table, a column or a right on them is not there yet
  kMoved,        // a source has passed to another owner since it was prepared: prepare it again
  kStale,        // the numbers of its collector or sources are not theirs in this database: ask for them again
};

struct BatchResult {
  BatchOutcome outcome = BatchOutcome::kRetry;
  // For kCommitted, kDuplicate, kQuarantined, kGap, kFork: the stream's watermark after the call.
  int64_t last_seq = 0;
  std::string last_hash;
  // For kGap: the number to go on with. For kFork: the first number whose bytes differ.
  int64_t expected_seq = 0;
  // Set unless kCommitted or kDuplicate: what happened, fit for the collector.
  absl::Status status;
  // For kRetry, kSchema, kLocked, kMoved.
  absl::Duration retry_after;
  // For kQuarantined and kRetry: the database refused it inside a transaction (so that it must not share one for a
  // while).
  bool poison = false;
};

// Moments inside WriteGroup, for tests that cause failures there.
enum class WritePoint { kConnected, kBeforeBegin, kBegun, kLocked, kMidCopy, kBeforeCommit, kCommitted };

struct GroupWriterOptions {
  std::string url;
  std::string application_name = "pga-ingest writer";
  std::string role = "pganalytics_ingest";
  absl::Duration connect_timeout = absl::Seconds(5);
  // For one attempt at a group, from BEGIN to COMMIT.
  absl::Duration transaction_timeout = absl::Seconds(30);
  // How long one look-up after a COMMIT of unknown outcome may take, reconnecting included.
  absl::Duration lookup_timeout = absl::Seconds(10);
  // Attempts after deadlocks and serialization failures.
  int max_attempts = 4;
  // Called on the writer's thread with every connection: which database it leads to. Another identity than before means
  // that the database may be an older or another one, so that what is remembered of it no longer holds. Empty when the
  // server does not say. May be null.
  std::function<void(const std::string& identity)> on_database;
  // Called on the writer's thread; null outside tests.
  std::function<void(WritePoint)> on_point;
};

struct GroupWriterStats {
  int64_t groups = 0;
  int64_t rows = 0;
  int64_t connects = 0;
  int64_t unknown_commits = 0;
  int64_t split_groups = 0;
  int64_t serialization_retries = 0;
};

// Used by one thread at a time; stats() by any.
class GroupWriter {
 public:
  // Does not connect. InvalidArgument if the URL is empty or does not parse.
  static absl::StatusOr<std::unique_ptr<GroupWriter>> Create(GroupWriterOptions options);
  ~GroupWriter();

  // One result per batch, in the order of `batches`; batches of one stream must be in the order of their numbers.
  // Blocks for at most transaction_timeout per attempt plus lookup_timeout; split groups take one transaction per
  // batch. Repeating a call is safe: what is stored is answered kDuplicate.
  std::vector<BatchResult> WriteGroup(const std::vector<const PreparedBatch*>& batches);

  // 0 when there is no connection.
  int backend_pid() const;
  GroupWriterStats stats() const;

 private:
  class Impl;
  explicit GroupWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pga::storage
