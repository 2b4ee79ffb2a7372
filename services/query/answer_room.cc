#include "services/query/answer_room.h"

#include "libs/status/status.h"

namespace pga::query {
namespace {

constexpr absl::Duration kAskAgain = absl::Milliseconds(100);

}  // namespace

struct AnswerRoom::Part::State {
  explicit State(int64_t all) : left(all), total(all) {}
  absl::Mutex mutex;
  int64_t left ABSL_GUARDED_BY(mutex);
  const int64_t total;
};

AnswerRoom::Part::~Part() {
  if (state_ == nullptr) return;
  absl::MutexLock lock(&state_->mutex);
  state_->left += bytes_;
}

AnswerRoom::AnswerRoom(int64_t bytes) : state_(std::make_shared<Part::State>(bytes)) {}

absl::Status AnswerRoom::Take(int64_t bytes, const pg::CallLimit& limit, Part* part) {
  Part::State& state = *state_;
  const int64_t wanted = std::min(bytes, state.total);
  absl::MutexLock lock(&state.mutex);
  const auto room = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex) { return state.left >= wanted; };
  while (!clock::AwaitUntil(state.mutex, absl::Condition(&room),
                            std::min(limit.deadline, clock::SteadyNow() + kAskAgain))) {
    PGA_RETURN_IF_ERROR(limit.Check());
  }
  state.left -= wanted;
  part->state_ = state_;
  part->bytes_ = wanted;
  return absl::OkStatus();
}

}  // namespace pga::query
