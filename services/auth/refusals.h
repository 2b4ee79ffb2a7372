#pragma once

// Which refusals of strangers are written to the audit log, so that nobody fills it: a few a minute for each address,
// and some more for all together. What is left out is counted, and the next row says how many that were.

#include <atomic>
#include <cstdint>
#include <string_view>

#include "libs/clock/clock.h"
#include "libs/metrics/registry.h"
#include "libs/retry/rate_limiter.h"
#include "services/auth/auth_store.h"

namespace pga::auth {

// Thread-safe.
class Refusals {
 public:
  static constexpr int kPerAddressAndMinute = 20;
  static constexpr int kPerMinute = 300;

  // What is passed in outlives the object.
  Refusals(AuthStore* store, clock::Clock* clock, metrics::Registry* metrics);

  // Whether a refusal of this address is to be recorded; a refusal that is not counts as left out.
  bool Record(std::string_view address);

  // Writes the entry as a failure if it is to be recorded.
  absl::Status Audit(AuditEntry entry, clock::SteadyTime deadline);

 private:
  AuthStore* const store_;
  retry::RateLimiter rates_;
  metrics::Counter& left_out_total_;
  std::atomic<int64_t> left_out_{0};
};

}  // namespace pga::auth
