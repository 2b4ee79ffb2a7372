// What the jobs of upkeep have in common: the connection and the limits of one run, and the rest that a source's metric
// takes after a failure, so that the others go on.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/upkeep/metric_table.h"

namespace pga::storage {

// Moments inside jobs, for tests that cause failures there.
enum class UpkeepPoint {
  kMergeBegun,
  kMergeTaken,        // the frames are deleted, nothing is written
  kMergeEncoded,      // blocks are made
  kMergeHalfWritten,  // half of the COPY is sent
  kMergeWritten,      // before COMMIT
  kMergeCommitted,
  kFoldBegun,
  kFoldTaken,
  kFoldHalfWritten,
  kFoldWritten,
  kFoldCommitted,
  kPartitionMade,
  kPartitionDropped,
  kCleaned,
};
inline constexpr int kUpkeepPoints = static_cast<int>(UpkeepPoint::kCleaned) + 1;
std::string_view NameOf(UpkeepPoint point);

// One run of a job.
struct JobRun {
  pg::CopyConnection* connection = nullptr;
  MetricTable* metrics = nullptr;
  clock::Clock* clock = nullptr;
  // When no further step may begin, by `clock`'s boot time.
  int64_t stop_at_nanos = 0;
  const std::atomic<bool>* cancelled = nullptr;
  // Everything that there is, not only what is due.
  bool force = false;
  std::function<void(UpkeepPoint)> on_point;

  bool Over() const { return *cancelled || clock->BoottimeNanos() >= stop_at_nanos; }
  void At(UpkeepPoint point) const {
    if (on_point) on_point(point);
  }
};

// Longest time of a statement, and of a transaction of a merge or fold.
inline constexpr absl::Duration kStatementTime = absl::Seconds(25);
inline constexpr absl::Duration kTransactionTime = absl::Seconds(50);

// A source's metric.
using SourceMetric = std::pair<int32_t, int16_t>;

// Rests after failures: 1 min, 2 min, up to an hour, each by the boot time of `clock`. Not thread-safe.
class Rests {
 public:
  explicit Rests(clock::Clock* clock) : clock_(clock) {}
  bool Resting(const SourceMetric& key) const;
  // Failures in a row so far.
  int Failures(const SourceMetric& key) const;
  void Failed(const SourceMetric& key);
  void Succeeded(const SourceMetric& key) { rests_.erase(key); }
  size_t size() const { return rests_.size(); }

 private:
  struct Rest {
    int failures = 0;
    int64_t until_nanos = 0;
  };
  clock::Clock* const clock_;
  std::map<SourceMetric, Rest> rests_;
};

// BEGIN, `body`, COMMIT, at the end ROLLBACK when `body` fails and the connection still stands. COMMIT does not wait
// for the disk: a crash of the server undoes the whole transaction, and the work is done again.
absl::Status InTransaction(pg::CopyConnection& connection, const std::function<absl::Status()>& body,
                           clock::SteadyTime deadline);

// Whether a failure concerns the server as a whole, so that going on with the next source's metric makes no sense.
bool IsServerWide(const absl::Status& failure, const pg::CopyConnection& connection);

// "'2026-01-01 00:00:00.000000+00'" of microseconds since 1970; "'2026-01-01'" of days.
std::string TimeLiteral(int64_t time_us);
std::string DateLiteral(int32_t days);
// Today (UTC) in days since 1970, and the microseconds since 1970.
int64_t NowMicros(clock::Clock* clock);
int32_t Today(clock::Clock* clock);

}  // namespace pga::storage
