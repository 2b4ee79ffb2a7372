#include "libs/columns/kernels.h"

#include <algorithm>
#include <bit>
#include <cstring>
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

void AppendKey(const Value& value, std::string* key) {
  if (std::holds_alternative<std::monostate>(value)) {
    key->push_back(0);
    return;
  }
  key->push_back(1);
  if (const auto* text = std::get_if<std::string>(&value)) {
    AppendBytes(text->size(), key);
    key->append(*text);
  } else if (const auto* number = std::get_if<double>(&value)) {
    AppendBytes(std::bit_cast<uint64_t>(*number), key);
  } else {
    AppendBytes(static_cast<uint64_t>(std::get<int64_t>(value)), key);
  }
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

RowSet OnlySeries(const RowSet& rows, const std::function<bool(size_t)>& chosen) {
  RowSet only;
  only.frames = rows.frames;
  std::vector<uint32_t> number(rows.series(), UINT32_MAX);
  std::vector<uint32_t> series;
  for (size_t i = 0; i < rows.series(); ++i) {
    if (!chosen(i)) continue;
    number[i] = static_cast<uint32_t>(series.size());
    series.push_back(static_cast<uint32_t>(i));
    only.series_scope.push_back(rows.series_scope[i]);
  }
  std::vector<uint32_t> wanted;
  for (size_t row = 0; row < rows.rows(); ++row) {
    if (number[rows.row_series[row]] == UINT32_MAX) continue;
    wanted.push_back(static_cast<uint32_t>(row));
    only.row_series.push_back(number[rows.row_series[row]]);
    only.row_frame.push_back(rows.row_frame[row]);
    if (!rows.row_flags.empty()) only.row_flags.push_back(rows.row_flags[row]);
    if (!rows.row_last_us.empty()) only.row_last_us.push_back(rows.row_last_us[row]);
  }
  const auto pick = [](const Column& column, const std::vector<uint32_t>& at) {
    Column picked(column.type);
    picked.texts = column.texts;
    for (const uint32_t row : at) picked.AppendFrom(column, row);
    return picked;
  };
  for (const auto& [id, column] : rows.labels) only.labels.emplace(id, pick(column, series));
  for (const auto& [id, column] : rows.values) only.values.emplace(id, pick(column, wanted));
  return only;
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

uint32_t Groups::Find(const std::string& key, int32_t source, int64_t scope) {
  const auto [at, fresh] = by_key_.try_emplace(key, static_cast<uint32_t>(groups_.size()));
  if (fresh) {
    // The key begins with source and scope, in this order.
    std::string apart = key.substr(16);
    if (grouping_.by_source) AppendBytes(static_cast<uint64_t>(source), &apart);
    distinct_.insert(std::move(apart));
    groups_.push_back({source, scope, {}, {}});
  }
  return at->second;
}

uint32_t Groups::Of(int32_t source, int64_t scope, const std::vector<Value>& labels) {
  std::string key;
  AppendBytes(static_cast<uint64_t>(source), &key);
  AppendBytes(static_cast<uint64_t>(scope), &key);
  for (const Value& label : labels) AppendKey(label, &key);
  const size_t before = groups_.size();
  const uint32_t group = Find(key, source, scope);
  if (groups_.size() > before) groups_[group].labels = labels;
  return group;
}

const std::vector<uint32_t>& Groups::Assign(int32_t source, const RowSet& rows, const std::vector<uint8_t>& wanted) {
  std::vector<const Column*> labels, values, infos;
  bool by_row = false;
  for (const ColumnId id : grouping_.by) {
    values.push_back(FindColumn(rows.values, id));
    labels.push_back(values.back() != nullptr ? nullptr : FindColumn(rows.labels, id));
    by_row = by_row || values.back() != nullptr;
  }
  std::vector<bool> info_of_series;
  for (const ColumnId id : grouping_.infos) {
    infos.push_back(FindColumn(rows.values, id));
    info_of_series.push_back(infos.back() == nullptr);
    if (infos.back() == nullptr) infos.back() = FindColumn(rows.labels, id);
  }

  std::string key;
  const auto find = [&](uint32_t series, size_t row) {
    key.clear();
    AppendBytes(static_cast<uint64_t>(source), &key);
    AppendBytes(static_cast<uint64_t>(rows.series_scope[series]), &key);
    for (size_t i = 0; i < labels.size(); ++i) {
      if (values[i] != nullptr) {
        AppendKey(values[i], row, &key);
      } else {
        AppendKey(labels[i], series, &key);
      }
    }
    const size_t before = groups_.size();
    const uint32_t group = Find(key, source, rows.series_scope[series]);
    if (groups_.size() == before) return group;
    for (size_t i = 0; i < labels.size(); ++i) {
      groups_[group].labels.push_back(values[i] != nullptr ? ValueOf(values[i], row) : ValueOf(labels[i], series));
    }
    groups_[group].infos.resize(infos.size());
    return group;
  };
  uint32_t told_series = UINT32_MAX;
  of_row_.assign(rows.rows(), kNone);
  of_series_.assign(by_row ? 0 : rows.series(), kNone);
  for (size_t row = 0; row < of_row_.size(); ++row) {
    if (wanted[row] == 0) continue;
    const uint32_t series = rows.row_series[row];
    if (by_row) {
      of_row_[row] = find(series, row);
    } else {
      if (of_series_[series] == kNone) of_series_[series] = find(series, row);
      of_row_[row] = of_series_[series];
    }
    // A series has its texts once.
    const bool seen = !by_row && series == told_series;
    told_series = series;
    for (size_t i = 0; i < infos.size(); ++i) {
      if (seen && info_of_series[i]) continue;
      const size_t at = info_of_series[i] ? series : row;
      if (infos[i] == nullptr || infos[i]->IsNull(at)) continue;
      std::optional<std::string>& greatest = groups_[of_row_[row]].infos[i];
      const std::string& text = infos[i]->Text(at);
      if (!greatest || *greatest < text) greatest = text;
    }
  }
  return of_row_;
}

}  // namespace internal

CounterSums::CounterSums(const Cells& cells, const std::vector<ColumnId>& columns, const Grouping& grouping,
                         const std::vector<RowFilter>& filters)
    : cells_(cells), columns_(columns), grouping_(grouping), filters_(filters), groups_(grouping) {}

size_t CounterSums::SlotOf(uint32_t group, int32_t bucket) {
  const uint64_t key = static_cast<uint64_t>(group) << 32 | static_cast<uint32_t>(bucket);
  if (key == last_key_) return last_slot_;
  const auto [at, fresh] = slots_.try_emplace(key, static_cast<uint32_t>(slot_keys_.size()));
  if (fresh) {
    ++rows_found_;
    slot_keys_.emplace_back(group, bucket);
    flags_.push_back(0);
    sums_.resize(sums_.size() + columns_.size());
    known_.resize(known_.size() + columns_.size());
  }
  last_key_ = key;
  last_slot_ = at->second;
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
    if (level > 0) {
      place.first = place.last = cells_.Holding(frame.start_us);
      if (place.first < 0) place = Place();
      place.whole = true;
    } else {
      std::tie(place.first, place.last) = cells_.Touched(frame.start_us, frame.end_us);
      if (place.first == place.last) {
        const Cell& cell = cells_.cells()[static_cast<size_t>(place.first)];
        place.whole =
            frame.start_us >= frame.end_us || (cell.start_us <= frame.start_us && frame.end_us <= cell.end_us);
      }
    }
    while (place.first <= place.last && !cells_.Answers(place.first, level)) ++place.first;
    while (place.first <= place.last && !cells_.Answers(place.last, level)) --place.last;
    any = any || place.first <= place.last;
  }
  if (!any) return;
  std::vector<const Column*> columns;
  for (const ColumnId id : columns_) columns.push_back(FindColumn(rows.values, id));
  std::vector<uint8_t> wanted = KeepRows(filters_, rows);
  for (size_t row = 0; row < wanted.size(); ++row) {
    const Place& place = places[rows.row_frame[row]];
    bool known = (rows.FlagsOf(row) & kUnknownFlag) != 0;
    for (const Column* column : columns) known = known || (column != nullptr && !column->IsNull(row));
    if (!known || place.first > place.last) wanted[row] = 0;
  }
  const std::vector<uint32_t>& group_of = groups_.Assign(source, rows, wanted);
  if (groups_.full()) return;
  for (size_t row = 0; row < rows.rows(); ++row) {
    const uint32_t group = group_of[row];
    const Place& place = places[rows.row_frame[row]];
    if (group == internal::Groups::kNone) continue;
    const int flags = rows.FlagsOf(row) & ~kGoneFlag;
    if (place.whole && place.first == place.last) {
      const int32_t bucket = cells_.cells()[static_cast<size_t>(place.first)].bucket;
      if (bucket < 0) continue;
      if (rows_found_ > grouping_.max_rows) return;
      const size_t slot = SlotOf(group, bucket);
      flags_[slot] |= flags;
      __int128* const sum = &sums_[slot * columns.size()];
      uint8_t* const told = &known_[slot * columns.size()];
      for (size_t i = 0; i < columns.size(); ++i) {
        if (columns[i] == nullptr || columns[i]->IsNull(row)) continue;
        told[i] = 1;
        sum[i] += columns[i]->ints[row];
      }
      continue;
    }
    const FrameInfo& frame = rows.frames[rows.row_frame[row]];
    for (int c = place.first; c <= place.last; ++c) {
      const Cell& cell = cells_.cells()[static_cast<size_t>(c)];
      if (!cells_.Answers(c, level) || cell.bucket < 0) continue;
      if (rows_found_ > grouping_.max_rows) return;
      const size_t slot = SlotOf(group, cell.bucket);
      flags_[slot] |= flags | (place.whole ? 0 : kInterpolatedFlag);
      for (size_t i = 0; i < columns.size(); ++i) {
        if (columns[i] == nullptr || columns[i]->IsNull(row)) continue;
        const int64_t delta = columns[i]->ints[row];
        const size_t at = slot * columns_.size() + i;
        known_[at] = 1;
        sums_[at] += place.whole ? delta
                                 : ShareBefore(delta, frame.start_us, frame.end_us, cell.end_us) -
                                       ShareBefore(delta, frame.start_us, frame.end_us, cell.start_us);
      }
    }
  }
}

GroupRow CounterSums::RowOf(size_t slot) const {
  const internal::Groups::Group& group = groups_.all()[slot_keys_[slot].first];
  GroupRow row;
  row.source = group.source;
  row.scope = group.scope;
  row.bucket = slot_keys_[slot].second;
  row.flags = flags_[slot];
  row.labels = group.labels;
  row.infos = group.infos;
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

std::vector<GroupRow> CounterSums::Top(const std::vector<int>& sum, int divisor, size_t limit) const {
  struct Ranked {
    bool known = false;
    double figure = 0;
    uint32_t slot = 0;
  };
  std::vector<Ranked> ranked(slot_keys_.size());
  for (size_t slot = 0; slot < ranked.size(); ++slot) {
    const size_t at = slot * columns_.size();
    __int128 total = 0;
    for (const int i : sum) total += sums_[at + static_cast<size_t>(i)];
    ranked[slot] = {true, static_cast<double>(total), static_cast<uint32_t>(slot)};
    if (divisor < 0) continue;
    const __int128 by = sums_[at + static_cast<size_t>(divisor)];
    ranked[slot].known = by != 0 && known_[at + static_cast<size_t>(divisor)] != 0;
    ranked[slot].figure = ranked[slot].known ? ranked[slot].figure / static_cast<double>(by) : 0;
  }
  const auto before = [this](const Ranked& a, const Ranked& b) {
    if (a.known != b.known) return a.known;
    if (a.figure != b.figure) return a.figure > b.figure;
    const internal::Groups::Group& x = groups_.all()[slot_keys_[a.slot].first];
    const internal::Groups::Group& y = groups_.all()[slot_keys_[b.slot].first];
    return std::tie(x.source, x.labels, x.scope) < std::tie(y.source, y.labels, y.scope);
  };
  const size_t count = std::min(limit, ranked.size());
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<ptrdiff_t>(count), ranked.end(), before);
  std::vector<GroupRow> rows;
  for (size_t i = 0; i < count; ++i) rows.push_back(RowOf(ranked[i].slot));
  return rows;
}

GaugeReadings::GaugeReadings(const Cells& cells, ColumnId column, const std::vector<ColumnId>& series,
                             const Grouping& grouping, const std::vector<RowFilter>& filters, double scale,
                             int64_t hold_us)
    : cells_(cells),
      column_(column),
      series_labels_(series),
      grouping_(grouping),
      filters_(filters),
      scale_(scale),
      hold_us_(hold_us),
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
      sums.averages = sums.sum / sums.count;
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
    const internal::Groups::Group& group = groups_.all()[key.first];
    GroupRow row;
    row.source = group.source;
    row.scope = group.scope;
    row.bucket = key.second;
    row.flags = sums.flags;
    row.values = {sums.least, sums.greatest, sums.sum, sums.count, sums.averages, sums.last};
    row.labels = group.labels;
    answer.rows.push_back(std::move(row));
  }
  SortRows(&answer.rows, [](const GroupRow& a, const GroupRow& b) { return OrderOf(a) < OrderOf(b); });
  return answer;
}

void CoverageSums::Add(int32_t source, int8_t level, const std::vector<FrameInfo>& frames) {
  for (const FrameInfo& frame : frames) {
    if (level <= 0 && frame.frames == 0) continue;
    int first = 0;
    int last = -1;
    if (level > 0) {
      first = last = cells_.Holding(frame.start_us);
      if (first < 0) continue;
    } else {
      std::tie(first, last) = cells_.Touched(frame.start_us, frame.end_us);
    }
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
