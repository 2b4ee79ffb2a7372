// Edge of pganalytics.query.v1.CompatibilityService: what the 3.2.0 API asks in its own words.
#pragma once

#include <functional>

#include "libs/clock/clock.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/unary.h"
#include "pganalytics/query/v1/compatibility_service.grpc.pb.h"
#include "services/query/query_service.h"
#include "services/query/readers.h"

namespace pga::query {

class CompatibilityService final : public ::pganalytics::query::v1::CompatibilityService::CallbackService {
 public:
  // All must outlive the service.
  CompatibilityService(rpc::Dispatcher* dispatcher, const rpc::Authenticator* authenticator, Readers readers,
                       const QueryService* query, clock::Clock* clock)
      : dispatcher_(dispatcher), authenticator_(authenticator), readers_(readers), query_(query), clock_(clock) {}

  grpc::ServerUnaryReactor* ListSlowQueries(grpc::CallbackServerContext* context,
                                            const ::pganalytics::query::v1::ListSlowQueriesRequest* request,
                                            ::pganalytics::query::v1::ListCollectorQueriesResponse* response) override;
  grpc::ServerUnaryReactor* ListFrequentQueries(
      grpc::CallbackServerContext* context, const ::pganalytics::query::v1::ListFrequentQueriesRequest* request,
      ::pganalytics::query::v1::ListCollectorQueriesResponse* response) override;
  grpc::ServerUnaryReactor* GetServerMetrics(grpc::CallbackServerContext* context,
                                             const ::pganalytics::query::v1::GetServerMetricsRequest* request,
                                             ::pganalytics::query::v1::GetServerMetricsResponse* response) override;
  grpc::ServerUnaryReactor* GetCacheMetrics(grpc::CallbackServerContext* context,
                                            const ::pganalytics::query::v1::GetCacheMetricsRequest* request,
                                            ::pganalytics::query::v1::GetCacheMetricsResponse* response) override;
  grpc::ServerUnaryReactor* ListPushedElements(grpc::CallbackServerContext* context,
                                               const ::pganalytics::query::v1::ListPushedElementsRequest* request,
                                               ::pganalytics::query::v1::ListPushedElementsResponse* response) override;

 private:
  // Runs a handler on the pool, and answers its failures as ForCaller says.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, const Request* request, Response* response,
                                std::function<absl::Status(rpc::CallContext&, const Request&, Response&)> handler);
  // `by` is a column of metric statements, the largest first.
  template <typename Request>
  absl::Status Queries(rpc::CallContext& call, const Request& asked, const char* type, const char* by,
                       ::pganalytics::query::v1::ListCollectorQueriesResponse& answer);

  rpc::Dispatcher* const dispatcher_;
  const rpc::Authenticator* const authenticator_;
  const Readers readers_;
  const QueryService* const query_;
  clock::Clock* const clock_;
};

}  // namespace pga::query
