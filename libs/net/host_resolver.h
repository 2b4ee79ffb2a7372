// Host names to addresses, within a deadline. The system's resolver blocks for as long as it likes and cannot be
// interrupted: it runs on threads of its own that nobody waits for, few at a time, one for a name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/clock/steady.h"

namespace pga::net {

// Whether `host` is an IPv4 or IPv6 address as people write it, without brackets. Never blocks.
bool IsAddress(std::string_view host);

// Thread-safe.
class HostResolver {
 public:
  // Numeric addresses, IPv6 and IPv4 in the system's order, at most 8.
  using Addresses = std::vector<std::string>;
  using Answer = std::function<void(const absl::StatusOr<Addresses>& addresses)>;
  using LookUp = std::function<absl::StatusOr<Addresses>(const std::string& host)>;

  // The system's: NOT_FOUND when the name has no address, UNAVAILABLE when the look-up failed for now. Blocks.
  static absl::StatusOr<Addresses> SystemLookUp(const std::string& host);

  // `threads` names are looked up at a time, at most `max_waiting` callers wait; callers for the same name share one
  // look-up.
  HostResolver(int threads, size_t max_waiting, LookUp look_up = SystemLookUp);
  // Does not wait for look-ups that run: their threads end by themselves, and call nothing. Not to be called while
  // Resolve runs.
  ~HostResolver();
  HostResolver(const HostResolver&) = delete;
  HostResolver& operator=(const HostResolver&) = delete;

  // The one of the process, which lives as long as it.
  static HostResolver& System();

  // An address is its own answer. DEADLINE_EXCEEDED when `deadline` comes first, RESOURCE_EXHAUSTED when too many wait;
  // else as the look-up says.
  absl::StatusOr<Addresses> Resolve(const std::string& host, clock::SteadyTime deadline);

  // The same without blocking: `answer` is called once, on a thread of the resolver or before Begin returns, unless
  // Forget or the destructor comes first. The number is for Forget.
  uint64_t Begin(const std::string& host, Answer answer);
  // Drops the answer; one that is being given at this moment may still come. Unknown numbers are fine.
  void Forget(uint64_t id);

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace pga::net
