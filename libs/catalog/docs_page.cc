#include "libs/catalog/docs_page.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace pga::catalog {
namespace v1 = pganalytics::catalog::v1;

namespace {

constexpr int kFirstMajor = 13;
constexpr int kLastMajor = 19;

std::string Cell(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}});
}

std::string Word(std::string_view word) {
  return std::string(word);
}

// Which servers have the metric: "13 and later", "16 and later, standby".
std::string Servers(const v1::Metric& metric) {
  if (metric.scope() == v1::SCOPE_HOST) return "none needed";
  if (metric.queries().empty()) return absl::StrCat(kFirstMajor, " and later");
  int first = 0;
  bool primary = false;
  bool standby = false;
  for (int major = kFirstMajor; major <= kLastMajor; ++major) {
    // The newest extension fits every query that asks for one.
    const bool on_primary = SelectQuery(metric, major * 10'000, false, "9999") != nullptr;
    const bool on_standby = SelectQuery(metric, major * 10'000, true, "9999") != nullptr;
    if (first == 0 && (on_primary || on_standby)) first = major;
    primary |= on_primary;
    standby |= on_standby;
  }
  return absl::StrCat(first, " and later", primary == standby ? "" : primary ? ", primary only" : ", standby only");
}

std::string Interval(const v1::Metric& metric) {
  return metric.interval_factor() == 1 ? "every interval"
                                       : absl::StrCat("every ", metric.interval_factor(), " intervals");
}

std::string Identity(const v1::Metric& metric) {
  std::vector<std::string> names;
  for (const int index : IdentityColumns(metric)) names.push_back(absl::StrCat("`", metric.columns(index).name(), "`"));
  return names.empty() ? "one row" : absl::StrJoin(names, ", ");
}

std::string Days(const v1::Retention& retention) {
  const auto days = [](int own, int fallback) { return own > 0 ? own : fallback; };
  return absl::StrCat("readings and hours ", days(retention.raw_days(), 30), " days, daily figures ",
                      days(retention.daily_days(), 400), " days");
}

// Names in Prometheus of one column of the metric, or of its rows (PrometheusSeries::kPresence).
std::string NamesOf(const PrometheusNames& prometheus, const v1::Metric& metric, int column) {
  std::vector<std::string> names;
  for (const PrometheusMetric& entry : prometheus.metrics()) {
    if (entry.metric->name() != metric.name()) continue;
    for (const PrometheusSeries& series : entry.series) {
      if (series.column == column) names.push_back(absl::StrCat("`", series.name, "`"));
    }
    if (entry.by_row && entry.by_row->value == column) names.push_back(absl::StrCat("`", entry.by_row->prefix, "*`"));
  }
  return absl::StrJoin(names, ", ");
}

void AppendMetric(const v1::Metric& metric, const PrometheusNames& names, std::string* page) {
  absl::StrAppend(page, "\n## ", metric.name(), "\n\n", metric.description(), "\n\n");
  absl::StrAppend(page, "| | |\n|---|---|\n");
  const auto fact = [page](absl::string_view name, const std::string& value) {
    absl::StrAppend(page, "| ", name, " | ", Cell(value), " |\n");
  };
  fact("SQL", absl::StrCat("`readable.", metric.name(), "(since, until)`"));
  fact("Read",
       absl::StrCat(metric.scope() == v1::SCOPE_DATABASE   ? "in every watched database, "
                    : metric.scope() == v1::SCOPE_INSTANCE ? "once per server, "
                                                           : "once per host, ",
                    Interval(metric), metric.probe().empty() ? "" : absl::StrCat(", by the probe ", metric.probe())));
  fact("PostgreSQL", Servers(metric));
  if (!metric.extension().empty()) fact("Extension", absl::StrCat("`", metric.extension(), "`"));
  if (!metric.privilege().empty()) fact("Needs", absl::StrCat("membership in `", metric.privilege(), "`"));
  if (!metric.functions().empty()) {
    fact("Calls", absl::StrCat("`", absl::StrJoin(metric.functions(), "`, `"), "`: the login needs EXECUTE on them"));
  }
  if (metric.optional()) fact("Off", "unless turned on by name: `ENABLED_METRICS`, or `on` under `metrics`");
  fact("A row is known by", Identity(metric));
  if (metric.skip_unchanged()) fact("Unchanged rows", "left out between two full frames");
  fact("Kept", Days(metric.retention()));
  if (const std::string rows = NamesOf(names, metric, PrometheusSeries::kPresence); !rows.empty()) {
    fact("Rows in Prometheus", rows);
  }
  if (!metric.reset_column().empty()) {
    fact("Resets show in", absl::StrCat("`", metric.reset_column(), "`",
                                        metric.partial_resets() ? ", those of a part of what a row counts too" : ""));
  }
  for (const std::string& reset : metric.unseen_resets()) fact("Not seen", reset);
  absl::StrAppend(page, "\n| column | type | kind | unit | Prometheus | |\n|---|---|---|---|---|---|\n");
  for (int i = 0; i < metric.columns_size(); ++i) {
    const v1::Column& column = metric.columns(i);
    const std::string prometheus = NamesOf(names, metric, i);
    absl::StrAppend(page, "| `", column.name(), "` | ", Word(TypeWord(column.type())), " | ",
                    Word(KindWord(column.kind())), " | ", column.unit(), " | ", prometheus, " | ",
                    Cell(column.description()));
    if (column.restricted()) absl::StrAppend(page, " For those who may read texts.");
    if (column.since_schema_version() > 1) {
      absl::StrAppend(page, " Since schema version ", column.since_schema_version(), ".");
    }
    absl::StrAppend(page, " |\n");
  }
}

}  // namespace

std::string MetricsPage(const Catalog& catalog, const PrometheusNames& prometheus) {
  std::string page =
      "# Metrics\n\n"
      "Everything pgAnalytics collects. This page is written by `pga-catalog-docs` from the files in\n"
      "`libs/catalog/metrics`; change those and run `tools/docs.sh`. How to add one: "
      "[adding-a-metric.md](adding-a-metric.md).\n\n"
      "An *interval* is COLLECTION_INTERVAL, 60 s unless set. *Kinds*: a `label` belongs to the row's key; a `gauge` "
      "is a\n"
      "reading (rolled up as min, max, sum, count, last); a `counter` is stored as the exact increase since the "
      "reading\n"
      "before, so that sums over time are true counts; `info` describes. *Units*: `us` and `ms` are micro- and\n"
      "milliseconds, `1` is a plain count. A column that a server's version does not have is NULL. *Prometheus*: the "
      "names\n"
      "under which scrapes and remote read have the column ([prometheus.md](prometheus.md)).\n\n"
      "| metric | read | PostgreSQL | what it shows |\n|---|---|---|---|\n";
  for (const v1::Metric& metric : catalog.metrics()) {
    absl::StrAppend(&page, "| [", metric.name(), "](#", metric.name(), ") | per ", Word(ScopeWord(metric.scope())),
                    ", ", Interval(metric), " | ", Servers(metric), " | ", Cell(metric.description()), " |\n");
  }
  for (const v1::Metric& metric : catalog.metrics()) AppendMetric(metric, prometheus, &page);
  return page;
}

}  // namespace pga::catalog
