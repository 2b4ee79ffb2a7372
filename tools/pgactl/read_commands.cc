// What pgactl shows of stored metrics, and signing in.
#include <algorithm>
#include <cmath>

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
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace query_pb = ::pganalytics::query::v1;
namespace registry_pb = ::pganalytics::registry::v1;

constexpr char kQuery[] = "pganalytics.query.v1.QueryService.";
constexpr char kSystem[] = "pganalytics.query.v1.SystemService.";
constexpr char kRegistry[] = "pganalytics.registry.v1.RegistryService.";

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixMicros(google::protobuf::util::TimeUtil::TimestampToMicroseconds(time));
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(time));
}

template <typename Message>
std::optional<absl::Time> LastSeen(const Message& message) {
  if (!message.has_last_seen()) return std::nullopt;
  return FromProto(message.last_seen());
}

std::string Clock(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, absl::LocalTimeZone());
}

// "10:03", "2026-01-01 10:03", RFC 3339, or "2h" before now.
absl::StatusOr<absl::Time> ParseInstant(const std::string& text, absl::Time now) {
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return time;
  for (const char* format : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"}) {
    if (absl::ParseTime(format, text, absl::LocalTimeZone(), &time, &error)) return time;
  }
  const std::string today = absl::FormatTime("%Y-%m-%d ", now, absl::LocalTimeZone());
  for (const char* format : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"}) {
    if (absl::ParseTime(format, today + text, absl::LocalTimeZone(), &time, &error)) return time;
  }
  if (auto ago = config::ParseDuration(text); ago.ok()) return now - *ago;
  return UsageError("'" + text +
                    "' is no time; write 10:03, 2026-01-01 10:03, 2026-01-01T10:03:00Z, or 2h for two hours ago");
}

const std::vector<OptionSpec>& RangeOptions() {
  static const auto* const kOptions = new std::vector<OptionSpec>{
      {"hours", "N", "the last N hours (1 to 720)"},
      {"from", "TIME", "start: 10:03, 2026-01-01 10:03, 2026-01-01T10:03:00Z, or 2h for two hours ago"},
      {"to", "TIME", "end; default now"},
      {"source", "NAME", "only this source (name or id); may be repeated", true},
  };
  return *kOptions;
}

std::vector<OptionSpec> With(std::vector<OptionSpec> options, const std::vector<OptionSpec>& more) {
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

template <typename Request>
absl::Status FillRange(const Context& context, Request* request) {
  PGA_ASSIGN_OR_RETURN(const int hours, context.arguments->Int("hours", 0, 1, 720));
  request->set_hours(hours);
  if (hours != 0 && (context.arguments->Has("from") || context.arguments->Has("to"))) {
    return UsageError("use either --hours, or --from and --to");
  }
  if (context.arguments->Has("from")) {
    PGA_ASSIGN_OR_RETURN(const absl::Time start, ParseInstant(context.arguments->Get("from"), context.now));
    *request->mutable_start() = ToProto(start);
  }
  if (context.arguments->Has("to")) {
    PGA_ASSIGN_OR_RETURN(const absl::Time end, ParseInstant(context.arguments->Get("to"), context.now));
    *request->mutable_end() = ToProto(end);
  }
  for (const std::string& source : context.arguments->All("source")) request->add_source(source);
  return absl::OkStatus();
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
  Table table({"COLLECTOR", "NAME", "STATUS", "LAST SEEN", "VERSION", "ROWS 24H", "ROWS", "CONFIG", "HOST"});
  for (const registry_pb::Collector& c : all.data()) {
    table.Add({c.id(), c.name(), c.status(), Ago(LastSeen(c), context.now), c.version(), Number(c.metrics_count_24h()),
               Number(c.metrics_count_total()), std::to_string(c.config_version()), c.hostname()});
  }
  *context.out << (table.empty() ? "no collectors; register one with a registration secret (`pgactl secrets create`)\n"
                                 : table.Render(context.width));
  return absl::OkStatus();
}

// "down for 5 min: connection refused"
std::string StateText(const registry_pb::Source& source, absl::Time now) {
  std::string text = source.state();
  if (source.state() == "up") return text;
  absl::StrAppend(&text, " since ", Ago(absl::FromUnixSeconds(source.since().seconds()), now));
  if (!source.message().empty()) absl::StrAppend(&text, ": ", source.message());
  if (source.state() == "incomplete") {
    const registry_pb::MissingPart& first = source.not_collected(0);
    absl::StrAppend(&text, ": ", first.what(), ": ", first.reason());
    if (source.not_collected_size() > 1) absl::StrAppend(&text, " (and ", source.not_collected_size() - 1, " more)");
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
               "SAME SERVER AS", "ID", "STATE"});
  std::map<std::string, std::string> names;
  for (const registry_pb::Source& s : answer.sources()) names[s.id()] = s.name();
  for (const registry_pb::Source& s : answer.sources()) {
    std::vector<std::string> same;
    for (const std::string& id : s.same_server_as()) same.push_back(names[id]);
    const int version = s.server_version_num();
    table.Add({s.name(), s.group(), s.collector_id(),
               version == 0 ? s.kind() : absl::StrCat(version / 10000, ".", version % 10000), s.role(),
               Ago(LastSeen(s), context.now), Number(s.frames_24h()), Number(s.rows_24h()), absl::StrJoin(same, ", "),
               s.id(), StateText(s, context.now)});
  }
  *context.out << (table.empty() ? "no sources yet; a collector makes them with its first report\n"
                                 : table.Render(context.width));
  return absl::OkStatus();
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
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 20, 1, 1000));
  request.set_limit(limit);
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<query_pb::TopQueriesResponse>(std::string(kQuery) + "TopQueries", request));
  if (context.json) return context.PrintJson(answer);
  *context.out << Clock(FromProto(answer.start())) << " to " << Clock(FromProto(answer.end())) << ", "
               << Number(std::round(answer.completeness() * 1000) / 10) << " % covered\n";
  double total = 0;
  for (const query_pb::TopQuery& q : answer.queries()) total += q.total_time();
  Table table(
      {"QUERY ID", "SOURCE", "DATABASE", "USER", "CALLS", "TOTAL", "SHARE", "MEAN", "ROWS", "READ", "WAL", "TEXT"});
  for (const query_pb::TopQuery& q : answer.queries()) {
    table.Add({q.query_id(), q.source_name(), q.database_name(), q.user_name(),
               (q.lower_bound() ? "≥" : "") + Number(q.calls()), Millis(q.total_time()),
               Number(total > 0 ? std::round(q.total_time() / total * 1000) / 10 : 0) + " %", Millis(q.mean_time()),
               Number(q.rows()), Bytes(q.shared_blks_read() * 8192), Bytes(q.wal_bytes()), q.query_text()});
  }
  *context.out
      << (table.empty()
              ? "no statements in this range; is pg_stat_statements installed? See `pgactl doctor --server URL`\n"
              : table.Render(context.width));
  return absl::OkStatus();
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
  std::vector<query_pb::Series> all;
  PGA_RETURN_IF_ERROR(session->Stream(std::string(kQuery) + "QuerySeries", request,
                                      query_pb::Series::default_instance(),
                                      [&](const google::protobuf::Message& message) {
                                        all.emplace_back().CopyFrom(message);
                                        return absl::OkStatus();
                                      }));
  if (context.json) {
    *context.out << "[";
    for (size_t i = 0; i < all.size(); ++i) {
      if (i > 0) *context.out << ",";
      PGA_RETURN_IF_ERROR(context.PrintJson(all[i]));
    }
    *context.out << "]\n";
    return absl::OkStatus();
  }
  if (all.empty()) {
    *context.out << "no such series in this range\n";
    return absl::OkStatus();
  }
  const size_t graph = context.width > 100 ? static_cast<size_t>(context.width - 60) : 60;
  Table table({"LAST", "MAX", "UNIT", "COVERED", "GRAPH", "SERIES"});
  for (const query_pb::Series& series : all) {
    std::vector<std::optional<double>> values;
    std::optional<double> last;
    double highest = 0;
    double covered = 0;
    for (const query_pb::Point& point : series.points()) {
      values.emplace_back(point.has_value() ? std::optional<double>(point.value()) : std::nullopt);
      if (point.has_value()) {
        last = point.value();
        highest = std::max(highest, point.value());
      }
      covered += point.covered_ms();
    }
    double range_ms = 0;
    if (series.points_size() > 1) {
      range_ms = absl::ToDoubleMilliseconds(FromProto(series.points(1).time()) - FromProto(series.points(0).time())) *
                 series.points_size();
    }
    std::vector<std::string> labels;
    if (!series.source_id().empty()) labels.push_back("source=" + series.source_id());
    std::map<std::string, std::string> sorted(series.labels().begin(), series.labels().end());
    for (const auto& [name, value] : sorted) labels.push_back(name + "=" + value);
    table.Add({last ? Number(*last) : "-", Number(highest), series.unit(),
               range_ms > 0 ? Number(std::round(std::min(1.0, covered / range_ms) * 100)) + " %" : "",
               Sparkline(values, graph), labels.empty() ? "all" : absl::StrJoin(labels, " ")});
  }
  *context.out << table.Render(context.width);
  return absl::OkStatus();
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
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<query_pb::GetActivityResponse>(std::string(kQuery) + "GetActivity", request));
  if (context.json) return context.PrintJson(answer);
  Table table({"UNTIL", "SESSIONS", "STATE", "WAITS FOR", "DATABASE", "USER", "APPLICATION", "QUERY ID", "TEXT"});
  for (const query_pb::ActivityRow& row : answer.rows()) {
    table.Add({Clock(FromProto(row.time())), Number(row.average_sessions()), row.state(),
               row.wait_event_type().empty() ? "" : row.wait_event_type() + ":" + row.wait_event(), row.database_name(),
               row.user_name(), row.application_name(), row.query_id(), row.query_text()});
  }
  *context.out << (table.empty() ? "no sessions were sampled then\n" : table.Render(context.width));
  if (answer.blocking_size() > 0) {
    Table blocking(
        {"SAMPLED", "BLOCKED", "BY", "WAITED", "DATABASE", "USER", "BY USER", "BY STATE", "WAITS FOR", "QUERY ID"});
    for (const query_pb::BlockingEdge& edge : answer.blocking()) {
      blocking.Add({Clock(FromProto(edge.time())), std::to_string(edge.blocked_pid()),
                    std::to_string(edge.blocking_pid()), Millis(edge.waited_ms()), edge.database_name(),
                    edge.blocked_user(), edge.blocking_user(), edge.blocking_state(), edge.wait_event(),
                    edge.blocked_query_id()});
    }
    *context.out << "\nBlocking:\n" << blocking.Render(context.width);
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
  Table table({"SOURCE", "METRIC", "NEWEST", "COVERED", "FRAMES", "ROWS", "GAPS"});
  for (const query_pb::Freshness& entry : answer.freshness()) {
    table.Add({entry.source_name(), entry.metric(), Ago(FromProto(entry.last_collected_at()), context.now),
               Number(std::round(entry.completeness() * 1000) / 10) + " %", Number(entry.frames()),
               Number(entry.rows()), Number(entry.gaps())});
  }
  *context.out << (table.empty() ? "nothing is stored yet\n" : table.Render(context.width));
  return absl::OkStatus();
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
  return {{"login", "USER", "sign in; the token is kept for the next commands", {}, Login},
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
      {"freshness", "", "how fresh and complete each metric of each source is", RangeOptions(), Freshness, true},
      {"top", "", "statements by what they cost",
       With(
           {{"by", "FIGURE", "total_time (default), mean_time, calls, rows, shared_blks_read, wal_bytes, io_time, ..."},
            {"database", "NAME", "only this database"},
            {"limit", "N", "how many (default 20)"}},
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
        {"limit", "N", "most rows (default 200)"}},
       Activity,
       true},
  };
}

}  // namespace pga::pgactl
