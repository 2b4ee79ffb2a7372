#include "libs/storage/statement_reader.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_join.h"
#include "libs/status/status.h"
#include "libs/storage/reader_load.h"
#include "libs/storage/reader_sql.h"
#include "libs/storage/reader_text.h"

namespace pga::storage {
namespace {

using catalog_pb::Column;
using catalog_pb::Metric;
using internal::Cat;

constexpr char kMetric[] = "statements";
constexpr int kLowerBoundFlags = 1 | 2;

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
struct Columns {
  std::vector<const Column*> columns;
  std::vector<Figure> figures;
};

Columns ColumnsOf(const Metric& metric) {
  Columns found;
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

std::optional<int64_t> ParseNumber(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  int64_t number = 0;
  const auto [rest, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc() || rest != text->data() + text->size()) return std::nullopt;
  return number;
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

StatementReader::StatementReader(pg::Pool* pool, std::shared_ptr<const catalog::Catalog> catalog, clock::Clock* clock)
    : pool_(pool), catalog_(std::move(catalog)), clock_(clock) {}

absl::StatusOr<TopStatements> StatementReader::Top(const TopStatementsQuery& query, absl::Time deadline) {
  PGA_ASSIGN_OR_RETURN(const Metric* metric, StatementsMetric(*catalog_));
  const absl::Time now = clock_->Now();
  MetricRead read;
  read.metric = metric;
  read.source_ids = IdsOf(query.sources);
  PGA_ASSIGN_OR_RETURN(read.plan, PlanWholeRange(query.start, query.end, RetentionOf(*metric), now));
  if (!query.database.empty()) {
    read.filters.push_back({FindDimension(*metric, "datname"), LabelFilter::Op::kEquals, query.database});
  }
  TopStatements top{read.plan.start(), read.plan.end(), {}};
  if (query.sources.empty()) return top;

  const Columns columns = ColumnsOf(*metric);
  Grouping grouping;
  grouping.labels = {FindDimension(*metric, "queryid"), FindDimension(*metric, "dbid"),
                     FindDimension(*metric, "userid")};
  grouping.infos = {FindDimension(*metric, "datname"), FindDimension(*metric, "username")};
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
  const absl::Status done = pool_->InTransaction(
      deadline,
      [&](pg::Transaction& tx) -> absl::Status {
        PGA_RETURN_IF_ERROR(PrepareRead(tx));
        PGA_ASSIGN_OR_RETURN(read.metric_id, FindMetricId(tx, metric->name()));
        PGA_ASSIGN_OR_RETURN(const std::optional<RawSpan> raw, FindRawSpan(tx, read));
        const Statement statement = TopSql(read, columns.columns, grouping, raw, order, query.limit);
        PGA_ASSIGN_OR_RETURN(pg::Result rows, tx.Exec(statement.sql, statement.params));
        constexpr size_t kFirstValue = 4;
        std::vector<int64_t> ids;
        std::vector<int32_t> text_sources;
        std::vector<int64_t> text_queries;
        for (const pg::Row& row : rows) {
          TopStatement entry;
          entry.source = sources[row.Int32(0)];
          entry.lower_bound = (row.Int32(3) & kLowerBoundFlags) != 0;
          for (size_t i = 0; i < columns.columns.size(); ++i) {
            entry.figures.values[static_cast<size_t>(columns.figures[i])] += row.Double(kFirstValue + i);
          }
          const size_t label = kFirstValue + columns.columns.size();
          entry.query_id = ParseNumber(row.OptText(label)).value_or(0);
          const size_t info = label + grouping.labels.size();
          for (size_t i : {info, info + 1}) {
            if (const auto id = ParseNumber(row.OptText(i))) ids.push_back(*id);
          }
          // Kept as ids until the texts are here.
          entry.database = row.OptText(info).value_or("");
          entry.user = row.OptText(info + 1).value_or("");
          text_sources.push_back(entry.source.id);
          text_queries.push_back(entry.query_id);
          top.statements.push_back(std::move(entry));
        }
        PGA_ASSIGN_OR_RETURN(const auto texts, LoadTexts(tx, read.source_ids, ids));
        const auto text_of = [&](const std::string& id) {
          const auto found = texts.find(ParseNumber(id).value_or(0));
          return found == texts.end() ? std::string() : found->second;
        };
        for (TopStatement& entry : top.statements) {
          entry.database = text_of(entry.database);
          entry.user = text_of(entry.user);
        }
        if (!query.with_texts || top.statements.empty()) return absl::OkStatus();
        PGA_ASSIGN_OR_RETURN(
            pg::Result statement_texts,
            tx.Exec(
                "SELECT DISTINCT ON (t.source_id, t.query_id) t.source_id, t.query_id, t.text FROM metrics.query_text "
                "t "
                "WHERE (t.source_id, t.query_id) IN (SELECT s, q FROM unnest($1::int4[], $2::int8[]) AS k(s, q)) ORDER "
                "BY t.source_id, t.query_id, t.last_seen DESC",
                {ArrayOf(text_sources), ArrayOf(text_queries)}));
        std::map<std::pair<int32_t, int64_t>, std::string> by_query;
        for (const pg::Row& row : statement_texts) by_query[{row.Int32(0), row.Int64(1)}] = std::string(row.Text(2));
        for (TopStatement& entry : top.statements) entry.text = by_query[{entry.source.id, entry.query_id}];
        return absl::OkStatus();
      },
      pg::Isolation::kSnapshot);
  PGA_RETURN_IF_ERROR(done);
  return top;
}

absl::StatusOr<StatementTimeline> StatementReader::Timeline(int64_t query_id, const std::vector<SourceRef>& sources,
                                                            const RangeRequest& range, bool with_text,
                                                            absl::Time deadline) {
  PGA_ASSIGN_OR_RETURN(const Metric* metric, StatementsMetric(*catalog_));
  const absl::Time now = clock_->Now();
  MetricRead read;
  read.metric = metric;
  read.source_ids = IdsOf(sources);
  PGA_ASSIGN_OR_RETURN(read.plan, PlanBuckets(range, RetentionOf(*metric), now));
  read.filters.push_back({FindDimension(*metric, "queryid"), LabelFilter::Op::kEquals, std::to_string(query_id)});
  const Columns columns = ColumnsOf(*metric);
  Grouping grouping;
  grouping.by_source = false;

  StatementTimeline timeline;
  GroupRows rows;
  Coverage coverage;
  bool text_known = false;
  const absl::Status done = pool_->InTransaction(
      deadline,
      [&](pg::Transaction& tx) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(
            pg::Result texts,
            tx.Exec(
                "SELECT text FROM metrics.query_text WHERE source_id = ANY($1::int4[]) AND query_id = $2::int8 ORDER "
                "BY last_seen DESC LIMIT 1",
                {ArrayOf(read.source_ids), query_id}));
        text_known = !texts.empty();
        if (with_text && text_known) timeline.text = std::string(texts[0].Text(0));
        PGA_RETURN_IF_ERROR(PrepareRead(tx));
        PGA_ASSIGN_OR_RETURN(read.metric_id, FindMetricId(tx, metric->name()));
        PGA_ASSIGN_OR_RETURN(const std::optional<RawSpan> raw, FindRawSpan(tx, read));
        PGA_ASSIGN_OR_RETURN(coverage, LoadCoverage(tx, read, now));
        PGA_ASSIGN_OR_RETURN(
            rows, LoadGroupRows(tx, CounterSql(read, columns.columns, grouping, raw), columns.columns.size(), 0));
        return CheckBounds(rows, grouping);
      },
      pg::Isolation::kSnapshot);
  PGA_RETURN_IF_ERROR(done);
  if (rows.rows.empty() && !text_known) {
    return absl::NotFoundError(Cat("no statement with query id ", query_id,
                                   " is known in the range; list some with /api/v1/queries/top, or widen the range"));
  }

  std::set<ScopeKey> scopes;
  timeline.points.resize(static_cast<size_t>(read.plan.buckets()));
  for (const GroupRow& row : rows.rows) {
    if (row.bucket < 0 || row.bucket >= read.plan.buckets()) continue;
    scopes.insert(row.scope);
    StatementPoint& point = timeline.points[static_cast<size_t>(row.bucket)];
    if (!point.figures) point.figures.emplace();
    for (size_t i = 0; i < columns.columns.size(); ++i) {
      point.figures->values[static_cast<size_t>(columns.figures[i])] += row.values[i].value_or(0);
    }
    if ((row.flags & kLowerBoundFlags) != 0) point.lower_bound = true;
  }
  for (size_t bucket = 0; bucket < timeline.points.size(); ++bucket) {
    StatementPoint& point = timeline.points[bucket];
    point.time = read.plan.edges[bucket];
    double covered = 0;
    for (const ScopeKey& scope : scopes) {
      const auto covering = coverage.covered_ms.find(scope);
      if (covering != coverage.covered_ms.end()) covered += static_cast<double>(covering->second[bucket]);
    }
    point.covered_ms = scopes.empty() ? 0 : covered / static_cast<double>(scopes.size());
    // Covered and without a row: the statement did not run.
    if (covered > 0 && !point.figures) point.figures.emplace();
  }
  return timeline;
}

}  // namespace pga::storage
