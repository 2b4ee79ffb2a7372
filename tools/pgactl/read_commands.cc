// What pgactl shows of stored metrics, and signing in.
#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/util/time_util.h"
#include "libs/config/values.h"
#include "libs/status/status.h"
#include "pganalytics/auth/v1/auth_service.pb.h"
#include "pganalytics/query/v1/query_service.pb.h"
#include "pganalytics/query/v1/system_service.pb.h"
#include "pganalytics/registry/v1/registry_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace query_pb = ::pganalytics::query::v1;
namespace registry_pb = ::pganalytics::registry::v1;

constexpr char kQuery[] = "pganalytics.query.v1.QueryService.";
constexpr char kSystem[] = "pganalytics.query.v1.SystemService.";
constexpr char kRegistry[] = "pganalytics.registry.v1.RegistryService.";

template <typename Message>
std::optional<absl::Time> LastSeen(const Message& message) {
  if (!message.has_last_seen()) return std::nullopt;
  return FromProto(message.last_seen());
}

absl::Status Login(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  std::string username;
  if (const auto name = context.environment.find("PGACTL_USERNAME"); name != context.environment.end()) {
    username = name->second;
  }
  if (username.empty() || !context.arguments->words().empty()) {
    PGA_ASSIGN_OR_RETURN(username, context.Word(0, "the user's name"));
  }
  PGA_ASSIGN_OR_RETURN(const std::string password, context.read_secret("password", "PGACTL_PASSWORD_FILE"));
  PGA_ASSIGN_OR_RETURN(const std::string role, session->Login(username, password));
  *context.out << "signed in at " << session->endpoint() << " as " << username
               << (role.empty() ? "" : " (" + role + ")") << "\n";
  return absl::OkStatus();
}

absl::Status Logout(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_RETURN_IF_ERROR(session->Logout());
  *context.out << "signed out of " << session->endpoint() << "\n";
  return absl::OkStatus();
}

absl::Status Health(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto health, session->Call<query_pb::GetHealthResponse>(std::string(kSystem) + "GetHealth",
                                                                                     query_pb::GetHealthRequest()));
  if (context.json) {
    PGA_RETURN_IF_ERROR(context.PrintJson(health));
  } else {
    *context.out << health.status() << ", version " << health.version() << ", up "
                 << absl::FormatDuration(absl::Seconds(health.uptime())) << ", metadata database "
                 << (health.database_ok() ? "answers" : "DOES NOT ANSWER") << ", metrics database "
                 << (health.timescale_ok() ? "answers" : "DOES NOT ANSWER") << "\n";
  }
  if (health.status() != "healthy") return absl::UnavailableError("the suite is " + health.status());
  return absl::OkStatus();
}

absl::Status Count(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto count, session->Call<query_pb::CountMetricsResponse>(
                                             std::string(kQuery) + "CountMetrics", query_pb::CountMetricsRequest()));
  if (context.json) return context.PrintJson(count);
  *context.out << Number(count.count()) << "\n";
  return absl::OkStatus();
}

absl::Status Collectors(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const registry_pb::ListCollectorsResponse all, AllCollectors(*session));
  if (context.json) return context.PrintJson(all);
  Table table({"COLLECTOR", "NAME", "STATUS", "LAST SEEN", "VERSION", "ROWS 24H", "ROWS", "CONFIG", "HOST"},
              {"CONFIG", "VERSION", "ROWS", "HOST", "ROWS 24H"});
  for (const registry_pb::Collector& c : all.data()) {
    table.Add({c.id(), c.name(), c.status(), Ago(LastSeen(c), context.now), c.version(), Number(c.metrics_count_24h()),
               Number(c.metrics_count_total()), c.config_stored() ? std::to_string(c.config_version()) : "own",
               c.hostname()});
  }
  return context.Print(table, "no collectors; register one with a registration secret (`pgactl secrets create`)");
}

// "down since 5 min ago: connection refused"
std::string StateText(const registry_pb::Source& source, absl::Time now) {
  std::string text = source.state();
  if (source.state() == "up") return text;
  absl::StrAppend(&text, " since ", Ago(absl::FromUnixSeconds(source.since().seconds()), now));
  if (!source.message().empty()) absl::StrAppend(&text, ": ", source.message());
  if (source.state() == "incomplete") {
    const registry_pb::MissingPart& first = source.not_collected(0);
    absl::StrAppend(&text, ": ", first.what(), ": ", first.reason());
    const auto missing = std::count_if(source.not_collected().begin(), source.not_collected().end(),
                                       [](const registry_pb::MissingPart& part) { return !part.off(); });
    if (missing > 1) absl::StrAppend(&text, " (and ", missing - 1, " more)");
  }
  return text;
}

absl::Status Sources(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<registry_pb::ListSourcesResponse>(std::string(kRegistry) + "ListSources",
                                                                       registry_pb::ListSourcesRequest()));
  if (context.json) return context.PrintJson(answer);
  Table table({"SOURCE", "GROUP", "COLLECTOR", "SERVER", "ROLE", "LAST SEEN", "FRAMES 24H", "ROWS 24H",
               "SAME SERVER AS", "ID", "STATE"},
              {"ID", "FRAMES 24H", "SAME SERVER AS", "ROWS 24H", "GROUP", "COLLECTOR"});
  std::map<std::string, std::string> names;
  for (const registry_pb::Source& s : answer.sources()) names[s.id()] = s.name();
  for (const registry_pb::Source& s : answer.sources()) {
    std::vector<std::string> same;
    for (const std::string& id : s.same_server_as()) same.push_back(names[id]);
    const int version = s.server_version_num();
    table.Add({s.name(), s.group(), s.collector_id(),
               version == 0 ? s.kind() : absl::StrCat(version / 10000, ".", version % 10000), s.role(),
               Ago(LastSeen(s), context.now), s.has_frames_24h() ? Number(s.frames_24h()) : "-",
               s.has_rows_24h() ? Number(s.rows_24h()) : "-", absl::StrJoin(same, ", "), s.id(),
               StateText(s, context.now)});
  }
  return context.Print(table, "no sources yet; a collector makes them with its first report");
}

// The source that a word names: its id, or its name where only one has it.
absl::StatusOr<registry_pb::Source> FindSource(Session& session, const std::string& word) {
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session.Call<registry_pb::ListSourcesResponse>(std::string(kRegistry) + "ListSources",
                                                                      registry_pb::ListSourcesRequest()));
  std::vector<registry_pb::Source> found;
  for (const registry_pb::Source& source : answer.sources()) {
    if (source.id() == word) return source;
    if (source.name() == word) found.push_back(source);
  }
  if (found.size() == 1) return found[0];
  if (found.empty()) return absl::NotFoundError(absl::StrCat("no source '", word, "'; see `pgactl sources`"));
  return absl::InvalidArgumentError(absl::StrCat("several groups have a source '", word, "'; name it by its id"));
}

absl::Status RenameSource(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string word, context.Word(0, "SOURCE"));
  PGA_ASSIGN_OR_RETURN(const std::string name, context.Word(1, "NAME"));
  PGA_ASSIGN_OR_RETURN(const registry_pb::Source source, FindSource(*session, word));
  registry_pb::UpdateSourceRequest request;
  request.set_id(source.id());
  request.set_name(name);
  PGA_RETURN_IF_ERROR(session->Call<registry_pb::Source>(std::string(kRegistry) + "UpdateSource", request).status());
  *context.out << "renamed " << source.name() << " to " << name << "\n";
  return absl::OkStatus();
}

absl::Status MoveSource(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string word, context.Word(0, "SOURCE"));
  PGA_ASSIGN_OR_RETURN(const std::string group, context.Word(1, "GROUP"));
  PGA_ASSIGN_OR_RETURN(const registry_pb::Source source, FindSource(*session, word));
  registry_pb::UpdateSourceRequest request;
  request.set_id(source.id());
  request.set_group(group);
  PGA_RETURN_IF_ERROR(session->Call<registry_pb::Source>(std::string(kRegistry) + "UpdateSource", request).status());
  *context.out << "moved " << source.name() << " to group " << group << "\n";
  return absl::OkStatus();
}

absl::Status DeleteSource(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string word, context.Word(0, "SOURCE"));
  PGA_ASSIGN_OR_RETURN(const registry_pb::Source source, FindSource(*session, word));
  registry_pb::DeleteSourceRequest request;
  request.set_id(source.id());
  PGA_RETURN_IF_ERROR(
      session->Call<registry_pb::DeleteSourceResponse>(std::string(kRegistry) + "DeleteSource", request).status());
  *context.out << "deleted " << source.name() << "; its data goes within the hour\n";
  return absl::OkStatus();
}

absl::Status Top(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  query_pb::TopQueriesRequest request;
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  request.set_order_by(context.arguments->Get("by", "total_time"));
  request.set_database(context.arguments->Get("database"));
  for (const std::string& id : context.arguments->All("id")) request.add_query_id(id);
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 20, 1, 1000));
  request.set_limit(limit);
  PGA_RETURN_IF_ERROR(SetTextLength(context, &request));
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<query_pb::TopQueriesResponse>(std::string(kQuery) + "TopQueries", request));
  if (context.json) return context.PrintJson(answer);
  context.Say() << RangeText(FromProto(answer.start()), FromProto(answer.end())) << ", "
                << Percent(answer.completeness()) << " covered\n";
  Table table(
      {"QUERY ID", "SOURCE", "DATABASE", "USER", "CALLS", "TOTAL", "SHARE", "MEAN", "ROWS", "READ", "WAL", "TEXT"},
      {"WAL", "READ", "ROWS", "USER", "DATABASE", "QUERY ID", "SOURCE"});
  for (const query_pb::TopQuery& q : answer.queries()) {
    table.Add({q.query_id(), q.source_name(), q.database_name(), q.user_name(),
               (q.lower_bound() ? "≥" : "") + Number(q.calls()), Millis(q.total_time()),
               q.has_share() ? Percent(q.share()) : "", Millis(q.mean_time()), Number(q.rows()),
               Bytes(q.shared_blks_read() * 8192), Bytes(q.wal_bytes()),
               Shown(q.query_text(), q.query_text_truncated())});
  }
  return context.Print(
      table, "no statements in this range; is pg_stat_statements installed? See `pgactl doctor --server URL`");
}

absl::Duration StepOf(const query_pb::Series& series) {
  if (series.points_size() < 2) return absl::ZeroDuration();
  return FromProto(series.points(1).time()) - FromProto(series.points(0).time());
}

absl::Status Series(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  query_pb::QuerySeriesRequest request;
  PGA_ASSIGN_OR_RETURN(const std::string metric, context.Word(0, "the metric"));
  PGA_ASSIGN_OR_RETURN(const std::string column, context.Word(1, "the column"));
  request.set_metric(metric);
  request.set_column(column);
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  for (const std::string& filter : context.arguments->All("filter")) request.add_filter(filter);
  for (const std::string& group : context.arguments->All("by")) request.add_group_by(group);
  PGA_ASSIGN_OR_RETURN(const int step, context.arguments->Int("step", 0, 1, 86400));
  request.set_step(step);
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 0, 1, 1000));
  request.set_limit(limit);
  request.set_rate(context.arguments->Has("rate"));
  request.set_time_zone(context.arguments->Get("time-zone"));
  if (context.arguments->Has("aggregate")) {
    query_pb::Aggregate aggregate;
    if (!query_pb::Aggregate_Parse(context.arguments->Get("aggregate"), &aggregate)) {
      return UsageError("--aggregate must be sum, avg, min, max or last");
    }
    request.set_aggregate(aggregate);
  }
  PGA_ASSIGN_OR_RETURN(const std::vector<query_pb::Series> all,
                       session->List<query_pb::Series>(std::string(kQuery) + "QuerySeries", request));
  if (context.json) return context.PrintJson(all);
  absl::TimeZone zone = absl::LocalTimeZone();
  if (context.arguments->Has("time-zone")) absl::LoadTimeZone(context.arguments->Get("time-zone"), &zone);
  const auto label_text = [](const query_pb::Series& series) {
    std::vector<std::string> labels;
    if (!series.source_name().empty()) labels.push_back("source=" + series.source_name());
    const std::map<std::string, std::string> sorted(series.labels().begin(), series.labels().end());
    for (const auto& [name, value] : sorted) {
      if (!value.empty()) labels.push_back(name + "=" + value);
    }
    return labels.empty() ? std::string("all") : absl::StrJoin(labels, " ");
  };
  if (context.csv) {
    Table points({"time", "series", "value", "unit", "covered_ms", "lower_bound"});
    for (const query_pb::Series& series : all) {
      for (const query_pb::Point& point : series.points()) {
        points.Add({absl::FormatTime(absl::RFC3339_sec, FromProto(point.time()), zone), label_text(series),
                    point.has_value() ? absl::StrCat(point.value()) : "", series.unit(),
                    absl::StrCat(point.covered_ms()), point.lower_bound() ? "true" : "false"});
      }
    }
    return context.Print(points);
  }
  if (all.empty()) {
    *context.out << "no such series in this range\n";
    return absl::OkStatus();
  }
  // Half of the line for the graph, at least enough for two times under it.
  const size_t graph = context.width == 0 ? 60 : std::clamp<size_t>(static_cast<size_t>(context.width) / 2, 20, 120);
  Table table({"GRAPH", "LAST", "MAX", "COVERED", "SERIES"});
  for (const query_pb::Series& series : all) {
    std::vector<std::optional<double>> values;
    std::optional<double> last;
    std::optional<double> highest;
    double covered = 0;
    for (const query_pb::Point& point : series.points()) {
      values.emplace_back(point.has_value() ? std::optional<double>(point.value()) : std::nullopt);
      if (point.has_value()) {
        last = point.value();
        highest = std::max(highest.value_or(point.value()), point.value());
      }
      covered += point.covered_ms();
    }
    const double range_ms = absl::ToDoubleMilliseconds(StepOf(series)) * series.points_size();
    table.Add({Sparkline(values, graph), last ? InUnit(*last, series.unit()) : "-",
               highest ? InUnit(*highest, series.unit()) : "-",
               range_ms > 0 ? Percent(std::min(1.0, covered / range_ms), 0) : "", label_text(series)});
  }
  const query_pb::Series& first = all[0];
  const absl::Duration point = StepOf(first);
  if (first.points_size() > 0) {
    const absl::Time start = FromProto(first.points(0).time());
    const absl::Time end = FromProto(first.points(first.points_size() - 1).time()) + point;
    *context.out << RangeText(start, end, zone);
    if (point > absl::ZeroDuration()) *context.out << ", a point is " << absl::FormatDuration(point);
    *context.out << "\n"
                 << TimeAxis(start, end, std::min(graph, static_cast<size_t>(first.points_size())), zone) << "\n";
  }
  return context.Print(table);
}

// Ids of watched hosts, which have no sessions; none where registry does not answer.
std::set<std::string> HostSources(Session& session) {
  std::set<std::string> ids;
  const auto answer = session.Call<registry_pb::ListSourcesResponse>(std::string(kRegistry) + "ListSources",
                                                                     registry_pb::ListSourcesRequest());
  if (!answer.ok()) return ids;
  for (const registry_pb::Source& source : answer->sources()) {
    if (source.kind() == "host") ids.insert(source.id());
  }
  return ids;
}

absl::Status Activity(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  query_pb::GetActivityRequest request;
  if (context.arguments->Has("at")) {
    PGA_ASSIGN_OR_RETURN(const absl::Time at, ParseInstant(context.arguments->Get("at"), context.now));
    *request.mutable_at() = ToProto(at);
  }
  for (const auto& [option, is_start] : {std::pair("from", true), std::pair("to", false)}) {
    if (!context.arguments->Has(option)) continue;
    PGA_ASSIGN_OR_RETURN(const absl::Time time, ParseInstant(context.arguments->Get(option), context.now));
    *(is_start ? request.mutable_start() : request.mutable_end()) = ToProto(time);
  }
  for (const std::string& source : context.arguments->All("source")) request.add_source(source);
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 0, 1, 1000));
  request.set_limit(limit);
  PGA_RETURN_IF_ERROR(SetTextLength(context, &request));
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<query_pb::GetActivityResponse>(std::string(kQuery) + "GetActivity", request));
  if (context.json) return context.PrintJson(answer);
  std::set<std::string> hosts;
  if (request.source().empty()) hosts = HostSources(*session);
  std::vector<std::string> silent;
  for (const query_pb::SampledSource& source : answer.sources()) {
    if (source.sampled() || hosts.contains(source.source_id())) continue;
    silent.push_back(
        source.source_name() + ": nothing was sampled " +
        (request.has_start() || request.has_end() ? "in this range" : "at " + Clock(FromProto(answer.end()))) +
        (source.has_last_sampled_at() ? ", last at " + Clock(FromProto(source.last_sampled_at()))
                                      : ", nor in the 25 hours before"));
  }
  const std::string zone = ZoneName(FromProto(answer.end()));
  Table table({"SOURCE", "UNTIL (" + zone + ")", "SESSIONS", "STATE", "WAITS FOR", "DATABASE", "USER", "APPLICATION",
               "QUERY ID", "TEXT"},
              {"UNTIL (" + zone + ")", "APPLICATION", "QUERY ID", "SOURCE", "USER", "DATABASE"});
  for (const query_pb::ActivityRow& row : answer.rows()) {
    table.Add({row.source_name(), Clock(FromProto(row.time())), Number(row.average_sessions()), row.state(),
               row.wait_event_type().empty() ? "" : row.wait_event_type() + ":" + row.wait_event(), row.database_name(),
               row.user_name(), row.application_name(), row.query_id(),
               Shown(row.query_text(), row.query_text_truncated())});
  }
  for (const std::string& line : silent) context.Say() << line << "\n";
  if (!table.empty() || context.csv) PGA_RETURN_IF_ERROR(context.Print(table));
  if (answer.sources().empty()) context.Say() << "no sources yet\n";
  if (answer.blocking_size() == 0) return absl::OkStatus();
  Table blocking({"SOURCE", "FROM (" + zone + ")", "UNTIL", "BLOCKED", "DEPTH", "PID", "USER", "BY", "BY USER",
                  "BY STATE", "ROOT", "ROOT USER", "ROOT APPLICATION", "RELATION", "LOCK", "ROOT TEXT"},
                 {"ROOT APPLICATION", "BY STATE", "USER", "DEPTH", "BY USER", "SOURCE", "UNTIL", "LOCK", "ROOT USER"});
  const auto party = [](const query_pb::BlockingParty& of) {
    return of.gid().empty() ? std::to_string(of.pid()) : "prepared " + of.gid();
  };
  for (const query_pb::BlockingEdge& edge : answer.blocking()) {
    const std::string root = edge.has_root() ? party(edge.root()) : edge.cycle() ? "cycle" : "";
    blocking.Add({edge.source_name(), Clock(FromProto(edge.from())),
                  edge.lasts() ? "lasts" : Clock(FromProto(edge.until())),
                  (edge.lasts() ? "≥ " : "") + Millis(edge.blocked_seconds() * 1000), std::to_string(edge.depth()),
                  party(edge.blocked()), edge.blocked().user(), party(edge.blocking()), edge.blocking().user(),
                  edge.blocking().state(), root, edge.root().user(), edge.root().application(), edge.relation(),
                  edge.lock_type() + " " + edge.lock_mode(),
                  Shown(edge.root().query_text(), edge.root().query_text_truncated())});
  }
  context.Say() << "\nBlocking:\n";
  PGA_RETURN_IF_ERROR(context.Print(blocking));
  if (answer.blocking_found() > answer.blocking_size()) {
    context.Say() << "the longest " << answer.blocking_size() << " of " << answer.blocking_found() << " waits\n";
  }
  return absl::OkStatus();
}

absl::Status Freshness(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  query_pb::GetFreshnessRequest request;
  PGA_RETURN_IF_ERROR(FillRange(context, &request));
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<query_pb::GetFreshnessResponse>(std::string(kQuery) + "GetFreshness", request));
  if (context.json) return context.PrintJson(answer);
  Table table({"SOURCE", "METRIC", "NEWEST", "COVERED", "FRAMES", "ROWS", "LOST"});
  for (const query_pb::Freshness& entry : answer.freshness()) {
    table.Add({entry.source_name(), entry.metric(), Ago(FromProto(entry.last_collected_at()), context.now),
               Percent(entry.completeness()), Number(entry.frames()), Number(entry.rows()), Number(entry.gaps())});
  }
  return context.Print(table, "nothing is stored yet");
}

}  // namespace

absl::StatusOr<registry_pb::ListCollectorsResponse> AllCollectors(Session& session) {
  registry_pb::ListCollectorsResponse all;
  for (int page = 1; page <= 1000; ++page) {
    registry_pb::ListCollectorsRequest request;
    request.set_page(page);
    request.set_page_size(100);
    PGA_ASSIGN_OR_RETURN(const auto answer, session.Call<registry_pb::ListCollectorsResponse>(
                                                std::string(kRegistry) + "ListCollectors", request));
    all.mutable_data()->MergeFrom(answer.data());
    all.set_total(answer.total());
    if (page >= answer.total_pages() || answer.data_size() == 0) break;
  }
  all.set_count(all.data_size());
  all.set_page(1);
  all.set_page_size(all.data_size());
  all.set_total_pages(1);
  return all;
}

std::vector<Command> SignInCommands() {
  return {{"login", "[USER]", "sign in; the token is kept for the next commands", {}, Login},
          {"logout", "", "end the session and forget its token", {}, Logout},
          {"health", "", "whether the suite and its databases answer", {}, Health, true}};
}

std::vector<Command> ReadCommands() {
  return {
      {"count", "", "how many frames are stored", {}, Count, true},
      {"collectors", "", "registered collectors", {}, Collectors, true},
      {"sources", "", "watched servers and hosts", {}, Sources, true},
      {"sources list", "", "watched servers and hosts", {}, Sources, true},
      {"sources rename", "SOURCE NAME", "give it another name", {}, RenameSource},
      {"sources move", "SOURCE GROUP", "put it in another group", {}, MoveSource},
      {"sources delete", "SOURCE", "remove it with all its data", {}, DeleteSource},
      {"freshness", "",
       "how fresh and complete each metric of each source is: COVERED is the share of the time that was read, LOST "
       "counts intervals that were read and lost on the way",
       RangeOptions(), Freshness, true},
      {"top", "", "statements by what they cost",
       With(
           {{"by", "FIGURE", "total_time (default), mean_time, calls, rows, shared_blks_read, wal_bytes, io_time, ..."},
            {"database", "NAME", "only this database"},
            {"id", "QUERY_ID", "only this statement, or several with commas between; may be repeated", true},
            {"limit", "N", "how many (default 20)"},
            {"text-length", "N", "most characters of each text (default 500); pgactl timeline has it whole"}},
           RangeOptions()),
       Top, true},
      {"series", "METRIC COLUMN", "a column of a metric over time",
       With({{"filter", "LABEL=VALUE", "also LABEL!=VALUE and LABEL~REGEXP; may be repeated", true},
             {"by", "LABEL",
              "keep this label (or `source`) apart, add up the others; `none` adds up all; may be repeated", true},
             {"rate", "", "counters per second"},
             {"aggregate", "HOW", "sum, avg, min, max or last"},
             {"step", "SECONDS", "per point; default about 300 points"},
             {"time-zone", "NAME", "IANA name, for steps of an hour or more"},
             {"limit", "N", "most series (default 100)"}},
            RangeOptions()),
       Series, true},
      {"activity",
       "",
       "what sessions did, and who blocked whom",
       {{"at", "TIME", "instant; default now"},
        {"from", "TIME", "or a range: its start"},
        {"to", "TIME", "and its end"},
        {"source", "NAME", "only this source (name or id); may be repeated", true},
        {"limit", "N", "most rows (default 200)"},
        {"text-length", "N", "most characters of each text (default 500)"}},
       Activity,
       true},
  };
}

}  // namespace pga::pgactl
