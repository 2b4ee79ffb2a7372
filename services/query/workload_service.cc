// Load, blockers and patterns of WorkloadService.
#include "services/query/workload_service.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "services/query/callers.h"
#include "services/query/insight/load_reader.h"
#include "services/query/request_ranges.h"
#include "services/query/request_rules.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;

using rpc::FromProto;
using rpc::ToProto;

constexpr int kDefaultMinutes = 60;
constexpr int kLeastMinutes = 15;
constexpr int kMostMinutes = 1440;
constexpr int kMostWeeks = 52;
constexpr int kDefaultLookback = 30;
constexpr int kLeastLookback = 7;
constexpr int kMostLookback = 365;
constexpr int kShownPatterns = 50;

std::vector<std::string> Strings(const google::protobuf::RepeatedPtrField<std::string>& field) {
  return {field.begin(), field.end()};
}

void Fill(const BlockerPart& from, double all_seconds, pb::Blocker* to) {
  to->set_source_id(from.source.uuid);
  to->set_source_name(from.source.name);
  to->set_pid(static_cast<int32_t>(from.party.pid));
  to->set_gid(from.party.gid);
  to->set_user_name(from.party.user);
  to->set_application_name(from.party.application);
  if (from.party.query_id != 0) to->set_query_id(absl::StrCat(from.party.query_id));
  to->set_query_text(from.party.query_text.text);
  to->set_state(from.party.state);
  to->set_blocked_seconds(from.blocked_s);
  if (all_seconds > 0) to->set_share(from.blocked_s / all_seconds);
  to->set_waits(from.waits);
  to->set_blocked_sessions(from.sessions);
  to->set_longest_seconds(from.longest_s);
  *to->mutable_first_at() = ToProto(from.first);
  *to->mutable_last_at() = ToProto(from.last);
  to->set_lasts(from.lasts);
  for (const std::string& relation : from.relations) to->add_relations(relation);
}

void Fill(const LoadAnswer& from, pb::LoadWindow* to) {
  *to->mutable_start() = ToProto(from.start);
  *to->mutable_end() = ToProto(from.end);
  to->set_completeness(from.completeness);
}

struct BothHours {
  LoadAnswer before;
  LoadAnswer now;
};

// Sessions of a window are not known where nothing of it is covered.
std::optional<double> SessionsOf(const LoadAnswer& load) {
  if (load.completeness <= 0) return std::nullopt;
  return load.total;
}

void FillFigure(const std::string& name, const std::string& unit, std::optional<double> before,
                std::optional<double> now, pb::CompareLoadResponse* answer) {
  pb::LoadFigure* const figure = answer->add_figures();
  figure->set_name(name);
  figure->set_unit(unit);
  if (before) figure->set_before(*before);
  if (now) figure->set_now(*now);
  if (before && now && *before > 0) figure->set_change_percent(100 * (*now - *before) / *before);
}

void FillChanges(const BothHours& loads, const std::vector<LoadPart>& texts, int limit,
                 pb::CompareLoadResponse* answer) {
  struct Both {
    double before = 0;
    double now = 0;
  };
  std::map<std::string, Both> parts;
  for (const LoadPart& part : loads.before.parts) parts[part.key].before = part.average;
  for (const LoadPart& part : loads.now.parts) parts[part.key].now = part.average;
  const bool before_known = SessionsOf(loads.before).has_value();
  const bool now_known = SessionsOf(loads.now).has_value();
  std::vector<pb::LoadChange> sorted;
  for (const auto& [key, both] : parts) {
    pb::LoadChange change;
    change.set_key(key);
    if (before_known) change.set_before(both.before);
    if (now_known) change.set_now(both.now);
    if (before_known && now_known) change.set_change(both.now - both.before);
    for (const LoadPart& part : texts) {
      if (part.key == key) change.set_query_text(part.text.text);
    }
    sorted.push_back(std::move(change));
  }
  // Without one of the windows by what is known of the other.
  const auto weight = [](const pb::LoadChange& one) {
    return one.has_change() ? std::abs(one.change()) : one.before() + one.now();
  };
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const pb::LoadChange& a, const pb::LoadChange& b) { return weight(a) > weight(b); });
  for (pb::LoadChange& change : sorted) {
    if (answer->changes_size() == limit) break;
    answer->add_changes()->Swap(&change);
  }
  answer->set_count(answer->changes_size());
}

}  // namespace

grpc::ServerUnaryReactor* WorkloadService::GetLoad(grpc::CallbackServerContext* context,
                                                   const pb::GetLoadRequest* request, pb::GetLoadResponse* response) {
  return calls_.Run<pb::GetLoadRequest, pb::GetLoadResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetLoadRequest& asked, pb::GetLoadResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(1), clock_->Now()));
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 20, 100));
        LoadQuery query;
        PGA_ASSIGN_OR_RETURN(query.by, ParseLoadSlice(asked.by()));
        query.start = range.start;
        query.end = range.end;
        query.filters = Strings(asked.filter());
        query.with_texts = call.principal.query_texts;
        PGA_ASSIGN_OR_RETURN(query.sources,
                             SourcesOf(call, *authenticator_, readers_.sources, Strings(asked.source())));
        PGA_ASSIGN_OR_RETURN(LoadAnswer load, ReadLoad(readers_, query, Limit(call)));
        const size_t found = load.parts.size();
        if (found > static_cast<size_t>(limit)) load.parts.resize(static_cast<size_t>(limit));
        PGA_RETURN_IF_ERROR(FillTexts(readers_, query, &load.parts, Limit(call)));
        answer.set_by(query.by);
        for (const LoadPart& part : load.parts) {
          pb::LoadEntry* const entry = answer.add_entries();
          entry->set_key(part.key);
          entry->set_average_sessions(part.average);
          entry->set_share(part.average / load.total);
          entry->set_peak_sessions(part.peak);
          *entry->mutable_peak_at() = ToProto(part.peak_at);
          entry->set_query_text(part.text.text);
        }
        answer.set_count(answer.entries_size());
        answer.set_total_sessions(load.total);
        answer.set_left_out(static_cast<int32_t>(found - load.parts.size()));
        answer.set_counts(load.counts);
        answer.set_metric(load.metric);
        *answer.mutable_start() = ToProto(load.start);
        *answer.mutable_end() = ToProto(load.end);
        answer.set_step(static_cast<int32_t>(load.step_s));
        answer.set_completeness(load.completeness);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* WorkloadService::CompareLoad(grpc::CallbackServerContext* context,
                                                       const pb::CompareLoadRequest* request,
                                                       pb::CompareLoadResponse* response) {
  return calls_.Run<pb::CompareLoadRequest, pb::CompareLoadResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::CompareLoadRequest& asked,
             pb::CompareLoadResponse& answer) -> absl::Status {
        if (asked.minutes() != 0 && (asked.minutes() < kLeastMinutes || asked.minutes() > kMostMinutes)) {
          return absl::InvalidArgumentError(absl::StrCat("minutes is ", kLeastMinutes, " to ", kMostMinutes));
        }
        if (asked.weeks() < 0 || asked.weeks() > kMostWeeks) {
          return absl::InvalidArgumentError(absl::StrCat("weeks is 1 to ", kMostWeeks));
        }
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 20, 100));
        const absl::Time now = clock_->Now();
        const absl::Duration length = absl::Minutes(asked.minutes() == 0 ? kDefaultMinutes : asked.minutes());
        const absl::Duration back = absl::Hours(168) * std::max(asked.weeks(), 1);
        LoadQuery query;
        PGA_ASSIGN_OR_RETURN(query.by, ParseLoadSlice(asked.by()));
        if (query.by == "client") {
          return absl::InvalidArgumentError("sessions by client are not sampled often enough to compare hours");
        }
        query.start = asked.has_start()
                          ? FromProto(asked.start())
                          : absl::UnixEpoch() + absl::Floor(now - absl::UnixEpoch(), absl::Hours(1)) - absl::Hours(1);
        if (query.start >= now) return absl::InvalidArgumentError("start lies before now");
        query.end = std::min(query.start + length, now);
        query.with_texts = call.principal.query_texts;
        PGA_ASSIGN_OR_RETURN(query.sources,
                             SourcesOf(call, *authenticator_, readers_.sources, Strings(asked.source())));
        BothHours loads;
        PGA_ASSIGN_OR_RETURN(loads.now, ReadLoad(readers_, query, Limit(call)));
        PGA_ASSIGN_OR_RETURN(const auto figures_now,
                             ReadFigures(readers_, query.sources, query.start, query.end, Limit(call)));
        BlockerQuery blockers{query.sources, query.start, query.end, "session", false};
        PGA_ASSIGN_OR_RETURN(const BlockerAnswer blocked_now, ReadBlockers(readers_, blockers, Limit(call)));
        query.start -= back;
        query.end -= back;
        PGA_ASSIGN_OR_RETURN(loads.before, ReadLoad(readers_, query, Limit(call)));
        PGA_ASSIGN_OR_RETURN(const auto figures_before,
                             ReadFigures(readers_, query.sources, query.start, query.end, Limit(call)));
        blockers.start = query.start;
        blockers.end = query.end;
        PGA_ASSIGN_OR_RETURN(const BlockerAnswer blocked_before, ReadBlockers(readers_, blockers, Limit(call)));
        answer.set_by(query.by);
        Fill(loads.now, answer.mutable_now());
        Fill(loads.before, answer.mutable_before());
        FillFigure("active_sessions", "sessions", SessionsOf(loads.before), SessionsOf(loads.now), &answer);
        for (size_t i = 0; i < figures_now.size(); ++i) {
          FillFigure(figures_now[i].name, figures_now[i].unit, figures_before[i].value, figures_now[i].value, &answer);
        }
        const auto seconds = [](const BlockerAnswer& of) {
          return of.completeness > 0 ? std::optional<double>(of.blocked_s) : std::nullopt;
        };
        FillFigure("blocked_seconds", "s", seconds(blocked_before), seconds(blocked_now), &answer);
        std::vector<LoadPart> texts = loads.before.parts;
        texts.insert(texts.end(), loads.now.parts.begin(), loads.now.parts.end());
        PGA_RETURN_IF_ERROR(FillTexts(readers_, query, &texts, Limit(call)));
        FillChanges(loads, texts, limit, &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* WorkloadService::ListBlockers(grpc::CallbackServerContext* context,
                                                        const pb::ListBlockersRequest* request,
                                                        pb::ListBlockersResponse* response) {
  return calls_.Run<pb::ListBlockersRequest, pb::ListBlockersResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListBlockersRequest& asked,
             pb::ListBlockersResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(24), clock_->Now()));
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 20, 100));
        BlockerQuery query;
        query.start = range.start;
        query.end = range.end;
        query.by = asked.by().empty() ? "session" : asked.by();
        query.with_texts = call.principal.query_texts;
        PGA_ASSIGN_OR_RETURN(query.sources,
                             SourcesOf(call, *authenticator_, readers_.sources, Strings(asked.source())));
        PGA_ASSIGN_OR_RETURN(const BlockerAnswer found, ReadBlockers(readers_, query, Limit(call)));
        answer.set_by(query.by);
        for (const BlockerPart& part : found.blockers) {
          if (answer.blockers_size() == limit) break;
          Fill(part, found.blocked_s, answer.add_blockers());
        }
        answer.set_count(answer.blockers_size());
        answer.set_blocked_seconds(found.blocked_s);
        answer.set_waits(found.waits);
        answer.set_waits_left_out(found.left_out);
        *answer.mutable_start() = ToProto(query.start);
        *answer.mutable_end() = ToProto(query.end);
        answer.set_completeness(found.completeness);
        return absl::OkStatus();
      });
}

template <typename Request>
absl::StatusOr<WorkloadService::FoundPatterns> WorkloadService::Patterns(const rpc::CallContext& call,
                                                                         const Request& asked) {
  const int days = asked.lookback_days() == 0 ? kDefaultLookback : asked.lookback_days();
  if (days < kLeastLookback || days > kMostLookback) {
    return absl::InvalidArgumentError(absl::StrCat("lookback_days is ", kLeastLookback, " to ", kMostLookback));
  }
  absl::TimeZone zone = absl::UTCTimeZone();
  if (!asked.time_zone().empty() && !absl::LoadTimeZone(asked.time_zone(), &zone)) {
    return absl::InvalidArgumentError(
        absl::StrCat("time_zone ", asked.time_zone(), " is not known; use a name like Europe/Zurich"));
  }
  FoundPatterns found;
  found.span = HistoryBefore(clock_->Now(), days);
  PGA_ASSIGN_OR_RETURN(const std::vector<storage::SourceRef> sources,
                       SourcesOf(call, *authenticator_, readers_.sources, Strings(asked.source())));
  PGA_ASSIGN_OR_RETURN(const std::vector<DatabaseLoad> loads,
                       ReadLoadHours(readers_, sources, asked.database_name(), found.span, Limit(call)));
  std::map<std::string, std::string> names;
  for (const storage::SourceRef& source : sources) names[source.uuid] = source.name;
  for (const DatabaseLoad& load : loads) {
    ++found.databases;
    const PatternVerdict verdict = FindPatterns(load.hours, zone);
    if (verdict.too_few_days) ++found.without_history;
    for (const Pattern& from : verdict.patterns) {
      pb::WorkloadPattern& to = found.patterns.emplace_back();
      to.set_pattern_type(from.type);
      to.set_source_id(load.source_id);
      to.set_source_name(names[load.source_id]);
      to.set_database_name(load.database);
      to.set_start_hour(from.start_hour);
      to.set_end_hour(from.end_hour);
      to.set_weekday(from.weekday);
      to.set_when(from.when);
      to.set_load(from.load);
      to.set_mean_load(from.mean);
      to.set_z_score(from.z);
      to.set_days(from.days);
      to.set_days_seen(from.days_seen);
      to.set_confidence(from.confidence());
      to.set_method(from.method);
      to.set_time_zone(zone.name());
      *to.mutable_start() = ToProto(found.span.start);
      *to.mutable_end() = ToProto(found.span.end);
    }
  }
  std::stable_sort(found.patterns.begin(), found.patterns.end(),
                   [](const pb::WorkloadPattern& a, const pb::WorkloadPattern& b) {
                     return std::abs(a.z_score()) > std::abs(b.z_score());
                   });
  PGA_ASSIGN_OR_RETURN(found.completeness, readers_.freshness->Completeness("statements", sources, found.span.start,
                                                                            found.span.end, Limit(call)));
  for (pb::WorkloadPattern& pattern : found.patterns) pattern.set_completeness(found.completeness);
  return found;
}

grpc::ServerUnaryReactor* WorkloadService::AnalyzePatterns(grpc::CallbackServerContext* context,
                                                           const pb::AnalyzePatternsRequest* request,
                                                           pb::AnalyzePatternsResponse* response) {
  return calls_.Run<pb::AnalyzePatternsRequest, pb::AnalyzePatternsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::AnalyzePatternsRequest& asked,
             pb::AnalyzePatternsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(FoundPatterns found, Patterns(call, asked));
        answer.set_status("success");
        answer.set_patterns_detected(static_cast<int32_t>(found.patterns.size()));
        for (pb::WorkloadPattern& pattern : found.patterns) {
          if (answer.patterns_size() == kShownPatterns) break;
          answer.add_patterns()->Swap(&pattern);
        }
        answer.set_databases(found.databases);
        answer.set_without_history(found.without_history);
        *answer.mutable_start() = ToProto(found.span.start);
        *answer.mutable_end() = ToProto(found.span.end);
        answer.set_completeness(found.completeness);
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<pb::WorkloadPattern>* WorkloadService::ListPatterns(grpc::CallbackServerContext* context,
                                                                             const pb::ListPatternsRequest* request) {
  return calls_.For(*request)->Stream<pb::ListPatternsRequest, pb::WorkloadPattern>(
      context, request,
      [this](rpc::CallContext& call, const pb::ListPatternsRequest& asked,
             rpc::StreamWriter<pb::WorkloadPattern>& writer) -> absl::Status {
        const std::string& type = asked.pattern_type();
        if (!type.empty() && type != "hourly_peak" && type != "hourly_quiet" && type != "weekday_peak" &&
            type != "weekday_quiet") {
          return absl::InvalidArgumentError(
              "pattern_type is none of hourly_peak, hourly_quiet, weekday_peak, weekday_quiet");
        }
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 50, 1000));
        auto found = Patterns(call, asked);
        if (!found.ok()) return ForCaller(found.status());
        auto left = std::make_shared<std::vector<pb::WorkloadPattern>>();
        for (pb::WorkloadPattern& pattern : found->patterns) {
          if (left->size() == static_cast<size_t>(limit)) break;
          if (type.empty() || pattern.pattern_type() == type) left->push_back(std::move(pattern));
        }
        writer.WriteRest([left, at = size_t{0}](pb::WorkloadPattern* pattern) mutable {
          if (at == left->size()) return false;
          pattern->Swap(&(*left)[at++]);
          return true;
        });
        return absl::OkStatus();
      });
}

}  // namespace pga::query
