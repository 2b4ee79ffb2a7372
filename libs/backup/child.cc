#include "libs/backup/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"

extern char** environ;

namespace pga::backup {
namespace {

constexpr size_t kMostMessages = 4096;
constexpr size_t kMostLine = 1024;
constexpr absl::Duration kEndGrace = absl::Seconds(5);

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() { Close(); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    Close();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_;
};

struct Pipe {
  Fd read;
  Fd write;
};

absl::StatusOr<Pipe> MakePipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return absl::ResourceExhaustedError("no pipe can be made");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

void NoWaiting(const Fd& fd) {
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

// Variables of the system, of libpq and of its libraries.
bool MayKnow(std::string_view name) {
  for (const std::string_view whole : {"PATH", "HOME", "USER", "LOGNAME", "TZ", "LANG", "TMPDIR", "LD_LIBRARY_PATH"}) {
    if (name == whole) return true;
  }
  for (const std::string_view begin : {"LC_", "PG", "KRB5", "SSL_CERT_", "OPENSSL_"}) {
    if (name.starts_with(begin)) return true;
  }
  return false;
}

std::vector<std::string> Environment(const std::map<std::string, std::string>& more) {
  std::vector<std::string> all;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string name(text.substr(0, text.find('=')));
    // What the suite itself is given is nothing that these programs need to know.
    if (!more.contains(name) && MayKnow(name)) all.emplace_back(text);
  }
  for (const auto& [name, value] : more) all.push_back(absl::StrCat(name, "=", value));
  return all;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

class Running {
 public:
  static absl::StatusOr<std::unique_ptr<Running>> Start(const ChildOptions& options) {
    PGA_ASSIGN_OR_RETURN(Pipe in, MakePipe());
    PGA_ASSIGN_OR_RETURN(Pipe out, MakePipe());
    PGA_ASSIGN_OR_RETURN(Pipe err, MakePipe());
    PGA_ASSIGN_OR_RETURN(Pipe failed, MakePipe());
    Fd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!nothing.open()) return absl::ResourceExhaustedError("/dev/null cannot be opened");
    std::vector<std::string> words = options.argv;
    std::vector<std::string> settings = Environment(options.env);
    const std::vector<char*> argv = Pointers(words);
    const std::vector<char*> envp = Pointers(settings);
    const int stdin_fd = options.input ? in.read.get() : nothing.get();
    const int stdout_fd = options.output ? out.write.get() : nothing.get();
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid < 0) return absl::ResourceExhaustedError("no process can be started");
    if (pid == 0) {
      // Async-signal-safe calls alone.
      prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (getppid() != parent) _exit(127);
      signal(SIGPIPE, SIG_DFL);
      if (dup2(stdin_fd, 0) >= 0 && dup2(stdout_fd, 1) >= 0 && dup2(err.write.get(), 2) >= 0) {
        execve(argv[0], argv.data(), envp.data());
      }
      const int error = errno;
      if (write(failed.write.get(), &error, sizeof error) < 0) _exit(126);
      _exit(127);
    }
    std::unique_ptr<Running> running(new Running(pid));
    failed.write.Close();
    int error = 0;
    ssize_t got = 0;
    do {
      got = read(failed.read.get(), &error, sizeof error);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
      return absl::NotFoundError(absl::StrCat(options.argv[0], " cannot be started: ", strerror(error)));
    }
    if (options.input) {
      NoWaiting(in.write);
      running->in_ = std::move(in.write);
    }
    if (options.output) {
      NoWaiting(out.read);
      running->out_ = std::move(out.read);
    }
    NoWaiting(err.read);
    running->err_ = std::move(err.read);
    return running;
  }

  ~Running() {
    if (!ended_) {
      kill(pid_, SIGTERM);
      if (!WaitEnd(clock::SteadyNow() + kEndGrace)) {
        kill(pid_, SIGKILL);
        Reap(0);
      }
    }
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  absl::StatusOr<ChildOutcome> Run(const ChildOptions& options, clock::SteadyTime deadline) {
    std::array<char, 1 << 16> buffer{};
    std::string_view piece;
    while (out_.open() || err_.open()) {
      std::vector<pollfd> wanted;
      if (in_.open()) wanted.push_back({in_.get(), POLLOUT, 0});
      if (out_.open()) wanted.push_back({out_.get(), POLLIN, 0});
      if (err_.open()) wanted.push_back({err_.get(), POLLIN, 0});
      if (Poll(wanted, deadline) == 0) return absl::DeadlineExceededError(Late(options));
      for (const pollfd& ready : wanted) {
        if (ready.revents == 0) continue;
        if (ready.fd == in_.get()) {
          PGA_RETURN_IF_ERROR(Feed(options, &piece));
        } else if (ready.fd == out_.get()) {
          const ssize_t got = read(out_.get(), buffer.data(), buffer.size());
          if (got == 0) out_.Close();
          if (got > 0) PGA_RETURN_IF_ERROR(options.output({buffer.data(), static_cast<size_t>(got)}));
        } else if (ready.fd == err_.get()) {
          const ssize_t got = read(err_.get(), buffer.data(), buffer.size());
          if (got == 0) err_.Close();
          if (got > 0) Hear(options, {buffer.data(), static_cast<size_t>(got)});
        }
      }
    }
    in_.Close();
    if (!line_.empty()) Hear(options, "\n");
    if (!WaitEnd(deadline)) return absl::DeadlineExceededError(Late(options));
    outcome_.exit_code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
    return std::move(outcome_);
  }

 private:
  explicit Running(pid_t pid) : pid_(pid), handle_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {}

  static std::string Late(const ChildOptions& options) {
    return absl::StrCat(options.argv[0], " did not end in time and was ended");
  }

  static int Poll(std::vector<pollfd>& wanted, clock::SteadyTime deadline) {
    while (true) {
      const absl::Duration left = deadline - clock::SteadyNow();
      if (left <= absl::ZeroDuration()) return 0;
      // Rounded up, so that it does not spin before the deadline.
      const int limit = static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 60'000));
      const int ready = poll(wanted.data(), wanted.size(), limit);
      if (ready > 0) return ready;
    }
  }

  bool WaitEnd(clock::SteadyTime deadline) {
    if (!Reap(WNOHANG) && handle_.open()) {
      std::vector<pollfd> wanted = {{handle_.get(), POLLIN, 0}};
      if (Poll(wanted, deadline) == 0) return false;
    }
    return Reap(handle_.open() ? WNOHANG : 0);
  }

  bool Reap(int flags) {
    if (ended_) return true;
    pid_t got = 0;
    do {
      got = waitpid(pid_, &status_, flags);
    } while (got < 0 && errno == EINTR);
    ended_ = got == pid_;
    return ended_;
  }

  absl::Status Feed(const ChildOptions& options, std::string_view* piece) {
    if (piece->empty()) {
      PGA_ASSIGN_OR_RETURN(*piece, options.input());
      if (piece->empty()) {
        in_.Close();
        return absl::OkStatus();
      }
    }
    const ssize_t put = write(in_.get(), piece->data(), piece->size());
    if (put > 0) piece->remove_prefix(static_cast<size_t>(put));
    if (put < 0 && errno != EAGAIN && errno != EINTR) {
      outcome_.input_refused = true;
      in_.Close();
    }
    return absl::OkStatus();
  }

  void Hear(const ChildOptions& options, std::string_view text) {
    outcome_.messages.append(text);
    if (outcome_.messages.size() > kMostMessages) {
      outcome_.messages.erase(0, outcome_.messages.size() - kMostMessages);
    }
    for (const char c : text) {
      if (c != '\n') {
        if (line_.size() < kMostLine) line_ += c;
        continue;
      }
      if (options.message) options.message(line_);
      line_.clear();
    }
  }

  const pid_t pid_;
  const Fd handle_;
  Fd in_, out_, err_;
  std::string line_;
  ChildOutcome outcome_;
  int status_ = 0;
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<ChildOutcome> RunChild(const ChildOptions& options, clock::SteadyTime deadline) {
  if (options.argv.empty()) return absl::InternalError("no program to start");
  PGA_ASSIGN_OR_RETURN(const std::unique_ptr<Running> running, Running::Start(options));
  return running->Run(options, deadline);
}

}  // namespace pga::backup
