// Stores pushed elements by COPY, in pieces: a push of 10 MiB needs no second copy of its bytes in this process, and no
// connection keeps a buffer of that size.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "services/ingest/ingest_store.h"

namespace pga::ingest {

// Thread-safe. Connections are opened when first needed.
class PushWriter {
 public:
  // At most `connections` pushes are stored at a time; more wait.
  PushWriter(pg::CopyConnectionOptions options, int connections);

  // All or nothing. RESOURCE_EXHAUSTED when no connection became free until the deadline; else as CopyConnection says.
  absl::Status Write(const PushOrigin& origin, const std::vector<PushedElement>& elements, clock::SteadyTime deadline);

 private:
  using Connection = std::unique_ptr<pg::CopyConnection>;
  // Null when none is idle.
  absl::StatusOr<Connection> Lease(clock::SteadyTime deadline);
  void Return(Connection connection);
  absl::Status Begin(Connection* connection, clock::SteadyTime deadline) const;

  const pg::CopyConnectionOptions options_;
  absl::Mutex mutex_;
  int free_ ABSL_GUARDED_BY(mutex_);
  std::vector<Connection> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ingest
