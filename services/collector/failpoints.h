// Named points at which tests kill the process or make a file operation fail. Armed by the environment variable
// PGA_FAILPOINT="name:count[:action]" (several separated by commas); unarmed points cost one relaxed load.
//   name    spool.before_append, spool.after_append, spool.before_fsync, spool.after_fsync, spool.after_snapshot,
//           delivery.after_send, delivery.after_ack, spool.write, spool.fsync, spool.create, spool.rename
//   count   the point acts when it is reached for the count-th time, from 1; `fail` actions act from then on until
//           Disarm
//   action  kill (default: SIGKILL to itself), enospc or eio (the operation fails with that errno)
#pragma once

#include <string_view>

namespace pga::collector {

// Replaces what is armed; an empty text disarms all. Returns false, with nothing armed, if the text is malformed.
// Thread-safe.
bool ArmFailpoints(std::string_view text);
// Arms what PGA_FAILPOINT says, in builds with PGA_FAILPOINTS (CMake) alone: what users run does not read the variable.
// Call once at start.
bool ArmFailpointsFromEnvironment();

// Passes a point: 0, or the errno that the operation shall fail with. Does not return if the point kills.
int Failpoint(std::string_view name);

}  // namespace pga::collector
