#include "libs/storage/read/sample_reader.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "libs/catalog/metric.h"
#include "libs/clock/micros.h"
#include "libs/columns/block.h"
#include "libs/columns/kernels.h"
#include "libs/status/status.h"
#include "libs/storage/read/fetch.h"
#include "libs/storage/read/load.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using clock::FloorTo;
using clock::kDayMicros;
using clock::kHourMicros;
using columns::ColumnId;
using internal::Cat;

// Rows that one read opens at most, and values of one source, which are in memory together (8 bytes each).
constexpr size_t kMaxReadings = 20'000'000;
constexpr size_t kMaxCells = 16'000'000;

int64_t Millis(int64_t us) {
  return us >= 0 ? us / 1000 : -((-us + 999) / 1000);
}

// What is known of one series while its readings are gone through.
struct State {
  std::vector<std::string> labels;
  bool there = false;
  // Of the last reading that had a row of it.
  int64_t seen_us = 0;
  struct Value {
    // A counter's total is known from some reading on.
    bool known = false;
    double value = 0;
  };
  std::vector<Value> values;
  std::vector<std::vector<Sample>> samples;
};

// Goes through the readings of one source.
class Walk {
 public:
  // `by_row`: labels may differ from row to row of a series.
  Walk(const SampleQuery& query, bool by_row, int64_t* samples) : query_(query), by_row_(by_row), samples_(samples) {
    for (const int column : query.values) {
      counter_.push_back(query.metric->columns(column).kind() == catalog_pb::COLUMN_KIND_COUNTER);
      info_.push_back(query.metric->columns(column).kind() == catalog_pb::COLUMN_KIND_INFO);
    }
  }

  absl::Status Source(int32_t source, ReadingOrder* order, int64_t now_ms, std::vector<SampleSeries>* out) {
    const std::vector<ReadingOrder::Reading> readings = order->Readings();
    of_series_.assign(order->sets(), {});
    for (size_t next = 0, first = 0; first < readings.size(); first = next) {
      while (next < readings.size() && readings[next].scope == readings[first].scope) ++next;
      states_.clear();
      for (auto& known : of_series_) known.clear();
      for (size_t i = first; i < next; ++i) {
        Apply(*order, readings[i]);
        if (query_.repeat_every_ms > 0 && !readings[i].keyframe) {
          size_t after = i + 1;
          while (after < next && readings[after].keyframe) ++after;
          Repeat(readings[i], after < next ? &readings[after] : nullptr, now_ms);
        }
        if (*samples_ > query_.max_samples) {
          return absl::InvalidArgumentError(Cat("the answer has more than ", query_.max_samples,
                                                " samples; shorten the range, or choose fewer series by their labels"));
        }
      }
      for (auto& [key, state] : states_) {
        SampleSeries series{source, std::move(state.labels), std::move(state.samples)};
        const bool any = std::any_of(series.samples.begin(), series.samples.end(),
                                     [](const auto& samples) { return !samples.empty(); });
        if (any) out->push_back(std::move(series));
      }
    }
    order->Clear();
    return absl::OkStatus();
  }

 private:
  bool Wanted(int64_t us) const { return Millis(us) >= query_.start_ms && Millis(us) <= query_.end_ms; }

  void Emit(State* state, size_t value, int64_t us, double number) {
    if (!Wanted(us)) return;
    std::vector<Sample>& samples = state->samples[value];
    const int64_t ms = Millis(us);
    if (!samples.empty() && samples.back().time_ms >= ms) return;
    samples.push_back({ms, number});
    ++*samples_;
  }
  void EmitAll(State* state, int64_t us) {
    for (size_t i = 0; i < state->values.size(); ++i) {
      if (state->values[i].known) Emit(state, i, us, state->values[i].value);
    }
  }
  void End(State* state, int64_t us) {
    if (!std::exchange(state->there, false)) return;
    for (size_t i = 0; i < state->values.size(); ++i) EndValue(state, i, us);
  }
  void EndValue(State* state, size_t value, int64_t us) {
    const std::vector<Sample>& samples = state->samples[value];
    if (!samples.empty() && !std::isnan(samples.back().value)) Emit(state, value, us, StaleValue());
    if (!Counter(value)) state->values[value].known = false;
  }
  // Without columns the only value says that there was a reading.
  bool Counter(size_t value) const { return value < counter_.size() && counter_[value]; }

  // The state of a row's series; null when it is not wanted.
  State* Find(const ReadingOrder& order, const ReadingOrder::Place& place) {
    const columns::RowSet& rows = order.rows(place);
    auto& known = of_series_[place.set];
    if (known.empty()) known.resize(rows.series());
    std::optional<State*>& cached = known[rows.row_series[place.row]];
    // Labels of kind info stand in the rows.
    if (cached && !by_row_) return *cached;
    std::vector<std::string> labels;
    std::string key;
    for (const int label : query_.labels) {
      const CellOfRow cell = CellOf(rows, static_cast<ColumnId>(label + 1), place.row);
      const catalog_pb::Column& column = query_.metric->columns(label);
      labels.push_back(cell.known() ? TextOf(columns::ValueOf(cell.column, cell.row), column.type()) : std::string());
      if (column.kind() != catalog_pb::COLUMN_KIND_LABEL) continue;
      key.append(labels.back());
      key.push_back('\0');
    }
    const auto place_of = states_.find(key);
    State* found = nullptr;
    if (place_of != states_.end()) {
      found = &place_of->second;
    } else if (!place.gone && query_.keep(labels)) {
      found = &states_[key];
      const size_t values = std::max<size_t>(query_.values.size(), 1);
      found->values.resize(values);
      found->samples.resize(values);
    }
    if (found != nullptr && !place.gone) {
      if (query_.value_of) {
        const std::optional<double> said = query_.value_of(labels);
        found->values[0] = {said.has_value(), said.value_or(0)};
      }
      found->labels = std::move(labels);
    }
    if (found != nullptr || !place.gone) cached = found;
    return found;
  }

  std::optional<double> ValueAt(const columns::RowSet& rows, size_t row, size_t value, bool bucket) const {
    const auto id = static_cast<ColumnId>(query_.values[value] + 1);
    const auto number = [&](ColumnId column) -> std::optional<double> {
      const CellOfRow cell = CellOf(rows, column, row);
      if (!cell.known()) return std::nullopt;
      return cell.column->Number(cell.row);
    };
    if (!bucket || counter_[value]) return number(id);
    // Hours and days have no numbers of kind info.
    if (info_[value]) return std::nullopt;
    switch (query_.bucket_value) {
      case BucketValue::kLeast:
        return number(static_cast<ColumnId>(id + columns::kMin));
      case BucketValue::kGreatest:
        return number(static_cast<ColumnId>(id + columns::kMax));
      case BucketValue::kLast:
        return number(static_cast<ColumnId>(id + columns::kLast));
      case BucketValue::kAverage:
        break;
    }
    const std::optional<double> sum = number(static_cast<ColumnId>(id + columns::kSum));
    const std::optional<double> count = number(static_cast<ColumnId>(id + columns::kCount));
    if (!sum || !count || *count <= 0) return std::nullopt;
    return *sum / *count;
  }

  // Takes what an absolute reading says; of counters only where nothing is known, or before the first sample.
  void TakeAbsolute(const columns::RowSet& rows, size_t row, int64_t us, State* state) {
    state->there = true;
    state->seen_us = us;
    for (size_t i = 0; i < query_.values.size(); ++i) {
      State::Value& value = state->values[i];
      if (Counter(i) && value.known && Millis(us) > query_.start_ms) continue;
      const std::optional<double> read = ValueAt(rows, row, i, false);
      if (Counter(i) && !read) continue;
      value = {read.has_value(), read.value_or(0)};
      if (value.known) Emit(state, i, us, value.value);
    }
  }

  void TakeRow(const columns::RowSet& rows, size_t row, const ReadingOrder::Reading& reading, State* state) {
    const bool bucket = reading.level > 0;
    state->there = true;
    state->seen_us = reading.end_us;
    for (size_t i = 0; i < query_.values.size(); ++i) {
      State::Value& value = state->values[i];
      const std::optional<double> read = ValueAt(rows, row, i, bucket);
      if (!Counter(i)) {
        value = {read.has_value(), read.value_or(0)};
        if (value.known) Emit(state, i, reading.end_us, value.value);
        continue;
      }
      if (!read) continue;
      if (!value.known) {
        // It was not there before, or nothing is known of before: it counts from here on.
        value = {true, 0};
        if (reading.start_us < reading.end_us) Emit(state, i, reading.start_us, 0);
      }
      value.value += *read;
      Emit(state, i, reading.end_us, value.value);
    }
    if (query_.values.empty()) {
      if (!query_.value_of) state->values[0] = {true, 1};
      EmitAll(state, reading.end_us);
    }
  }

  void Apply(const ReadingOrder& order, const ReadingOrder::Reading& reading) {
    for (size_t at = reading.first; at < reading.last; ++at) {
      const ReadingOrder::Place& place = order.places()[at];
      State* const state = Find(order, place);
      if (state == nullptr) continue;
      if (place.gone) {
        if (state->seen_us < reading.end_us) End(state, reading.end_us);
      } else if (reading.keyframe) {
        TakeAbsolute(order.rows(place), place.row, reading.end_us, state);
      } else {
        TakeRow(order.rows(place), place.row, reading, state);
      }
    }
    if (reading.keyframe) return;
    for (auto& [key, state] : states_) {
      if (!state.there || state.seen_us == reading.end_us) continue;
      if (query_.metric->skip_unchanged() || reading.level > 0) {
        if (reading.level <= 0 && reading.end_us - state.seen_us > absl::ToInt64Microseconds(kHoldsFor)) {
          End(&state, reading.end_us);
        } else if (reading.level <= 0) {
          EmitAll(&state, reading.end_us);
        } else {
          Held(&state, reading.end_us);
        }
        continue;
      }
      Absent(&state, reading.end_us);
    }
  }

  // A bucket without a row: counters stand, of gauges nothing is known.
  void Held(State* state, int64_t us) {
    for (size_t i = 0; i < state->values.size(); ++i) {
      if (Counter(i) && state->values[i].known) Emit(state, i, us, state->values[i].value);
    }
  }

  // A reading with every row has none of the series.
  void Absent(State* state, int64_t us) {
    bool there = false;
    if (query_.values.empty()) EndValue(state, 0, us);
    for (size_t i = 0; i < query_.values.size(); ++i) {
      if (query_.metric->columns(query_.values[i]).absent_is_zero()) {
        state->values[i] = {true, 0};
        Emit(state, i, us, 0);
        there = true;
      } else {
        EndValue(state, i, us);
      }
    }
    state->there = there;
  }

  // What a reading says until the next one, where that is far away.
  void Repeat(const ReadingOrder::Reading& reading, const ReadingOrder::Reading* next, int64_t now_ms) {
    if (reading.level > 0) return;
    const int64_t length_ms = Millis(reading.end_us) - Millis(reading.start_us);
    int64_t until_ms = Millis(reading.end_us) + 2 * length_ms;
    if (next != nullptr) {
      until_ms = next->start_us <= reading.end_us + kTouchMicros ? Millis(next->end_us)
                                                                 : std::min(until_ms, Millis(next->end_us));
    } else {
      until_ms = std::min({until_ms, now_ms, query_.end_ms + 1});
    }
    const int64_t gap_ms = until_ms - Millis(reading.end_us);
    if (gap_ms <= query_.repeat_every_ms) return;
    const int64_t parts = (gap_ms + query_.repeat_every_ms - 1) / query_.repeat_every_ms;
    for (int64_t part = 1; part < parts; ++part) {
      const int64_t us = (Millis(reading.end_us) + gap_ms * part / parts) * 1000;
      if (!Wanted(us)) continue;
      for (auto& [key, state] : states_) {
        if (state.there) EmitAll(&state, us);
      }
    }
  }

  const SampleQuery& query_;
  const bool by_row_;
  int64_t* const samples_;
  // Per value.
  std::vector<bool> counter_, info_;
  // By labels, in their order; pointers to states stay.
  std::map<std::string, State> states_;
  // Per set and series of it.
  std::vector<std::vector<std::optional<State*>>> of_series_;
};

absl::Status ReadAt(pg::ReadTransaction& tx, const SampleQuery& query, int16_t metric_id, int level, int64_t now_ms,
                    const pg::CallLimit& limit, std::vector<SampleSeries>* out) {
  out->clear();
  const catalog_pb::Metric& metric = *query.metric;
  bool counters = false;
  std::set<ColumnId> raw, buckets;
  bool by_row = false;
  for (const int label : query.labels) {
    raw.insert(static_cast<ColumnId>(label + 1));
    by_row = by_row || metric.columns(label).kind() != catalog_pb::COLUMN_KIND_LABEL;
  }
  buckets = raw;
  for (const int value : query.values) {
    const auto id = static_cast<ColumnId>(value + 1);
    raw.insert(id);
    if (metric.columns(value).kind() == catalog_pb::COLUMN_KIND_COUNTER) {
      counters = true;
      buckets.insert(id);
      continue;
    }
    if (metric.columns(value).kind() == catalog_pb::COLUMN_KIND_INFO) continue;
    for (const ColumnId by :
         {columns::kMin, columns::kMax, columns::kSum, columns::kCount, columns::kLast, columns::kLastAge}) {
      buckets.insert(static_cast<ColumnId>(id + by));
    }
  }
  const int64_t start_us = query.start_ms * 1000;
  // Behind the end: a reading of that very instant counts.
  const int64_t end_us = query.end_ms * 1000 + 1000;
  const bool holds = level == 0 && (counters || metric.skip_unchanged());
  int64_t from_us = holds ? start_us - absl::ToInt64Microseconds(kHoldsFor) : start_us;
  columns::Cells cells;
  if (level == 0) {
    cells.push_back({from_us, end_us, 0, 0});
  } else {
    // Whole buckets, also the one that holds the end: its increases stand at its end.
    const int64_t unit = level == 1 ? kHourMicros : kDayMicros;
    from_us = FloorTo(start_us, unit);
    for (int64_t at = from_us; at < end_us; at += unit) {
      cells.push_back({at, at + unit, 0, static_cast<int8_t>(level)});
    }
  }
  FetchSpec spec;
  spec.metric = &metric;
  spec.metric_ids = {metric_id};
  spec.source_ids = IdsOf(query.sources);
  spec.cells = &cells;
  spec.raw.assign(raw.begin(), raw.end());
  spec.buckets.assign(buckets.begin(), buckets.end());
  spec.keyframes = holds;
  spec.by_source = true;
  if (query.located) {
    const ColumnId by = LocateBy(metric);
    const columns::Type type = by == 0 ? columns::Type::kText : ColumnsOf(metric)[static_cast<size_t>(by - 1)].type;
    FetchSpec::Located located;
    int64_t number = 0;
    const char* const end = query.located->data() + query.located->size();
    if (type == columns::Type::kText) {
      located.key = columns::LocateKey(std::string_view(*query.located));
    } else if (std::from_chars(query.located->data(), end, number).ptr == end) {
      located.key = columns::LocateKey(number);
    } else {
      return absl::OkStatus();
    }
    if (by != 0) spec.located = std::vector<FetchSpec::Located>{std::move(located)};
  }

  int64_t samples = 0;
  size_t readings = 0;
  Walk walk(query, by_row, &samples);
  ReadingOrder order;
  std::optional<int32_t> source;
  const absl::Status fetched_all = FetchRows(tx, spec, [&](Fetched& fetched) -> absl::Status {
    if (source && *source != fetched.source_id) {
      PGA_RETURN_IF_ERROR(limit.Check());
      PGA_RETURN_IF_ERROR(walk.Source(*source, &order, now_ms, out));
    }
    source = fetched.source_id;
    readings += fetched.rows.rows();
    const size_t cells_of_row = query.labels.size() + query.values.size() + 2;
    if (readings > kMaxReadings || (order.size() + fetched.rows.rows()) * cells_of_row > kMaxCells) {
      return absl::InvalidArgumentError(
          "the query reads more rows than fit in memory; shorten its range, or choose fewer metrics by name");
    }
    order.Add(&fetched, from_us);
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(fetched_all);
  return source ? walk.Source(*source, &order, now_ms, out) : absl::OkStatus();
}

}  // namespace

double StaleValue() {
  return std::bit_cast<double>(uint64_t{0x7ff0000000000002});
}

absl::StatusOr<std::vector<SampleSeries>> SampleReader::Read(const SampleQuery& query, const pg::CallLimit& limit) {
  std::vector<SampleSeries> series;
  if (query.sources.empty() || query.end_ms < query.start_ms) return series;
  const int64_t now_ms = absl::ToUnixMillis(clock_->Now());
  const int64_t kept_ms = int64_t{RetentionOf(*query.metric).raw} * 24 * 3600 * 1000;
  const bool raw_kept = query.start_ms >= now_ms - kept_ms;
  const bool hours = raw_kept && query.window_ms >= kHoursFromMs && catalog::HasHours(*query.metric);
  const absl::Status done = pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    const absl::StatusOr<StoredMetric> stored = FindMetric(tx, query.metric->name());
    if (absl::IsFailedPrecondition(stored.status())) return absl::OkStatus();
    PGA_RETURN_IF_ERROR(stored.status());
    const absl::Status read = ReadAt(tx, query, stored->id, raw_kept ? 0 : 2, now_ms, limit, &series);
    // More than may be given: hours may do.
    if (!absl::IsInvalidArgument(read) || !hours) return read;
    return ReadAt(tx, query, stored->id, 1, now_ms, limit, &series);
  });
  PGA_RETURN_IF_ERROR(done);
  return series;
}

}  // namespace pga::storage
