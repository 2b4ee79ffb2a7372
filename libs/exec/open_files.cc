#include "libs/exec/open_files.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "libs/log/log.h"

namespace pga::exec {
namespace {

// Databases, channels, threads' own, logs.
constexpr int64_t kOwnFiles = 256;
constexpr absl::Duration kSayAgain = absl::Seconds(10);
constexpr char kRemedy[] = "raise it: LimitNOFILE= of the unit, ulimit -n of the shell, nofile of the container";

}  // namespace

void RaiseOpenFiles() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int ConnectionsThatFit(const std::string& what, int wanted, int files) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return wanted;
  const int64_t needed = int64_t{wanted} * files + kOwnFiles;
  const auto there = static_cast<int64_t>(limit.rlim_cur);
  if (there >= needed) return wanted;
  // However few there are, somebody may come.
  const int fit = static_cast<int>(std::max<int64_t>((there - kOwnFiles) / files, 8));
  PGA_LOG(warn, "the limit of open files is too low for the connections that are set",
          {{"port", what}, {"limit", there}, {"needed", needed}, {"set", wanted}, {"taken", fit}, {"do", kRemedy}});
  return fit;
}

SpareFile::SpareFile() : fd_(open("/dev/null", O_RDONLY | O_CLOEXEC)) {}

SpareFile::~SpareFile() {
  if (fd_ >= 0) close(fd_);
}

int SpareFile::RefuseWaiting(int listener, int most) {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
  int refused = 0;
  for (; refused < most; ++refused) {
    const int taken = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (taken < 0) break;
    close(taken);
  }
  fd_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  refused_ += refused;
  if (clock::SteadyNow() - said_ >= kSayAgain) {
    said_ = clock::SteadyNow();
    PGA_LOG(warn, "no open file is left: connections are refused",
            {{"refused", std::exchange(refused_, 0)}, {"do", kRemedy}});
  }
  return refused;
}

}  // namespace pga::exec
