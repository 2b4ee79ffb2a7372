// What is stored about the surroundings of statements that changed: plans, indexes, tables, settings, restarts, waits.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/call_limit.h"
#include "libs/storage/read/source_reader.h"
#include "services/query/insight/compare_causes.h"
#include "services/query/insight/compare_reader.h"
#include "services/query/insight/fingerprint.h"
#include "services/query/readers.h"

namespace pga::query {

// A statement that evidence is wanted for.
struct Suspect {
  std::set<int32_t> sources;
  std::set<int64_t> query_ids;
  std::set<std::string> databases;
  StatementParts parts;
};

// Evidence for a set of statements, read once for all of them.
class EvidenceBook {
 public:
  // Reads what is there. A metric that cannot be read is noted in `read` with the reason; failures of the database and
  // of the call are returned.
  static absl::StatusOr<EvidenceBook> Read(const Readers& readers, const std::vector<storage::SourceRef>& sources,
                                           const std::vector<Suspect>& suspects, const Window& before,
                                           const Window& after, absl::Duration step, const pg::CallLimit& limit);

  // Adds what concerns the statement to the facts; the sums of the windows are there already.
  void Fill(const Suspect& suspect, bool slower, ChangeFacts* facts) const;

  const std::vector<ReadEvidence>& read() const { return read_; }

 private:
  // Of a source, and of a database or, where it is empty, all of them.
  struct Placed {
    int32_t source = 0;
    std::string database;
    // Of events of a statement its id, of those of a table its name; else 0 and empty.
    int64_t query_id = 0;
    NamedRelation table;
    ChangeEvent event;
  };
  struct PlacedTable {
    int32_t source = 0;
    std::string database;
    NamedRelation table;
    TableFigures figures;
  };
  using StatementKey = std::pair<int32_t, int64_t>;
  struct Sampled {
    // Of sources where anything was sampled.
    std::map<StatementKey, std::map<std::string, double>> waits;
    std::map<int32_t, double> active;
    // Seconds that statements waited, by who held the lock.
    std::map<StatementKey, std::map<std::string, double>> holders;
  };

  std::vector<Placed> events_;
  std::vector<PlacedTable> tables_;
  Sampled before_;
  Sampled after_;
  struct Plan {
    std::string tree;
    // Readings of both windows and the time between.
    absl::Time first;
    absl::Time last;
  };
  // Of one that goes by several query ids: the plan of another id before the change and that after it.
  std::optional<ChangeEvent> PlanOfOtherId(const Suspect& suspect, int32_t source) const;

  std::map<StatementKey, std::map<int64_t, Plan>> plans_;
  absl::Time changes_from_;
  std::vector<ReadEvidence> read_;

  friend class EvidenceReading;
};

}  // namespace pga::query
