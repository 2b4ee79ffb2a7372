// CollectorStore in the metadata database (libs/storage/schema/migrations/metadata), through a pool with the rights of
// role pganalytics_registry.
#pragma once

#include <string>
#include <vector>

#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "services/registry/collector_store.h"

namespace pga::registry {

class PgCollectorStore final : public CollectorStore {
 public:
  // `pool` must outlive the store.
  explicit PgCollectorStore(pg::Pool* pool) : pool_(pool) {}

  absl::StatusOr<bool> Register(const Registration& registration, int limit, absl::Time counted_since, absl::Time now,
                                clock::SteadyTime deadline) override;
  absl::Status SetCertificate(const std::string& id, const std::string& thumbprint, absl::Time expires_at,
                              const std::string& version, absl::Time now, clock::SteadyTime deadline) override;
  absl::StatusOr<Collector> Get(const std::string& id, const SeenGroups& seen, clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<Collector>> List(const SeenGroups& seen, int offset, int count, int* total,
                                              clock::SteadyTime deadline) override;
  absl::Status Delete(const std::string& id, clock::SteadyTime deadline) override;
  absl::StatusOr<StoredConfig> GetConfig(const std::string& id, clock::SteadyTime deadline) override;
  absl::StatusOr<int32_t> PutConfig(const std::string& id, const std::string& toml, const std::string& by,
                                    absl::Time now, clock::SteadyTime deadline) override;
  absl::Status NoteActivity(const std::vector<Activity>& activity, clock::SteadyTime deadline) override;
  absl::Status Audit(const AuditEntry& entry, clock::SteadyTime deadline) override;

 private:
  pg::Pool* const pool_;
};

}  // namespace pga::registry
