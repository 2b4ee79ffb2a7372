// IngestStore on PostgreSQL: the statements of ingest that are not the group commit.
#pragma once

#include <memory>

#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "libs/pg/read_pool.h"
#include "services/ingest/ingest_store.h"

namespace pga::ingest {

class PgIngestStore final : public IngestStore {
 public:
  // Both must outlive the store; `reads` is for what Carry reads.
  PgIngestStore(pg::Pool* pool, pg::ReadPool* reads) : pool_(pool), reads_(reads) {}

  absl::StatusOr<OpenedSession> OpenSession(std::string_view collector_id, const std::vector<StreamClaim>& streams,
                                            clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<ResolvedSource>> ResolveSources(int32_t collector, std::string_view collector_id,
                                                             const std::vector<SourceDescription>& sources,
                                                             clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<std::string>> ApplyOwners(const std::vector<OwnedSource>& owners,
                                                       clock::SteadyTime deadline) override;
  absl::Status Carry(int32_t source, int64_t owner_epoch, clock::SteadyTime deadline) override;
  absl::StatusOr<CarriedCounters> LoadCarried(int32_t source, int64_t owner_epoch, int16_t metric_id, int64_t scope,
                                              clock::SteadyTime deadline) override;
  absl::Status TouchSources(const std::vector<int32_t>& sources, clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<AppliedMetric>> LoadCatalog(clock::SteadyTime deadline) override;
  absl::StatusOr<int32_t> CollectorNumberOf(std::string_view collector_id, clock::SteadyTime deadline) override;
  absl::Status Ping(clock::SteadyTime deadline) override { return pool_->Ping(deadline); }

 private:
  pg::Pool* const pool_;
  pg::ReadPool* const reads_;
};

}  // namespace pga::ingest
