#include "libs/storage/takeover/stored_counters.h"

#include <algorithm>
#include <utility>

#include "libs/columns/kernels.h"
#include "libs/columns/row_set.h"
#include "libs/pg/call_limit.h"
#include "libs/status/status.h"
#include "libs/storage/read/fetch.h"
#include "libs/storage/takeover/counter_state.h"

namespace pga::storage {
namespace {

// The year 2200: a collector's clock may be ahead.
constexpr int64_t kForEverUs = int64_t{7'258'118'400} * 1'000'000;

}  // namespace

absl::StatusOr<std::vector<StoredCounters>> LoadCounters(pg::ReadPool* pool, int32_t source, int16_t metric_id,
                                                         const pganalytics::catalog::v1::Metric& metric,
                                                         const std::vector<CounterRunRef>& scopes,
                                                         clock::SteadyTime deadline) {
  std::vector<StoredCounters> states;
  if (scopes.empty()) return states;
  int64_t oldest_us = scopes.front().keyframe_us;
  for (const CounterRunRef& scope : scopes) oldest_us = std::min(oldest_us, scope.keyframe_us);
  const columns::Cells cells = {{.start_us = oldest_us, .end_us = kForEverUs}};
  FetchSpec spec;
  spec.metric = &metric;
  spec.metric_ids = {metric_id};
  spec.source_ids = {source};
  spec.raw = CounterState(&metric).Columns();
  spec.keyframes = true;
  spec.cells = &cells;
  std::vector<columns::RowSet> keyframes, deltas;
  pg::CallLimit limit;
  limit.deadline = deadline;
  PGA_RETURN_IF_ERROR(pool->Read(limit, [&](pg::ReadTransaction& tx) -> absl::Status {
    keyframes.clear();
    deltas.clear();
    return FetchRows(tx, spec, [&](Fetched& fetched) -> absl::Status {
      (fetched.keyframes ? keyframes : deltas).push_back(std::move(fetched.rows));
      return absl::OkStatus();
    });
  }));
  for (const CounterRunRef& scope : scopes) {
    CounterState state(&metric);
    state.Apply(keyframes, deltas, scope.scope, scope.keyframe_us);
    if (state.newest_us() == 0) continue;
    states.push_back({scope.scope, state.newest_us(), state.Serialize()});
  }
  return states;
}

}  // namespace pga::storage
