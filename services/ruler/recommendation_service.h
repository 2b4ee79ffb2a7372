// Edge of pganalytics.ruler.v1.RecommendationService: what query finds, for the sources that the caller may see, with
// what people decided about it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/clock/clock.h"
#include "libs/rpc/service_identity.h"
#include "libs/rpc/unary.h"
#include "pganalytics/query/v1/advice_service.pb.h"
#include "pganalytics/registry/v1/registry_service.pb.h"
#include "pganalytics/ruler/v1/recommendation_service.grpc.pb.h"
#include "services/ruler/advice_store.h"

namespace grpc {
class Channel;
}

namespace pga::ruler {

class RecommendationService final : public ::pganalytics::ruler::v1::RecommendationService::CallbackService {
 public:
  // All must outlive the service.
  RecommendationService(rpc::Dispatcher* dispatcher, AdviceStore* store, std::shared_ptr<grpc::Channel> query,
                        std::shared_ptr<grpc::Channel> registry, rpc::ServiceIdentity* identity, clock::Clock* clock);

  grpc::ServerUnaryReactor* ListAdvice(grpc::CallbackServerContext* context,
                                       const ::pganalytics::ruler::v1::ListAdviceRequest* request,
                                       ::pganalytics::ruler::v1::ListAdviceResponse* response) override;
  grpc::ServerUnaryReactor* DismissAdvice(grpc::CallbackServerContext* context,
                                          const ::pganalytics::ruler::v1::DismissAdviceRequest* request,
                                          ::pganalytics::ruler::v1::DismissAdviceResponse* response) override;
  grpc::ServerUnaryReactor* RestoreAdvice(grpc::CallbackServerContext* context,
                                          const ::pganalytics::ruler::v1::RestoreAdviceRequest* request,
                                          ::pganalytics::ruler::v1::RestoreAdviceResponse* response) override;
  grpc::ServerUnaryReactor* ListIndexRecommendations(
      grpc::CallbackServerContext* context, const ::pganalytics::ruler::v1::ListIndexRecommendationsRequest* request,
      ::pganalytics::ruler::v1::ListIndexRecommendationsResponse* response) override;
  grpc::ServerUnaryReactor* GenerateIndexRecommendations(
      grpc::CallbackServerContext* context,
      const ::pganalytics::ruler::v1::GenerateIndexRecommendationsRequest* request,
      ::pganalytics::ruler::v1::GenerateIndexRecommendationsResponse* response) override;
  grpc::ServerUnaryReactor* ListOptimizationRecommendations(
      grpc::CallbackServerContext* context,
      const ::pganalytics::ruler::v1::ListOptimizationRecommendationsRequest* request,
      ::pganalytics::ruler::v1::ListOptimizationRecommendationsResponse* response) override;
  grpc::ServerUnaryReactor* ImplementRecommendation(
      grpc::CallbackServerContext* context, const ::pganalytics::ruler::v1::ImplementRecommendationRequest* request,
      ::pganalytics::ruler::v1::ImplementRecommendationResponse* response) override;
  grpc::ServerUnaryReactor* ListOptimizationResults(
      grpc::CallbackServerContext* context, const ::pganalytics::ruler::v1::ListOptimizationResultsRequest* request,
      ::pganalytics::ruler::v1::ListOptimizationResultsResponse* response) override;
  grpc::ServerUnaryReactor* AggregateRecommendations(
      grpc::CallbackServerContext* context, const ::pganalytics::ruler::v1::AggregateRecommendationsRequest* request,
      ::pganalytics::ruler::v1::AggregateRecommendationsResponse* response) override;

 private:
  // What is asked of query; sources are ids or names.
  struct Question {
    std::vector<std::string> sources;
    std::string collector;
    std::string kind;
    std::string database;
    int hours = 0;
    std::optional<double> least_hours;
  };
  struct Server {
    ::pganalytics::registry::v1::Source source;
    // Id of the source of the host that it runs on; empty where that is not watched.
    std::string host_id;
  };
  // Servers that the caller may see, of those asked for.
  absl::StatusOr<std::vector<Server>> Servers(const rpc::CallContext& call, const Question& question);
  // Advice about them, dismissed ones marked.
  absl::StatusOr<::pganalytics::query::v1::FindAdviceResponse> Find(const rpc::CallContext& call,
                                                                    const Question& question);

  // What came of it, by its statement in the `length` before and after it.
  absl::Status Measure(const rpc::CallContext& call, const Implementation& implementation, absl::Duration length,
                       ::pganalytics::ruler::v1::OptimizationResult* result);

  rpc::Dispatcher* const dispatcher_;
  AdviceStore* const store_;
  const std::shared_ptr<grpc::Channel> query_;
  const std::shared_ptr<grpc::Channel> registry_;
  rpc::ServiceIdentity* const identity_;
  clock::Clock* const clock_;
};

}  // namespace pga::ruler
