#include "libs/rpc/door_shared.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/exec/open_files.h"
#include "libs/log/log.h"
#include "libs/rpc/auth.h"
#include "libs/status/status.h"

namespace pga::rpc {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

absl::Status Busy(const char* message, const char* reason, absl::Duration retry_after) {
  return status::WithRetryAfter(status::WithReason(absl::ResourceExhaustedError(message), reason), retry_after);
}

door::ConnectionTable::Limits WithinOpenFiles(const Door::Options& options) {
  door::ConnectionTable::Limits limits = options.limits.connections;
  limits.total = exec::ConnectionsThatFit(options.name, limits.total, 1);
  // The gateway shares the same files out; strangers must not fill the places that it has for collectors.
  if (limits.total < options.limits.connections.total) {
    limits.unknown_total = std::min(limits.unknown_total, std::max(limits.total / 8, 8));
  }
  return limits;
}

}  // namespace

DoorShared::DoorShared(const Door::Options& options)
    : options_(options),
      table_(WithinOpenFiles(options)),
      unknown_bytes_(options.limits.unknown_bytes),
      bytes_(options.limits.bytes),
      rates_(options.rates != nullptr ? options.rates : &own_rates_.emplace(options.clock)) {
  if (options_.metrics == nullptr) return;
  open_ =
      &options_.metrics->AddGauge("pga_door_connections", "HTTP/2 connections open now.", {{"server", options_.name}});
}

absl::Status DoorShared::Admit(const Presented& presented, Caller* caller) {
  const DoorLimits& limits = options_.limits;
  const Authenticator* const authenticator = options_.authenticator;
  caller->key = absl::StrCat("address:", std::string(presented.address));
  const auto take = [this](const std::string& key, int per_minute) {
    const retry::RateLimiter::Decision decision = rates_->Take(key, per_minute);
    if (decision.allowed) return absl::OkStatus();
    CountCall("rate_limited");
    return Busy("too many calls a minute", "RATE_LIMITED", decision.retry_after);
  };
  if (authenticator != nullptr) {
    for (const std::string_view token : {presented.service_authorization, presented.authorization}) {
      if (!token.empty() && authenticator->AuthenticatesCheaply(token) && authenticator->ServiceOf(token) != nullptr) {
        caller->known = caller->service = true;
        caller->key = "service";
        return absl::OkStatus();
      }
    }
    const bool shows = !presented.authorization.empty() || !presented.certificate_pem.empty() ||
                       !presented.service_authorization.empty();
    const bool cheap = authenticator->AuthenticatesCheaply(presented.authorization) &&
                       authenticator->AuthenticatesCheaply(presented.service_authorization);
    // A stranger's signature costs half a millisecond: the address is asked first.
    const absl::Duration wait = cheap ? absl::ZeroDuration() : rates_->Wait(caller->key, limits.address_per_minute);
    if (wait > absl::ZeroDuration()) {
      CountCall("rate_limited");
      return Busy("too many calls a minute", "RATE_LIMITED", wait);
    }
    if (shows) {
      if (authenticator->ServiceOf(presented.service_authorization) != nullptr ||
          authenticator->ServiceOf(presented.authorization) != nullptr) {
        caller->known = caller->service = true;
        caller->key = "service";
        return absl::OkStatus();
      }
      const auto principal = authenticator->Authenticate(
          {.authorization = presented.authorization, .peer_certificate_pem = presented.certificate_pem});
      if (principal.ok() && principal->kind != token::Principal::kAnonymous) {
        caller->known = true;
        caller->key = principal->subject;
        const bool collector = principal->kind == token::Principal::kCollector;
        return take(caller->key, collector ? limits.collector_per_minute : limits.user_per_minute);
      }
    }
  }
  if (presented.registration_secret) return absl::OkStatus();
  return take(caller->key, limits.address_per_minute);
}

std::shared_ptr<DoorShared::Slot> DoorShared::TakeSlot(const Caller& caller,
                                                       const std::shared_ptr<std::atomic<int>>& of_connection,
                                                       absl::Status* status) {
  const DoorLimits& limits = options_.limits;
  absl::MutexLock lock(&mutex_);
  const auto found = calls_by_key_.find(caller.key);
  const int of_caller = found == calls_by_key_.end() ? 0 : found->second;
  bool free = calls_ < limits.calls_total;
  if (caller.known) {
    free = free && (caller.service || of_caller < limits.calls_per_caller);
  } else if (options_.authenticator != nullptr) {
    free = free && of_connection->load() < limits.unknown_calls && of_caller < limits.unknown_calls_per_address &&
           unknown_calls_ < limits.unknown_calls_total;
  }
  if (!free) {
    *status = Busy("too many calls at once", "TOO_MANY_CALLS", absl::Seconds(1));
    return nullptr;
  }
  ++calls_;
  if (!caller.known) ++unknown_calls_;
  ++calls_by_key_[caller.key];
  of_connection->fetch_add(1);
  return std::shared_ptr<Slot>(new Slot(this, of_connection, caller));
}

DoorShared::Slot::Slot(DoorShared* shared, std::shared_ptr<std::atomic<int>> of_connection, const Caller& caller)
    : shared_(shared), of_connection_(std::move(of_connection)), known_(caller.known), key_(caller.key) {}

door::ByteBudget* DoorShared::Slot::budget() const {
  // Where nobody is known, everybody has the limits of callers that are.
  return known_ || shared_->options_.authenticator == nullptr ? &shared_->bytes_ : &shared_->unknown_bytes_;
}

door::ByteBudget::Level DoorShared::Slot::Charge(int64_t bytes) {
  charged_.fetch_add(bytes);
  return budget()->Charge(key_, bytes);
}

void DoorShared::Slot::Give(int64_t bytes) {
  if (bytes == 0) return;
  charged_.fetch_sub(bytes);
  budget()->Give(key_, bytes);
}

door::ByteBudget::Level DoorShared::Slot::level() const {
  return budget()->LevelOf(key_);
}

DoorShared::Slot::~Slot() {
  Give(charged_.load());
  of_connection_->fetch_sub(1);
  absl::MutexLock lock(&shared_->mutex_);
  --shared_->calls_;
  if (!known_) --shared_->unknown_calls_;
  const auto found = shared_->calls_by_key_.find(key_);
  if (found != shared_->calls_by_key_.end() && --found->second == 0) shared_->calls_by_key_.erase(found);
}

void DoorShared::Closed(std::string_view reason, const std::string& peer, std::string_view detail) {
  if (options_.metrics != nullptr) {
    options_.metrics
        ->AddCounter("pga_door_closed_total", "HTTP/2 connections closed because they broke a limit.",
                     {{"server", options_.name}, {"reason", std::string(reason)}})
        .Increment();
  }
  int64_t unlogged = 0;
  {
    absl::MutexLock lock(&mutex_);
    const int64_t now = Now();
    if (logged_nanos_ != 0 && now - logged_nanos_ < kSecond) {
      ++unlogged_;
      return;
    }
    logged_nanos_ = now;
    unlogged = std::exchange(unlogged_, 0);
  }
  PGA_LOG(warn, "an HTTP/2 connection is closed because it broke a limit",
          {{"server", options_.name},
           {"client", peer},
           {"limit", reason},
           {"detail", detail},
           {"others_since_last_line", unlogged}});
}

void DoorShared::CountCall(std::string_view outcome) {
  if (options_.metrics == nullptr) return;
  options_.metrics
      ->AddCounter("pga_door_calls_refused_total", "Calls refused at the door, by reason.",
                   {{"server", options_.name}, {"reason", std::string(outcome)}})
      .Increment();
}

bool DoorShared::AwaitNoCalls(clock::SteadyTime deadline) {
  absl::MutexLock lock(&mutex_);
  const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return calls_ == 0; };
  return clock::AwaitUntil(mutex_, absl::Condition(&none), deadline);
}

}  // namespace pga::rpc
