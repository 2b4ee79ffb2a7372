// What sessions did at an instant or over a range, and who blocked whom: metrics `activity` (sampled sessions counted
// per interval) and `blocking` (the tree of waits, stored when it changes).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/cut_text.h"
#include "libs/storage/read/source_reader.h"

namespace pga::storage {

struct ActivityEntry {
  // End of the newest interval in which it was seen.
  absl::Time time;
  SourceRef source;
  std::string database;
  std::string user;
  std::string application;
  // 0 = not known.
  int64_t query_id = 0;
  std::string state;
  std::string wait_event_type;
  std::string wait_event;
  // Added up over the range.
  double samples = 0;
  // Mean over the intervals of the range, those without such a session included.
  double average_sessions = 0;
  CutText query_text;
};

// A session, or a prepared transaction, that waits or is waited for.
struct BlockingParty {
  // 0 for a prepared transaction, whose name is in `gid`.
  int64_t pid = 0;
  std::string gid;
  std::string user;
  std::string application;
  std::string state;
  // 0 = not known.
  int64_t query_id = 0;
  // The text that was sampled, where pg_stat_statements has none; 0 = not known.
  int64_t text_id = 0;
  CutText query_text;
  std::optional<absl::Time> transaction_start;
};

// One session that waited for another one, as long as it did. Times are as exact as the sampling.
struct BlockingEntry {
  SourceRef source;
  absl::Time from;
  absl::Time until;
  // It was still so at `until`; nothing is known of later.
  bool lasts = false;
  BlockingParty blocked;
  BlockingParty blocking;
  // End of the chain: waits for nobody. None in a cycle.
  std::optional<BlockingParty> root;
  // Edges from `blocked` to the root.
  int64_t depth = 0;
  bool cycle = false;
  std::string database;
  // "schema.name", or "oid 16402" where the name is not known.
  std::string relation;
  std::string lock_type;
  std::string lock_mode;
  std::string wait_event;
};

struct SampledSource {
  SourceRef source;
  // Something was sampled at the instant, or in the range.
  bool sampled = false;
  // Newest sample up to the end of what was asked, from kSampledBefore on.
  std::optional<absl::Time> last;
};
inline constexpr absl::Duration kSampledBefore = absl::Hours(25);

struct ActivityAnswer {
  // Most samples first.
  std::vector<ActivityEntry> activity;
  // In order of their beginning; the longest, if there are more than the limit.
  std::vector<BlockingEntry> blocking;
  int64_t blocking_found = 0;
  // By name.
  std::vector<SampledSource> sources;
};

struct ActivityQuery {
  std::vector<SourceRef> sources;
  // Intervals that end in (start, end] count. With `instant` set, per source the one interval that holds `end`, else
  // the last one, unless `end` is more than an interval after it; and the waits there were then.
  absl::Time start;
  absl::Time end;
  bool instant = false;
  // Most rows of each kind.
  int limit = 200;
  bool with_texts = true;
  // Most characters of each text.
  int64_t text_length = 500;
};

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class ActivityReader {
 public:
  // All must outlive the reader.
  ActivityReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog)
      : pool_(pool), catalog_(std::move(catalog)) {}

  // INVALID_ARGUMENT when the range has more kinds of activity, or more waits, than fit in memory.
  absl::StatusOr<ActivityAnswer> Read(const ActivityQuery& query, const pg::CallLimit& limit);

 private:
  pg::ReadPool* pool_;
  std::shared_ptr<const catalog::Catalog> catalog_;
};

}  // namespace pga::storage
