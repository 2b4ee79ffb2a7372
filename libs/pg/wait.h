// How libpq's sockets are waited for; for the files of this library.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"

namespace pga::pg {

// Waits look this often whether the process ends.
inline constexpr absl::Duration kTurn = absl::Milliseconds(250);

// Until one of `events` of poll(2). DEADLINE_EXCEEDED at the deadline, or at the end of waits of the process
// (exec::ProcessEnd).
absl::Status AwaitSocket(int socket, short events, clock::SteadyTime deadline);

}  // namespace pga::pg
