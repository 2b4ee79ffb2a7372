#include "libs/storage/takeover/counter_state.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "libs/catalog/metric.h"
#include "libs/columns/column.h"
#include "libs/frame/column_type.h"
#include "libs/frame/frame_builder.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;
using columns::Column;
using columns::ColumnId;

void PutFixed(uint64_t value, std::string* out) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out->append(bytes, sizeof bytes);
}

// A value as bytes that differ from those of every other value: 0 = NULL, 1 and eight bytes, 2, a length and a text.
void PutCell(const Column* column, size_t row, std::string* out) {
  if (column == nullptr || column->IsNull(row)) {
    out->push_back('\0');
  } else if (column->type == columns::Type::kText) {
    const std::string& text = column->Text(row);
    out->push_back('\2');
    PutFixed(text.size(), out);
    out->append(text);
  } else {
    out->push_back('\1');
    PutFixed(column->type == columns::Type::kDouble ? std::bit_cast<uint64_t>(column->doubles[row])
                                                    : static_cast<uint64_t>(column->ints[row]),
             out);
  }
}

bool TakeFixed(std::string_view* bytes, uint64_t* value) {
  if (bytes->size() < sizeof *value) return false;
  std::memcpy(value, bytes->data(), sizeof *value);
  bytes->remove_prefix(sizeof *value);
  return true;
}

bool Differ(int64_t a, int64_t b) {
  return a != 0 && b != 0 && a != b;
}

// Sets the labels of a row that has no reading any more.
void SetLabels(const catalog_v1::Metric& metric, const std::vector<int>& labels, std::string_view cells,
               frame::FrameBuilder* builder) {
  for (const int column : labels) {
    if (cells.empty()) return;
    const char tag = cells.front();
    cells.remove_prefix(1);
    uint64_t bits = 0;
    if (tag == '\0') continue;
    if (!TakeFixed(&cells, &bits)) return;
    if (tag == '\2') {
      if (bits > cells.size()) return;
      builder->SetText(column, cells.substr(0, bits));
      cells.remove_prefix(bits);
      continue;
    }
    switch (frame::TypeOf(metric.columns(column).type())) {
      case columns::Type::kBool:
        builder->SetBool(column, bits != 0);
        break;
      case columns::Type::kDouble:
        builder->SetDouble(column, std::bit_cast<double>(bits));
        break;
      default:
        builder->SetInt(column, static_cast<int64_t>(bits));
    }
  }
}

void CopyCell(const frame::ColumnView& from, int row, int column, frame::FrameBuilder* builder) {
  if (from.IsNull(row)) return;
  switch (from.values().type) {
    case columns::Type::kBool:
      builder->SetBool(column, from.Bool(row));
      break;
    case columns::Type::kDouble:
      builder->SetDouble(column, from.Double(row));
      break;
    case columns::Type::kText:
      builder->SetText(column, from.Text(row));
      break;
    default:
      builder->SetInt(column, from.Int(row));
  }
}

}  // namespace

// One row of stored frames or of a frame that was just opened.
struct CounterState::At {
  // One per column of the metric, null where there is none, and the row of each.
  std::vector<const Column*> columns;
  std::vector<size_t> rows;

  void Cells(const std::vector<int>& of, std::string* out) const {
    for (const int column : of) PutCell(columns[static_cast<size_t>(column)], rows[static_cast<size_t>(column)], out);
  }
  bool IsNull(int column) const {
    const Column* const of = columns[static_cast<size_t>(column)];
    return of == nullptr || of->IsNull(rows[static_cast<size_t>(column)]);
  }
  int64_t Int(int column) const {
    return columns[static_cast<size_t>(column)]->ints[rows[static_cast<size_t>(column)]];
  }
  int64_t Reset(int column) const { return column < 0 || IsNull(column) ? 0 : Int(column); }

  // A row of a row set: labels stand once per series.
  void Point(const columns::RowSet& set, size_t row) {
    for (size_t column = 0; column < columns.size(); ++column) {
      const auto id = static_cast<ColumnId>(column + 1);
      columns[column] = nullptr;
      if (const auto label = set.labels.find(id); label != set.labels.end()) {
        columns[column] = &label->second;
        rows[column] = set.row_series[row];
      } else if (const auto value = set.values.find(id); value != set.values.end()) {
        columns[column] = &value->second;
        rows[column] = row;
      }
    }
  }
};

bool ContinuesRun(const ingest_v1::CounterRun& before, const ingest_v1::CounterRun& now) {
  if (before.partial() != now.partial()) return false;
  if (before.system_identifier() != now.system_identifier() || before.timeline() != now.timeline()) return false;
  if (before.checkpointer_start_us() == now.checkpointer_start_us() && now.checkpointer_start_us() != 0) return true;
  return before.statistics_reset_us() == now.statistics_reset_us() && now.statistics_reset_us() != 0;
}

CounterState::CounterState(const catalog_v1::Metric* metric)
    : metric_(metric), identity_(catalog::IdentityColumns(*metric)) {
  for (int i = 0; i < metric->columns_size(); ++i) {
    const catalog_v1::Column& column = metric->columns(i);
    if (column.kind() == catalog_v1::COLUMN_KIND_LABEL) labels_.push_back(i);
    if (column.kind() == catalog_v1::COLUMN_KIND_COUNTER) counters_.push_back(i);
    if (!metric->reset_column().empty() && column.name() == metric->reset_column()) reset_column_ = i;
  }
}

std::vector<ColumnId> CounterState::Columns() const {
  std::vector<ColumnId> ids;
  const auto add = [&](int column) { ids.push_back(static_cast<ColumnId>(column + 1)); };
  std::for_each(labels_.begin(), labels_.end(), add);
  std::for_each(identity_.begin(), identity_.end(), add);
  std::for_each(counters_.begin(), counters_.end(), add);
  if (reset_column_ >= 0) add(reset_column_);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

void CounterState::ApplyKeyframe(const columns::RowSet& rows, int64_t scope, int64_t keyframe_us) {
  At at{std::vector<const Column*>(static_cast<size_t>(metric_->columns_size())),
        std::vector<size_t>(static_cast<size_t>(metric_->columns_size()))};
  for (size_t row = 0; row < rows.rows(); ++row) {
    const columns::FrameInfo& frame = rows.frames[rows.row_frame[row]];
    if (frame.scope != scope || frame.end_us != keyframe_us) continue;
    at.Point(rows, row);
    std::string key;
    at.Cells(identity_, &key);
    Series& series = series_[key];
    series = Series();
    at.Cells(labels_, &series.labels);
    for (const int column : counters_) {
      series.known.push_back(at.IsNull(column) ? 0 : 1);
      series.counters.push_back(at.IsNull(column) ? 0 : at.Int(column));
    }
    series.reset_us = at.Reset(reset_column_);
  }
}

void CounterState::ApplyRow(const At& at, int flags) {
  std::string key;
  at.Cells(identity_, &key);
  const auto [place, made] = series_.try_emplace(key);
  Series& series = place->second;
  if (made) {
    // It started since the reading before: its first increase is all it has.
    series.counters.assign(counters_.size(), 0);
    for (const int column : counters_) series.known.push_back(at.IsNull(column) ? 0 : 1);
  }
  series.labels.clear();
  at.Cells(labels_, &series.labels);
  for (size_t i = 0; i < counters_.size(); ++i) {
    // What could not be read keeps its place: the next increase covers the time between.
    if (at.IsNull(counters_[i])) continue;
    series.counters[i] += at.Int(counters_[i]);
  }
  if (reset_column_ >= 0) series.reset_us = at.Reset(reset_column_);
  if ((flags & ingest_v1::FRAME_FLAG_LOWER_BOUND) != 0 && !made) series.uncertain = true;
}

void CounterState::Apply(const std::vector<columns::RowSet>& keyframes, const std::vector<columns::RowSet>& deltas,
                         int64_t scope, int64_t keyframe_us) {
  for (const columns::RowSet& rows : keyframes) {
    for (const columns::FrameInfo& frame : rows.frames) {
      if (frame.scope == scope && frame.end_us == keyframe_us) newest_us_ = keyframe_us;
    }
    ApplyKeyframe(rows, scope, keyframe_us);
  }
  if (newest_us_ == 0) return;
  const int64_t from_us = newest_us_;
  // Rows by their instant; of one instant those that are gone come last, because their name may have passed on.
  struct Place {
    int64_t end_us;
    bool gone;
    uint32_t set, row;
  };
  std::vector<Place> places;
  for (size_t set = 0; set < deltas.size(); ++set) {
    const columns::RowSet& rows = deltas[set];
    for (const columns::FrameInfo& frame : rows.frames) {
      if (frame.scope == scope) newest_us_ = std::max(newest_us_, frame.end_us);
    }
    for (size_t row = 0; row < rows.rows(); ++row) {
      const columns::FrameInfo& frame = rows.frames[rows.row_frame[row]];
      if (frame.scope != scope || frame.end_us <= from_us) continue;
      places.push_back({frame.end_us, (rows.FlagsOf(row) & ingest_v1::FRAME_FLAG_GONE) != 0, static_cast<uint32_t>(set),
                        static_cast<uint32_t>(row)});
    }
  }
  std::stable_sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return std::pair(a.end_us, a.gone) < std::pair(b.end_us, b.gone);
  });
  At at{std::vector<const Column*>(static_cast<size_t>(metric_->columns_size())),
        std::vector<size_t>(static_cast<size_t>(metric_->columns_size()))};
  for (const Place& place : places) {
    const columns::RowSet& rows = deltas[place.set];
    at.Point(rows, place.row);
    if (!place.gone) {
      ApplyRow(at, rows.FlagsOf(place.row));
      continue;
    }
    std::string labels;
    at.Cells(labels_, &labels);
    if (identity_ == labels_) {
      series_.erase(labels);
      continue;
    }
    // A row that is gone has labels alone. Whoever bears them now is the one that is gone.
    absl::erase_if(series_, [&](const auto& entry) { return entry.second.labels == labels; });
  }
}

std::string CounterState::Serialize() const {
  Column keys(columns::Type::kText), labels(columns::Type::kText), resets(columns::Type::kInt),
      uncertain(columns::Type::kBool);
  std::vector<Column> counters(counters_.size(), Column(columns::Type::kInt));
  for (const auto& [key, series] : series_) {
    keys.ints.push_back(static_cast<int64_t>(keys.texts.size()));
    keys.texts.push_back(key);
    labels.ints.push_back(static_cast<int64_t>(labels.texts.size()));
    labels.texts.push_back(series.labels);
    resets.ints.push_back(series.reset_us);
    uncertain.ints.push_back(series.uncertain ? 1 : 0);
    for (size_t i = 0; i < counters.size(); ++i) {
      if (series.known[i] != 0) {
        counters[i].ints.push_back(series.counters[i]);
        if (!counters[i].nulls.empty()) counters[i].nulls.push_back(0);
      } else {
        counters[i].AppendNull();
      }
    }
  }
  std::string out;
  PutFixed(series_.size(), &out);
  PutFixed(counters_.size(), &out);
  const auto put = [&](const Column& column) {
    std::string chunk;
    columns::EncodeColumn(column, &chunk);
    PutFixed(chunk.size(), &out);
    out.append(chunk);
  };
  put(keys);
  put(labels);
  put(resets);
  put(uncertain);
  for (const Column& column : counters) put(column);
  return out;
}

absl::Status CounterState::Parse(std::string_view bytes, int64_t newest_us) {
  const absl::Status malformed = absl::InvalidArgumentError("the stored state of counters is malformed");
  uint64_t rows = 0, stored = 0;
  // A catalog that has grown since has its new counters at the end.
  if (!TakeFixed(&bytes, &rows) || !TakeFixed(&bytes, &stored) || stored > counters_.size() ||
      rows > (uint64_t{1} << 31)) {
    return malformed;
  }
  const auto take = [&](columns::Type type, Column* column) -> absl::Status {
    uint64_t size = 0;
    if (!TakeFixed(&bytes, &size) || size > bytes.size()) return malformed;
    PGA_RETURN_IF_ERROR(columns::DecodeColumn(bytes.substr(0, size), type, rows, column));
    bytes.remove_prefix(size);
    return absl::OkStatus();
  };
  Column keys, labels, resets, uncertain;
  PGA_RETURN_IF_ERROR(take(columns::Type::kText, &keys));
  PGA_RETURN_IF_ERROR(take(columns::Type::kText, &labels));
  PGA_RETURN_IF_ERROR(take(columns::Type::kInt, &resets));
  PGA_RETURN_IF_ERROR(take(columns::Type::kBool, &uncertain));
  std::vector<Column> counters(stored);
  for (Column& column : counters) PGA_RETURN_IF_ERROR(take(columns::Type::kInt, &column));
  series_.clear();
  newest_us_ = newest_us;
  for (size_t row = 0; row < rows; ++row) {
    if (keys.IsNull(row) || labels.IsNull(row)) return malformed;
    Series& series = series_[keys.Text(row)];
    series.labels = labels.Text(row);
    series.reset_us = resets.ints[row];
    series.uncertain = uncertain.ints[row] != 0;
    series.counters.assign(counters_.size(), 0);
    series.known.assign(counters_.size(), 0);
    for (size_t i = 0; i < stored; ++i) {
      if (counters[i].IsNull(row)) continue;
      series.counters[i] = counters[i].ints[row];
      series.known[i] = 1;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ingest_v1::Frame>> CounterState::IncreaseTo(const frame::FrameReader& opening,
                                                                       const ingest_v1::CounterRun& before) const {
  const ingest_v1::Frame& from = opening.frame();
  const ingest_v1::CounterRun& now = from.run();
  std::vector<ingest_v1::Frame> frames;
  if (!ContinuesRun(before, now)) return frames;
  const bool view_reset = Differ(before.view_reset_us(), now.view_reset_us());
  const bool evicting = before.evictions() != now.evictions();
  // Some object was reset; which one is not known.
  const bool objects_reset = before.objects_reset_us() != now.objects_reset_us();
  // FrameReader knows the columns of the frame's schema version; a catalog's columns only grow at the end.
  const int width = opening.column_count();
  std::vector<int> counters;
  for (const int column : counters_) {
    if (column < width) counters.push_back(column);
  }

  ingest_v1::Frame frame;
  frame::FrameBuilder builder(*metric_, &frame, opening.row_count());
  At at{std::vector<const Column*>(static_cast<size_t>(metric_->columns_size())),
        std::vector<size_t>(static_cast<size_t>(metric_->columns_size()))};
  absl::flat_hash_set<std::string> present, names;
  int unchanged = 0;
  bool has_resets = false;
  for (int row = 0; row < opening.row_count(); ++row) {
    for (int column = 0; column < width; ++column) {
      at.columns[static_cast<size_t>(column)] = &opening.column(column).values();
      at.rows[static_cast<size_t>(column)] = static_cast<size_t>(row);
    }
    std::string key, labels;
    at.Cells(identity_, &key);
    at.Cells(labels_, &labels);
    const auto found = series_.find(key);
    const Series* const was = found == series_.end() ? nullptr : &found->second;
    present.insert(std::move(key));
    names.insert(std::move(labels));
    const int64_t reset_us = at.Reset(reset_column_);
    has_resets = has_resets || reset_us != 0;
    int flags = opening.RowFlags(row) & ingest_v1::FRAME_FLAG_TEXT_REPLACED;
    const bool reported =
        was != nullptr && (view_reset || (Differ(was->reset_us, reset_us) && !metric_->partial_resets()));
    // What is lower than before has begun at 0 since.
    const bool began_anew =
        evicting || objects_reset || (was != nullptr && was->reset_us != reset_us && metric_->partial_resets());
    // A time that appears or vanishes may come from an upgraded extension as well as from a reset.
    bool lower = was != nullptr && (reported || was->uncertain || was->reset_us != reset_us);
    if (was == nullptr && evicting) lower = true;
    size_t unknown = 0;
    bool moved = was == nullptr;
    std::vector<std::pair<int, int64_t>> increases;
    for (size_t i = 0; i < counters.size(); ++i) {
      const int column = counters[i];
      if (at.IsNull(column) || (was != nullptr && was->known[i] == 0)) {
        ++unknown;
        continue;
      }
      const int64_t after = at.Int(column);
      const catalog_v1::Column& of = metric_->columns(column);
      int64_t increase = after;
      if (was != nullptr && !reported) {
        if (after >= was->counters[i]) {
          increase = after - was->counters[i];
        } else if (metric_->scope() == catalog_v1::SCOPE_HOST || of.position()) {
          increase = 0;
        } else {
          lower = true;
          if (!began_anew) {
            ++unknown;
            continue;
          }
        }
      }
      moved = moved || increase != 0;
      increases.emplace_back(column, increase);
    }
    moved = moved || lower;
    if (!moved && metric_->skip_unchanged()) {
      ++unchanged;
      continue;
    }
    if (lower) flags |= ingest_v1::FRAME_FLAG_LOWER_BOUND;
    if (!counters.empty() && unknown == counters.size()) flags |= ingest_v1::FRAME_FLAG_UNKNOWN;
    for (int column = 0; column < width; ++column) {
      if (metric_->columns(column).kind() == catalog_v1::COLUMN_KIND_COUNTER) continue;
      CopyCell(opening.column(column), row, column, &builder);
    }
    for (const auto& [column, increase] : increases) builder.SetInt(column, increase);
    builder.EndRow(flags);
  }
  // Of a part nobody can say what is missing in the whole.
  if (from.part_count() <= 1) {
    for (const auto& [key, series] : series_) {
      if (present.contains(key) || names.contains(series.labels)) continue;
      SetLabels(*metric_, labels_, series.labels, &builder);
      builder.EndRow(ingest_v1::FRAME_FLAG_GONE);
    }
  }
  frame.set_metric(from.metric());
  frame.set_source_id(from.source_id());
  frame.set_scope_id(from.scope_id());
  frame.set_kind(ingest_v1::FRAME_KIND_DELTA);
  frame.set_collected_at_us(from.collected_at_us());
  // Two hosts' clocks may differ.
  frame.set_interval_start_us(std::min(newest_us_, from.collected_at_us()));
  // All parts of a frame say it in the first one; what the others left out is not known there.
  if (from.part() == 0) frame.set_unchanged_row_count(unchanged);
  if (view_reset || objects_reset || (evicting && !has_resets)) {
    frame.set_flags(ingest_v1::FRAME_FLAG_LOWER_BOUND);
  }
  PGA_RETURN_IF_ERROR(builder.Finish());
  frame.set_part(from.part());
  frame.set_part_count(from.part_count());
  frames.push_back(std::move(frame));
  return frames;
}

}  // namespace pga::storage
