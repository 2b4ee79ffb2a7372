// Stores a push: its elements as they came, and the frames that its readings are. All in one transaction with the
// receipt by which a repeat is known, and with the readings that the next increases are counted from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/write/prepared_batch.h"
#include "libs/storage/write/record_writer.h"
#include "services/ingest/ingest_store.h"
#include "services/ingest/push_reader.h"

namespace pga::ingest {

// Reason (status::ReasonOf) of UNAVAILABLE when a source has passed to another owner since it was looked for.
inline constexpr char kReasonMoved[] = "SOURCE_MOVED";

// Nothing is owned.
struct PushJob {
  PushOrigin origin;
  int32_t collector = 0;
  // SHA-256 of the body.
  std::string_view body_hash;
  const std::vector<PushedElement>* elements = nullptr;
  // By element.
  const std::vector<PushReading>* readings = nullptr;
  // Where readings of the server and of the host go; without an id they are not stored.
  storage::SourceClaim server = {};
  storage::SourceClaim host = {};
  // As answered.
  int64_t rows = 0;
  int64_t refused = 0;
  int64_t now_us = 0;
};

struct PushStored {
  // The same body was stored within a day: these are its numbers, and nothing was stored now.
  bool repeated = false;
  int64_t rows = 0;
  int64_t refused = 0;
  // Elements without a reading.
  int64_t untyped = 0;
  int64_t frames = 0;
  // Values that their metrics cannot take.
  int64_t unreadable = 0;
  // Readings older than what is stored of their metric, which hold nothing new.
  int64_t late = 0;
};

// Thread-safe. Connections are opened when first needed.
class PushWriter {
 public:
  // At most `connections` pushes are stored at a time; more wait.
  PushWriter(pg::CopyConnectionOptions options, int connections);
  ~PushWriter();

  // All or nothing. RESOURCE_EXHAUSTED when no connection became free until the deadline; UNAVAILABLE with kReasonMoved
  // or kReasonDatabaseChanged when what the job names holds no more; else as CopyConnection says. Repeating is safe.
  absl::StatusOr<PushStored> Store(const PushJob& job, clock::SteadyTime deadline);

 private:
  struct Connection;
  // Null when none is idle.
  absl::StatusOr<std::unique_ptr<Connection>> Lease(clock::SteadyTime deadline);
  void Return(std::unique_ptr<Connection> connection);
  absl::Status Begin(std::unique_ptr<Connection>* connection, clock::SteadyTime deadline) const;
  absl::StatusOr<PushStored> StoreBy(Connection& connection, const PushJob& job, clock::SteadyTime deadline) const;

  const pg::CopyConnectionOptions options_;
  absl::Mutex mutex_;
  int free_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Connection>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ingest
