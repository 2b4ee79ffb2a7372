// gRPC's deadlines on the monotonic clock. A std::chrono deadline would be taken from the wall clock, which may be set
// between the choice of the deadline and the call.
#pragma once

#include <grpc/support/time.h>

#include "libs/clock/steady.h"

namespace pga::rpc {

// For ClientContext::set_deadline and Server::Shutdown.
inline gpr_timespec GrpcDeadline(clock::SteadyTime deadline) {
  if (deadline == clock::SteadyTime::InfiniteFuture()) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  if (deadline == clock::SteadyTime::InfinitePast()) return gpr_inf_past(GPR_CLOCK_MONOTONIC);
  // Of gRPC's clocks this is CLOCK_MONOTONIC itself.
  gpr_timespec time = gpr_time_from_nanos(deadline.nanos(), GPR_TIMESPAN);
  time.clock_type = GPR_CLOCK_MONOTONIC;
  return time;
}

// What ServerContext::raw_deadline says; InfiniteFuture() without a deadline.
inline clock::SteadyTime FromGrpcDeadline(gpr_timespec given) {
  if (gpr_time_cmp(given, gpr_inf_future(given.clock_type)) == 0) return clock::SteadyTime::InfiniteFuture();
  const gpr_timespec time = gpr_convert_clock_type(given, GPR_CLOCK_MONOTONIC);
  return clock::SteadyTime::FromNanos(0) + absl::Seconds(time.tv_sec) + absl::Nanoseconds(time.tv_nsec);
}

}  // namespace pga::rpc
