#include "libs/testing/subprocess.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/testing/temp_dir.h"

namespace pga::testing {
namespace {

// PR_SET_PDEATHSIG follows the thread that forked, not the process: children are forked by one thread that lives as
// long as the process does.
class Spawner {
 public:
  static Spawner& Get() {
    static auto* spawner = new Spawner;  // never destroyed: its children are killed when it goes
    return *spawner;
  }

  pid_t Run(const std::function<pid_t()>& work) {
    std::lock_guard<std::mutex> one(callers_);
    std::unique_lock<std::mutex> lock(mu_);
    work_ = &work;
    changed_.notify_all();
    changed_.wait(lock, [&] { return work_ == nullptr; });
    return result_;
  }

 private:
  Spawner() {
    std::thread([this] {
      std::unique_lock<std::mutex> lock(mu_);
      while (true) {
        changed_.wait(lock, [&] { return work_ != nullptr; });
        result_ = (*work_)();
        work_ = nullptr;
        changed_.notify_all();
      }
    }).detach();
  }

  std::mutex callers_;
  std::mutex mu_;
  std::condition_variable changed_;
  const std::function<pid_t()>* work_ = nullptr;
  pid_t result_ = 0;
};

std::vector<std::string> Environment(const SubprocessOptions& options) {
  std::map<std::string, std::string> merged;
  if (options.clear_env) {
    if (const char* path = std::getenv("PATH")) merged["PATH"] = path;
  } else {
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const char* equals = std::strchr(*entry, '=');
      if (equals != nullptr) merged[std::string(*entry, static_cast<size_t>(equals - *entry))] = equals + 1;
    }
  }
  for (const auto& [name, value] : options.env) merged[name] = value;
  std::vector<std::string> lines;
  lines.reserve(merged.size());
  for (const auto& [name, value] : merged) lines.push_back(name + "=" + value);
  return lines;
}

std::string Resolve(const std::string& program) {
  if (program.find('/') != std::string::npos) return program;
  std::string path = std::getenv("PATH") != nullptr ? std::getenv("PATH") : "/usr/bin:/bin";
  size_t start = 0;
  while (start <= path.size()) {
    const size_t end = std::min(path.find(':', start), path.size());
    const std::string candidate = path.substr(start, end - start) + "/" + program;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    start = end + 1;
  }
  return program;
}

int ExitCode(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Subprocess>> Subprocess::Start(SubprocessOptions options) {
  if (options.argv.empty()) return absl::InvalidArgumentError("no program");
  uid_t uid = ::geteuid();
  gid_t gid = ::getegid();
  bool switch_user = false;
  if (!options.user.empty() && uid == 0) {
    const passwd* entry = ::getpwnam(options.user.c_str());
    if (entry == nullptr) return absl::NotFoundError(absl::StrCat("no user ", options.user));
    uid = entry->pw_uid;
    gid = entry->pw_gid;
    switch_user = uid != 0;
  }
  // Everything that allocates happens before fork: the child of a threaded process may only make plain system calls.
  const std::string program = Resolve(options.argv[0]);
  if (::access(program.c_str(), X_OK) != 0) return absl::NotFoundError(absl::StrCat("cannot execute ", program));
  std::vector<char*> argv;
  for (std::string& argument : options.argv) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<std::string> lines = Environment(options);
  std::vector<char*> envp;
  for (std::string& line : lines) envp.push_back(line.data());
  envp.push_back(nullptr);

  const pid_t parent = ::getpid();
  const pid_t pid = Spawner::Get().Run([&]() -> pid_t {
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::setpgid(0, 0);
    if (!options.output_path.empty()) {
      const int out = ::open(options.output_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
      if (out < 0 || ::dup2(out, 1) < 0 || ::dup2(out, 2) < 0) ::_exit(126);
      const int in = ::open("/dev/null", O_RDONLY);
      if (in >= 0) ::dup2(in, 0);
    }
    ::syscall(SYS_close_range, 3u, ~0u, 0u);
    if (switch_user) {
      // The raw calls change this one process and need no locks of the C library.
      if (::syscall(SYS_setgroups, 1, &gid) != 0 || ::syscall(SYS_setresgid, gid, gid, gid) != 0 ||
          ::syscall(SYS_setresuid, uid, uid, uid) != 0) {
        ::_exit(126);
      }
    }
    ::prctl(PR_SET_PDEATHSIG, options.death_signal);  // after the change of user, which clears it
    if (::getppid() != parent) ::_exit(126);
    if (!options.working_directory.empty() && ::chdir(options.working_directory.c_str()) != 0) ::_exit(126);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    ::execve(program.c_str(), argv.data(), envp.data());
    ::_exit(127);
  });
  if (pid < 0) return absl::ResourceExhaustedError(absl::StrCat("fork: ", std::strerror(errno)));
  return std::unique_ptr<Subprocess>(new Subprocess(pid, options.output_path));
}

Subprocess::~Subprocess() {
  if (!running()) return;
  ::kill(pid_, SIGKILL);
  ::kill(pid_, SIGCONT);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

bool Subprocess::running() {
  if (reaped_) return false;
  int status = 0;
  const pid_t done = ::waitpid(pid_, &status, WNOHANG);
  if (done != pid_) return done == 0;
  reaped_ = true;
  exit_code_ = ExitCode(status);
  return false;
}

void Subprocess::Signal(int signal) {
  if (running()) ::kill(pid_, signal);
}

absl::StatusOr<int> Subprocess::Wait(clock::SteadyTime deadline) {
  if (!WaitUntil([&] { return !running(); }, deadline - clock::SteadyNow())) {
    return absl::DeadlineExceededError(absl::StrCat("process ", pid_, " still runs"));
  }
  return exit_code_;
}

std::string Subprocess::Output() const {
  auto content = ReadFile(output_path_);
  return content.ok() ? *std::move(content) : std::string();
}

absl::Status Subprocess::WaitForOutput(const std::string& text, clock::SteadyTime deadline) {
  const auto seen = [&] { return Output().find(text) != std::string::npos; };
  const bool over = WaitUntil([&] { return seen() || !running(); }, deadline - clock::SteadyNow());
  if (seen()) return absl::OkStatus();
  if (over) return absl::FailedPreconditionError(absl::StrCat("ended without saying \"", text, "\": ", Output()));
  return absl::DeadlineExceededError(absl::StrCat("did not say \"", text, "\" in time: ", Output()));
}

absl::StatusOr<CommandOutcome> RunCommand(SubprocessOptions options, absl::Duration limit) {
  std::unique_ptr<ScopedTempDir> folder;
  if (options.output_path.empty()) {
    folder = std::make_unique<ScopedTempDir>();
    options.output_path = *folder / "out";
    // Made here, so that a child that runs as another user need not be able to.
    if (auto status = WriteFile(options.output_path, ""); !status.ok()) return status;
  }
  auto process = Subprocess::Start(std::move(options));
  if (!process.ok()) return process.status();
  auto code = (*process)->Wait(clock::SteadyNow() + limit);
  if (!code.ok()) return code.status();
  return CommandOutcome{*code, (*process)->Output()};
}

}  // namespace pga::testing
