#include "libs/storage/read/last_values.h"

#include <algorithm>
#include <set>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/catalog/metric.h"
#include "libs/clock/micros.h"
#include "libs/columns/kernels.h"
#include "libs/status/status.h"
#include "libs/storage/read/fetch.h"
#include "libs/storage/read/load.h"
#include "libs/storage/read/names.h"

namespace pga::storage {
namespace {

using catalog::HasCounters;
using clock::kHourMicros;
using clock::kMinuteMicros;
using columns::ColumnId;

// The year 2200: a collector's clock may be ahead.
constexpr int64_t kForEverUs = int64_t{7'258'118'400} * 1'000'000;
// A scope whose readings ended so long before those of others is looked at from so long before these on.
constexpr int64_t kEndedUs = kHourMicros;
constexpr int64_t kLookBackUs = 10 * kMinuteMicros;
// What is missing for longer is not waited for any more.
constexpr int64_t kHolePatienceUs = kHourMicros;
constexpr int64_t kForgetAfterUs = kHourMicros;

// How far back the readings are that still say something.
int64_t HoldUs(const catalog_pb::Metric& metric) {
  if (!StandsAlone(metric)) return absl::ToInt64Microseconds(kHoldsFor);
  return std::max(kHourMicros, 3 * kMinuteMicros * std::max(metric.interval_factor(), 1));
}

// What is kept of one question is of use to the same question alone.
std::string KeyOf(const LastWanted& wanted) {
  return absl::StrCat(wanted.metric->name(), " ", absl::StrJoin(wanted.labels, ","), " ",
                      absl::StrJoin(wanted.values, ","));
}

}  // namespace

bool LastValues::Advance(const LastWanted& wanted, ReadingOrder* order, int64_t from_us, int64_t now_us,
                         Source* source) {
  const std::vector<ReadingOrder::Reading> readings = order->Readings();
  const bool alone = StandsAlone(*wanted.metric);
  bool deeper = false;
  for (size_t next = 0, first = 0; first < readings.size(); first = next) {
    while (next < readings.size() && readings[next].scope == readings[first].scope) ++next;
    Scope& scope = source->scopes[readings[first].scope];
    size_t begin = first;
    // Of the instant that is settled a key frame may still come.
    const auto known = [&](const ReadingOrder::Reading& reading) {
      const bool again =
          reading.keyframe && scope.settled != nullptr && (scope.settled->uncertain || !scope.settled->anchored);
      return reading.end_us < scope.settled_us || (reading.end_us == scope.settled_us && !again);
    };
    while (begin < next && known(readings[begin])) ++begin;
    // A key frame says all there is, and so does each reading of a metric without counters.
    for (size_t i = begin; i < next; ++i) {
      if (readings[i].keyframe || alone) begin = i;
    }
    if (begin == next) continue;
    const bool anew = readings[begin].keyframe || alone;
    LastScopeBuilder builder(wanted, max_rows_, scope.settled.get(), anew);
    int64_t settled_us = anew ? readings[begin].end_us : scope.settled_us;
    std::shared_ptr<const LastScope> before_hole;
    for (size_t i = begin; i < next; ++i) {
      const ReadingOrder::Reading& reading = readings[i];
      const bool touches =
          reading.keyframe || alone || settled_us == 0 || reading.start_us <= settled_us + kTouchMicros;
      if (before_hole == nullptr && !touches) {
        before_hole = builder.Copy();
        deeper = deeper || settled_us < from_us;
      }
      builder.Apply(*order, reading);
      if (before_hole == nullptr) settled_us = reading.end_us;
    }
    scope.shown = std::move(builder).Finish();
    if (before_hole == nullptr) {
      scope.hole_since_us = 0;
    } else if (scope.hole_since_us == 0) {
      scope.hole_since_us = now_us;
    } else if (now_us - scope.hole_since_us > kHolePatienceUs) {
      before_hole = nullptr;
      settled_us = readings[next - 1].end_us;
      scope.hole_since_us = 0;
    }
    scope.settled = before_hole == nullptr ? scope.shown : before_hole;
    scope.settled_us = settled_us;
  }
  order->Clear();
  return deeper;
}

absl::Status LastValues::Fetch(pg::ReadTransaction& tx, const LastWanted& wanted, int16_t metric_id,
                               const std::vector<int32_t>& sources, int64_t from_us, int64_t now_us, Sources* states,
                               std::vector<int32_t>* deeper) {
  if (sources.empty()) return absl::OkStatus();
  const columns::Cells cells = {{.start_us = from_us, .end_us = kForEverUs}};
  FetchSpec spec;
  spec.metric = wanted.metric;
  spec.metric_ids = {metric_id};
  spec.source_ids = sources;
  spec.cells = &cells;
  std::set<ColumnId> ids;
  for (const int column : wanted.labels) ids.insert(static_cast<ColumnId>(column + 1));
  for (const int column : wanted.values) ids.insert(static_cast<ColumnId>(column + 1));
  for (const int column : catalog::IdentityColumns(*wanted.metric)) ids.insert(static_cast<ColumnId>(column + 1));
  spec.raw.assign(ids.begin(), ids.end());
  spec.keyframes = HasCounters(*wanted.metric);
  spec.by_source = true;
  ReadingOrder order;
  std::optional<int32_t> source;
  const auto finish = [&] {
    if (source && Advance(wanted, &order, from_us, now_us, &(*states)[*source])) deeper->push_back(*source);
  };
  PGA_RETURN_IF_ERROR(FetchRows(tx, spec, [&](Fetched& fetched) {
    if (source && *source != fetched.source_id) finish();
    source = fetched.source_id;
    order.Add(&fetched, from_us);
    return absl::OkStatus();
  }));
  finish();
  return absl::OkStatus();
}

absl::Status LastValues::Refresh(pg::ReadTransaction& tx, const LastWanted& wanted,
                                 const std::vector<SourceRef>& sources, int64_t now_us, Sources* states) {
  const absl::StatusOr<StoredMetric> stored = FindMetric(tx, wanted.metric->name());
  // Not applied to the database yet: there is nothing of it.
  if (absl::IsFailedPrecondition(stored.status())) return absl::OkStatus();
  PGA_RETURN_IF_ERROR(stored.status());
  // Those that were read up to just now, up to some time before, and not at all.
  std::vector<int32_t> recent, older, fresh, deeper;
  int64_t recent_us = now_us, older_us = now_us;
  const int64_t hold_us = HoldUs(*wanted.metric);
  for (const SourceRef& ref : sources) {
    Source& source = (*states)[ref.id];
    source.used_us = now_us;
    std::erase_if(source.scopes, [&](const auto& entry) {
      // A collector may read it more rarely than every minute.
      const LastScope& shown = *entry.second.shown;
      return shown.newest_us < now_us - std::max(hold_us, 2 * shown.interval_us() + kMinuteMicros);
    });
    if (source.scopes.empty()) {
      fresh.push_back(ref.id);
      continue;
    }
    int64_t newest_us = 0;
    for (const auto& [id, scope] : source.scopes) newest_us = std::max(newest_us, scope.settled_us);
    int64_t from_us = now_us;
    for (const auto& [id, scope] : source.scopes) {
      const bool again = scope.settled->uncertain || !scope.settled->anchored;
      int64_t since_us = scope.settled_us + (again ? 0 : 1);
      // A scope that ended does not keep the others of its source from going on.
      if (scope.settled_us < newest_us - kEndedUs) since_us = std::max(since_us, newest_us - kLookBackUs);
      from_us = std::min(from_us, scope.hole_since_us != 0 ? scope.settled_us : since_us);
    }
    from_us = std::max(from_us, now_us - hold_us);
    const bool now = from_us >= now_us - 3 * kMinuteMicros;
    (now ? recent : older).push_back(ref.id);
    (now ? recent_us : older_us) = std::min(now ? recent_us : older_us, from_us);
  }
  PGA_RETURN_IF_ERROR(Fetch(tx, wanted, stored->id, recent, recent_us, now_us, states, &deeper));
  PGA_RETURN_IF_ERROR(Fetch(tx, wanted, stored->id, older, older_us, now_us, states, &deeper));
  PGA_RETURN_IF_ERROR(Fetch(tx, wanted, stored->id, fresh, now_us - hold_us, now_us, states, &deeper));
  if (!deeper.empty()) {
    int64_t from_us = now_us;
    for (const int32_t id : deeper) {
      for (const auto& [scope_id, scope] : (*states)[id].scopes) from_us = std::min(from_us, scope.settled_us);
    }
    const std::vector<int32_t> again = std::move(deeper);
    deeper.clear();
    PGA_RETURN_IF_ERROR(
        Fetch(tx, wanted, stored->id, again, std::max(from_us, now_us - hold_us), now_us, states, &deeper));
  }
  return absl::OkStatus();
}

void LastValues::Forget(int64_t now_us) {
  for (auto& [metric, sources] : states_) {
    absl::erase_if(sources, [&](const auto& entry) { return entry.second.used_us < now_us - kForgetAfterUs; });
  }
}

absl::StatusOr<std::vector<std::vector<LastSource>>> LastValues::Read(const std::vector<LastWanted>& wanted,
                                                                      const std::vector<SourceRef>& sources,
                                                                      const pg::CallLimit& limit) {
  {
    absl::MutexLock lock(&mutex_);
    if (!clock::AwaitUntil(mutex_, absl::Condition(this, &LastValues::Idle), limit.deadline)) {
      return absl::DeadlineExceededError("another scrape is still being answered");
    }
    busy_ = true;
  }
  const absl::Cleanup release = [this] {
    absl::MutexLock lock(&mutex_);
    busy_ = false;
  };
  const int64_t now_us = absl::ToUnixMicros(clock_->Now());
  Forget(now_us);
  std::vector<std::vector<LastSource>> answer(wanted.size(), std::vector<LastSource>(sources.size()));
  if (sources.empty()) return answer;
  const absl::Status done = pool_->Read(limit, WidthOf(sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    for (const LastWanted& metric : wanted) {
      PGA_RETURN_IF_ERROR(limit.Check());
      PGA_RETURN_IF_ERROR(Refresh(tx, metric, sources, now_us, &states_[KeyOf(metric)]));
    }
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  for (size_t metric = 0; metric < wanted.size(); ++metric) {
    Sources& states = states_[KeyOf(wanted[metric])];
    for (size_t i = 0; i < sources.size(); ++i) {
      for (const auto& [id, scope] : states[sources[i].id].scopes) answer[metric][i].push_back(scope.shown);
    }
  }
  return answer;
}

}  // namespace pga::storage
