// Series of any catalog metric as samples: for tools that compute rates and averages themselves. At raw there is one
// sample per reading, at its instant; where raw rows are not kept any more, or are more than may be read, one per hour
// or day, at its end.
//
//   counters  a running total of the stored increases: what was read first (the newest key frame of kHoldsFor before,
//   and
//             the increases since) plus every increase behind it. It never falls, so that the difference of two samples
//             is the sum of the increases between them, over resets too. A series that begins has its beginning as a
//             sample of 0.
//   gauges    the reading; at hours and days the newest of them, the least, the greatest or the average
//   info      the reading; nothing at hours and days
//
// A reading that says "unchanged" repeats the value. A series that vanishes ends with a sample that says so (kStale).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/clock/clock.h"
#include "libs/columns/row_set.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/reading_order.h"
#include "libs/storage/read/source_reader.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

struct Sample {
  // Milliseconds since 1970.
  int64_t time_ms = 0;
  double value = 0;
};

// The NaN by which Prometheus knows that a series has ended.
double StaleValue();

// What is said of a gauge at hours and days.
enum class BucketValue { kLast, kLeast, kGreatest, kAverage };

struct SampleQuery {
  const ::pganalytics::catalog::v1::Metric* metric = nullptr;
  // Indexes of columns; their texts are SampleSeries::labels. NULL is empty.
  std::vector<int> labels;
  // Indexes of counters, gauges, and info columns that are numbers; may be empty.
  std::vector<int> values;
  // Without values: what a row says by its labels, nullopt = nothing; unset = 1, that it was there.
  std::function<std::optional<double>(const std::vector<std::string>&)> value_of;
  // Already limited to what the caller may see.
  std::vector<SourceRef> sources;
  // Milliseconds, both included.
  int64_t start_ms = 0;
  int64_t end_ms = 0;
  // Whether a series is wanted, by its labels.
  std::function<bool(const std::vector<std::string>&)> keep;
  // Value of the label that the metric's blocks are sorted by, as text, where only one is wanted.
  std::optional<std::string> located;
  // Readings that are further apart than this are repeated in between, as scrapes would repeat them; 0 = never.
  int64_t repeat_every_ms = 0;
  // Window of what is computed over the samples; from kHoursFrom on hours may take the place of too many raw rows.
  int64_t window_ms = 0;
  BucketValue bucket_value = BucketValue::kLast;
  // Most samples.
  int64_t max_samples = 2'000'000;
};
inline constexpr int64_t kHoursFromMs = int64_t{24} * 3600 * 1000;

struct SampleSeries {
  int32_t source_id = 0;
  std::vector<std::string> labels;
  // Per value of the query; in order of time, in stored units.
  std::vector<std::vector<Sample>> samples;
};

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class SampleReader {
 public:
  // Both must outlive the reader.
  SampleReader(pg::ReadPool* pool, clock::Clock* clock) : pool_(pool), clock_(clock) {}

  // INVALID_ARGUMENT with the bound when there are more samples or readings than may be given. A metric that is not
  // applied to the database has no series.
  absl::StatusOr<std::vector<SampleSeries>> Read(const SampleQuery& query, const pg::CallLimit& limit);

 private:
  pg::ReadPool* pool_;
  clock::Clock* clock_;
};

}  // namespace pga::storage
