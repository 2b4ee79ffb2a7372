#include "libs/columns/row_set.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "libs/columns/int_codec.h"
#include "libs/columns/rollup.h"

namespace pga::columns {
namespace {

void AppendBytes(uint64_t value, std::string* out) {
  for (int shift = 56; shift >= 0; shift -= 8) out->push_back(static_cast<char>(static_cast<uint8_t>(value >> shift)));
}

// Negative, 0 or positive as row `a` of the column is before, equal to or after row `b`; NULL is before everything.
int CompareRows(const Column& column, size_t a, size_t b) {
  const bool a_null = column.IsNull(a), b_null = column.IsNull(b);
  if (a_null || b_null) return static_cast<int>(b_null) - static_cast<int>(a_null);
  if (column.type == Type::kText) return column.Text(a).compare(column.Text(b));
  if (column.type == Type::kDouble) {
    return column.doubles[a] < column.doubles[b] ? -1 : static_cast<int>(column.doubles[a] > column.doubles[b]);
  }
  return column.ints[a] < column.ints[b] ? -1 : static_cast<int>(column.ints[a] > column.ints[b]);
}

Column Permuted(Column& column, const std::vector<uint32_t>& order) {
  Column sorted(column.type);
  sorted.texts = std::move(column.texts);
  sorted.Reserve(order.size());
  if (column.nulls.empty()) {
    if (column.type == Type::kDouble) {
      for (const uint32_t row : order) sorted.doubles.push_back(column.doubles[row]);
    } else {
      for (const uint32_t row : order) sorted.ints.push_back(column.ints[row]);
    }
    return sorted;
  }
  for (const uint32_t row : order) sorted.AppendFrom(column, row);
  return sorted;
}

// Joins `in`'s row to the last row of `out` by adding, or keeping the least or greatest. NULL joins to the other value.
void Join(Combine combine, const Column& in, size_t row, Column* out) {
  if (in.IsNull(row)) return;
  const size_t last = out->size() - 1;
  const bool fresh = out->IsNull(last);
  if (fresh) out->nulls[last] = 0;
  const auto put = [&](auto& values, auto value, auto add) {
    auto& target = values[last];
    if (fresh) {
      target = value;
    } else if (combine == Combine::kAdd) {
      target = add(target, value);
    } else if (combine == Combine::kLeast ? value < target : value > target) {
      target = value;
    }
  };
  if (out->type == Type::kDouble) {
    put(out->doubles, in.doubles[row], [](double a, double b) { return a + b; });
  } else {
    put(out->ints, in.ints[row], AddSaturating);
  }
}

// The rows of a column in `order`, those of equal `target` joined. `instants` says how new each row's value is, for
// Combine::kNewest; the newest's is left in `chosen`, one per target.
Column Joined(const Shape::Part& part, Column& column, const std::vector<uint32_t>& order,
              const std::vector<uint32_t>& target, const std::vector<int64_t>& instants, std::vector<int64_t>* chosen) {
  Column out(part.type);
  out.texts = std::move(column.texts);
  chosen->clear();
  for (size_t i = 0; i < order.size(); ++i) {
    const uint32_t row = order[i];
    if (target[i] == out.size()) {
      out.AppendFrom(column, row);
      chosen->push_back(instants.empty() ? 0 : instants[row]);
    } else if (part.combine != Combine::kNewest) {
      Join(part.combine, column, row, &out);
    } else if (!column.IsNull(row) && (out.IsNull(out.size() - 1) || instants[row] > chosen->back())) {
      if (!out.nulls.empty()) out.nulls.back() = 0;
      if (out.type == Type::kDouble) {
        out.doubles.back() = column.doubles[row];
      } else {
        out.ints.back() = column.ints[row];
      }
      chosen->back() = instants[row];
    }
  }
  return out;
}

size_t BytesOf(const Column& column) {
  size_t bytes = sizeof column + column.ints.capacity() * 8 + column.doubles.capacity() * 8 + column.nulls.capacity();
  for (const std::string& text : column.texts) bytes += sizeof text + text.capacity();
  return bytes;
}

}  // namespace

const Shape::Part* Shape::Find(ColumnId id) const {
  const auto found = std::lower_bound(parts.begin(), parts.end(), id,
                                      [](const Part& part, ColumnId wanted) { return part.id < wanted; });
  return found == parts.end() || found->id != id ? nullptr : &*found;
}

size_t RowSet::MemoryBytes() const {
  size_t bytes = sizeof *this + frames.capacity() * sizeof(FrameInfo) + series_scope.capacity() * 8 +
                 (row_series.capacity() + row_frame.capacity()) * 4 + row_flags.capacity() + row_last_us.capacity() * 8;
  for (const auto& [id, column] : labels) bytes += BytesOf(column);
  for (const auto& [id, column] : values) bytes += BytesOf(column);
  return bytes;
}

absl::Status OpenFrame(const Shape& shape, const FrameBytes& frame, RowSet* rows) {
  *rows = RowSet();
  if (frame.info.rows < 0 || frame.info.rows > UINT32_MAX) {
    return absl::InvalidArgumentError("the number of rows is out of range");
  }
  const auto count = static_cast<size_t>(frame.info.rows);
  for (const Shape::Part& part : shape.parts) {
    const auto at = static_cast<size_t>(part.id - 1);
    if (at >= frame.chunks.size() || frame.chunks[at].empty()) continue;
    Column& column = (part.label ? rows->labels : rows->values)[part.id];
    if (absl::Status status = DecodeColumn(frame.chunks[at], part.type, count, &column); !status.ok()) return status;
  }
  if (!frame.row_flags.empty()) {
    std::string_view in = frame.row_flags;
    std::vector<int64_t> flags(count);
    if (!DecodeInts(&in, count, flags.data()) || !in.empty() ||
        std::any_of(flags.begin(), flags.end(), [](int64_t bits) { return bits < 0 || bits > 255; })) {
      return absl::InvalidArgumentError("the row flags are malformed");
    }
    rows->row_flags.assign(flags.begin(), flags.end());
  }
  if (const int common = frame.info.flags & ~kSomeLowerBoundFlag & 255; common != 0) {
    rows->row_flags.resize(count);
    for (uint8_t& bits : rows->row_flags) bits = static_cast<uint8_t>(bits | common);
  }
  rows->frames = {frame.info};
  rows->series_scope.assign(count, frame.info.scope);
  rows->row_series.resize(count);
  std::iota(rows->row_series.begin(), rows->row_series.end(), 0U);
  rows->row_frame.assign(count, 0);
  return absl::OkStatus();
}

std::string SeriesKey(const Shape& shape, const RowSet& rows, size_t series) {
  std::string key;
  AppendBytes(static_cast<uint64_t>(rows.series_scope[series]), &key);
  for (const Shape::Part& part : shape.parts) {
    if (!part.label) continue;
    const auto label = rows.labels.find(part.id);
    if (label == rows.labels.end() || label->second.IsNull(series)) {
      key.push_back(0);
      continue;
    }
    key.push_back(1);
    const Column& column = label->second;
    if (column.type == Type::kText) {
      AppendBytes(column.Text(series).size(), &key);
      key.append(column.Text(series));
    } else if (column.type == Type::kDouble) {
      AppendBytes(std::bit_cast<uint64_t>(column.doubles[series]), &key);
    } else {
      AppendBytes(static_cast<uint64_t>(column.ints[series]), &key);
    }
  }
  return key;
}

void Merger::Append(ColumnId id, const Column& from, const std::vector<uint32_t>* rows, size_t before, Column* to) {
  // Rows that came before the column was there are NULL.
  if (to->size() < before) {
    to->nulls.resize(to->size());
    to->nulls.resize(before, 1);
    if (to->type == Type::kDouble) {
      to->doubles.resize(before);
    } else {
      to->ints.resize(before);
    }
  }
  const size_t count = rows == nullptr ? from.size() : rows->size();
  const auto row_at = [rows](size_t i) { return rows == nullptr ? i : (*rows)[i]; };
  if (from.type == Type::kText) {
    std::unordered_map<std::string, int64_t>& known = texts_[id];
    std::vector<int64_t> index(from.texts.size(), -1);
    for (size_t i = 0; i < count; ++i) {
      const size_t row = row_at(i);
      if (from.IsNull(row)) {
        to->AppendNull();
        continue;
      }
      int64_t& mapped = index[static_cast<size_t>(from.ints[row])];
      if (mapped < 0) {
        const auto [at, fresh] = known.try_emplace(from.Text(row), static_cast<int64_t>(to->texts.size()));
        if (fresh) to->texts.push_back(from.Text(row));
        mapped = at->second;
      }
      to->ints.push_back(mapped);
      if (!to->nulls.empty()) to->nulls.push_back(0);
    }
    return;
  }
  if (rows == nullptr && from.nulls.empty() && to->nulls.empty()) {
    to->ints.insert(to->ints.end(), from.ints.begin(), from.ints.end());
    to->doubles.insert(to->doubles.end(), from.doubles.begin(), from.doubles.end());
    return;
  }
  for (size_t i = 0; i < count; ++i) to->AppendFrom(from, row_at(i));
}

void Merger::Add(const RowSet& rows) {
  std::vector<uint32_t> frame_of(rows.frames.size());
  for (size_t i = 0; i < rows.frames.size(); ++i) {
    const FrameInfo& info = rows.frames[i];
    const auto [at, fresh] =
        frames_.try_emplace({info.end_us, info.scope}, static_cast<uint32_t>(joined_.frames.size()));
    frame_of[i] = at->second;
    if (fresh) {
      joined_.frames.push_back(info);
      continue;
    }
    FrameInfo& known = joined_.frames[at->second];
    known.start_us = std::min(known.start_us, info.start_us);
    known.flags |= info.flags;
    known.frames += info.frames;
    known.rows += info.rows;
    known.unchanged_rows += info.unchanged_rows;
    known.covered_us = AddSaturating(known.covered_us, info.covered_us);
  }

  std::vector<uint32_t> series_of(rows.series());
  std::vector<uint32_t> fresh_series;
  const size_t series_before = joined_.series();
  for (size_t i = 0; i < rows.series(); ++i) {
    const auto [at, fresh] = series_.try_emplace(SeriesKey(shape_, rows, i), static_cast<uint32_t>(series_.size()));
    series_of[i] = at->second;
    if (!fresh) continue;
    fresh_series.push_back(static_cast<uint32_t>(i));
    joined_.series_scope.push_back(rows.series_scope[i]);
  }
  const size_t rows_before = joined_.rows();
  for (const Shape::Part& part : shape_.parts) {
    const std::map<ColumnId, Column>& from = part.label ? rows.labels : rows.values;
    std::map<ColumnId, Column>& to = part.label ? joined_.labels : joined_.values;
    const auto column = from.find(part.id);
    if (column == from.end()) continue;
    Column& target = to.try_emplace(part.id, part.type).first->second;
    if (part.label) {
      Append(part.id, column->second, &fresh_series, series_before, &target);
    } else {
      Append(part.id, column->second, nullptr, rows_before, &target);
    }
  }
  for (const uint32_t series : rows.row_series) joined_.row_series.push_back(series_of[series]);
  for (const uint32_t frame : rows.row_frame) joined_.row_frame.push_back(frame_of[frame]);
  if (!rows.row_flags.empty() || !joined_.row_flags.empty()) {
    joined_.row_flags.resize(rows_before);
    joined_.row_flags.insert(joined_.row_flags.end(), rows.row_flags.begin(), rows.row_flags.end());
    joined_.row_flags.resize(joined_.rows());
  }
  joined_.row_last_us.insert(joined_.row_last_us.end(), rows.row_last_us.begin(), rows.row_last_us.end());
  // Columns that these rows lack.
  for (auto& [id, column] : joined_.values) {
    while (column.size() < joined_.rows()) column.AppendNull();
  }
  for (auto& [id, column] : joined_.labels) {
    while (column.size() < joined_.series()) column.AppendNull();
  }
}

RowSet Merger::Finish() {
  RowSet& in = joined_;
  std::vector<uint32_t> frame_order(in.frames.size()), series_order(in.series());
  std::iota(frame_order.begin(), frame_order.end(), 0U);
  std::iota(series_order.begin(), series_order.end(), 0U);
  std::sort(frame_order.begin(), frame_order.end(), [&](uint32_t a, uint32_t b) {
    const FrameInfo& x = in.frames[a];
    const FrameInfo& y = in.frames[b];
    return x.end_us != y.end_us ? x.end_us < y.end_us : x.scope < y.scope;
  });
  std::vector<const Column*> order_by;
  if (const auto located = in.labels.find(shape_.locate_by); located != in.labels.end())
    order_by.push_back(&located->second);
  for (const auto& [id, column] : in.labels) {
    if (id != shape_.locate_by) order_by.push_back(&column);
  }
  std::sort(series_order.begin(), series_order.end(), [&](uint32_t a, uint32_t b) {
    for (const Column* column : order_by) {
      if (const int difference = CompareRows(*column, a, b); difference != 0) return difference < 0;
    }
    return in.series_scope[a] != in.series_scope[b] ? in.series_scope[a] < in.series_scope[b] : a < b;
  });
  std::vector<uint32_t> frame_rank(frame_order.size()), series_rank(series_order.size());
  for (uint32_t i = 0; i < frame_order.size(); ++i) frame_rank[frame_order[i]] = i;
  for (uint32_t i = 0; i < series_order.size(); ++i) series_rank[series_order[i]] = i;

  std::vector<std::pair<uint64_t, uint32_t>> keys(in.rows());
  for (size_t row = 0; row < keys.size(); ++row) {
    keys[row] = {static_cast<uint64_t>(series_rank[in.row_series[row]]) << 32 | frame_rank[in.row_frame[row]],
                 static_cast<uint32_t>(row)};
  }
  std::sort(keys.begin(), keys.end());
  std::vector<uint32_t> order(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) order[i] = keys[i].second;

  RowSet out;
  for (const uint32_t frame : frame_order) out.frames.push_back(in.frames[frame]);
  for (const uint32_t series : series_order) out.series_scope.push_back(in.series_scope[series]);
  for (auto& [id, column] : in.labels) out.labels.emplace(id, Permuted(column, series_order));

  // The row of the result that each row goes to: its own, or at levels that of its series and bucket.
  std::vector<uint32_t> target(order.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const bool own = i == 0 || !shape_.buckets || keys[i].first != keys[i - 1].first;
    target[i] = i == 0 ? 0 : target[i - 1] + (own ? 1 : 0);
    if (!own) continue;
    out.row_series.push_back(static_cast<uint32_t>(keys[i].first >> 32));
    out.row_frame.push_back(static_cast<uint32_t>(keys[i].first));
  }
  if (shape_.buckets) in.row_last_us.resize(in.rows());
  if (shape_.buckets || !in.row_flags.empty()) {
    in.row_flags.resize(in.rows());
    out.row_flags.resize(out.rows());
    if (shape_.buckets) out.row_last_us.assign(out.rows(), INT64_MIN);
    for (size_t i = 0; i < order.size(); ++i) {
      const uint8_t bits = in.row_flags[order[i]];
      uint8_t& joined = out.row_flags[target[i]];
      if (!shape_.buckets) {
        joined = bits;
        continue;
      }
      // Whether the series is gone says the newest row.
      int64_t& newest = out.row_last_us[target[i]];
      const int64_t instant = in.row_last_us[order[i]];
      const auto gone = static_cast<uint8_t>((instant > newest ? bits : joined) & kGoneFlag);
      joined = static_cast<uint8_t>(((joined | bits) & ~kGoneFlag) | gone);
      newest = std::max(newest, instant);
    }
    if (std::all_of(out.row_flags.begin(), out.row_flags.end(), [](uint8_t bits) { return bits == 0; })) {
      out.row_flags.clear();
    }
  }

  std::vector<int64_t> instants, chosen;
  for (const Shape::Part& part : shape_.parts) {
    const auto column = in.values.find(part.id);
    if (part.label || column == in.values.end()) continue;
    if (!shape_.buckets) {
      out.values.emplace(part.id, Permuted(column->second, order));
      continue;
    }
    if (part.combine == Combine::kNone) continue;  // the age of a gauge's last reading, made with it
    instants.clear();
    const auto age_id = static_cast<ColumnId>(part.id - kLast + kLastAge);
    const auto age = in.values.find(age_id);
    const bool gauge = part.combine == Combine::kNewest && part.id >= kLast && age != in.values.end();
    if (part.combine == Combine::kNewest) {
      instants = in.row_last_us;
      for (size_t row = 0; gauge && row < instants.size(); ++row) {
        if (!age->second.IsNull(row)) instants[row] -= age->second.ints[row];
      }
    }
    const Column& joined =
        out.values.emplace(part.id, Joined(part, column->second, order, target, instants, &chosen)).first->second;
    if (!gauge) continue;
    Column ages(Type::kInt);
    for (size_t row = 0; row < joined.size(); ++row) {
      if (joined.IsNull(row)) {
        ages.AppendNull();
        continue;
      }
      if (!ages.nulls.empty()) ages.nulls.push_back(0);
      ages.ints.push_back(out.row_last_us[row] - chosen[row]);
    }
    out.values.emplace(age_id, std::move(ages));
  }
  joined_ = RowSet();
  series_.clear();
  frames_.clear();
  texts_.clear();
  return out;
}

RowSet SliceSeries(const RowSet& rows, uint32_t first, uint32_t last) {
  RowSet slice;
  slice.frames = rows.frames;
  slice.series_scope.assign(rows.series_scope.begin() + first, rows.series_scope.begin() + last);
  std::vector<uint32_t> series(last - first);
  std::iota(series.begin(), series.end(), first);
  const auto pick = [](const Column& column, const std::vector<uint32_t>& wanted) {
    Column picked(column.type);
    picked.texts = column.texts;
    picked.Reserve(wanted.size());
    for (const uint32_t row : wanted) picked.AppendFrom(column, row);
    return picked;
  };
  for (const auto& [id, column] : rows.labels) slice.labels.emplace(id, pick(column, series));
  const auto begin = std::lower_bound(rows.row_series.begin(), rows.row_series.end(), first);
  const auto end = std::lower_bound(begin, rows.row_series.end(), last);
  std::vector<uint32_t> wanted(static_cast<size_t>(end - begin));
  std::iota(wanted.begin(), wanted.end(), static_cast<uint32_t>(begin - rows.row_series.begin()));
  for (const uint32_t row : wanted) {
    slice.row_series.push_back(rows.row_series[row] - first);
    slice.row_frame.push_back(rows.row_frame[row]);
    if (!rows.row_flags.empty()) slice.row_flags.push_back(rows.row_flags[row]);
    if (!rows.row_last_us.empty()) slice.row_last_us.push_back(rows.row_last_us[row]);
  }
  for (const auto& [id, column] : rows.values) slice.values.emplace(id, pick(column, wanted));
  return slice;
}

}  // namespace pga::columns
