// What sessions did around an instant or over a range, and who blocked whom: metrics `activity` (sampled sessions
// counted per interval) and `blocking` (edges of the waits-for tree, stored when it changes).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/source_reader.h"

namespace pga::storage {

struct ActivityEntry {
  // End of the newest interval in which it was seen.
  absl::Time time;
  std::string source_uuid;
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
  std::string query_text;
};

struct BlockingEntry {
  absl::Time time;
  std::string source_uuid;
  int64_t blocked_pid = 0;
  int64_t blocking_pid = 0;
  std::string blocked_user;
  std::string blocking_user;
  std::string database;
  std::string wait_event;
  int64_t waited_us = 0;
  int64_t blocked_query_id = 0;
  int64_t blocking_query_id = 0;
  std::string blocking_state;
};

struct ActivityAnswer {
  // Most samples first.
  std::vector<ActivityEntry> activity;
  // In order of time.
  std::vector<BlockingEntry> blocking;
};

struct ActivityQuery {
  std::vector<SourceRef> sources;
  // Intervals that end in (start, end] count. With `instant` set, per source the one interval that holds `end`, and the
  // blocking tree in force then.
  absl::Time start;
  absl::Time end;
  bool instant = false;
  // Most rows of each kind.
  int limit = 200;
  bool with_texts = true;
};

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class ActivityReader {
 public:
  // All must outlive the reader.
  ActivityReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog)
      : pool_(pool), catalog_(std::move(catalog)) {}

  // INVALID_ARGUMENT, with the number found, when the range has more blocking edges than the limit; of activity the
  // rows with the most samples are given.
  absl::StatusOr<ActivityAnswer> Read(const ActivityQuery& query, const pg::CallLimit& limit);

 private:
  pg::ReadPool* pool_;
  std::shared_ptr<const catalog::Catalog> catalog_;
};

}  // namespace pga::storage
