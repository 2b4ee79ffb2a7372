// Anomalies in the metadata database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "services/query/insight/anomaly.h"
#include "services/query/insight/snapshot_store.h"

namespace pga::query {

struct StoredAnomaly {
  int32_t id = 0;
  std::string source_id;  // UUID
  std::string source_name;
  std::string source_group;
  std::string database;
  int64_t query_id = 0;
  std::string fingerprint;
  FoundAnomaly found;
  double calls = 0;
  absl::Time hour;
  absl::Time detected_at;
  std::optional<absl::Time> resolved_at;
  std::string resolved_by;
};

// Thread-safe; blocks until the deadline at most. FAILED_PRECONDITION without a metadata database.
class AnomalyStore {
 public:
  // The pool may be null; else it must outlive the store.
  explicit AnomalyStore(pg::Pool* pool) : pool_(pool) {}

  // Keeps those that are not there yet and says how many; what is older than 90 days goes.
  absl::StatusOr<int> Add(const std::vector<StoredAnomaly>& anomalies, absl::Time now, clock::SteadyTime deadline);
  // Those of a severity that nobody has resolved, newest first.
  absl::StatusOr<std::vector<StoredAnomaly>> Open(const std::vector<std::string>& groups, const std::string& severity,
                                                  int limit, clock::SteadyTime deadline);
  // Those of a statement from an hour on, newest first, at most 1,000.
  absl::StatusOr<std::vector<StoredAnomaly>> OfQuery(const std::vector<std::string>& groups, int64_t query_id,
                                                     absl::Time since, clock::SteadyTime deadline);
  // NOT_FOUND for one that is not there or in no group of these.
  absl::Status Resolve(const std::vector<std::string>& groups, int32_t id, absl::Time now, const ChangedBy& by,
                       clock::SteadyTime deadline);

 private:
  absl::Status CheckPool() const;
  pg::Pool* const pool_;
};

}  // namespace pga::query
