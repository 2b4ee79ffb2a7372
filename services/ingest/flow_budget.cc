#include "services/ingest/flow_budget.h"

#include <utility>
#include <vector>

namespace pga::ingest {

bool FlowBudget::Acquire(int64_t rows, int64_t bytes, std::function<void()> granted) {
  absl::MutexLock lock(&mutex_);
  if (waiters_.empty() && Fits(rows, bytes)) {
    ++batches_;
    rows_ += rows;
    bytes_ += bytes;
    return true;
  }
  waiters_.push_back({rows, bytes, std::move(granted)});
  return false;
}

void FlowBudget::Release(int64_t rows, int64_t bytes) {
  std::vector<std::function<void()>> granted;
  {
    absl::MutexLock lock(&mutex_);
    --batches_;
    rows_ -= rows;
    bytes_ -= bytes;
    while (!waiters_.empty() && Fits(waiters_.front().rows, waiters_.front().bytes)) {
      Waiter& waiter = waiters_.front();
      ++batches_;
      rows_ += waiter.rows;
      bytes_ += waiter.bytes;
      granted.push_back(std::move(waiter.granted));
      waiters_.pop_front();
    }
  }
  for (const std::function<void()>& grant : granted) grant();
}

int64_t FlowBudget::rows() const {
  absl::MutexLock lock(&mutex_);
  return rows_;
}

int64_t FlowBudget::bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

size_t FlowBudget::waiting() const {
  absl::MutexLock lock(&mutex_);
  return waiters_.size();
}

}  // namespace pga::ingest
