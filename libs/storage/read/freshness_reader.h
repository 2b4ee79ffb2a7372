// What the counts of frames and blocks show: how many frames are stored, how fresh and how complete each metric of each
// source is, and what each collector delivered.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/kept_answer.h"
#include "libs/storage/read/sent_frames.h"
#include "libs/storage/read/source_reader.h"

namespace pga::storage {

struct FreshnessEntry {
  SourceRef source;
  std::string metric;
  // Newest stored, whenever that was.
  absl::Time last_collected_at;
  // Share of the range that frames cover, 0 to 1; the mean over databases.
  double completeness = 0;
  int64_t frames = 0;
  int64_t rows = 0;
  // Lost intervals that touch the range.
  int64_t gaps = 0;
};

struct FrameTotals {
  // Stored frames and pushed elements, of every group: COUNT(*) of view metrics.
  int64_t count = 0;
  // Frames per metric in the last 24 hours.
  std::map<std::string, int64_t> by_metric;
  // Newest collected_at of these; InfinitePast when there is none.
  absl::Time latest = absl::InfinitePast();
};

struct CollectorTotals {
  std::string collector_id;
  // Newest receipt of a frame, or collected_at; InfinitePast when nothing was stored.
  absl::Time last_seen = absl::InfinitePast();
  // Rows that are still stored, and those of the last 24 hours.
  int64_t rows_total = 0;
  int64_t rows_24h = 0;
};

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class FreshnessReader {
 public:
  // All must outlive the reader.
  FreshnessReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog, SentInLastDay* sent,
                  clock::Clock* clock);

  // COUNT(*) of view metrics. An answer is given again for up to ten times as long as it took, at most a minute;
  // callers at the same time share one.
  absl::StatusOr<int64_t> Count(const pg::CallLimit& limit);

  // The same number, kept likewise, with what the sources of these groups sent, and what was pushed, which is of no
  // source.
  absl::StatusOr<FrameTotals> Totals(const std::vector<std::string>& groups, const pg::CallLimit& limit);

  // One entry for each metric that a source ever sent. INVALID_ARGUMENT for a bad range.
  absl::StatusOr<std::vector<FreshnessEntry>> Freshness(const std::vector<SourceRef>& sources, absl::Time start,
                                                        absl::Time end, const pg::CallLimit& limit);

  // Share of the range that frames of one metric cover; the mean over those of the sources that ever sent it.
  absl::StatusOr<double> Completeness(const std::string& metric, const std::vector<SourceRef>& sources,
                                      absl::Time start, absl::Time end, const pg::CallLimit& limit);

  // Every collector, or those named. Rows of a source count for the collector that reads it now. Costly answers are
  // kept and shared as those of Count are.
  absl::StatusOr<std::vector<CollectorTotals>> Collectors(const std::vector<std::string>& collector_ids,
                                                          const pg::CallLimit& limit);

 private:
  pg::ReadPool* pool_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  SentInLastDay* sent_;
  clock::Clock* clock_;
  KeptAnswer<int64_t> count_;
  // By group; what belongs to no source has the empty one.
  KeptAnswer<std::map<std::string, FrameTotals>> totals_;
  KeptAnswer<std::vector<CollectorTotals>> collectors_;
};

}  // namespace pga::storage
