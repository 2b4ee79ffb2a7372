#include "libs/storage/read/state_reader.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "libs/status/status.h"
#include "libs/storage/read/fetch.h"
#include "libs/storage/read/load.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using catalog_pb::Column;
using catalog_pb::Metric;
using columns::ColumnId;
using columns::Value;
using internal::Cat;

// Readings that are compared at most, and rows that are distinguished.
constexpr size_t kMaxReadings = 500'000;
// Texts of these.
constexpr size_t kMaxReadingBytes = size_t{96} << 20;
// Rows whose counters are added up at a time.
constexpr size_t kMaxSummedRows = 200'000;

struct Reading {
  bool gone = false;
  std::vector<Value> values;
};

// Of one series by instant; without changes the newest alone.
using Readings = std::map<int64_t, Reading>;

// Frames of one source and scope: their instants, and whether they have every row.
using Frames = std::map<int64_t, bool>;

// Of a metric's columns those that a caller without the right to texts may not see are not there, unless one of them is
// named.
absl::Status CheckTexts(const Metric& metric, const std::vector<std::string>& names, bool with_texts) {
  if (with_texts) return absl::OkStatus();
  for (const Column& column : metric.columns()) {
    if (column.restricted() && std::find(names.begin(), names.end(), column.name()) != names.end()) {
      return absl::PermissionDeniedError(
          Cat("reading ", metric.name(), ".", column.name(), " takes the right to read statement texts"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<const Column*>> InfoColumns(const Metric& metric, const std::vector<std::string>& names,
                                                       bool with_texts) {
  PGA_RETURN_IF_ERROR(CheckTexts(metric, names, with_texts));
  std::vector<const Column*> infos;
  std::vector<std::string> known;
  for (const Column& column : metric.columns()) {
    if (column.kind() != catalog_pb::COLUMN_KIND_INFO || (column.restricted() && !with_texts)) continue;
    known.push_back(column.name());
    if (names.empty() || std::find(names.begin(), names.end(), column.name()) != names.end()) infos.push_back(&column);
  }
  if (known.empty()) {
    return absl::InvalidArgumentError(Cat("metric ", metric.name(), " has no info columns; ask for series of it"));
  }
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return absl::InvalidArgumentError(Cat("'", name.substr(0, 64), "' is no info column of metric ", metric.name(),
                                            "; it has: ", absl::StrJoin(known, ", ")));
    }
  }
  return infos;
}

StateValues LabelTexts(const std::vector<const Column*>& columns, const std::vector<Value>& values) {
  StateValues texts;
  for (size_t i = 0; i < columns.size(); ++i) {
    if (i < values.size() && !std::holds_alternative<std::monostate>(values[i])) {
      texts[columns[i]->name()] = TextOf(values[i], columns[i]->type());
    }
  }
  return texts;
}

size_t BytesOf(const StateValues& texts) {
  size_t bytes = 0;
  for (const auto& [name, text] : texts) bytes += name.size() + text.size();
  return bytes;
}

// Leaves `limit` entries, and less where their labels take more than kMostLabelBytes.
template <typename Entry>
void Cut(size_t limit, std::vector<Entry>* entries) {
  size_t bytes = 0;
  size_t kept = 0;
  while (kept < std::min(limit, entries->size())) {
    bytes += BytesOf((*entries)[kept].labels);
    if (bytes > kMostLabelBytes) break;
    ++kept;
  }
  entries->resize(kept);
}

// What the rows of one metric say over time.
class History {
 public:
  History(const Metric& metric, std::vector<const Column*> infos, bool all, int64_t text_length)
      : metric_(metric), labels_(LabelsOf(metric)), infos_(std::move(infos)), all_(all), text_length_(text_length) {}

  absl::Status Add(const std::vector<columns::RowFilter>& filters, int64_t until_us, const Fetched& fetched) {
    const columns::RowSet& rows = fetched.rows;
    for (const columns::FrameInfo& frame : rows.frames) {
      if (frame.end_us >= until_us) continue;
      bool& full = frames_[{fetched.source_id, frame.scope}][frame.end_us];
      full = full || fetched.keyframes || !metric_.skip_unchanged();
    }
    const std::vector<uint8_t> kept = columns::KeepRows(filters, rows);
    std::vector<Readings*> of_series(rows.series(), nullptr);
    for (size_t row = 0; row < rows.rows(); ++row) {
      const int64_t instant = rows.frames[rows.row_frame[row]].end_us;
      if (kept[row] == 0 || instant >= until_us) continue;
      Readings*& series = of_series[rows.row_series[row]];
      if (series == nullptr) series = &Find(fetched.source_id, rows, rows.row_series[row]);
      if (!all_ && !series->empty()) {
        // A keyframe says what the other frame of its instant says.
        if (series->begin()->first >= instant) continue;
        bytes_ -= BytesOf(series->begin()->second);
        series->clear();
        --readings_;
      }
      Reading reading;
      reading.gone = (rows.FlagsOf(row) & columns::kGoneFlag) != 0;
      if (!reading.gone) {
        for (const Column* info : infos_) {
          const auto value = rows.values.find(IdOf(metric_, *info));
          reading.values.push_back(columns::ValueOf(value == rows.values.end() ? nullptr : &value->second, row));
        }
      }
      const size_t bytes = BytesOf(reading);
      if (series->emplace(instant, std::move(reading)).second) {
        ++readings_;
        bytes_ += bytes;
      }
      if (readings_ > kMaxReadings) {
        return absl::InvalidArgumentError(
            Cat("there are more than ", kMaxReadings, " readings to compare; add a filter or shorten the range"));
      }
      if (bytes_ > kMaxReadingBytes) {
        return absl::InvalidArgumentError(Cat("there are more than ", kMaxReadingBytes >> 20,
                                              " MiB of texts to compare; name columns or sources, add a filter or "
                                              "shorten the range"));
      }
    }
    return absl::OkStatus();
  }

  // Source, scope and labels.
  using Key = std::tuple<int32_t, int64_t, std::vector<Value>>;

  // Rows that were there at the end, each with its newest reading and the newest frame that says so.
  void VisitThere(const std::function<void(const Key&, const Reading&, int64_t newest_us)>& visit) const {
    for (const auto& [key, readings] : series_) {
      const int64_t newest = frames_.at({std::get<0>(key), std::get<1>(key)}).rbegin()->first;
      const auto& [last_us, last] = *readings.rbegin();
      if (last.gone || (!metric_.skip_unchanged() && last_us != newest)) continue;
      visit(key, last, newest);
    }
  }

  StateAnswer Finish(const std::map<int32_t, SourceRef>& sources, int64_t start_us, int limit) const {
    StateAnswer answer;
    std::vector<Found> rows;
    std::vector<Change> changes;
    VisitThere([&](const Key& key, const Reading& last, int64_t newest_us) {
      rows.push_back({sources.at(std::get<0>(key)), LabelTexts(labels_, std::get<2>(key)), &last, newest_us});
    });
    if (all_) {
      for (const auto& [key, readings] : series_) {
        const auto& [source_id, scope, values] = key;
        AddChanges(sources.at(source_id), LabelTexts(labels_, values), readings, frames_.at({source_id, scope}),
                   start_us, &changes);
      }
    }
    std::sort(rows.begin(), rows.end(), [](const Found& a, const Found& b) {
      return std::tie(a.source.name, a.source.uuid, a.labels) < std::tie(b.source.name, b.source.uuid, b.labels);
    });
    std::stable_sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) {
      return std::tie(b.seen_after_us, a.source.name, a.labels) < std::tie(a.seen_after_us, b.source.name, b.labels);
    });
    answer.rows_found = static_cast<int64_t>(rows.size());
    answer.changes_found = static_cast<int64_t>(changes.size());
    Cut(static_cast<size_t>(limit), &rows);
    Cut(static_cast<size_t>(limit), &changes);
    for (Found& found : rows) answer.rows.push_back(RowOf(std::move(found)));
    for (Change& change : changes) answer.changes.push_back(ChangeOf(std::move(change)));
    return answer;
  }

 private:
  // A row of the answer before its values are texts.
  struct Found {
    SourceRef source;
    StateValues labels;
    const Reading* reading = nullptr;
    int64_t newest_us = 0;
  };
  struct Change {
    StateChange::What what = StateChange::What::kChanged;
    SourceRef source;
    StateValues labels;
    int64_t seen_before_us = 0;
    int64_t seen_after_us = 0;
    // Of kChanged: the column, and where it changed.
    size_t info = 0;
    Value before;
    Value after;
  };

  static size_t BytesOf(const Reading& reading) {
    size_t bytes = 0;
    for (const Value& value : reading.values) {
      if (const auto* text = std::get_if<std::string>(&value)) bytes += text->size();
    }
    return bytes;
  }

  std::optional<CutText> ValueText(size_t info, const Value& value) const {
    if (std::holds_alternative<std::monostate>(value)) return std::nullopt;
    if (const auto* text = std::get_if<std::string>(&value)) return CutText::Of(*text, text_length_);
    return CutText{TextOf(value, infos_[info]->type()), false};
  }

  StateRow RowOf(Found found) const {
    StateRow row{std::move(found.source), std::move(found.labels), {}, {}, absl::FromUnixMicros(found.newest_us)};
    for (size_t i = 0; i < std::min(infos_.size(), found.reading->values.size()); ++i) {
      std::optional<CutText> value = ValueText(i, found.reading->values[i]);
      if (!value) continue;
      if (value->truncated) row.truncated.push_back(infos_[i]->name());
      row.values[infos_[i]->name()] = std::move(value->text);
    }
    return row;
  }

  StateChange ChangeOf(Change from) const {
    StateChange change;
    change.what = from.what;
    change.source = std::move(from.source);
    change.labels = std::move(from.labels);
    change.seen_before = absl::FromUnixMicros(from.seen_before_us);
    change.seen_after = absl::FromUnixMicros(from.seen_after_us);
    if (from.what != StateChange::What::kChanged) return change;
    change.column = infos_[from.info]->name();
    change.before = ValueText(from.info, from.before);
    change.after = ValueText(from.info, from.after);
    return change;
  }

  Readings& Find(int32_t source, const columns::RowSet& rows, uint32_t number) {
    std::vector<Value> labels;
    for (const Column* label : labels_) {
      const auto column = rows.labels.find(IdOf(metric_, *label));
      labels.push_back(columns::ValueOf(column == rows.labels.end() ? nullptr : &column->second, number));
    }
    return series_[{source, rows.series_scope[number], std::move(labels)}];
  }

  // Of a metric whose rows are all sent, the frames without a row of the series say that it was not there.
  static Readings WithAbsences(const Readings& readings, const Frames& frames) {
    Readings all = readings;
    for (const auto& [instant, reading] : readings) {
      const auto next = frames.upper_bound(instant);
      if (next != frames.end()) all.emplace(next->first, Reading{true, {}});
    }
    return all;
  }

  void AddChanges(const SourceRef& source, const StateValues& labels, const Readings& sent, const Frames& frames,
                  int64_t start_us, std::vector<Change>* changes) const {
    const Reading* before = nullptr;
    const Readings with_absences = metric_.skip_unchanged() ? Readings() : WithAbsences(sent, frames);
    for (const auto& [instant, now] : metric_.skip_unchanged() ? sent : with_absences) {
      const Reading* const was = std::exchange(before, &now);
      if (instant <= start_us) continue;
      const auto frame = frames.find(instant);
      if (frame == frames.end() || frame == frames.begin()) continue;
      Change change;
      change.source = source;
      change.labels = labels;
      change.seen_before_us = std::prev(frame)->first;
      change.seen_after_us = instant;
      if (was == nullptr || was->gone != now.gone) {
        if (was == nullptr) {
          // Known not to have been there only after a frame with every row.
          const bool seen = std::any_of(frames.begin(), frame, [](const auto& earlier) { return earlier.second; });
          if (now.gone || !seen) continue;
        }
        change.what = now.gone ? StateChange::What::kVanished : StateChange::What::kAppeared;
        changes->push_back(std::move(change));
        continue;
      }
      if (now.gone) continue;
      for (size_t i = 0; i < infos_.size(); ++i) {
        if (was->values[i] == now.values[i]) continue;
        Change one = change;
        one.info = i;
        one.before = was->values[i];
        one.after = now.values[i];
        changes->push_back(std::move(one));
      }
    }
  }

  const Metric& metric_;
  const std::vector<const Column*> labels_;
  const std::vector<const Column*> infos_;
  // Every reading counts, not only the newest.
  const bool all_;
  std::map<Key, Readings> series_;
  std::map<std::pair<int32_t, int64_t>, Frames> frames_;
  size_t readings_ = 0;
  // Of their texts.
  size_t bytes_ = 0;
  const int64_t text_length_;
};

absl::StatusOr<std::vector<LabelFilter>> ParseFilters(const Metric& metric, const std::vector<std::string>& texts) {
  if (texts.size() > 32) return absl::InvalidArgumentError("more than 32 filters; join them");
  std::vector<LabelFilter> filters;
  for (const std::string& text : texts) {
    PGA_ASSIGN_OR_RETURN(LabelFilter filter, ParseLabelFilter(metric, text));
    filters.push_back(std::move(filter));
  }
  return filters;
}

// Reads what `history` remembers of `columns`, from 25 hours before `start` up to `end`.
absl::Status FetchHistory(pg::ReadTransaction& tx, int16_t metric_id, const Metric& metric,
                          const std::vector<SourceRef>& sources, const std::vector<LabelFilter>& filters,
                          const std::vector<const Column*>& columns, absl::Time start, absl::Time end,
                          History* history) {
  std::vector<columns::RowFilter> row_filters;
  std::set<ColumnId> ids;
  for (const LabelFilter& filter : filters) {
    row_filters.push_back(RowFilterOf(metric, filter));
    ids.insert(IdOf(metric, *filter.label));
  }
  for (const Column* column : columns) ids.insert(IdOf(metric, *column));
  for (const Column* label : LabelsOf(metric)) ids.insert(IdOf(metric, *label));
  const int64_t until_us = absl::ToUnixMicros(end) + 1;
  const columns::Cells cells = {{absl::ToUnixMicros(start - kHoldsFor), until_us, 0, 0}};
  FetchSpec spec;
  spec.metric = &metric;
  spec.metric_ids = {metric_id};
  spec.source_ids = IdsOf(sources);
  spec.cells = &cells;
  spec.raw.assign(ids.begin(), ids.end());
  spec.keyframes = true;
  return FetchRows(tx, spec, [&](Fetched& fetched) { return history->Add(row_filters, until_us, fetched); });
}

absl::Status CheckKept(const Metric& metric, absl::Time start, absl::Time now) {
  const int kept = RetentionOf(metric).raw;
  if (start >= now - absl::Hours(24) * kept) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Cat("readings of metric ", metric.name(), " are kept for ", kept, " days; begin later"));
}

// Columns that are asked for, apart by what is done with them.
struct AskedColumns {
  std::vector<const Column*> all;
  // Gauges and infos, of which the newest is given, and counters, which are added up.
  std::vector<const Column*> newest;
  std::vector<const Column*> counters;
};

absl::StatusOr<AskedColumns> ColumnsAsked(const Metric& metric, const std::vector<std::string>& names,
                                          bool with_texts) {
  PGA_RETURN_IF_ERROR(CheckTexts(metric, names, with_texts));
  AskedColumns asked;
  std::vector<std::string> known;
  for (const Column& column : metric.columns()) {
    if (column.kind() == catalog_pb::COLUMN_KIND_LABEL || (column.restricted() && !with_texts)) continue;
    known.push_back(column.name());
    if (!names.empty() && std::find(names.begin(), names.end(), column.name()) == names.end()) continue;
    asked.all.push_back(&column);
    (column.kind() == catalog_pb::COLUMN_KIND_COUNTER ? asked.counters : asked.newest).push_back(&column);
  }
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return absl::InvalidArgumentError(Cat("'", name.substr(0, 64), "' is no column of metric ", metric.name(),
                                            " besides its labels; it has: ", absl::StrJoin(known, ", ")));
    }
  }
  return asked;
}

// The order of rows by one label or column.
class RowOrder {
 public:
  static absl::StatusOr<RowOrder> Parse(const Metric& metric, const AskedColumns& asked, const std::string& text) {
    RowOrder order;
    order.down_ = text.starts_with('-');
    order.name_ = text.substr(order.down_ ? 1 : 0);
    if (text.empty()) return order;
    std::vector<const Column*> known = LabelsOf(metric);
    known.insert(known.end(), asked.all.begin(), asked.all.end());
    std::vector<std::string> names;
    for (const Column* column : known) {
      if (column->name() == order.name_) {
        order.whole_ = column->type() == catalog_pb::COLUMN_TYPE_INT8;
        return order;
      }
      names.push_back(column->name());
    }
    return absl::InvalidArgumentError(Cat("sort '", text.substr(0, 64), "' is neither a label of metric ",
                                          metric.name(), " nor asked for; use one of ", absl::StrJoin(names, ", "),
                                          ", with a minus for the largest first"));
  }

  bool Before(const MetricRow& a, const MetricRow& b) const {
    if (!name_.empty()) {
      if (const auto less = Compare(a.numbers, b.numbers)) return *less;
      if (const auto less = Compare(a.labels, b.labels)) return *less;
      if (const auto less = Compare(a.texts, b.texts)) return *less;
    }
    return std::tie(a.source.name, a.source.uuid, a.labels) < std::tie(b.source.name, b.source.uuid, b.labels);
  }

 private:
  // nullopt: these do not tell them apart.
  template <typename Map>
  std::optional<bool> Compare(const Map& a, const Map& b) const {
    const auto left = a.find(name_);
    const auto right = b.find(name_);
    if ((left == a.end()) != (right == b.end())) return right == b.end();
    if (left == a.end() || left->second == right->second) return std::nullopt;
    if constexpr (std::is_same_v<typename Map::mapped_type, std::string>) {
      int64_t first = 0;
      int64_t second = 0;
      if (whole_ && absl::SimpleAtoi(left->second, &first) && absl::SimpleAtoi(right->second, &second)) {
        return down_ ? first > second : first < second;
      }
    }
    return down_ ? left->second > right->second : left->second < right->second;
  }

  std::string name_;
  // Its texts are whole numbers.
  bool whole_ = false;
  bool down_ = false;
};

}  // namespace

absl::StatusOr<StateAnswer> StateReader::Read(const StateQuery& query, const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(const Metric* metric, FindCatalogMetric(*catalog_, query.metric));
  PGA_ASSIGN_OR_RETURN(const std::vector<const Column*> infos, InfoColumns(*metric, query.columns, query.with_texts));
  PGA_ASSIGN_OR_RETURN(const std::vector<LabelFilter> filters, ParseFilters(*metric, query.filters));
  PGA_RETURN_IF_ERROR(CheckKept(*metric, query.start, clock_->Now()));
  if (query.sources.empty()) return StateAnswer();
  std::map<int32_t, SourceRef> sources;
  for (const SourceRef& source : query.sources) sources[source.id] = source;
  History history(*metric, infos, query.changes, query.text_length);
  PGA_RETURN_IF_ERROR(pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored, FindMetric(tx, metric->name()));
    return FetchHistory(tx, stored.id, *metric, query.sources, filters, infos, query.start, query.end, &history);
  }));
  return history.Finish(sources, absl::ToUnixMicros(query.start), query.limit);
}

absl::StatusOr<RowsAnswer> StateReader::Rows(const RowsQuery& query, const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(const Metric* metric, FindCatalogMetric(*catalog_, query.metric));
  PGA_ASSIGN_OR_RETURN(const AskedColumns asked, ColumnsAsked(*metric, query.columns, query.with_texts));
  PGA_ASSIGN_OR_RETURN(const RowOrder order, RowOrder::Parse(*metric, asked, query.sort));
  MetricRead read;
  read.metric = metric;
  read.source_ids = IdsOf(query.sources);
  PGA_ASSIGN_OR_RETURN(read.filters, ParseFilters(*metric, query.filters));
  const absl::Time now = clock_->Now();
  PGA_RETURN_IF_ERROR(CheckKept(*metric, query.end, now));
  PGA_ASSIGN_OR_RETURN(read.plan, PlanWholeRange(query.start, query.end, RetentionOf(*metric), now));
  RowsAnswer answer;
  answer.start = read.plan.start();
  answer.end = read.plan.end();
  answer.columns = asked.all;
  if (query.sources.empty()) return answer;

  columns::Grouping grouping;
  grouping.max_groups = kMaxSummedRows;
  const std::vector<const Column*> labels = LabelsOf(*metric);
  for (const Column* label : labels) grouping.by.push_back(IdOf(*metric, *label));
  MetricRows summed;
  History history(*metric, asked.newest, false, query.text_length);
  const absl::Status done = pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored, FindMetric(tx, metric->name()));
    read.metric_id = stored.id;
    PGA_RETURN_IF_ERROR(FetchHistory(tx, stored.id, *metric, query.sources, read.filters, asked.newest, query.end,
                                     query.end, &history));
    if (asked.counters.empty()) return absl::OkStatus();
    PGA_ASSIGN_OR_RETURN(summed, LoadIncreases(tx, read, asked.counters, grouping));
    if (summed.rows.groups_found <= grouping.max_groups && summed.rows.rows_found <= grouping.max_rows) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(Cat("metric ", metric->name(), " has ", summed.rows.groups_found,
                                          " rows in the range; add a filter or name fewer sources"));
  });
  PGA_RETURN_IF_ERROR(done);

  std::map<int32_t, SourceRef> sources;
  for (const SourceRef& source : query.sources) sources[source.id] = source;
  std::map<History::Key, const columns::GroupRow*> sums;
  for (const columns::GroupRow& row : summed.rows.rows) sums[{row.source, row.scope, row.labels}] = &row;
  history.VisitThere([&](const History::Key& key, const Reading& last, int64_t newest_us) {
    MetricRow row;
    row.source = sources.at(std::get<0>(key));
    row.labels = LabelTexts(labels, std::get<2>(key));
    row.collected_at = absl::FromUnixMicros(newest_us);
    for (size_t i = 0; i < asked.newest.size() && i < last.values.size(); ++i) {
      const Column& column = *asked.newest[i];
      const Value& value = last.values[i];
      const double scale = column.type() == catalog_pb::COLUMN_TYPE_TIMESTAMPTZ ? 1e6 : 1;
      if (std::holds_alternative<std::monostate>(value)) continue;
      const auto* whole = std::get_if<int64_t>(&value);
      const auto* real = std::get_if<double>(&value);
      if (const auto* text = std::get_if<std::string>(&value)) {
        CutText cut = CutText::Of(*text, query.text_length);
        if (cut.truncated) row.truncated.push_back(column.name());
        row.texts[column.name()] = std::move(cut.text);
      } else if (column.kind() == catalog_pb::COLUMN_KIND_INFO) {
        row.texts[column.name()] = TextOf(value, column.type());
      } else {
        row.numbers[column.name()] = (real != nullptr ? *real : static_cast<double>(*whole)) / scale;
      }
    }
    const auto sum = sums.find(key);
    const auto covered = summed.coverage.find({std::get<0>(key), std::get<1>(key)});
    const bool known = covered != summed.coverage.end() && covered->second.covered_us[0] > 0;
    row.lower_bound = known && covered->second.lower_bound[0] != 0;
    if (sum != sums.end() && (sum->second->flags & kTooLowFlags) != 0) row.lower_bound = true;
    for (size_t i = 0; i < asked.counters.size(); ++i) {
      // Covered and without a row: it did not change.
      const std::optional<double> value = sum != sums.end() ? sum->second->values[i]
                                          : known           ? std::optional<double>(0)
                                                            : std::nullopt;
      if (value) row.numbers[asked.counters[i]->name()] = *value;
    }
    answer.rows.push_back(std::move(row));
  });
  answer.rows_found = static_cast<int64_t>(answer.rows.size());
  std::stable_sort(answer.rows.begin(), answer.rows.end(),
                   [&](const MetricRow& a, const MetricRow& b) { return order.Before(a, b); });
  Cut(static_cast<size_t>(query.limit), &answer.rows);
  return answer;
}

}  // namespace pga::storage
