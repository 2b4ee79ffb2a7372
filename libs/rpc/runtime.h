// gRPC's library for as long as a program runs. gRPC ends its own threads a little after the last channel is gone, and a
// connection to a peer that says nothing only when its attempt is over (connect_timeout): what is left then is left to
// the end of the process. OpenSSL, which such a connection may use, keeps its state until then too.
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
