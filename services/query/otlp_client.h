// Pushes the newest readings of every source to a receiver of OpenTelemetry (OTLP over gRPC), once an interval, with
// one thread of its own. What is not taken within an interval is not sent later: the next push has newer figures, and
// totals lose nothing by it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/exec/periodic_task.h"
#include "libs/metrics/registry.h"
#include "libs/pg/call_limit.h"
#include "libs/retry/retry.h"
#include "libs/rpc/client.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.grpc.pb.h"
#include "services/query/otlp_metrics.h"

namespace pga::query {

struct OtlpOptions {
  // http://host:port or https://host:port; port 4317 unless it is named.
  std::string endpoint;
  // CA certificates that verify the receiver, a PEM file; empty = the system's store.
  std::string ca_file;
  // File of lines "name: value" that go along as metadata; read before each push. Empty = none.
  std::string headers_file;
  absl::Duration interval = absl::Minutes(1);
  // Most points of one source in a push.
  int64_t max_points = 5000;
};

// Thread-safe.
class OtlpExporter {
 public:
  // Brings the sources and their values for OtlpMetrics::wanted().
  struct Readings {
    std::vector<storage::SourceRef> sources;
    std::vector<std::vector<storage::LastSource>> values;
  };
  using Reader = std::function<absl::StatusOr<Readings>(const std::vector<storage::LastWanted>& wanted,
                                                        const pg::CallLimit& limit)>;

  // INVALID_ARGUMENT for an endpoint or a CA file that is of no use. `registry`, `clock` and what `read` uses outlive
  // the exporter. The first push is one interval after the start.
  static absl::StatusOr<std::unique_ptr<OtlpExporter>> Create(const OtlpOptions& options,
                                                              std::unique_ptr<const OtlpMetrics> metrics, Reader read,
                                                              metrics::Registry* registry, clock::Clock* clock);
  ~OtlpExporter();

  // Ends a push that is under way, and the thread. Repeating is safe.
  void Stop();

  // Pushes as soon as possible, and waits for it; false when the deadline came first.
  bool PushNow(clock::SteadyTime deadline);

 private:
  OtlpExporter(const OtlpOptions& options, std::unique_ptr<const OtlpMetrics> metrics, Reader read,
               metrics::Registry* registry, clock::Clock* clock, std::shared_ptr<grpc::Channel> channel);
  void Run();
  absl::Status Push();
  absl::Status Send(const otlp::ExportMetricsServiceRequest& request, const rpc::Metadata& headers,
                    clock::SteadyTime deadline);

  const OtlpOptions options_;
  const std::unique_ptr<const OtlpMetrics> metrics_;
  const Reader read_;
  clock::Clock* const clock_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<otlp::MetricsService::Stub> stub_;
  metrics::Counter& pushed_;
  metrics::Counter& failed_;
  metrics::Counter& points_;
  metrics::Counter& rejected_;
  metrics::Counter& left_out_;
  metrics::Gauge& last_success_;
  metrics::Histogram& seconds_;
  std::atomic<bool> stopping_{false};
  rpc::Canceller canceller_;
  retry::InterruptibleSleeper sleeper_;
  // Last: it uses all others.
  std::unique_ptr<exec::PeriodicTask> task_;
};

// Host and port of an endpoint, and whether it is under TLS. INVALID_ARGUMENT says what is expected.
struct OtlpAddress {
  std::string address;
  bool tls = false;
};
absl::StatusOr<OtlpAddress> ParseOtlpEndpoint(std::string_view endpoint);

// The lines of a file of headers; empty lines and those that begin with # are skipped. INVALID_ARGUMENT names the line
// that is no header, never its value.
absl::StatusOr<rpc::Metadata> ParseOtlpHeaders(std::string_view text);

}  // namespace pga::query
