// Looks for anomalies in stored hours of statements.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/call_limit.h"
#include "libs/storage/read/source_reader.h"
#include "services/query/insight/anomaly_store.h"
#include "services/query/readers.h"

namespace pga::query {

struct AnomalySearch {
  std::vector<StoredAnomaly> found;
  int statements = 0;
  int without_baseline = 0;
  // Sources that were looked at before the time was over.
  int sources = 0;
};

// The `hours` full hours before `end` (a full hour) of the 200 statements of most time of each source, against the 28
// days before. Ends early, between two sources, when half of the time to the deadline is over.
absl::StatusOr<AnomalySearch> SearchAnomalies(const Readers& readers, const std::vector<storage::SourceRef>& sources,
                                              absl::Time end, int hours, const pg::CallLimit& limit);

}  // namespace pga::query
