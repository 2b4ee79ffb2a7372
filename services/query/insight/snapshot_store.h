// Snapshots: named instants in the metadata database, to compare with later.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"

namespace pga::query {

struct StoredSnapshot {
  int32_t id = 0;
  std::string name;
  std::string description;
  std::string type;
  absl::Time created_at;
  std::string created_by;
};

// Who asked for a change, for the audit log.
struct ChangedBy {
  std::string actor;
  int32_t user_id = 0;
  std::string name;
  std::string peer;
  std::string request_id;
};

// Thread-safe; blocks until the deadline at most. FAILED_PRECONDITION without a metadata database.
class SnapshotStore {
 public:
  // The pool may be null; else it must outlive the store.
  explicit SnapshotStore(pg::Pool* pool) : pool_(pool) {}

  absl::StatusOr<StoredSnapshot> Create(const std::string& name, const std::string& description,
                                        const std::string& type, absl::Time at, const ChangedBy& by,
                                        clock::SteadyTime deadline);
  // Newest first.
  absl::StatusOr<std::vector<StoredSnapshot>> List(int limit, clock::SteadyTime deadline);
  // NOT_FOUND.
  absl::StatusOr<StoredSnapshot> Get(int32_t id, clock::SteadyTime deadline);

 private:
  absl::Status CheckPool() const;
  pg::Pool* const pool_;
};

}  // namespace pga::query
