// Which sources exist, and which of them a caller may see: the one place where groups enter a read. Every other reader
// takes the sources found here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/pool.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/sent_frames.h"

namespace pga::storage {

struct SourceRef {
  int32_t id = 0;
  std::string uuid;
  std::string name;
  std::string group = {};
};

struct StoredOfSource {
  SourceRef source;
  int64_t frames_24h = 0;
  int64_t rows_24h = 0;
};

// Thread-safe; blocks until the deadline at most.
class SourceReader {
 public:
  // All must outlive the reader.
  SourceReader(pg::Pool* pool, pg::ReadPool* reads, SentInLastDay* sent) : pool_(pool), reads_(reads), sent_(sent) {}

  // Names of all groups that sources are in.
  absl::StatusOr<std::vector<std::string>> Groups(clock::SteadyTime deadline);

  // Sources of these groups whose UUID or name is asked for; every one when `wanted` is empty. NOT_FOUND names what was
  // asked for and is not there or not visible, with names that resemble it.
  absl::StatusOr<std::vector<SourceRef>> Resolve(const std::vector<std::string>& groups,
                                                 const std::vector<std::string>& wanted, clock::SteadyTime deadline);

  // Sources of these groups that the collector owns. NOT_FOUND when no collector of this id ever delivered.
  absl::StatusOr<std::vector<SourceRef>> OfCollector(const std::vector<std::string>& groups,
                                                     const std::string& collector_id, clock::SteadyTime deadline);

  // What was stored of the sources of these groups in the last 24 hours.
  absl::StatusOr<std::vector<StoredOfSource>> Stored(const std::vector<std::string>& groups,
                                                     const pg::CallLimit& limit);

 private:
  pg::Pool* pool_;
  pg::ReadPool* reads_;
  SentInLastDay* sent_;
};

// Questions about more sources than these are wide: they cost more than others would wait for.
inline constexpr size_t kMostNarrowSources = 4;
inline pg::Width WidthOf(const std::vector<SourceRef>& sources) {
  return sources.size() > kMostNarrowSources ? pg::Width::kWide : pg::Width::kNarrow;
}

// Ids for array parameters.
std::vector<int32_t> IdsOf(const std::vector<SourceRef>& sources);

}  // namespace pga::storage
