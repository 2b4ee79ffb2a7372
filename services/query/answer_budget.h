// How many bytes of large answers are held for callers at a time: in all, and half of it for one caller.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/call_limit.h"

namespace pga::query {

// Thread-safe.
class AnswerBudget {
 public:
  // What one call holds; given back by its destructor. May outlive the budget.
  class Part {
   public:
    Part() = default;
    ~Part();
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;

    // Gives back what is more than `bytes`: where Take was given an estimate.
    void Shrink(int64_t bytes);

   private:
    friend class AnswerBudget;
    struct State;
    std::shared_ptr<State> state_;
    std::string caller_;
    int64_t bytes_ = 0;
  };

  explicit AnswerBudget(int64_t bytes);

  // Waits until the bytes are free, in all and of the share of the caller that `limit` names. What is larger than a
  // share takes a whole one. CANCELLED and DEADLINE_EXCEEDED by `limit`. Once for each part.
  absl::Status Take(int64_t bytes, const pg::CallLimit& limit, Part* part);

 private:
  const std::shared_ptr<Part::State> state_;
};

}  // namespace pga::query
