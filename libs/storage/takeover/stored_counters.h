// Reads what is stored of a source's counters into states that a new owner goes on from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/clock/steady.h"
#include "libs/pg/read_pool.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

// A scope, and the instant of its newest key frame, microseconds.
struct CounterRunRef {
  int64_t scope = 0;
  int64_t keyframe_us = 0;
};

struct StoredCounters {
  int64_t scope = 0;
  // The newest instant that is stored.
  int64_t newest_us = 0;
  // CounterState::Serialize.
  std::string state;
};

// The states of one metric of one source, from the newest key frame of each scope and the increases since, as one state
// of the database has them. A scope whose key frame is not there any more has none. Blocks until `deadline` at most and
// holds the metric's rows since the oldest of the key frames in memory. FAILED_PRECONDITION for rows that cannot be
// read.
absl::StatusOr<std::vector<StoredCounters>> LoadCounters(pg::ReadPool* pool, int32_t source, int16_t metric_id,
                                                         const pganalytics::catalog::v1::Metric& metric,
                                                         const std::vector<CounterRunRef>& scopes,
                                                         clock::SteadyTime deadline);

}  // namespace pga::storage
