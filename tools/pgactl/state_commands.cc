// One statement over time, and what servers are: settings, slots, tables.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "pganalytics/query/v1/query_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace query_pb = ::pganalytics::query::v1;

constexpr char kQuery[] = "pganalytics.query.v1.QueryService.";

absl::Status Timeline(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  query_pb::QueryTimelineRequest request;
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the statement's id"));
  request.set_query_hash(id);
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  PGA_ASSIGN_OR_RETURN(const int step, context.arguments->Int("step", 0, 1, 86400));
  request.set_step(step);
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<query_pb::QueryTimelineResponse>(std::string(kQuery) + "QueryTimeline", request));
  if (context.json) return context.PrintJson(answer);
  if (!answer.query_text().empty()) context.Say() << OneLine(answer.query_text()) << "\n";
  const int points = answer.data_size();
  const std::string zone = points > 0 ? ZoneName(FromProto(answer.data(0).time())) : "";
  const bool whole = points > 1;
  const double step_ms =
      whole ? absl::ToDoubleMilliseconds(FromProto(answer.data(1).time()) - FromProto(answer.data(0).time())) : 0;
  Table table({"TIME (" + zone + ")", "CALLS", "TOTAL", "MEAN", "ROWS", "HIT", "READ", "I/O TIME", "WAL", "COVERED"},
              {"HIT", "I/O TIME", "WAL", "READ", "ROWS"});
  for (const query_pb::TimelinePoint& p : answer.data()) {
    const bool known = p.covered_ms() > 0 || p.calls() > 0;
    table.Add({Clock(FromProto(p.time())), known ? (p.lower_bound() ? "≥" : "") + Number(p.calls()) : "-",
               known ? Millis(p.total_time()) : "-", p.has_mean_time() ? Millis(p.mean_time()) : "-",
               known ? Number(p.rows()) : "-", known ? Bytes(p.shared_blks_hit() * 8192) : "-",
               known ? Bytes(p.shared_blks_read() * 8192) : "-", known ? Millis(p.io_time()) : "-",
               known ? Bytes(p.wal_bytes()) : "-",
               step_ms > 0 ? Percent(std::min(1.0, p.covered_ms() / step_ms), 0) : ""});
  }
  return context.Print(table);
}

std::string LabelText(const google::protobuf::Map<std::string, std::string>& labels) {
  const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  // One label needs no name.
  if (sorted.size() == 1) return sorted.begin()->second;
  std::vector<std::string> parts;
  for (const auto& [name, value] : sorted) parts.push_back(name + "=" + value);
  return absl::StrJoin(parts, " ");
}

absl::Status PrintChanges(Context& context, const query_pb::GetStateResponse& answer) {
  const std::string zone = ZoneName(FromProto(answer.end()));
  Table table({"SEEN (" + zone + ")", "BEFORE THAT AT", "SOURCE", "ROW", "WHAT", "BEFORE", "AFTER"},
              {"BEFORE THAT AT", "SOURCE"});
  for (const query_pb::StateChange& change : answer.changes()) {
    // Said of both values: the cut one is never the shorter one.
    const size_t before = Characters(change.before());
    const size_t after = Characters(change.after());
    table.Add({Clock(FromProto(change.seen_after())), Clock(FromProto(change.seen_before())), change.source_name(),
               LabelText(change.labels()), change.column().empty() ? change.what() : change.column(),
               change.has_before() ? Shown(change.before(), change.truncated() && before >= after) : "",
               change.has_after() ? Shown(change.after(), change.truncated() && after >= before) : ""});
  }
  PGA_RETURN_IF_ERROR(
      context.Print(table, "nothing changed, " + RangeText(FromProto(answer.start()), FromProto(answer.end()))));
  if (answer.changes_found() > answer.changes_size()) {
    context.Say() << "the newest " << answer.changes_size() << " of " << answer.changes_found() << " changes\n";
  }
  return absl::OkStatus();
}

absl::StatusOr<query_pb::GetStateResponse> AskState(Context& context, const std::string& metric, bool changes,
                                                    std::vector<std::string> columns) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  query_pb::GetStateRequest request;
  request.set_metric(metric);
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  if (changes && request.hours() == 0 && !request.has_start()) {
    if (request.has_end()) {
      *request.mutable_start() = ToProto(FromProto(request.end()) - absl::Hours(24 * 7));
    } else {
      request.set_hours(7 * 24);
    }
  }
  for (const std::string& filter : context.arguments->All("filter")) request.add_filter(filter);
  for (const std::string& column : columns) request.add_column(column);
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 0, 1, 10000));
  request.set_limit(limit);
  PGA_RETURN_IF_ERROR(SetTextLength(context, &request));
  return session->Call<query_pb::GetStateResponse>(std::string(kQuery) + "GetState", request);
}

void SayWhatIsMissing(const Context& context, const query_pb::GetStateResponse& answer) {
  if (answer.rows_found() <= answer.rows_size()) return;
  context.Say() << answer.rows_size() << " of " << answer.rows_found() << " rows; raise --limit or add --filter\n";
}

// Of a row of either answer.
template <typename Row>
bool IsTruncated(const Row& row, const std::string& column) {
  return std::find(row.truncated().begin(), row.truncated().end(), column) != row.truncated().end();
}

absl::Status State(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string metric, context.Word(0, "the metric"));
  const std::vector<std::string> columns = context.arguments->All("column");
  const bool changes = context.arguments->Has("changed");
  PGA_ASSIGN_OR_RETURN(const auto answer, AskState(context, metric, changes, columns));
  if (context.json) return context.PrintJson(answer);
  if (changes) return PrintChanges(context, answer);
  std::set<std::string> named;
  for (const query_pb::StateRow& row : answer.rows()) {
    for (const auto& [column, value] : row.values()) named.insert(column);
  }
  std::vector<std::string> shown = columns;
  if (shown.empty()) shown.assign(named.begin(), named.end());
  std::vector<std::string> header = {"SOURCE", "ROW"};
  for (const std::string& column : shown) header.push_back(column);
  Table table(header);
  for (const query_pb::StateRow& row : answer.rows()) {
    std::vector<std::string> cells = {row.source_name(), LabelText(row.labels())};
    for (const std::string& column : shown) {
      const auto value = row.values().find(column);
      cells.push_back(value == row.values().end() ? "" : Shown(value->second, IsTruncated(row, column)));
    }
    table.Add(std::move(cells));
  }
  PGA_RETURN_IF_ERROR(context.Print(table, "nothing was read in the 25 hours before"));
  SayWhatIsMissing(context, answer);
  return absl::OkStatus();
}

absl::Status Rows(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  query_pb::GetRowsRequest request;
  PGA_ASSIGN_OR_RETURN(const std::string metric, context.Word(0, "the metric"));
  request.set_metric(metric);
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  for (const std::string& column : context.arguments->All("column")) request.add_column(column);
  for (const std::string& filter : context.arguments->All("filter")) request.add_filter(filter);
  request.set_sort(context.arguments->Get("sort"));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 0, 1, 10000));
  request.set_limit(limit);
  PGA_RETURN_IF_ERROR(SetTextLength(context, &request));
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<query_pb::GetRowsResponse>(std::string(kQuery) + "GetRows", request));
  if (context.json) return context.PrintJson(answer);
  context.Say() << RangeText(FromProto(answer.start()), FromProto(answer.end())) << ", "
                << Percent(answer.completeness()) << " covered\n";
  std::vector<std::string> header = {"SOURCE", "ROW"};
  for (const query_pb::RowColumn& column : answer.columns()) header.push_back(column.name());
  Table table(header);
  for (const query_pb::MetricRow& row : answer.rows()) {
    std::vector<std::string> cells = {row.source_name(), LabelText(row.labels())};
    for (const query_pb::RowColumn& column : answer.columns()) {
      const auto number = row.numbers().find(column.name());
      const auto text = row.texts().find(column.name());
      if (text != row.texts().end()) {
        cells.push_back(Shown(text->second, IsTruncated(row, column.name())));
      } else if (number == row.numbers().end()) {
        cells.emplace_back();
      } else if (context.csv) {
        cells.push_back(absl::StrCat(number->second));
      } else {
        const bool low = row.lower_bound() && column.kind() == "counter";
        cells.push_back((low ? "≥" : "") + InUnit(number->second, column.unit()));
      }
    }
    table.Add(std::move(cells));
  }
  PGA_RETURN_IF_ERROR(context.Print(table, "nothing was read in the 25 hours before"));
  if (answer.rows_found() > answer.rows_size()) {
    context.Say() << answer.rows_size() << " of " << answer.rows_found() << " rows; raise --limit or add --filter\n";
  }
  return absl::OkStatus();
}

absl::Status Settings(Context& context) {
  const bool changes = context.arguments->Has("changed");
  std::vector<std::string> columns = {"setting_value", "setting_unit", "source", "boot_value", "pending_restart"};
  if (changes) columns = {"setting_value", "pending_restart"};
  PGA_ASSIGN_OR_RETURN(const auto answer, AskState(context, "settings", changes, columns));
  if (context.json) return context.PrintJson(answer);
  if (changes) return PrintChanges(context, answer);
  Table table({"SOURCE", "SETTING", "VALUE", "UNIT", "FROM", "DEFAULT", "RESTART"}, {"SOURCE"});
  const bool all = context.arguments->Has("all");
  for (const query_pb::StateRow& row : answer.rows()) {
    const auto value = [&](const char* column) {
      const auto found = row.values().find(column);
      return found == row.values().end() ? std::string() : found->second;
    };
    if (!all && (value("source") == "default" || value("source").empty()) && value("pending_restart") != "true")
      continue;
    table.Add({row.source_name(), LabelText(row.labels()), value("setting_value"), value("setting_unit"),
               value("source"), value("boot_value"), value("pending_restart") == "true" ? "pending" : ""});
  }
  PGA_RETURN_IF_ERROR(context.Print(table, "no settings were read in the 25 hours before"));
  SayWhatIsMissing(context, answer);
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> StateCommands() {
  const OptionSpec filter = {"filter", "LABEL=VALUE", "also LABEL!=VALUE and LABEL~REGEXP; may be repeated", true};
  return {
      {"timeline", "QUERY_ID", "one statement over time",
       With({{"step", "SECONDS", "per point; default about 300 points"}}, RangeOptions()), Timeline, true},
      {"state", "METRIC", "what a metric describes: labels and info columns as last read",
       With({{"changed", "", "what changed in the range (default 7 days)"},
             {"column", "NAME", "only this info column; may be repeated", true},
             filter,
             {"limit", "N", "most rows (default 1000)"},
             {"text-length", "N", "most characters of each value (default 1000, or less with a larger limit)"}},
            RangeOptions()),
       State, true},
      {"rows", "METRIC", "rows of a metric: columns as last read, counters added up over the range",
       With({{"column", "NAME", "only this column; may be repeated", true},
             filter,
             {"sort", "COLUMN", "by this column or label; -COLUMN for the largest first"},
             {"limit", "N", "most rows (default 1000)"},
             {"text-length", "N", "most characters of each text (default 1000, or less with a larger limit)"}},
            RangeOptions()),
       Rows, true},
      {"settings", "", "settings that are not at their default",
       With({{"changed", "", "what changed in the range (default 7 days)"},
             {"all", "", "those at their default too"},
             filter,
             {"limit", "N", "most rows (default 1000)"},
             {"text-length", "N", "most characters of each value (default 1000, or less with a larger limit)"}},
            RangeOptions()),
       Settings, true},
  };
}

}  // namespace pga::pgactl
