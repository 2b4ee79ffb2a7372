#include "libs/door/byte_budget.h"

#include <utility>

namespace pga::door {

struct ByteBudget::Waiter {
  std::string key;
  int64_t bytes = 0;
  std::function<void()> ready;
  // Under the budget's mutex.
  bool granted = false;
};

ByteBudget::Level ByteBudget::Judge(int64_t each) const {
  if (used_ > limits_.most_total || each > limits_.most_each) return Level::kOver;
  return used_ > limits_.wait_total || each > limits_.wait_each ? Level::kWait : Level::kFree;
}

bool ByteBudget::Fits(const Holder& holder, int64_t bytes) const {
  return used_ + bytes <= limits_.wait_total && holder.bytes + bytes <= limits_.wait_each;
}

ByteBudget::Level ByteBudget::Charge(const std::string& key, int64_t bytes) {
  if (bytes == 0) return LevelOf(key);
  absl::MutexLock lock(&mutex_);
  used_ += bytes;
  return Judge(each_[key].bytes += bytes);
}

bool ByteBudget::TakeNow(const std::string& key, int64_t bytes) {
  const auto found = each_.find(key);
  if (found == each_.end() ? !Fits(Holder(), bytes) : !found->second.waiters.empty() || !Fits(found->second, bytes)) {
    return false;
  }
  used_ += bytes;
  each_[key].bytes += bytes;
  return true;
}

bool ByteBudget::Take(const std::string& key, int64_t bytes) {
  if (bytes == 0) return true;
  absl::MutexLock lock(&mutex_);
  return TakeNow(key, bytes);
}

ByteBudget::Ticket ByteBudget::TakeOrWait(const std::string& key, int64_t bytes, std::function<void()> ready) {
  if (bytes == 0) return nullptr;
  absl::MutexLock lock(&mutex_);
  if (TakeNow(key, bytes)) return nullptr;
  auto ticket = std::make_shared<Waiter>(Waiter{key, bytes, std::move(ready)});
  each_[key].waiters.push_back(ticket);
  ++waiting_;
  return ticket;
}

bool ByteBudget::Granted(const Ticket& ticket) const {
  absl::MutexLock lock(&mutex_);
  return ticket->granted;
}

bool ByteBudget::Leave(const Ticket& ticket) {
  std::vector<Ticket> granted;
  {
    absl::MutexLock lock(&mutex_);
    if (ticket->granted) return true;
    const auto found = each_.find(ticket->key);
    if (found == each_.end()) return false;
    waiting_ -= found->second.waiters.remove(ticket);
    // Smaller ones may have stood behind it.
    Serve(found->second, &granted);
    if (found->second.bytes <= 0 && found->second.waiters.empty()) each_.erase(found);
  }
  for (const Ticket& other : granted) other->ready();
  return false;
}

void ByteBudget::Serve(Holder& holder, std::vector<Ticket>* granted) {
  while (!holder.waiters.empty() && Fits(holder, holder.waiters.front()->bytes)) {
    const Ticket ticket = std::move(holder.waiters.front());
    holder.waiters.pop_front();
    --waiting_;
    used_ += ticket->bytes;
    holder.bytes += ticket->bytes;
    ticket->granted = true;
    granted->push_back(ticket);
  }
}

void ByteBudget::Give(const std::string& key, int64_t bytes) {
  std::vector<Ticket> granted;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = each_.find(key);
    if (found == each_.end()) return;
    used_ -= bytes;
    found->second.bytes -= bytes;
    if (waiting_ > 0) {
      Serve(found->second, &granted);
      // Those of other keys wait for room in all.
      if (waiting_ > found->second.waiters.size()) {
        for (auto& [other, holder] : each_) Serve(holder, &granted);
      }
    }
    if (found->second.bytes <= 0 && found->second.waiters.empty()) each_.erase(found);
  }
  for (const Ticket& ticket : granted) ticket->ready();
}

ByteBudget::Level ByteBudget::LevelOf(const std::string& key) const {
  absl::MutexLock lock(&mutex_);
  const auto found = each_.find(key);
  return Judge(found == each_.end() ? 0 : found->second.bytes);
}

int64_t ByteBudget::used() const {
  absl::MutexLock lock(&mutex_);
  return used_;
}

size_t ByteBudget::keys() const {
  absl::MutexLock lock(&mutex_);
  return each_.size();
}

size_t ByteBudget::waiting() const {
  absl::MutexLock lock(&mutex_);
  return waiting_;
}

}  // namespace pga::door
