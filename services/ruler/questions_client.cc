#include "services/ruler/questions_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/columns/baseline.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "pganalytics/compactor/v1/compactor_service.grpc.pb.h"
#include "pganalytics/query/v1/query_service.grpc.pb.h"
#include "pganalytics/registry/v1/registry_service.grpc.pb.h"

namespace pga::ruler {
namespace {

namespace query_pb = ::pganalytics::query::v1;
namespace registry_pb = ::pganalytics::registry::v1;
namespace compactor_pb = ::pganalytics::compactor::v1;

constexpr absl::Duration kQuestionTime = absl::Seconds(10);
constexpr absl::Duration kRegistryTime = absl::Seconds(5);
constexpr int kMostSeries = 100'000;
constexpr int kMostRows = 10'000;
constexpr int kMostChanges = 1'000;
// A source whose newest reading is older is not fresh: nothing that its answers lack is known to be away.
constexpr absl::Duration kFresh = absl::Seconds(150);
constexpr absl::Duration kHeartbeatWindow = absl::Minutes(10);

using rpc::FromProto;
using rpc::ToProto;

query_pb::Aggregate AggregateOf(const Term& term) {
  if (term.counter) return query_pb::AGGREGATE_UNSPECIFIED;
  if (term.aggregate == "sum") return query_pb::sum;
  if (term.aggregate == "avg") return query_pb::avg;
  if (term.aggregate == "min") return query_pb::min;
  if (term.aggregate == "last") return query_pb::last;
  return query_pb::max;
}

template <typename Map>
Labels GroupOf(const Term& term, const Map& labels) {
  Labels group;
  for (const std::string& name : term.group_by) {
    const auto found = labels.find(name);
    if (found != labels.end()) group[name] = found->second;
  }
  return group;
}

// As texts of values are compared: true is what PostgreSQL writes t.
bool SameText(const std::string& stored, const std::string& meant) {
  return stored == meant || (stored == "t" && meant == "true") || (stored == "f" && meant == "false");
}

Answer Failed(const absl::Status& status) {
  return {status, {}, nullptr};
}

// What a term asks, without range and step.
query_pb::QuerySeriesRequest SeriesRequest(const Term& term) {
  query_pb::QuerySeriesRequest request;
  request.set_metric(term.metric);
  request.set_column(term.column);
  for (const std::string& filter : term.filters) request.add_filter(filter);
  request.set_aggregate(AggregateOf(term));
  request.set_rate(term.rate);
  request.add_group_by("source");
  for (const std::string& label : term.group_by) request.add_group_by(label);
  request.set_limit(kMostSeries);
  return request;
}

// A term that every server answers while it is read.
Term Heartbeat() {
  Term term;
  term.metric = "database";
  term.column = "numbackends";
  term.aggregate = "last";
  return term;
}

// Rows of one group joined as the term says.
class Joined {
 public:
  explicit Joined(const Term& term) : term_(term) {}
  void Add(const std::string& source, Labels labels, std::optional<double> value) {
    Entry& entry = entries_[{source, std::move(labels)}];
    if (!value) return;
    entry.sum += *value;
    ++entry.count;
    entry.least = entry.count == 1 ? *value : std::min(entry.least, *value);
    entry.most = entry.count == 1 ? *value : std::max(entry.most, *value);
  }
  std::vector<Sample> Samples() const {
    std::vector<Sample> samples;
    for (const auto& [key, entry] : entries_) {
      Sample sample{key.first, key.second, std::nullopt};
      if (entry.count > 0) {
        sample.value = term_.aggregate == "sum"   ? entry.sum
                       : term_.aggregate == "avg" ? entry.sum / entry.count
                       : term_.aggregate == "min" ? entry.least
                                                  : entry.most;
      }
      samples.push_back(std::move(sample));
    }
    return samples;
  }

 private:
  struct Entry {
    double sum = 0;
    double least = 0;
    double most = 0;
    int count = 0;
  };
  const Term& term_;
  std::map<std::pair<std::string, Labels>, Entry> entries_;
};

// How often something happened, by source and labels; without labels 0 of each source that is read.
class Counts {
 public:
  Counts(const Term& term, const World& world) {
    if (!term.group_by.empty()) return;
    for (const auto& [id, source] : world.sources) {
      if (source.fresh) counts_[{id, {}}] = 0;
    }
  }
  void Add(const std::string& source, Labels labels) { ++counts_[{source, std::move(labels)}]; }
  Answer Taken() const {
    Answer answer;
    for (const auto& [key, count] : counts_) answer.samples.push_back({key.first, key.second, count});
    return answer;
  }

 private:
  std::map<std::pair<std::string, Labels>, double> counts_;
};

}  // namespace

QuestionsClient::QuestionsClient(std::shared_ptr<grpc::Channel> query, std::shared_ptr<grpc::Channel> registry,
                                 std::shared_ptr<grpc::Channel> compactor, rpc::ServiceIdentity* identity,
                                 const RuleSource* rules)
    : query_(std::move(query)),
      registry_(std::move(registry)),
      compactor_(std::move(compactor)),
      identity_(identity),
      rules_(rules),
      missing_(kFresh) {}

rpc::CallOptions QuestionsClient::Within(absl::Duration limit) {
  rpc::CallOptions options = rpc::OwnWork(limit, identity_);
  options.canceller = &canceller_;
  return options;
}

absl::Status QuestionsClient::Heartbeats(absl::Time now, World* world) {
  const auto stub = query_pb::QueryService::NewStub(query_);
  for (const auto& [metric, column] : {std::pair{"database", "numbackends"}, std::pair{"host_memory", "total_bytes"}}) {
    query_pb::QuerySeriesRequest request;
    request.set_metric(metric);
    request.set_column(column);
    request.set_aggregate(query_pb::last);
    request.add_group_by("source");
    request.set_step(60);
    request.set_limit(kMostSeries);
    *request.mutable_start() = ToProto(now - kHeartbeatWindow);
    *request.mutable_end() = ToProto(now);
    PGA_RETURN_IF_ERROR(rpc::CallStream(*stub, &query_pb::QueryService::Stub::QuerySeries, request,
                                        Within(kQuestionTime),
                                        std::function<absl::Status(query_pb::Series&)>([&](query_pb::Series& series) {
                                          for (const query_pb::Point& point : series.points()) {
                                            if (point.has_value())
                                              world->heartbeats[series.source_id()] = FromProto(point.time());
                                          }
                                          return absl::OkStatus();
                                        })));
  }
  return absl::OkStatus();
}

absl::StatusOr<World> QuestionsClient::Look(absl::Time now) {
  World world;
  const auto stub = registry_pb::RegistryService::NewStub(registry_);
  PGA_ASSIGN_OR_RETURN(const registry_pb::ListSourcesResponse sources,
                       rpc::Call(*stub, &registry_pb::RegistryService::Stub::ListSources,
                                 registry_pb::ListSourcesRequest(), Within(kRegistryTime)));
  std::map<std::string, absl::Time> collectors;
  Answer silent;
  for (int page = 1;; ++page) {
    registry_pb::ListCollectorsRequest request;
    request.set_page(page);
    request.set_page_size(100);
    PGA_ASSIGN_OR_RETURN(
        const registry_pb::ListCollectorsResponse answer,
        rpc::Call(*stub, &registry_pb::RegistryService::Stub::ListCollectors, request, Within(kRegistryTime)));
    for (const registry_pb::Collector& collector : answer.data()) {
      // One that never sent anything is not watched yet.
      if (!collector.has_last_seen()) continue;
      collectors[collector.id()] = FromProto(collector.last_seen());
    }
    if (page >= answer.total_pages()) break;
  }
  const absl::Status heartbeats = Heartbeats(now, &world);
  const std::shared_ptr<const catalog::Catalog> catalog = rules_->catalog();
  missing_.Forget(now);
  Answer down;
  Answer gone;
  Answer stale;
  Answer missing;
  stale.status = heartbeats;
  // A collector is heard by its frames or by what it reports of its sources.
  for (const registry_pb::Source& source : sources.sources()) {
    if (!source.has_last_seen() || source.state() == "down") continue;
    const auto collector = collectors.find(source.collector_id());
    if (collector != collectors.end()) collector->second = std::max(collector->second, FromProto(source.last_seen()));
  }
  for (const registry_pb::Source& source : sources.sources()) {
    SourceInfo info;
    info.id = source.id();
    info.name = source.name();
    info.group = source.group();
    const bool reported = source.state() == "up" || source.state() == "incomplete";
    const auto heartbeat = world.heartbeats.find(source.id());
    info.fresh =
        heartbeats.ok() && reported && heartbeat != world.heartbeats.end() && now - heartbeat->second <= kFresh;
    for (const registry_pb::MissingPart& part : source.not_collected()) {
      missing_.Tell(source.id(), {part.what(), part.database()}, now);
    }
    info.missing = missing_.Of(*catalog, source.id());
    const auto collector = collectors.find(source.collector_id());
    const bool heard = collector != collectors.end() && now - collector->second <= kFresh;
    down.samples.push_back({info.id, {}, source.state() == "down" ? 1 : 0});
    gone.samples.push_back({info.id, {}, source.state() == "silent" && heard ? 1 : 0});
    missing.samples.push_back({info.id, {}, static_cast<double>(source.not_collected_size())});
    if (reported && stale.status.ok()) {
      const absl::Duration age = heartbeat == world.heartbeats.end()
                                     ? std::min(now - FromProto(source.since()), kHeartbeatWindow)
                                     : now - heartbeat->second;
      stale.samples.push_back({info.id, {}, absl::ToDoubleSeconds(age)});
    }
    world.sources[info.id] = std::move(info);
  }
  for (const auto& [id, seen] : collectors) {
    silent.samples.push_back({"", {{"collector", id}}, absl::ToDoubleSeconds(now - seen)});
  }
  world.suite["suite_source.is_down"] = std::move(down);
  world.suite["suite_source.is_silent"] = std::move(gone);
  world.suite["suite_source.stale_s"] = std::move(stale);
  world.suite["suite_source.missing_parts"] = std::move(missing);
  world.suite["suite_collector.silent_s"] = std::move(silent);
  return world;
}

Answer QuestionsClient::Storage(absl::Time now) {
  if (compactor_ == nullptr) return Failed(absl::UnavailableError("there is no compactor to ask"));
  const auto stub = compactor_pb::CompactorService::NewStub(compactor_);
  compactor_pb::GetStorageRequest request;
  // Of the metrics none: the queue and the jobs are asked for.
  request.add_metric("");
  const auto answer =
      rpc::Call(*stub, &compactor_pb::CompactorService::Stub::GetStorage, request, Within(kRegistryTime));
  if (!answer.ok()) return Failed(answer.status());
  Answer all;
  double unled = 0;
  double resting = 0;
  for (const compactor_pb::JobStatus& job : answer->jobs()) {
    if (job.name() != "accounting" && job.holder().empty()) ++unled;
    resting += job.resting();
  }
  const absl::Duration backlog =
      answer->backlog().has_oldest() ? now - FromProto(answer->backlog().oldest()) : absl::ZeroDuration();
  all.samples.push_back({"", {{"column", "backlog_s"}}, absl::ToDoubleSeconds(backlog)});
  all.samples.push_back({"", {{"column", "jobs_unled"}}, unled});
  all.samples.push_back({"", {{"column", "jobs_resting"}}, resting});
  return all;
}

Answer QuestionsClient::AskSeries(const Term& term, const World& world, absl::Time now) {
  const auto stub = query_pb::QueryService::NewStub(query_);
  query_pb::QuerySeriesRequest request = SeriesRequest(term);
  const int64_t step = StepOf(term);
  request.set_step(static_cast<int32_t>(step));
  const absl::Time end = now - term.offset;
  *request.mutable_start() = ToProto(end - term.window);
  *request.mutable_end() = ToProto(end);
  Answer answer;
  std::vector<SeriesPointValue> points;
  answer.status =
      rpc::CallStream(*stub, &query_pb::QueryService::Stub::QuerySeries, request, Within(kQuestionTime),
                      std::function<absl::Status(query_pb::Series&)>([&](query_pb::Series& series) {
                        points.clear();
                        for (const query_pb::Point& point : series.points()) {
                          points.push_back({FromProto(point.time()),
                                            point.has_value() ? std::optional<double>(point.value()) : std::nullopt,
                                            point.covered_ms()});
                        }
                        const auto heartbeat = world.heartbeats.find(series.source_id());
                        // The bucket of the last round of readings but one: the last one may be on its way.
                        const absl::Time newest =
                            heartbeat == world.heartbeats.end() || term.offset > absl::ZeroDuration()
                                ? absl::InfinitePast()
                                : heartbeat->second - absl::Seconds(60 * term.interval_factor) - absl::Seconds(step);
                        const std::optional<std::optional<double>> value = Reduce(term, points, newest);
                        if (value)
                          answer.samples.push_back({series.source_id(), GroupOf(term, series.labels()), *value});
                        return absl::OkStatus();
                      }));
  return answer;
}

absl::Status QuestionsClient::AskHours(const Term& term, int64_t start, int64_t end,
                                       const std::function<void(const std::string&, Labels, int64_t, double)>& each) {
  const auto stub = query_pb::QueryService::NewStub(query_);
  query_pb::QuerySeriesRequest request = SeriesRequest(term);
  request.set_step(3600);
  *request.mutable_start() = ToProto(absl::FromUnixSeconds(start * 3600));
  *request.mutable_end() = ToProto(absl::FromUnixSeconds(end * 3600));
  return rpc::CallStream(*stub, &query_pb::QueryService::Stub::QuerySeries, request, Within(kQuestionTime),
                         std::function<absl::Status(query_pb::Series&)>([&](query_pb::Series& series) {
                           for (const query_pb::Point& point : series.points()) {
                             if (!point.has_value() || point.covered_ms() < columns::kLeastCoveredSeconds * 1000) {
                               continue;
                             }
                             each(series.source_id(), GroupOf(term, series.labels()),
                                  absl::ToUnixSeconds(FromProto(point.time())) / 3600, point.value());
                           }
                           return absl::OkStatus();
                         }));
}

absl::StatusOr<History> QuestionsClient::AskHistory(const Term& term, int64_t hour) {
  History history;
  history.hour = hour;
  for (int week = 1; week <= kWeeksOfHistory; ++week) {
    const int64_t start = hour - 1 - week * columns::kHoursOfWeek;
    PGA_RETURN_IF_ERROR(
        AskHours(term, start, start + 2, [&](const std::string& source, Labels labels, int64_t at, double value) {
          history.rows[{source, std::move(labels)}][at] = value;
        }));
    if (!term.absent) continue;
    PGA_RETURN_IF_ERROR(AskHours(
        Heartbeat(), start, start + 2,
        [&](const std::string& source, const Labels&, int64_t at, double) { history.covered[source].insert(at); }));
  }
  return history;
}

Answer QuestionsClient::AskState(const Term& term, const World& world, absl::Time now) {
  const auto stub = query_pb::QueryService::NewStub(query_);
  query_pb::GetStateRequest request;
  request.set_metric(term.metric);
  request.add_column(term.column);
  for (const auto& [column, value] : term.where) request.add_column(column);
  for (const std::string& filter : term.filters) request.add_filter(filter);
  request.set_limit(kMostRows);
  request.set_text_length(100);
  const auto state = rpc::Call(*stub, &query_pb::QueryService::Stub::GetState, request, Within(kQuestionTime));
  if (!state.ok()) return Failed(state.status());
  if (state->rows_found() > state->rows_size()) {
    return Failed(absl::ResourceExhaustedError(
        absl::StrCat(term.metric, " has ", state->rows_found(), " rows and ", kMostRows, " are read; filter them")));
  }
  Joined joined(term);
  for (const query_pb::StateRow& row : state->rows()) {
    const bool meant = std::all_of(term.where.begin(), term.where.end(), [&](const auto& condition) {
      const auto value = row.values().find(condition.first);
      return value != row.values().end() && SameText(value->second, condition.second);
    });
    if (!meant) continue;
    const auto source = world.sources.find(row.source_id());
    const auto text = row.values().find(term.column);
    const bool fresh = source != world.sources.end() && source->second.fresh;
    std::optional<double> value;
    if (fresh && text != row.values().end()) value = NumberOf(term, text->second, now);
    // NULL equals nothing.
    if (fresh && text == row.values().end() && !term.equals.empty()) value = 0;
    joined.Add(row.source_id(), GroupOf(term, row.labels()), value);
  }
  return {absl::OkStatus(), joined.Samples(), nullptr};
}

Answer QuestionsClient::AskChanges(const Term& term, const World& world, absl::Time now) {
  const auto stub = query_pb::QueryService::NewStub(query_);
  query_pb::GetStateRequest request;
  request.set_metric(term.metric);
  if (!term.column.empty()) request.add_column(term.column);
  for (const std::string& filter : term.filters) request.add_filter(filter);
  request.set_limit(kMostChanges);
  request.set_text_length(100);
  *request.mutable_start() = ToProto(now - term.offset - term.window);
  *request.mutable_end() = ToProto(now - term.offset);
  const auto state = rpc::Call(*stub, &query_pb::QueryService::Stub::GetState, request, Within(kQuestionTime));
  if (!state.ok()) return Failed(state.status());
  if (state->changes_found() > state->changes_size()) {
    return Failed(absl::ResourceExhaustedError(absl::StrCat(term.metric, " changed ", state->changes_found(),
                                                            " times and ", kMostChanges, " are read; filter them")));
  }
  Counts counts(term, world);
  for (const query_pb::StateChange& change : state->changes()) {
    if (change.column() != term.column || change.what() != term.changes) continue;
    counts.Add(change.source_id(), GroupOf(term, change.labels()));
  }
  return counts.Taken();
}

Answer QuestionsClient::AskPlans(const Term& term, const World& world, absl::Time now) {
  const auto stub = query_pb::QueryService::NewStub(query_);
  query_pb::ListPlansRequest request;
  request.set_limit(kMostChanges);
  request.set_text_length(1);
  *request.mutable_start() = ToProto(now - term.offset - term.window);
  *request.mutable_end() = ToProto(now - term.offset);
  const auto plans = rpc::Call(*stub, &query_pb::QueryService::Stub::ListPlans, request, Within(kQuestionTime));
  if (!plans.ok()) return Failed(plans.status());
  if (plans->changes_found() > plans->changes_size()) {
    return Failed(absl::ResourceExhaustedError(absl::StrCat("plans of statements changed ", plans->changes_found(),
                                                            " times and ", kMostChanges, " are read")));
  }
  Counts counts(term, world);
  for (const query_pb::PlanChange& change : plans->changes()) {
    const Labels labels = {{"query_id", change.query_id()}, {"datname", change.database_name()}};
    counts.Add(change.source_id(), GroupOf(term, labels));
  }
  return counts.Taken();
}

Answer QuestionsClient::Ask(const Term& term, const World& world, absl::Time now) {
  switch (term.from) {
    case Term::From::kSeries:
      return AskSeries(term, world, now);
    case Term::From::kState:
      return AskState(term, world, now);
    case Term::From::kChanges:
      return AskChanges(term, world, now);
    case Term::From::kPlans:
      return AskPlans(term, world, now);
    case Term::From::kSuite:
      break;
  }
  if (const auto known = world.suite.find(absl::StrCat(term.metric, ".", term.column)); known != world.suite.end()) {
    return known->second;
  }
  Answer all = Storage(now);
  Answer answer;
  answer.status = all.status;
  for (const Sample& sample : all.samples) {
    if (sample.labels.at("column") == term.column) answer.samples.push_back({"", {}, sample.value});
  }
  return answer;
}

}  // namespace pga::ruler
