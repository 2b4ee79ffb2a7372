// Entries of servers' logs, and plans that auto_explain wrote to them or EXPLAIN gave.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "pganalytics/query/v1/query_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace query_pb = ::pganalytics::query::v1;

bool IsCut(const query_pb::LogEvent& event, const char* text) {
  return std::find(event.truncated().begin(), event.truncated().end(), text) != event.truncated().end();
}

// Message and what belongs to it on one line.
std::string TextOf(const query_pb::LogEvent& event) {
  std::vector<std::string> parts;
  if (!event.message().empty()) parts.push_back(Shown(event.message(), IsCut(event, "message")));
  if (!event.detail().empty()) parts.push_back("DETAIL: " + Shown(event.detail(), IsCut(event, "detail")));
  if (!event.hint().empty()) parts.push_back("HINT: " + Shown(event.hint(), IsCut(event, "hint")));
  if (!event.context().empty()) parts.push_back("CONTEXT: " + Shown(event.context(), IsCut(event, "context")));
  if (!event.statement().empty()) parts.push_back("STATEMENT: " + Shown(event.statement(), IsCut(event, "statement")));
  return parts.empty() ? event.object() : absl::StrJoin(parts, "  ");
}

absl::Status Logs(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  query_pb::ListLogEventsRequest request;
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  const auto all = [&](const char* option, google::protobuf::RepeatedPtrField<std::string>* to) {
    for (const std::string& word : context.arguments->All(option)) to->Add(std::string(word));
  };
  all("severity", request.mutable_severity());
  all("class", request.mutable_class_());
  all("sqlstate", request.mutable_sqlstate());
  all("database", request.mutable_database());
  all("user", request.mutable_user());
  request.set_query_id(context.arguments->Get("query-id"));
  PGA_ASSIGN_OR_RETURN(const int pid, context.arguments->Int("pid", 0, 1, INT32_MAX));
  request.set_pid(pid);
  request.set_text(context.arguments->Get("text"));
  request.set_page(context.arguments->Get("page"));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 0, 1, 1000));
  request.set_limit(limit);
  PGA_RETURN_IF_ERROR(SetTextLength(context, &request));
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<query_pb::ListLogEventsResponse>(
                                              "pganalytics.query.v1.QueryService.ListLogEvents", request));
  if (context.json) return context.PrintJson(answer);
  if (context.csv) {
    Table table({"time", "source", "severity", "class", "sqlstate", "database", "user", "application", "client", "pid",
                 "query_id", "duration_ms", "bytes", "object", "message", "detail", "hint", "context", "statement"});
    for (const query_pb::LogEvent& event : answer.events()) {
      table.Add({absl::FormatTime(absl::RFC3339_full, FromProto(event.time()), absl::UTCTimeZone()),
                 event.source_name(), event.severity(), event.class_(), event.sqlstate(), event.database_name(),
                 event.user_name(), event.application_name(), event.client(),
                 event.pid() == 0 ? "" : absl::StrCat(event.pid()), event.query_id(),
                 event.has_duration_ms() ? absl::StrCat(event.duration_ms()) : "",
                 event.has_bytes() ? absl::StrCat(event.bytes()) : "", event.object(),
                 Shown(event.message(), IsCut(event, "message")), Shown(event.detail(), IsCut(event, "detail")),
                 Shown(event.hint(), IsCut(event, "hint")), Shown(event.context(), IsCut(event, "context")),
                 Shown(event.statement(), IsCut(event, "statement"))});
    }
    PGA_RETURN_IF_ERROR(context.Print(table));
  } else {
    const std::string zone = ZoneName(FromProto(answer.end()));
    Table table(
        {"WRITTEN (" + zone + ")", "SOURCE", "SEVERITY", "CLASS", "SQLSTATE", "DATABASE", "USER", "PID", "TEXT"},
        {"PID", "USER", "SQLSTATE", "DATABASE", "SOURCE"});
    for (const query_pb::LogEvent& event : answer.events()) {
      table.Add({Clock(FromProto(event.time())), event.source_name(), event.severity(), event.class_(),
                 event.sqlstate(), event.database_name(), event.user_name(),
                 event.pid() == 0 ? "" : absl::StrCat(event.pid()), TextOf(event)});
    }
    PGA_RETURN_IF_ERROR(
        context.Print(table, absl::StrCat("no entries, ", RangeText(FromProto(answer.start()), FromProto(answer.end())),
                                          "; `pgactl sources` and `pgactl doctor` say which logs are not read")));
  }
  if (answer.texts_hidden()) context.Say() << "texts are for those who may read statement texts\n";
  if (!answer.next_page().empty()) context.Say() << "there may be older ones: --page " << answer.next_page() << "\n";
  return absl::OkStatus();
}

absl::Status Plans(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  query_pb::ListPlansRequest request;
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  request.set_query_id(context.arguments->Get("query-id"));
  request.set_database(context.arguments->Get("database"));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 0, 1, 1000));
  request.set_limit(limit);
  PGA_RETURN_IF_ERROR(SetTextLength(context, &request));
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<query_pb::ListPlansResponse>(
                                              "pganalytics.query.v1.QueryService.ListPlans", request));
  if (context.json) return context.PrintJson(answer);
  const std::string zone = ZoneName(FromProto(answer.end()));
  Table table(
      {"QUERY ID", "PLAN", "SOURCE", "DATABASE", "LOGGED", "EXPLAINED", "MEAN", "FIRST (" + zone + ")", "LAST", "TREE"},
      {"FIRST (" + zone + ")", "DATABASE", "SOURCE", "PLAN"});
  for (const query_pb::StatementPlan& plan : answer.plans()) {
    table.Add({plan.query_id(), plan.plan_id(), plan.source_name(), plan.database_name(), Number(plan.logged()),
               Number(plan.explained()), plan.logged() > 0 ? Millis(plan.duration_ms() / plan.logged()) : "",
               Clock(FromProto(plan.first_seen())), Clock(FromProto(plan.last_seen())),
               Shown(plan.tree(), plan.tree_truncated())});
  }
  PGA_RETURN_IF_ERROR(context.Print(
      table, absl::StrCat("no plans, ", RangeText(FromProto(answer.start()), FromProto(answer.end())),
                          "; auto_explain writes them to the server's log, without it pganalytics.explain "
                          "gives them (docs/operations.md, `pgactl doctor`)")));
  if (answer.plans_found() > answer.plans_size()) {
    context.Say() << answer.plans_size() << " of " << answer.plans_found() << " plans; raise --limit\n";
  }
  for (const query_pb::PlanChange& change : answer.changes()) {
    context.Say() << "another plan: statement " << change.query_id() << " of " << change.database_name() << " on "
                  << change.source_name() << ", " << change.before_plan_id() << " until "
                  << Clock(FromProto(change.seen_before())) << ", " << change.after_plan_id() << " from "
                  << Clock(FromProto(change.seen_after())) << " on\n";
  }
  if (answer.texts_hidden()) context.Say() << "trees are for those who may read statement texts\n";
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> LogCommands() {
  return {
      {"logs", "", "entries of servers' logs, newest first",
       With({{"severity", "WORD", "ERROR, FATAL, PANIC, WARNING, LOG, ...; may be repeated", true},
             {"class", "NAME", "what it is about, as `pgactl rows log_counts` shows; may be repeated", true},
             {"sqlstate", "CODE", "five characters, or a class of two; may be repeated", true},
             {"database", "NAME", "only this database; may be repeated", true},
             {"user", "NAME", "only this user; may be repeated", true},
             {"query-id", "ID", "only of this statement"},
             {"pid", "N", "only of this process"},
             {"text", "WORDS", "a part of any of the texts, in letters of any case"},
             {"limit", "N", "most entries, at most 1000 (default 100)"},
             {"page", "PAGE", "older ones, as the answer before said; with --from and --to as there"},
             {"text-length", "N", "most characters of each text (default 500)"}},
            RangeOptions()),
       Logs, true},
      {"plans", "", "plans of statements that auto_explain logged or EXPLAIN gave, and statements that got another one",
       With({{"query-id", "ID", "only of this statement"},
             {"database", "NAME", "only this database"},
             {"limit", "N", "most plans, at most 1000 (default 100)"},
             {"text-length", "N", "most characters of each tree (default 4000)"}},
            RangeOptions()),
       Plans, true}};
}

}  // namespace pga::pgactl
