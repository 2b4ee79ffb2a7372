// Predictions of WorkloadService: how long statements will take, how good that is, and what it is made of.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/columns/baseline.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "services/query/callers.h"
#include "services/query/insight/predict.h"
#include "services/query/insight/quantiles.h"
#include "services/query/request_rules.h"
#include "services/query/workload_service.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;

using rpc::FromProto;
using rpc::ToProto;

constexpr char kModel[] = "history";
constexpr char kGuarded[] = "metrics_database";
// Days of history of predictions: more hours are not kept.
constexpr int kHistoryDays = 30;
constexpr absl::Duration kMostAhead = absl::Hours(30 * 24);
constexpr double kMostRows = 1e12;
constexpr int kDefaultLookback = 90;
constexpr int kLeastLookback = 7;
constexpr int kMostLookback = 365;
constexpr int kMostFitted = 50;
constexpr absl::Duration kPingLimit = absl::Seconds(2);

absl::StatusOr<int> ResolveLookback(int days) {
  if (days == 0) return kDefaultLookback;
  if (days < kLeastLookback || days > kMostLookback) {
    return absl::InvalidArgumentError(absl::StrCat("lookback_days is ", kLeastLookback, " to ", kMostLookback));
  }
  return days;
}

// "<end of history in seconds since 1970>-<days>"
std::string JobId(const HistorySpan& span, int days) {
  return absl::StrCat(absl::ToUnixSeconds(span.end), "-", days);
}

struct Job {
  absl::Time end;
  int days = 0;
};
std::optional<Job> ParseJob(const std::string& id) {
  const std::vector<std::string> parts = absl::StrSplit(id, '-');
  int64_t end = 0;
  Job job;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &end) || !absl::SimpleAtoi(parts[1], &job.days)) {
    return std::nullopt;
  }
  if (end <= 0 || end % 3600 != 0 || job.days < kLeastLookback || job.days > kMostLookback) return std::nullopt;
  job.end = absl::FromUnixSeconds(end);
  return job;
}

}  // namespace

template <typename Request>
absl::StatusOr<WorkloadService::FoundHistory> WorkloadService::HistoryOf(const rpc::CallContext& call,
                                                                         const Request& asked) {
  PGA_ASSIGN_OR_RETURN(const int64_t query_id, ParseId(asked.query_hash(), "query_hash"));
  PGA_ASSIGN_OR_RETURN(
      const std::vector<storage::SourceRef> sources,
      SourcesOf(call, *authenticator_, readers_.sources, {asked.source().begin(), asked.source().end()}));
  FoundHistory found;
  found.span = HistoryBefore(clock_->Now(), kHistoryDays);
  PGA_ASSIGN_OR_RETURN(auto histories,
                       ReadCallHours(readers_, sources, {query_id}, asked.database_name(), found.span, Limit(call)));
  const auto one = histories.find(query_id);
  if (one == histories.end()) {
    return absl::NotFoundError(
        absl::StrCat("statement ", query_id, " did not run in the full hours of the last ", kHistoryDays, " days"));
  }
  found.history = std::move(one->second);
  PGA_ASSIGN_OR_RETURN(found.completeness, readers_.freshness->Completeness("statements", sources, found.span.start,
                                                                            found.span.end, Limit(call)));
  return found;
}

grpc::ServerUnaryReactor* WorkloadService::PredictPerformance(grpc::CallbackServerContext* context,
                                                              const pb::PredictPerformanceRequest* request,
                                                              pb::PredictPerformanceResponse* response) {
  return calls_.Run<pb::PredictPerformanceRequest, pb::PredictPerformanceResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::PredictPerformanceRequest& asked,
             pb::PredictPerformanceResponse& answer) -> absl::Status {
        const absl::Time now = clock_->Now();
        const absl::Time at = asked.has_at() ? FromProto(asked.at()) : now;
        if (at > now + kMostAhead) return absl::InvalidArgumentError("at lies more than 30 days ahead");
        std::optional<double> rows;
        if (asked.has_rows()) {
          if (!(asked.rows() >= 0 && asked.rows() <= kMostRows)) {
            return absl::InvalidArgumentError("rows is a number from 0 on");
          }
          rows = asked.rows();
        }
        PGA_ASSIGN_OR_RETURN(const FoundHistory found, HistoryOf(call, asked));
        const Prediction prediction = Predict(found.history.hours, HourOf(at), rows);
        answer.set_query_hash(asked.query_hash());
        answer.set_hours(prediction.hours);
        *answer.mutable_at() = ToProto(at);
        *answer.mutable_start() = ToProto(found.span.start);
        *answer.mutable_end() = ToProto(found.span.end);
        answer.set_completeness(found.completeness);
        answer.set_not_judged(prediction.refused);
        if (!prediction.refused.empty()) return absl::OkStatus();
        answer.set_predicted_execution_time_ms(prediction.ms);
        answer.set_range_low_ms(prediction.low_ms);
        answer.set_range_high_ms(prediction.high_ms);
        if (prediction.confidence) answer.set_confidence(*prediction.confidence);
        answer.set_method(std::string(NameOf(prediction.method)));
        answer.set_tested_hours(prediction.tested);
        if (prediction.median_error) answer.set_median_error_percent(100 * *prediction.median_error);
        answer.set_rows(prediction.rows);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* WorkloadService::ValidatePrediction(grpc::CallbackServerContext* context,
                                                              const pb::ValidatePredictionRequest* request,
                                                              pb::ValidatePredictionResponse* response) {
  return calls_.Run<pb::ValidatePredictionRequest, pb::ValidatePredictionResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ValidatePredictionRequest& asked,
             pb::ValidatePredictionResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const FoundHistory found, HistoryOf(call, asked));
        const Prediction prediction = Predict(found.history.hours, HourOf(found.span.end), std::nullopt);
        answer.set_query_hash(asked.query_hash());
        answer.set_hours(prediction.hours);
        for (const MethodTest& test : prediction.tests) {
          pb::PredictionMethod* const method = answer.add_methods();
          method->set_method(std::string(NameOf(test.method)));
          method->set_tested_hours(test.tested);
          if (test.median_error) method->set_median_error_percent(100 * *test.median_error);
          method->set_used(test.method == prediction.method);
        }
        if (prediction.confidence) answer.set_confidence(*prediction.confidence);
        *answer.mutable_start() = ToProto(found.span.start);
        *answer.mutable_end() = ToProto(found.span.end);
        answer.set_completeness(found.completeness);
        answer.set_not_judged(prediction.refused);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* WorkloadService::GetFeatures(grpc::CallbackServerContext* context,
                                                       const pb::GetFeaturesRequest* request,
                                                       pb::GetFeaturesResponse* response) {
  return calls_.Run<pb::GetFeaturesRequest, pb::GetFeaturesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetFeaturesRequest& asked,
             pb::GetFeaturesResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const FoundHistory found, HistoryOf(call, asked));
        const CallTotals& totals = found.history.totals;
        std::vector<double> means;
        for (const auto& [hour, of] : found.history.hours) means.push_back(of.mean_ms());
        auto& features = *answer.mutable_features();
        features["hours"] = static_cast<double>(means.size());
        features["calls"] = totals.calls;
        features["mean_time_ms"] = totals.time_ms / totals.calls;
        features["rows_per_call"] = totals.rows / totals.calls;
        features["blocks_per_call"] = totals.blocks / totals.calls;
        features["blocks_read_per_call"] = totals.blocks_read / totals.calls;
        features["io_time_ms_per_call"] = totals.io_ms / totals.calls;
        const auto [least, most] = std::minmax_element(means.begin(), means.end());
        features["least_ms"] = *least;
        features["most_ms"] = *most;
        features["median_ms"] = columns::MedianOf(means);
        answer.set_query_hash(asked.query_hash());
        *answer.mutable_start() = ToProto(found.span.start);
        *answer.mutable_end() = ToProto(found.span.end);
        answer.set_completeness(found.completeness);
        return absl::OkStatus();
      });
}

absl::Status WorkloadService::Fit(const rpc::CallContext& call, const std::vector<std::string>& wanted,
                                  const HistorySpan& span, int lookback_days, pb::TrainingJob* job) {
  PGA_ASSIGN_OR_RETURN(const std::vector<storage::SourceRef> sources,
                       SourcesOf(call, *authenticator_, readers_.sources, wanted));
  storage::TopStatementsQuery top;
  top.sources = sources;
  top.start = span.start;
  top.end = span.end;
  top.limit = kMostFitted;
  top.with_texts = false;
  PGA_ASSIGN_OR_RETURN(const storage::TopStatements heaviest, readers_.statements->Top(top, Limit(call)));
  std::set<int64_t> ids;
  for (const storage::TopStatement& statement : heaviest.statements) ids.insert(statement.query_id);
  PGA_ASSIGN_OR_RETURN(const auto histories, ReadCallHours(readers_, sources, ids, "", span, Limit(call)));
  std::vector<double> errors;
  double confidence = 0;
  int with_confidence = 0;
  for (const auto& [id, history] : histories) {
    const Prediction prediction = Predict(history.hours, HourOf(span.end), std::nullopt);
    if (!prediction.refused.empty()) continue;
    job->set_fitted(job->fitted() + 1);
    ++(*job->mutable_methods())[std::string(NameOf(prediction.method))];
    if (prediction.median_error) errors.push_back(*prediction.median_error);
    if (prediction.confidence) {
      confidence += *prediction.confidence;
      ++with_confidence;
    }
  }
  if (!errors.empty()) job->set_median_error_percent(100 * columns::MedianOf(std::move(errors)));
  if (with_confidence > 0) job->set_confidence(confidence / with_confidence);
  job->set_job_id(JobId(span, lookback_days));
  job->set_status("completed");
  job->set_model_type(kModel);
  *job->mutable_fitted_at() = ToProto(clock_->Now());
  *job->mutable_start() = ToProto(span.start);
  *job->mutable_end() = ToProto(span.end);
  PGA_ASSIGN_OR_RETURN(const double completeness,
                       readers_.freshness->Completeness("statements", sources, span.start, span.end, Limit(call)));
  job->set_completeness(completeness);
  job->set_statements(static_cast<int32_t>(histories.size()));
  job->set_lookback_days(lookback_days);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* WorkloadService::Train(grpc::CallbackServerContext* context, const pb::TrainRequest* request,
                                                 pb::TrainingJob* response) {
  return calls_.Run<pb::TrainRequest, pb::TrainingJob>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::TrainRequest& asked, pb::TrainingJob& answer) -> absl::Status {
        if (!asked.model_type().empty() && asked.model_type() != kModel) {
          return absl::InvalidArgumentError(absl::StrCat("model_type is ", kModel,
                                                         ": predictions are order statistics of stored hours, and "
                                                         "there is no other model; leave it out"));
        }
        PGA_ASSIGN_OR_RETURN(const int days, ResolveLookback(asked.lookback_days()));
        return Fit(call, {asked.source().begin(), asked.source().end()}, HistoryBefore(clock_->Now(), days), days,
                   &answer);
      });
}

grpc::ServerUnaryReactor* WorkloadService::GetTraining(grpc::CallbackServerContext* context,
                                                       const pb::GetTrainingRequest* request,
                                                       pb::TrainingJob* response) {
  return calls_.Run<pb::GetTrainingRequest, pb::TrainingJob>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetTrainingRequest& asked, pb::TrainingJob& answer) -> absl::Status {
        const std::optional<Job> job = ParseJob(asked.job_id());
        const HistorySpan now = HistoryBefore(clock_->Now(), kHistoryDays);
        // Of an hour that is no longer kept nothing can be fitted.
        if (!job || job->end > now.end || job->end <= now.start) {
          return absl::NotFoundError(absl::StrCat("there is no training ", asked.job_id(),
                                                  ": POST /api/v1/ml/train answers with an id; hours are kept for ",
                                                  kHistoryDays, " days"));
        }
        HistorySpan span = HistoryBefore(job->end, job->days);
        span.start = std::max(span.start, now.start);
        return Fit(call, {asked.source().begin(), asked.source().end()}, span, job->days, &answer);
      });
}

absl::Status WorkloadService::MetricsStatus(const rpc::CallContext& call) {
  // Real time: the probe talks to a real server.
  const clock::SteadyTime deadline =
      std::min(clock::SteadyNow() + kPingLimit, rpc::DeadlineWithin(call, kPingLimit + absl::Seconds(1)));
  return metrics_->Check(deadline);
}

grpc::ServerUnaryReactor* WorkloadService::GetModelHealth(grpc::CallbackServerContext* context,
                                                          const pb::GetModelHealthRequest* request,
                                                          pb::GetModelHealthResponse* response) {
  return health_calls_->Unary<pb::GetModelHealthRequest, pb::GetModelHealthResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetModelHealthRequest&,
             pb::GetModelHealthResponse& answer) -> absl::Status {
        const bool healthy = MetricsStatus(call).ok();
        answer.set_status(healthy ? "healthy" : "unhealthy");
        answer.set_model_type(kModel);
        answer.set_metrics_database(healthy ? "ok" : "does not answer");
        if (!healthy) call.SetResponseMetadata(rpc::kHttpCode, "503");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* WorkloadService::GetCircuitBreaker(grpc::CallbackServerContext* context,
                                                             const pb::GetCircuitBreakerRequest* request,
                                                             pb::GetCircuitBreakerResponse* response) {
  return health_calls_->Unary<pb::GetCircuitBreakerRequest, pb::GetCircuitBreakerResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetCircuitBreakerRequest&,
             pb::GetCircuitBreakerResponse& answer) -> absl::Status {
        answer.set_state(MetricsStatus(call).ok() ? "closed" : "open");
        answer.set_guards(kGuarded);
        return absl::OkStatus();
      });
}

}  // namespace pga::query
