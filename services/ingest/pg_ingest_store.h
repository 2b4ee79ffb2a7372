// IngestStore on PostgreSQL: the statements of ingest that are not the group commit.
#pragma once

#include <memory>

#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "services/ingest/ingest_store.h"

namespace pga::ingest {

class PgIngestStore final : public IngestStore {
 public:
  // The pool must outlive the store.
  explicit PgIngestStore(pg::Pool* pool) : pool_(pool) {}

  absl::StatusOr<OpenedSession> OpenSession(std::string_view collector_id, int64_t session,
                                            const std::vector<StreamClaim>& streams,
                                            clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<ResolvedSource>> ResolveSources(int32_t collector, std::string_view collector_id,
                                                             const std::vector<SourceDescription>& sources,
                                                             clock::SteadyTime deadline) override;
  absl::Status TouchSources(const std::vector<int32_t>& sources, clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<AppliedMetric>> LoadCatalog(clock::SteadyTime deadline) override;
  absl::Status StorePush(std::string_view collector_id, std::string_view hostname,
                         const std::vector<PushedElement>& elements, clock::SteadyTime deadline) override;
  absl::Status Ping(clock::SteadyTime deadline) override { return pool_->Ping(deadline); }

 private:
  pg::Pool* const pool_;
};

}  // namespace pga::ingest
