// What a DBA puts on the table on Monday: load, statements with what changed, waits, locks, vacuum, growth, advice, and
// how complete all of it is.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "pganalytics/query/v1/query_service.pb.h"
#include "pganalytics/ruler/v1/recommendation_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/report_document.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace query_pb = ::pganalytics::query::v1;
namespace ruler_pb = ::pganalytics::ruler::v1;

constexpr char kQuery[] = "pganalytics.query.v1.QueryService.";
constexpr int kStatements = 20;
constexpr int kRows = 20;

struct Question {
  Session* session = nullptr;
  absl::Time from;
  absl::Time to;
  std::vector<std::string> sources;
};

ReportCell Text(const std::string& text) {
  return {text, std::nullopt};
}

template <typename Request>
void Ask(const Question& question, absl::Time from, absl::Time to, Request* request) {
  *request->mutable_start() = ToProto(from);
  *request->mutable_end() = ToProto(to);
  for (const std::string& source : question.sources) request->add_source(source);
}

absl::StatusOr<query_pb::GetRowsResponse> Rows(const Question& question, absl::Time from, absl::Time to,
                                               const std::string& metric, const std::vector<std::string>& columns,
                                               const std::string& sort, int limit) {
  query_pb::GetRowsRequest request;
  Ask(question, from, to, &request);
  request.set_metric(metric);
  for (const std::string& column : columns) request.add_column(column);
  request.set_sort(sort);
  request.set_limit(limit);
  return question.session->Call<query_pb::GetRowsResponse>(absl::StrCat(kQuery, "GetRows"), request);
}

std::string LabelOf(const query_pb::MetricRow& row, const std::string& name) {
  const auto found = row.labels().find(name);
  return found == row.labels().end() ? "" : found->second;
}

ReportCell NumberOf(const query_pb::MetricRow& row, const std::string& name, const std::string& unit = "") {
  const auto found = row.numbers().find(name);
  if (found == row.numbers().end()) return Text("");
  return {unit.empty() ? Number(found->second) : InUnit(found->second, unit), found->second};
}

std::string MissingNote(double completeness) {
  return completeness >= 0.9995 ? "" : absl::StrCat(Percent(completeness), " of the range is covered.");
}

absl::Status Load(const Question& question, Report* report) {
  PGA_ASSIGN_OR_RETURN(const auto rows,
                       Rows(question, question.from, question.to, "database",
                            {"xact_commit", "xact_rollback", "tup_returned", "blks_read", "temp_bytes", "deadlocks"},
                            "-xact_commit", 100));
  ReportSection section{"Load",
                        MissingNote(rows.completeness()),
                        {{"SOURCE", "source"},
                         {"DATABASE", "database"},
                         {"COMMITTED", "xact_commit"},
                         {"ROLLED BACK", "xact_rollback"},
                         {"ROWS READ", "tup_returned"},
                         {"BLOCKS READ", "blks_read"},
                         {"TEMPORARY FILES", "temp_bytes"},
                         {"DEADLOCKS", "deadlocks"}},
                        {}};
  for (const query_pb::MetricRow& row : rows.rows()) {
    if (LabelOf(row, "datname").empty()) continue;
    section.rows.push_back({Text(row.source_name()), Text(LabelOf(row, "datname")), NumberOf(row, "xact_commit"),
                            NumberOf(row, "xact_rollback"), NumberOf(row, "tup_returned"), NumberOf(row, "blks_read"),
                            NumberOf(row, "temp_bytes", "bytes"), NumberOf(row, "deadlocks")});
  }
  report->sections.push_back(std::move(section));
  return absl::OkStatus();
}

absl::Status Statements(const Question& question, Report* report) {
  query_pb::TopQueriesRequest request;
  Ask(question, question.from, question.to, &request);
  request.set_limit(kStatements);
  const std::string method = absl::StrCat(kQuery, "TopQueries");
  PGA_ASSIGN_OR_RETURN(const auto top, question.session->Call<query_pb::TopQueriesResponse>(method, request));
  ReportSection section{"Statements",
                        absl::StrCat("By time, beside the same span before. ", MissingNote(top.completeness())),
                        {{"SOURCE", "source"},
                         {"DATABASE", "database"},
                         {"TIME", "total_time_ms"},
                         {"BEFORE", "total_time_before_ms"},
                         {"CALLS", "calls"},
                         {"MEAN", "mean_time_ms"},
                         {"MEAN BEFORE", "mean_time_before_ms"},
                         {"ID", "query_id"},
                         {"STATEMENT", "query_text"}},
                        {}};
  if (top.queries_size() > 0) {
    query_pb::TopQueriesRequest again;
    Ask(question, question.from - (question.to - question.from), question.from, &again);
    again.set_limit(1000);
    again.set_text_length(1);
    for (const query_pb::TopQuery& query : top.queries()) again.add_query_id(query.query_id());
    PGA_ASSIGN_OR_RETURN(const auto before, question.session->Call<query_pb::TopQueriesResponse>(method, again));
    const auto key = [](const query_pb::TopQuery& query) {
      return absl::StrCat(query.source_id(), "/", query.query_id(), "/", query.database_name(), "/", query.user_name());
    };
    std::map<std::string, const query_pb::TopQuery*> of;
    for (const query_pb::TopQuery& query : before.queries()) of[key(query)] = &query;
    const auto time = [](bool known, double ms) { return known ? ReportCell{Millis(ms), ms} : Text(""); };
    for (const query_pb::TopQuery& query : top.queries()) {
      const auto then = of.find(key(query));
      const bool known = then != of.end();
      section.rows.push_back({Text(query.source_name()),
                              Text(query.database_name()),
                              time(true, query.total_time()),
                              time(known, known ? then->second->total_time() : 0),
                              {Number(query.calls()), query.calls()},
                              time(query.calls() > 0, query.mean_time()),
                              time(known && then->second->calls() > 0, known ? then->second->mean_time() : 0),
                              Text(query.query_id()),
                              Text(Shown(query.query_text(), query.query_text_truncated()))});
    }
  }
  report->sections.push_back(std::move(section));
  return absl::OkStatus();
}

absl::Status WaitsAndLocks(const Question& question, Report* report) {
  query_pb::GetActivityRequest request;
  Ask(question, question.from, question.to, &request);
  request.set_limit(1000);
  PGA_ASSIGN_OR_RETURN(const auto activity, question.session->Call<query_pb::GetActivityResponse>(
                                                absl::StrCat(kQuery, "GetActivity"), request));
  std::map<std::pair<std::string, std::string>, double> waits;
  for (const query_pb::ActivityRow& row : activity.rows()) {
    if (row.state() != "active") continue;
    const std::string what =
        row.wait_event_type().empty() ? "running" : absl::StrCat(row.wait_event_type(), ": ", row.wait_event());
    waits[{row.source_name(), what}] += row.average_sessions();
  }
  std::vector<std::pair<double, std::pair<std::string, std::string>>> ordered;
  for (const auto& [key, sessions] : waits) ordered.push_back({sessions, key});
  std::sort(ordered.rbegin(), ordered.rend());
  if (ordered.size() > kRows) ordered.resize(kRows);
  ReportSection section{"Waits",
                        activity.rows_size() == 1000 ? "Of the 1,000 largest kinds of active sessions." : "",
                        {{"SOURCE", "source"}, {"WAITS FOR", "wait_event"}, {"SESSIONS", "average_sessions"}},
                        {}};
  for (const auto& [sessions, key] : ordered) {
    section.rows.push_back({Text(key.first), Text(key.second), {Number(sessions), sessions}});
  }
  report->sections.push_back(std::move(section));
  ReportSection locks{"Locks",
                      absl::StrCat(activity.blocking_found(), " waits of one session for another one; the longest:"),
                      {{"SOURCE", "source"},
                       {"FROM", "from"},
                       {"BLOCKED", "blocked_seconds"},
                       {"WHO", "blocked"},
                       {"BY", "root"},
                       {"RELATION", "relation"}},
                      {}};
  std::vector<const query_pb::BlockingEdge*> edges;
  for (const query_pb::BlockingEdge& edge : activity.blocking()) edges.push_back(&edge);
  std::stable_sort(edges.begin(), edges.end(),
                   [](const auto* a, const auto* b) { return a->blocked_seconds() > b->blocked_seconds(); });
  if (edges.size() > kRows) edges.resize(kRows);
  const auto party = [](const query_pb::BlockingParty& one) {
    return one.gid().empty() ? absl::StrCat(one.user(), " ", one.application(), " (", one.pid(), ")")
                             : absl::StrCat("prepared ", one.gid());
  };
  for (const query_pb::BlockingEdge* edge : edges) {
    locks.rows.push_back({Text(edge->source_name()),
                          Text(Minute(FromProto(edge->from()))),
                          {InUnit(edge->blocked_seconds(), "s"), edge->blocked_seconds()},
                          Text(party(edge->blocked())),
                          Text(party(edge->has_root() ? edge->root() : edge->blocking())),
                          Text(edge->relation())});
  }
  if (edges.empty()) locks.note = "Nobody waited for another session.";
  report->sections.push_back(std::move(locks));
  return absl::OkStatus();
}

absl::Status Vacuum(const Question& question, Report* report) {
  PGA_ASSIGN_OR_RETURN(const auto rows,
                       Rows(question, question.from, question.to, "vacuum_state",
                            {"dead_rows", "vacuum_threshold", "xid_age", "freeze_max_age"}, "-dead_rows", kRows));
  ReportSection section{
      "Vacuum",
      "Tables with most dead rows at the end of the range, of each the number at which autovacuum is due.",
      {{"SOURCE", "source"},
       {"DATABASE", "database"},
       {"TABLE", "table"},
       {"DEAD ROWS", "dead_rows"},
       {"DUE AT", "vacuum_threshold"},
       {"AGE", "xid_age"}},
      {}};
  for (const query_pb::MetricRow& row : rows.rows()) {
    section.rows.push_back({Text(row.source_name()), Text(LabelOf(row, "datname")),
                            Text(absl::StrCat(LabelOf(row, "schemaname"), ".", LabelOf(row, "relname"))),
                            NumberOf(row, "dead_rows"), NumberOf(row, "vacuum_threshold"), NumberOf(row, "xid_age")});
  }
  report->sections.push_back(std::move(section));
  return absl::OkStatus();
}

absl::Status Growth(const Question& question, Report* report) {
  const auto read = [&](absl::Time at) {
    return Rows(question, at - absl::Hours(1), at, "database_size", {"size_bytes"}, "-size_bytes", 1000);
  };
  PGA_ASSIGN_OR_RETURN(const auto now, read(question.to));
  // Before anything was stored nothing is known.
  std::map<std::pair<std::string, std::string>, double> sizes;
  if (const auto then = read(question.from); then.ok()) {
    for (const query_pb::MetricRow& row : then->rows()) {
      if (const auto size = row.numbers().find("size_bytes"); size != row.numbers().end()) {
        sizes[{row.source_id(), LabelOf(row, "datname")}] = size->second;
      }
    }
  }
  ReportSection section{
      "Growth",
      "Sizes of databases; empty where the size at the beginning is not known.",
      {{"SOURCE", "source"}, {"DATABASE", "database"}, {"SIZE", "size_bytes"}, {"GREW BY", "growth_bytes"}},
      {}};
  for (const query_pb::MetricRow& row : now.rows()) {
    const auto size = row.numbers().find("size_bytes");
    const auto before = sizes.find({row.source_id(), LabelOf(row, "datname")});
    ReportCell growth = Text("");
    if (size != row.numbers().end() && before != sizes.end()) {
      const double grown = size->second - before->second;
      growth = {grown < 0 ? absl::StrCat("-", Bytes(-grown)) : Bytes(grown), grown};
    }
    section.rows.push_back(
        {Text(row.source_name()), Text(LabelOf(row, "datname")), NumberOf(row, "size_bytes", "bytes"), growth});
  }
  report->sections.push_back(std::move(section));
  return absl::OkStatus();
}

absl::Status Advised(const Question& question, Report* report) {
  ruler_pb::ListAdviceRequest request;
  for (const std::string& source : question.sources) request.add_source(source);
  const int64_t hours = absl::ToInt64Hours(question.to - question.from);
  request.set_hours(static_cast<int32_t>(std::clamp<int64_t>(hours, 1, 720)));
  PGA_ASSIGN_OR_RETURN(const auto advice, question.session->Call<ruler_pb::ListAdviceResponse>(
                                              "pganalytics.ruler.v1.RecommendationService.ListAdvice", request));
  ReportSection section{"Advice",
                        absl::StrCat("As of now. ", advice.not_judged_size(),
                                     " questions could not be judged: `pgactl "
                                     "advice list` names them."),
                        {{"SOURCE", "source"},
                         {"DATABASE", "database"},
                         {"SURE", "certainty"},
                         {"WHAT", "what"},
                         {"COMMAND", "command"},
                         {"ID", "id"}},
                        {}};
  for (const query_pb::Advice& one : advice.advice()) {
    section.rows.push_back({Text(one.source_name()), Text(one.database_name()), Text(one.certainty()), Text(one.what()),
                            Text(one.command().empty() ? one.instruction() : one.command()), Text(one.id())});
  }
  report->sections.push_back(std::move(section));
  return absl::OkStatus();
}

absl::Status Completeness(const Question& question, Report* report) {
  query_pb::GetFreshnessRequest request;
  Ask(question, question.from, question.to, &request);
  PGA_ASSIGN_OR_RETURN(const auto fresh, question.session->Call<query_pb::GetFreshnessResponse>(
                                             absl::StrCat(kQuery, "GetFreshness"), request));
  ReportSection section{"Completeness",
                        "",
                        {{"SOURCE", "source"}, {"METRIC", "metric"}, {"COVERED", "completeness"}, {"GAPS", "gaps"}},
                        {}};
  int whole = 0;
  for (const query_pb::Freshness& one : fresh.freshness()) {
    if (one.completeness() >= 0.9995) {
      ++whole;
      continue;
    }
    section.rows.push_back({Text(one.source_name()),
                            Text(one.metric()),
                            {Percent(one.completeness()), one.completeness()},
                            {Number(one.gaps()), one.gaps()}});
  }
  section.note = absl::StrCat(whole, " metrics of sources cover the whole range; the others:");
  report->sections.push_back(std::move(section));
  return absl::OkStatus();
}

absl::Status MakeReport(Context& context) {
  Question question;
  question.to = context.now;
  if (context.arguments->Has("to")) {
    PGA_ASSIGN_OR_RETURN(question.to, ParseInstant(context.arguments->Get("to"), context.now));
  }
  question.from = question.to - absl::Hours(168);
  if (context.arguments->Has("from")) {
    PGA_ASSIGN_OR_RETURN(question.from, ParseInstant(context.arguments->Get("from"), context.now));
  }
  if (question.from >= question.to) return UsageError("--from must be before --to");
  const std::string format = context.json ? "json" : context.arguments->Get("format", "text");
  if (format != "text" && format != "html" && format != "json") return UsageError("--format is text, html or json");
  for (const std::string& source : context.arguments->All("source")) question.sources.push_back(source);
  PGA_ASSIGN_OR_RETURN(question.session, context.session());
  Report report;
  report.title = "pgAnalytics report";
  for (const std::string& source : question.sources) absl::StrAppend(&report.title, " ", source);
  report.range = RangeText(question.from, question.to);
  report.from = absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", question.from, absl::UTCTimeZone());
  report.to = absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", question.to, absl::UTCTimeZone());
  for (auto* const part : {Load, Statements, WaitsAndLocks, Vacuum, Growth, Advised, Completeness}) {
    PGA_RETURN_IF_ERROR(part(question, &report));
  }
  *context.out << (format == "json"   ? ReportJson(report)
                   : format == "html" ? ReportHtml(report)
                                      : ReportText(report, context.width));
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> ReportCommands() {
  return {{"report",
           "",
           "load, statements, waits, locks, vacuum, growth and advice of a range, in one document",
           {{"from", "TIME", "beginning, as 10:03, \"2026-01-01 10:03\", RFC 3339, or 2h before now (default 168h)"},
            {"to", "TIME", "end (default now)"},
            {"source", "NAME", "only this source; may be repeated", true},
            {"format", "FORM", "text (default), html (one file), json"}},
           MakeReport}};
}

}  // namespace pga::pgactl
