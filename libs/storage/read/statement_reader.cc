#include "libs/storage/read/statement_reader.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_join.h"
#include "libs/status/status.h"
#include "libs/storage/read/load.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using catalog_pb::Column;
using catalog_pb::Metric;
using internal::Cat;

constexpr char kMetric[] = "statements";
// Statements that are distinguished at most; their sums are in memory at a time.
constexpr size_t kMaxStatements = 1'000'000;

// Figure, its name in requests, and the catalog columns that are added up to it.
struct FigureColumns {
  Figure figure;
  const char* name;
  std::vector<const char*> columns;
};

const std::vector<FigureColumns>& Figures() {
  static const auto* const kFigures = new std::vector<FigureColumns>{
      {Figure::kCalls, "calls", {"calls"}},
      {Figure::kTotalTime, "total_time", {"total_exec_time_us"}},
      {Figure::kRows, "rows", {"rows"}},
      {Figure::kSharedBlksHit, "shared_blks_hit", {"shared_blks_hit"}},
      {Figure::kSharedBlksRead, "shared_blks_read", {"shared_blks_read"}},
      {Figure::kSharedBlksDirtied, "shared_blks_dirtied", {"shared_blks_dirtied"}},
      {Figure::kSharedBlksWritten, "shared_blks_written", {"shared_blks_written"}},
      {Figure::kTempBlksRead, "temp_blks_read", {"temp_blks_read"}},
      {Figure::kTempBlksWritten, "temp_blks_written", {"temp_blks_written"}},
      {Figure::kWalBytes, "wal_bytes", {"wal_bytes"}},
      {Figure::kPlanTime, "plan_time", {"total_plan_time_us"}},
      {Figure::kIoTime,
       "io_time",
       {"shared_blk_read_time_us", "shared_blk_write_time_us", "local_blk_read_time_us", "local_blk_write_time_us",
        "temp_blk_read_time_us", "temp_blk_write_time_us"}},
  };
  return *kFigures;
}

// The columns read, and for each the figure it belongs to.
struct FigureSources {
  std::vector<const Column*> columns;
  std::vector<Figure> figures;
};

FigureSources FigureSourcesOf(const Metric& metric) {
  FigureSources found;
  for (const FigureColumns& figure : Figures()) {
    for (const char* name : figure.columns) {
      for (const Column& column : metric.columns()) {
        if (column.name() != name) continue;
        found.columns.push_back(&column);
        found.figures.push_back(figure.figure);
      }
    }
  }
  return found;
}

const Column* FindDimension(const Metric& metric, std::string_view name) {
  for (const Column* column : DimensionsOf(metric)) {
    if (column->name() == name) return column;
  }
  return nullptr;
}

int64_t NumberOf(const columns::Value& value) {
  const auto* number = std::get_if<int64_t>(&value);
  return number == nullptr ? 0 : *number;
}

absl::StatusOr<const Metric*> StatementsMetric(const catalog::Catalog& catalog) {
  const Metric* metric = catalog.Find(kMetric);
  if (metric == nullptr) return absl::FailedPreconditionError("the catalog has no metric statements");
  for (const char* label : {"queryid", "dbid", "userid", "datname", "username"}) {
    if (FindDimension(*metric, label) == nullptr) {
      return absl::InternalError(Cat("metric statements has no label ", label));
    }
  }
  return metric;
}

}  // namespace

bool IsTime(Figure figure) {
  return figure == Figure::kTotalTime || figure == Figure::kPlanTime || figure == Figure::kIoTime;
}

absl::StatusOr<StatementOrder> ParseStatementOrder(const std::string& name) {
  StatementOrder order;
  if (name.empty()) return order;
  if (name == "mean_time") {
    order.mean_time = true;
    return order;
  }
  std::vector<std::string> names = {"mean_time"};
  for (const FigureColumns& figure : Figures()) {
    if (name == figure.name) {
      order.figure = figure.figure;
      return order;
    }
    names.emplace_back(figure.name);
  }
  return absl::InvalidArgumentError(
      Cat("order_by '", name.substr(0, 64), "' is not known; use one of ", absl::StrJoin(names, ", ")));
}

StatementReader::StatementReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog,
                                 clock::Clock* clock)
    : pool_(pool), catalog_(std::move(catalog)), clock_(clock) {}

absl::StatusOr<TopStatements> StatementReader::Top(const TopStatementsQuery& query, const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(const Metric* metric, StatementsMetric(*catalog_));
  MetricRead read;
  read.metric = metric;
  read.source_ids = IdsOf(query.sources);
  PGA_ASSIGN_OR_RETURN(read.plan, PlanWholeRange(query.start, query.end, RetentionOf(*metric), clock_->Now()));
  if (!query.database.empty()) {
    read.filters.push_back({FindDimension(*metric, "datname"), LabelFilter::Op::kEquals, query.database});
  }
  if (!query.query_ids.empty()) {
    read.filters.push_back({FindDimension(*metric, "queryid"), LabelFilter::Op::kAmong, "", query.query_ids});
  }
  TopStatements top{read.plan.start(), read.plan.end(), {}, std::nullopt};
  if (query.sources.empty()) return top;

  const FigureSources columns = FigureSourcesOf(*metric);
  columns::Grouping grouping;
  for (const char* name : {"queryid", "dbid", "userid"}) {
    grouping.by.push_back(IdOf(*metric, *FindDimension(*metric, name)));
  }
  for (const char* name : {"datname", "username"}) {
    grouping.infos.push_back(IdOf(*metric, *FindDimension(*metric, name)));
  }
  grouping.max_groups = kMaxStatements;
  grouping.max_rows = kMaxStatements;
  TopOrder order;
  for (size_t i = 0; i < columns.figures.size(); ++i) {
    if (columns.figures[i] == query.order.figure) order.sum.push_back(static_cast<int>(i));
    if (query.order.mean_time && columns.figures[i] == Figure::kCalls) order.divisor = static_cast<int>(i);
  }
  if (order.sum.empty()) {
    return absl::FailedPreconditionError("no column of metric statements holds this figure; order by another one");
  }

  std::map<int32_t, SourceRef> sources;
  for (const SourceRef& source : query.sources) sources[source.id] = source;
  PGA_RETURN_IF_ERROR(pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored, FindMetric(tx, metric->name()));
    read.metric_id = stored.id;
    PGA_ASSIGN_OR_RETURN(const TopRows found, LoadTop(tx, read, columns.columns, grouping, order, query.limit));
    if (!query.order.mean_time) top.total = found.total;
    std::vector<std::pair<int32_t, int64_t>> wanted;
    for (const columns::GroupRow& row : found.rows) {
      TopStatement entry;
      entry.source = sources[row.source];
      entry.query_id = NumberOf(row.labels[0]);
      entry.database = row.infos[0].value_or("");
      entry.user = row.infos[1].value_or("");
      entry.lower_bound = (row.flags & kTooLowFlags) != 0;
      for (size_t i = 0; i < columns.columns.size(); ++i) {
        entry.figures.values[static_cast<size_t>(columns.figures[i])] += row.values[i].value_or(0);
      }
      wanted.emplace_back(entry.source.id, entry.query_id);
      top.statements.push_back(std::move(entry));
    }
    if (!query.with_texts) return absl::OkStatus();
    PGA_ASSIGN_OR_RETURN(auto texts, LoadStatementTexts(tx, wanted, query.text_length));
    for (TopStatement& entry : top.statements) entry.text = texts[{entry.source.id, entry.query_id}];
    return absl::OkStatus();
  }));
  return top;
}

absl::StatusOr<StatementTimeline> StatementReader::Timeline(int64_t query_id, const std::vector<SourceRef>& sources,
                                                            const RangeRequest& range, bool with_text,
                                                            const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(const Metric* metric, StatementsMetric(*catalog_));
  const absl::Time now = clock_->Now();
  MetricRead read;
  read.metric = metric;
  read.source_ids = IdsOf(sources);
  PGA_ASSIGN_OR_RETURN(read.plan, PlanBuckets(range, RetentionOf(*metric), {range.time_zone, {}}, now));
  read.filters.push_back({FindDimension(*metric, "queryid"), LabelFilter::Op::kEquals, std::to_string(query_id)});
  const FigureSources columns = FigureSourcesOf(*metric);
  columns::Grouping grouping;
  grouping.by_source = false;

  StatementTimeline timeline;
  MetricRows loaded;
  bool text_known = false;
  const absl::Status done = pool_->Read(limit, [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_RETURN_IF_ERROR(tx.Query(
        "SELECT text FROM metrics.query_text WHERE source_id = ANY($1::int4[]) AND query_id = $2::int8 ORDER BY "
        "last_seen DESC LIMIT 1",
        {ArrayOf(read.source_ids), query_id}, [&](const pg::BinaryRow& row) {
          text_known = true;
          if (with_text) timeline.text = std::string(row.Bytes(0));
          return absl::OkStatus();
        }));
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored, FindMetric(tx, metric->name()));
    read.metric_id = stored.id;
    PGA_ASSIGN_OR_RETURN(read.plan, PlanBuckets(range, RetentionOf(*metric), stored.zone, now));
    PGA_ASSIGN_OR_RETURN(loaded, LoadIncreases(tx, read, columns.columns, grouping));
    return CheckBounds(loaded.rows, grouping);
  });
  PGA_RETURN_IF_ERROR(done);
  if (loaded.rows.rows.empty() && !text_known) {
    return absl::NotFoundError(Cat("no statement with query id ", query_id,
                                   " is known in the range; list some with /api/v1/queries/top, or widen the range"));
  }

  std::set<columns::CoverageSums::Key> scopes;
  timeline.points.resize(static_cast<size_t>(read.plan.buckets()));
  for (const columns::GroupRow& row : loaded.rows.rows) {
    scopes.insert({row.source, row.scope});
    StatementPoint& point = timeline.points[static_cast<size_t>(row.bucket)];
    if (!point.figures) point.figures.emplace();
    for (size_t i = 0; i < columns.columns.size(); ++i) {
      point.figures->values[static_cast<size_t>(columns.figures[i])] += row.values[i].value_or(0);
    }
    if ((row.flags & kTooLowFlags) != 0) point.lower_bound = true;
  }
  for (size_t bucket = 0; bucket < timeline.points.size(); ++bucket) {
    StatementPoint& point = timeline.points[bucket];
    point.time = read.plan.edges[bucket];
    double covered = 0;
    for (const columns::CoverageSums::Key& scope : scopes) {
      const auto covering = loaded.coverage.find(scope);
      if (covering != loaded.coverage.end()) covered += static_cast<double>(covering->second.covered_us[bucket]) / 1000;
    }
    point.covered_ms = scopes.empty() ? 0 : covered / static_cast<double>(scopes.size());
    // Covered and without a row: the statement did not run.
    if (covered > 0 && !point.figures) point.figures.emplace();
  }
  return timeline;
}

absl::StatusOr<StatementWindow> StatementReader::Buckets(const StatementBucketsQuery& query,
                                                         const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(const Metric* metric, StatementsMetric(*catalog_));
  const absl::Time now = clock_->Now();
  MetricRead read;
  read.metric = metric;
  read.source_ids = IdsOf(query.sources);
  PGA_ASSIGN_OR_RETURN(read.plan, PlanBuckets(query.range, RetentionOf(*metric), {query.range.time_zone, {}}, now));
  StatementWindow window;
  window.edges = read.plan.edges;
  if (query.sources.empty() || query.query_ids.empty()) return window;
  read.filters.push_back({FindDimension(*metric, "queryid"), LabelFilter::Op::kAmong, "", query.query_ids});
  if (!query.database.empty()) {
    read.filters.push_back({FindDimension(*metric, "datname"), LabelFilter::Op::kEquals, query.database});
  }
  const FigureSources columns = FigureSourcesOf(*metric);
  columns::Grouping grouping;
  for (const char* name : {"queryid", "datname"}) grouping.by.push_back(IdOf(*metric, *FindDimension(*metric, name)));
  grouping.max_groups = 100'000;
  MetricRows loaded;
  PGA_RETURN_IF_ERROR(pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored, FindMetric(tx, metric->name()));
    read.metric_id = stored.id;
    PGA_ASSIGN_OR_RETURN(read.plan, PlanBuckets(query.range, RetentionOf(*metric), stored.zone, now));
    PGA_ASSIGN_OR_RETURN(loaded, LoadIncreases(tx, read, columns.columns, grouping));
    return CheckBounds(loaded.rows, grouping);
  }));
  window.edges = read.plan.edges;
  const auto buckets = static_cast<size_t>(read.plan.buckets());
  std::map<int32_t, SourceRef> sources;
  for (const SourceRef& source : query.sources) sources[source.id] = source;
  std::map<std::tuple<int32_t, int64_t, std::string>, StatementBuckets> found;
  for (const columns::GroupRow& row : loaded.rows.rows) {
    const auto* const name = std::get_if<std::string>(&row.labels[1]);
    const std::string database = name == nullptr ? std::string() : *name;
    StatementBuckets& statement = found[{row.source, NumberOf(row.labels[0]), database}];
    if (statement.buckets.empty()) {
      statement.source = sources[row.source];
      statement.query_id = NumberOf(row.labels[0]);
      statement.database = database;
      statement.buckets.resize(buckets);
    }
    std::optional<StatementFigures>& figures = statement.buckets[static_cast<size_t>(row.bucket)];
    if (!figures) figures.emplace();
    for (size_t i = 0; i < columns.columns.size(); ++i) {
      figures->values[static_cast<size_t>(columns.figures[i])] += row.values[i].value_or(0);
    }
    if ((row.flags & kTooLowFlags) != 0) statement.lower_bound = true;
  }
  for (auto& [key, statement] : found) window.statements.push_back(std::move(statement));
  for (const auto& [scope, covering] : loaded.coverage) {
    std::vector<double>& covered = window.covered_ms[scope.first];
    covered.resize(buckets);
    for (size_t i = 0; i < buckets; ++i) covered[i] += static_cast<double>(covering.covered_us[i]) / 1000;
  }
  return window;
}

absl::StatusOr<std::map<std::pair<int32_t, int64_t>, CutText>> StatementReader::Texts(
    const std::vector<std::pair<int32_t, int64_t>>& statements, int64_t most, const pg::CallLimit& limit) {
  std::map<std::pair<int32_t, int64_t>, CutText> texts;
  if (statements.empty()) return texts;
  PGA_RETURN_IF_ERROR(pool_->Read(limit, [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(texts, LoadStatementTexts(tx, statements, most));
    return absl::OkStatus();
  }));
  return texts;
}

}  // namespace pga::storage
