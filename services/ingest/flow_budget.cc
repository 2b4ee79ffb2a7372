#include "services/ingest/flow_budget.h"

#include <utility>

namespace pga::ingest {

bool FlowBudget::Acquire(int64_t rows, int64_t bytes, std::function<void()> granted) {
  absl::MutexLock lock(&mutex_);
  Line& line = LineOf(rows, bytes);
  if (line.waiters.empty() && Fits(line, rows, bytes)) {
    ++line.batches;
    line.rows += rows;
    line.bytes += bytes;
    return true;
  }
  line.waiters.push_back({rows, bytes, std::move(granted)});
  return false;
}

void FlowBudget::Release(int64_t rows, int64_t bytes) {
  std::vector<std::function<void()>> granted;
  {
    absl::MutexLock lock(&mutex_);
    Line& line = LineOf(rows, bytes);
    --line.batches;
    line.rows -= rows;
    line.bytes -= bytes;
    while (!line.waiters.empty() && Fits(line, line.waiters.front().rows, line.waiters.front().bytes)) {
      Waiter& waiter = line.waiters.front();
      ++line.batches;
      line.rows += waiter.rows;
      line.bytes += waiter.bytes;
      granted.push_back(std::move(waiter.granted));
      line.waiters.pop_front();
    }
  }
  for (const std::function<void()>& grant : granted) grant();
}

int64_t FlowBudget::rows() const {
  absl::MutexLock lock(&mutex_);
  return within_.rows + oversized_.rows;
}

int64_t FlowBudget::bytes() const {
  absl::MutexLock lock(&mutex_);
  return within_.bytes + oversized_.bytes;
}

size_t FlowBudget::waiting() const {
  absl::MutexLock lock(&mutex_);
  return within_.waiters.size() + oversized_.waiters.size();
}

}  // namespace pga::ingest
