#include "services/query/query_service.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/str_split.h"
#include "libs/catalog/metric.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "services/query/callers.h"
#include "services/query/read_errors.h"
#include "services/query/request_ranges.h"
#include "services/query/request_rules.h"
#include "services/query/statement_figures.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;

using rpc::FromProto;
using rpc::ToProto;

std::vector<std::string> Strings(const google::protobuf::RepeatedPtrField<std::string>& field) {
  return {field.begin(), field.end()};
}

// "0" stands for "not known" in the database.
std::string IdText(int64_t id) {
  return id == 0 ? std::string() : std::to_string(id);
}

storage::Aggregate FromProto(pb::Aggregate aggregate) {
  switch (aggregate) {
    case pb::sum:
      return storage::Aggregate::kSum;
    case pb::avg:
      return storage::Aggregate::kAvg;
    case pb::min:
      return storage::Aggregate::kMin;
    case pb::max:
      return storage::Aggregate::kMax;
    case pb::last:
      return storage::Aggregate::kLast;
    default:
      return storage::Aggregate::kDefault;
  }
}

// Characters of texts and of values in a list, where the caller says nothing.
constexpr int kTextLength = 500;
constexpr int kValueLength = 1000;
constexpr int kTreeLength = 4000;

// Answers larger than the first share the second; each counts with twice its bytes.
constexpr int64_t kLargeAnswerBytes = int64_t{1} << 20;
constexpr int64_t kLargeAnswersBytes = int64_t{32} << 20;

constexpr int64_t kPointBytes = sizeof(storage::SeriesPoint);

// Of an answer of series.
int64_t MostBytes(const storage::SeriesQuery& query) {
  const auto seconds = static_cast<int64_t>(absl::ToDoubleSeconds(query.range.end - query.range.start));
  const int64_t points = query.range.step_seconds > 0 ? seconds / query.range.step_seconds + 2 : 400;
  return std::min(points * query.limit, storage::kMostSeriesPoints) * kPointBytes;
}

constexpr int kMostSeriesOfPeople = 1000;

constexpr size_t kMostQueryIds = 1000;
constexpr size_t kMostSearchBytes = 1000;
// Files of one answer.
constexpr int kMostLogPositions = 10'000;

void Fill(const storage::TopStatement& from, pb::TopQuery* to) {
  FillStatement(from, to);
  to->set_query_id(std::to_string(from.query_id));
  to->set_plan_time(Millis(from.figures.Of(storage::Figure::kPlanTime)));
}

void Fill(const storage::BlockingParty& from, pb::BlockingParty* to) {
  to->set_pid(static_cast<int32_t>(from.pid));
  to->set_gid(from.gid);
  to->set_user(from.user);
  to->set_application(from.application);
  to->set_state(from.state);
  to->set_query_id(IdText(from.query_id));
  to->set_query_text(from.query_text.text);
  to->set_query_text_truncated(from.query_text.truncated);
  if (from.transaction_start) *to->mutable_transaction_start() = ToProto(*from.transaction_start);
}

void Fill(const storage::BlockingEntry& from, pb::BlockingEdge* to) {
  to->set_source_id(from.source.uuid);
  to->set_source_name(from.source.name);
  *to->mutable_from() = ToProto(from.from);
  *to->mutable_until() = ToProto(from.until);
  to->set_lasts(from.lasts);
  to->set_blocked_seconds(absl::ToDoubleSeconds(from.until - from.from));
  Fill(from.blocked, to->mutable_blocked());
  Fill(from.blocking, to->mutable_blocking());
  if (from.root) Fill(*from.root, to->mutable_root());
  to->set_depth(static_cast<int32_t>(from.depth));
  to->set_cycle(from.cycle);
  to->set_database_name(from.database);
  to->set_relation(from.relation);
  to->set_lock_type(from.lock_type);
  to->set_lock_mode(from.lock_mode);
  to->set_wait_event(from.wait_event);
}

void Fill(const storage::LogEvent& from, pb::LogEvent* to) {
  *to->mutable_time() = ToProto(from.time);
  to->set_source_id(from.source.uuid);
  to->set_source_name(from.source.name);
  to->set_class_(from.class_name);
  to->set_severity(from.severity);
  to->set_sqlstate(from.sqlstate);
  to->set_pid(static_cast<int32_t>(from.pid));
  to->set_database_name(from.database);
  to->set_user_name(from.user);
  to->set_application_name(from.application);
  to->set_client(from.client);
  to->set_backend_type(from.backend_type);
  to->set_query_id(IdText(from.query_id));
  to->set_message(from.message.text);
  to->set_detail(from.detail.text);
  to->set_hint(from.hint.text);
  to->set_context(from.context.text);
  to->set_statement(from.statement.text);
  if (from.message.truncated) to->add_truncated("message");
  if (from.detail.truncated) to->add_truncated("detail");
  if (from.hint.truncated) to->add_truncated("hint");
  if (from.context.truncated) to->add_truncated("context");
  if (from.statement.truncated) to->add_truncated("statement");
  to->set_object(from.object);
  if (from.duration_us) to->set_duration_ms(Millis(static_cast<double>(*from.duration_us)));
  if (from.bytes) to->set_bytes(static_cast<double>(*from.bytes));
}

}  // namespace

template <typename Request>
rpc::Dispatcher* QueryService::DispatcherOf(const Request& request) const {
  if constexpr (requires { request.source_size(); }) {
    const auto named = static_cast<size_t>(request.source_size());
    if (named == 0 || named > storage::kMostNarrowSources) return wide_dispatcher_;
  }
  return dispatcher_;
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* QueryService::Read(
    grpc::CallbackServerContext* context, const Request* request, Response* response,
    std::function<absl::Status(rpc::CallContext&, const Request&, Response&)> handler) {
  return DispatcherOf(*request)->template Unary<Request, Response>(
      context, request, response,
      [handler = std::move(handler)](rpc::CallContext& call, const Request& asked, Response& answer) {
        return ForCaller(handler(call, asked, answer));
      });
}

absl::StatusOr<std::string> QueryService::KeyOf(const rpc::CallContext& call,
                                                const google::protobuf::Message& request) const {
  PGA_ASSIGN_OR_RETURN(const std::vector<std::string> groups, Groups(call));
  std::string key = call.principal.query_texts ? "t" : "-";
  for (const std::string& group : groups) key += group + '\0';
  return key + '\0' + request.SerializeAsString();
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* QueryService::ReadShared(
    grpc::CallbackServerContext* context, const Request* request, Response* response,
    storage::SharedAnswers<Response>* shared,
    std::function<absl::Status(rpc::CallContext&, const pg::CallLimit&, const Request&, Response&)> handler) {
  return Read<Request, Response>(
      context, request, response,
      // The part lives as long as the call.
      [this, shared, part = std::make_shared<AnswerBudget::Part>(), handler = std::move(handler)](
          rpc::CallContext& call, const Request& asked, Response& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::string key, KeyOf(call, asked));
        PGA_ASSIGN_OR_RETURN(const auto found,
                             shared->Get(key, Limit(call), [&](const pg::CallLimit& limit) -> absl::StatusOr<Response> {
                               Response own;
                               PGA_RETURN_IF_ERROR(handler(call, limit, asked, own));
                               return own;
                             }));
        // The call holds the answer twice, as a message and as bytes, until it is sent.
        const auto bytes = static_cast<int64_t>((*found).ByteSizeLong());
        if (bytes > kLargeAnswerBytes) PGA_RETURN_IF_ERROR(large_answers_.Take(2 * bytes, Limit(call), part.get()));
        answer = *found;
        return absl::OkStatus();
      });
}

template <typename Request, typename Response>
grpc::ServerWriteReactor<Response>* QueryService::ReadStream(
    grpc::CallbackServerContext* context, const Request* request,
    std::function<absl::Status(rpc::CallContext&, const Request&, rpc::StreamWriter<Response>&)> handler) {
  return DispatcherOf(*request)->template Stream<Request, Response>(
      context, request,
      [handler = std::move(handler)](rpc::CallContext& call, const Request& asked,
                                     rpc::StreamWriter<Response>& writer) {
        return ForCaller(handler(call, asked, writer));
      });
}

QueryService::QueryService(rpc::Dispatcher* dispatcher, rpc::Dispatcher* wide_dispatcher,
                           const rpc::Authenticator* authenticator, Readers readers, clock::Clock* clock)
    : dispatcher_(dispatcher),
      wide_dispatcher_(wide_dispatcher),
      authenticator_(authenticator),
      readers_(readers),
      clock_(clock),
      large_answers_(kLargeAnswersBytes) {}

absl::StatusOr<std::vector<std::string>> QueryService::Groups(const rpc::CallContext& call) const {
  return GroupsOf(call, *authenticator_, readers_.sources);
}

absl::StatusOr<std::vector<storage::SourceRef>> QueryService::Sources(
    const rpc::CallContext& call, const google::protobuf::RepeatedPtrField<std::string>& wanted) const {
  return SourcesOf(call, *authenticator_, readers_.sources, Strings(wanted));
}

grpc::ServerUnaryReactor* QueryService::CountMetrics(grpc::CallbackServerContext* context,
                                                     const pb::CountMetricsRequest* request,
                                                     pb::CountMetricsResponse* response) {
  return Read<pb::CountMetricsRequest, pb::CountMetricsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::CountMetricsRequest&, pb::CountMetricsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t count, readers_.freshness->Count(Limit(call)));
        answer.set_count(static_cast<double>(count));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::GetMetrics(grpc::CallbackServerContext* context,
                                                   const pb::GetMetricsRequest* request,
                                                   pb::GetMetricsResponse* response) {
  return Read<pb::GetMetricsRequest, pb::GetMetricsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetMetricsRequest&, pb::GetMetricsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::vector<std::string> groups, Groups(call));
        PGA_ASSIGN_OR_RETURN(const storage::FrameTotals totals, readers_.freshness->Totals(groups, Limit(call)));
        answer.set_count(static_cast<double>(totals.count));
        for (const auto& [metric, frames] : totals.by_metric) {
          (*answer.mutable_by_type())[metric] = static_cast<double>(frames);
        }
        if (totals.latest != absl::InfinitePast()) *answer.mutable_latest() = ToProto(totals.latest);
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<pb::Series>* QueryService::QuerySeries(grpc::CallbackServerContext* context,
                                                                const pb::QuerySeriesRequest* request) {
  return ReadStream<pb::QuerySeriesRequest, pb::Series>(
      context, request,
      [this](rpc::CallContext& call, const pb::QuerySeriesRequest& asked,
             rpc::StreamWriter<pb::Series>& writer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(1), clock_->Now()));
        if (!pb::Aggregate_IsValid(asked.aggregate())) {
          return absl::InvalidArgumentError("aggregate is " + std::to_string(asked.aggregate()) +
                                            "; use sum, avg, min, max or last");
        }
        storage::SeriesQuery query;
        query.metric = asked.metric();
        query.column = asked.column();
        query.filters = Strings(asked.filter());
        query.range = {range.start, range.end, asked.step(), asked.time_zone()};
        query.aggregate = FromProto(asked.aggregate());
        query.rate = asked.rate();
        query.group_by = Strings(asked.group_by());
        const bool of_service = call.principal.kind == token::Principal::kService;
        PGA_ASSIGN_OR_RETURN(query.limit,
                             ResolveLimit(asked.limit(), 100, of_service ? storage::kMostSeries : kMostSeriesOfPeople));
        PGA_ASSIGN_OR_RETURN(query.sources, Sources(call, asked.source()));
        PGA_ASSIGN_OR_RETURN(const std::string key, KeyOf(call, asked));
        // Before it is read: how many series there are is known only then. Held until the caller has all of it.
        const auto part = std::make_shared<AnswerBudget::Part>();
        if (const int64_t most = MostBytes(query); most > kLargeAnswerBytes) {
          PGA_RETURN_IF_ERROR(large_answers_.Take(most, Limit(call), part.get()));
        }
        PGA_ASSIGN_OR_RETURN(const auto answer, series_.Get(key, Limit(call), [&](const pg::CallLimit& limit) {
          return readers_.series->Read(query, limit);
        }));
        int64_t points = 0;
        for (const storage::SeriesData& data : answer->series) points += static_cast<int64_t>(data.points.size());
        part->Shrink(points * kPointBytes);
        std::map<std::string, std::string> names;
        for (const storage::SourceRef& source : query.sources) names[source.uuid] = source.name;
        writer.WriteRest([part, answer, names = std::move(names), metric = query.metric, column = query.column,
                          at = size_t{0}](pb::Series* series) mutable {
          if (at == answer->series.size()) return false;
          const storage::SeriesData& data = answer->series[at++];
          series->set_metric(metric);
          series->set_column(column);
          series->set_source_id(data.source_uuid);
          if (const auto name = names.find(data.source_uuid); name != names.end()) {
            series->set_source_name(name->second);
          }
          series->mutable_labels()->insert(data.labels.begin(), data.labels.end());
          series->set_unit(answer->unit);
          series->mutable_points()->Reserve(static_cast<int>(data.points.size()));
          for (const storage::SeriesPoint& from : data.points) {
            pb::Point* point = series->add_points();
            *point->mutable_time() = ToProto(from.time);
            if (from.value) point->set_value(*from.value);
            point->set_covered_ms(from.covered_ms);
            point->set_lower_bound(from.lower_bound);
            point->set_interpolated(from.interpolated);
          }
          return true;
        });
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::TopQueries(grpc::CallbackServerContext* context,
                                                   const pb::TopQueriesRequest* request,
                                                   pb::TopQueriesResponse* response) {
  return ReadShared<pb::TopQueriesRequest, pb::TopQueriesResponse>(
      context, request, response, &top_,
      [this](rpc::CallContext& call, const pg::CallLimit& limit, const pb::TopQueriesRequest& asked,
             pb::TopQueriesResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(24), clock_->Now()));
        storage::TopStatementsQuery query;
        query.start = range.start;
        query.end = range.end;
        PGA_ASSIGN_OR_RETURN(query.order, storage::ParseStatementOrder(asked.order_by()));
        PGA_ASSIGN_OR_RETURN(query.limit, ResolveLimit(asked.limit(), 20, 1000));
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(asked.text_length(), query.limit, kTextLength));
        query.database = asked.database();
        for (const std::string& ids : asked.query_id()) {
          const std::vector<std::string> pieces = absl::StrSplit(ids, ',');
          for (const std::string& id : pieces) {
            PGA_ASSIGN_OR_RETURN(const int64_t query_id, ParseId(id, "query_id"));
            query.query_ids.insert(query_id);
          }
        }
        if (query.query_ids.size() > kMostQueryIds) {
          return absl::InvalidArgumentError("more than " + std::to_string(kMostQueryIds) + " statements are named");
        }
        query.with_texts = call.principal.query_texts;
        PGA_ASSIGN_OR_RETURN(query.sources, Sources(call, asked.source()));
        PGA_ASSIGN_OR_RETURN(const storage::TopStatements top, readers_.statements->Top(query, limit));
        for (const storage::TopStatement& statement : top.statements) {
          pb::TopQuery* entry = answer.add_queries();
          Fill(statement, entry);
          if (top.total.value_or(0) > 0) entry->set_share(statement.figures.Of(query.order.figure) / *top.total);
        }
        if (top.total) {
          const bool time = storage::IsTime(query.order.figure);
          answer.set_total(time ? Millis(*top.total) : *top.total);
        }
        answer.set_count(answer.queries_size());
        *answer.mutable_start() = ToProto(top.start);
        *answer.mutable_end() = ToProto(top.end);
        PGA_ASSIGN_OR_RETURN(const double completeness,
                             readers_.freshness->Completeness("statements", query.sources, top.start, top.end, limit));
        answer.set_completeness(completeness);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::QueryTimeline(grpc::CallbackServerContext* context,
                                                      const pb::QueryTimelineRequest* request,
                                                      pb::QueryTimelineResponse* response) {
  return ReadShared<pb::QueryTimelineRequest, pb::QueryTimelineResponse>(
      context, request, response, &timelines_,
      [this](rpc::CallContext& call, const pg::CallLimit& limit, const pb::QueryTimelineRequest& asked,
             pb::QueryTimelineResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t query_id, ParseId(asked.query_hash(), "query_hash"));
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(24), clock_->Now()));
        PGA_ASSIGN_OR_RETURN(const std::vector<storage::SourceRef> sources, Sources(call, asked.source()));
        PGA_ASSIGN_OR_RETURN(
            const storage::StatementTimeline timeline,
            readers_.statements->Timeline(query_id, sources, {range.start, range.end, asked.step(), ""},
                                          call.principal.query_texts, limit));
        answer.set_query_hash(asked.query_hash());
        answer.set_query_text(timeline.text);
        for (const storage::StatementPoint& from : timeline.points) {
          using storage::Figure;
          pb::TimelinePoint* point = answer.add_data();
          *point->mutable_time() = ToProto(from.time);
          point->set_covered_ms(from.covered_ms);
          point->set_lower_bound(from.lower_bound);
          if (!from.figures) continue;
          point->set_calls(from.figures->Of(Figure::kCalls));
          point->set_total_time(Millis(from.figures->Of(Figure::kTotalTime)));
          if (point->calls() > 0) point->set_mean_time(point->total_time() / point->calls());
          point->set_rows(from.figures->Of(Figure::kRows));
          point->set_shared_blks_hit(from.figures->Of(Figure::kSharedBlksHit));
          point->set_shared_blks_read(from.figures->Of(Figure::kSharedBlksRead));
          point->set_shared_blks_dirtied(from.figures->Of(Figure::kSharedBlksDirtied));
          point->set_shared_blks_written(from.figures->Of(Figure::kSharedBlksWritten));
          point->set_temp_blks_read(from.figures->Of(Figure::kTempBlksRead));
          point->set_temp_blks_written(from.figures->Of(Figure::kTempBlksWritten));
          point->set_wal_bytes(from.figures->Of(Figure::kWalBytes));
          point->set_plan_time(Millis(from.figures->Of(Figure::kPlanTime)));
          point->set_io_time(Millis(from.figures->Of(Figure::kIoTime)));
        }
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::GetActivity(grpc::CallbackServerContext* context,
                                                    const pb::GetActivityRequest* request,
                                                    pb::GetActivityResponse* response) {
  return ReadShared<pb::GetActivityRequest, pb::GetActivityResponse>(
      context, request, response, &activity_,
      [this](rpc::CallContext& call, const pg::CallLimit& limit, const pb::GetActivityRequest& asked,
             pb::GetActivityResponse& answer) -> absl::Status {
        storage::ActivityQuery query;
        if (asked.has_at() && (asked.has_start() || asked.has_end())) {
          return absl::InvalidArgumentError("give either `at`, or a range of start and end");
        }
        query.instant = !asked.has_start() && !asked.has_end();
        if (query.instant) {
          query.end = asked.has_at() ? FromProto(asked.at()) : clock_->Now();
          query.start = query.end;
        } else {
          PGA_ASSIGN_OR_RETURN(const Range range,
                               ResolveRange(StartOf(asked), EndOf(asked), 0, absl::Hours(1), clock_->Now()));
          query.start = range.start;
          query.end = range.end;
        }
        PGA_ASSIGN_OR_RETURN(query.limit, ResolveLimit(asked.limit(), 200, 1000));
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(asked.text_length(), query.limit, kTextLength));
        query.with_texts = call.principal.query_texts;
        PGA_ASSIGN_OR_RETURN(query.sources, Sources(call, asked.source()));
        PGA_ASSIGN_OR_RETURN(const storage::ActivityAnswer found, readers_.activity->Read(query, limit));
        *answer.mutable_start() = ToProto(query.start);
        *answer.mutable_end() = ToProto(query.end);
        for (const storage::ActivityEntry& from : found.activity) {
          pb::ActivityRow* row = answer.add_rows();
          *row->mutable_time() = ToProto(from.time);
          row->set_source_id(from.source.uuid);
          row->set_source_name(from.source.name);
          row->set_database_name(from.database);
          row->set_user_name(from.user);
          row->set_application_name(from.application);
          row->set_query_id(IdText(from.query_id));
          row->set_state(from.state);
          row->set_wait_event_type(from.wait_event_type);
          row->set_wait_event(from.wait_event);
          row->set_samples(from.samples);
          row->set_average_sessions(from.average_sessions);
          row->set_query_text(from.query_text.text);
          row->set_query_text_truncated(from.query_text.truncated);
        }
        for (const storage::BlockingEntry& from : found.blocking) Fill(from, answer.add_blocking());
        answer.set_blocking_found(static_cast<int32_t>(found.blocking_found));
        for (const storage::SampledSource& from : found.sources) {
          pb::SampledSource* source = answer.add_sources();
          source->set_source_id(from.source.uuid);
          source->set_source_name(from.source.name);
          source->set_sampled(from.sampled);
          if (from.last) *source->mutable_last_sampled_at() = ToProto(*from.last);
        }
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::GetState(grpc::CallbackServerContext* context,
                                                 const pb::GetStateRequest* request, pb::GetStateResponse* response) {
  return ReadShared<pb::GetStateRequest, pb::GetStateResponse>(
      context, request, response, &states_,
      [this](rpc::CallContext& call, const pg::CallLimit& limit, const pb::GetStateRequest& asked,
             pb::GetStateResponse& answer) -> absl::Status {
        storage::StateQuery query;
        query.with_texts = call.principal.query_texts;
        query.changes = asked.has_start() || asked.hours() != 0;
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Seconds(1), clock_->Now()));
        query.metric = asked.metric();
        query.filters = Strings(asked.filter());
        query.columns = Strings(asked.column());
        query.start = query.changes ? range.start : range.end;
        query.end = range.end;
        PGA_ASSIGN_OR_RETURN(query.limit, ResolveLimit(asked.limit(), 1000, 10000));
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(asked.text_length(), query.limit, kValueLength));
        PGA_ASSIGN_OR_RETURN(query.sources, Sources(call, asked.source()));
        PGA_ASSIGN_OR_RETURN(const storage::StateAnswer found, readers_.state->Read(query, limit));
        for (const storage::StateRow& from : found.rows) {
          pb::StateRow* row = answer.add_rows();
          row->set_source_id(from.source.uuid);
          row->set_source_name(from.source.name);
          row->mutable_labels()->insert(from.labels.begin(), from.labels.end());
          row->mutable_values()->insert(from.values.begin(), from.values.end());
          row->mutable_truncated()->Add(from.truncated.begin(), from.truncated.end());
          *row->mutable_collected_at() = ToProto(from.collected_at);
        }
        answer.set_rows_found(static_cast<int32_t>(found.rows_found));
        for (const storage::StateChange& from : found.changes) {
          pb::StateChange* change = answer.add_changes();
          change->set_source_id(from.source.uuid);
          change->set_source_name(from.source.name);
          change->mutable_labels()->insert(from.labels.begin(), from.labels.end());
          change->set_column(from.column);
          if (from.before) change->set_before(from.before->text);
          if (from.after) change->set_after(from.after->text);
          change->set_truncated((from.before && from.before->truncated) || (from.after && from.after->truncated));
          *change->mutable_seen_before() = ToProto(from.seen_before);
          *change->mutable_seen_after() = ToProto(from.seen_after);
          using What = storage::StateChange::What;
          change->set_what(from.what == What::kChanged    ? "changed"
                           : from.what == What::kAppeared ? "appeared"
                                                          : "vanished");
        }
        answer.set_changes_found(static_cast<int32_t>(found.changes_found));
        *answer.mutable_start() = ToProto(query.start);
        *answer.mutable_end() = ToProto(query.end);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::GetRows(grpc::CallbackServerContext* context, const pb::GetRowsRequest* request,
                                                pb::GetRowsResponse* response) {
  return ReadShared<pb::GetRowsRequest, pb::GetRowsResponse>(
      context, request, response, &rows_,
      [this](rpc::CallContext& call, const pg::CallLimit& limit, const pb::GetRowsRequest& asked,
             pb::GetRowsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(1), clock_->Now()));
        storage::RowsQuery query;
        query.with_texts = call.principal.query_texts;
        query.metric = asked.metric();
        query.columns = Strings(asked.column());
        query.filters = Strings(asked.filter());
        query.start = range.start;
        query.end = range.end;
        query.sort = asked.sort();
        PGA_ASSIGN_OR_RETURN(query.limit, ResolveLimit(asked.limit(), 1000, 10000));
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(asked.text_length(), query.limit, kValueLength));
        PGA_ASSIGN_OR_RETURN(query.sources, Sources(call, asked.source()));
        PGA_ASSIGN_OR_RETURN(const storage::RowsAnswer found, readers_.state->Rows(query, limit));
        for (const auto* column : found.columns) {
          pb::RowColumn* const to = answer.add_columns();
          to->set_name(column->name());
          to->set_kind(std::string(catalog::KindWord(column->kind())));
          to->set_unit(column->unit());
        }
        for (const storage::MetricRow& from : found.rows) FillRow(from, answer.add_rows());
        answer.set_rows_found(static_cast<int32_t>(found.rows_found));
        *answer.mutable_start() = ToProto(found.start);
        *answer.mutable_end() = ToProto(found.end);
        PGA_ASSIGN_OR_RETURN(
            const double completeness,
            readers_.freshness->Completeness(query.metric, query.sources, found.start, found.end, limit));
        answer.set_completeness(completeness);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::ListLogEvents(grpc::CallbackServerContext* context,
                                                      const pb::ListLogEventsRequest* request,
                                                      pb::ListLogEventsResponse* response) {
  return ReadShared<pb::ListLogEventsRequest, pb::ListLogEventsResponse>(
      context, request, response, &log_events_,
      [this](rpc::CallContext& call, const pg::CallLimit& limit, const pb::ListLogEventsRequest& asked,
             pb::ListLogEventsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(1), clock_->Now()));
        if (asked.text().size() > kMostSearchBytes) {
          return absl::InvalidArgumentError("text is longer than " + std::to_string(kMostSearchBytes) + " bytes");
        }
        storage::LogEventQuery query;
        query.start = range.start;
        query.end = range.end;
        query.severities = Strings(asked.severity());
        query.classes = Strings(asked.class_());
        query.sqlstates = Strings(asked.sqlstate());
        query.databases = Strings(asked.database());
        query.users = Strings(asked.user());
        if (!asked.query_id().empty()) {
          PGA_ASSIGN_OR_RETURN(query.query_id, ParseId(asked.query_id(), "query_id"));
        }
        if (asked.pid() != 0) query.pid = asked.pid();
        query.text = asked.text();
        query.page = asked.page();
        query.with_texts = call.principal.query_texts;
        PGA_ASSIGN_OR_RETURN(query.limit, ResolveLimit(asked.limit(), 100, 1000));
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(asked.text_length(), query.limit, kTextLength));
        PGA_ASSIGN_OR_RETURN(query.sources, Sources(call, asked.source()));
        PGA_ASSIGN_OR_RETURN(const storage::LogEventAnswer found, readers_.log_events->Read(query, limit));
        for (const storage::LogEvent& from : found.events) Fill(from, answer.add_events());
        answer.set_next_page(found.next);
        *answer.mutable_start() = ToProto(query.start);
        *answer.mutable_end() = ToProto(query.end);
        answer.set_texts_hidden(!query.with_texts);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::ListPlans(grpc::CallbackServerContext* context,
                                                  const pb::ListPlansRequest* request,
                                                  pb::ListPlansResponse* response) {
  return ReadShared<pb::ListPlansRequest, pb::ListPlansResponse>(
      context, request, response, &plans_,
      [this](rpc::CallContext& call, const pg::CallLimit& limit, const pb::ListPlansRequest& asked,
             pb::ListPlansResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(24), clock_->Now()));
        storage::PlanQuery query;
        query.start = range.start;
        query.end = range.end;
        if (!asked.query_id().empty()) {
          PGA_ASSIGN_OR_RETURN(query.query_id, ParseId(asked.query_id(), "query_id"));
        }
        query.database = asked.database();
        query.with_texts = call.principal.query_texts;
        PGA_ASSIGN_OR_RETURN(query.limit, ResolveLimit(asked.limit(), 100, 1000));
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(asked.text_length(), query.limit, kTreeLength));
        PGA_ASSIGN_OR_RETURN(query.sources, Sources(call, asked.source()));
        PGA_ASSIGN_OR_RETURN(const storage::PlanAnswer found, readers_.plans->Read(query, limit));
        for (const storage::StatementPlan& from : found.plans) {
          pb::StatementPlan* const plan = answer.add_plans();
          plan->set_source_id(from.source.uuid);
          plan->set_source_name(from.source.name);
          plan->set_query_id(std::to_string(from.query_id));
          plan->set_plan_id(std::to_string(from.plan_id));
          plan->set_database_name(from.database);
          plan->set_tree(from.tree.text);
          plan->set_tree_truncated(from.tree.truncated);
          plan->set_logged(static_cast<double>(from.logged));
          plan->set_duration_ms(Millis(static_cast<double>(from.duration_us)));
          plan->set_explained(static_cast<double>(from.explained));
          *plan->mutable_first_seen() = ToProto(from.first);
          *plan->mutable_last_seen() = ToProto(from.last);
        }
        answer.set_plans_found(static_cast<int32_t>(found.plans_found));
        for (const storage::PlanChange& from : found.changes) {
          pb::PlanChange* const change = answer.add_changes();
          change->set_source_id(from.source.uuid);
          change->set_source_name(from.source.name);
          change->set_query_id(std::to_string(from.query_id));
          change->set_database_name(from.database);
          change->set_before_plan_id(std::to_string(from.before));
          change->set_after_plan_id(std::to_string(from.after));
          *change->mutable_seen_before() = ToProto(from.seen_before);
          *change->mutable_seen_after() = ToProto(from.seen_after);
        }
        answer.set_changes_found(static_cast<int32_t>(found.changes_found));
        *answer.mutable_start() = ToProto(query.start);
        *answer.mutable_end() = ToProto(query.end);
        answer.set_texts_hidden(!query.with_texts);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::SourceActivity(grpc::CallbackServerContext* context,
                                                       const pb::SourceActivityRequest* request,
                                                       pb::SourceActivityResponse* response) {
  return Read<pb::SourceActivityRequest, pb::SourceActivityResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::SourceActivityRequest&,
             pb::SourceActivityResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::vector<std::string> groups, Groups(call));
        PGA_ASSIGN_OR_RETURN(const std::vector<storage::StoredOfSource> sources,
                             readers_.sources->Stored(groups, Limit(call)));
        for (const storage::StoredOfSource& from : sources) {
          pb::SourceActivityEntry* const source = answer.add_sources();
          source->set_source_id(from.source.uuid);
          source->set_frames_24h(static_cast<double>(from.frames_24h));
          source->set_rows_24h(static_cast<double>(from.rows_24h));
        }
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::LogPositions(grpc::CallbackServerContext* context,
                                                     const pb::LogPositionsRequest* request,
                                                     pb::LogPositionsResponse* response) {
  return Read<pb::LogPositionsRequest, pb::LogPositionsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::LogPositionsRequest& asked,
             pb::LogPositionsResponse& answer) -> absl::Status {
        if (asked.source_id_size() == 0) return absl::OkStatus();
        storage::RowsQuery query;
        query.metric = "log_files";
        query.columns = {"position_bytes"};
        query.end = clock_->Now();
        query.start = query.end - absl::Minutes(1);
        query.limit = kMostLogPositions;
        PGA_ASSIGN_OR_RETURN(query.sources, Sources(call, asked.source_id()));
        PGA_ASSIGN_OR_RETURN(const storage::RowsAnswer found, readers_.state->Rows(query, Limit(call)));
        // Where some positions are missing, their files would be read from their beginning.
        if (found.rows_found > static_cast<int64_t>(found.rows.size())) {
          return absl::ResourceExhaustedError(
              "these logs have more files than one answer takes; ask for fewer sources");
        }
        for (const storage::MetricRow& row : found.rows) {
          const auto bytes = row.numbers.find("position_bytes");
          const auto head = row.labels.find("head");
          const auto file = row.labels.find("file");
          if (bytes == row.numbers.end() || head == row.labels.end()) continue;
          pb::LogPosition* const position = answer.add_positions();
          position->set_source_id(row.source.uuid);
          position->set_file(file == row.labels.end() ? std::string() : file->second);
          position->set_head(head->second);
          position->set_bytes(static_cast<int64_t>(bytes->second));
        }
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::GetFreshness(grpc::CallbackServerContext* context,
                                                     const pb::GetFreshnessRequest* request,
                                                     pb::GetFreshnessResponse* response) {
  return Read<pb::GetFreshnessRequest, pb::GetFreshnessResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetFreshnessRequest& asked,
             pb::GetFreshnessResponse& answer) -> absl::Status {
        const absl::Time now = clock_->Now();
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(1), now));
        PGA_ASSIGN_OR_RETURN(const std::vector<storage::SourceRef> sources, Sources(call, asked.source()));
        PGA_ASSIGN_OR_RETURN(const std::vector<storage::FreshnessEntry> entries,
                             readers_.freshness->Freshness(sources, range.start, range.end, Limit(call)));
        for (const storage::FreshnessEntry& from : entries) {
          pb::Freshness* entry = answer.add_freshness();
          entry->set_source_id(from.source.uuid);
          entry->set_source_name(from.source.name);
          entry->set_metric(from.metric);
          *entry->mutable_last_collected_at() = ToProto(from.last_collected_at);
          entry->set_age_seconds(absl::ToDoubleSeconds(now - from.last_collected_at));
          entry->set_completeness(from.completeness);
          entry->set_frames(static_cast<double>(from.frames));
          entry->set_rows(static_cast<double>(from.rows));
          entry->set_gaps(static_cast<double>(from.gaps));
        }
        answer.set_count(answer.freshness_size());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* QueryService::CollectorActivity(grpc::CallbackServerContext* context,
                                                          const pb::CollectorActivityRequest* request,
                                                          pb::CollectorActivityResponse* response) {
  return Read<pb::CollectorActivityRequest, pb::CollectorActivityResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::CollectorActivityRequest& asked,
             pb::CollectorActivityResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::vector<storage::CollectorTotals> totals,
                             readers_.freshness->Collectors(Strings(asked.collector_id()), Limit(call)));
        for (const storage::CollectorTotals& from : totals) {
          pb::CollectorActivityEntry* entry = answer.add_collectors();
          entry->set_collector_id(from.collector_id);
          if (from.last_seen != absl::InfinitePast()) *entry->mutable_last_seen() = ToProto(from.last_seen);
          entry->set_rows_total(static_cast<double>(from.rows_total));
          entry->set_rows_24h(static_cast<double>(from.rows_24h));
        }
        return absl::OkStatus();
      });
}

}  // namespace pga::query
