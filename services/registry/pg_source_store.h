// Where sources are kept. Thread-safe; every function blocks until the deadline at most.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "services/registry/source.h"

namespace pga::registry {

class PgSourceStore {
 public:
  // The pool must outlive the store.
  explicit PgSourceStore(pg::Pool* pool) : pool_(pool) {}

  // One standing per report, in order. Names are checked by the caller and differ. NOT_FOUND (COLLECTOR_UNKNOWN) if
  // registry does not know the collector.
  absl::StatusOr<std::vector<Standing>> Report(const std::string& collector_id, absl::Duration interval,
                                               const std::vector<SourceReport>& reports, absl::Time now,
                                               clock::SteadyTime deadline);

  // By name, without those that were removed; of these groups, or of every one if `all`.
  absl::StatusOr<std::vector<Source>> List(bool all, const std::vector<std::string>& groups, absl::Time now,
                                           clock::SteadyTime deadline);
  // NOT_FOUND (SOURCE_UNKNOWN), ALREADY_EXISTS (SOURCE_NAME_TAKEN). Empty values stay as they are.
  absl::StatusOr<Source> Update(const std::string& id, const std::string& name, const std::string& group,
                                clock::SteadyTime deadline);
  absl::Status Remove(const std::string& id, const std::string& by, absl::Time now, clock::SteadyTime deadline);

  // Sources by id, or after a revision, removed ones too; at most `count`.
  absl::StatusOr<std::vector<Source>> ByIds(const std::vector<std::string>& ids, clock::SteadyTime deadline);
  absl::StatusOr<std::vector<Source>> After(int64_t revision, int count, clock::SteadyTime deadline);

 private:
  pg::Pool* const pool_;
};

}  // namespace pga::registry
