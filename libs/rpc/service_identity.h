// The token by which one of our services is known to the others. Kept fresh ahead of its expiry; asking never waits.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/periodic_task.h"
#include "libs/token/signer.h"

namespace grpc {
class Channel;
}

namespace pga::rpc {

// Thread-safe.
class ServiceIdentity {
 public:
  static constexpr absl::Duration kLifetime = absl::Minutes(10);

  // Signs its own tokens: one process that holds the signing key. `signer` and `clock` outlive it.
  static std::unique_ptr<ServiceIdentity> Local(const token::Signer* signer, std::string service,
                                                clock::Clock* clock = clock::Clock::Real());

  // Exchanges the service's secret for tokens at auth, on a thread of its own, from half of a token's lifetime on and
  // every second until it succeeds. `read_secrets` is asked before each exchange, so that a secret is rotated without a
  // restart; its text is that of token::ParseServiceSecrets.
  static std::unique_ptr<ServiceIdentity> Remote(std::shared_ptr<grpc::Channel> auth, std::string service,
                                                 std::function<absl::StatusOr<std::string>()> read_secrets,
                                                 clock::Clock* clock = clock::Clock::Real());

  // Stops the thread.
  ~ServiceIdentity();
  ServiceIdentity(const ServiceIdentity&) = delete;
  ServiceIdentity& operator=(const ServiceIdentity&) = delete;

  // The token now; empty when auth has not given one yet, or none for so long that the last one expired.
  std::string Token();

  // Waits until there is a token; DEADLINE_EXCEEDED with the last failure's text otherwise.
  absl::Status WaitReady(clock::SteadyTime deadline);

  const std::string& service() const { return service_; }

 private:
  ServiceIdentity(std::string service, clock::Clock* clock) : service_(std::move(service)), clock_(clock) {}
  void Refresh();
  // A token of auth and when it expires.
  absl::StatusOr<std::pair<std::string, absl::Time>> Exchange();
  bool Ready() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !token_.empty(); }

  const std::string service_;
  clock::Clock* const clock_;
  const token::Signer* signer_ = nullptr;
  std::shared_ptr<grpc::Channel> auth_;
  std::function<absl::StatusOr<std::string>()> read_secrets_;
  absl::Mutex mutex_;
  std::string token_ ABSL_GUARDED_BY(mutex_);
  clock::SteadyTime renew_at_ ABSL_GUARDED_BY(mutex_);
  // On the wall clock, as the others read it in the token.
  absl::Time issued_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time expires_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Status last_ ABSL_GUARDED_BY(mutex_) = absl::UnavailableError("not asked yet");
  std::unique_ptr<exec::PeriodicTask> task_;
};

}  // namespace pga::rpc
