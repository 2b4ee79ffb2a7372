// What every service follows of auth while it runs: revocations, and the keys that verify tokens. Each watcher has one
// thread, survives auth's absence, and shows by its target (RevocationSet, Verifier) how fresh that is.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/periodic_task.h"
#include "libs/retry/retry.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/client.h"
#include "libs/rpc/service_identity.h"
#include "libs/token/revocation_set.h"
#include "libs/token/verifier.h"

namespace pga::rpc {

// Feeds a RevocationSet from IdentityService.WatchRevocations.
class RevocationWatcher {
 public:
  // Starts at once. `set`, `identity` and `clock` outlive the watcher.
  RevocationWatcher(std::shared_ptr<grpc::Channel> auth, ServiceIdentity* identity, token::RevocationSet* set,
                    clock::Clock* clock = clock::Clock::Real());
  // Stops.
  ~RevocationWatcher();
  // Ends the subscription and the thread; within a second. Repeating is safe.
  void Stop();

 private:
  void Run();

  const std::shared_ptr<grpc::Channel> auth_;
  ServiceIdentity* const identity_;
  token::RevocationSet* const set_;
  clock::Clock* const clock_;
  Canceller canceller_;
  retry::InterruptibleSleeper sleeper_;
  absl::Mutex join_mutex_;
  std::thread thread_ ABSL_GUARDED_BY(join_mutex_);
};

// Keeps a Verifier's ES256 keys those of IdentityService.GetJwks: every 5 minutes, and when a token names a key that is
// not known, at most once a second.
class JwksWatcher {
 public:
  // Sets verifier->OnUnknownKey: make it before the verifier is used. `verifier` and `clock` outlive the watcher, and
  // the verifier is not used after the watcher is gone.
  JwksWatcher(std::shared_ptr<grpc::Channel> auth, token::Verifier* verifier,
              clock::Clock* clock = clock::Clock::Real());
  ~JwksWatcher();
  // Waits for the first key set; DEADLINE_EXCEEDED with the last failure's text otherwise.
  absl::Status WaitReady(clock::SteadyTime deadline);
  void Stop();

 private:
  void Tick();

  const std::shared_ptr<grpc::Channel> auth_;
  token::Verifier* const verifier_;
  clock::Clock* const clock_;
  std::atomic<bool> wanted_{true};
  absl::Mutex mutex_;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  clock::SteadyTime fetched_at_ ABSL_GUARDED_BY(mutex_);
  absl::Status last_ ABSL_GUARDED_BY(mutex_) = absl::UnavailableError("not asked yet");
  std::unique_ptr<exec::PeriodicTask> task_;
};

// Reports to auth every 20 s which API tokens were let in. `authenticator` and `identity` outlive the task.
std::unique_ptr<exec::PeriodicTask> TellTokenUses(std::shared_ptr<grpc::Channel> auth, ServiceIdentity* identity,
                                                  const Authenticator* authenticator,
                                                  clock::Clock* clock = clock::Clock::Real());

// Authenticator::Hooks::check_revocation by IdentityService.CheckRevocation. `identity` outlives the function.
std::function<absl::StatusOr<bool>(const token::Principal&, clock::SteadyTime)> MakeRevocationCheck(
    std::shared_ptr<grpc::Channel> auth, ServiceIdentity* identity);

}  // namespace pga::rpc
