// Makes the thread sanitizer see absl::Mutex. Debian's Abseil is not instrumented, so the sanitizer sees neither
// locks nor waits and reports every guarded access as a race. Linked into each test of the tsan preset: these
// definitions take the place of the library's (for calls inside the library too) and wrap it in the sanitizer's
// annotations. Between a pre_ and a post_ annotation the thread's accesses are ignored, which covers conditions that
// the library evaluates.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdlib>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace {

template <typename F>
F Real(const char* symbol) {
  void* found = dlsym(RTLD_NEXT, symbol);
  if (found == nullptr) std::abort();
  return reinterpret_cast<F>(found);
}

#define PGA_REAL(type, symbol) static const auto real = Real<type>(symbol)

// The library calls itself (AwaitWithTimeout is AwaitWithDeadline); only the outermost call is annotated.
thread_local int depth = 0;

struct Outermost {
  Outermost() : annotate(depth++ == 0) {}
  ~Outermost() { --depth; }
  const bool annotate;
};

struct Locking {
  Locking(void* mutex, unsigned flags) : mutex_(mutex), flags_(flags) {
    if (outermost_.annotate) __tsan_mutex_pre_lock(mutex_, flags_);
  }
  ~Locking() {
    if (outermost_.annotate) __tsan_mutex_post_lock(mutex_, flags_, 0);
  }
  Outermost outermost_;
  void* mutex_;
  unsigned flags_;
};

struct Unlocking {
  Unlocking(void* mutex, unsigned flags) : mutex_(mutex), flags_(flags) {
    if (outermost_.annotate) __tsan_mutex_pre_unlock(mutex_, flags_);
  }
  ~Unlocking() {
    if (outermost_.annotate) __tsan_mutex_post_unlock(mutex_, flags_);
  }
  Outermost outermost_;
  void* mutex_;
  unsigned flags_;
};

// The mutex is released and taken again inside.
struct Waiting {
  Waiting(void* mutex, unsigned flags) : mutex_(mutex), flags_(flags) {
    if (!outermost_.annotate) return;
    __tsan_mutex_pre_unlock(mutex_, flags_);
    __tsan_mutex_post_unlock(mutex_, flags_);
    __tsan_mutex_pre_lock(mutex_, flags_);
  }
  ~Waiting() {
    if (outermost_.annotate) __tsan_mutex_post_lock(mutex_, flags_, 0);
  }
  Outermost outermost_;
  void* mutex_;
  unsigned flags_;
};

constexpr unsigned kFlags = __tsan_mutex_linker_init | __tsan_mutex_write_reentrant;

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  PGA_REAL(void (*)(Mutex*), "_ZN4absl7debian35Mutex4LockEv");
  Locking locking(this, kFlags);
  real(this);
}
void Mutex::Unlock() {
  PGA_REAL(void (*)(Mutex*), "_ZN4absl7debian35Mutex6UnlockEv");
  Unlocking unlocking(this, kFlags);
  real(this);
}
bool Mutex::TryLock() {
  PGA_REAL(bool (*)(Mutex*), "_ZN4absl7debian35Mutex7TryLockEv");
  const Outermost outermost;
  if (outermost.annotate) __tsan_mutex_pre_lock(this, kFlags | __tsan_mutex_try_lock);
  const bool locked = real(this);
  if (outermost.annotate) {
    __tsan_mutex_post_lock(this, kFlags | (locked ? __tsan_mutex_try_lock : __tsan_mutex_try_lock_failed), 0);
  }
  return locked;
}
void Mutex::ReaderLock() {
  PGA_REAL(void (*)(Mutex*), "_ZN4absl7debian35Mutex10ReaderLockEv");
  Locking locking(this, kFlags | __tsan_mutex_read_lock);
  real(this);
}
void Mutex::ReaderUnlock() {
  PGA_REAL(void (*)(Mutex*), "_ZN4absl7debian35Mutex12ReaderUnlockEv");
  Unlocking unlocking(this, kFlags | __tsan_mutex_read_lock);
  real(this);
}
void Mutex::LockWhen(const Condition& condition) {
  PGA_REAL(void (*)(Mutex*, const Condition&), "_ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE");
  Locking locking(this, kFlags);
  real(this, condition);
}
void Mutex::Await(const Condition& condition) {
  PGA_REAL(void (*)(Mutex*, const Condition&), "_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE");
  Waiting waiting(this, kFlags);
  real(this, condition);
}
bool Mutex::AwaitWithTimeout(const Condition& condition, absl::Duration timeout) {
  PGA_REAL(bool (*)(Mutex*, const Condition&, absl::Duration),
           "_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  Waiting waiting(this, kFlags);
  return real(this, condition, timeout);
}
bool Mutex::AwaitWithDeadline(const Condition& condition, absl::Time deadline) {
  PGA_REAL(bool (*)(Mutex*, const Condition&, absl::Time),
           "_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  Waiting waiting(this, kFlags);
  return real(this, condition, deadline);
}

void CondVar::Wait(Mutex* mutex) {
  PGA_REAL(void (*)(CondVar*, Mutex*), "_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
  Waiting waiting(mutex, kFlags);
  real(this, mutex);
}
bool CondVar::WaitWithTimeout(Mutex* mutex, absl::Duration timeout) {
  PGA_REAL(bool (*)(CondVar*, Mutex*, absl::Duration),
           "_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  Waiting waiting(mutex, kFlags);
  return real(this, mutex, timeout);
}
bool CondVar::WaitWithDeadline(Mutex* mutex, absl::Time deadline) {
  PGA_REAL(bool (*)(CondVar*, Mutex*, absl::Time), "_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  Waiting waiting(mutex, kFlags);
  return real(this, mutex, deadline);
}

// HasBeenNotified() is inline and reads an atomic that only the library writes.
void Notification::Notify() {
  PGA_REAL(void (*)(Notification*), "_ZN4absl7debian312Notification6NotifyEv");
  __tsan_release(&notified_yet_);
  const Outermost outermost;
  real(this);
}
void Notification::WaitForNotification() const {
  PGA_REAL(void (*)(const Notification*), "_ZNK4absl7debian312Notification19WaitForNotificationEv");
  {
    const Outermost outermost;
    real(this);
  }
  __tsan_acquire(const_cast<std::atomic<bool>*>(&notified_yet_));
}

ABSL_NAMESPACE_END
}  // namespace absl
