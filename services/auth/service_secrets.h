#pragma once

// The secrets by which services get their tokens: a folder with one file for each service but auth, named as the
// service; the text is that of token::ParseServiceSecrets. No gRPC, no SQL.

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"

namespace pga::auth {

// INVALID_ARGUMENT when a secret, with the name that the message gives it, is shorter than 32 characters or reads like
// an example's value. What production refuses.
absl::Status CheckStrength(std::string_view secret, std::string_view name);

// Thread-safe.
class ServiceSecrets {
 public:
  // A folder that changes is read again after this at the latest.
  static constexpr absl::Duration kReadAgainAfter = absl::Seconds(1);

  // Reads the folder; empty = no service gets a token. A service without a file gets none, which is logged.
  // INVALID_ARGUMENT names the file that cannot be read or is malformed, is too weak when `strong`, or shares a secret
  // with another service. `clock` outlives the object.
  static absl::StatusOr<std::unique_ptr<ServiceSecrets>> Open(std::string folder, bool strong, clock::Clock* clock);

  // Whether `secret` is one of the service's. Reads the folder again when that is due; a folder that cannot be used
  // leaves in force what was read before, and is logged.
  bool Matches(std::string_view service, std::string_view secret);

 private:
  using Secrets = std::map<std::string, std::vector<std::string>, std::less<>>;
  ServiceSecrets(std::string folder, bool strong, clock::Clock* clock)
      : folder_(std::move(folder)), strong_(strong), clock_(clock) {}
  absl::StatusOr<Secrets> Read() const;

  const std::string folder_;
  const bool strong_;
  clock::Clock* const clock_;
  absl::Mutex mutex_;
  Secrets secrets_ ABSL_GUARDED_BY(mutex_);
  clock::SteadyTime read_at_ ABSL_GUARDED_BY(mutex_);
  std::string problem_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::auth
