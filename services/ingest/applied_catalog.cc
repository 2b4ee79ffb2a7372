#include "services/ingest/applied_catalog.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "libs/catalog/metric.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"

namespace pga::ingest {

absl::Status AppliedCatalog::Refresh(clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(std::vector<AppliedMetric> applied, store_->LoadCatalog(deadline));
  auto entries = std::make_shared<Entries>();
  for (AppliedMetric& from : applied) {
    auto entry = std::make_shared<CatalogEntry>();
    entry->id = from.id;
    entry->metric = std::move(from.definition);
    entry->has_counters = catalog::HasCounters(entry->metric);
    entry->raw_retention = absl::Hours(24) * catalog::RawDays(entry->metric);
    entry->metric.set_schema_version(std::min(from.schema_version, entry->metric.schema_version()));
    const std::string name = entry->metric.name();
    (*entries)[name] = std::move(entry);
  }
  absl::MutexLock lock(&mutex_);
  entries_ = std::move(entries);
  refreshed_ = clock::SteadyNow();
  return absl::OkStatus();
}

absl::Status AppliedCatalog::RefreshIfOlder(absl::Duration min_age, clock::SteadyTime deadline) {
  // Who comes while another reads waits for what that one finds, instead of going on without.
  absl::MutexLock one(&refresh_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    if (clock::SteadyNow() - refreshed_ < min_age) return absl::OkStatus();
    refreshed_ = clock::SteadyNow();
  }
  return Refresh(deadline);
}

std::shared_ptr<const CatalogEntry> AppliedCatalog::Find(std::string_view metric) const {
  std::shared_ptr<const Entries> entries;
  {
    absl::MutexLock lock(&mutex_);
    entries = entries_;
  }
  const auto found = entries->find(absl::string_view(metric.data(), metric.size()));
  return found == entries->end() ? nullptr : found->second;
}

size_t AppliedCatalog::size() const {
  absl::MutexLock lock(&mutex_);
  return entries_->size();
}

}  // namespace pga::ingest
