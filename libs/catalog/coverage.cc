#include "libs/catalog/coverage.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <exception>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "libs/catalog/metric.h"
#include "libs/status/status.h"

namespace pga::catalog {
namespace v1 = pganalytics::catalog::v1;

namespace {

using Kind = CoveredView::Kind;

absl::Status Bad(const std::string& file, const YAML::Node& node, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ":", node.Mark().line + 1, ": ", what));
}

// "metric.column", or a column of the view's metric.
CoveredColumn PlaceOf(const std::string& text, const std::string& metric) {
  const size_t dot = text.find('.');
  if (dot == std::string::npos) return {metric, text, ""};
  return {text.substr(0, dot), text.substr(dot + 1), ""};
}

absl::Status ParseColumns(const YAML::Node& node, const std::string& file, CoveredView* view) {
  if (!node.IsMap()) return Bad(file, node, "columns must be a mapping from the view's columns to those of metrics");
  for (const auto& entry : node) {
    CoveredColumn& column = view->columns[entry.first.Scalar()];
    if (entry.second.IsScalar()) {
      column = PlaceOf(entry.second.Scalar(), view->metric);
      continue;
    }
    if (!entry.second.IsMap() || !entry.second["to"]) {
      return Bad(file, entry.second, "want METRIC.COLUMN, or a mapping with the keys to and value");
    }
    column = PlaceOf(entry.second["to"].Scalar(), view->metric);
    if (entry.second["value"]) column.value = entry.second["value"].Scalar();
  }
  return absl::OkStatus();
}

absl::Status ParseView(const YAML::Node& node, const std::string& file, CoveredView* view) {
  if (node.IsScalar()) {
    view->reason = node.Scalar();
    return absl::OkStatus();
  }
  if (!node.IsMap())
    return Bad(file, node, "want a reason, or a mapping with the keys metric, match, columns, left_out");
  // The metric first: columns may leave it out.
  if (node["metric"]) view->metric = node["metric"].Scalar();
  for (const auto& entry : node) {
    const std::string& key = entry.first.Scalar();
    const YAML::Node& value = entry.second;
    if (key == "metric") continue;
    if (key == "rows" || key == "not_compared" || key == "reason") {
      (key == "rows" ? view->rows : key == "reason" ? view->reason : view->not_compared) = value.Scalar();
    } else if (key == "match") {
      if (!value.IsSequence()) return Bad(file, value, "match must be a list of the metric's columns");
      for (const YAML::Node& item : value) view->match.push_back(item.Scalar());
    } else if (key == "columns") {
      PGA_RETURN_IF_ERROR(ParseColumns(value, file, view));
    } else if (key == "left_out") {
      if (!value.IsMap()) return Bad(file, value, "left_out must be a mapping from columns to reasons");
      for (const auto& out : value) {
        if (out.second.Scalar().empty()) return Bad(file, out.first, "write a reason");
        view->left_out[out.first.Scalar()] = out.second.Scalar();
      }
    } else {
      return Bad(file, entry.first,
                 absl::StrCat("unknown key \"", key,
                              "\"; known are metric, match, rows, not_compared, reason, columns, left_out"));
    }
  }
  return absl::OkStatus();
}

struct ViewColumn {
  std::string view;
  std::string name;
  std::string type;
};

absl::StatusOr<std::vector<ViewColumn>> ViewsOf(const Coverage& coverage, const RowsFunction& rows) {
  std::vector<std::string> others;
  for (const auto& [name, view] : coverage) {
    if (view.kind == Kind::kOther) others.push_back(absl::StrCat("'", name, "'"));
  }
  // Where each version has its statistics; views of extensions are recognised by their names.
  PGA_ASSIGN_OR_RETURN(
      const auto found,
      rows(absl::StrCat("SELECT c.relname::text, a.attname::text, pg_catalog.format_type(a.atttypid, NULL) FROM "
                        "pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
                        "AND NOT a.attisdropped WHERE c.relkind = 'v' AND (c.relnamespace = "
                        "'pg_catalog'::regnamespace AND (c.relname ~ '^pg_stat(io)?_' OR c.relname IN (",
                        others.empty() ? "''" : absl::StrJoin(others, ", "),
                        ")) OR c.relname ~ '^pg_stat_statements') ORDER BY c.relname, a.attnum")));
  std::vector<ViewColumn> columns;
  for (const auto& row : found) columns.push_back({row[0], row[1], row[2]});
  return columns;
}

const v1::Query* QueryFor(const v1::Metric& metric, const ServerFacts& server) {
  const v1::Query* query = SelectQuery(metric, server.version_num, server.in_recovery, server.extension_version);
  // Views that only a standby fills are there on a primary as well.
  if (query == nullptr) {
    query = SelectQuery(metric, server.version_num, !server.in_recovery, server.extension_version);
  }
  return query;
}

// Columns that metrics give on one server: those of the statement, or of the shape for probes without one.
class Shapes {
 public:
  Shapes(const Catalog& catalog, const ServerFacts& server, const DescribeFunction& describe)
      : catalog_(catalog), server_(server), describe_(describe) {}

  // Empty if the metric is not for this server.
  absl::StatusOr<const std::set<std::string>*> Of(const std::string& name) {
    if (const auto found = shapes_.find(name); found != shapes_.end()) return &found->second;
    const v1::Metric* metric = catalog_.Find(name);
    if (metric == nullptr) return absl::FailedPreconditionError(absl::StrCat("there is no metric ", name));
    std::set<std::string>& shape = shapes_[name];
    if (metric->queries().empty()) {
      for (const v1::Column& column : metric->columns()) shape.insert(column.name());
      return &shape;
    }
    const v1::Query* query = QueryFor(*metric, server_);
    if (query == nullptr) return &shape;
    const auto columns =
        describe_(absl::StrCat("SELECT * FROM (", RenderSql(*query, server_.extension_schema), ") q LIMIT 0"));
    if (!columns.ok()) return status::Annotate(columns.status(), absl::StrCat("metric ", name));
    for (const ResultColumn& column : *columns) shape.insert(column.name);
    return &shape;
  }

 private:
  const Catalog& catalog_;
  const ServerFacts& server_;
  const DescribeFunction& describe_;
  std::map<std::string, std::set<std::string>> shapes_;
};

// Names under which a column of a view is looked for in its metric.
std::vector<std::string> UsualNames(const ViewColumn& column) {
  if (column.type == "boolean") return {column.name, absl::StrCat("is_", column.name)};
  if (column.type == "double precision" || column.type == "interval") return {absl::StrCat(column.name, "_us")};
  if (column.type == "bigint") return {column.name, absl::StrCat(column.name, "_bytes")};
  return {column.name};
}

// What the metric's column holds of the view's column `v.name`.
std::string UsualValue(const ViewColumn& column) {
  const std::string value = absl::StrCat("v.", column.name);
  if (column.type == "double precision") return absl::StrCat("round(", value, " * 1000)::int8");
  if (column.type == "interval") return absl::StrCat("round(extract(epoch FROM ", value, ") * 1000000)::int8");
  if (column.type == "pg_lsn") return absl::StrCat("(", value, " - '0/0'::pg_lsn)::int8");
  if (column.type == "inet") return absl::StrCat("host(", value, ")");
  if (column.type == "name") return absl::StrCat(value, "::text");
  if (column.type == "integer" || column.type == "smallint" || column.type == "oid" || column.type == "numeric") {
    return absl::StrCat(value, "::int8");
  }
  return value;
}

std::string Text(const std::string& value) {
  return absl::StrCat("'", absl::StrReplaceAll(value, {{"'", "''"}}), "'");
}

std::string Percent(int part, int whole) {
  return whole == 0 ? "0.0" : absl::StrFormat("%.1f", 100.0 * part / whole);
}

}  // namespace

absl::StatusOr<Coverage> ParseCoverage(std::string_view yaml, const std::string& file_name) {
  Coverage coverage;
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    if (!root.IsMap()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file_name, ":1: want a mapping with the keys statistics, other, duplicates"));
    }
    for (const auto& part : root) {
      const std::string& key = part.first.Scalar();
      if (key != "statistics" && key != "other" && key != "duplicates") {
        return Bad(file_name, part.first,
                   absl::StrCat("unknown key \"", key, "\"; known are statistics, other, duplicates"));
      }
      if (!part.second.IsMap()) return Bad(file_name, part.second, "want a mapping from views to what is made of them");
      for (const auto& entry : part.second) {
        const std::string& name = entry.first.Scalar();
        if (coverage.contains(name)) return Bad(file_name, entry.first, absl::StrCat(name, " is there twice"));
        CoveredView& view = coverage[name];
        view.kind = key == "statistics" ? Kind::kStatistics : key == "other" ? Kind::kOther : Kind::kDuplicate;
        PGA_RETURN_IF_ERROR(ParseView(entry.second, file_name, &view));
      }
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(file_name, ":", error.mark.line + 1, ": ", error.msg));
  }
  return coverage;
}

absl::StatusOr<std::vector<ColumnCoverage>> CoverageOnServer(const Coverage& coverage, const Catalog& catalog,
                                                             const ServerFacts& server, const RowsFunction& rows,
                                                             const DescribeFunction& describe) {
  PGA_ASSIGN_OR_RETURN(const std::vector<ViewColumn> columns, ViewsOf(coverage, rows));
  Shapes shapes(catalog, server, describe);
  std::vector<ColumnCoverage> answer;
  for (const ViewColumn& column : columns) {
    ColumnCoverage& one = answer.emplace_back();
    one.view = column.view;
    one.column = column.name;
    const auto found = coverage.find(column.view);
    if (found == coverage.end()) continue;
    const CoveredView& view = found->second;
    one.kind = view.kind;
    one.left_out = view.reason;
    if (const auto reason = view.left_out.find(column.name); reason != view.left_out.end()) {
      one.left_out = reason->second;
      continue;
    }
    if (const auto place = view.columns.find(column.name); place != view.columns.end()) {
      const v1::Metric* metric = catalog.Find(place->second.metric);
      const auto names = [&](const v1::Column& known) { return known.name() == place->second.column; };
      if (metric == nullptr || std::none_of(metric->columns().begin(), metric->columns().end(), names)) {
        return absl::FailedPreconditionError(absl::StrCat(column.view, ".", column.name, ": there is no ",
                                                          place->second.metric, ".", place->second.column));
      }
      PGA_ASSIGN_OR_RETURN(const std::set<std::string>* shape, shapes.Of(place->second.metric));
      if (!shape->contains(place->second.column)) continue;
      one.metric = place->second.metric;
      one.metric_column = place->second.column;
      continue;
    }
    if (view.metric.empty()) continue;
    PGA_ASSIGN_OR_RETURN(const std::set<std::string>* shape, shapes.Of(view.metric));
    for (const std::string& name : UsualNames(column)) {
      if (!shape->contains(name)) continue;
      one.metric = view.metric;
      one.metric_column = name;
      break;
    }
  }
  return answer;
}

absl::StatusOr<std::string> CompareSql(const Coverage& coverage, const Catalog& catalog, const ServerFacts& server,
                                       const std::string& view_name, const std::vector<ColumnCoverage>& covered,
                                       const RowsFunction& rows) {
  const auto found = coverage.find(view_name);
  if (found == coverage.end() || !found->second.not_compared.empty() || found->second.metric.empty()) return "";
  const CoveredView& view = found->second;
  const v1::Metric* metric = catalog.Find(view.metric);
  if (metric == nullptr) return absl::FailedPreconditionError(absl::StrCat("there is no metric ", view.metric));
  const v1::Query* query = SelectQuery(*metric, server.version_num, server.in_recovery, server.extension_version);
  if (query == nullptr) return "";
  PGA_ASSIGN_OR_RETURN(const std::vector<ViewColumn> columns, ViewsOf(coverage, rows));
  std::vector<std::string> values;
  std::vector<std::string> sides;
  std::vector<std::string> reports;
  std::set<std::string> known;
  for (const ColumnCoverage& one : covered) {
    if (one.view != view_name || one.metric != view.metric || known.contains(one.metric_column)) continue;
    const auto column = std::find_if(columns.begin(), columns.end(), [&](const ViewColumn& candidate) {
      return candidate.view == view_name && candidate.name == one.column;
    });
    const auto place = view.columns.find(one.column);
    const std::string value =
        place == view.columns.end() || place->second.value.empty() ? UsualValue(*column) : place->second.value;
    known.insert(one.metric_column);
    values.push_back(absl::StrCat(value, " AS ", one.metric_column));
    sides.push_back(absl::StrCat("s.", one.metric_column, " AS v_", one.metric_column, ", m.", one.metric_column,
                                 " AS m_", one.metric_column));
    const std::string differs =
        absl::StrCat("pga_row IS NULL OR m_", one.metric_column, " IS DISTINCT FROM v_", one.metric_column);
    const std::string example =
        absl::StrCat("concat('view ', coalesce(v_", one.metric_column, "::text, 'NULL'), ', metric ', coalesce(m_",
                     one.metric_column, "::text, 'NULL'))");
    reports.push_back(absl::StrCat("SELECT ", Text(view_name), ", ", Text(one.column),
                                   ", count(*)::text, count(*) FILTER (WHERE ", differs, ")::text, coalesce(min(",
                                   example, ") FILTER (WHERE ", differs, "), '') FROM both_sides"));
  }
  std::vector<std::string> joins;
  for (const std::string& name : view.match) {
    // Versions without the column have nothing else that distinguishes the rows.
    if (!known.contains(name)) continue;
    joins.push_back(absl::StrCat("m.", name, " IS NOT DISTINCT FROM s.", name));
  }
  if (reports.empty()) return "";
  if (joins.empty() && !view.match.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(view_name, ": no column of the view gives one of match"));
  }
  const std::string from = absl::StartsWith(view_name, "pg_stat_statements")
                               ? absl::StrCat("\"", server.extension_schema, "\".", view_name)
                               : absl::StrCat("pg_catalog.", view_name);
  return absl::StrCat(
      "WITH metric_side AS MATERIALIZED (SELECT *, true AS pga_row FROM (", RenderSql(*query, server.extension_schema),
      ") q), view_side AS MATERIALIZED (SELECT ", absl::StrJoin(values, ", "), " FROM ", from, " v",
      view.rows.empty() ? "" : absl::StrCat(" WHERE ", view.rows), "), both_sides AS MATERIALIZED (SELECT m.pga_row, ",
      absl::StrJoin(sides, ", "), " FROM view_side s LEFT JOIN metric_side m ON ",
      joins.empty() ? "true" : absl::StrJoin(joins, " AND "), ") ", absl::StrJoin(reports, " UNION ALL "));
}

std::string CoveragePage(const std::map<int, std::vector<ColumnCoverage>>& by_major) {
  struct Line {
    Kind kind = Kind::kStatistics;
    std::map<int, std::string> cells;
    std::set<std::string> where;
  };
  struct Sum {
    std::set<std::string> views;
    std::set<std::string> covered_views;
    int columns = 0;
    int covered = 0;
  };
  std::map<std::pair<std::string, std::string>, Line> lines;
  std::vector<std::pair<std::string, std::string>> order;
  std::map<std::pair<int, Kind>, Sum> sums;
  // The newest version's order of columns first.
  for (auto version = by_major.rbegin(); version != by_major.rend(); ++version) {
    for (const ColumnCoverage& one : version->second) {
      const auto [line, is_first] = lines.try_emplace({one.view, one.column});
      if (is_first) order.push_back(line->first);
      line->second.kind = one.kind;
      const bool covered = !one.metric.empty();
      line->second.cells[version->first] = covered ? "yes" : one.left_out.empty() ? "OPEN" : "no";
      line->second.where.insert(covered ? absl::StrCat("`", one.metric, ".", one.metric_column, "`") : one.left_out);
      Sum& sum = sums[{version->first, one.kind}];
      sum.views.insert(one.view);
      ++sum.columns;
      sum.covered += covered ? 1 : 0;
      if (covered) sum.covered_views.insert(one.view);
    }
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string page =
      "# Coverage\n\n"
      "Which columns of PostgreSQL's statistics views are collected, and why others are not. This page is written by\n"
      "`pga-catalog-coverage` from the catalogs of real servers and from the decisions in "
      "`libs/catalog/coverage.yaml`; a\n"
      "test holds it against servers of all versions, and the values against those of the views.\n\n"
      "*yes*: stored; *no*: left out for the reason given; empty: this version does not have it.\n\n"
      "| PostgreSQL | statistics views | their columns | | other views | their columns |\n|---|---|---|---|---|---|\n";
  for (const auto& [major, unused] : by_major) {
    const Sum& own = sums[{major, Kind::kStatistics}];
    const Sum& other = sums[{major, Kind::kOther}];
    absl::StrAppend(&page, "| ", major, " | ", own.covered_views.size(), " of ", own.views.size(), " | ", own.covered,
                    " of ", own.columns, " | ", Percent(own.covered, own.columns), " % | ", other.covered_views.size(),
                    " of ", other.views.size(), " | ", other.covered, " of ", other.columns, " |\n");
  }
  for (const Kind kind : {Kind::kStatistics, Kind::kOther, Kind::kDuplicate}) {
    absl::StrAppend(&page, "\n## ",
                    kind == Kind::kStatistics ? "Statistics views"
                    : kind == Kind::kOther    ? "Other views"
                                              : "Views that show rows of others",
                    "\n\n");
    if (kind == Kind::kDuplicate) {
      absl::StrAppend(&page, "| view | |\n|---|---|\n");
      std::string last;
      for (const auto& key : order) {
        const Line& line = lines[key];
        if (line.kind != kind || key.first == last) continue;
        last = key.first;
        absl::StrAppend(&page, "| ", key.first, " | ", absl::StrJoin(line.where, ", "), " |\n");
      }
      continue;
    }
    absl::StrAppend(&page, "| view | column |");
    for (const auto& [major, unused] : by_major) absl::StrAppend(&page, " ", major, " |");
    absl::StrAppend(&page, " where, or why not |\n|---|---|");
    for (size_t i = 0; i < by_major.size(); ++i) absl::StrAppend(&page, "---|");
    absl::StrAppend(&page, "---|\n");
    // A view that is left out as a whole is one line.
    std::map<std::string, std::set<std::string>> said;
    for (const auto& [key, line] : lines) {
      for (const auto& [major, cell] : line.cells) said[key.first].insert(cell);
      said[key.first].insert(line.where.begin(), line.where.end());
    }
    std::string last;
    for (const auto& key : order) {
      const Line& line = lines[key];
      if (line.kind != kind) continue;
      const bool whole = said[key.first].contains("no") && said[key.first].size() == 2;
      if (whole && key.first == last) continue;
      last = key.first;
      absl::StrAppend(&page, "| ", key.first, " | ", whole ? "all" : absl::StrCat("`", key.second, "`"), " |");
      for (const auto& [major, unused] : by_major) {
        const auto cell = line.cells.find(major);
        absl::StrAppend(&page, " ", cell == line.cells.end() ? "" : cell->second, " |");
      }
      absl::StrAppend(&page, " ", absl::StrJoin(line.where, "; "), " |\n");
    }
  }
  return page;
}

}  // namespace pga::catalog
