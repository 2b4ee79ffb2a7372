#include "libs/storage/read/plan_reader.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "libs/columns/kernels.h"
#include "libs/status/status.h"
#include "libs/storage/read/fetch.h"
#include "libs/storage/read/load.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/reading_order.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using catalog_pb::Metric;
using columns::ColumnId;
using internal::Cat;

constexpr char kMetric[] = "plans";
// Plans of statements that are distinguished, and readings of them.
constexpr size_t kMaxPlans = 100'000;
constexpr size_t kMaxReadings = 2'000'000;

// Source, statement, database.
using Statement = std::tuple<int32_t, int64_t, std::string>;
struct Logged {
  int64_t count = 0;
  int64_t duration_us = 0;
};
// By instant and plan.
using Readings = std::map<std::pair<int64_t, int64_t>, Logged>;

}  // namespace

absl::StatusOr<PlanAnswer> PlanReader::Read(const PlanQuery& query, const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(const Metric* const metric, FindCatalogMetric(*catalog_, kMetric));
  const int kept = RetentionOf(*metric).raw;
  if (query.start < clock_->Now() - absl::Hours(24) * kept) {
    return absl::InvalidArgumentError(Cat("plans are kept for ", kept, " days; begin later"));
  }
  PlanAnswer answer;
  if (query.sources.empty()) return answer;
  std::map<int32_t, const SourceRef*> sources;
  for (const SourceRef& source : query.sources) sources[source.id] = &source;
  const auto id = [metric](const char* name) {
    for (int i = 0; i < metric->columns_size(); ++i) {
      if (metric->columns(i).name() == name) return static_cast<ColumnId>(i + 1);
    }
    return ColumnId{0};
  };
  const ColumnId query_column = id("query_id"), plan_column = id("plan_id"), database_column = id("datname");
  const ColumnId logged_column = id("logged"), duration_column = id("duration_us");
  std::vector<columns::RowFilter> filters;
  if (query.query_id) {
    columns::RowFilter filter;
    filter.column = query_column;
    filter.text = [](std::optional<std::string_view>) { return false; };
    filter.number = [wanted = *query.query_id](std::optional<int64_t> value) { return value && *value == wanted; };
    filters.push_back(std::move(filter));
  }
  if (!query.database.empty()) {
    columns::RowFilter filter;
    filter.column = database_column;
    filter.text = [&query](std::optional<std::string_view> value) { return value && *value == query.database; };
    filter.number = [](std::optional<int64_t>) { return false; };
    filters.push_back(std::move(filter));
  }
  const int64_t start_us = absl::ToUnixMicros(query.start);
  const int64_t end_us = absl::ToUnixMicros(query.end);
  const columns::Cells cells = {{absl::ToUnixMicros(query.start - kHoldsFor), end_us + 1, 0, 0}};
  FetchSpec spec;
  spec.metric = metric;
  spec.source_ids = IdsOf(query.sources);
  spec.cells = &cells;
  spec.raw = {query_column, plan_column, database_column, logged_column, duration_column};
  if (query.query_id) spec.located = std::vector<FetchSpec::Located>{{0, columns::LocateKey(*query.query_id)}};
  std::map<Statement, Readings> statements;
  std::map<std::pair<int32_t, int64_t>, CutText> trees;
  const auto add = [&](Fetched& fetched) -> absl::Status {
    const columns::RowSet& rows = fetched.rows;
    const std::vector<uint8_t> kept_rows = columns::KeepRows(filters, rows);
    const auto number = [&](ColumnId column, size_t row) -> int64_t {
      const CellOfRow cell = CellOf(rows, column, row);
      return cell.known() ? cell.column->ints[cell.row] : 0;
    };
    for (size_t row = 0; row < rows.rows(); ++row) {
      const int64_t instant = rows.frames[rows.row_frame[row]].end_us;
      const int64_t count = number(logged_column, row);
      if (kept_rows[row] == 0 || count <= 0 || instant > end_us) continue;
      const CellOfRow database = CellOf(rows, database_column, row);
      Readings& readings = statements[{fetched.source_id, number(query_column, row),
                                       database.known() ? database.column->Text(database.row) : std::string()}];
      Logged& logged = readings[{instant, number(plan_column, row)}];
      logged.count += count;
      logged.duration_us += number(duration_column, row);
    }
    return absl::OkStatus();
  };
  const absl::Status done = pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored, FindMetric(tx, metric->name()));
    spec.metric_ids = {stored.id};
    size_t readings_found = 0;
    PGA_RETURN_IF_ERROR(FetchRows(tx, spec, [&](Fetched& fetched) -> absl::Status {
      readings_found += fetched.rows.rows();
      if (readings_found > kMaxReadings || statements.size() > kMaxPlans) {
        return absl::InvalidArgumentError(
            "the range has too many plans; name a statement or a source, or shorten the range");
      }
      return add(fetched);
    }));
    for (const auto& [statement, readings] : statements) {
      const auto& [source, query_id, database] = statement;
      std::map<int64_t, StatementPlan> plans;
      // Plans in the order of their first reading, with the last reading so far.
      std::map<int64_t, int64_t> seen;
      int64_t last_plan = 0;
      int64_t last_us = 0;
      for (const auto& [at, logged] : readings) {
        const auto& [instant, plan_id] = at;
        if (instant > start_us) {
          StatementPlan& plan = plans[plan_id];
          const bool fresh = plan.logged == 0;
          plan.logged += logged.count;
          plan.duration_us += logged.duration_us;
          plan.last = absl::FromUnixMicros(instant);
          if (fresh) {
            plan.source = *sources.at(source);
            plan.query_id = query_id;
            plan.plan_id = plan_id;
            plan.database = database;
            plan.first = plan.last;
          }
          if (!seen.contains(plan_id) && !seen.empty()) {
            answer.changes.push_back({*sources.at(source), query_id, database, last_plan, plan_id,
                                      absl::FromUnixMicros(last_us), absl::FromUnixMicros(instant)});
          }
        }
        seen[plan_id] = instant;
        last_plan = plan_id;
        last_us = instant;
      }
      for (auto& [plan_id, plan] : plans) answer.plans.push_back(std::move(plan));
    }
    answer.plans_found = static_cast<int64_t>(answer.plans.size());
    answer.changes_found = static_cast<int64_t>(answer.changes.size());
    std::stable_sort(answer.plans.begin(), answer.plans.end(),
                     [](const StatementPlan& a, const StatementPlan& b) { return a.duration_us > b.duration_us; });
    std::stable_sort(answer.changes.begin(), answer.changes.end(),
                     [](const PlanChange& a, const PlanChange& b) { return a.seen_after > b.seen_after; });
    const auto most = static_cast<size_t>(query.limit);
    if (answer.plans.size() > most) answer.plans.resize(most);
    if (answer.changes.size() > most) answer.changes.resize(most);
    if (!query.with_texts) return absl::OkStatus();
    std::vector<std::pair<int32_t, int64_t>> wanted;
    for (const StatementPlan& plan : answer.plans) wanted.emplace_back(plan.source.id, plan.plan_id);
    PGA_ASSIGN_OR_RETURN(trees, LoadStatementTexts(tx, wanted, query.text_length));
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  for (StatementPlan& plan : answer.plans) {
    if (const auto tree = trees.find({plan.source.id, plan.plan_id}); tree != trees.end()) plan.tree = tree->second;
  }
  return answer;
}

}  // namespace pga::storage
