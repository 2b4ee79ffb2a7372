// The gRPC edge of ingest: the bidirectional stream of batches and the JSON push. Identity comes from what libs/rpc
// verified, never from a message.
#pragma once

#include <atomic>

#include "libs/clock/clock.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/unary.h"
#include "pganalytics/ingest/v1/ingest_service.grpc.pb.h"
#include "services/ingest/config_client.h"
#include "services/ingest/ingest_store.h"
#include "services/ingest/push_intake.h"
#include "services/ingest/push_metrics.h"
#include "services/ingest/stream_session.h"

namespace pga::ingest {

class IngestService final : public pganalytics::ingest::v1::IngestService::CallbackService {
 public:
  struct Options {
    size_t max_streams = 10'000;
    PushLimits push;
    // Sent to clients of the push.
    absl::Duration next_check_in = absl::Seconds(300);
  };
  // Everything outlives the service.
  IngestService(Options options, const SessionContext* sessions, PushIntake* intake, rpc::Dispatcher* dispatcher,
                const ConfigClient* configs, metrics::Registry* metrics);

  grpc::ServerBidiReactor<pganalytics::ingest::v1::StreamBatchesRequest,
                          pganalytics::ingest::v1::StreamBatchesResponse>*
  StreamBatches(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* PushMetrics(grpc::CallbackServerContext* context,
                                        const pganalytics::ingest::v1::PushMetricsRequest* request,
                                        pganalytics::ingest::v1::PushMetricsResponse* response) override;
  grpc::ServerUnaryReactor* PushBinaryMetrics(grpc::CallbackServerContext* context,
                                              const pganalytics::ingest::v1::PushBinaryMetricsRequest* request,
                                              pganalytics::ingest::v1::PushMetricsResponse* response) override;

  // Refuses new streams and lets those that are open end once what they sent is acknowledged. Does not wait.
  void BeginDrain();

 private:
  absl::Status Push(rpc::CallContext& call, const pganalytics::ingest::v1::PushMetricsRequest& request,
                    pganalytics::ingest::v1::PushMetricsResponse& response);

  const Options options_;
  const SessionContext* const sessions_;
  PushIntake* const intake_;
  rpc::Dispatcher* const dispatcher_;
  const ConfigClient* const configs_;
  metrics::Counter& pushes_;
  metrics::Counter& elements_;
  metrics::Counter& refused_elements_;
  metrics::Counter& untyped_elements_;
  metrics::Counter& pushed_frames_;
  metrics::Counter& late_readings_;
  metrics::Counter& unreadable_values_;
  metrics::Counter& repeated_pushes_;
  std::atomic<bool> draining_{false};
};

}  // namespace pga::ingest
