#include "libs/storage/read/last_values.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
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
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// Each reading says all there is.
bool StandsAlone(const catalog_pb::Metric& metric) {
  return !HasCounters(metric) && !metric.skip_unchanged();
}

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

void PutFixed(uint64_t value, std::string* out) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out->append(bytes, sizeof bytes);
}

}  // namespace

LastScopeBuilder::LastScopeBuilder(const LastWanted& wanted, size_t max_rows, std::shared_ptr<const LastScope> before)
    : wanted_(wanted), max_rows_(max_rows), identity_(catalog::IdentityColumns(*wanted.metric)) {
  if (before != nullptr) state_ = *before;
  // Without counters there is nothing to be anchored.
  state_.anchored = state_.anchored || !HasCounters(*wanted.metric);
  for (int i = 0; i < wanted.metric->columns_size(); ++i) {
    if (wanted.metric->columns(i).kind() == catalog_pb::COLUMN_KIND_LABEL) label_columns_.push_back(i);
  }
  identity_is_labels_ = identity_ == label_columns_;
  for (const int value : wanted.values) {
    counter_.push_back(wanted.metric->columns(value).kind() == catalog_pb::COLUMN_KIND_COUNTER ? 1 : 0);
  }
}

std::vector<std::string> LastScopeBuilder::LabelsOf(const columns::RowSet& rows, size_t row) const {
  std::vector<std::string> texts;
  texts.reserve(wanted_.labels.size());
  for (const int label : wanted_.labels) {
    const CellOfRow cell = CellOf(rows, static_cast<ColumnId>(label + 1), row);
    texts.push_back(cell.known()
                        ? TextOf(columns::ValueOf(cell.column, cell.row), wanted_.metric->columns(label).type())
                        : std::string());
  }
  return texts;
}

std::string LastScopeBuilder::KeyOf(const columns::RowSet& rows, size_t row) const {
  std::string key;
  for (const int column : identity_) {
    const CellOfRow cell = CellOf(rows, static_cast<ColumnId>(column + 1), row);
    if (!cell.known()) {
      key.push_back('\0');
    } else if (cell.column->type == columns::Type::kText) {
      key.push_back('\2');
      key.append(cell.column->Text(cell.row));
      key.push_back('\0');
    } else {
      key.push_back('\1');
      PutFixed(cell.column->type == columns::Type::kDouble ? std::bit_cast<uint64_t>(cell.column->doubles[cell.row])
                                                           : static_cast<uint64_t>(cell.column->ints[cell.row]),
               &key);
    }
  }
  return key;
}

void LastScopeBuilder::ApplyRow(const columns::RowSet& rows, size_t row, bool absolute) {
  std::string key = KeyOf(rows, row);
  auto place = state_.rows.find(key);
  const bool made = place == state_.rows.end();
  if (made) {
    if (state_.rows.size() >= max_rows_) {
      state_.beyond.insert(std::hash<std::string>()(key));
      return;
    }
    place = state_.rows.emplace(std::move(key), LastRow()).first;
    // What began after a key frame began at 0.
    place->second.values.assign(wanted_.values.size(), state_.anchored ? 0 : kUnknown);
  }
  LastRow& to = place->second;
  std::vector<std::string> labels = LabelsOf(rows, row);
  if (!absolute && !identity_is_labels_ && labels != to.labels) {
    // A name that passed on: whoever bore it before is not there any more.
    std::erase_if(state_.rows,
                  [&](const auto& entry) { return &entry.second != &to && entry.second.labels == labels; });
  }
  to.labels = std::move(labels);
  // Which of the counters began anew is not said; of a row that is new all did.
  const bool anew = !absolute && !made && (rows.FlagsOf(row) & columns::kLowerBoundFlag) != 0;
  for (size_t i = 0; i < wanted_.values.size(); ++i) {
    const CellOfRow cell = CellOf(rows, static_cast<ColumnId>(wanted_.values[i] + 1), row);
    double& value = to.values[i];
    if (counter_[i] == 0 || absolute) {
      value = cell.known() ? cell.column->Number(cell.row) : kUnknown;
    } else if (anew) {
      value = kUnknown;
      state_.uncertain = true;
    } else if (cell.known()) {
      value += cell.column->Number(cell.row);
    } else if (made) {
      value = kUnknown;
    }
  }
}

// A row that is gone has labels alone. Whoever bears them now is the one that is gone.
void LastScopeBuilder::Drop(const columns::RowSet& rows, size_t row) {
  if (identity_is_labels_) {
    state_.rows.erase(KeyOf(rows, row));
    return;
  }
  std::vector<size_t> compared;
  for (size_t i = 0; i < wanted_.labels.size(); ++i) {
    if (wanted_.metric->columns(wanted_.labels[i]).kind() == catalog_pb::COLUMN_KIND_LABEL) compared.push_back(i);
  }
  const std::vector<std::string> gone = LabelsOf(rows, row);
  std::erase_if(state_.rows, [&](const auto& entry) {
    return std::all_of(compared.begin(), compared.end(), [&](size_t i) { return entry.second.labels[i] == gone[i]; });
  });
}

void LastScopeBuilder::Apply(const ReadingOrder& order, const ReadingOrder::Reading& reading) {
  const bool counters = HasCounters(*wanted_.metric);
  if (reading.keyframe) {
    state_.rows.clear();
    state_.beyond.clear();
    state_.anchored = true;
    state_.uncertain = false;
  } else {
    if (reading.end_us > reading.start_us) {
      state_.length_before_us = state_.length_us;
      state_.length_us = reading.end_us - reading.start_us;
    }
    if (StandsAlone(*wanted_.metric)) {
      state_.rows.clear();
      state_.beyond.clear();
    }
  }
  state_.newest_us = reading.end_us;
  std::set<std::string> there;
  // Where every row is sent, one that is missing is gone.
  const bool all_sent = counters && !reading.keyframe && !wanted_.metric->skip_unchanged();
  for (size_t at = reading.first; at < reading.last; ++at) {
    const ReadingOrder::Place& place = order.places()[at];
    const columns::RowSet& rows = order.rows(place);
    if (place.gone) {
      Drop(rows, place.row);
      continue;
    }
    if (all_sent) there.insert(KeyOf(rows, place.row));
    ApplyRow(rows, place.row, reading.keyframe);
  }
  if (all_sent) std::erase_if(state_.rows, [&](const auto& entry) { return !there.contains(entry.first); });
}

std::shared_ptr<const LastScope> LastScopeBuilder::Finish() const {
  return std::make_shared<const LastScope>(state_);
}

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
    LastScopeBuilder builder(wanted, max_rows_, scope.settled);
    int64_t settled_us = anew ? readings[begin].end_us : scope.settled_us;
    std::shared_ptr<const LastScope> before_hole;
    for (size_t i = begin; i < next; ++i) {
      const ReadingOrder::Reading& reading = readings[i];
      const bool touches =
          reading.keyframe || alone || settled_us == 0 || reading.start_us <= settled_us + kTouchMicros;
      if (before_hole == nullptr && !touches) {
        before_hole = builder.Finish();
        deeper = deeper || settled_us < from_us;
      }
      builder.Apply(*order, reading);
      if (before_hole == nullptr) settled_us = reading.end_us;
    }
    scope.shown = builder.Finish();
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
