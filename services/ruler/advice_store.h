// What people decided against, in the metadata database: schema pganalytics, role pganalytics_ruler. Thread-safe; every
// call blocks until its deadline at most.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "services/ruler/alert_store.h"

namespace pga::ruler {

struct Dismissal {
  std::string advice_id = {};
  std::string kind = {};
  std::string source_id = {};
  std::string database = {};
  std::string object = {};
  std::string reason = {};
  std::string who = {};
  absl::Time at = absl::InfinitePast();
};

// An advice that somebody followed.
struct Implementation {
  int32_t id = 0;
  std::string advice_id = {};
  std::string kind = {};
  std::string source_id = {};
  std::string source_name = {};
  std::string database = {};
  std::string object = {};
  // The statement concerned that took most time.
  std::optional<int64_t> query_id = std::nullopt;
  std::string notes = {};
  std::string who = {};
  absl::Time at = absl::InfinitePast();
};

class AdviceStore {
 public:
  // `pool` outlives the store.
  explicit AdviceStore(pg::Pool* pool) : pool_(pool) {}

  // Of these sources, by id of the advice.
  absl::StatusOr<std::map<std::string, Dismissal>> Dismissals(const std::vector<std::string>& source_ids,
                                                              clock::SteadyTime deadline);
  // The dismissal of an advice; NOT_FOUND.
  absl::StatusOr<Dismissal> Find(const std::string& advice_id, clock::SteadyTime deadline);
  // Replaces a former one. With the row of the audit log, all or nothing.
  absl::Status Dismiss(const Dismissal& dismissal, const AuditRow& audit, clock::SteadyTime deadline);
  // NOT_FOUND.
  absl::Status Restore(const std::string& advice_id, const AuditRow& audit, clock::SteadyTime deadline);
  // Answers with its id. The newest 10,000 are kept. With the row of the audit log, all or nothing.
  absl::StatusOr<int32_t> Implement(const Implementation& implementation, const AuditRow& audit,
                                    clock::SteadyTime deadline);
  // Of these sources, newest first; `advice_id` may be empty: all.
  absl::StatusOr<std::vector<Implementation>> Implementations(const std::vector<std::string>& source_ids,
                                                              const std::string& advice_id, int limit,
                                                              clock::SteadyTime deadline);

 private:
  pg::Pool* const pool_;
};

}  // namespace pga::ruler
