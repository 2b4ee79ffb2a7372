// A suite of real processes, each under the limit of memory that it is deployed with; those who are served meanwhile,
// and the figures. Tests only.
#pragma once

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "tests/attack/memory_group.h"
#include "tests/integration/suite.h"
#include "tools/fleetsim/wire.h"

namespace pga::attack {

// Of what a process held before, when all is over; allocators keep a little.
constexpr int64_t kKeptMib = 24;

inline double Setting(const char* name, double otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atof(text);
}

inline int64_t ResidentMib(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE) >> 20;
}

// An attacker has a machine of its own: its threads leave the processor to the others.
inline void BeElsewhere() {
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 15);
}

// Connects a socket to a port of this host from this address of it; a non-blocking one may still be connecting.
inline bool ConnectFrom(int fd, const std::string& from, int port) {
  const int on = 1;
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  sockaddr_in own{}, target{};
  own.sin_family = target.sin_family = AF_INET;
  inet_pton(AF_INET, from.c_str(), &own.sin_addr);
  target.sin_port = htons(static_cast<uint16_t>(port));
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return bind(fd, reinterpret_cast<sockaddr*>(&own), sizeof own) == 0 &&
         (connect(fd, reinterpret_cast<sockaddr*>(&target), sizeof target) == 0 || errno == EINPROGRESS);
}

// A connection of an attacker from an address of its own, plain or with TLS as collectors speak it.
class Peer {
 public:
  Peer(const std::string& from, int port, bool tls, int receive_buffer = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const timeval second{.tv_sec = 1, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
    open_ = ConnectFrom(fd_, from, port);
    if (open_ && tls) Handshake();
  }
  ~Peer() {
    SSL_free(ssl_);
    close(fd_);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  bool open() const { return open_; }

  // Bytes without TLS.
  void SendRaw(std::string_view bytes) { (void)!send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT); }
  // All of it, and what comes back is read away, until the server ends it, or is silent for a moment after the last
  // byte.
  void Flood(std::string_view bytes, clock::SteadyTime until) {
    while (open_ && !bytes.empty() && clock::SteadyNow() < until) {
      ReadAway(0);
      const size_t piece = std::min<size_t>(bytes.size(), 16 << 10);
      const int sent = ssl_ != nullptr ? SSL_write(ssl_, bytes.data(), static_cast<int>(piece))
                                       : static_cast<int>(send(fd_, bytes.data(), piece, MSG_NOSIGNAL));
      if (sent <= 0) {
        open_ = false;
        break;
      }
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    for (int i = 0; open_ && i < 5; ++i) ReadAway(10);
  }
  // Takes what is there, at most `most` bytes; false at the end.
  bool Read(size_t most) {
    char buffer[4096];
    const ssize_t got = recv(fd_, buffer, std::min(most, sizeof buffer), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) open_ = false;
    return open_;
  }

 private:
  void Handshake() {
    static SSL_CTX* const context = [] {
      SSL_CTX* made = SSL_CTX_new(TLS_client_method());
      SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
      return made;
    }();
    ssl_ = SSL_new(context);
    const unsigned char alpn[] = "\x02h2";
    SSL_set_alpn_protos(ssl_, alpn, sizeof alpn - 1);
    SSL_set_fd(ssl_, fd_);
    open_ = SSL_connect(ssl_) == 1;
  }
  void ReadAway(int wait_ms) {
    pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&waiting, 1, wait_ms) <= 0) return;
    char buffer[16 << 10];
    // Of TLS only whether it goes on: who floods does not care for answers.
    const ssize_t got = recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) open_ = false;
  }
  int fd_ = -1;
  SSL* ssl_ = nullptr;
  bool open_ = false;
};

// How long answers take, ascending after Stop.
class Person {
 public:
  Person(const integration::Suite* suite, const std::string& token)
      : thread_([this, suite, token] { Run(*suite, token); }) {}
  ~Person() { Stop(); }
  void Stop() {
    if (stop_.exchange(true)) return;
    thread_.join();
    std::sort(millis_.begin(), millis_.end());
  }
  double At(double share) const { return fleetsim::Percentile(millis_, share); }
  size_t answers() const { return millis_.size(); }
  const std::map<std::string, int>& failures() const { return failures_; }

 private:
  void Run(const integration::Suite& suite, const std::string& token) {
    const std::string paths[] = {"/api/v1/collectors", "/api/v1/sources", "/api/v1/queries/top?hours=1",
                                 "/api/v1/metrics/count"};
    for (size_t i = 0; !stop_; ++i) {
      const clock::SteadyTime begun = clock::SteadyNow();
      const auto answer = suite.Get(paths[i % std::size(paths)], token);
      millis_.push_back(absl::ToDoubleMilliseconds(clock::SteadyNow() - begun));
      if (!answer.ok()) ++failures_[answer.status().ToString()];
      if (answer.ok() && answer->status != 200) ++failures_[absl::StrCat(answer->status, " ", answer->body)];
      testing::WaitUntil([this] { return stop_.load(); }, absl::Milliseconds(5));
    }
  }
  std::atomic<bool> stop_{false};
  std::vector<double> millis_;
  std::map<std::string, int> failures_;
  std::thread thread_;
};

// The most memory of each process.
class Memory {
 public:
  explicit Memory(std::map<std::string, pid_t> processes)
      : processes_(std::move(processes)), before_(Now()), most_(before_), thread_([this] {
          while (!stop_) {
            for (const auto& [name, mib] : Now()) most_[name] = std::max(most_[name], mib);
            testing::WaitUntil([this] { return stop_.load(); }, absl::Milliseconds(20));
          }
        }) {}
  ~Memory() { Stop(); }
  void Stop() {
    if (!stop_.exchange(true)) thread_.join();
  }
  std::map<std::string, int64_t> Now() const {
    std::map<std::string, int64_t> now;
    for (const auto& [name, pid] : processes_) now[name] = ResidentMib(pid);
    return now;
  }
  const std::map<std::string, int64_t>& before() const { return before_; }
  const std::map<std::string, int64_t>& most() const { return most_; }
  // Waits until every process holds about what it held before; seconds, or -1 after 60 s.
  double BackAfter() const {
    const clock::SteadyTime begun = clock::SteadyNow();
    const bool back = testing::WaitUntil(
        [this] {
          const auto now = Now();
          return std::ranges::all_of(now,
                                     [this](const auto& of) { return of.second <= before_.at(of.first) + kKeptMib; });
        },
        absl::Seconds(60));
    if (back) return absl::ToDoubleSeconds(clock::SteadyNow() - begun);
    return -1;
  }

 private:
  const std::map<std::string, pid_t> processes_;
  const std::map<std::string, int64_t> before_;
  std::map<std::string, int64_t> most_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

struct Shape {
  integration::Form form;
  bool tls;
  // What the limit of open files is; 0 = this program's own, as high as it may be.
  int open_files = 0;
};

class AttackedSuite : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    integration::SuiteOptions options{.form = GetParam().form, .tls = GetParam().tls, .peer_tls = false};
    options.launch = [this](const std::string& name, std::vector<std::string> argv) {
      if (GetParam().open_files > 0) {
        const std::string limit = absl::StrCat("ulimit -n ", GetParam().open_files, " && exec \"$0\" \"$@\"");
        argv.insert(argv.begin(), {"/bin/sh", "-c", limit});
      }
      const auto limit = DeployedMemoryLimit(name);
      EXPECT_THAT(limit, status::IsOk());
      auto group = MemoryGroup::Make(name, limit.value_or(int64_t{1} << 30));
      if (!group.ok()) {
        std::printf("%s runs without a limit: %s\n", name.c_str(), group.status().ToString().c_str());
        return argv;
      }
      groups_[name] = *std::move(group);
      return groups_[name]->Launch(argv);
    };
    suite_ = std::make_unique<integration::Suite>(options);
    if (GetParam().tls) {
      ASSERT_THAT(testing::WriteFile(dir_ / "ca.pem", suite_->ca_pem()), status::IsOk());
    }
  }
  void TearDown() override {
    if (suite_ == nullptr) return;
    const auto codes = suite_->Terminate(absl::Seconds(60));
    for (const auto& [name, code] : codes) EXPECT_EQ(code, 0) << name << " did not end by itself";
    if (HasFailure()) std::fprintf(stderr, "%s\n", suite_->Outputs().c_str());
    suite_.reset();
    groups_.clear();
  }
  // Acknowledgements of collectors that deliver meanwhile.
  absl::StatusOr<fleetsim::WireOutcome> Deliver(absl::Duration duration, bool backlog = false) {
    static const auto* const kCatalog = new std::shared_ptr<const catalog::Catalog>(*catalog::Catalog::Builtin());
    fleetsim::WireOptions options;
    options.backend = absl::StrCat(GetParam().tls ? "https" : "http", "://localhost:", suite_->port());
    if (GetParam().tls) options.ca_file = dir_ / "ca.pem";
    options.registration_secret = log::Secret(integration::Suite::kRegistrationSecret);
    options.state_dir = dir_.path();
    options.collectors = 4;
    options.first = 4 * deliveries_++;
    options.duration = duration;
    options.backlog = backlog;
    options.speed = backlog ? 900 : 20;
    options.fleet.statements = 500;
    options.fleet.changed_per_minute = 100;
    options.fleet.tables = 20;
    options.fleet.away_days = 0;
    return fleetsim::RunWire(**kCatalog, options);
  }

  // Token of somebody with an account.
  std::string MakeAttacker(const std::string& admin) {
    const auto made = suite_->Post(
        "/api/v1/users",
        R"({"username":"mallory","email":"mallory@example.org","password":"Quarry-lantern-71-basil","role":"user"})",
        admin);
    EXPECT_THAT(made.status(), status::IsOk());
    if (made.ok()) {
      EXPECT_EQ(made->status, 201) << made->body;
    }
    return suite_->Login("mallory", "Quarry-lantern-71-basil");
  }
  // The same, and an hour of data to read.
  std::string Prepare(const std::string& admin) {
    const auto stored = Deliver(absl::Seconds(4), /*backlog=*/true);
    EXPECT_THAT(stored.status(), status::IsOk());
    if (stored.ok()) {
      EXPECT_EQ(stored->pending_batches, 0);
    }
    return MakeAttacker(admin);
  }
  // Prints what a process holds, and expects that it rose by no more than `most` MiB and that nothing was killed.
  void Judge(const Memory& memory, int64_t most) {
    const auto after = memory.Now();
    for (const auto& [name, before] : memory.before()) {
      const auto group = groups_.find(name);
      const bool limited = group != groups_.end();
      const int64_t rise = memory.most().at(name) - before;
      const std::string bound =
          !limited ? "no limit"
                   : absl::StrCat("limit ", group->second->limit() >> 20, " MiB, ", group->second->Kills(), " killed");
      std::printf("  %-16s %4lld MiB before, +%lld at most, %lld after; %s\n", name.c_str(),
                  static_cast<long long>(before), static_cast<long long>(rise), static_cast<long long>(after.at(name)),
                  bound.c_str());
      EXPECT_LE(rise, most) << name;
      if (limited) {
        EXPECT_EQ(group->second->Kills(), 0) << name;
      }
      EXPECT_TRUE(suite_->process(name).running()) << name;
    }
  }
  // Prints how long answers and acknowledgements took, calm and attacked. Nobody was refused and everything is stored;
  // where they are `held` to it, they took at most ten times as long.
  void JudgeTimes(const Person& calm, const fleetsim::WireOutcome& calm_acks, const Person& attacked,
                  const absl::StatusOr<fleetsim::WireOutcome>& acks, bool held) {
    std::printf("  person: calm p50 %.1f p99 %.1f ms of %zu; attacked p50 %.1f p99 %.1f ms of %zu, %.1f times\n",
                calm.At(0.5), calm.At(0.99), calm.answers(), attacked.At(0.5), attacked.At(0.99), attacked.answers(),
                attacked.At(0.99) / calm.At(0.99));
    EXPECT_GT(attacked.answers(), 0u);
    for (const auto& [what, count] : attacked.failures()) {
      ADD_FAILURE() << count << " answers to the person: " << what;
    }
    ASSERT_THAT(acks.status(), status::IsOk());
    const auto p = [](const fleetsim::WireOutcome& of, double share) { return fleetsim::Percentile(of.ack_ms, share); };
    std::printf("  collector: calm p50 %.1f p99 %.1f ms of %zu; attacked p50 %.1f p99 %.1f ms of %zu, %.1f times\n",
                p(calm_acks, 0.5), p(calm_acks, 0.99), calm_acks.ack_ms.size(), p(*acks, 0.5), p(*acks, 0.99),
                acks->ack_ms.size(), p(*acks, 0.99) / p(calm_acks, 0.99));
    EXPECT_EQ(acks->pending_batches, 0) << "everything is stored";
    EXPECT_GT(acks->ack_ms.size(), 0u);
    if (held) {
      EXPECT_LE(attacked.At(0.99), 10 * calm.At(0.99));
      EXPECT_LE(p(*acks, 0.99), 10 * p(calm_acks, 0.99));
    }
  }
  std::map<std::string, pid_t> Pids() {
    std::map<std::string, pid_t> pids;
    for (const std::string& name : suite_->names()) pids[name] = suite_->process(name).pid();
    return pids;
  }

  std::map<std::string, std::unique_ptr<MemoryGroup>> groups_;
  std::unique_ptr<integration::Suite> suite_;
  testing::ScopedTempDir dir_;
  int deliveries_ = 0;
};

}  // namespace pga::attack
