// Answers that several callers want at the same time: one of them finds each, the others wait for it. Nothing is kept
// beyond that.
#pragma once

#include <algorithm>
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

// Thread-safe.
template <typename T>
class SharedAnswers {
 public:
  using Answer = absl::StatusOr<std::shared_ptr<const T>>;

  // The answer that a caller with the same key is looking for, or that of `read`, a callable without arguments that
  // returns absl::StatusOr<T>. A key names all that the answer depends on, rights too. When the one who looks gives up,
  // because its own caller has gone or its time is over, another one looks.
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
      }
      if (mine) {
        absl::StatusOr<T> found = read();
        absl::MutexLock lock(&mutex_);
        entries_.erase(key);
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
        if (absl::Status status = limit.Check(); !status.ok()) return status;
        clock::AwaitUntil(mutex_, absl::Condition(&entry->done), std::min(limit.deadline, clock::SteadyNow() + kPoll));
      }
      if (!absl::IsCancelled(entry->answer.status()) && !absl::IsDeadlineExceeded(entry->answer.status())) {
        return entry->answer;
      }
    }
  }

 private:
  static constexpr absl::Duration kPoll = absl::Milliseconds(50);
  struct Entry {
    bool done = false;
    Answer answer = absl::UnknownError("not found yet");
  };
  absl::Mutex mutex_;
  // Answers that are being looked for.
  absl::flat_hash_map<std::string, std::shared_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::storage
