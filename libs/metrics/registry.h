#pragma once

// Figures of ourselves in Prometheus form. Names are pga_<service>_<thing>_<unit>[_total]; label values come from
// small, fixed sets. The objects handed out live as long as the Registry and are thread-safe; updating them does not
// block.

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/status/status.h"

namespace prometheus {
class Exposer;
}

namespace pga::metrics {

using Counter = prometheus::Counter;
using Gauge = prometheus::Gauge;
using Histogram = prometheus::Histogram;
using Labels = std::map<std::string, std::string>;

// Seconds from 1 ms to 60 s; fits calls and statements.
std::vector<double> LatencyBuckets();

// Thread-safe. The same name and labels give the same object again, so two parts may share a metric.
class Registry {
 public:
  // Also registers the process_* metrics (resident memory, CPU, start time, descriptors, threads) unless
  // `process_metrics` is false.
  explicit Registry(bool process_metrics = true);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  Counter& AddCounter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& AddGauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram& AddHistogram(std::string_view name, std::string_view help, const Labels& labels = {},
                          std::vector<double> buckets = LatencyBuckets());

  // The text that /metrics serves.
  std::string Render() const;

  std::shared_ptr<prometheus::Registry> raw() { return registry_; }
  // Everything an exposer of another kind has to collect.
  std::vector<std::shared_ptr<prometheus::Collectable>> collectables() const;

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  std::shared_ptr<prometheus::Collectable> process_;
};

// Serves /metrics over plain HTTP with one thread until destroyed.
class Exposer {
 public:
  // `address` is "host:port"; port 0 takes a free one. UNAVAILABLE when the address cannot be bound. `registry`
  // outlives the exposer.
  static absl::StatusOr<std::unique_ptr<Exposer>> Start(std::string_view address, Registry& registry);
  ~Exposer();

  int port() const;

 private:
  Exposer(std::unique_ptr<prometheus::Exposer> exposer, std::vector<std::shared_ptr<prometheus::Collectable>> sources);

  std::vector<std::shared_ptr<prometheus::Collectable>> sources_;  // the exposer keeps weak references
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace pga::metrics
