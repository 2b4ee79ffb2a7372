#pragma once

// SIGTERM and SIGINT as an event that main() waits for. The handler itself only writes one byte to a pipe.

#include "absl/time/time.h"
#include "libs/clock/steady.h"

namespace pga::exec {

class ShutdownSignal {
 public:
  // Takes over SIGTERM and SIGINT and ignores SIGPIPE for the process; call it once, before threads are started. Later
  // calls do nothing.
  static void Install();
  // Writing to a pipe that nobody reads any more becomes an error of the write; the process goes on. Install() does it
  // as well.
  static void IgnoreBrokenPipes();

  // Waits for a signal or a Request(); false when the deadline came first. Any number of threads may wait.
  static bool WaitUntil(clock::SteadyTime deadline);

  // Whether a shutdown has been asked for. Never blocks.
  static bool requested();

  // Number of the first signal; 0 before one came and after Request().
  static int signal();

  // Asks for the shutdown from inside the process, as a signal would (a part that cannot go on; tests).
  static void Request();

  // Descriptor that becomes readable at the shutdown, for event loops; never read from it.
  static int fd();

  // Forgets an earlier request. Tests only.
  static void ResetForTest();
};

// Help of the setting SHUTDOWN_TIMEOUT, whose last part ProcessEnd takes.
inline constexpr char kShutdownTimeoutHelp[] =
    "how long a stop may take; its last third, at most 3 s, is not for running requests";

// While one lives the process starts and serves nobody: a shutdown that is asked for meanwhile ends every wait for a
// database at once.
class ProcessStart {
 public:
  ProcessStart();
  ~ProcessStart();
  ProcessStart(const ProcessStart&) = delete;
  ProcessStart& operator=(const ProcessStart&) = delete;
};

// When a process that was asked to end lets go of whatever does not answer. Thread-safe.
class ProcessEnd {
 public:
  // The process is to be gone within `timeout`. Returns when running requests have to be done, a little earlier (a
  // third of it, at most 3 s): then waits for a database end as well, whoever waits, so that nothing holds the end up.
  static clock::SteadyTime Begin(absl::Duration timeout);
  // What Begin returned; InfiniteFuture before it. InfinitePast when a process that starts was asked to end.
  static clock::SteadyTime waits_until();
  // Forgets Begin. Tests only.
  static void ResetForTest();
};

}  // namespace pga::exec
