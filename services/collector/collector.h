// The collector's parts, built and joined in one place: spool and its writer, delivery, the event loop with one runner
// per source, its own metrics and health. Drained in the reverse order.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/collector/config.h"

namespace pga::collector {

class Collector {
 public:
  // Opens the state folder and the spool, starts the listeners; nothing is collected yet. Blocks on the disk.
  static absl::StatusOr<std::unique_ptr<Collector>> Create(CollectorConfig config);
  ~Collector();
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  // Collects and delivers until the process is asked to end (exec::ShutdownSignal), then flushes within
  // shutdown_timeout. Call once.
  absl::Status Run();

  // Connects to every source and prints what is missing to standard output. True if nothing is.
  static absl::StatusOr<bool> Check(const CollectorConfig& config);

  // Port of /metrics, 0 if off.
  int metrics_port() const;

 private:
  class Impl;
  explicit Collector(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pga::collector
