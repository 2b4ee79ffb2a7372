// Named points at which tests kill the process, delay it or make an operation fail. Armed by the environment variable
// PGA_FAILPOINT="name:count[:action[:times]]" (several separated by commas); unarmed points cost one relaxed load.
//   name    one of the table below, by its number or its words, or any name that a test program passes to Failpoint()
//   count   the point acts when it is reached for the count-th time, from 1
//   action  kill (default: SIGKILL to itself), enospc or eio (the operation fails with that errno), delay (300 ms)
//   times   how often it acts before it is disarmed; by default errors go on until all is disarmed, a delay comes once
// The first time a point acts it says so on the standard error: "failpoint NAME acts".
//
//   C1   spool.before_append   an error refuses what is appended
//   C2   spool.mid_append      half of the bytes are written
//   C3   spool.after_append    written, not synced; an error counts as one of the write
//   C5   spool.fsync           an error as fdatasync returns it
//   C6   spool.after_fsync     synced, not yet accepted; an error counts as one of fdatasync
//   C7   delivery.mid_send     a batch is being sent; an error ends the call
//   C8   delivery.after_send   sent, no answer yet; an error ends the call
//   C9   delivery.after_ack    acknowledged, the spool knows; an error ends the call
//   C10  spool.mid_trim        one of several old segments is removed; an error leaves the others
//   C11  spool.write           an error as pwrite returns it
// Without a number: spool.before_fsync, spool.create, spool.rename, spool.after_snapshot.
#pragma once

#include <string_view>

namespace pga::collector {

// Replaces what is armed; an empty text disarms all. Returns false, with nothing armed, if the text is malformed.
// Thread-safe.
bool ArmFailpoints(std::string_view text);
// Arms what PGA_FAILPOINT says, in builds with PGA_FAILPOINTS (CMake) alone: what users run does not read the variable.
// Call once at start.
bool ArmFailpointsFromEnvironment();
// Whether any point is armed.
bool FailpointsArmed();

// Passes a point: 0, or the errno that the operation shall fail with. Does not return if the point kills.
int Failpoint(std::string_view name);

}  // namespace pga::collector
