#include "libs/columns/kernels.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <set>
#include <tuple>

#include "libs/columns/rollup.h"

namespace pga::columns {
namespace {

void AppendBytes(uint64_t value, std::string* out) {
  char bytes[8];
  std::memcpy(bytes, &value, sizeof bytes);
  out->append(bytes, sizeof bytes);
}

const Column* FindColumn(const std::map<ColumnId, Column>& columns, ColumnId id) {
  const auto found = columns.find(id);
  return found == columns.end() ? nullptr : &found->second;
}

// The value as bytes that differ for different values of one column.
void AppendKey(const Column* column, size_t row, std::string* key) {
  if (column == nullptr || column->IsNull(row)) {
    key->push_back(0);
    return;
  }
  key->push_back(1);
  if (column->type == Type::kText) {
    AppendBytes(column->Text(row).size(), key);
    key->append(column->Text(row));
  } else if (column->type == Type::kDouble) {
    AppendBytes(std::bit_cast<uint64_t>(column->doubles[row]), key);
  } else {
    AppendBytes(static_cast<uint64_t>(column->ints[row]), key);
  }
}

uint64_t Mixed(uint64_t hash, int64_t value) {
  hash = (hash ^ static_cast<uint64_t>(value)) * 0x9e3779b97f4a7c15;
  return hash ^ hash >> 32;
}

constexpr uint64_t kHashHalf = 0xffffffff00000000;

uint64_t PlacedAs(uint64_t hash, uint32_t number) {
  return (hash & kHashHalf) | (uint64_t{number} + 1);
}
uint32_t NumberIn(uint64_t place) {
  return static_cast<uint32_t>(place) - 1;
}

// A place of an open table for what has this hash and `same` recognises, or a free one.
template <typename Same>
uint64_t& PlaceOf(std::vector<uint64_t>* places, uint64_t hash, const Same& same) {
  const size_t mask = places->size() - 1;
  size_t at = (hash >> 32) & mask;
  for (; (*places)[at] != 0; at = (at + 1) & mask) {
    const uint64_t place = (*places)[at];
    if (((place ^ hash) & kHashHalf) == 0 && same(NumberIn(place))) break;
  }
  return (*places)[at];
}

// Makes a table four times as large, or more, when it would be more than half full with one more than `count`.
void GrowFor(std::vector<uint64_t>* places, size_t count) {
  if (2 * (count + 1) <= places->size()) return;
  size_t size = std::max<size_t>(64, places->size() * 4);
  while (2 * (count + 1) > size) size *= 4;
  std::vector<uint64_t> old(size);
  old.swap(*places);
  for (const uint64_t place : old) {
    if (place != 0) PlaceOf(places, place, [](uint32_t) { return false; }) = place;
  }
}

bool SameWords(const int64_t* a, const int64_t* b, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

// The answer of a filter for every row of a column, asked once per text.
std::vector<uint8_t> Asked(const RowFilter& filter, const Column* column, size_t count) {
  const auto of_null = [&] { return (filter.text ? filter.text(std::nullopt) : filter.number(std::nullopt)) ? 1 : 0; };
  if (column == nullptr) return std::vector<uint8_t>(count, static_cast<uint8_t>(of_null()));
  std::vector<uint8_t> kept(count);
  std::vector<uint8_t> texts;
  if (column->type == Type::kText) {
    for (const std::string& text : column->texts) texts.push_back(filter.text(std::string_view(text)) ? 1 : 0);
  }
  for (size_t row = 0; row < count; ++row) {
    if (column->IsNull(row)) {
      kept[row] = static_cast<uint8_t>(of_null());
    } else if (column->type == Type::kText) {
      kept[row] = texts[static_cast<size_t>(column->ints[row])];
    } else {
      kept[row] = filter.number(column->ints[row]) ? 1 : 0;
    }
  }
  return kept;
}

template <typename Less>
void SortRows(std::vector<GroupRow>* rows, const Less& less) {
  std::sort(rows->begin(), rows->end(), less);
}

// Buckets of frames that lie in no cell, and in several or in part.
constexpr int32_t kNowhere = -2;
constexpr int32_t kSplit = -1;

// Places of CounterSums: few enough for a near cache, more than one source has groups.
constexpr int kPlaceBits = 15;
// Series that are kept for KeepTop; about 60 bytes each.
constexpr size_t kMostPending = 500'000;
constexpr int64_t kHashOfNull = 0x5851f42d4c957f2d;

int64_t HashOfText(std::string_view text) {
  uint64_t hash = text.size();
  for (const char c : text) hash = Mixed(hash, c);
  return static_cast<int64_t>(hash);
}

auto OrderOf(const GroupRow& row) {
  return std::tie(row.source, row.scope, row.labels, row.bucket);
}

}  // namespace

Value ValueOf(const Column* column, size_t row) {
  if (column == nullptr || column->IsNull(row)) return {};
  if (column->type == Type::kText) return column->Text(row);
  if (column->type == Type::kDouble) return column->doubles[row];
  return column->ints[row];
}

std::vector<uint8_t> KeepRows(const std::vector<RowFilter>& filters, const RowSet& rows) {
  std::vector<uint8_t> kept(rows.rows(), 1);
  for (const RowFilter& filter : filters) {
    const Column* value = FindColumn(rows.values, filter.column);
    if (value != nullptr) {
      const std::vector<uint8_t> asked = Asked(filter, value, rows.rows());
      for (size_t row = 0; row < kept.size(); ++row) kept[row] &= asked[row];
      continue;
    }
    const std::vector<uint8_t> asked = Asked(filter, FindColumn(rows.labels, filter.column), rows.series());
    for (size_t row = 0; row < kept.size(); ++row) kept[row] &= asked[rows.row_series[row]];
  }
  return kept;
}

namespace internal {

int CellTable::Holding(int64_t instant) const {
  const auto after = std::upper_bound(cells_.begin(), cells_.end(), instant,
                                      [](int64_t at, const Cell& cell) { return at < cell.start_us; });
  if (after == cells_.begin()) return -1;
  const auto cell = after - 1;
  return instant < cell->end_us ? static_cast<int>(cell - cells_.begin()) : -1;
}

std::pair<int, int> CellTable::Touched(int64_t start_us, int64_t end_us) const {
  if (start_us >= end_us) {
    const int cell = Holding(end_us);
    return cell < 0 ? std::pair(0, -1) : std::pair(cell, cell);
  }
  const auto first = std::upper_bound(cells_.begin(), cells_.end(), start_us,
                                      [](int64_t at, const Cell& cell) { return at < cell.end_us; });
  const auto behind =
      std::lower_bound(first, cells_.end(), end_us, [](const Cell& cell, int64_t at) { return cell.start_us < at; });
  return {static_cast<int>(first - cells_.begin()), static_cast<int>(behind - cells_.begin()) - 1};
}

int64_t Groups::NumberOf(std::string_view text) {
  const auto found = text_numbers_.find(text);
  if (found != text_numbers_.end()) return found->second;
  const auto number = static_cast<int64_t>(texts_.size());
  texts_.emplace_back(text);
  text_numbers_.emplace(texts_.back(), number);
  return number;
}

uint64_t Groups::HashOf(const int64_t* key) const {
  uint64_t hash = 0;
  for (size_t i = 0; i < width_; ++i) hash = Mixed(hash, key[i]);
  return hash;
}

uint32_t Groups::Find(const int64_t* key, uint64_t hash) {
  GrowFor(&places_, count_);
  uint64_t& place = PlaceOf(&places_, hash, [&](uint32_t group) { return SameWords(KeyOf(group), key, width_); });
  if (place != 0) return NumberIn(place);
  if (closed_) return kNone;
  const auto group = static_cast<uint32_t>(count_++);
  place = PlacedAs(hash, group);
  keys_.insert(keys_.end(), key, key + width_);
  group_infos_.resize(count_ * grouping_.infos.size());
  CountApart(group);
  return group;
}

void Groups::CountApart(uint32_t group) {
  // As long as all are of one scope, and of one source where sources do not stay apart, each group is distinct.
  const int64_t* const key = KeyOf(group);
  const bool differs = key[1] != keys_[1] || (!grouping_.by_source && key[0] != keys_[0]);
  if (apart_.empty() && !differs) return;
  const auto hash_of = [this](uint32_t of) {
    uint64_t hash = grouping_.by_source ? Mixed(0, KeyOf(of)[0]) : 0;
    for (size_t i = 2; i < width_; ++i) hash = Mixed(hash, KeyOf(of)[i]);
    return hash;
  };
  for (uint32_t each = apart_.empty() ? 0 : group; each <= group; ++each) {
    GrowFor(&apart_, distinct_);
    const uint64_t hash = hash_of(each);
    uint64_t& place = PlaceOf(&apart_, hash, [&](uint32_t other) {
      return (!grouping_.by_source || KeyOf(other)[0] == KeyOf(each)[0]) &&
             SameWords(KeyOf(other) + 2, KeyOf(each) + 2, width_ - 2);
    });
    if (place != 0) continue;
    place = PlacedAs(hash, each);
    ++distinct_;
  }
}

void Groups::Clear() {
  count_ = 0;
  distinct_ = 0;
  keys_.clear();
  std::fill(places_.begin(), places_.end(), 0);
  apart_.clear();
  text_numbers_.clear();
  texts_.clear();
  group_infos_.clear();
}

uint32_t Groups::Of(int32_t source, int64_t scope, const std::vector<Value>& labels) {
  std::vector<int64_t> key(width_);
  key[0] = source;
  key[1] = scope;
  for (size_t i = 0; i < grouping_.by.size() && i < labels.size(); ++i) {
    if (const auto* text = std::get_if<std::string>(&labels[i])) {
      SetLabel(i, kString, NumberOf(*text), key.data());
    } else if (const auto* real = std::get_if<double>(&labels[i])) {
      SetLabel(i, kReal, std::bit_cast<int64_t>(*real), key.data());
    } else if (const auto* number = std::get_if<int64_t>(&labels[i])) {
      SetLabel(i, kNumber, *number, key.data());
    }
  }
  return Find(key.data(), HashOf(key.data()));
}

Groups::Group Groups::At(uint32_t group) const {
  const int64_t* const key = KeyOf(group);
  Group at;
  at.source = static_cast<int32_t>(key[0]);
  at.scope = key[1];
  at.labels.resize(grouping_.by.size());
  for (size_t i = 0; i < at.labels.size(); ++i) {
    const int64_t value = key[2 + tag_words_ + i];
    switch (TagOf(key, i)) {
      case kNumber:
        at.labels[i] = value;
        break;
      case kReal:
        at.labels[i] = std::bit_cast<double>(value);
        break;
      case kString:
        at.labels[i] = texts_[static_cast<size_t>(value)];
        break;
      default:
        break;
    }
  }
  const auto infos = group_infos_.begin() + static_cast<ptrdiff_t>(group * grouping_.infos.size());
  at.infos.assign(infos, infos + static_cast<ptrdiff_t>(grouping_.infos.size()));
  return at;
}

bool Groups::Before(uint32_t a, uint32_t b) const {
  const int64_t* const x = KeyOf(a);
  const int64_t* const y = KeyOf(b);
  if (x[0] != y[0]) return x[0] < y[0];
  for (size_t i = 0; i < grouping_.by.size(); ++i) {
    const uint64_t tag = TagOf(x, i);
    if (const uint64_t other = TagOf(y, i); tag != other) return tag < other;
    const int64_t left = x[2 + tag_words_ + i], right = y[2 + tag_words_ + i];
    if (left == right) continue;
    if (tag == kString) return texts_[static_cast<size_t>(left)] < texts_[static_cast<size_t>(right)];
    if (tag == kReal) return std::bit_cast<double>(left) < std::bit_cast<double>(right);
    return left < right;
  }
  return x[1] < y[1];
}

Groups::Rows::Rows(Groups* groups, int32_t source, const RowSet& rows)
    : groups_(groups), rows_(rows), key_(groups->width_) {
  key_[0] = source;
  const auto find = [&](ColumnId id) {
    From from;
    from.column = FindColumn(rows.values, id);
    from.of_row = from.column != nullptr;
    if (!from.of_row) from.column = FindColumn(rows.labels, id);
    if (from.column != nullptr) from.texts.assign(from.column->texts.size(), -1);
    return from;
  };
  for (const ColumnId id : groups->grouping_.by) {
    labels_.push_back(find(id));
    by_row_ = by_row_ || labels_.back().of_row;
  }
  for (const ColumnId id : groups->grouping_.infos) infos_.push_back(find(id));
}

uint32_t Groups::Rows::Of(uint32_t series, size_t row) {
  key_[1] = rows_.series_scope[series];
  std::fill(key_.begin() + 2, key_.end(), 0);
  for (size_t i = 0; i < labels_.size(); ++i) {
    From& from = labels_[i];
    const size_t at = from.of_row ? row : series;
    if (from.column == nullptr || from.column->IsNull(at)) continue;
    if (from.column->type == Type::kText) {
      int64_t& number = from.texts[static_cast<size_t>(from.column->ints[at])];
      if (number < 0) number = groups_->NumberOf(from.column->Text(at));
      groups_->SetLabel(i, kString, number, key_.data());
    } else if (from.column->type == Type::kDouble) {
      groups_->SetLabel(i, kReal, std::bit_cast<int64_t>(from.column->doubles[at]), key_.data());
    } else {
      groups_->SetLabel(i, kNumber, from.column->ints[at], key_.data());
    }
  }
  return groups_->Find(key_.data(), groups_->HashOf(key_.data()));
}

std::vector<uint32_t> Groups::Rows::OfSeries(const std::vector<uint8_t>& wanted) {
  const size_t count = wanted.size(), width = groups_->width_;
  std::vector<int64_t> keys(count * width);
  for (size_t series = 0; series < count; ++series) {
    keys[series * width] = key_[0];
    keys[series * width + 1] = rows_.series_scope[series];
  }
  for (size_t i = 0; i < labels_.size(); ++i) {
    From& from = labels_[i];
    if (from.column == nullptr) continue;
    for (size_t series = 0; series < count; ++series) {
      if (wanted[series] == 0 || from.column->IsNull(series)) continue;
      int64_t* const key = &keys[series * width];
      if (from.column->type == Type::kText) {
        int64_t& number = from.texts[static_cast<size_t>(from.column->ints[series])];
        if (number < 0) number = groups_->NumberOf(from.column->Text(series));
        groups_->SetLabel(i, kString, number, key);
      } else if (from.column->type == Type::kDouble) {
        groups_->SetLabel(i, kReal, std::bit_cast<int64_t>(from.column->doubles[series]), key);
      } else {
        groups_->SetLabel(i, kNumber, from.column->ints[series], key);
      }
    }
  }
  std::vector<uint64_t> hashes(count);
  for (size_t series = 0; series < count; ++series) hashes[series] = groups_->HashOf(&keys[series * width]);
  // The table is larger than a near cache: what is looked at next is fetched while others are compared.
  constexpr size_t kAhead = 8;
  GrowFor(&groups_->places_, groups_->count_ + count);
  const size_t mask = groups_->places_.size() - 1;
  std::vector<uint32_t> groups(count, kNone);
  for (size_t series = 0; series < count; ++series) {
    if (series + 2 * kAhead < count) {
      __builtin_prefetch(&groups_->places_[(hashes[series + 2 * kAhead] >> 32) & mask]);
    }
    if (series + kAhead < count) {
      const uint64_t place = groups_->places_[(hashes[series + kAhead] >> 32) & mask];
      if (place != 0) __builtin_prefetch(groups_->KeyOf(NumberIn(place)));
    }
    if (wanted[series] != 0) groups[series] = groups_->Find(&keys[series * width], hashes[series]);
  }
  return groups;
}

void Groups::Rows::TakeInfos(uint32_t group, uint32_t series, size_t row, bool again) {
  for (size_t i = 0; i < infos_.size(); ++i) {
    const From& from = infos_[i];
    if (from.column == nullptr || (again && !from.of_row)) continue;
    const size_t at = from.of_row ? row : series;
    if (from.column->IsNull(at)) continue;
    std::optional<std::string>& greatest = groups_->group_infos_[group * infos_.size() + i];
    const std::string& text = from.column->Text(at);
    if (!greatest || *greatest < text) greatest = text;
  }
}

}  // namespace internal

CounterSums::CounterSums(const Cells& cells, const std::vector<ColumnId>& columns, const Grouping& grouping,
                         const std::vector<RowFilter>& filters)
    : cells_(cells), columns_(columns), grouping_(grouping), filters_(filters), groups_(grouping) {
  one_bucket_ = std::all_of(cells.begin(), cells.end(), [](const Cell& cell) { return cell.bucket <= 0; });
}

void CounterSums::Only(const std::vector<GroupRow>& rows) {
  for (const GroupRow& row : rows) groups_.Of(row.source, row.scope, row.labels);
  groups_.Close();
}

size_t CounterSums::SlotOf(uint32_t group, int32_t bucket) {
  const uint64_t key = static_cast<uint64_t>(group) << 32 | static_cast<uint32_t>(bucket);
  if (key == last_key_) return last_slot_;
  const auto next = static_cast<uint32_t>(slot_keys_.size());
  uint32_t slot = next;
  if (one_bucket_) {
    if (group >= slot_of_group_.size()) {
      slot_of_group_.resize(std::max<size_t>(groups_.size(), group + size_t{1}), internal::Groups::kNone);
    }
    uint32_t& known = slot_of_group_[group];
    if (known == internal::Groups::kNone) known = next;
    slot = known;
  } else {
    const auto at = static_cast<size_t>(bucket);
    if (at >= last_of_bucket_.size()) last_of_bucket_.resize(at + 1, {internal::Groups::kNone, 0});
    auto& [known_group, known_slot] = last_of_bucket_[at];
    if (known_group != group) {
      known_slot = slots_.try_emplace(key, next).first->second;
      known_group = group;
    }
    slot = known_slot;
  }
  if (slot == next) {
    ++rows_found_;
    slot_keys_.emplace_back(group, bucket);
    flags_.push_back(0);
    sums_.resize(sums_.size() + columns_.size());
    known_.resize(known_.size() + columns_.size());
  }
  last_key_ = key;
  last_slot_ = slot;
  return last_slot_;
}

void CounterSums::Add(int32_t source, int8_t level, const RowSet& rows) {
  // The cells of each frame: known once per frame, not once per row.
  struct Place {
    int first = 0;
    int last = -1;
    bool whole = false;
  };
  std::vector<Place> places(rows.frames.size());
  bool any = false;
  for (size_t i = 0; i < places.size(); ++i) {
    const FrameInfo& frame = rows.frames[i];
    Place& place = places[i];
    std::tie(place.first, place.last) = cells_.Reached(level, frame);
    if (level > 0) {
      place.whole = true;
    } else if (place.first == place.last) {
      const Cell& cell = cells_.cells()[static_cast<size_t>(place.first)];
      place.whole = frame.start_us >= frame.end_us || (cell.start_us <= frame.start_us && frame.end_us <= cell.end_us);
    }
    while (place.first <= place.last && !cells_.Answers(place.first, level)) ++place.first;
    while (place.first <= place.last && !cells_.Answers(place.last, level)) --place.last;
    any = any || place.first <= place.last;
  }
  if (!any) return;
  // The bucket of frames that lie in one cell whole.
  std::vector<int32_t> bucket_of(places.size(), kNowhere);
  for (size_t i = 0; i < places.size(); ++i) {
    const Place& place = places[i];
    if (place.first > place.last) continue;
    const bool plain = place.whole && place.first == place.last;
    bucket_of[i] = plain ? cells_.cells()[static_cast<size_t>(place.first)].bucket : kSplit;
    // What is only looked at is not summed.
    if (plain && bucket_of[i] < 0) bucket_of[i] = kSplit;
  }
  std::vector<Values> values;
  for (const ColumnId id : columns_) {
    const Column* const column = FindColumn(rows.values, id);
    values.push_back(column == nullptr
                         ? Values()
                         : Values{column->ints.data(), column->nulls.empty() ? nullptr : column->nulls.data()});
  }
  const bool filtered = !filters_.empty();
  const bool apart = filtered || !grouping_.by.empty() || !grouping_.infos.empty();
  const std::vector<int64_t>& scopes = rows.series_scope;
  if (!apart &&
      std::equal(scopes.begin(), scopes.end() - (scopes.empty() ? 0 : 1), scopes.begin() + (scopes.empty() ? 0 : 1))) {
    AddFrames(source, rows, values, &bucket_of);
    if (std::all_of(bucket_of.begin(), bucket_of.end(), [](int32_t bucket) { return bucket == kNowhere; })) return;
  }
  const std::vector<uint8_t> kept = filtered ? KeepRows(filters_, rows) : std::vector<uint8_t>();
  internal::Groups::Rows groups(&groups_, source, rows);
  const uint8_t* const row_flags = rows.row_flags.empty() ? nullptr : rows.row_flags.data();
  const bool infos = !grouping_.infos.empty();
  uint32_t last = UINT32_MAX;
  uint32_t group = internal::Groups::kNone;
  // The slot of the last row, and its bucket.
  size_t slot = 0;
  int32_t slot_bucket = -1;
  const size_t count = rows.rows();
  for (size_t row = 0; row < count; ++row) {
    const int32_t bucket = bucket_of[rows.row_frame[row]];
    if (bucket == kNowhere || (filtered && kept[row] == 0)) continue;
    const uint32_t series = rows.row_series[row];
    const bool again = series == last && !groups.by_row();
    if (again && group == internal::Groups::kNone) continue;
    const int bits = row_flags == nullptr ? 0 : row_flags[row];
    bool known = (bits & kUnknownFlag) != 0;
    for (size_t i = 0; i < values.size() && !known; ++i) known = values[i].Has(row);
    if (!known) continue;
    if (!again) {
      group = groups.Of(series, row);
      last = series;
      slot_bucket = -1;
      if (group == internal::Groups::kNone) continue;
    }
    if (infos) groups.TakeInfos(group, series, row, again);
    // Sums are of no use any more, but groups are counted.
    if (groups_.full()) continue;
    const int flags = bits & ~kGoneFlag;
    if (bucket >= 0) {
      if (rows_found_ > grouping_.max_rows) continue;
      if (slot_bucket != bucket) {
        slot = SlotOf(group, bucket);
        slot_bucket = bucket;
      }
      flags_[slot] |= flags;
      __int128* const sum = &sums_[slot * values.size()];
      uint8_t* const known_columns = &known_[slot * values.size()];
      for (size_t i = 0; i < values.size(); ++i) {
        if (!values[i].Has(row)) continue;
        known_columns[i] = 1;
        sum[i] += values[i].ints[row];
      }
      continue;
    }
    const Place& place = places[rows.row_frame[row]];
    const FrameInfo& frame = rows.frames[rows.row_frame[row]];
    for (int c = place.first; c <= place.last; ++c) {
      const Cell& cell = cells_.cells()[static_cast<size_t>(c)];
      if (!cells_.Answers(c, level) || cell.bucket < 0) continue;
      if (rows_found_ > grouping_.max_rows) break;
      slot = SlotOf(group, cell.bucket);
      slot_bucket = cell.bucket;
      flags_[slot] |= flags | (place.whole ? 0 : kInterpolatedFlag);
      for (size_t i = 0; i < values.size(); ++i) {
        if (!values[i].Has(row)) continue;
        const int64_t delta = values[i].ints[row];
        const size_t at = slot * columns_.size() + i;
        known_[at] = 1;
        sums_[at] += place.whole ? delta
                                 : ShareBefore(delta, frame.start_us, frame.end_us, cell.end_us) -
                                       ShareBefore(delta, frame.start_us, frame.end_us, cell.start_us);
      }
    }
  }
}

void CounterSums::AddFrames(int32_t source, const RowSet& rows, const std::vector<Values>& values,
                            std::vector<int32_t>* bucket_of) {
  struct OfFrame {
    uint8_t present = 0;
    uint8_t flags = 0;
  };
  const size_t count = rows.rows(), frames = rows.frames.size();
  const uint32_t* const frame = rows.row_frame.data();
  std::vector<OfFrame> of(frames);
  std::vector<__int128> sums(values.size() * frames);
  std::vector<uint8_t> known(values.size() * frames);
  std::vector<int64_t> small(frames);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto [ints, nulls] = values[i];
    if (ints == nullptr) continue;
    uint8_t* const has = &known[i * frames];
    __int128* const sum = &sums[i * frames];
    uint64_t bits = 0;
    for (size_t row = 0; row < count; ++row) bits |= static_cast<uint64_t>(ints[row] ^ (ints[row] >> 63));
    if (count >= (uint64_t{1} << 62) >> std::bit_width(bits)) {
      for (size_t row = 0; row < count; ++row) {
        if (nulls != nullptr && nulls[row] != 0) continue;
        has[frame[row]] = 1;
        sum[frame[row]] += ints[row];
      }
      continue;
    }
    std::fill(small.begin(), small.end(), 0);
    if (nulls == nullptr) {
      for (size_t row = 0; row < count; ++row) {
        has[frame[row]] = 1;
        small[frame[row]] += ints[row];
      }
    } else {
      for (size_t row = 0; row < count; ++row) {
        has[frame[row]] |= static_cast<uint8_t>(nulls[row] == 0);
        small[frame[row]] += ints[row] & (static_cast<int64_t>(nulls[row]) - 1);
      }
    }
    for (size_t f = 0; f < frames; ++f) sum[f] = small[f];
  }
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t f = 0; f < frames; ++f) of[f].present |= known[i * frames + f];
  }
  if (!rows.row_flags.empty()) {
    for (size_t row = 0; row < count; ++row) {
      const uint8_t bits = rows.row_flags[row];
      if (bits == 0) continue;
      bool is_present = (bits & kUnknownFlag) != 0;
      for (size_t i = 0; i < values.size() && !is_present; ++i) is_present = values[i].Has(row);
      if (!is_present) continue;
      of[frame[row]].present = 1;
      of[frame[row]].flags |= static_cast<uint8_t>(bits & ~kGoneFlag);
    }
  }
  uint32_t group = internal::Groups::kNone;
  for (size_t f = 0; f < frames; ++f) {
    const int32_t bucket = (*bucket_of)[f];
    if (bucket < 0) continue;
    (*bucket_of)[f] = kNowhere;
    if (of[f].present == 0) continue;
    if (group == internal::Groups::kNone) group = groups_.Of(source, rows.series_scope[0], {});
    if (group == internal::Groups::kNone) continue;
    if (groups_.full() || rows_found_ > grouping_.max_rows) continue;
    const size_t slot = SlotOf(group, bucket);
    flags_[slot] |= of[f].flags;
    for (size_t i = 0; i < values.size(); ++i) {
      known_[slot * values.size() + i] |= known[i * frames + f];
      sums_[slot * values.size() + i] += sums[i * frames + f];
    }
  }
}

bool CounterSums::UseOf(int8_t level, const std::vector<FrameInfo>& frames, FrameUse* use) const {
  if (!one_bucket_) return false;
  use->parts.assign(frames.size(), FrameUse::kNone);
  use->spans.assign(frames.size(), {0, 0});
  for (size_t i = 0; i < frames.size(); ++i) {
    const FrameInfo& frame = frames[i];
    auto [first, last] = cells_.Reached(level, frame);
    const bool alone = first == last;
    while (first <= last && !cells_.Answers(first, level)) ++first;
    while (first <= last && !cells_.Answers(last, level)) --last;
    if (first > last) continue;
    if (first < last) return false;
    const Cell& cell = cells_.cells()[static_cast<size_t>(first)];
    if (cell.bucket < 0) continue;
    const bool whole =
        level > 0 ||
        (alone && (frame.start_us >= frame.end_us || (cell.start_us <= frame.start_us && frame.end_us <= cell.end_us)));
    use->parts[i] = whole ? FrameUse::kWhole : FrameUse::kPart;
    use->spans[i] = {cell.start_us, cell.end_us};
  }
  return true;
}

void CounterSums::AddWanted(int32_t source, const RowSet& rows, const SeriesSums& sums, std::vector<uint8_t> wanted) {
  for (const RowFilter& filter : filters_) {
    const std::vector<uint8_t> asked = Asked(filter, FindColumn(rows.labels, filter.column), rows.series());
    for (size_t series = 0; series < wanted.size(); ++series) wanted[series] &= asked[series];
  }
  internal::Groups::Rows groups(&groups_, source, rows);
  const std::vector<uint32_t> group_of = groups.OfSeries(wanted);
  for (uint32_t series = 0; series < wanted.size(); ++series) {
    const uint32_t group = group_of[series];
    if (group == internal::Groups::kNone) continue;
    groups.TakeInfos(group, series, 0, false);
    if (groups_.full() || rows_found_ > grouping_.max_rows) continue;
    const size_t slot = SlotOf(group, 0);
    flags_[slot] |= sums.flags[series];
    for (size_t i = 0; i < columns_.size(); ++i) {
      const size_t at = slot * columns_.size() + i;
      known_[at] |= sums.columns[i].known[series];
      sums_[at] += sums.columns[i].sums[series];
    }
  }
}

void CounterSums::AddSeries(int32_t source, RowSet* rows, SeriesSums* sums) {
  if (rows->series() == 0) return;
  if (threshold_ <= 0) {
    AddWanted(source, *rows, *sums, sums->present);
    return;
  }
  if (pending_series_ > kMostPending) AddAllPending();
  if (pending_count_ == pending_.size()) pending_.emplace_back();
  Pending& pending = pending_[pending_count_++];
  pending.source = source;
  std::swap(pending.rows, *rows);
  std::swap(pending.sums.present, sums->present);
  std::swap(pending.sums.flags, sums->flags);
  std::swap(pending.sums.columns, sums->columns);
  pending_series_ += pending.rows.series();
  pending.places = PlacesOf(pending.rows);
  if (sketch_.empty()) sketch_.assign(size_t{1} << kPlaceBits, 0);
  for (size_t series = 0; series < pending.places.size(); ++series) {
    if (pending.sums.present[series] == 0) continue;
    Sketch(pending.places[series], [&](int i) { return pending.sums.columns[static_cast<size_t>(i)].sums[series]; });
  }
}

template <typename SumOf>
void CounterSums::Sketch(uint32_t place, const SumOf& sum_of) {
  __int128 total = 0;
  for (const int i : kept_sum_) total += sum_of(i);
  const __int128 by = kept_divisor_ < 0 ? 0 : sum_of(kept_divisor_);
  // Parts of a sum are no more than it only where none is negative.
  sketch_holds_ = sketch_holds_ && total >= 0 && by >= 0;
  if (kept_divisor_ < 0) {
    sketch_[place] += static_cast<double>(total);
  } else if (total > 0 && static_cast<double>(total) >= threshold_ * static_cast<double>(by)) {
    // A ratio is at least the threshold only where that of a part is.
    sketch_[place] = threshold_;
  }
}

std::vector<uint32_t> CounterSums::PlacesOf(const RowSet& rows) const {
  std::vector<uint64_t> hashes(rows.series());
  for (size_t series = 0; series < hashes.size(); ++series) hashes[series] = Mixed(0, rows.series_scope[series]);
  for (const ColumnId id : grouping_.by) {
    const Column* const column = FindColumn(rows.labels, id);
    std::vector<int64_t> texts;
    if (column != nullptr) {
      for (const std::string& text : column->texts) texts.push_back(HashOfText(text));
    }
    for (size_t series = 0; series < hashes.size(); ++series) {
      int64_t value = kHashOfNull;
      if (column != nullptr && !column->IsNull(series)) {
        value = column->type == Type::kText     ? texts[static_cast<size_t>(column->ints[series])]
                : column->type == Type::kDouble ? std::bit_cast<int64_t>(column->doubles[series])
                                                : column->ints[series];
      }
      hashes[series] = Mixed(hashes[series], value);
    }
  }
  std::vector<uint32_t> places(hashes.size());
  for (size_t series = 0; series < places.size(); ++series) {
    places[series] = static_cast<uint32_t>(hashes[series] >> (64 - kPlaceBits));
  }
  return places;
}

uint32_t CounterSums::PlaceOf(uint32_t group) const {
  const internal::Groups::Group of = groups_.At(group);
  uint64_t hash = Mixed(0, of.scope);
  for (const Value& label : of.labels) {
    int64_t value = kHashOfNull;
    if (const auto* text = std::get_if<std::string>(&label)) value = HashOfText(*text);
    if (const auto* real = std::get_if<double>(&label)) value = std::bit_cast<int64_t>(*real);
    if (const auto* number = std::get_if<int64_t>(&label)) value = *number;
    hash = Mixed(hash, value);
  }
  return static_cast<uint32_t>(hash >> (64 - kPlaceBits));
}

void CounterSums::AddPending() {
  if (pending_count_ == 0) return;
  // What was added row by row already is of the same groups.
  for (size_t slot = 0; slot < slot_keys_.size(); ++slot) {
    Sketch(PlaceOf(slot_keys_[slot].first),
           [&](int i) { return sums_[slot * columns_.size() + static_cast<size_t>(i)]; });
  }
  if (!sketch_holds_) {
    AddAllPending();
    return;
  }
  // Sums of doubles are rounded.
  const double least = threshold_ * (1 - 1e-9);
  for (size_t i = 0; i < pending_count_; ++i) {
    Pending& pending = pending_[i];
    bool any = false;
    std::vector<uint8_t> dropped(pending.places.size());
    for (size_t series = 0; series < pending.places.size(); ++series) {
      const auto kept = static_cast<uint8_t>(sketch_[pending.places[series]] >= least);
      dropped[series] = pending.sums.present[series] & static_cast<uint8_t>(kept ^ 1);
      pending.sums.present[series] &= kept;
      any = any || pending.sums.present[series] != 0;
    }
    AddForgotten(pending, std::move(dropped));
    if (any) AddWanted(pending.source, pending.rows, pending.sums, pending.sums.present);
  }
  pending_count_ = pending_series_ = 0;
  sketch_.clear();
}

void CounterSums::AddAllPending() {
  for (size_t i = 0; i < pending_count_; ++i) {
    AddWanted(pending_[i].source, pending_[i].rows, pending_[i].sums, pending_[i].sums.present);
  }
  pending_count_ = pending_series_ = 0;
  sketch_.clear();
  sketch_holds_ = true;
  // Until the next KeepTop.
  threshold_ = 0;
}

GroupRow CounterSums::RowOf(size_t slot) const {
  internal::Groups::Group group = groups_.At(slot_keys_[slot].first);
  GroupRow row;
  row.source = group.source;
  row.scope = group.scope;
  row.bucket = slot_keys_[slot].second;
  row.flags = flags_[slot];
  row.labels = std::move(group.labels);
  row.infos = std::move(group.infos);
  for (size_t i = 0; i < columns_.size(); ++i) {
    const size_t at = slot * columns_.size() + i;
    row.values.push_back(known_[at] != 0 ? std::optional<double>(static_cast<double>(sums_[at])) : std::nullopt);
  }
  return row;
}

GroupRows CounterSums::Finish() const {
  GroupRows answer;
  answer.groups_found = groups_.distinct();
  answer.rows_found = rows_found_;
  if (groups_.full() || rows_found_ > grouping_.max_rows) return answer;
  answer.rows.reserve(slot_keys_.size());
  for (size_t slot = 0; slot < slot_keys_.size(); ++slot) answer.rows.push_back(RowOf(slot));
  SortRows(&answer.rows, [](const GroupRow& a, const GroupRow& b) { return OrderOf(a) < OrderOf(b); });
  return answer;
}

GroupRows JoinRows(std::vector<GroupRows> parts, const Grouping& grouping) {
  GroupRows joined;
  bool all = true;
  for (GroupRows& part : parts) {
    all = all && part.groups_found <= grouping.max_groups && part.rows_found <= grouping.max_rows;
    joined.rows_found += part.rows_found;
    joined.groups_found =
        grouping.by_source ? joined.groups_found + part.groups_found : std::max(joined.groups_found, part.groups_found);
    joined.rows.insert(joined.rows.end(), std::make_move_iterator(part.rows.begin()),
                       std::make_move_iterator(part.rows.end()));
  }
  if (all && !grouping.by_source) {
    std::set<std::vector<Value>> distinct;
    for (const GroupRow& row : joined.rows) distinct.insert(row.labels);
    joined.groups_found = distinct.size();
  }
  if (!all || joined.groups_found > grouping.max_groups || joined.rows_found > grouping.max_rows) {
    joined.rows.clear();
    return joined;
  }
  SortRows(&joined.rows, [](const GroupRow& a, const GroupRow& b) { return OrderOf(a) < OrderOf(b); });
  return joined;
}

std::vector<CounterSums::Ranked> CounterSums::RankedTop(const std::vector<int>& sum, int divisor, size_t limit) const {
  struct Place {
    bool known = false;
    double figure = 0;
    uint32_t slot = 0;
  };
  std::vector<Place> places(slot_keys_.size());
  for (size_t slot = 0; slot < places.size(); ++slot) {
    const size_t at = slot * columns_.size();
    __int128 total = 0;
    for (const int i : sum) total += sums_[at + static_cast<size_t>(i)];
    places[slot] = {true, static_cast<double>(total), static_cast<uint32_t>(slot)};
    if (divisor < 0) continue;
    const __int128 by = sums_[at + static_cast<size_t>(divisor)];
    places[slot].known = by != 0 && known_[at + static_cast<size_t>(divisor)] != 0;
    places[slot].figure = places[slot].known ? places[slot].figure / static_cast<double>(by) : 0;
  }
  const size_t count = std::min(limit, places.size());
  std::partial_sort(places.begin(), places.begin() + static_cast<ptrdiff_t>(count), places.end(),
                    [this](const Place& a, const Place& b) {
                      if (a.known != b.known) return a.known;
                      if (a.figure != b.figure) return a.figure > b.figure;
                      return groups_.Before(slot_keys_[a.slot].first, slot_keys_[b.slot].first);
                    });
  std::vector<Ranked> ranked = kept_;
  for (size_t i = 0; i < count; ++i) ranked.push_back({places[i].known, places[i].figure, RowOf(places[i].slot)});
  KeepFirst(limit, &ranked);
  return ranked;
}

void CounterSums::KeepFirst(size_t limit, std::vector<Ranked>* ranked) {
  std::sort(ranked->begin(), ranked->end(), [](const Ranked& a, const Ranked& b) {
    if (a.known != b.known) return a.known;
    if (a.figure != b.figure) return a.figure > b.figure;
    return std::tie(a.row.source, a.row.labels, a.row.scope) < std::tie(b.row.source, b.row.labels, b.row.scope);
  });
  ranked->resize(std::min(limit, ranked->size()));
}

std::vector<GroupRow> CounterSums::Top(const std::vector<int>& sum, int divisor, size_t limit) const {
  std::vector<GroupRow> rows;
  for (Ranked& ranked : RankedTop(sum, divisor, limit)) rows.push_back(std::move(ranked.row));
  return rows;
}

void CounterSums::AddTo(std::vector<__int128>* totals) const {
  totals->resize(columns_.size());
  for (size_t at = 0; at < sums_.size(); ++at) (*totals)[at % columns_.size()] += sums_[at];
}

void CounterSums::AddForgotten(const Pending& pending, std::vector<uint8_t> dropped) {
  for (const RowFilter& filter : filters_) {
    const std::vector<uint8_t> asked =
        Asked(filter, FindColumn(pending.rows.labels, filter.column), pending.rows.series());
    for (size_t series = 0; series < dropped.size(); ++series) dropped[series] &= asked[series];
  }
  forgotten_.resize(columns_.size());
  for (size_t i = 0; i < columns_.size(); ++i) {
    const auto& sums = pending.sums.columns[i].sums;
    for (size_t series = 0; series < dropped.size(); ++series) {
      if (dropped[series] != 0) forgotten_[i] += sums[series];
    }
  }
}

std::vector<double> CounterSums::Totals() const {
  std::vector<__int128> totals = forgotten_;
  AddTo(&totals);
  return {totals.begin(), totals.end()};
}

void CounterSums::KeepTop(const std::vector<int>& sum, int divisor, size_t limit) {
  AddPending();
  exceeded_ = exceeded();
  AddTo(&forgotten_);
  kept_ = RankedTop(sum, divisor, limit);
  kept_sum_ = sum;
  kept_divisor_ = divisor;
  threshold_ = kept_.size() == limit && limit > 0 && kept_.back().known ? kept_.back().figure : 0;
  groups_.Clear();
  slots_.clear();
  last_of_bucket_.clear();
  slot_of_group_.clear();
  slot_keys_.clear();
  flags_.clear();
  sums_.clear();
  known_.clear();
  last_key_ = UINT64_MAX;
  rows_found_ = 0;
}

void CounterSums::Join(CounterSums&& other, size_t limit) {
  kept_.insert(kept_.end(), std::make_move_iterator(other.kept_.begin()), std::make_move_iterator(other.kept_.end()));
  KeepFirst(limit, &kept_);
  forgotten_.resize(columns_.size());
  for (size_t i = 0; i < other.forgotten_.size(); ++i) forgotten_[i] += other.forgotten_[i];
  exceeded_ = exceeded_ || other.exceeded_;
}

GaugeReadings::GaugeReadings(const Cells& cells, ColumnId column, const std::vector<ColumnId>& series,
                             const Grouping& grouping, const std::vector<RowFilter>& filters, double scale,
                             int64_t hold_us, bool absent_is_zero)
    : cells_(cells),
      column_(column),
      series_labels_(series),
      grouping_(grouping),
      filters_(filters),
      scale_(scale),
      hold_us_(hold_us),
      absent_is_zero_(absent_is_zero),
      groups_(grouping) {
  for (const ColumnId id : grouping.by) {
    group_of_label_.push_back(static_cast<size_t>(std::find(series.begin(), series.end(), id) - series.begin()));
  }
}

std::optional<GaugeReadings::Reading> GaugeReadings::ReadingOf(const Column* column, size_t row) const {
  if (column == nullptr || column->IsNull(row)) return std::nullopt;
  if (column->type == Type::kDouble) return Reading{true, 0, column->doubles[row] / scale_};
  return Reading{false, column->ints[row], 0};
}

GaugeReadings::Own& GaugeReadings::OwnOf(Series& series, int32_t cell) const {
  // Rows mostly come in order of time.
  for (auto own = series.cells.rbegin(); own != series.cells.rend(); ++own) {
    if (own->cell == cell) return *own;
    if (own->cell < cell) {
      return *series.cells.insert(own.base(), Own{.cell = cell});
    }
  }
  return *series.cells.insert(series.cells.begin(), Own{.cell = cell});
}

void GaugeReadings::AddRow(Series& series, int64_t instant, int flags, const std::optional<Reading>& reading) {
  Own& own = OwnOf(series, cells_.Holding(instant));
  own.flags |= flags & ~kGoneFlag;
  if (instant >= own.newest_us) {
    own.newest_us = instant;
    own.gone = (flags & kGoneFlag) != 0;
  }
  if (!reading) return;
  const double value = reading->real ? reading->number : static_cast<double>(reading->whole) / scale_;
  own.least = own.count == 0 ? value : std::min(own.least, value);
  own.greatest = own.count == 0 ? value : std::max(own.greatest, value);
  ++own.count;
  own.whole_sum += reading->whole;
  own.real_sum += reading->number;
  if (instant >= own.last_us) {
    own.last = value;
    own.last_us = instant;
  }
}

void GaugeReadings::Add(int8_t level, bool keyframes, const RowSet& rows) {
  std::vector<int> cell_of(rows.frames.size(), -1);
  for (size_t i = 0; i < cell_of.size(); ++i) {
    const FrameInfo& frame = rows.frames[i];
    const int cell = cells_.Holding(level > 0 ? frame.start_us : frame.end_us);
    if (cell < 0 || !cells_.Answers(cell, level)) continue;
    cell_of[i] = cell;
    if (level > 0) {
      frames_[{frame.scope, cell}] += frame.frames;
      continue;
    }
    if (keyframes) keyframe_instants_.emplace(frame.scope, frame.end_us);
    if (instants_.emplace(frame.scope, frame.end_us).second) ++frames_[{frame.scope, cell}];
  }
  std::vector<const Column*> labels;
  for (const ColumnId id : series_labels_) labels.push_back(FindColumn(rows.labels, id));
  const std::vector<uint8_t> kept = KeepRows(filters_, rows);
  const auto level_column = [&](ColumnId by) { return FindColumn(rows.values, static_cast<ColumnId>(column_ + by)); };
  const Column* const raw = FindColumn(rows.values, column_);
  const Column* const least = level_column(kMin);
  const Column* const greatest = level_column(kMax);
  const Column* const sum = level_column(kSum);
  const Column* const count = level_column(kCount);
  const Column* const last = level_column(kLast);
  const Column* const age = level_column(kLastAge);

  std::vector<uint32_t> series_of(rows.series(), UINT32_MAX);
  std::string key;
  for (size_t row = 0; row < rows.rows(); ++row) {
    const int cell = cell_of[rows.row_frame[row]];
    if (kept[row] == 0 || cell < 0) continue;
    const uint32_t number = rows.row_series[row];
    if (series_of[number] == UINT32_MAX) {
      key.clear();
      AppendBytes(static_cast<uint64_t>(rows.series_scope[number]), &key);
      for (const Column* label : labels) AppendKey(label, number, &key);
      const auto [at, fresh] = by_key_.try_emplace(key, static_cast<uint32_t>(series_.size()));
      if (fresh) {
        Series& series = series_.emplace_back();
        series.scope = rows.series_scope[number];
        for (const Column* label : labels) series.labels.push_back(ValueOf(label, number));
      }
      series_of[number] = at->second;
    }
    Series& series = series_[series_of[number]];
    const FrameInfo& frame = rows.frames[rows.row_frame[row]];
    const int flags = rows.FlagsOf(row);
    if (level <= 0) {
      if (keyframes) {
        series.keyed.push_back({frame.end_us, flags, ReadingOf(raw, row)});
        continue;
      }
      if (!series.keyed.empty() && keyframe_instants_.contains({frame.scope, frame.end_us})) {
        std::erase_if(series.keyed, [&](const auto& keyed) { return keyed.instant == frame.end_us; });
      }
      AddRow(series, frame.end_us, flags, ReadingOf(raw, row));
      continue;
    }
    Own& own = OwnOf(series, cell);
    own.flags |= flags & ~kGoneFlag;
    const int64_t newest = rows.row_last_us[row];
    if (newest >= own.newest_us) {
      own.newest_us = newest;
      own.gone = (flags & kGoneFlag) != 0;
    }
    if (count == nullptr || count->IsNull(row) || count->ints[row] <= 0) continue;
    const auto value = [&](const Column* column) {
      return column == nullptr || column->IsNull(row) ? 0.0 : column->Number(row) / scale_;
    };
    own.least = own.count == 0 ? value(least) : std::min(own.least, value(least));
    own.greatest = own.count == 0 ? value(greatest) : std::max(own.greatest, value(greatest));
    own.count += count->ints[row];
    if (sum != nullptr && !sum->IsNull(row)) {
      if (sum->type == Type::kDouble) {
        own.real_sum += sum->doubles[row] / scale_;
      } else {
        own.whole_sum += sum->ints[row];
      }
    }
    const int64_t last_us = newest - (age == nullptr || age->IsNull(row) ? 0 : age->ints[row]);
    if (last_us >= own.last_us) {
      own.last = value(last);
      own.last_us = last_us;
    }
  }
}

void GaugeReadings::AddSums(uint32_t group, int32_t bucket, const Sums& sums) {
  if (groups_.full() || rows_found_ > grouping_.max_rows) return;
  const auto [at, fresh] = sums_.try_emplace({group, bucket}, sums);
  if (fresh) {
    ++rows_found_;
    return;
  }
  Sums& all = at->second;
  all.flags |= sums.flags;
  all.least = std::min(all.least, sums.least);
  all.greatest = std::max(all.greatest, sums.greatest);
  all.sum += sums.sum;
  all.count += sums.count;
  all.averages += sums.averages;
  all.last += sums.last;
}

void GaugeReadings::FinishSource(int32_t source) {
  // In order of their labels, so that sums of doubles come out the same whichever rows came first.
  std::vector<uint32_t> order(series_.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [this](uint32_t a, uint32_t b) {
    return std::tie(series_[a].scope, series_[a].labels) < std::tie(series_[b].scope, series_[b].labels);
  });
  // Frames by scope and bucket.
  std::map<std::pair<int64_t, int32_t>, int64_t> frames_of_bucket;
  if (absent_is_zero_) {
    for (const auto& [scope_cell, frames] : frames_) {
      const int32_t bucket = cells_.cells()[static_cast<size_t>(scope_cell.second)].bucket;
      frames_of_bucket[{scope_cell.first, bucket}] += frames;
    }
  }
  for (const uint32_t number : order) {
    Series& series = series_[number];
    for (const auto& keyed : series.keyed) AddRow(series, keyed.instant, keyed.flags, keyed.reading);
    std::vector<Value> labels;
    for (const size_t at : group_of_label_) {
      labels.push_back(at < series.labels.size() ? series.labels[at] : Value());
    }
    uint32_t group = internal::Groups::kNone;
    Sums sums;
    int32_t bucket = -1;
    const auto flush = [&] {
      if (bucket < 0 || sums.count <= 0) return;
      double readings = sums.count;
      if (absent_is_zero_) {
        readings = std::max(readings, static_cast<double>(frames_of_bucket[{series.scope, bucket}]));
      }
      sums.averages = sums.sum / readings;
      if (group == internal::Groups::kNone) group = groups_.Of(source, series.scope, labels);
      AddSums(group, bucket, sums);
    };
    const auto add = [&](int32_t cell, const Sums& more) {
      const int32_t into = cells_.cells()[static_cast<size_t>(cell)].bucket;
      if (into < 0) return;
      if (into != bucket) {
        flush();
        bucket = into;
        sums = more;
        return;
      }
      sums.flags |= more.flags;
      sums.least = std::min(sums.least, more.least);
      sums.greatest = std::max(sums.greatest, more.greatest);
      sums.sum += more.sum;
      sums.count += more.count;
      sums.last = more.last;
    };
    // Rows without a reading say nothing, unless that the series is gone.
    std::erase_if(series.cells, [](const Own& own) { return own.count == 0 && !own.gone; });
    for (size_t i = 0; i < series.cells.size(); ++i) {
      const Own& own = series.cells[i];
      if (own.count > 0) {
        const double sum = static_cast<double>(own.whole_sum) / scale_ + own.real_sum;
        add(own.cell, {own.flags, own.least, own.greatest, sum, static_cast<double>(own.count), 0, own.last});
      }
      if (hold_us_ <= 0 || own.gone || own.count == 0) continue;
      const int32_t next =
          i + 1 < series.cells.size() ? series.cells[i + 1].cell : static_cast<int32_t>(cells_.cells().size());
      for (int32_t cell = own.cell + 1; cell < next; ++cell) {
        if (cells_.cells()[static_cast<size_t>(cell)].start_us >= own.newest_us + hold_us_) break;
        const auto seen = frames_.find({series.scope, cell});
        if (seen == frames_.end() || seen->second <= 0) continue;
        const auto times = static_cast<double>(seen->second);
        add(cell, {own.flags, own.last, own.last, own.last * times, times, 0, own.last});
      }
    }
    flush();
  }
  series_.clear();
  by_key_.clear();
  instants_.clear();
  keyframe_instants_.clear();
  frames_.clear();
}

GroupRows GaugeReadings::Finish() const {
  GroupRows answer;
  answer.groups_found = groups_.distinct();
  answer.rows_found = rows_found_;
  if (groups_.full() || rows_found_ > grouping_.max_rows) return answer;
  for (const auto& [key, sums] : sums_) {
    internal::Groups::Group group = groups_.At(key.first);
    GroupRow row;
    row.source = group.source;
    row.scope = group.scope;
    row.bucket = key.second;
    row.flags = sums.flags;
    row.values = {sums.least, sums.greatest, sums.sum, sums.count, sums.averages, sums.last};
    row.labels = std::move(group.labels);
    answer.rows.push_back(std::move(row));
  }
  SortRows(&answer.rows, [](const GroupRow& a, const GroupRow& b) { return OrderOf(a) < OrderOf(b); });
  return answer;
}

void CoverageSums::Add(int32_t source, int8_t level, const std::vector<FrameInfo>& frames) {
  for (const FrameInfo& frame : frames) {
    if (frame.frames > 0) {
      const int at = cells_.Holding(level > 0 ? frame.start_us : frame.end_us);
      if (at >= 0 && cells_.Answers(at, level) && cells_.cells()[static_cast<size_t>(at)].bucket >= 0) {
        std::vector<uint8_t>& taken = taken_[{source, frame.scope}];
        taken.resize(buckets_);
        taken[static_cast<size_t>(cells_.cells()[static_cast<size_t>(at)].bucket)] = 1;
      }
    }
    if (level <= 0 && frame.frames == 0) continue;
    const auto [first, last] = cells_.Reached(level, frame);
    for (int c = first; c <= last; ++c) {
      const Cell& cell = cells_.cells()[static_cast<size_t>(c)];
      if (!cells_.Answers(c, level) || cell.bucket < 0) continue;
      const int64_t covered =
          level > 0 ? frame.covered_us : std::min(frame.end_us, cell.end_us) - std::max(frame.start_us, cell.start_us);
      if (covered <= 0) continue;
      Scope& scope = scopes_[{source, frame.scope}];
      scope.covered_us.resize(buckets_);
      scope.lower_bound.resize(buckets_);
      const auto bucket = static_cast<size_t>(cell.bucket);
      scope.covered_us[bucket] += covered;
      if ((frame.flags & kLowerBoundFlag) != 0) scope.lower_bound[bucket] = 1;
    }
  }
}

}  // namespace pga::columns
