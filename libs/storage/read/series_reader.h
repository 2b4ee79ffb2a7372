// Series of any catalog metric: increases, rates and gauges per bucket, from whichever levels fit (range.h). What has
// just arrived is visible at once: frames that are in no block yet count in the same statement.
//
//   counters  sums of exact increases, split at bucket edges by whole units; rates divide by covered time; a bucket in
//             which frames cover a source but nothing changed is 0, one that nothing covers is absent
//   gauges    average = sum / count of readings, min, max, last; a reading holds on while frames say "unchanged";
//             of what the catalog says that it is 0 when absent (sessions of a kind), the average is that over all
//             frames; a bucket between two readings, in which none was taken, has no value, and a sum of joined
//             series to which one of them brings none is a lower bound
//   joined    values of joined series are added, unless another aggregate is asked for
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
#include "libs/storage/read/range.h"
#include "libs/storage/read/source_reader.h"

namespace pga::storage {

// How readings are joined. kDefault is kSum, which adds the increases of counters and the averages of gauges; kAvg is
// the average of all readings of the joined series, kLast adds their last readings.
enum class Aggregate { kDefault, kSum, kAvg, kMin, kMax, kLast };

inline constexpr int kMostSeries = 100'000;

struct SeriesQuery {
  std::string metric;
  std::string column;
  // Already limited to what the caller may see; never empty.
  std::vector<SourceRef> sources;
  // `label=value`, `label!=value`, `label~regular expression`; all must hold.
  std::vector<std::string> filters;
  RangeRequest range;
  Aggregate aggregate = Aggregate::kDefault;
  // Counters per second of covered time.
  bool rate = false;
  // Labels that stay apart, `source` among them; empty = every label and source; `none` = one series.
  std::vector<std::string> group_by;
  // Most series, 1 to kMostSeries.
  int limit = 100;
};

struct SeriesPoint {
  absl::Time time;
  std::optional<double> value;
  // Milliseconds of the bucket that frames cover; the mean over the joined sources and databases.
  double covered_ms = 0;
  bool lower_bound = false;
  bool interpolated = false;
};

struct SeriesData {
  // Empty when sources were added up.
  std::string source_uuid;
  std::map<std::string, std::string> labels;
  std::vector<SeriesPoint> points;
};

struct SeriesAnswer {
  // "/s" appended for rates.
  std::string unit;
  int64_t step_seconds = 0;
  std::vector<SeriesData> series;
};

// Of all series of an answer.
inline constexpr int64_t kMostSeriesPoints = 300'000;

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class SeriesReader {
 public:
  // All must outlive the reader.
  SeriesReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog, clock::Clock* clock);

  // INVALID_ARGUMENT says what to change: unknown metric, column, label; a range, step or number of series out of
  // bounds. FAILED_PRECONDITION when the database does not know the metric yet.
  absl::StatusOr<SeriesAnswer> Read(const SeriesQuery& query, const pg::CallLimit& limit);

 private:
  pg::ReadPool* pool_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  clock::Clock* clock_;
};

}  // namespace pga::storage
