// A program of PostgreSQL (pg_dump, pg_restore, psql) as a child: data in and out through pipes, its messages line by
// line, never left behind. It gets SIGTERM when this process ends, however it ends.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/clock/steady.h"

namespace pga::backup {

struct ChildOptions {
  // argv[0] is a path.
  std::vector<std::string> argv = {};
  // Added to this process's environment. Where secrets go: arguments are seen by every user of the machine.
  std::map<std::string, std::string> env = {};
  // Gives what the child reads, piece by piece; an empty piece is the end. Null: the child reads nothing. A failure
  // ends the child and is what RunChild returns.
  std::function<absl::StatusOr<std::string_view>()> input = {};
  // Gets what the child writes. Null: thrown away. A failure ends the child and is what RunChild returns.
  std::function<absl::Status(std::string_view)> output = {};
  // Gets each line of its messages.
  std::function<void(std::string_view)> message = {};
};

struct ChildOutcome {
  // Exit code, or 128 + signal.
  int exit_code = 0;
  // The end of its messages, 4 KiB at most.
  std::string messages;
  // It closed its input before the end of it, as `pg_restore --list` does. `input` was then asked no more.
  bool input_refused = false;
};

// Runs it to its end. NOT_FOUND when the program cannot be started; DEADLINE_EXCEEDED after `deadline`, the child then
// is ended. Blocks; thread-safe. The child ends with the calling thread.
absl::StatusOr<ChildOutcome> RunChild(const ChildOptions& options, clock::SteadyTime deadline);

}  // namespace pga::backup
