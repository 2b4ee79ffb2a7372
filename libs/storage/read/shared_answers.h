// Answers that several callers want at the same time: one of them finds each, the others wait for it. Nothing is kept
// beyond that.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/call_limit.h"

namespace pga::storage {

// How often answers were shared, since the process began.
struct SharedFigures {
  // Answers that another caller was looking for already, and those that were looked for.
  int64_t shared = 0;
  int64_t looked_for = 0;
  // Those that are being looked for now.
  int64_t open = 0;
};

// Thread-safe.
template <typename T>
class SharedAnswers {
 public:
  using Answer = absl::StatusOr<std::shared_ptr<const T>>;

  // The answer that a caller with the same key is looking for, or that of `read`, a callable that takes the limit to
  // keep to and returns absl::StatusOr<T>. A key names all that the answer depends on, rights too. A look goes on as
  // long as anybody waits for it, also when its own caller has gone; it ends by its own deadline, and another one who
  // has more time looks then.
  template <typename Read>
  Answer Get(const std::string& key, const pg::CallLimit& limit, const Read& read) {
    while (true) {
      std::shared_ptr<Entry> entry;
      bool mine = false;
      {
        absl::MutexLock lock(&mutex_);
        std::shared_ptr<Entry>& known = entries_[key];
        mine = known == nullptr;
        if (mine) known = std::make_shared<Entry>();
        entry = known;
        if (!mine) ++entry->waiting;
        ++(mine ? figures_.looked_for : figures_.shared);
      }
      if (mine) {
        const pg::CallLimit shared(
            limit.deadline,
            [&] {
              if (!limit.cancelled || !limit.cancelled()) return false;
              absl::MutexLock lock(&mutex_);
              if (entry->waiting > 0) return false;
              // Nobody joins a look that is given up.
              Forget(key, *entry);
              return true;
            },
            limit.caller);
        absl::StatusOr<T> found = read(shared);
        absl::MutexLock lock(&mutex_);
        Forget(key, *entry);
        if (found.ok()) {
          entry->answer = std::make_shared<const T>(*std::move(found));
        } else {
          entry->answer = found.status();
        }
        entry->done = true;
        return entry->answer;
      }
      absl::MutexLock lock(&mutex_);
      while (!entry->done) {
        if (absl::Status status = limit.Check(); !status.ok()) {
          --entry->waiting;
          return status;
        }
        clock::AwaitUntil(mutex_, absl::Condition(&entry->done), std::min(limit.deadline, clock::SteadyNow() + kPoll));
      }
      if (!absl::IsCancelled(entry->answer.status()) && !absl::IsDeadlineExceeded(entry->answer.status())) {
        return entry->answer;
      }
    }
  }

  SharedFigures Figures() const {
    absl::MutexLock lock(&mutex_);
    SharedFigures figures = figures_;
    figures.open = static_cast<int64_t>(entries_.size());
    return figures;
  }

 private:
  static constexpr absl::Duration kPoll = absl::Milliseconds(50);
  struct Entry {
    bool done = false;
    // Callers beside the one who looks.
    int waiting = 0;
    Answer answer = absl::UnknownError("not found yet");
  };
  void Forget(const std::string& key, const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto known = entries_.find(key);
    if (known != entries_.end() && known->second.get() == &entry) entries_.erase(known);
  }

  mutable absl::Mutex mutex_;
  SharedFigures figures_ ABSL_GUARDED_BY(mutex_);
  // Answers that are being looked for.
  absl::flat_hash_map<std::string, std::shared_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::storage
