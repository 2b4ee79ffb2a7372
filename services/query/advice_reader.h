// Reads what the rules of advice judge: what is stored of one server. The rules themselves are in insight/.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/call_limit.h"
#include "libs/storage/read/freshness_reader.h"
#include "libs/storage/read/plan_reader.h"
#include "libs/storage/read/source_reader.h"
#include "libs/storage/read/state_reader.h"
#include "libs/storage/read/statement_reader.h"
#include "services/query/insight/advice.h"

namespace pga::query {

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class AdviceReader {
 public:
  // All must outlive the reader.
  AdviceReader(storage::FreshnessReader* freshness, storage::StateReader* state, storage::PlanReader* plans,
               storage::StatementReader* statements)
      : freshness_(freshness), state_(state), plans_(plans), statements_(statements) {}

  // What is known of `source` in [start, end), of the use of indexes on `members` of its cluster, and of its host. What
  // is not known is in the facts with its reason; an error is one of the database or the call.
  absl::StatusOr<SourceFacts> Read(const storage::SourceRef& source, const std::vector<storage::SourceRef>& members,
                                   const std::optional<storage::SourceRef>& host, absl::Time start, absl::Time end,
                                   const pg::CallLimit& limit);
  // Of that what JudgeStatements reads.
  absl::StatusOr<SourceFacts> ReadStatements(const storage::SourceRef& source, absl::Time start, absl::Time end,
                                             const pg::CallLimit& limit);

 private:
  absl::StatusOr<SourceFacts> ReadNeeds(const std::vector<FactNeed>& needs, const storage::SourceRef& source,
                                        absl::Time start, absl::Time end, const pg::CallLimit& limit);
  // These needs, into the facts' metrics.
  absl::Status ReadMetrics(const std::vector<FactNeed>& needs, const storage::SourceRef& source,
                           const pg::CallLimit& limit, SourceFacts* facts);
  absl::StatusOr<Fact> ReadFact(const FactNeed& need, const storage::SourceRef& source, absl::Time start,
                                absl::Time end, const pg::CallLimit& limit);
  absl::Status ReadMembers(const std::vector<storage::SourceRef>& members, const pg::CallLimit& limit,
                           SourceFacts* facts);
  absl::Status ReadChanges(const storage::SourceRef& source, const pg::CallLimit& limit, SourceFacts* facts);
  absl::Status ReadPlans(const storage::SourceRef& source, const pg::CallLimit& limit, SourceFacts* facts);
  absl::Status ReadTexts(const storage::SourceRef& source, const pg::CallLimit& limit, SourceFacts* facts);

  storage::FreshnessReader* const freshness_;
  storage::StateReader* const state_;
  storage::PlanReader* const plans_;
  storage::StatementReader* const statements_;
};

}  // namespace pga::query
