// gRPC's library for as long as a program runs. gRPC ends its own threads a little after the last channel is gone, but
// keeps what waits for the next attempt to connect, or for the first word of a peer that says nothing, until its timer
// has passed (max_backoff, connect_timeout). That is left to the end of the process, and OpenSSL keeps its state until
// then.
#pragma once

#include "absl/time/time.h"

namespace pga::rpc {

// Made before the first channel or server, so that everything that uses gRPC ends before it. Not for libraries or tests
// of parts.
class Runtime {
 public:
  Runtime();
  // Waits until gRPC's threads have ended, at most kPatience.
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  static constexpr absl::Duration kPatience = absl::Milliseconds(200);
};

}  // namespace pga::rpc
