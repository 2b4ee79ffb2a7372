// What changed between two windows and why, the snapshots that windows are named by, statements by their fingerprint,
// and hours out of the ordinary.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "pganalytics/query/v1/insight_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace pb = ::pganalytics::query::v1;

std::string Method(const char* name) {
  return absl::StrCat("pganalytics.query.v1.InsightService.", name);
}

// Windows of `--minutes`: around --at, those of two snapshots, or from --from on and from --with on.
absl::Status SetWindows(const Context& context, pb::CompareQueriesRequest* request) {
  const Arguments& arguments = *context.arguments;
  PGA_ASSIGN_OR_RETURN(const int minutes, arguments.Int("minutes", 60, 3, 43'200));
  const bool by_snapshots = arguments.Has("before-snapshot") || arguments.Has("after-snapshot");
  if (static_cast<int>(by_snapshots) + static_cast<int>(arguments.Has("at")) +
          static_cast<int>(arguments.Has("from") || arguments.Has("with")) >
      1) {
    return UsageError("use --at, or --from and --with, or --before-snapshot and --after-snapshot");
  }
  if (by_snapshots) {
    PGA_ASSIGN_OR_RETURN(const int before, arguments.Int("before-snapshot", 0, 1, INT32_MAX));
    PGA_ASSIGN_OR_RETURN(const int after, arguments.Int("after-snapshot", 0, 1, INT32_MAX));
    request->set_before_snapshot(before);
    request->set_after_snapshot(after);
    request->set_minutes(minutes);
    return absl::OkStatus();
  }
  if (arguments.Has("at")) {
    PGA_ASSIGN_OR_RETURN(const absl::Time at, ParseInstant(arguments.Get("at"), context.now));
    *request->mutable_at() = ToProto(at);
    request->set_minutes(minutes);
    return absl::OkStatus();
  }
  const absl::Duration length = absl::Minutes(minutes);
  absl::Time after = context.now - length;
  if (arguments.Has("from")) {
    PGA_ASSIGN_OR_RETURN(after, ParseInstant(arguments.Get("from"), context.now));
  }
  absl::Time before = after - absl::Hours(24);
  if (arguments.Has("with")) {
    PGA_ASSIGN_OR_RETURN(before, ParseInstant(arguments.Get("with"), context.now));
  }
  *request->mutable_before_from() = ToProto(before);
  *request->mutable_before_to() = ToProto(before + length);
  *request->mutable_after_from() = ToProto(after);
  *request->mutable_after_to() = ToProto(after + length);
  return absl::OkStatus();
}

std::string ChangeText(const pb::QueryComparison& statement) {
  if (!statement.has_mean_time_change_percent()) return "";
  const double share = statement.mean_time_change_percent() / 100;
  return absl::StrCat(std::round(share * 1000) > 0 ? "+" : "", Percent(share));
}

// The status, or of a statement that is as fast as before what its load is.
std::string StatusText(const pb::QueryComparison& statement) {
  if (statement.improvement_status() == "unchanged" && statement.load_status() != "same") {
    return statement.load_status() == "more" ? "more load" : "less load";
  }
  return statement.improvement_status();
}

absl::Status Compare(Context& context) {
  pb::CompareQueriesRequest request;
  PGA_RETURN_IF_ERROR(SetWindows(context, &request));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 20, 1, 100));
  request.set_limit(limit);
  request.set_database(context.arguments->Get("database"));
  request.set_across(context.arguments->Has("across"));
  for (const std::string& source : context.arguments->All("source")) request.add_source(source);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::CompareQueriesResponse>(Method("CompareQueries"), request));
  if (context.json) return context.PrintJson(answer);
  const auto say = [&](const char* name, const pb::ComparedWindow& window) {
    context.Say() << name << RangeText(FromProto(window.from()), FromProto(window.to())) << ", "
                  << Percent(window.completeness()) << " covered, total " << Millis(window.total_time()) << "\n";
  };
  say("before: ", answer.before());
  say("after:  ", answer.after());
  context.Say() << answer.degraded_count() << " slower, " << answer.improved_count() << " faster, "
                << answer.unchanged_count() << " unchanged, " << answer.new_count() << " new, " << answer.gone_count()
                << " gone\n";
  Table table({"STATUS", "QUERY ID", "SOURCE", "DATABASE", "TOTAL BEFORE", "AFTER", "MEAN BEFORE", "MEAN AFTER",
               "CHANGE", "CALLS BEFORE", "CALLS AFTER", "SINCE", "CAUSE", "TEXT"},
              {"CALLS BEFORE", "CALLS AFTER", "DATABASE", "SOURCE", "TOTAL BEFORE", "AFTER", "QUERY ID"});
  for (const pb::QueryComparison& statement : answer.comparisons()) {
    std::string cause;
    if (!statement.causes().empty()) {
      cause = statement.causes(0).summary();
    } else if (statement.improvement_status() == "degraded" || statement.improvement_status() == "improved") {
      cause = "nothing stored explains it";
    }
    table.Add({StatusText(statement), statement.query_hash(), statement.source_name(), statement.database_name(),
               Millis(statement.before_total_time()), Millis(statement.after_total_time()),
               statement.has_before_mean_time() ? Millis(statement.before_mean_time()) : "-",
               statement.has_after_mean_time() ? Millis(statement.after_mean_time()) : "-", ChangeText(statement),
               Number(statement.before_calls()), Number(statement.after_calls()),
               statement.has_since() ? Clock(FromProto(statement.since())) : "", cause,
               Shown(statement.query_text(), statement.query_text_truncated())});
  }
  PGA_RETURN_IF_ERROR(context.Print(table, "no statements in either window"));
  for (const pb::EvidenceSource& evidence : answer.evidence()) {
    if (!evidence.not_read().empty()) {
      context.Say() << evidence.metric() << " was not read: " << OneLine(evidence.not_read()) << "\n";
    } else if (evidence.completeness() < 0.5) {
      context.Say() << evidence.metric() << " covers " << Percent(evidence.completeness())
                    << " of the time; causes that it would show may be missing\n";
    }
  }
  return absl::OkStatus();
}

absl::Status ListSnapshots(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  pb::ListSnapshotsRequest request;
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 20, 1, 100));
  request.set_limit(limit);
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::ListSnapshotsResponse>(Method("ListSnapshots"), request));
  if (context.json) return context.PrintJson(answer);
  Table table({"ID", "TIME", "NAME", "TYPE", "BY", "DESCRIPTION"}, {"TYPE", "BY"});
  for (const pb::Snapshot& snapshot : answer.snapshots()) {
    table.Add({absl::StrCat(snapshot.id()), Clock(FromProto(snapshot.created_at())), snapshot.name(),
               snapshot.snapshot_type(), snapshot.created_by(), snapshot.description()});
  }
  return context.Print(table, "no snapshots; `pgactl snapshots create NAME` makes one");
}

absl::Status CreateSnapshot(Context& context) {
  pb::CreateSnapshotRequest request;
  PGA_ASSIGN_OR_RETURN(const std::string name, context.Word(0, "the snapshot's name"));
  request.set_name(name);
  request.set_description(context.arguments->Get("description"));
  request.set_snapshot_type(context.arguments->Get("type"));
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto made, session->Call<pb::Snapshot>(Method("CreateSnapshot"), request));
  if (context.json) return context.PrintJson(made);
  *context.out << "snapshot " << made.id() << " of " << Clock(FromProto(made.created_at())) << "\n";
  return absl::OkStatus();
}

absl::Status Fingerprints(Context& context) {
  pb::ListFingerprintsRequest request;
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 20, 1, 100));
  request.set_limit(limit);
  request.set_database(context.arguments->Get("database"));
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<pb::ListFingerprintsResponse>(Method("ListFingerprints"), request));
  if (context.json) return context.PrintJson(answer);
  context.Say() << RangeText(FromProto(answer.start()), FromProto(answer.end())) << ", "
                << Percent(answer.completeness()) << " covered; " << Percent(answer.unknown_share())
                << " of the time is of statements without a fingerprint\n";
  Table table({"FINGERPRINT", "TOTAL", "CALLS", "MEAN", "IDS", "SERVERS", "TEXT"}, {"IDS", "SERVERS"});
  for (const pb::Fingerprint& one : answer.data()) {
    table.Add({one.fingerprint_hash(), Millis(one.total_time()), Number(one.total_calls()),
               Millis(one.avg_execution_time()), Number(one.unique_query_count()), Number(one.source_names_size()),
               one.normalized_query()});
  }
  return context.Print(table, "no statement with a known text ran");
}

std::string ValueText(const pb::QueryAnomaly& anomaly, double value) {
  if (anomaly.metric_name() == "mean_time" || anomaly.metric_name() == "io_time") return Millis(value);
  return Number(value) + (anomaly.metric_name() == "calls" ? "/s" : "");
}

absl::Status ListAnomalies(Context& context) {
  pb::ListAnomaliesRequest request;
  request.set_severity(context.arguments->Get("severity"));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 50, 1, 100));
  request.set_limit(limit);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::ListAnomaliesResponse>(Method("ListAnomalies"), request));
  if (context.json) return context.PrintJson(answer);
  Table table({"ID", "HOUR", "SOURCE", "DATABASE", "QUERY ID", "WHAT", "VALUE", "AS A RULE", "Z", "METHOD", "HOURS"},
              {"HOURS", "METHOD", "DATABASE"});
  for (const pb::QueryAnomaly& one : answer.anomalies()) {
    table.Add({absl::StrCat(one.id()), Clock(FromProto(one.hour_start())), one.source_name(), one.database_name(),
               one.query_hash(), one.anomaly_type(), ValueText(one, one.metric_value()),
               ValueText(one, one.baseline_value()), Number(std::round(one.z_score() * 10) / 10), one.method(),
               absl::StrCat(one.baseline_hours())});
  }
  return context.Print(table, "no such anomalies; `pgactl anomalies detect` looks for them");
}

absl::Status DetectAnomalies(Context& context) {
  pb::DetectAnomaliesRequest request;
  PGA_ASSIGN_OR_RETURN(const int hours, context.arguments->Int("hours", 1, 1, 24));
  request.set_hours(hours);
  for (const std::string& source : context.arguments->All("source")) request.add_source(source);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<pb::DetectAnomaliesResponse>(Method("DetectAnomalies"), request));
  if (context.json) return context.PrintJson(answer);
  *context.out << RangeText(FromProto(answer.start()), FromProto(answer.end())) << ", "
               << Percent(answer.completeness()) << " covered: " << answer.message() << ", "
               << answer.without_baseline() << " of them without a baseline; " << answer.found() << " found, "
               << answer.added() << " of them not known before\n";
  return absl::OkStatus();
}

absl::Status ResolveAnomaly(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string word, context.Word(0, "the anomaly's id"));
  pb::ResolveAnomalyRequest request;
  int id = 0;
  if (!absl::SimpleAtoi(word, &id)) return UsageError("the anomaly's id is a whole number");
  request.set_id(id);
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::ResolveAnomalyResponse>(Method("ResolveAnomaly"), request));
  if (context.json) return context.PrintJson(answer);
  *context.out << "anomaly " << answer.id() << " " << answer.status() << "\n";
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> InsightCommands() {
  return {{"compare",
           "",
           "statements of two windows: which got slower or faster, and why",
           {{"at", "TIME", "instant of a change: --minutes before it against --minutes after it"},
            {"from", "TIME", "start of the window; default the last --minutes"},
            {"with", "TIME", "start of the one before; default a day earlier"},
            {"before-snapshot", "ID", "the --minutes before this snapshot"},
            {"after-snapshot", "ID", "against those before this one"},
            {"minutes", "N", "length of both (default 60)"},
            {"across", "", "a statement is one over all sources and databases"},
            {"database", "NAME", "only this database"},
            {"limit", "N", "how many (default 20)"},
            {"source", "NAME", "only this source (name or id); may be repeated", true}},
           Compare},
          {"snapshots list",
           "",
           "instants that were given a name",
           {{"limit", "N", "how many (default 20)"}},
           ListSnapshots},
          {"snapshots create",
           "NAME",
           "give this instant a name, to compare with later",
           {{"description", "TEXT", "what it is about"},
            {"type", "WORD", "manual (default), scheduled, pre_deploy or post_deploy"}},
           CreateSnapshot},
          {"fingerprints", "", "statements by what they are, over servers, databases and versions",
           With({{"database", "NAME", "only this database"}, {"limit", "N", "how many (default 20)"}}, RangeOptions()),
           Fingerprints},
          {"anomalies list",
           "",
           "hours of statements that were far from the rule, and that nobody has resolved",
           {{"severity", "WORD", "low, medium or high (default)"}, {"limit", "N", "how many (default 50)"}},
           ListAnomalies},
          {"anomalies detect",
           "",
           "look for them in the last full hour",
           {{"hours", "N", "or in so many (at most 24)"},
            {"source", "NAME", "only this source (name or id); may be repeated", true}},
           DetectAnomalies},
          {"anomalies resolve", "ID", "say that you have looked at one", {}, ResolveAnomaly}};
}

}  // namespace pga::pgactl
