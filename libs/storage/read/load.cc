#include "libs/storage/read/load.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <set>
#include <thread>

#include "absl/strings/str_join.h"
#include "libs/catalog/metric.h"
#include "libs/columns/block.h"
#include "libs/config/nearest.h"
#include "libs/status/status.h"
#include "libs/storage/read/fetch.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using catalog_pb::Column;
using catalog_pb::Metric;
using columns::ColumnId;
using internal::Cat;

// A day of the former zone that holds what was merged until mergers know of a change of zone, ten minutes ahead of now
// included, ends at most this much after the change.
constexpr absl::Duration kZoneSettles = absl::Hours(26);

std::vector<columns::RowFilter> FiltersOf(const MetricRead& read) {
  std::vector<columns::RowFilter> filters;
  for (const LabelFilter& filter : read.filters) filters.push_back(RowFilterOf(*read.metric, filter));
  return filters;
}

// Keys of the only series that can pass the filters, when a filter names them.
std::optional<std::vector<FetchSpec::Located>> LocatedBy(const MetricRead& read) {
  const ColumnId locate_by = LocateBy(*read.metric);
  for (const LabelFilter& filter : read.filters) {
    if (IdOf(*read.metric, *filter.label) != locate_by) continue;
    if (filter.op == LabelFilter::Op::kAmong) {
      std::vector<FetchSpec::Located> located;
      for (const int64_t number : filter.numbers) located.push_back({0, columns::LocateKey(number)});
      return located;
    }
    if (filter.op != LabelFilter::Op::kEquals) continue;
    if (filter.label->type() == catalog_pb::COLUMN_TYPE_TEXT) {
      return std::vector<FetchSpec::Located>{{0, columns::LocateKey(std::string_view(filter.value))}};
    }
    return std::vector<FetchSpec::Located>{{0, columns::LocateKey(static_cast<int64_t>(std::stoll(filter.value)))}};
  }
  return std::nullopt;
}

FetchSpec SpecOf(const MetricRead& read, const columns::Cells& cells) {
  FetchSpec spec;
  spec.metric = read.metric;
  spec.metric_ids = {read.metric_id};
  spec.source_ids = read.source_ids;
  spec.cells = &cells;
  spec.located = LocatedBy(read);
  return spec;
}

// Sources that are worth a connection and a thread of their own.
constexpr size_t kSourcesOfWorker = 4;

// Ids once each, growing.
std::vector<ColumnId> Distinct(std::vector<ColumnId> ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::vector<ColumnId> DimensionIds(const MetricRead& read, const columns::Grouping& grouping) {
  std::vector<ColumnId> ids = grouping.by;
  ids.insert(ids.end(), grouping.infos.begin(), grouping.infos.end());
  for (const LabelFilter& filter : read.filters) ids.push_back(IdOf(*read.metric, *filter.label));
  return ids;
}

FetchSpec IncreaseSpec(const MetricRead& read, const columns::Cells& cells, const std::vector<ColumnId>& ids,
                       const columns::Grouping& grouping) {
  FetchSpec spec = SpecOf(read, cells);
  spec.raw = DimensionIds(read, grouping);
  spec.raw.insert(spec.raw.end(), ids.begin(), ids.end());
  spec.raw = Distinct(std::move(spec.raw));
  spec.buckets = spec.raw;
  return spec;
}

// Runs sums and coverage over the rows of one statement.
absl::Status FetchIncreases(pg::ReadTransaction& tx, const MetricRead& read, const columns::Cells& cells,
                            const std::vector<ColumnId>& ids, const columns::Grouping& grouping,
                            columns::CounterSums* sums, columns::CoverageSums* coverage) {
  const FetchSpec spec = IncreaseSpec(read, cells, ids, grouping);
  return FetchRows(tx, spec, [&](Fetched& fetched) {
    sums->Add(fetched.source_id, fetched.level, fetched.rows);
    if (coverage != nullptr) coverage->Add(fetched.source_id, fetched.level, fetched.rows.frames);
    return absl::OkStatus();
  });
}

// Adds up the groups of one source after the other.
absl::Status FetchRanking(pg::ReadTransaction& tx, const FetchSpec& spec, const TopOrder& by, size_t limit,
                          columns::CounterSums* candidates) {
  std::optional<int32_t> source;
  PGA_RETURN_IF_ERROR(FetchRows(tx, spec, [&](Fetched& fetched) {
    if (source && *source != fetched.source_id) candidates->KeepTop(by.sum, by.divisor, limit);
    source = fetched.source_id;
    if (fetched.summed) {
      candidates->AddSeries(fetched.source_id, &fetched.rows, &fetched.sums);
    } else {
      candidates->Add(fetched.source_id, fetched.level, fetched.rows);
    }
    return absl::OkStatus();
  }));
  candidates->KeepTop(by.sum, by.divisor, limit);
  return absl::OkStatus();
}

// Whether the figure of a group is known and above 0.
bool IsPositive(const columns::GroupRow& row, const TopOrder& by) {
  double sum = 0;
  for (const int index : by.sum) sum += row.values[static_cast<size_t>(index)].value_or(0);
  return by.divisor < 0 ? sum > 0 : sum * row.values[static_cast<size_t>(by.divisor)].value_or(0) > 0;
}

// Most workers for these sources.
size_t WorkersFor(const std::vector<int32_t>& source_ids) {
  return std::min<size_t>(source_ids.size() / kSourcesOfWorker, std::thread::hardware_concurrency());
}

std::vector<int32_t> ShareOf(const std::vector<int32_t>& source_ids, size_t worker, size_t workers) {
  std::vector<int32_t> share;
  for (size_t i = worker; i < source_ids.size(); i += workers) share.push_back(source_ids[i]);
  return share;
}

// Reads many sources in shares at the same time and joins what each gives.
absl::StatusOr<MetricRows> LoadShares(
    pg::ReadTransaction& tx, const MetricRead& read, const columns::Grouping& grouping,
    const std::function<absl::StatusOr<MetricRows>(pg::ReadTransaction&, const MetricRead&)>& load) {
  const size_t most = WorkersFor(read.source_ids);
  std::vector<MetricRows> parts(std::max<size_t>(most, 1));
  PGA_RETURN_IF_ERROR(tx.Together(most, [&](pg::ReadTransaction& own, size_t worker, size_t workers) -> absl::Status {
    MetricRead share = read;
    share.source_ids = ShareOf(read.source_ids, worker, workers);
    PGA_ASSIGN_OR_RETURN(parts[worker], load(own, share));
    return absl::OkStatus();
  }));
  if (parts.size() == 1) return std::move(parts[0]);
  MetricRows joined;
  std::vector<columns::GroupRows> rows;
  for (MetricRows& part : parts) {
    joined.coverage.merge(part.coverage);
    joined.taken.merge(part.taken);
    rows.push_back(std::move(part.rows));
  }
  joined.rows = columns::JoinRows(std::move(rows), grouping);
  return joined;
}

std::vector<ColumnId> IdsOfColumns(const Metric& metric, const std::vector<const Column*>& columns) {
  std::vector<ColumnId> ids;
  for (const Column* column : columns) ids.push_back(IdOf(metric, *column));
  return ids;
}

}  // namespace

absl::StatusOr<const Metric*> FindCatalogMetric(const catalog::Catalog& catalog, const std::string& name) {
  if (const Metric* metric = catalog.Find(name)) return metric;
  std::vector<std::string> names;
  for (const Metric& known : catalog.metrics()) names.push_back(known.name());
  const std::vector<std::string> nearest = config::NearestNames(name, names);
  return absl::InvalidArgumentError(Cat("metric '", name.substr(0, 64), "' is not known; ",
                                        nearest.empty() ? "known are " + absl::StrJoin(names, ", ")
                                                        : "did you mean " + absl::StrJoin(nearest, ", ") + "?"));
}

absl::StatusOr<StoredMetric> FindMetric(pg::ReadTransaction& tx, const std::string& metric) {
  StoredMetric stored;
  PGA_RETURN_IF_ERROR(tx.Query(
      "SELECT m.id, (SELECT s.value FROM metrics.setting s WHERE s.name = 'time_zone'), coalesce((SELECT s.value::int8 "
      "FROM metrics.setting s WHERE s.name = 'time_zone_since'), 0) FROM metrics.catalog_metric m WHERE m.name = $1",
      {metric}, [&](const pg::BinaryRow& row) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t id, row.Int(0));
        stored.id = static_cast<int16_t>(id);
        stored.zone.name = std::string(row.Bytes(1));
        PGA_ASSIGN_OR_RETURN(const int64_t since_us, row.Int(2));
        if (since_us > 0) stored.zone.since = absl::FromUnixMicros(since_us) + kZoneSettles;
        return absl::OkStatus();
      }));
  if (stored.id == 0) {
    return absl::FailedPreconditionError(
        Cat("the metrics database does not know metric ", metric, " yet; run `pgactl migrate up`"));
  }
  if (stored.zone.name == "UTC" || !absl::LoadTimeZone(stored.zone.name, &stored.zone.zone)) stored.zone = DayZone();
  return stored;
}

absl::StatusOr<MetricRows> LoadIncreases(pg::ReadTransaction& tx, const MetricRead& read,
                                         const std::vector<const Column*>& columns, const columns::Grouping& grouping) {
  const columns::Cells cells = CellsOfIncreases(read.plan, catalog::HasHours(*read.metric));
  const std::vector<ColumnId> ids = IdsOfColumns(*read.metric, columns);
  const std::vector<columns::RowFilter> filters = FiltersOf(read);
  return LoadShares(tx, read, grouping,
                    [&](pg::ReadTransaction& own, const MetricRead& share) -> absl::StatusOr<MetricRows> {
                      columns::CounterSums sums(cells, ids, grouping, filters);
                      columns::CoverageSums coverage(cells, read.plan.buckets());
                      PGA_RETURN_IF_ERROR(FetchIncreases(own, share, cells, ids, grouping, &sums, &coverage));
                      return MetricRows{sums.Finish(), coverage.scopes(), {}};
                    });
}

absl::StatusOr<TopRows> LoadTop(pg::ReadTransaction& tx, const MetricRead& read,
                                const std::vector<const Column*>& columns, const columns::Grouping& grouping,
                                const TopOrder& order, int limit) {
  const columns::Cells cells = CellsOfIncreases(read.plan, catalog::HasHours(*read.metric));
  const std::vector<columns::RowFilter> filters = FiltersOf(read);
  // First who they are, by the columns of the order alone; then the rest of these few.
  std::vector<const Column*> ordering;
  TopOrder by;
  for (const int index : order.sum) {
    by.sum.push_back(static_cast<int>(ordering.size()));
    ordering.push_back(columns[static_cast<size_t>(index)]);
  }
  if (order.divisor >= 0) {
    by.divisor = static_cast<int>(ordering.size());
    ordering.push_back(columns[static_cast<size_t>(order.divisor)]);
  }
  columns::Grouping bare = grouping;
  bare.infos.clear();
  const std::vector<ColumnId> ordering_ids = IdsOfColumns(*read.metric, ordering);
  FetchSpec ranking = IncreaseSpec(read, cells, ordering_ids, bare);
  // One source after the other, so that the statements of one are in memory at a time.
  ranking.by_source = true;
  TopRows top;
  std::vector<columns::GroupRow> first;
  for (const auto kind : {columns::SumKind::kOthersThanZero, columns::SumKind::kAll}) {
    ranking.sum_kind = kind;
    columns::CounterSums candidates(cells, ordering_ids, bare, filters);
    const size_t most = WorkersFor(read.source_ids);
    std::deque<columns::CounterSums> of_others;
    for (size_t other = 1; other < most; ++other) of_others.emplace_back(cells, ordering_ids, bare, filters);
    PGA_RETURN_IF_ERROR(tx.Together(most, [&](pg::ReadTransaction& own, size_t worker, size_t workers) {
      columns::CounterSums* const sums = worker == 0 ? &candidates : &of_others[worker - 1];
      FetchSpec share = ranking;
      share.sums = sums;
      share.source_ids = ShareOf(read.source_ids, worker, workers);
      return FetchRanking(own, share, by, static_cast<size_t>(limit), sums);
    }));
    for (columns::CounterSums& other : of_others) candidates.Join(std::move(other), static_cast<size_t>(limit));
    if (candidates.exceeded()) {
      return absl::InvalidArgumentError(Cat("the range has more than ", grouping.max_groups,
                                            " groups to compare; name fewer sources or a shorter range"));
    }
    first = candidates.Top(by.sum, by.divisor, static_cast<size_t>(limit));
    const std::vector<double> totals = candidates.Totals();
    top.total = 0;
    for (const int index : by.sum) top.total += totals[static_cast<size_t>(index)];
    // Of what is 0 all are wanted only where there is too little else.
    if (first.size() == static_cast<size_t>(limit) && IsPositive(first.back(), by)) break;
  }
  if (first.empty()) return top;

  MetricRead rest = read;
  std::set<int32_t> sources;
  const ColumnId locate_by = LocateBy(*read.metric);
  const auto located_at = std::find(grouping.by.begin(), grouping.by.end(), locate_by) - grouping.by.begin();
  std::vector<FetchSpec::Located> located;
  for (const columns::GroupRow& row : first) {
    sources.insert(row.source);
    if (static_cast<size_t>(located_at) >= row.labels.size()) continue;
    const columns::Value& value = row.labels[static_cast<size_t>(located_at)];
    if (const auto* text = std::get_if<std::string>(&value))
      located.push_back({row.source, columns::LocateKey(std::string_view(*text))});
    if (const auto* number = std::get_if<int64_t>(&value)) located.push_back({row.source, columns::LocateKey(*number)});
    if (std::holds_alternative<std::monostate>(value)) located.push_back({row.source, ""});
  }
  rest.source_ids.assign(sources.begin(), sources.end());
  std::vector<ColumnId> rest_ids = IdsOfColumns(*read.metric, columns);
  columns::CounterSums sums(cells, rest_ids, grouping, filters);
  FetchSpec spec = IncreaseSpec(rest, cells, rest_ids, grouping);
  if (!located.empty()) spec.located = std::move(located);
  spec.located_only = true;
  sums.Only(first);
  PGA_RETURN_IF_ERROR(FetchRows(tx, spec, [&](Fetched& fetched) {
    sums.Add(fetched.source_id, fetched.level, fetched.rows);
    return absl::OkStatus();
  }));
  top.rows = sums.Top(order.sum, order.divisor, static_cast<size_t>(limit));
  return top;
}

absl::StatusOr<MetricRows> LoadReadings(pg::ReadTransaction& tx, const MetricRead& read, const Column& column,
                                        const columns::Grouping& grouping) {
  const absl::Duration hold = read.metric->skip_unchanged() ? kHoldsFor : absl::ZeroDuration();
  const columns::Cells cells = CellsOfReadings(read.plan, hold, catalog::HasHours(*read.metric));
  const std::vector<columns::RowFilter> filters = FiltersOf(read);
  const ColumnId id = IdOf(*read.metric, column);
  // All labels make a series, whatever is asked to stay apart.
  std::vector<ColumnId> labels;
  for (const Column* label : LabelsOf(*read.metric)) labels.push_back(IdOf(*read.metric, *label));
  const double scale = column.type() == catalog_pb::COLUMN_TYPE_TIMESTAMPTZ ? 1e6 : 1;

  FetchSpec spec = SpecOf(read, cells);
  spec.raw = DimensionIds(read, grouping);
  spec.raw.insert(spec.raw.end(), labels.begin(), labels.end());
  spec.buckets = spec.raw;
  spec.raw.push_back(id);
  for (const ColumnId by :
       {columns::kMin, columns::kMax, columns::kSum, columns::kCount, columns::kLast, columns::kLastAge}) {
    spec.buckets.push_back(static_cast<ColumnId>(id + by));
  }
  spec.raw = Distinct(std::move(spec.raw));
  spec.buckets = Distinct(std::move(spec.buckets));
  spec.keyframes = true;
  spec.by_source = true;
  spec.instants = true;

  return LoadShares(tx, read, grouping,
                    [&](pg::ReadTransaction& own, const MetricRead& share) -> absl::StatusOr<MetricRows> {
                      FetchSpec of_share = spec;
                      of_share.source_ids = share.source_ids;
                      columns::GaugeReadings readings(cells, id, labels, grouping, filters, scale,
                                                      absl::ToInt64Microseconds(hold), column.absent_is_zero());
                      columns::CoverageSums coverage(cells, read.plan.buckets());
                      std::optional<int32_t> source;
                      PGA_RETURN_IF_ERROR(FetchRows(own, of_share, [&](Fetched& fetched) {
                        if (source && *source != fetched.source_id) readings.FinishSource(*source);
                        source = fetched.source_id;
                        readings.Add(fetched.level, fetched.keyframes, fetched.rows);
                        if (!fetched.keyframes) coverage.Add(fetched.source_id, fetched.level, fetched.rows.frames);
                        return absl::OkStatus();
                      }));
                      if (source) readings.FinishSource(*source);
                      return MetricRows{readings.Finish(), coverage.scopes(), coverage.taken()};
                    });
}

absl::StatusOr<std::vector<columns::GroupRow>> LoadKeyframeSeries(pg::ReadTransaction& tx, const MetricRead& read,
                                                                  const columns::Grouping& grouping) {
  const columns::Cells cells = {
      {absl::ToUnixMicros(read.plan.start() - kHoldsFor), absl::ToUnixMicros(read.plan.end()), 0, 0}};
  const std::vector<columns::RowFilter> filters = FiltersOf(read);
  FetchSpec spec = SpecOf(read, cells);
  spec.raw = Distinct(DimensionIds(read, grouping));
  spec.deltas = false;
  spec.keyframes = true;
  columns::internal::Groups groups(grouping);
  const columns::internal::CellTable table(cells);
  // Where all series of a scope are one, it is enough to know which scopes have any.
  spec.first_parts = spec.raw.empty();
  PGA_RETURN_IF_ERROR(FetchRows(tx, spec, [&](Fetched& fetched) {
    if (groups.full()) return absl::OkStatus();
    if (spec.first_parts) {
      for (const columns::FrameInfo& frame : fetched.rows.frames) {
        if (frame.rows > 0 && table.Holding(frame.end_us) >= 0) groups.Of(fetched.source_id, frame.scope, {});
      }
      return absl::OkStatus();
    }
    const std::vector<uint8_t> kept = columns::KeepRows(filters, fetched.rows);
    columns::internal::Groups::Rows rows(&groups, fetched.source_id, fetched.rows);
    for (size_t row = 0; row < kept.size(); ++row) {
      if (kept[row] == 0 || table.Holding(fetched.rows.frames[fetched.rows.row_frame[row]].end_us) < 0) continue;
      const uint32_t series = fetched.rows.row_series[row];
      rows.TakeInfos(rows.Of(series, row), series, row, false);
    }
    return absl::OkStatus();
  }));
  std::vector<columns::GroupRow> rows;
  if (groups.full()) return rows;
  for (uint32_t number = 0; number < groups.size(); ++number) {
    columns::internal::Groups::Group group = groups.At(number);
    columns::GroupRow row;
    row.source = group.source;
    row.scope = group.scope;
    row.bucket = -1;
    row.labels = std::move(group.labels);
    rows.push_back(std::move(row));
  }
  return rows;
}

absl::StatusOr<std::map<columns::CoverageSums::Key, columns::CoverageSums::Scope>> LoadCoverage(
    pg::ReadTransaction& tx, const MetricRead& read) {
  const columns::Cells cells = CellsOfIncreases(read.plan, catalog::HasHours(*read.metric));
  FetchSpec spec = SpecOf(read, cells);
  spec.frames_only = true;
  columns::CoverageSums coverage(cells, read.plan.buckets());
  PGA_RETURN_IF_ERROR(FetchRows(tx, spec, [&](Fetched& fetched) {
    coverage.Add(fetched.source_id, fetched.level, fetched.rows.frames);
    return absl::OkStatus();
  }));
  return coverage.scopes();
}

absl::StatusOr<std::map<std::pair<int32_t, int64_t>, CutText>> LoadStatementTexts(
    pg::ReadTransaction& tx, const std::vector<std::pair<int32_t, int64_t>>& statements, int64_t most) {
  std::map<std::pair<int32_t, int64_t>, CutText> texts;
  if (statements.empty()) return texts;
  std::vector<int32_t> sources;
  std::vector<int64_t> queries;
  for (const auto& [source, query] : statements) {
    sources.push_back(source);
    queries.push_back(query);
  }
  PGA_RETURN_IF_ERROR(tx.Query(
      "SELECT DISTINCT ON (t.source_id, t.query_id) t.source_id, t.query_id, left(t.text, $3::int4 + 1) FROM "
      "metrics.query_text t WHERE (t.source_id, t.query_id) IN (SELECT s, q FROM unnest($1::int4[], $2::int8[]) AS "
      "k(s, q)) ORDER BY t.source_id, t.query_id, t.last_seen DESC",
      {ArrayOf(sources), ArrayOf(queries), most}, [&](const pg::BinaryRow& row) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t source, row.Int(0));
        PGA_ASSIGN_OR_RETURN(const int64_t query, row.Int(1));
        texts[{static_cast<int32_t>(source), query}] = CutText::Of(row.Bytes(2), most);
        return absl::OkStatus();
      }));
  return texts;
}

absl::Status CheckBounds(const columns::GroupRows& rows, const columns::Grouping& grouping) {
  if (rows.groups_found > grouping.max_groups) {
    return absl::InvalidArgumentError(
        Cat("the answer has ", rows.groups_found, " series, more than the limit of ", grouping.max_groups,
            "; raise limit (at most 1000), add a filter, or name fewer labels in group_by"));
  }
  if (rows.rows_found > grouping.max_rows) {
    return absl::InvalidArgumentError(
        Cat("the answer has more than ", grouping.max_rows, " values; use a larger step or a shorter range"));
  }
  return absl::OkStatus();
}

}  // namespace pga::storage
