// How many bytes of large answers are on their way to callers at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/call_limit.h"

namespace pga::query {

// Thread-safe.
class AnswerRoom {
 public:
  // What one call holds; given back by its destructor. May outlive the room.
  class Part {
   public:
    Part() = default;
    ~Part();
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;

   private:
    friend class AnswerRoom;
    struct State;
    std::shared_ptr<State> state_;
    int64_t bytes_ = 0;
  };

  explicit AnswerRoom(int64_t bytes);

  // Waits for room. An answer larger than all of it waits until it is alone. CANCELLED and DEADLINE_EXCEEDED by
  // `limit`. Once for each part.
  absl::Status Take(int64_t bytes, const pg::CallLimit& limit, Part* part);

 private:
  const std::shared_ptr<Part::State> state_;
};

}  // namespace pga::query
