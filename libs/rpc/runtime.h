// gRPC's library for as long as a program runs. gRPC ends its own threads a little after the last channel is gone; a
// process that leaves main before that takes OpenSSL's state away from under a handshake that is still under way.
#pragma once

#include "absl/time/time.h"

namespace pga::rpc {

// Made before the first channel or server, so that everything that uses gRPC ends before it. Not for libraries or tests
// of parts.
class Runtime {
 public:
  Runtime();
  // Waits until gRPC's threads have ended, at most kPatience: a process must end even when gRPC does not.
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  static constexpr absl::Duration kPatience = absl::Seconds(2);
};

}  // namespace pga::rpc
