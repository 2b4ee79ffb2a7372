#include "libs/door/byte_budget.h"

namespace pga::door {

ByteBudget::Level ByteBudget::Judge(int64_t each) const {
  if (used_ > limits_.most_total || each > limits_.most_each) return Level::kOver;
  return used_ > limits_.wait_total || each > limits_.wait_each ? Level::kWait : Level::kFree;
}

ByteBudget::Level ByteBudget::Charge(const std::string& key, int64_t bytes) {
  if (bytes == 0) return LevelOf(key);
  absl::MutexLock lock(&mutex_);
  used_ += bytes;
  return Judge(each_[key] += bytes);
}

bool ByteBudget::Take(const std::string& key, int64_t bytes) {
  if (bytes == 0) return true;
  absl::MutexLock lock(&mutex_);
  const auto found = each_.find(key);
  const int64_t each = (found == each_.end() ? 0 : found->second) + bytes;
  if (used_ + bytes > limits_.wait_total || each > limits_.wait_each) return false;
  used_ += bytes;
  each_[key] = each;
  return true;
}

void ByteBudget::Give(const std::string& key, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  const auto found = each_.find(key);
  if (found == each_.end()) return;
  used_ -= bytes;
  found->second -= bytes;
  if (found->second <= 0) each_.erase(found);
}

ByteBudget::Level ByteBudget::LevelOf(const std::string& key) const {
  absl::MutexLock lock(&mutex_);
  const auto found = each_.find(key);
  return Judge(found == each_.end() ? 0 : found->second);
}

int64_t ByteBudget::used() const {
  absl::MutexLock lock(&mutex_);
  return used_;
}

size_t ByteBudget::keys() const {
  absl::MutexLock lock(&mutex_);
  return each_.size();
}

}  // namespace pga::door
