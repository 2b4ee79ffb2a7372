// What should be done about servers, and where their gauges lead to.
#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/status/status.h"
#include "pganalytics/query/v1/advice_service.pb.h"
#include "pganalytics/ruler/v1/recommendation_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace pb = ::pganalytics::ruler::v1;
namespace query_pb = ::pganalytics::query::v1;

constexpr char kService[] = "pganalytics.ruler.v1.RecommendationService.";

absl::Status AskFor(const Context& context, pb::ListAdviceRequest* request) {
  for (const std::string& source : context.arguments->All("source")) request->add_source(source);
  request->set_kind(context.arguments->Get("kind"));
  request->set_database(context.arguments->Get("database"));
  PGA_ASSIGN_OR_RETURN(const int hours, context.arguments->Int("hours", 168, 1, 720));
  PGA_ASSIGN_OR_RETURN(const int least, context.arguments->Int("least-hours", 168, 0, 720));
  request->set_hours(hours);
  request->set_least_hours(least);
  request->set_dismissed(context.arguments->Has("dismissed"));
  return absl::OkStatus();
}

absl::Status ListAdvice(Context& context) {
  pb::ListAdviceRequest request;
  PGA_RETURN_IF_ERROR(AskFor(context, &request));
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<pb::ListAdviceResponse>(absl::StrCat(kService, "ListAdvice"), request));
  if (context.json) return context.PrintJson(answer);
  Table table({"ID", "SURE", "SOURCE", "DATABASE", "WHAT", "COMMAND"}, {"COMMAND"});
  for (const query_pb::Advice& advice : answer.advice()) {
    table.Add({advice.id(), absl::StrCat(advice.certainty(), advice.dismissed() ? ", dismissed" : ""),
               advice.source_name(), advice.database_name(), advice.what(),
               advice.command().empty() ? advice.instruction() : advice.command()});
  }
  PGA_RETURN_IF_ERROR(context.Print(table, "nothing is advised"));
  if (answer.dismissed_count() > 0) {
    context.Say() << answer.dismissed_count() << " dismissed ones are left out; see --dismissed\n";
  }
  for (const query_pb::NotJudged& one : answer.not_judged()) {
    context.Say() << "not judged: " << one.source_name() << (one.source_name().empty() ? "" : ": ") << one.kind()
                  << (one.object().empty() ? "" : " ") << one.object() << " because " << one.why() << "\n";
  }
  return absl::OkStatus();
}

absl::Status ShowAdvice(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the advice's id"));
  pb::ListAdviceRequest request;
  PGA_RETURN_IF_ERROR(AskFor(context, &request));
  request.set_dismissed(true);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<pb::ListAdviceResponse>(absl::StrCat(kService, "ListAdvice"), request));
  for (const query_pb::Advice& advice : answer.advice()) {
    if (advice.id() != id) continue;
    if (context.json) return context.PrintJson(advice);
    Table table({"WHAT", "VALUE"});
    table.Add({"advice", advice.what()});
    table.Add({"kind", advice.kind()});
    table.Add({"source", advice.source_name()});
    if (!advice.database_name().empty()) table.Add({"database", advice.database_name()});
    table.Add({"object", advice.object()});
    for (const std::string& why : advice.why()) table.Add({"why", why});
    table.Add({"sure", absl::StrCat(advice.certainty(), ": ", advice.certainty_reason())});
    if (advice.dismissed()) {
      table.Add({"dismissed", absl::StrCat("by ", advice.dismissed_by(), ": ", advice.dismissed_reason())});
    }
    PGA_RETURN_IF_ERROR(context.Print(table));
    if (!advice.command().empty()) context.Say() << "\n" << advice.command() << "\n";
    if (!advice.instruction().empty()) context.Say() << "\n" << advice.instruction() << "\n";
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("there is no advice ", id, " now; see `pgactl advice list`"));
}

absl::Status DismissAdvice(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the advice's id"));
  pb::DismissAdviceRequest request;
  request.set_id(id);
  request.set_reason(context.arguments->Get("reason"));
  request.set_source(context.arguments->Get("source"));
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<pb::DismissAdviceResponse>(absl::StrCat(kService, "DismissAdvice"), request));
  if (context.json) return context.PrintJson(answer);
  context.Say() << "the advice is dismissed; `pgactl advice restore " << id << "` takes that back\n";
  return absl::OkStatus();
}

absl::Status RestoreAdvice(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the advice's id"));
  pb::RestoreAdviceRequest request;
  request.set_id(id);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<pb::RestoreAdviceResponse>(absl::StrCat(kService, "RestoreAdvice"), request));
  if (context.json) return context.PrintJson(answer);
  context.Say() << "the advice is shown again\n";
  return absl::OkStatus();
}

absl::Status ImplementAdvice(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the advice's id"));
  pb::ImplementRecommendationRequest request;
  request.set_recommendation_id(id);
  request.set_notes(context.arguments->Get("notes"));
  request.set_source(context.arguments->Get("source"));
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::ImplementRecommendationResponse>(
                                              absl::StrCat(kService, "ImplementRecommendation"), request));
  if (context.json) return context.PrintJson(answer);
  context.Say() << "noted as " << answer.id() << "; `pgactl advice results` says what comes of it\n";
  return absl::OkStatus();
}

absl::Status AdviceResults(Context& context) {
  pb::ListOptimizationResultsRequest request;
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 20, 1, 50));
  PGA_ASSIGN_OR_RETURN(const int minutes, context.arguments->Int("minutes", 60, 3, 1440));
  request.set_limit(limit);
  request.set_minutes(minutes);
  request.set_status(context.arguments->Get("status"));
  for (const std::string& source : context.arguments->All("source")) request.add_source(source);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::ListOptimizationResultsResponse>(
                                              absl::StrCat(kService, "ListOptimizationResults"), request));
  if (context.json) return context.PrintJson(answer);
  Table table({"ID", "TIME", "STATUS", "SOURCE", "DATABASE", "KIND", "OBJECT", "BEFORE", "AFTER", "FASTER", "REASON"},
              {"DATABASE", "REASON"});
  for (const pb::OptimizationResult& one : answer.results()) {
    table.Add({absl::StrCat(one.id()), Clock(FromProto(one.implemented_at())), one.status(), one.source_name(),
               one.database_name(), one.kind(), one.object(),
               one.has_before_mean_time() ? Millis(one.before_mean_time()) : "",
               one.has_after_mean_time() ? Millis(one.after_mean_time()) : "",
               one.has_improvement_percent() ? Percent(one.improvement_percent() / 100) : "", one.reason()});
  }
  return context.Print(table, "no advice was noted as followed; see `pgactl advice implement`");
}

absl::Status Forecast(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string metric, context.Word(0, "a metric"));
  PGA_ASSIGN_OR_RETURN(const std::string column, context.Word(1, "a gauge of the metric"));
  query_pb::ForecastRequest request;
  request.set_metric(metric);
  request.set_column(column);
  double limit_value = 0;
  if (!absl::SimpleAtod(context.arguments->Get("reaches", "0"), &limit_value)) {
    return UsageError("--reaches wants a number");
  }
  request.set_limit_value(limit_value);
  for (const std::string& source : context.arguments->All("source")) request.add_source(source);
  for (const std::string& filter : context.arguments->All("filter")) request.add_filter(filter);
  PGA_ASSIGN_OR_RETURN(const int hours, context.arguments->Int("hours", 168, 24, 720));
  request.set_hours(hours);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<query_pb::ForecastResponse>(
                                              "pganalytics.query.v1.AdviceService.Forecast", request));
  if (context.json) return context.PrintJson(answer);
  Table table({"SOURCE", "LABELS", "NOW", "AN HOUR", "AT", "EARLIEST", "LATEST", "NOT JUDGED"}, {"LABELS"});
  const auto at = [](const google::protobuf::Timestamp& time, bool known) {
    return known ? Minute(FromProto(time)) : std::string("never");
  };
  for (const query_pb::ForecastSeries& one : answer.series()) {
    std::vector<std::string> labels;
    for (const auto& [name, value] : one.labels()) labels.push_back(absl::StrCat(name, "=", value));
    std::sort(labels.begin(), labels.end());
    const bool known = one.not_judged().empty();
    table.Add({one.source_name(), absl::StrJoin(labels, " "), one.has_now() ? Number(one.now()) : "",
               one.has_per_hour() ? Number(one.per_hour()) : "", known ? at(one.at(), one.has_at()) : "",
               one.has_earliest() ? Minute(FromProto(one.earliest())) : "",
               one.has_latest() ? Minute(FromProto(one.latest())) : "", one.not_judged()});
  }
  return context.Print(table, "no such series");
}

}  // namespace

std::vector<Command> AdviceCommands() {
  const std::vector<OptionSpec> options = {
      {"source", "NAME", "only this source; may be repeated", true},
      {"kind", "KIND", "only this kind, as index_unused (docs/advice.md)"},
      {"database", "NAME", "only this database, and what is of the whole server"},
      {"hours", "N", "interval that counters are added up over, 1 to 720 (default 168)"},
      {"least-hours", "N", "history without which use is not judged, 0 to 720 (default 168)"}};
  std::vector<OptionSpec> list = options;
  list.push_back({"dismissed", "", "also what was dismissed"});
  return {
      {"advice list", "", "what should be done about servers, and what could not be judged", list, ListAdvice, true},
      {"advice show", "ID", "one advice with its figures and its command", options, ShowAdvice},
      {"advice dismiss",
       "ID",
       "decide against an advice",
       {{"reason", "TEXT", "why"}, {"source", "NAME", "its source; needed with more than 50"}},
       DismissAdvice},
      {"advice restore", "ID", "take a dismissal back", {}, RestoreAdvice},
      {"advice implement",
       "ID",
       "note that an advice is followed now",
       {{"notes", "TEXT", "what was done"}, {"source", "NAME", "its source; needed with more than 50"}},
       ImplementAdvice},
      {"advice results",
       "",
       "what came of advice that was followed",
       {{"status", "WORD", "pending, improved, degraded, unchanged or not_measured"},
        {"minutes", "N", "length of both windows, 3 to 1440 (default 60)"},
        {"limit", "N", "how many (default 20)"},
        {"source", "NAME", "only this source; may be repeated", true}},
       AdviceResults},
      {"forecast",
       "METRIC COLUMN",
       "when a gauge reaches a value if it goes on as it did",
       {{"reaches", "N", "the value (default 0)"},
        {"source", "NAME", "only this source; may be repeated", true},
        {"filter", "LABEL=VALUE", "only series with this label; may be repeated", true},
        {"hours", "N", "history, 24 to 720 (default 168)"}},
       Forecast,
       true}};
}

}  // namespace pga::pgactl
