#include "libs/storage/upkeep/job.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

constexpr absl::Duration kFirstRest = absl::Minutes(1);
constexpr absl::Duration kLongestRest = absl::Hours(1);

}  // namespace

std::string_view NameOf(UpkeepPoint point) {
  switch (point) {
    case UpkeepPoint::kMergeBegun:
      return "merge_begun";
    case UpkeepPoint::kMergeTaken:
      return "merge_taken";
    case UpkeepPoint::kMergeEncoded:
      return "merge_encoded";
    case UpkeepPoint::kMergeHalfWritten:
      return "merge_half_written";
    case UpkeepPoint::kMergeWritten:
      return "merge_written";
    case UpkeepPoint::kMergeCommitted:
      return "merge_committed";
    case UpkeepPoint::kFoldBegun:
      return "fold_begun";
    case UpkeepPoint::kFoldTaken:
      return "fold_taken";
    case UpkeepPoint::kFoldHalfWritten:
      return "fold_half_written";
    case UpkeepPoint::kFoldWritten:
      return "fold_written";
    case UpkeepPoint::kFoldCommitted:
      return "fold_committed";
    case UpkeepPoint::kPartitionMade:
      return "partition_made";
    case UpkeepPoint::kPartitionDropped:
      return "partition_dropped";
    case UpkeepPoint::kCleaned:
      return "cleaned";
  }
  return "";
}

bool Rests::Resting(const SourceMetric& key) const {
  const auto found = rests_.find(key);
  return found != rests_.end() && clock_->BoottimeNanos() < found->second.until_nanos;
}

int Rests::Failures(const SourceMetric& key) const {
  const auto found = rests_.find(key);
  return found == rests_.end() ? 0 : found->second.failures;
}

void Rests::Failed(const SourceMetric& key) {
  Rest& rest = rests_[key];
  const absl::Duration pause = std::min(kFirstRest * (int64_t{1} << std::min(rest.failures, 10)), kLongestRest);
  ++rest.failures;
  rest.until_nanos = clock_->BoottimeNanos() + absl::ToInt64Nanoseconds(pause);
}

absl::Status InTransaction(pg::CopyConnection& connection, const std::function<absl::Status()>& body,
                           clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(connection.Exec("BEGIN; SET LOCAL synchronous_commit = off", deadline));
  absl::Status done = body();
  if (done.ok()) return connection.Commit(deadline);
  if (connection.ok() && connection.in_transaction()) {
    connection.Exec("ROLLBACK", std::max(deadline, clock::SteadyNow() + absl::Seconds(5))).status().IgnoreError();
  }
  return done;
}

bool IsServerWide(const absl::Status& failure, const pg::CopyConnection& connection) {
  return !connection.ok() || absl::IsUnavailable(failure) || absl::IsResourceExhausted(failure) ||
         absl::IsUnknown(failure) || absl::IsPermissionDenied(failure);
}

std::string TimeLiteral(int64_t time_us) {
  return absl::FormatTime("'%Y-%m-%d %H:%M:%E6S+00'", absl::FromUnixMicros(time_us), absl::UTCTimeZone());
}

std::string DateLiteral(int32_t days) {
  return absl::StrCat("'", absl::FormatCivilTime(absl::CivilDay(1970, 1, 1) + days), "'");
}

int64_t NowMicros(clock::Clock* clock) {
  return absl::ToUnixMicros(clock->Now());
}

int32_t Today(clock::Clock* clock) {
  return static_cast<int32_t>(FloorTo(NowMicros(clock), kDayMicros) / kDayMicros);
}

}  // namespace pga::storage
