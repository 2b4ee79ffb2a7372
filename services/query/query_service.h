// Edge of pganalytics.query.v1.QueryService: permission, protobuf <-> the readers of libs/storage. Every read passes
// through Sources(), where the caller's groups enter.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "libs/clock/clock.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/unary.h"
#include "libs/storage/read/shared_answers.h"
#include "libs/storage/read/source_reader.h"
#include "pganalytics/query/v1/query_service.grpc.pb.h"
#include "services/query/answer_budget.h"
#include "services/query/readers.h"

namespace pga::query {

class QueryService final : public ::pganalytics::query::v1::QueryService::CallbackService {
 public:
  // All must outlive the service.
  QueryService(rpc::Dispatcher* dispatcher, rpc::Dispatcher* wide_dispatcher, const rpc::Authenticator* authenticator,
               Readers readers, clock::Clock* clock);

  grpc::ServerUnaryReactor* CountMetrics(grpc::CallbackServerContext* context,
                                         const ::pganalytics::query::v1::CountMetricsRequest* request,
                                         ::pganalytics::query::v1::CountMetricsResponse* response) override;
  grpc::ServerUnaryReactor* GetMetrics(grpc::CallbackServerContext* context,
                                       const ::pganalytics::query::v1::GetMetricsRequest* request,
                                       ::pganalytics::query::v1::GetMetricsResponse* response) override;
  grpc::ServerWriteReactor<::pganalytics::query::v1::Series>* QuerySeries(
      grpc::CallbackServerContext* context, const ::pganalytics::query::v1::QuerySeriesRequest* request) override;
  grpc::ServerUnaryReactor* TopQueries(grpc::CallbackServerContext* context,
                                       const ::pganalytics::query::v1::TopQueriesRequest* request,
                                       ::pganalytics::query::v1::TopQueriesResponse* response) override;
  grpc::ServerUnaryReactor* QueryTimeline(grpc::CallbackServerContext* context,
                                          const ::pganalytics::query::v1::QueryTimelineRequest* request,
                                          ::pganalytics::query::v1::QueryTimelineResponse* response) override;
  grpc::ServerUnaryReactor* GetActivity(grpc::CallbackServerContext* context,
                                        const ::pganalytics::query::v1::GetActivityRequest* request,
                                        ::pganalytics::query::v1::GetActivityResponse* response) override;
  grpc::ServerUnaryReactor* GetState(grpc::CallbackServerContext* context,
                                     const ::pganalytics::query::v1::GetStateRequest* request,
                                     ::pganalytics::query::v1::GetStateResponse* response) override;
  grpc::ServerUnaryReactor* GetRows(grpc::CallbackServerContext* context,
                                    const ::pganalytics::query::v1::GetRowsRequest* request,
                                    ::pganalytics::query::v1::GetRowsResponse* response) override;
  grpc::ServerUnaryReactor* ListLogEvents(grpc::CallbackServerContext* context,
                                          const ::pganalytics::query::v1::ListLogEventsRequest* request,
                                          ::pganalytics::query::v1::ListLogEventsResponse* response) override;
  grpc::ServerUnaryReactor* ListPlans(grpc::CallbackServerContext* context,
                                      const ::pganalytics::query::v1::ListPlansRequest* request,
                                      ::pganalytics::query::v1::ListPlansResponse* response) override;
  grpc::ServerUnaryReactor* SourceActivity(grpc::CallbackServerContext* context,
                                           const ::pganalytics::query::v1::SourceActivityRequest* request,
                                           ::pganalytics::query::v1::SourceActivityResponse* response) override;
  grpc::ServerUnaryReactor* LogPositions(grpc::CallbackServerContext* context,
                                         const ::pganalytics::query::v1::LogPositionsRequest* request,
                                         ::pganalytics::query::v1::LogPositionsResponse* response) override;
  grpc::ServerUnaryReactor* GetFreshness(grpc::CallbackServerContext* context,
                                         const ::pganalytics::query::v1::GetFreshnessRequest* request,
                                         ::pganalytics::query::v1::GetFreshnessResponse* response) override;
  grpc::ServerUnaryReactor* CollectorActivity(grpc::CallbackServerContext* context,
                                              const ::pganalytics::query::v1::CollectorActivityRequest* request,
                                              ::pganalytics::query::v1::CollectorActivityResponse* response) override;

  // How often answers were shared, by kind.
  std::vector<std::pair<std::string, storage::SharedFigures>> Shared() const {
    return {{"top_queries", top_.Figures()}, {"timelines", timelines_.Figures()}, {"activity", activity_.Figures()},
            {"state", states_.Figures()},    {"rows", rows_.Figures()},           {"log_events", log_events_.Figures()},
            {"plans", plans_.Figures()},     {"series", series_.Figures()}};
  }

 private:
  // Runs a handler on the pool, and answers its failures as ForCaller says.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context, const Request* request, Response* response,
                                 std::function<absl::Status(rpc::CallContext&, const Request&, Response&)> handler);
  // The same; identical questions of callers who may see the same share one run, which keeps to the limit it is given.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* ReadShared(
      grpc::CallbackServerContext* context, const Request* request, Response* response,
      storage::SharedAnswers<Response>* shared,
      std::function<absl::Status(rpc::CallContext&, const pg::CallLimit&, const Request&, Response&)> handler);
  template <typename Request, typename Response>
  grpc::ServerWriteReactor<Response>* ReadStream(
      grpc::CallbackServerContext* context, const Request* request,
      std::function<absl::Status(rpc::CallContext&, const Request&, rpc::StreamWriter<Response>&)> handler);
  // Names a question and what its answer depends on besides.
  absl::StatusOr<std::string> KeyOf(const rpc::CallContext& call, const google::protobuf::Message& request) const;
  // Groups of sources that the caller may see.
  absl::StatusOr<std::vector<std::string>> Groups(const rpc::CallContext& call) const;
  // Sources asked for that the caller may see; all visible ones when none is named.
  absl::StatusOr<std::vector<storage::SourceRef>> Sources(
      const rpc::CallContext& call, const google::protobuf::RepeatedPtrField<std::string>& wanted) const;

  // The dispatcher for a request: of those about many sources, or of the others.
  template <typename Request>
  rpc::Dispatcher* DispatcherOf(const Request& request) const;

  rpc::Dispatcher* const dispatcher_;
  rpc::Dispatcher* const wide_dispatcher_;
  const rpc::Authenticator* const authenticator_;
  const Readers readers_;
  clock::Clock* const clock_;
  AnswerBudget large_answers_;
  storage::SharedAnswers<::pganalytics::query::v1::TopQueriesResponse> top_;
  storage::SharedAnswers<::pganalytics::query::v1::QueryTimelineResponse> timelines_;
  storage::SharedAnswers<::pganalytics::query::v1::GetActivityResponse> activity_;
  storage::SharedAnswers<::pganalytics::query::v1::GetStateResponse> states_;
  storage::SharedAnswers<::pganalytics::query::v1::GetRowsResponse> rows_;
  storage::SharedAnswers<::pganalytics::query::v1::ListLogEventsResponse> log_events_;
  storage::SharedAnswers<::pganalytics::query::v1::ListPlansResponse> plans_;
  storage::SharedAnswers<storage::SeriesAnswer> series_;
};

}  // namespace pga::query
