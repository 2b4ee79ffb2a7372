// Edge of pganalytics.query.v1.PrometheusService: scrapes and remote read of stored metrics.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/api/httpbody.pb.h"
#include "libs/catalog/prometheus.h"
#include "libs/clock/clock.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/unary.h"
#include "libs/storage/read/last_values.h"
#include "libs/storage/read/sample_reader.h"
#include "libs/storage/read/source_reader.h"
#include "pganalytics/query/v1/prometheus_service.grpc.pb.h"
#include "services/query/answer_budget.h"

namespace pga::query {

class PrometheusService final : public ::pganalytics::query::v1::PrometheusService::CallbackService {
 public:
  struct Options {
    // Most series of one source in a scrape.
    int64_t max_series = 5000;
    // Most samples in an answer of remote read.
    int64_t max_samples = 2'000'000;
  };
  // All must outlive the service. Both methods run where questions about many sources do.
  PrometheusService(rpc::Dispatcher* dispatcher, const rpc::Authenticator* authenticator,
                    std::shared_ptr<const catalog::PrometheusNames> names, storage::SourceReader* sources,
                    storage::LastValues* last, storage::SampleReader* samples, clock::Clock* clock, Options options);

  grpc::ServerWriteReactor<google::api::HttpBody>* ExportMetrics(
      grpc::CallbackServerContext* context, const ::pganalytics::query::v1::ExportMetricsRequest* request) override;
  grpc::ServerUnaryReactor* RemoteRead(grpc::CallbackServerContext* context,
                                       const ::pganalytics::query::v1::RemoteReadRequest* request,
                                       google::api::HttpBody* response) override;

 private:
  absl::Status Export(rpc::CallContext& call, const ::pganalytics::query::v1::ExportMetricsRequest& asked,
                      rpc::StreamWriter<google::api::HttpBody>& writer);

  rpc::Dispatcher* const dispatcher_;
  const rpc::Authenticator* const authenticator_;
  const std::shared_ptr<const catalog::PrometheusNames> names_;
  storage::SourceReader* const sources_;
  storage::LastValues* const last_;
  storage::SampleReader* const samples_;
  clock::Clock* const clock_;
  const Options options_;
  AnswerBudget budget_;
};

}  // namespace pga::query
