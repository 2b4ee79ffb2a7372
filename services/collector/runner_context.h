// What all runners of a collector share: the event loop, the way to the spool, and the settings in force. Everything it
// points to outlives the runners; used on the event loop alone.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/metrics/registry.h"
#include "libs/net/host_resolver.h"
#include "services/collector/config.h"
#include "services/collector/explain_limits.h"
#include "services/collector/outbox.h"

namespace pga::collector {

struct RunnerContext {
  boost::asio::io_context* loop = nullptr;
  clock::Clock* clock = nullptr;
  std::shared_ptr<const catalog::Catalog> catalog;
  net::HostResolver* resolver = nullptr;
  Outbox* outbox = nullptr;
  Trackers* trackers = nullptr;
  metrics::Registry* metrics = nullptr;
  std::string collector_id;
  // Folder under which the host's /proc and /sys are; empty or "/" for the collector's own.
  std::string host_root;
  // A source's state has changed, so that registry should learn of it. May be empty.
  std::function<void()> on_state;
  // What waits to be sent takes half of the spool: the other half is for statistics, and logs wait. May be empty.
  std::function<bool()> logs_wait;
  absl::Duration interval;
  absl::Duration activity_interval;
  // Least distance of two readings of statement texts.
  absl::Duration statement_text_interval = absl::Minutes(10);
  ExplainLimits explain;
  absl::Duration explain_timeout = absl::Milliseconds(200);
  QueryTextMode query_text = QueryTextMode::kNormalized;
  std::set<std::string> disabled;

  absl::Duration IntervalOf(const SourceConfig& source) const {
    return source.interval > absl::ZeroDuration() ? source.interval : interval;
  }
};

}  // namespace pga::collector
