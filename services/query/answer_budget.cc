#include "services/query/answer_budget.h"

#include <algorithm>

#include "libs/status/status.h"

namespace pga::query {
namespace {

constexpr absl::Duration kAskAgain = absl::Milliseconds(100);

}  // namespace

struct AnswerBudget::Part::State {
  explicit State(int64_t all) : left(all), share(all / 2) {}

  bool Free(const std::string& caller, int64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const auto found = held.find(caller);
    return left >= bytes && (found == held.end() ? 0 : found->second) + bytes <= share;
  }
  void Give(const std::string& caller, int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    left += bytes;
    if ((held[caller] -= bytes) == 0) held.erase(caller);
  }

  absl::Mutex mutex;
  int64_t left ABSL_GUARDED_BY(mutex);
  // By caller; only those who hold something.
  absl::flat_hash_map<std::string, int64_t> held ABSL_GUARDED_BY(mutex);
  const int64_t share;
};

AnswerBudget::Part::~Part() {
  Shrink(0);
}

void AnswerBudget::Part::Shrink(int64_t bytes) {
  if (state_ == nullptr || bytes >= bytes_) return;
  absl::MutexLock lock(&state_->mutex);
  state_->Give(caller_, bytes_ - bytes);
  bytes_ = bytes;
}

AnswerBudget::AnswerBudget(int64_t bytes) : state_(std::make_shared<Part::State>(bytes)) {}

absl::Status AnswerBudget::Take(int64_t bytes, const pg::CallLimit& limit, Part* part) {
  Part::State& state = *state_;
  const int64_t wanted = std::min(bytes, state.share);
  absl::MutexLock lock(&state.mutex);
  const auto free = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex) { return state.Free(limit.caller, wanted); };
  while (!clock::AwaitUntil(state.mutex, absl::Condition(&free),
                            std::min(limit.deadline, clock::SteadyNow() + kAskAgain))) {
    PGA_RETURN_IF_ERROR(limit.Check());
  }
  state.left -= wanted;
  state.held[limit.caller] += wanted;
  part->state_ = state_;
  part->caller_ = limit.caller;
  part->bytes_ = wanted;
  return absl::OkStatus();
}

}  // namespace pga::query
