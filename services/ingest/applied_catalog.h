// The metrics that the database knows (metrics.catalog_metric): ingest takes frames of exactly these, also of custom
// metrics that it does not know yet. A metric that is added while ingest runs is found with its first frame.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "services/ingest/ingest_store.h"

namespace pga::ingest {

// Immutable.
struct CatalogEntry {
  int16_t id = 0;
  // Frames of schema versions from 1 to metric.schema_version() can be stored.
  pganalytics::catalog::v1::Metric metric;
  bool has_counters = false;
  absl::Duration raw_retention;
};

// Thread-safe.
class AppliedCatalog {
 public:
  // The store must outlive the catalog.
  explicit AppliedCatalog(IngestStore* store) : store_(store) {}

  // Reads the catalog anew; the former one stays in force when that fails. Blocks until `deadline` at most.
  absl::Status Refresh(clock::SteadyTime deadline);

  // As Refresh, but at most once per `min_age`; for a frame whose metric is not known. Waits for one that is under way.
  absl::Status RefreshIfOlder(absl::Duration min_age, clock::SteadyTime deadline);

  // Null if the metric is not known.
  std::shared_ptr<const CatalogEntry> Find(std::string_view metric) const;

  size_t size() const;

 private:
  using Entries = absl::flat_hash_map<std::string, std::shared_ptr<const CatalogEntry>>;
  IngestStore* const store_;
  absl::Mutex refresh_mutex_;  // held while RefreshIfOlder reads
  mutable absl::Mutex mutex_;
  std::shared_ptr<const Entries> entries_ ABSL_GUARDED_BY(mutex_) = std::make_shared<const Entries>();
  clock::SteadyTime refreshed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ingest
