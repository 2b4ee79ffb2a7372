// Stored figures as metrics of OpenTelemetry, under the names, units and attributes of its PostgreSQL receiver
// (opentelemetry-collector-contrib, receiver/postgresqlreceiver/documentation.md), whose resource is the server. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/catalog/catalog.h"
#include "libs/storage/read/last_values.h"
#include "libs/storage/read/source_reader.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb.h"

namespace pga::query {

namespace otlp = ::opentelemetry::proto::collector::metrics::v1;

// A receiver takes messages of 4 MiB unless it is configured to take larger ones.
inline constexpr size_t kMostOtlpBytes = size_t{3} << 20;

// Immutable, thread-safe.
class OtlpMetrics {
 public:
  // INTERNAL for a metric or column that the catalog does not have: the names are compiled in.
  static absl::StatusOr<std::unique_ptr<const OtlpMetrics>> Create(std::shared_ptr<const catalog::Catalog> catalog);
  ~OtlpMetrics();

  // What has to be read, in the order in which Write takes it.
  const std::vector<storage::LastWanted>& wanted() const { return wanted_; }

  // Points of all sources, as of `now_us` (microseconds since 1970), where their readings are fresh: of each source at
  // most `max_points`, in requests of at most kMostOtlpBytes where one source alone is not larger. `values` is what
  // LastValues found for wanted() and `sources`. A failure of `sink` ends it. Counts what a source has beyond.
  absl::Status Write(const std::vector<storage::SourceRef>& sources,
                     const std::vector<std::vector<storage::LastSource>>& values, int64_t now_us, int64_t max_points,
                     const std::function<absl::Status(const otlp::ExportMetricsServiceRequest&)>& sink,
                     int64_t* left_out) const;

 private:
  struct Read;
  OtlpMetrics();

  std::shared_ptr<const catalog::Catalog> catalog_;
  // One per metric that is read.
  std::vector<Read> reads_;
  std::vector<storage::LastWanted> wanted_;
};

// Data points of a request.
int64_t PointsOf(const otlp::ExportMetricsServiceRequest& request);

}  // namespace pga::query
