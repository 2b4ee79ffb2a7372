#include "services/ingest/refusal_limit.h"

#include <algorithm>

#include "absl/strings/string_view.h"

namespace pga::ingest {
namespace {

absl::string_view View(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

double RefusalLimit::LeftAt(const Bucket& bucket, absl::Time now) const {
  const double gained = std::max(absl::ToDoubleSeconds(now - bucket.at), 0.0) * per_second_;
  return std::min(burst_, bucket.left + gained);
}

absl::Duration RefusalLimit::Wait(std::string_view key) const {
  absl::MutexLock lock(&mutex_);
  const auto found = buckets_.find(View(key));
  if (found == buckets_.end()) return absl::ZeroDuration();
  const double left = LeftAt(found->second, clock_->Now());
  return left >= 1 ? absl::ZeroDuration() : absl::Seconds((1 - left) / per_second_);
}

void RefusalLimit::Refused(std::string_view key) {
  const absl::Time now = clock_->Now();
  absl::MutexLock lock(&mutex_);
  if (buckets_.size() >= max_keys_ && !buckets_.contains(View(key))) {
    absl::erase_if(buckets_, [&](const auto& entry) { return LeftAt(entry.second, now) >= burst_; });
    if (buckets_.size() >= max_keys_) buckets_.clear();
  }
  Bucket& bucket = buckets_.try_emplace(View(key), Bucket{burst_, now}).first->second;
  bucket = {std::max(LeftAt(bucket, now) - 1, 0.0), now};
}

}  // namespace pga::ingest
