#pragma once

// Reports to all followers what was revoked: reads new rows from the database every second and at once after a
// revocation of this replica, applies them to this process's RevocationSet, and hands them to subscribers. A subscriber
// that has nothing new gets an empty batch, so it knows that it is up to date. While the database does not answer
// nothing is sent, so that every follower notices.

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/periodic_task.h"
#include "libs/metrics/registry.h"
#include "libs/token/revocation_set.h"
#include "services/auth/auth_store.h"

namespace pga::auth {

// Where batches go. Called by the feed's thread and by Close(), never by two threads at once.
class RevocationSink {
 public:
  virtual ~RevocationSink() = default;
  // Takes a batch, possibly empty; must not block. Only called after the former batch was reported as delivered.
  virtual void Send(const std::vector<token::Revocation>& batch) = 0;
  // No more batches will come.
  virtual void End(const absl::Status& reason) = 0;
};

class RevocationFeed {
 public:
  static constexpr absl::Duration kPeriod = absl::Seconds(1);

  // One subscriber, shared between the feed and its sink. The sink calls Detach before it goes away.
  class Subscription {
   public:
    // The last batch is on its way: the next one may be sent.
    void Delivered();
    // The sink is going away; after this returns it is not called any more.
    void Detach();

   private:
    friend class RevocationFeed;
    Subscription(RevocationFeed* feed, RevocationSink* sink, int64_t after)
        : feed_(feed), sink_(sink), cursor_(after) {}

    RevocationFeed* const feed_;
    absl::Mutex mutex_;
    RevocationSink* sink_ ABSL_GUARDED_BY(mutex_);
    int64_t cursor_ ABSL_GUARDED_BY(mutex_);
    bool sending_ ABSL_GUARDED_BY(mutex_) = false;
  };

  // What is passed in outlives the feed. Subscribers hold the feed's address: close it, and drain the server, before it
  // is destroyed.
  RevocationFeed(AuthStore* store, token::RevocationSet* local, clock::Clock* clock, metrics::Registry* metrics);
  ~RevocationFeed();

  // Reads all that matters once, so that the process starts with a complete set. Blocks until `deadline` at most.
  absl::Status Load(clock::SteadyTime deadline);
  // Starts the thread.
  void Start();

  // Something was revoked: read now. Never blocks. May be called before Start.
  void Wake();

  // A subscription from the first revocation after `after` on; nothing is sent before Add, so that the sink can keep it
  // first.
  std::shared_ptr<Subscription> MakeSubscription(RevocationSink* sink, int64_t after);
  // UNAVAILABLE when the feed is closed or has too many subscribers; the sink is then never called.
  absl::Status Add(const std::shared_ptr<Subscription>& subscription);

  // Ends all subscriptions and refuses new ones; stops the thread.
  void Close();

 private:
  static constexpr int kBatch = 5000;
  static constexpr size_t kMaxSubscribers = 1000;

  void Tick();
  absl::Status ReadLocal(clock::SteadyTime deadline);
  void Serve(const std::shared_ptr<Subscription>& subscription, int64_t last, clock::SteadyTime deadline);

  AuthStore* const store_;
  token::RevocationSet* const local_;
  clock::Clock* const clock_;
  metrics::Gauge& subscribers_gauge_;
  metrics::Counter& failures_counter_;
  absl::Mutex mutex_;
  std::vector<std::shared_ptr<Subscription>> subscribers_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<exec::PeriodicTask> task_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::auth
