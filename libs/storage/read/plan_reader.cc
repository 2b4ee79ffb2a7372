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

constexpr char kLogged[] = "plans";
constexpr char kExplained[] = "explained_plans";
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
using Statements = std::map<Statement, Readings>;

ColumnId IdOf(const Metric& metric, std::string_view name) {
  for (int i = 0; i < metric.columns_size(); ++i) {
    if (metric.columns(i).name() == name) return static_cast<ColumnId>(i + 1);
  }
  return ColumnId{0};
}

std::vector<columns::RowFilter> FiltersOf(const Metric& metric, const PlanQuery& query) {
  std::vector<columns::RowFilter> filters;
  if (query.query_id) {
    columns::RowFilter filter;
    filter.column = IdOf(metric, "query_id");
    filter.text = [](std::optional<std::string_view>) { return false; };
    filter.number = [wanted = *query.query_id](std::optional<int64_t> value) { return value && *value == wanted; };
    filters.push_back(std::move(filter));
  }
  if (!query.database.empty()) {
    columns::RowFilter filter;
    filter.column = IdOf(metric, "datname");
    filter.text = [&query](std::optional<std::string_view> value) { return value && *value == query.database; };
    filter.number = [](std::optional<int64_t>) { return false; };
    filters.push_back(std::move(filter));
  }
  return filters;
}

// Readings of the metric in (start - kHoldsFor, end], `counted` being its counter of plans.
absl::StatusOr<Statements> LoadReadings(pg::ReadTransaction& tx, const Metric& metric, const PlanQuery& query,
                                        std::string_view counted) {
  const ColumnId query_column = IdOf(metric, "query_id"), plan_column = IdOf(metric, "plan_id");
  const ColumnId database_column = IdOf(metric, "datname"), counted_column = IdOf(metric, counted);
  const ColumnId duration_column = IdOf(metric, "duration_us");
  const std::vector<columns::RowFilter> filters = FiltersOf(metric, query);
  const int64_t end_us = absl::ToUnixMicros(query.end);
  const columns::Cells cells = {{absl::ToUnixMicros(query.start - kHoldsFor), end_us + 1, 0, 0}};
  FetchSpec spec;
  spec.metric = &metric;
  spec.source_ids = IdsOf(query.sources);
  spec.cells = &cells;
  spec.raw = {query_column, plan_column, database_column, counted_column};
  if (duration_column != ColumnId{0}) spec.raw.push_back(duration_column);
  if (query.query_id) spec.located = std::vector<FetchSpec::Located>{{0, columns::LocateKey(*query.query_id)}};
  PGA_ASSIGN_OR_RETURN(const StoredMetric stored, FindMetric(tx, metric.name()));
  spec.metric_ids = {stored.id};
  Statements statements;
  size_t readings_found = 0;
  PGA_RETURN_IF_ERROR(FetchRows(tx, spec, [&](Fetched& fetched) -> absl::Status {
    readings_found += fetched.rows.rows();
    if (readings_found > kMaxReadings || statements.size() > kMaxPlans) {
      return absl::InvalidArgumentError(
          "the range has too many plans; name a statement or a source, or shorten the range");
    }
    const columns::RowSet& rows = fetched.rows;
    const std::vector<uint8_t> kept_rows = columns::KeepRows(filters, rows);
    const auto number = [&](ColumnId column, size_t row) -> int64_t {
      if (column == ColumnId{0}) return 0;
      const CellOfRow cell = CellOf(rows, column, row);
      return cell.known() ? cell.column->ints[cell.row] : 0;
    };
    for (size_t row = 0; row < rows.rows(); ++row) {
      const int64_t instant = rows.frames[rows.row_frame[row]].end_us;
      const int64_t count = number(counted_column, row);
      if (kept_rows[row] == 0 || count <= 0 || instant > end_us) continue;
      const CellOfRow database = CellOf(rows, database_column, row);
      Readings& readings = statements[{fetched.source_id, number(query_column, row),
                                       database.known() ? database.column->Text(database.row) : std::string()}];
      Logged& logged = readings[{instant, number(plan_column, row)}];
      logged.count += count;
      logged.duration_us += number(duration_column, row);
    }
    return absl::OkStatus();
  }));
  return statements;
}

}  // namespace

absl::StatusOr<PlanAnswer> PlanReader::Read(const PlanQuery& query, const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(const Metric* const logged_metric, FindCatalogMetric(*catalog_, kLogged));
  PGA_ASSIGN_OR_RETURN(const Metric* const explained_metric, FindCatalogMetric(*catalog_, kExplained));
  const int kept = std::min(RetentionOf(*logged_metric).raw, RetentionOf(*explained_metric).raw);
  if (query.start < clock_->Now() - absl::Hours(24) * kept) {
    return absl::InvalidArgumentError(Cat("plans are kept for ", kept, " days; begin later"));
  }
  PlanAnswer answer;
  if (query.sources.empty()) return answer;
  std::map<int32_t, const SourceRef*> sources;
  for (const SourceRef& source : query.sources) sources[source.id] = &source;
  const int64_t start_us = absl::ToUnixMicros(query.start);
  std::map<std::pair<Statement, int64_t>, StatementPlan> plans;
  // Statement, plan before and after.
  std::map<std::tuple<Statement, int64_t, int64_t>, PlanChange> changes;
  const auto add = [&](const Statements& statements, bool explained) {
    for (const auto& [statement, readings] : statements) {
      const auto& [source, query_id, database] = statement;
      // Plans in the order of their first reading, with the last reading so far.
      std::map<int64_t, int64_t> seen;
      int64_t last_plan = 0;
      int64_t last_us = 0;
      for (const auto& [at, logged] : readings) {
        const auto& [instant, plan_id] = at;
        if (instant > start_us) {
          const absl::Time time = absl::FromUnixMicros(instant);
          const auto [known, fresh] = plans.try_emplace({statement, plan_id});
          StatementPlan& plan = known->second;
          if (fresh) {
            plan.source = *sources.at(source);
            plan.query_id = query_id;
            plan.plan_id = plan_id;
            plan.database = database;
          }
          (explained ? plan.explained : plan.logged) += logged.count;
          plan.duration_us += logged.duration_us;
          plan.first = fresh ? time : std::min(plan.first, time);
          plan.last = fresh ? time : std::max(plan.last, time);
          if (!seen.contains(plan_id) && !seen.empty()) {
            const PlanChange change = {*sources.at(source),           query_id, database, last_plan, plan_id,
                                       absl::FromUnixMicros(last_us), time};
            // Where both say so, the first that did.
            PlanChange& known_change = changes.try_emplace({statement, last_plan, plan_id}, change).first->second;
            if (change.seen_after < known_change.seen_after) known_change = change;
          }
        }
        seen[plan_id] = instant;
        last_plan = plan_id;
        last_us = instant;
      }
    }
  };
  std::map<std::pair<int32_t, int64_t>, CutText> trees;
  const absl::Status done = pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const Statements logged, LoadReadings(tx, *logged_metric, query, "logged"));
    add(logged, /*explained=*/false);
    PGA_ASSIGN_OR_RETURN(const Statements explained, LoadReadings(tx, *explained_metric, query, "explained"));
    add(explained, /*explained=*/true);
    for (auto& [key, plan] : plans) answer.plans.push_back(std::move(plan));
    for (auto& [key, change] : changes) answer.changes.push_back(std::move(change));
    answer.plans_found = static_cast<int64_t>(answer.plans.size());
    answer.changes_found = static_cast<int64_t>(answer.changes.size());
    std::stable_sort(answer.plans.begin(), answer.plans.end(), [](const StatementPlan& a, const StatementPlan& b) {
      return a.duration_us != b.duration_us ? a.duration_us > b.duration_us : a.last > b.last;
    });
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
