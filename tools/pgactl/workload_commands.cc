// Load and who held others up, an hour against the same hour of an earlier week, patterns, and what a statement will
// take and should be.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/status/status.h"
#include "pganalytics/query/v1/workload_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace pb = ::pganalytics::query::v1;

std::string Method(const char* name) {
  return absl::StrCat("pganalytics.query.v1.WorkloadService.", name);
}

std::string Sessions(double value) {
  return Number(std::round(value * 1000) / 1000);
}

std::string Signed(double value, const std::string& text) {
  return absl::StrCat(value > 0 ? "+" : "", text);
}

absl::Status GetLoad(Context& context) {
  pb::GetLoadRequest request;
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 20, 1, 100));
  request.set_limit(limit);
  request.set_by(context.arguments->Get("by"));
  for (const std::string& filter : context.arguments->All("filter")) request.add_filter(filter);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::GetLoadResponse>(Method("GetLoad"), request));
  if (context.json) return context.PrintJson(answer);
  context.Say() << RangeText(FromProto(answer.start()), FromProto(answer.end())) << ", "
                << Percent(answer.completeness()) << " covered; " << Sessions(answer.total_sessions()) << " "
                << answer.counts() << " sessions on average\n";
  Table table({"BY", "SESSIONS", "SHARE", "PEAK", "PEAK AT", "TEXT"}, {"PEAK AT", "PEAK"});
  for (const pb::LoadEntry& one : answer.entries()) {
    table.Add({one.key().empty() ? "(not known)" : one.key(), Sessions(one.average_sessions()), Percent(one.share()),
               Sessions(one.peak_sessions()), Minute(FromProto(one.peak_at())), one.query_text()});
  }
  PGA_RETURN_IF_ERROR(context.Print(table, "no such session was sampled"));
  if (answer.left_out() > 0) context.Say() << answer.left_out() << " more are left out; see --limit\n";
  return absl::OkStatus();
}

absl::Status CompareLoad(Context& context) {
  pb::CompareLoadRequest request;
  if (context.arguments->Has("from")) {
    PGA_ASSIGN_OR_RETURN(const absl::Time start, ParseInstant(context.arguments->Get("from"), context.now));
    *request.mutable_start() = ToProto(start);
  }
  PGA_ASSIGN_OR_RETURN(const int minutes, context.arguments->Int("minutes", 60, 15, 1440));
  PGA_ASSIGN_OR_RETURN(const int weeks, context.arguments->Int("weeks", 1, 1, 52));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 20, 1, 100));
  request.set_minutes(minutes);
  request.set_weeks(weeks);
  request.set_limit(limit);
  request.set_by(context.arguments->Get("by"));
  for (const std::string& source : context.arguments->All("source")) request.add_source(source);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::CompareLoadResponse>(Method("CompareLoad"), request));
  if (context.json) return context.PrintJson(answer);
  const auto say = [&](const char* name, const pb::LoadWindow& window) {
    context.Say() << name << RangeText(FromProto(window.start()), FromProto(window.end())) << ", "
                  << Percent(window.completeness()) << " covered\n";
  };
  say("before: ", answer.before());
  say("now:    ", answer.now());
  Table figures({"FIGURE", "BEFORE", "NOW", "CHANGE"});
  for (const pb::LoadFigure& one : answer.figures()) {
    const auto value = [&](bool known, double of) {
      return known ? InUnit(std::round(of * 1000) / 1000, one.unit()) : std::string("not known");
    };
    figures.Add({one.name(), value(one.has_before(), one.before()), value(one.has_now(), one.now()),
                 one.has_change_percent() ? Signed(one.change_percent(), Percent(one.change_percent() / 100)) : ""});
  }
  PGA_RETURN_IF_ERROR(context.Print(figures));
  if (context.csv) return absl::OkStatus();
  Table table({"BY", "BEFORE", "NOW", "CHANGE", "TEXT"});
  for (const pb::LoadChange& one : answer.changes()) {
    const auto value = [](bool known, double of) { return known ? Sessions(of) : std::string("not known"); };
    table.Add({one.key().empty() ? "(not known)" : one.key(), value(one.has_before(), one.before()),
               value(one.has_now(), one.now()),
               one.has_change() ? Signed(one.change(), Sessions(one.change())) : std::string(), one.query_text()});
  }
  const bool known = answer.before().completeness() > 0 || answer.now().completeness() > 0;
  return context.Print(table, known ? "no session was active in either window" : "nothing is known of either window");
}

absl::Status ListBlockers(Context& context) {
  pb::ListBlockersRequest request;
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 20, 1, 100));
  request.set_limit(limit);
  request.set_by(context.arguments->Get("by"));
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::ListBlockersResponse>(Method("ListBlockers"), request));
  if (context.json) return context.PrintJson(answer);
  context.Say() << RangeText(FromProto(answer.start()), FromProto(answer.end())) << ", "
                << Percent(answer.completeness()) << " covered; " << Number(answer.waits()) << " waits of "
                << Millis(answer.blocked_seconds() * 1000) << " in all\n";
  Table table({"BLOCKED", "SHARE", "SOURCE", "WHO", "USER", "APPLICATION", "STATE", "WAITS", "SESSIONS", "LONGEST",
               "LAST", "RELATIONS", "TEXT"},
              {"SESSIONS", "STATE", "LONGEST", "RELATIONS"});
  for (const pb::Blocker& one : answer.blockers()) {
    table.Add({Millis(one.blocked_seconds() * 1000), Percent(one.share()), one.source_name(),
               one.pid() != 0 ? absl::StrCat(one.pid()) : one.gid(), one.user_name(), one.application_name(),
               one.state(), Number(one.waits()), Number(one.blocked_sessions()), Millis(one.longest_seconds() * 1000),
               one.lasts() ? "lasts" : Clock(FromProto(one.last_at())), absl::StrJoin(one.relations(), " "),
               one.query_text()});
  }
  PGA_RETURN_IF_ERROR(context.Print(table, "nobody waited for another session"));
  if (answer.waits_left_out() > 0) {
    context.Say() << answer.waits_left_out() << " waits, the shortest ones, were not read: seconds are lower bounds\n";
  }
  return absl::OkStatus();
}

absl::Status ListPatterns(Context& context) {
  pb::ListPatternsRequest request;
  PGA_ASSIGN_OR_RETURN(const int days, context.arguments->Int("days", 30, 7, 365));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 50, 1, 1000));
  request.set_lookback_days(days);
  request.set_limit(limit);
  request.set_database_name(context.arguments->Get("database"));
  request.set_pattern_type(context.arguments->Get("type"));
  request.set_time_zone(context.arguments->Get("time-zone"));
  for (const std::string& source : context.arguments->All("source")) request.add_source(source);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  Table table({"SOURCE", "DATABASE", "PATTERN", "WHEN", "ZONE", "LOAD", "MEAN", "Z", "SEEN"}, {"ZONE", "MEAN"});
  PGA_RETURN_IF_ERROR(session->Stream(
      Method("ListPatterns"), request, pb::WorkloadPattern::default_instance(),
      [&](const google::protobuf::Message& message) -> absl::Status {
        if (context.json) return context.PrintJson(message);
        const auto& one = dynamic_cast<const pb::WorkloadPattern&>(message);
        table.Add({one.source_name(), one.database_name(), one.pattern_type(), one.when(), one.time_zone(),
                   absl::StrCat(Sessions(one.load()), " s/s"), absl::StrCat(Sessions(one.mean_load()), " s/s"),
                   Number(std::round(one.z_score() * 10) / 10),
                   absl::StrCat(one.days_seen(), " of ", one.days(), " days")});
        return absl::OkStatus();
      }));
  if (context.json) return absl::OkStatus();
  return context.Print(table, "nothing recurs that differs from the other hours or days");
}

absl::Status Predict(Context& context) {
  pb::PredictPerformanceRequest request;
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the statement's query id"));
  request.set_query_hash(id);
  if (context.arguments->Has("at")) {
    PGA_ASSIGN_OR_RETURN(const absl::Time at, ParseInstant(context.arguments->Get("at"), context.now));
    *request.mutable_at() = ToProto(at);
  }
  if (context.arguments->Has("rows")) {
    double rows = 0;
    if (!absl::SimpleAtod(context.arguments->Get("rows"), &rows)) return UsageError("--rows wants a number");
    request.set_rows(rows);
  }
  request.set_database_name(context.arguments->Get("database"));
  for (const std::string& source : context.arguments->All("source")) request.add_source(source);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<pb::PredictPerformanceResponse>(Method("PredictPerformance"), request));
  if (context.json) return context.PrintJson(answer);
  if (!answer.not_judged().empty()) {
    context.Say() << "not judged: " << answer.not_judged() << "\n";
    return absl::OkStatus();
  }
  Table table({"WHAT", "VALUE"});
  table.Add({"at", Clock(FromProto(answer.at()))});
  table.Add({"a call takes", Millis(answer.predicted_execution_time_ms())});
  table.Add({"range", absl::StrCat(Millis(answer.range_low_ms()), " to ", Millis(answer.range_high_ms()))});
  table.Add({"confidence", answer.has_confidence()
                               ? absl::StrCat(Percent(answer.confidence()), " of other tested hours lay in the range")
                               : "not known: too few hours to test it with"});
  table.Add({"method", absl::StrCat(answer.method(), ", of ", answer.hours(), " hours")});
  if (answer.has_median_error_percent()) {
    table.Add({"error", absl::StrCat(Percent(answer.median_error_percent() / 100), " in the median of ",
                                     answer.tested_hours(), " tested hours")});
  }
  table.Add({"rows a call", Number(std::round(answer.rows() * 10) / 10)});
  return context.Print(table);
}

absl::Status Suggest(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the statement's query id"));
  PGA_ASSIGN_OR_RETURN(const int hours, context.arguments->Int("hours", 168, 1, 720));
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  const auto fill = [&](auto* request) {
    request->set_query_hash(id);
    request->set_hours(hours);
    request->set_limit(100);
    for (const std::string& source : context.arguments->All("source")) request->add_source(source);
  };
  pb::ListRewritesRequest rewrites;
  fill(&rewrites);
  PGA_ASSIGN_OR_RETURN(pb::ListSuggestionsResponse answer,
                       session->Call<pb::ListSuggestionsResponse>(Method("ListRewrites"), rewrites));
  pb::ListParametersRequest parameters;
  fill(&parameters);
  PGA_ASSIGN_OR_RETURN(const auto others,
                       session->Call<pb::ListSuggestionsResponse>(Method("ListParameters"), parameters));
  answer.mutable_suggestions()->MergeFrom(others.suggestions());
  answer.set_count(answer.suggestions_size());
  if (context.json) return context.PrintJson(answer);
  Table table({"SUGGESTION", "SURE", "SOURCE", "DATABASE", "WHAT", "DO"}, {"DATABASE"});
  for (const pb::QuerySuggestion& one : answer.suggestions()) {
    const pb::Advice& advice = one.advice();
    table.Add({one.suggestion_type(), advice.certainty(), advice.source_name(), advice.database_name(), advice.what(),
               advice.command().empty() ? advice.instruction() : advice.command()});
  }
  PGA_RETURN_IF_ERROR(context.Print(table, "nothing is suggested"));
  for (const pb::NotJudged& one : answer.not_judged()) {
    context.Say() << "not judged: " << one.source_name() << ": " << one.kind() << " because " << one.why() << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> WorkloadCommands() {
  const OptionSpec source = {"source", "NAME", "only this source (name or id); may be repeated", true};
  return {{"load", "", "average active sessions by what they waited for, or by another slice",
           With({{"by", "SLICE",
                  "wait (default), wait_event, statement, user, application, database, backend_type, client"},
                 {"filter", "LABEL=VALUE", "only sessions with this label; may be repeated", true},
                 {"limit", "N", "how many (default 20)"}},
                RangeOptions()),
           GetLoad, true},
          {"load compare",
           "",
           "an hour against the same hour of an earlier week",
           {{"from", "TIME", "start of the hour; default the last full one"},
            {"minutes", "N", "its length, 15 to 1440 (default 60)"},
            {"weeks", "N", "how many weeks before (default 1)"},
            {"by", "SLICE", "as of `pgactl load`, without client"},
            {"limit", "N", "how many (default 20)"},
            source},
           CompareLoad},
          {"blockers", "", "who held others up, and for how many seconds in all",
           With({{"by", "WORD", "session (default), user, application or statement"},
                 {"limit", "N", "how many (default 20)"}},
                RangeOptions()),
           ListBlockers, true},
          {"patterns",
           "",
           "hours of the day and days of the week that recur with more or less load",
           {{"database", "NAME", "only this database"},
            {"type", "WORD", "hourly_peak, hourly_quiet, weekday_peak or weekday_quiet"},
            {"days", "N", "history, 7 to 365 (default 30)"},
            {"time-zone", "NAME", "zone of the hours (default UTC)"},
            {"limit", "N", "how many (default 50)"},
            source},
           ListPatterns},
          {"predict",
           "QUERY_ID",
           "how long a call of a statement will take, by its hours so far",
           {{"at", "TIME", "the time that is asked about (default now)"},
            {"rows", "N", "rows that a call will return or write"},
            {"database", "NAME", "only this database"},
            source},
           Predict},
          {"suggest",
           "QUERY_ID",
           "how to write a statement so that it costs less, and its parameters",
           {{"hours", "N", "interval up to now, 1 to 720 (default 168)"}, source},
           Suggest}};
}

}  // namespace pga::pgactl
