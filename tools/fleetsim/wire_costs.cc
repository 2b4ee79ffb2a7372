#include "tools/fleetsim/wire_costs.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace pga::fleetsim {
namespace {

int64_t Nanos(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

struct Sum {
  std::atomic<int64_t> calls{0};
  std::atomic<int64_t> cpu_ns{0};
  std::atomic<int64_t> wall_ns{0};
};
Sum fsync_sum;
Sum zstd_sum;
Sum sha_sum;

class Timed {
 public:
  explicit Timed(Sum* sum) : sum_(sum) {}
  ~Timed() {
    sum_->cpu_ns += Nanos(CLOCK_THREAD_CPUTIME_ID) - cpu_;
    sum_->wall_ns += Nanos(CLOCK_MONOTONIC) - wall_;
    ++sum_->calls;
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  Sum* const sum_;
  const int64_t wall_ = Nanos(CLOCK_MONOTONIC);
  const int64_t cpu_ = Nanos(CLOCK_THREAD_CPUTIME_ID);
};

double Seconds(const std::atomic<int64_t>& nanos) {
  return static_cast<double>(nanos) / 1e9;
}

struct Process {
  pid_t parent = 0;
  double own_s = 0;
  double waited_s = 0;
};

// False when there is no such process.
bool ReadProcess(const std::string& pid, Process* process) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::stringstream text;
  text << file.rdbuf();
  const std::string line = text.str();
  const size_t after = line.rfind(')');
  if (after == std::string::npos) return false;
  // Fields from the third on: state, parent, ... 14 to 17 are utime, stime, cutime, cstime (proc(5)).
  std::istringstream fields(line.substr(after + 2));
  std::string field;
  const auto tick = static_cast<double>(sysconf(_SC_CLK_TCK));
  for (int i = 3; i <= 17 && fields >> field; ++i) {
    if (i == 4) process->parent = static_cast<pid_t>(std::strtol(field.c_str(), nullptr, 10));
    if (i == 14 || i == 15) process->own_s += std::strtod(field.c_str(), nullptr) / tick;
    if (i == 16 || i == 17) process->waited_s += std::strtod(field.c_str(), nullptr) / tick;
  }
  return true;
}

}  // namespace

WireCosts CostsSoFar() {
  return {.fsyncs = fsync_sum.calls,
          .fsync_cpu_s = Seconds(fsync_sum.cpu_ns),
          .fsync_wall_s = Seconds(fsync_sum.wall_ns),
          .zstd_cpu_s = Seconds(zstd_sum.cpu_ns),
          .sha_cpu_s = Seconds(sha_sum.cpu_ns)};
}

WireCosts operator-(const WireCosts& a, const WireCosts& b) {
  return {.fsyncs = a.fsyncs - b.fsyncs,
          .fsync_cpu_s = a.fsync_cpu_s - b.fsync_cpu_s,
          .fsync_wall_s = a.fsync_wall_s - b.fsync_wall_s,
          .zstd_cpu_s = a.zstd_cpu_s - b.zstd_cpu_s,
          .sha_cpu_s = a.sha_cpu_s - b.sha_cpu_s};
}

double OwnCpuSeconds() {
  return static_cast<double>(Nanos(CLOCK_PROCESS_CPUTIME_ID)) / 1e9;
}

double ThreadCpuSeconds() {
  return static_cast<double>(Nanos(CLOCK_THREAD_CPUTIME_ID)) / 1e9;
}

double TreeCpuSeconds(pid_t pid) {
  std::map<pid_t, Process> processes;
  DIR* const folder = opendir("/proc");
  if (folder == nullptr) return 0;
  while (const dirent* entry = readdir(folder)) {
    pid_t number = 0;
    Process process;
    if (absl::SimpleAtoi(entry->d_name, &number) && ReadProcess(entry->d_name, &process)) processes[number] = process;
  }
  closedir(folder);
  double sum = 0;
  std::vector<pid_t> open = {pid};
  while (!open.empty()) {
    const pid_t at = open.back();
    open.pop_back();
    const auto found = processes.find(at);
    if (found == processes.end()) continue;
    sum += found->second.own_s + found->second.waited_s;
    for (const auto& [child, process] : processes) {
      if (process.parent == at) open.push_back(child);
    }
  }
  return sum;
}

}  // namespace pga::fleetsim

// The linker's names for the wrapped functions and for what calls them.
extern "C" {
int RealFsync(int fd) asm("__real_fsync");
int RealFdatasync(int fd) asm("__real_fdatasync");
size_t RealCompress(ZSTD_CCtx* context, void* to, size_t capacity, const void* from, size_t size,
                    int level) asm("__real_ZSTD_compressCCtx");
int RealDigestUpdate(EVP_MD_CTX* context, const void* data, size_t size) asm("__real_EVP_DigestUpdate");
int RealDigestFinal(EVP_MD_CTX* context, unsigned char* digest, unsigned int* size) asm("__real_EVP_DigestFinal_ex");

int CountedFsync(int fd) asm("__wrap_fsync");
int CountedFdatasync(int fd) asm("__wrap_fdatasync");
size_t CountedCompress(ZSTD_CCtx* context, void* to, size_t capacity, const void* from, size_t size,
                       int level) asm("__wrap_ZSTD_compressCCtx");
int CountedDigestUpdate(EVP_MD_CTX* context, const void* data, size_t size) asm("__wrap_EVP_DigestUpdate");
int CountedDigestFinal(EVP_MD_CTX* context, unsigned char* digest, unsigned int* size) asm("__wrap_EVP_DigestFinal_ex");

int CountedFsync(int fd) {
  const pga::fleetsim::Timed timed(&pga::fleetsim::fsync_sum);
  return RealFsync(fd);
}
int CountedFdatasync(int fd) {
  const pga::fleetsim::Timed timed(&pga::fleetsim::fsync_sum);
  return RealFdatasync(fd);
}
size_t CountedCompress(ZSTD_CCtx* context, void* to, size_t capacity, const void* from, size_t size, int level) {
  const pga::fleetsim::Timed timed(&pga::fleetsim::zstd_sum);
  return RealCompress(context, to, capacity, from, size, level);
}
int CountedDigestUpdate(EVP_MD_CTX* context, const void* data, size_t size) {
  const pga::fleetsim::Timed timed(&pga::fleetsim::sha_sum);
  return RealDigestUpdate(context, data, size);
}
int CountedDigestFinal(EVP_MD_CTX* context, unsigned char* digest, unsigned int* size) {
  const pga::fleetsim::Timed timed(&pga::fleetsim::sha_sum);
  return RealDigestFinal(context, digest, size);
}
}
