#include "libs/columns/block.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "libs/columns/int_codec.h"
#include "libs/columns/rollup.h"

namespace pga::columns {
namespace {

constexpr size_t kTextKeyBytes = 32;

absl::Status Wrong(const char* what) {
  return absl::InvalidArgumentError(what);
}

// Sections in the order in which they are added.
class Sections {
 public:
  void AddInts(ColumnId id, const std::vector<int64_t>& values) {
    Begin(id);
    EncodeInts(values.data(), values.size(), &data_);
  }
  void AddColumn(ColumnId id, const Column& column) {
    const bool repeats = !ids_.empty() && ids_.back() > 0;
    Begin(id);
    const auto begin = static_cast<size_t>(offsets_.back());
    EncodeColumn(column, &data_);
    const std::string_view all = data_;
    if (repeats && all.substr(begin) == all.substr(last_column_, begin - last_column_)) {
      data_.resize(begin);
    } else {
      last_column_ = begin;
    }
  }
  void Begin(ColumnId id) {
    ids_.push_back(id);
    offsets_.push_back(static_cast<int32_t>(data_.size()));
  }
  // Of the section that was begun last.
  std::string* data() { return &data_; }
  void MoveTo(Block* block) {
    offsets_.push_back(static_cast<int32_t>(data_.size()));
    block->ids = std::move(ids_);
    block->offsets = std::move(offsets_);
    block->data = std::move(data_);
  }

 private:
  std::vector<ColumnId> ids_;
  std::vector<int32_t> offsets_;
  std::string data_;
  // Start of the last column that is not empty.
  size_t last_column_ = 0;
};

template <typename Get>
std::vector<int64_t> OfFrames(const RowSet& rows, Get get) {
  std::vector<int64_t> values;
  values.reserve(rows.frames.size());
  for (const FrameInfo& frame : rows.frames) values.push_back(get(frame));
  return values;
}

bool AllAre(const std::vector<int64_t>& values, int64_t value) {
  return std::all_of(values.begin(), values.end(), [value](int64_t v) { return v == value; });
}

std::vector<int64_t> CountsOf(const std::vector<uint32_t>& owners, size_t count) {
  std::vector<int64_t> counts(count);
  for (const uint32_t owner : owners) ++counts[owner];
  return counts;
}

// Of each row its member, in an owner the first as its number and each further one as the distance less 1.
std::vector<int64_t> Gaps(const std::vector<uint32_t>& owners, const std::vector<uint32_t>& members) {
  std::vector<int64_t> gaps(owners.size());
  for (size_t i = 0; i < owners.size(); ++i) {
    const bool first = i == 0 || owners[i] != owners[i - 1];
    gaps[i] = first ? members[i] : static_cast<int64_t>(members[i]) - static_cast<int64_t>(members[i - 1]) - 1;
  }
  return gaps;
}

// Of each frame its start - the end of the frame before it of the same scope, or of its own when it is the first.
std::vector<int64_t> GapsOfFrames(const std::vector<FrameInfo>& frames) {
  std::vector<int64_t> gaps;
  gaps.reserve(frames.size());
  std::unordered_map<int64_t, int64_t> ends;
  for (const FrameInfo& frame : frames) {
    const int64_t before = ends.try_emplace(frame.scope, frame.end_us).first->second;
    gaps.push_back(static_cast<int64_t>(static_cast<uint64_t>(frame.start_us) - static_cast<uint64_t>(before)));
    ends[frame.scope] = frame.end_us;
  }
  return gaps;
}

// Where frames follow each other their lengths are the distances of their ends once more.
void AddFrameLengths(const RowSet& rows, Sections* sections) {
  const std::vector<int64_t> lengths = OfFrames(rows, [](const FrameInfo& f) { return f.end_us - f.start_us; });
  const std::vector<int64_t> gaps = GapsOfFrames(rows.frames);
  std::string as_lengths, as_gaps;
  EncodeInts(lengths.data(), lengths.size(), &as_lengths);
  EncodeInts(gaps.data(), gaps.size(), &as_gaps);
  const bool gaps_are_smaller = as_gaps.size() < as_lengths.size();
  sections->Begin(gaps_are_smaller ? kFrameGap : kFrameLength);
  *sections->data() += gaps_are_smaller ? as_gaps : as_lengths;
}

void AddFrames(const Shape& shape, const RowSet& rows, Sections* sections) {
  const auto add_unless = [&](ColumnId id, int64_t usual, const std::vector<int64_t>& values) {
    if (!AllAre(values, usual)) sections->AddInts(id, values);
  };
  sections->AddInts(kFrameEnd, OfFrames(rows, [](const FrameInfo& f) { return f.end_us; }));
  AddFrameLengths(rows, sections);
  sections->AddInts(kFrameScope, OfFrames(rows, [](const FrameInfo& f) { return f.scope; }));
  sections->AddInts(kFrameCollector, OfFrames(rows, [](const FrameInfo& f) { return int64_t{f.collector}; }));
  add_unless(kFrameFlags, 0, OfFrames(rows, [](const FrameInfo& f) { return int64_t{f.flags}; }));
  add_unless(kFrameCount, 1, OfFrames(rows, [](const FrameInfo& f) { return f.frames; }));
  add_unless(kFrameUnchanged, 0, OfFrames(rows, [](const FrameInfo& f) { return f.unchanged_rows; }));
  add_unless(kFrameCovered, 0, OfFrames(rows, [](const FrameInfo& f) { return f.covered_us; }));
  if (!shape.buckets) {
    const std::vector<int64_t> sent = OfFrames(rows, [](const FrameInfo& f) { return f.rows; });
    if (sent != CountsOf(rows.row_frame, rows.frames.size())) sections->AddInts(kFrameRowsSent, sent);
  }
}

// Of each frame how many of the growing `instants` are not after its end.
std::vector<int64_t> InstantsUpTo(const std::vector<FrameInfo>& frames, const std::vector<int64_t>& instants) {
  std::vector<int64_t> up_to;
  up_to.reserve(frames.size());
  for (const FrameInfo& frame : frames) {
    up_to.push_back(std::upper_bound(instants.begin(), instants.end(), frame.end_us) - instants.begin());
  }
  return up_to;
}

// Newest rows are those of a few frames: their instants stand once, and most rows have the last one of their bucket.
void AppendInstants(const RowSet& rows, std::string* out) {
  std::vector<int64_t> instants = rows.row_last_us;
  std::sort(instants.begin(), instants.end());
  instants.erase(std::unique(instants.begin(), instants.end()), instants.end());
  const std::vector<int64_t> up_to = InstantsUpTo(rows.frames, instants);
  std::vector<int64_t> back(rows.rows());
  for (size_t row = 0; row < back.size(); ++row) {
    const auto at = std::lower_bound(instants.begin(), instants.end(), rows.row_last_us[row]) - instants.begin();
    back[row] = up_to[rows.row_frame[row]] - 1 - at;
  }
  AppendVarint(instants.size(), out);
  EncodeInts(instants.data(), instants.size(), out);
  EncodeInts(back.data(), back.size(), out);
}

// False when the section is malformed.
bool ReadInstants(std::string_view in, RowSet* rows) {
  uint64_t count = 0;
  if (!ReadVarint(&in, &count) || count > rows->rows()) return false;
  std::vector<int64_t> instants(static_cast<size_t>(count));
  if (!DecodeInts(&in, instants.size(), instants.data()) || !std::is_sorted(instants.begin(), instants.end())) {
    return false;
  }
  std::vector<int64_t> back(rows->rows());
  if (!DecodeInts(&in, back.size(), back.data()) || !in.empty()) return false;
  const std::vector<int64_t> up_to = InstantsUpTo(rows->frames, instants);
  rows->row_last_us.resize(back.size());
  for (size_t row = 0; row < back.size(); ++row) {
    // What wraps is out of range.
    const uint64_t at = static_cast<uint64_t>(up_to[rows->row_frame[row]]) - 1 - static_cast<uint64_t>(back[row]);
    if (at >= count) return false;
    rows->row_last_us[row] = instants[static_cast<size_t>(at)];
  }
  return true;
}

// The rows with their series by falling number of rows, as EncodeBlock writes them; series of equal number keep their
// order.
RowSet ByRows(const RowSet& rows) {
  const std::vector<int64_t> counts = CountsOf(rows.row_series, rows.series());
  std::vector<uint32_t> series(rows.series());
  std::iota(series.begin(), series.end(), 0U);
  std::stable_sort(series.begin(), series.end(), [&](uint32_t a, uint32_t b) { return counts[a] > counts[b]; });
  std::vector<size_t> first(rows.series());
  size_t before = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    first[i] = before;
    before += static_cast<size_t>(counts[i]);
  }
  RowSet out;
  out.frames = rows.frames;
  std::vector<uint32_t> order;
  order.reserve(rows.rows());
  for (uint32_t rank = 0; rank < series.size(); ++rank) {
    out.series_scope.push_back(rows.series_scope[series[rank]]);
    for (size_t row = first[series[rank]], left = static_cast<size_t>(counts[series[rank]]); left > 0; ++row, --left) {
      order.push_back(static_cast<uint32_t>(row));
      out.row_series.push_back(rank);
      out.row_frame.push_back(rows.row_frame[row]);
      if (!rows.row_flags.empty()) out.row_flags.push_back(rows.row_flags[row]);
      if (!rows.row_last_us.empty()) out.row_last_us.push_back(rows.row_last_us[row]);
    }
  }
  const auto pick = [](const Column& column, const std::vector<uint32_t>& wanted) {
    Column picked(column.type);
    picked.texts = column.texts;
    picked.Reserve(wanted.size());
    for (const uint32_t row : wanted) picked.AppendFrom(column, row);
    return picked;
  };
  for (const auto& [id, column] : rows.labels) out.labels.emplace(id, pick(column, series));
  for (const auto& [id, column] : rows.values) {
    if (column.size() > 0) out.values.emplace(id, pick(column, order));
  }
  return out;
}

// Base of a gauge's columns at a level: they are c + kMin and so on.
ColumnId GaugeOf(ColumnId id) {
  return static_cast<ColumnId>(id % kMin);
}

// Whether the column of a level stands as the difference to the least reading.
bool IsNearLeast(const Shape& shape, const Shape::Part& part) {
  if (!shape.buckets || part.label || part.type != Type::kInt) return false;
  const int of = part.id - GaugeOf(part.id);
  return of == kMax || of == kSum || of == kLast;
}

// Adds `sign` times the least reading to the column's values, for sums as often as `count` says; modulo 2^64. All have
// as many rows.
void AddLeast(ColumnId id, const Column& least, const Column& count, int64_t sign, Column* column) {
  const bool sum = id - GaugeOf(id) == kSum;
  const size_t rows = column->ints.size();
  for (size_t row = 0; row < rows; ++row) {
    const uint64_t times = static_cast<uint64_t>(sign) * (sum ? static_cast<uint64_t>(count.ints[row]) : 1);
    const uint64_t value = static_cast<uint64_t>(column->ints[row]) + times * static_cast<uint64_t>(least.ints[row]);
    column->ints[row] = static_cast<int64_t>(value);
  }
}

// The least readings and counts that `id` is a difference to; null when they are not there for every row.
std::pair<const Column*, const Column*> LeastOf(const std::map<ColumnId, Column>& values, ColumnId id, size_t rows) {
  const auto find = [&](ColumnId by) -> const Column* {
    const auto at = values.find(static_cast<ColumnId>(GaugeOf(id) + by));
    return at == values.end() || at->second.type != Type::kInt || at->second.ints.size() != rows ? nullptr
                                                                                                 : &at->second;
  };
  return {find(kMin), find(kCount)};
}

// Everything behind the frames.
void AddRows(const Shape& shape, const RowSet& rows, Sections* sections) {
  sections->AddInts(kSeriesScope, rows.series_scope);
  sections->AddInts(kSeriesRows, CountsOf(rows.row_series, rows.series()));
  sections->AddInts(kRowFrame, Gaps(rows.row_series, rows.row_frame));
  if (!rows.row_flags.empty()) {
    sections->AddInts(kRowFlags, std::vector<int64_t>(rows.row_flags.begin(), rows.row_flags.end()));
  }
  if (!rows.row_last_us.empty()) {
    sections->Begin(kRowLast);
    AppendInstants(rows, sections->data());
  }
  for (const Shape::Part& part : shape.parts) {
    const std::map<ColumnId, Column>& columns = part.label ? rows.labels : rows.values;
    const auto column = columns.find(part.id);
    if (column == columns.end() || column->second.size() == 0) continue;
    const std::vector<uint8_t>& nulls = column->second.nulls;
    // A column of NULL is one that is not there.
    if (nulls.size() == column->second.size() && std::count(nulls.begin(), nulls.end(), 0) == 0) continue;
    if (!IsNearLeast(shape, part)) {
      sections->AddColumn(part.id, column->second);
      continue;
    }
    const auto [least, count] = LeastOf(rows.values, part.id, rows.rows());
    Column nearer = column->second;
    if (least != nullptr && count != nullptr) AddLeast(part.id, *least, *count, -1, &nearer);
    sections->AddColumn(part.id, nearer);
  }
}

Block EncodeBlock(const Shape& shape, const RowSet& rows, int32_t part) {
  Block block;
  Sections sections;
  AddFrames(shape, rows, &sections);
  AddRows(shape, ByRows(rows), &sections);
  sections.MoveTo(&block);
  block.part = part;
  block.frames = static_cast<int32_t>(rows.frames.size());
  block.series = static_cast<int32_t>(rows.series());
  block.rows = static_cast<int64_t>(rows.rows());
  block.starts_us = rows.frames.front().start_us;
  block.first_us = rows.frames.front().end_us;
  block.last_us = rows.frames.back().end_us;
  for (const FrameInfo& frame : rows.frames) {
    block.starts_us = std::min(block.starts_us, frame.start_us);
    block.unchanged_rows += frame.unchanged_rows;
  }
  if (const auto label = rows.labels.find(shape.locate_by); label != rows.labels.end() && rows.series() > 0) {
    block.locate_min = block.locate_max = LocateKey(label->second, 0);
    for (size_t series = 1; series < rows.series(); ++series) {
      std::string key = LocateKey(label->second, series);
      if (key < block.locate_min) {
        block.locate_min = std::move(key);
      } else if (key > block.locate_max) {
        block.locate_max = std::move(key);
      }
    }
  }
  return block;
}

// What OpenBlock looks up by id, each section once.
class Opened {
 public:
  explicit Opened(const BlockBytes& block) : block_(block) {}
  const std::string_view* Find(ColumnId id) const {
    for (size_t i = 0; i < block_.ids.size(); ++i) {
      if (block_.ids[i] == id) return &block_.sections[i];
    }
    return nullptr;
  }
  // False when the section is malformed; `values` stays empty when it is not there.
  bool Ints(ColumnId id, size_t count, std::vector<int64_t>* values) const {
    const std::string_view* section = Find(id);
    // All that is there is written over, so what stands there already need not be cleared.
    values->resize(section == nullptr ? 0 : count);
    if (section == nullptr) return true;
    std::string_view in = *section;
    return DecodeInts(&in, count, values->data()) && in.empty();
  }

 private:
  const BlockBytes& block_;
};

// Leaves the memory of vectors, and what OpenBlock writes over or takes away.
void Clear(RowSet* rows) {
  rows->frames.clear();
  rows->row_flags.clear();
  rows->row_last_us.clear();
}

absl::Status OpenFrames(const Opened& opened, size_t count, RowSet* rows) {
  rows->frames.resize(count);
  std::vector<int64_t> values;
  const auto read = [&](ColumnId id, bool needed, auto put) {
    if (!opened.Ints(id, count, &values) || (needed && values.empty() && count > 0)) return false;
    for (size_t i = 0; i < values.size(); ++i) put(rows->frames[i], values[i]);
    return true;
  };
  std::unordered_map<int64_t, int64_t> ends;
  const auto plus = [](int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  };
  const bool good =
      read(kFrameEnd, true, [](FrameInfo& f, int64_t v) { f.end_us = v; }) &&
      read(kFrameScope, false, [](FrameInfo& f, int64_t v) { f.scope = v; }) &&
      read(kFrameLength, false,
           [](FrameInfo& f, int64_t v) {
             f.start_us = static_cast<int64_t>(static_cast<uint64_t>(f.end_us) - static_cast<uint64_t>(v));
           }) &&
      read(kFrameGap, false,
           [&](FrameInfo& f, int64_t v) {
             int64_t& before = ends.try_emplace(f.scope, f.end_us).first->second;
             f.start_us = plus(before, v);
             before = f.end_us;
           }) &&
      read(kFrameCollector, false, [](FrameInfo& f, int64_t v) { f.collector = static_cast<int32_t>(v); }) &&
      read(kFrameFlags, false, [](FrameInfo& f, int64_t v) { f.flags = static_cast<int32_t>(v); }) &&
      read(kFrameCount, false, [](FrameInfo& f, int64_t v) { f.frames = v; }) &&
      read(kFrameUnchanged, false, [](FrameInfo& f, int64_t v) { f.unchanged_rows = v; }) &&
      read(kFrameCovered, false, [](FrameInfo& f, int64_t v) { f.covered_us = v; });
  return good ? absl::OkStatus() : Wrong("the frames of a block are malformed");
}

bool CountsFit(const std::vector<int64_t>& counts, size_t rows) {
  uint64_t left = rows;
  for (const int64_t count : counts) {
    if (count < 0 || static_cast<uint64_t>(count) > left) return false;
    left -= static_cast<uint64_t>(count);
  }
  return left == 0;
}

// Members of the rows from the counts of their owners, which fit, and gaps.
bool OpenMembers(const std::vector<int64_t>& counts, const std::vector<int64_t>& gaps, size_t members,
                 std::vector<uint32_t>* member) {
  member->resize(gaps.size());
  // What is wrong is found at the end: a number that is out of range once spoils this and nothing else.
  const auto most = static_cast<uint64_t>(members);
  uint64_t wrong = 0;
  size_t row = 0;
  for (const int64_t count : counts) {
    uint64_t next = 0;
    for (const size_t behind = row + static_cast<size_t>(count); row < behind; ++row) {
      const uint64_t step = static_cast<uint64_t>(gaps[row]) + 1;
      next += step;
      // The first row of a series has its number itself.
      wrong |= static_cast<uint64_t>(step > most) | static_cast<uint64_t>(next - 1 >= most);
      (*member)[row] = static_cast<uint32_t>(next - 1);
    }
  }
  return wrong == 0;
}

absl::Status CheckCounts(const BlockBytes& block) {
  if (block.ids.size() != block.sections.size()) return Wrong("a block has not as many sections as ids");
  if (block.frames < 0 || block.series < 0 || block.rows < 0 || block.frames > kMaxOpenRows ||
      block.series > kMaxOpenRows || block.rows > kMaxOpenRows) {
    return Wrong("the counts of a block are out of range");
  }
  return absl::OkStatus();
}

// Owners and members of the rows from their counts and gaps.
bool OpenOrder(const std::vector<int64_t>& counts, const std::vector<int64_t>& gaps, size_t members,
               std::vector<uint32_t>* owner, std::vector<uint32_t>* member) {
  if (!CountsFit(counts, gaps.size()) || !OpenMembers(counts, gaps, members, member)) return false;
  owner->resize(gaps.size());
  auto next = owner->begin();
  for (size_t i = 0; i < counts.size(); ++i) next = std::fill_n(next, counts[i], static_cast<uint32_t>(i));
  return true;
}

// Which rows count, when not all do, and which of them in part.
void CountRows(bool all, const FrameUse& use, SeriesSums* sums) {
  sums->row_counts.clear();
  sums->cut_rows.clear();
  if (all) return;
  const std::vector<uint32_t>& frame = sums->row_frame;
  sums->row_counts.resize(frame.size());
  for (size_t row = 0; row < frame.size(); ++row) sums->row_counts[row] = use.parts[frame[row]];
  if (std::find(use.parts.begin(), use.parts.end(), FrameUse::kPart) == use.parts.end()) return;
  for (size_t row = 0; row < frame.size(); ++row) {
    if (sums->row_counts[row] == FrameUse::kPart) sums->cut_rows.push_back(static_cast<uint32_t>(row));
  }
}

// Makes 0 of the values of rows that do not count or are NULL, and of those that count in part their share.
void ZeroWhatCountsNot(const std::vector<FrameInfo>& frames, const FrameUse& use, SeriesSums* sums) {
  std::vector<int64_t>& values = sums->values.ints;
  const std::vector<uint8_t>& nulls = sums->values.nulls;
  for (size_t row = 0; row < nulls.size(); ++row) values[row] &= static_cast<int64_t>(nulls[row]) - 1;
  for (size_t row = 0; row < sums->row_counts.size(); ++row) {
    values[row] &= -static_cast<int64_t>(sums->row_counts[row] != 0);
  }
  for (const uint32_t row : sums->cut_rows) {
    const size_t f = sums->row_frame[row];
    const auto& [from, to] = use.spans[f];
    values[row] = ShareBefore(values[row], frames[f].start_us, frames[f].end_us, to) -
                  ShareBefore(values[row], frames[f].start_us, frames[f].end_us, from);
  }
}

// One sum per series; `values` are lost.
void AddUp(const std::vector<int64_t>& counts, std::vector<int64_t>& values, std::vector<__int128>* sums) {
  sums->resize(counts.size());
  uint64_t bits = 0;
  for (const int64_t value : values) bits |= static_cast<uint64_t>(value ^ (value >> 63));
  size_t row = 0;
  // Sums that 64 bits may not hold.
  if (values.size() >= (uint64_t{1} << 62) >> std::bit_width(bits)) {
    for (size_t s = 0; s < counts.size(); ++s) {
      __int128 sum = 0;
      for (const size_t behind = row + static_cast<size_t>(counts[s]); row < behind; ++row) sum += values[row];
      (*sums)[s] = sum;
    }
    return;
  }
  // Series are short: a sum is the difference of two running ones, without a loop for each.
  int64_t running = 0;
  for (int64_t& value : values) value = running += value;
  int64_t before = 0;
  for (size_t s = 0; s < counts.size(); ++s) {
    row += static_cast<size_t>(counts[s]);
    const int64_t up_to = row == 0 ? 0 : values[row - 1];
    (*sums)[s] = up_to - before;
    before = up_to;
  }
}

// Calls `each` with the place and value of all that are not 0, in order.
template <typename Each>
void ForOthers(const std::vector<uint8_t>& bytes, const Each& each) {
  size_t at = 0;
  for (uint64_t word = 0; at + sizeof word <= bytes.size(); at += sizeof word) {
    std::memcpy(&word, &bytes[at], sizeof word);
    if (word == 0) continue;
    for (size_t i = at; i < at + sizeof word; ++i) {
      if (bytes[i] != 0) each(i, bytes[i]);
    }
  }
  for (; at < bytes.size(); ++at) {
    if (bytes[at] != 0) each(at, bytes[at]);
  }
}

// The series of rows that are asked for in order.
class SeriesOf {
 public:
  explicit SeriesOf(const std::vector<int64_t>& counts)
      : counts_(counts), behind_(counts.empty() ? 0 : static_cast<size_t>(counts[0])) {}
  size_t At(size_t row) {
    while (row >= behind_) behind_ += static_cast<size_t>(counts_[++series_]);
    return series_;
  }

 private:
  const std::vector<int64_t>& counts_;
  size_t series_ = 0;
  size_t behind_;
};

// How many rows of each series count.
void CountOfSeries(SeriesSums* sums) {
  if (sums->row_counts.empty()) {
    sums->counted = sums->counts;
    return;
  }
  sums->counted.resize(sums->counts.size());
  // How many do up to each row: series are short, and a loop for each is slower.
  sums->found.resize(sums->row_counts.size() + 1);
  uint32_t found = sums->found[0] = 0;
  for (size_t row = 0; row < sums->row_counts.size(); ++row) {
    found += static_cast<uint32_t>(sums->row_counts[row] != 0);
    sums->found[row + 1] = found;
  }
  size_t row = 0;
  for (size_t s = 0; s < sums->counts.size(); ++s) {
    const size_t behind = row + static_cast<size_t>(sums->counts[s]);
    sums->counted[s] = sums->found[behind] - sums->found[row];
    row = behind;
  }
}

// Of each series whether a row counts that is not in `without`.
void FindOthers(const std::vector<uint8_t>& without, const SeriesSums& sums, std::vector<uint8_t>* any) {
  any->resize(sums.counted.size());
  for (size_t s = 0; s < sums.counted.size(); ++s) (*any)[s] = sums.counted[s] > 0 ? 1 : 0;
  SeriesOf series(sums.counts);
  size_t last = SIZE_MAX;
  int64_t left = 0;
  ForOthers(without, [&](size_t row, uint8_t) {
    if (!sums.row_counts.empty() && sums.row_counts[row] == 0) return;
    const size_t s = series.At(row);
    left = (s == last ? left : sums.counted[s]) - 1;
    last = s;
    if (left == 0) (*any)[s] = 0;
  });
}

}  // namespace

size_t SectionStart(const std::vector<ColumnId>& ids, const std::vector<int32_t>& offsets, size_t at) {
  while (at > 0 && ids[at] > 0 && ids[at - 1] > 0 && offsets[at] == offsets[at + 1]) --at;
  return at;
}

std::string LocateKey(int64_t value) {
  const uint64_t sortable = static_cast<uint64_t>(value) ^ (uint64_t{1} << 63);
  std::string key;
  for (int shift = 56; shift >= 0; shift -= 8)
    key.push_back(static_cast<char>(static_cast<uint8_t>(sortable >> shift)));
  return key;
}

std::string LocateKey(std::string_view text) {
  return std::string(text.substr(0, kTextKeyBytes));
}

std::string LocateKey(const Column& label, size_t row) {
  if (label.IsNull(row)) return "";
  return label.type == Type::kText ? LocateKey(std::string_view(label.Text(row))) : LocateKey(label.ints[row]);
}

std::vector<Block> EncodeBlocks(const Shape& shape, const RowSet& rows, uint32_t max_series) {
  std::vector<Block> blocks;
  if (rows.frames.empty()) return blocks;
  const auto series = static_cast<uint32_t>(rows.series());
  if (series <= max_series) {
    blocks.push_back(EncodeBlock(shape, rows, 0));
    return blocks;
  }
  for (uint32_t first = 0; first < series; first += max_series) {
    RowSet slice = SliceSeries(rows, first, std::min(series, first + max_series));
    if (first > 0) {
      // What is said of frames is said once.
      const std::vector<int64_t> here = CountsOf(slice.row_frame, slice.frames.size());
      for (size_t i = 0; i < slice.frames.size(); ++i) {
        FrameInfo& frame = slice.frames[i];
        frame.frames = 0;
        frame.unchanged_rows = 0;
        frame.covered_us = 0;
        frame.rows = here[i];
      }
    }
    blocks.push_back(EncodeBlock(shape, slice, static_cast<int32_t>(blocks.size())));
  }
  return blocks;
}

const std::vector<ColumnId>& StructureIds() {
  static const auto* const kIds =
      new std::vector<ColumnId>{kFrameEnd,   kFrameLength,    kFrameScope,   kFrameCollector, kFrameFlags,
                                kFrameCount, kFrameUnchanged, kFrameCovered, kSeriesScope,    kSeriesRows,
                                kRowFrame,   kRowFlags,       kRowLast,      kFrameRowsSent,  kFrameGap};
  return *kIds;
}

const std::vector<ColumnId>& FrameIds() {
  static const auto* const kIds =
      new std::vector<ColumnId>{kFrameEnd,   kFrameLength,    kFrameScope,   kFrameCollector, kFrameFlags,
                                kFrameCount, kFrameUnchanged, kFrameCovered, kFrameRowsSent,  kFrameGap};
  return *kIds;
}

absl::Status OpenBlock(const Shape& shape, const BlockBytes& block, RowSet* rows) {
  Clear(rows);
  if (absl::Status status = CheckCounts(block); !status.ok()) return status;
  const Opened opened(block);
  const auto frames = static_cast<size_t>(block.frames);
  const auto series = static_cast<size_t>(block.series);
  const auto count = static_cast<size_t>(block.rows);
  if (absl::Status status = OpenFrames(opened, frames, rows); !status.ok()) return status;
  std::vector<int64_t> sent;
  if (!opened.Ints(kFrameRowsSent, frames, &sent)) return Wrong("the rows of frames are malformed");

  if (opened.Find(kRowFrame) == nullptr) {
    for (size_t i = 0; i < sent.size(); ++i) rows->frames[i].rows = sent[i];
    rows->series_scope.clear();
    rows->row_series.clear();
    rows->row_frame.clear();
    rows->labels.clear();
    rows->values.clear();
    return absl::OkStatus();
  }
  std::vector<int64_t> counts, gaps;
  if (!opened.Ints(kSeriesScope, series, &rows->series_scope) || rows->series_scope.size() != series ||
      !opened.Ints(kSeriesRows, series, &counts) || !opened.Ints(kRowFrame, count, &gaps)) {
    return Wrong("the structure of a block is malformed");
  }
  if (!OpenOrder(counts, gaps, frames, &rows->row_series, &rows->row_frame)) {
    return Wrong("the rows of a block do not fit its series and frames");
  }
  if (sent.empty()) sent = CountsOf(rows->row_frame, frames);
  for (size_t i = 0; i < frames; ++i) rows->frames[i].rows = sent[i];

  std::vector<int64_t> values;
  if (!opened.Ints(kRowFlags, count, &values) ||
      std::any_of(values.begin(), values.end(), [](int64_t bits) { return bits < 0 || bits > 255; })) {
    return Wrong("the row flags of a block are malformed");
  }
  if (!values.empty()) {
    rows->row_flags.assign(values.begin(), values.end());
  }
  if (const std::string_view* instants = opened.Find(kRowLast); instants != nullptr) {
    if (!ReadInstants(*instants, rows)) return Wrong("the instants of a block are malformed");
  } else if (shape.buckets) {
    rows->row_last_us.assign(count, 0);
  }
  for (size_t i = 0; i < block.ids.size(); ++i) {
    const Shape::Part* part = block.ids[i] > 0 ? shape.Find(block.ids[i]) : nullptr;
    if (part == nullptr) continue;
    Column& column = (part->label ? rows->labels : rows->values)[part->id];
    if (absl::Status status = DecodeColumn(block.sections[i], part->type, part->label ? series : count, &column);
        !status.ok()) {
      return status;
    }
  }
  // Columns that only the last block had.
  const auto missing = [&](const auto& column) {
    return std::find(block.ids.begin(), block.ids.end(), column.first) == block.ids.end() ||
           shape.Find(column.first) == nullptr;
  };
  std::erase_if(rows->labels, missing);
  std::erase_if(rows->values, missing);
  for (const Shape::Part& part : shape.parts) {
    const auto column = rows->values.find(part.id);
    if (column == rows->values.end() || !IsNearLeast(shape, part)) continue;
    const auto [least, counted] = LeastOf(rows->values, part.id, count);
    if (least == nullptr || counted == nullptr) return Wrong("readings of a level without the least ones");
    AddLeast(part.id, *least, *counted, 1, &column->second);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> SumBlock(const Shape& shape, const BlockBytes& block, const std::vector<ColumnId>& columns,
                              const std::function<bool(const std::vector<FrameInfo>&, FrameUse*)>& choose, RowSet* rows,
                              SeriesSums* sums, SumKind kind) {
  for (const Shape::Part& part : shape.parts) {
    if (part.label) continue;
    if (part.type != Type::kInt || std::find(columns.begin(), columns.end(), part.id) == columns.end()) return false;
  }
  Clear(rows);
  rows->series_scope.clear();
  rows->row_series.clear();
  rows->row_frame.clear();
  rows->labels.clear();
  rows->values.clear();
  if (absl::Status status = CheckCounts(block); !status.ok()) return status;
  const Opened opened(block);
  const auto series = static_cast<size_t>(block.series);
  const auto count = static_cast<size_t>(block.rows);
  if (absl::Status status = OpenFrames(opened, static_cast<size_t>(block.frames), rows); !status.ok()) return status;
  FrameUse use;
  if (!choose(rows->frames, &use)) return false;
  const bool any = std::any_of(use.parts.begin(), use.parts.end(), [](auto part) { return part != FrameUse::kNone; });
  if (!any || opened.Find(kRowFrame) == nullptr) return true;
  const bool all = std::all_of(use.parts.begin(), use.parts.end(), [](auto part) { return part == FrameUse::kWhole; });

  if (!opened.Ints(kSeriesScope, series, &rows->series_scope) || rows->series_scope.size() != series ||
      !opened.Ints(kSeriesRows, series, &sums->counts) || !CountsFit(sums->counts, count)) {
    return Wrong("the structure of a block is malformed");
  }
  // Where all frames count it does not matter which of them a row is of.
  if (!all && (!opened.Ints(kRowFrame, count, &sums->gaps) ||
               !OpenMembers(sums->counts, sums->gaps, rows->frames.size(), &sums->row_frame))) {
    return Wrong("the rows of a block do not fit its series and frames");
  }
  sums->row_flags.clear();
  if (kind == SumKind::kAll) {
    if (!opened.Ints(kRowFlags, count, &sums->values.ints)) return Wrong("the row flags of a block are malformed");
    sums->row_flags.assign(sums->values.ints.begin(), sums->values.ints.end());
  }
  for (size_t i = 0; i < block.ids.size(); ++i) {
    const Shape::Part* part = block.ids[i] > 0 ? shape.Find(block.ids[i]) : nullptr;
    if (part == nullptr || !part->label) continue;
    absl::Status status = DecodeColumn(block.sections[i], part->type, series, &rows->labels[part->id]);
    if (!status.ok()) return status;
  }

  CountRows(all, use, sums);
  if (kind == SumKind::kAll) CountOfSeries(sums);
  sums->columns.resize(columns.size());
  // Rows without any value.
  sums->absent.clear();
  bool all_present = false;
  for (size_t c = 0; c < columns.size(); ++c) {
    SeriesSums::Sums& into = sums->columns[c];
    const std::string_view* const section = shape.Find(columns[c]) == nullptr ? nullptr : opened.Find(columns[c]);
    if (section == nullptr) {
      into.sums.assign(series, 0);
      into.known.assign(series, 0);
      continue;
    }
    if (absl::Status status = DecodeColumn(*section, Type::kInt, count, &sums->values); !status.ok()) return status;
    const std::vector<uint8_t>& nulls = sums->values.nulls;
    ZeroWhatCountsNot(rows->frames, use, sums);
    AddUp(sums->counts, sums->values.ints, &into.sums);
    if (kind != SumKind::kAll) {
      into.known.resize(series);
      for (size_t s = 0; s < series; ++s) into.known[s] = static_cast<uint8_t>(into.sums[s] != 0);
      continue;
    }
    if (nulls.empty()) {
      all_present = true;
    } else if (sums->absent.empty()) {
      sums->absent = nulls;
    } else {
      for (size_t row = 0; row < count; ++row) sums->absent[row] &= nulls[row];
    }
    FindOthers(nulls, *sums, &into.known);
  }
  sums->flags.assign(series, 0);
  if (kind != SumKind::kAll) {
    sums->present.assign(series, 0);
    for (const SeriesSums::Sums& of : sums->columns) {
      for (size_t s = 0; s < series; ++s) sums->present[s] |= of.known[s];
    }
    return true;
  }
  if (all_present) {
    sums->absent.clear();
  } else if (sums->absent.empty()) {
    sums->absent.assign(count, 1);
  }
  SeriesOf of_cut(sums->counts);
  for (const uint32_t row : sums->cut_rows) {
    const bool present = sums->absent.empty() || sums->absent[row] == 0 ||
                         (!sums->row_flags.empty() && (sums->row_flags[row] & kUnknownFlag) != 0);
    if (present) sums->flags[of_cut.At(row)] |= kInterpolatedFlag;
  }
  SeriesOf of_flags(sums->counts);
  ForOthers(sums->row_flags, [&](size_t row, uint8_t bits) {
    if ((bits & kUnknownFlag) != 0 && !sums->absent.empty()) sums->absent[row] = 0;
    if (!all && sums->row_counts[row] == 0) return;
    if (sums->absent.empty() || sums->absent[row] == 0) sums->flags[of_flags.At(row)] |= bits & ~kGoneFlag;
  });
  FindOthers(sums->absent, *sums, &sums->present);
  return true;
}

}  // namespace pga::columns
