// Edge of pganalytics.query.v1.WorkloadService: load, blockers, patterns, suggestions and predictions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/clock/clock.h"
#include "libs/rpc/auth.h"
#include "pganalytics/query/v1/workload_service.grpc.pb.h"
#include "services/query/advice_reader.h"
#include "services/query/dispatch.h"
#include "services/query/health.h"
#include "services/query/insight/history_reader.h"
#include "services/query/readers.h"

namespace pga::query {

// Its methods are in workload_service.cc (load and patterns), workload_statements_service.cc (suggestions) and
// prediction_service.cc.
class WorkloadService final : public ::pganalytics::query::v1::WorkloadService::CallbackService {
 public:
  // All must outlive the service. `health_calls` is for what must be answered while all reads are busy.
  WorkloadService(Dispatchers calls, rpc::Dispatcher* health_calls, const rpc::Authenticator* authenticator,
                  Readers readers, AdviceReader* advice, HealthProbe* metrics, clock::Clock* clock)
      : calls_(calls),
        health_calls_(health_calls),
        authenticator_(authenticator),
        readers_(readers),
        advice_(advice),
        metrics_(metrics),
        clock_(clock) {}

  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context,
                                    const ::pganalytics::query::v1::GetLoadRequest* request,
                                    ::pganalytics::query::v1::GetLoadResponse* response) override;
  grpc::ServerUnaryReactor* CompareLoad(grpc::CallbackServerContext* context,
                                        const ::pganalytics::query::v1::CompareLoadRequest* request,
                                        ::pganalytics::query::v1::CompareLoadResponse* response) override;
  grpc::ServerUnaryReactor* ListBlockers(grpc::CallbackServerContext* context,
                                         const ::pganalytics::query::v1::ListBlockersRequest* request,
                                         ::pganalytics::query::v1::ListBlockersResponse* response) override;
  grpc::ServerUnaryReactor* AnalyzePatterns(grpc::CallbackServerContext* context,
                                            const ::pganalytics::query::v1::AnalyzePatternsRequest* request,
                                            ::pganalytics::query::v1::AnalyzePatternsResponse* response) override;
  grpc::ServerWriteReactor<::pganalytics::query::v1::WorkloadPattern>* ListPatterns(
      grpc::CallbackServerContext* context, const ::pganalytics::query::v1::ListPatternsRequest* request) override;
  grpc::ServerUnaryReactor* GenerateRewrites(grpc::CallbackServerContext* context,
                                             const ::pganalytics::query::v1::GenerateRewritesRequest* request,
                                             ::pganalytics::query::v1::GenerateRewritesResponse* response) override;
  grpc::ServerUnaryReactor* ListRewrites(grpc::CallbackServerContext* context,
                                         const ::pganalytics::query::v1::ListRewritesRequest* request,
                                         ::pganalytics::query::v1::ListSuggestionsResponse* response) override;
  grpc::ServerUnaryReactor* GenerateParameters(grpc::CallbackServerContext* context,
                                               const ::pganalytics::query::v1::GenerateParametersRequest* request,
                                               ::pganalytics::query::v1::GenerateParametersResponse* response) override;
  grpc::ServerUnaryReactor* ListParameters(grpc::CallbackServerContext* context,
                                           const ::pganalytics::query::v1::ListParametersRequest* request,
                                           ::pganalytics::query::v1::ListSuggestionsResponse* response) override;
  grpc::ServerUnaryReactor* PredictPerformance(grpc::CallbackServerContext* context,
                                               const ::pganalytics::query::v1::PredictPerformanceRequest* request,
                                               ::pganalytics::query::v1::PredictPerformanceResponse* response) override;
  grpc::ServerUnaryReactor* ValidatePrediction(grpc::CallbackServerContext* context,
                                               const ::pganalytics::query::v1::ValidatePredictionRequest* request,
                                               ::pganalytics::query::v1::ValidatePredictionResponse* response) override;
  grpc::ServerUnaryReactor* GetFeatures(grpc::CallbackServerContext* context,
                                        const ::pganalytics::query::v1::GetFeaturesRequest* request,
                                        ::pganalytics::query::v1::GetFeaturesResponse* response) override;
  grpc::ServerUnaryReactor* Train(grpc::CallbackServerContext* context,
                                  const ::pganalytics::query::v1::TrainRequest* request,
                                  ::pganalytics::query::v1::TrainingJob* response) override;
  grpc::ServerUnaryReactor* GetTraining(grpc::CallbackServerContext* context,
                                        const ::pganalytics::query::v1::GetTrainingRequest* request,
                                        ::pganalytics::query::v1::TrainingJob* response) override;
  grpc::ServerUnaryReactor* GetModelHealth(grpc::CallbackServerContext* context,
                                           const ::pganalytics::query::v1::GetModelHealthRequest* request,
                                           ::pganalytics::query::v1::GetModelHealthResponse* response) override;
  grpc::ServerUnaryReactor* GetCircuitBreaker(grpc::CallbackServerContext* context,
                                              const ::pganalytics::query::v1::GetCircuitBreakerRequest* request,
                                              ::pganalytics::query::v1::GetCircuitBreakerResponse* response) override;

 private:
  struct FoundPatterns {
    std::vector<::pganalytics::query::v1::WorkloadPattern> patterns;
    int databases = 0;
    int without_history = 0;
    HistorySpan span;
    double completeness = 0;
  };
  // Clearest first.
  template <typename Request>
  absl::StatusOr<FoundPatterns> Patterns(const rpc::CallContext& call, const Request& asked);

  struct FoundSuggestions {
    std::vector<::pganalytics::query::v1::QuerySuggestion> found;
    std::vector<::pganalytics::query::v1::NotJudged> not_judged;
  };
  // Of one kind, the surest first.
  template <typename Request>
  absl::StatusOr<FoundSuggestions> Suggest(const rpc::CallContext& call, const Request& asked, bool rewrites);
  template <typename Request>
  absl::Status ListSuggestions(const rpc::CallContext& call, const Request& asked, bool rewrites,
                               ::pganalytics::query::v1::ListSuggestionsResponse* answer);

  struct FoundHistory {
    StatementHistory history;
    HistorySpan span;
    double completeness = 0;
  };
  // Hours of a statement; NOT_FOUND when it did not run in them.
  template <typename Request>
  absl::StatusOr<FoundHistory> HistoryOf(const rpc::CallContext& call, const Request& asked);
  // What comes of fitting the statements of most time to history up to `end`.
  absl::Status Fit(const rpc::CallContext& call, const std::vector<std::string>& wanted, const HistorySpan& span,
                   int lookback_days, ::pganalytics::query::v1::TrainingJob* job);
  absl::Status MetricsStatus(const rpc::CallContext& call);

  const Dispatchers calls_;
  rpc::Dispatcher* const health_calls_;
  const rpc::Authenticator* const authenticator_;
  const Readers readers_;
  AdviceReader* const advice_;
  HealthProbe* const metrics_;
  clock::Clock* const clock_;
};

}  // namespace pga::query
