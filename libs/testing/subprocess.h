// A child process of a test: started with its output in a file, signalled, waited for with a limit, and never left
// behind, not even when the test is killed. Tests only.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/testing/wait_until.h"

namespace pga::testing {

struct SubprocessOptions {
  std::vector<std::string> argv = {};  // argv[0] is looked up in PATH unless it holds a slash
  // Added to this process's environment; an empty value is passed on as such.
  std::map<std::string, std::string> env = {};
  // True: the child sees `env` and PATH only.
  bool clear_env = false;
  // stdout and stderr, appended. Empty = inherited.
  std::string output_path = {};
  std::string working_directory = {};
  // Runs as this user when the test runs as root; empty = no change.
  std::string user = {};
  // What the child gets when this process ends, however it ends.
  int death_signal = 9;
};

class Subprocess {
 public:
  static absl::StatusOr<std::unique_ptr<Subprocess>> Start(SubprocessOptions options);
  // SIGKILL and wait, if it still runs.
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t pid() const { return pid_; }
  bool running();
  void Signal(int signal);
  // Exit code, or 128 + signal. DEADLINE_EXCEEDED when it still runs at `deadline`.
  absl::StatusOr<int> Wait(clock::SteadyTime deadline);
  // What it wrote so far, from output_path.
  std::string Output() const;
  // Waits until Output() holds `text`. FAILED_PRECONDITION when the process ended before, DEADLINE_EXCEEDED.
  absl::Status WaitForOutput(const std::string& text, clock::SteadyTime deadline);

 private:
  Subprocess(pid_t pid, std::string output_path) : pid_(pid), output_path_(std::move(output_path)) {}
  pid_t pid_;
  std::string output_path_;
  bool reaped_ = false;
  int exit_code_ = 0;
};

// Start and Wait; the exit code and all output (which goes through a temporary file if output_path is empty).
struct CommandOutcome {
  int exit_code = 0;
  std::string output;
};
absl::StatusOr<CommandOutcome> RunCommand(SubprocessOptions options, absl::Duration limit = absl::Seconds(60));

}  // namespace pga::testing
