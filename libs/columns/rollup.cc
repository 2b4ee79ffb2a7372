#include "libs/columns/rollup.h"

#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

namespace pga::columns {
namespace {

Type NumberType(Type type) {
  return type == Type::kDouble ? Type::kDouble : Type::kInt;
}

// Bucket that holds the instant, or -1.
int BucketOf(const std::vector<int64_t>& edges, int64_t instant) {
  if (instant < edges.front() || instant >= edges.back()) return -1;
  return static_cast<int>(std::upper_bound(edges.begin(), edges.end(), instant) - edges.begin()) - 1;
}

// The buckets that (start, end] touches: first and last, which may lie outside of the edges.
std::pair<int, int> BucketsOf(const std::vector<int64_t>& edges, int64_t start, int64_t end) {
  const int count = static_cast<int>(edges.size()) - 1;
  if (start >= end) {
    const int bucket = BucketOf(edges, end);
    return bucket < 0 ? std::pair(0, -1) : std::pair(bucket, bucket);
  }
  if (end <= edges.front() || start >= edges.back()) return {0, -1};
  const int first = start < edges.front() ? 0 : BucketOf(edges, start);
  const int last = end > edges.back() ? count - 1 : BucketOf(edges, end - 1);
  return {first, last};
}

// One number that gathers what falls into a bucket.
struct Number {
  bool set = false;
  int64_t whole = 0;
  double real = 0;
};

// What one series leaves in one bucket.
struct Cell {
  bool used = false;
  int flags = 0;
  int64_t newest_us = INT64_MIN;
  bool gone = false;
};

}  // namespace

int64_t ShareBefore(int64_t delta, int64_t start_us, int64_t end_us, int64_t until_us) {
  if (until_us >= end_us) return delta;
  if (until_us <= start_us) return 0;
  const __int128 product = static_cast<__int128>(delta) * (until_us - start_us);
  const __int128 length = end_us - start_us;
  __int128 share = product / length;
  if (product % length != 0 && product < 0) --share;
  return static_cast<int64_t>(share);
}

int64_t AddSaturating(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return a > 0 ? INT64_MAX : INT64_MIN;
}

Shape RawShape(const std::vector<MetricColumn>& columns, ColumnId locate_by) {
  Shape shape;
  shape.locate_by = locate_by;
  for (const MetricColumn& column : columns) {
    shape.parts.push_back({column.id, column.type, column.kind == Kind::kLabel, Combine::kNone});
  }
  std::sort(shape.parts.begin(), shape.parts.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return shape;
}

Shape BucketShape(const std::vector<MetricColumn>& columns, ColumnId locate_by) {
  Shape shape;
  shape.locate_by = locate_by;
  shape.buckets = true;
  for (const MetricColumn& column : columns) {
    const ColumnId id = column.id;
    switch (column.kind) {
      case Kind::kLabel:
        shape.parts.push_back({id, column.type, true, Combine::kNone});
        break;
      case Kind::kCounter:
        shape.parts.push_back({id, Type::kInt, false, Combine::kAdd});
        break;
      case Kind::kInfo:
        if (column.type == Type::kText) shape.parts.push_back({id, Type::kText, false, Combine::kNewest});
        break;
      case Kind::kGauge: {
        if (column.type == Type::kText) break;
        const Type type = NumberType(column.type);
        const auto at = [id](ColumnId by) { return static_cast<ColumnId>(id + by); };
        shape.parts.push_back({at(kMin), type, false, Combine::kLeast});
        shape.parts.push_back({at(kMax), type, false, Combine::kGreatest});
        shape.parts.push_back({at(kSum), type, false, Combine::kAdd});
        shape.parts.push_back({at(kCount), Type::kInt, false, Combine::kAdd});
        shape.parts.push_back({at(kLast), type, false, Combine::kNewest});
        shape.parts.push_back({at(kLastAge), Type::kInt, false, Combine::kNone});
        break;
      }
    }
  }
  std::sort(shape.parts.begin(), shape.parts.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return shape;
}

namespace {

// Rolls up series by series.
class Roller {
 public:
  Roller(const std::vector<MetricColumn>& columns, const std::vector<int64_t>& edges)
      : columns_(columns), edges_(edges), buckets_(edges.size() - 1) {
    for (const MetricColumn& column : columns) {
      if (column.kind == Kind::kCounter) counters_.push_back(&column);
      if (column.kind == Kind::kGauge && column.type != Type::kText) gauges_.push_back(&column);
      if (column.kind == Kind::kInfo && column.type == Type::kText) infos_.push_back(&column);
    }
    cells_.resize(buckets_);
    sums_.resize(buckets_ * counters_.size());
    gauge_cells_.resize(buckets_ * gauges_.size());
    info_cells_.resize(buckets_ * infos_.size());
  }

  RowSet Run(const RowSet& deltas, const RowSet* keyframes);

 private:
  struct GaugeCell {
    Number least, greatest, sum, last;
    int64_t count = 0;
    int64_t last_us = INT64_MIN;
  };
  struct InfoCell {
    const std::string* text = nullptr;
    int64_t at_us = INT64_MIN;
  };
  // The columns of one input, looked up once.
  struct Input {
    const RowSet* rows = nullptr;
    std::vector<const Column*> counters, gauges, infos;
  };

  Input Of(const RowSet& rows) const {
    const auto find = [&rows](const std::vector<const MetricColumn*>& wanted) {
      std::vector<const Column*> found;
      for (const MetricColumn* column : wanted) {
        const auto at = rows.values.find(column->id);
        found.push_back(at == rows.values.end() ? nullptr : &at->second);
      }
      return found;
    };
    return {&rows, find(counters_), find(gauges_), find(infos_)};
  }

  Cell& Use(size_t bucket) {
    Cell& cell = cells_[bucket];
    if (cell.used) return cell;
    cell = Cell();
    cell.used = true;
    std::fill_n(sums_.begin() + static_cast<ptrdiff_t>(bucket * counters_.size()), counters_.size(), Number());
    std::fill_n(gauge_cells_.begin() + static_cast<ptrdiff_t>(bucket * gauges_.size()), gauges_.size(), GaugeCell());
    std::fill_n(info_cells_.begin() + static_cast<ptrdiff_t>(bucket * infos_.size()), infos_.size(), InfoCell());
    touched_.push_back(bucket);
    return cell;
  }

  void AddIncreases(const Input& input, size_t row) {
    const FrameInfo& frame = input.rows->frames[input.rows->row_frame[row]];
    const int flags = input.rows->FlagsOf(row);
    bool known = false;
    for (const Column* column : input.counters) known = known || (column != nullptr && !column->IsNull(row));
    if (!known && (flags & kUnknownFlag) == 0) return;
    const auto [first, last] = BucketsOf(edges_, frame.start_us, frame.end_us);
    for (int b = first; b <= last; ++b) {
      const auto bucket = static_cast<size_t>(b);
      Cell& cell = Use(bucket);
      cell.flags |= flags & ~kGoneFlag;
      const int64_t from = std::max(frame.start_us, edges_[bucket]);
      const int64_t until = std::min(frame.end_us, edges_[bucket + 1]);
      const bool whole = frame.start_us >= frame.end_us || (from == frame.start_us && until == frame.end_us);
      if (!whole) cell.flags |= kInterpolatedFlag;
      for (size_t i = 0; i < counters_.size(); ++i) {
        const Column* column = input.counters[i];
        if (column == nullptr || column->IsNull(row)) continue;
        const int64_t delta = column->ints[row];
        Number& sum = sums_[bucket * counters_.size() + i];
        sum.set = true;
        sum.whole = AddSaturating(sum.whole, whole ? delta
                                                   : ShareBefore(delta, frame.start_us, frame.end_us, until) -
                                                         ShareBefore(delta, frame.start_us, frame.end_us, from));
      }
    }
  }

  void AddReadings(const Input& input, size_t row) {
    const FrameInfo& frame = input.rows->frames[input.rows->row_frame[row]];
    const int b = BucketOf(edges_, frame.end_us);
    if (b < 0) return;
    const auto bucket = static_cast<size_t>(b);
    Cell& cell = Use(bucket);
    const int flags = input.rows->FlagsOf(row);
    // What is known of increases says nothing of readings.
    cell.flags |= flags & ~(kGoneFlag | kLowerBoundFlag | kUnknownFlag);
    if (frame.end_us >= cell.newest_us) {
      cell.newest_us = frame.end_us;
      cell.gone = (flags & kGoneFlag) != 0;
    }
    for (size_t i = 0; i < gauges_.size(); ++i) {
      const Column* column = input.gauges[i];
      if (column == nullptr || column->IsNull(row)) continue;
      GaugeCell& gauge = gauge_cells_[bucket * gauges_.size() + i];
      const Number reading =
          column->type == Type::kDouble ? Number{true, 0, column->doubles[row]} : Number{true, column->ints[row], 0};
      const auto less = [](const Number& x, const Number& y) {
        return x.whole != y.whole ? x.whole < y.whole : x.real < y.real;
      };
      if (!gauge.least.set || less(reading, gauge.least)) gauge.least = reading;
      if (!gauge.greatest.set || less(gauge.greatest, reading)) gauge.greatest = reading;
      gauge.sum = {true, AddSaturating(gauge.sum.whole, reading.whole), gauge.sum.real + reading.real};
      ++gauge.count;
      if (frame.end_us >= gauge.last_us) {
        gauge.last = reading;
        gauge.last_us = frame.end_us;
      }
    }
    for (size_t i = 0; i < infos_.size(); ++i) {
      const Column* column = input.infos[i];
      if (column == nullptr || column->IsNull(row)) continue;
      InfoCell& info = info_cells_[bucket * infos_.size() + i];
      if (frame.end_us >= info.at_us) info = {&column->Text(row), frame.end_us};
    }
  }

  void Append(ColumnId id, Type type, const Number& number) {
    Column& column = out_.values.try_emplace(id, type).first->second;
    if (!number.set) {
      column.AppendNull();
      return;
    }
    if (!column.nulls.empty()) column.nulls.push_back(0);
    if (type == Type::kDouble) {
      column.doubles.push_back(number.real);
    } else {
      column.ints.push_back(number.whole);
    }
  }

  // Writes what the series left in the buckets as rows of `series` in scope `scope`.
  void Emit(uint32_t series, int64_t scope) {
    std::sort(touched_.begin(), touched_.end());
    for (const size_t bucket : touched_) {
      Cell& cell = cells_[bucket];
      cell.used = false;
      out_.row_series.push_back(series);
      out_.row_frame.push_back(FrameOf(bucket, scope));
      out_.row_flags.push_back(static_cast<uint8_t>(cell.flags | (cell.gone ? kGoneFlag : 0)));
      // An increase alone says nothing of the series' state before its frame.
      out_.row_last_us.push_back(cell.newest_us == INT64_MIN ? edges_[bucket] : cell.newest_us);
      for (size_t i = 0; i < counters_.size(); ++i) {
        Append(counters_[i]->id, Type::kInt, sums_[bucket * counters_.size() + i]);
      }
      for (size_t i = 0; i < gauges_.size(); ++i) {
        const GaugeCell& gauge = gauge_cells_[bucket * gauges_.size() + i];
        const Type type = NumberType(gauges_[i]->type);
        const auto id = [&](ColumnId by) { return static_cast<ColumnId>(gauges_[i]->id + by); };
        Append(id(kMin), type, gauge.least);
        Append(id(kMax), type, gauge.greatest);
        Append(id(kSum), type, gauge.sum);
        Append(id(kCount), Type::kInt, {gauge.count > 0, gauge.count, 0});
        Append(id(kLast), type, gauge.last);
        Number age;
        if (gauge.last.set) age = {true, out_.row_last_us.back() - gauge.last_us, 0};
        Append(id(kLastAge), Type::kInt, age);
      }
      for (size_t i = 0; i < infos_.size(); ++i) {
        const InfoCell& info = info_cells_[bucket * infos_.size() + i];
        Column& column = out_.values.try_emplace(infos_[i]->id, Type::kText).first->second;
        if (info.text == nullptr) {
          column.AppendNull();
          continue;
        }
        auto& known = info_texts_[infos_[i]->id];
        const auto [at, fresh] = known.try_emplace(*info.text, static_cast<int64_t>(column.texts.size()));
        if (fresh) column.texts.push_back(*info.text);
        column.ints.push_back(at->second);
        if (!column.nulls.empty()) column.nulls.push_back(0);
      }
    }
    touched_.clear();
  }

  uint32_t FrameOf(size_t bucket, int64_t scope) {
    const auto [at, fresh] =
        frames_.try_emplace({edges_[bucket + 1], scope}, static_cast<uint32_t>(out_.frames.size()));
    if (fresh) {
      FrameInfo info;
      info.start_us = edges_[bucket];
      info.end_us = edges_[bucket + 1];
      info.scope = scope;
      info.frames = 0;
      out_.frames.push_back(info);
    }
    return at->second;
  }

  // Coverage, counts and flags of the frames.
  void AddFrames(const RowSet& deltas, const RowSet* keyframes) {
    std::map<std::pair<int64_t, int64_t>, bool> instants;
    for (const FrameInfo& frame : deltas.frames) {
      instants[{frame.end_us, frame.scope}] = true;
      const auto [first, last] = BucketsOf(edges_, frame.start_us, frame.end_us);
      for (int b = first; b <= last; ++b) {
        const auto bucket = static_cast<size_t>(b);
        FrameInfo& info = out_.frames[FrameOf(bucket, frame.scope)];
        info.collector = frame.collector;
        info.flags |= frame.flags;
        info.covered_us +=
            std::max<int64_t>(std::min(frame.end_us, edges_[bucket + 1]) - std::max(frame.start_us, edges_[bucket]), 0);
      }
      CountFrame(frame);
    }
    if (keyframes == nullptr) return;
    for (const FrameInfo& frame : keyframes->frames) {
      if (!instants.contains({frame.end_us, frame.scope})) CountFrame(frame);
    }
  }

  void CountFrame(const FrameInfo& frame) {
    const int b = BucketOf(edges_, frame.end_us);
    if (b < 0) return;
    FrameInfo& info = out_.frames[FrameOf(static_cast<size_t>(b), frame.scope)];
    info.collector = frame.collector;
    info.frames += frame.frames;
    info.unchanged_rows += frame.unchanged_rows;
  }

  const std::vector<MetricColumn>& columns_;
  const std::vector<int64_t>& edges_;
  const size_t buckets_;
  std::vector<const MetricColumn*> counters_, gauges_, infos_;
  std::vector<Cell> cells_;
  std::vector<Number> sums_;
  std::vector<GaugeCell> gauge_cells_;
  std::vector<InfoCell> info_cells_;
  std::vector<size_t> touched_;
  std::map<std::pair<int64_t, int64_t>, uint32_t> frames_;
  std::map<ColumnId, std::unordered_map<std::string, int64_t>> info_texts_;
  RowSet out_;
};

// First row of each series, and the number of rows behind the last.
std::vector<size_t> SeriesStarts(const RowSet& rows) {
  std::vector<size_t> starts(rows.series() + 1, rows.rows());
  for (size_t row = rows.rows(); row-- > 0;) starts[rows.row_series[row]] = row;
  for (size_t series = rows.series(); series-- > 0;) starts[series] = std::min(starts[series], starts[series + 1]);
  return starts;
}

RowSet Roller::Run(const RowSet& deltas, const RowSet* keyframes) {
  Shape raw = RawShape(columns_, 0);
  const Input delta_input = Of(deltas);
  const std::vector<size_t> delta_starts = SeriesStarts(deltas);
  std::unordered_map<std::string, uint32_t> keyed;
  Input key_input;
  std::vector<size_t> key_starts;
  // Keyframes have a say in readings alone.
  const bool with_keyframes = keyframes != nullptr && !gauges_.empty();
  if (with_keyframes) {
    key_input = Of(*keyframes);
    key_starts = SeriesStarts(*keyframes);
    for (uint32_t i = 0; i < keyframes->series(); ++i) keyed.emplace(SeriesKey(raw, *keyframes, i), i);
  }
  for (const Shape::Part& part : raw.parts) {
    if (part.label) out_.labels.emplace(part.id, Column(part.type));
  }
  std::map<ColumnId, std::unordered_map<std::string, int64_t>> label_texts;
  const auto add_series = [&](const RowSet& rows, size_t series) {
    for (auto& [id, column] : out_.labels) {
      const auto from = rows.labels.find(id);
      if (from == rows.labels.end() || from->second.IsNull(series)) {
        column.AppendNull();
        continue;
      }
      if (column.type != Type::kText) {
        column.AppendFrom(from->second, series);
        continue;
      }
      const std::string& text = from->second.Text(series);
      const auto [at, fresh] = label_texts[id].try_emplace(text, static_cast<int64_t>(column.texts.size()));
      if (fresh) column.texts.push_back(text);
      column.ints.push_back(at->second);
      if (!column.nulls.empty()) column.nulls.push_back(0);
    }
    out_.series_scope.push_back(rows.series_scope[series]);
  };
  const auto add_keyframes = [&](uint32_t series, size_t begin, size_t end) {
    for (size_t row = key_starts[series]; row < key_starts[series + 1]; ++row) {
      const int64_t instant = keyframes->frames[keyframes->row_frame[row]].end_us;
      bool twice = false;
      for (size_t own = begin; own < end && !twice; ++own) {
        twice = deltas.frames[deltas.row_frame[own]].end_us == instant;
      }
      if (!twice) AddReadings(key_input, row);
    }
  };

  AddFrames(deltas, keyframes);
  for (uint32_t series = 0; series < deltas.series(); ++series) {
    const size_t begin = delta_starts[series], end = delta_starts[series + 1];
    for (size_t row = begin; row < end; ++row) {
      AddIncreases(delta_input, row);
      AddReadings(delta_input, row);
    }
    if (with_keyframes) {
      if (const auto same = keyed.find(SeriesKey(raw, deltas, series)); same != keyed.end()) {
        add_keyframes(same->second, begin, end);
        keyed.erase(same);
      }
    }
    if (touched_.empty()) continue;
    add_series(deltas, series);
    Emit(static_cast<uint32_t>(out_.series() - 1), deltas.series_scope[series]);
  }
  if (with_keyframes) {
    for (uint32_t series = 0; series < keyframes->series(); ++series) {
      if (const auto own = keyed.find(SeriesKey(raw, *keyframes, series));
          own == keyed.end() || own->second != series) {
        continue;
      }
      add_keyframes(series, 0, 0);
      if (touched_.empty()) continue;
      add_series(*keyframes, series);
      Emit(static_cast<uint32_t>(out_.series() - 1), keyframes->series_scope[series]);
    }
  }
  return std::move(out_);
}

}  // namespace

RowSet RollUp(const std::vector<MetricColumn>& columns, const RowSet& deltas, const RowSet* keyframes,
              const std::vector<int64_t>& edges) {
  // Sorts frames, series and rows.
  const Shape shape = BucketShape(columns, 0);
  Merger merger(shape);
  merger.Add(Roller(columns, edges).Run(deltas, keyframes));
  return merger.Finish();
}

}  // namespace pga::columns
