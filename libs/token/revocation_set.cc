#include "libs/token/revocation_set.h"

#include <algorithm>

namespace pga::token {

void RevocationSet::Apply(std::span<const Revocation> batch, int64_t now) {
  absl::MutexLock lock(&mutex_);
  const auto put = [this](auto& map, const std::string& key, auto value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (key.empty()) return;
    if (const auto it = map.find(key); it != map.end()) {
      it->second = std::max(it->second, value);
    } else if (issued_before_.size() + ids_.size() < max_entries_) {
      map.emplace(key, value);
    } else {
      // An incomplete set must not pass for a complete one: from here on every call is asked about.
      overflowed_ = true;
    }
  };
  for (const Revocation& revocation : batch) {
    last_number_ = std::max(last_number_, revocation.number);
    if (revocation.jti.empty()) {
      put(issued_before_, revocation.subject, revocation.issued_before);
    } else {
      put(ids_, revocation.jti, now);
    }
  }
  last_news_ = std::max(last_news_, now);
}

void RevocationSet::Forget(int64_t before) {
  absl::MutexLock lock(&mutex_);
  absl::erase_if(ids_, [before](const auto& entry) { return entry.second < before; });
}

bool RevocationSet::IsRevoked(const Principal& principal) const {
  if (principal.kind != Principal::kUser && principal.kind != Principal::kCollector) return false;
  absl::MutexLock lock(&mutex_);
  if (!principal.jti.empty() && ids_.contains(principal.jti)) return true;
  if (!principal.session.empty() && ids_.contains(principal.session)) return true;
  const auto it = issued_before_.find(principal.subject);
  return it != issued_before_.end() && principal.issued_at < it->second;
}

bool RevocationSet::HasNews(int64_t now) const {
  absl::MutexLock lock(&mutex_);
  return !overflowed_ && last_news_ != kNever && absl::Nanoseconds(now - last_news_) < kNewsWithin;
}

void RevocationSet::LoseNews() {
  absl::MutexLock lock(&mutex_);
  last_news_ = kNever;
}

int64_t RevocationSet::last_news() const {
  absl::MutexLock lock(&mutex_);
  return last_news_;
}

int64_t RevocationSet::last_number() const {
  absl::MutexLock lock(&mutex_);
  return last_number_;
}

size_t RevocationSet::size() const {
  absl::MutexLock lock(&mutex_);
  return issued_before_.size() + ids_.size();
}

}  // namespace pga::token
