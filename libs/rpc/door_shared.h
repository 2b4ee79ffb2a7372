// What the connections of a door share: limits, counts, figures, and the way on. Internal to libs/rpc.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/door/byte_budget.h"
#include "libs/door/connection_table.h"
#include "libs/retry/rate_limiter.h"
#include "libs/rpc/door.h"
#include "libs/token/principal.h"

namespace pga::rpc {

// Thread-safe.
class DoorShared {
 public:
  explicit DoorShared(const Door::Options& options);

  // Who makes a call, as far as limits are concerned.
  struct Caller {
    // A person, a collector or a service; false = only the address is known.
    bool known = false;
    bool service = false;
    // What limits are counted by: subject or address.
    std::string key;
  };
  struct Presented {
    std::string_view authorization;
    std::string_view service_authorization;
    std::string_view certificate_pem;
    // A registration secret comes along: those have limits of their own where they are looked at.
    bool registration_secret = false;
    // Of the connection, as limits count it.
    std::string_view address;
  };
  // RESOURCE_EXHAUSTED with a delay when the caller's minute is used up.
  absl::Status Admit(const Presented& presented, Caller* caller);

  // A call under way: gives its place and the bytes it holds back when it goes.
  class Slot {
   public:
    ~Slot();
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    // Charges bytes to the caller, or gives them back.
    door::ByteBudget::Level Charge(int64_t bytes);
    void Give(int64_t bytes);
    door::ByteBudget::Level level() const;
    int64_t charged() const { return charged_.load(); }
    bool known() const { return known_; }

   private:
    friend class DoorShared;
    Slot(DoorShared* shared, std::shared_ptr<std::atomic<int>> of_connection, const Caller& caller);
    door::ByteBudget* budget() const;
    DoorShared* const shared_;
    const std::shared_ptr<std::atomic<int>> of_connection_;
    const bool known_;
    const std::string key_;
    std::atomic<int64_t> charged_{0};
  };
  // A place for a call, also counted on its connection; null and a status when there is none.
  std::shared_ptr<Slot> TakeSlot(const Caller& caller, const std::shared_ptr<std::atomic<int>>& of_connection,
                                 absl::Status* status);

  // Counts a connection that is closed for what it did, and says so in the log, at most once a second. `detail` is for
  // the log and may be empty.
  void Closed(std::string_view reason, const std::string& peer, std::string_view detail = {});
  void CountCall(std::string_view outcome);

  // Waits until no call is under way; false when the deadline came first.
  bool AwaitNoCalls(clock::SteadyTime deadline);

  int64_t Now() const { return options_.clock->BoottimeNanos(); }
  const Door::Options& options() const { return options_; }
  const DoorLimits& limits() const { return options_.limits; }
  door::ConnectionTable& table() { return table_; }
  int64_t bytes() const { return unknown_bytes_.used() + bytes_.used(); }
  void CountConnections() {
    if (open_ != nullptr) open_->Set(table_.size());
  }

 private:
  const Door::Options options_;
  door::ConnectionTable table_;
  door::ByteBudget unknown_bytes_;
  door::ByteBudget bytes_;
  std::optional<retry::RateLimiter> own_rates_;
  retry::RateLimiter* const rates_;
  metrics::Gauge* open_ = nullptr;

  absl::Mutex mutex_;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int unknown_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  // Holds only callers with calls.
  absl::flat_hash_map<std::string, int> calls_by_key_ ABSL_GUARDED_BY(mutex_);
  int64_t logged_nanos_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t unlogged_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace pga::rpc
