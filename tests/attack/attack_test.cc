// All at once against the real processes, each under the limit of memory that it is deployed with: floods and malformed
// HTTP/2, silent and slow connections, large pushes, costly reads, readers that do not read. Meanwhile a signed-in
// person and four collectors are served, and no process is killed for its memory.
//
// PGA_ATTACK_KINDS leaves only some of them: "silent floods pushes reads slow".
// PGA_ATTACK_SECONDS (8) is how long it lasts, PGA_ATTACK_CONNECTIONS (400) how many silent and slow connections there
// are. With 30 s and more the rise of memory is held to 64 MiB of each process, and the times of answers to ten times
// those of calm.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
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
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/rpc/http2_attacks_testing.h"
#include "libs/status/testing.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "tests/attack/memory_group.h"
#include "tests/integration/suite.h"
#include "tools/fleetsim/wire.h"

namespace pga::attack {
namespace {

using integration::Form;
using integration::HttpRequest;
using integration::Suite;
using integration::SuiteOptions;

// Figures that are held to their targets; a shorter attack beside other work says little about them.
constexpr absl::Duration kLong = absl::Seconds(30);
constexpr int64_t kMostMib = 64;
constexpr int64_t kMostMibOfMoments = 256;
// Of eight slow readers of the largest answers beside sixteen pushes, in one process: 62 to 75 were seen.
constexpr int64_t kMostMibOfLargeAnswers = 96;
// Of what a process held before, when all is over; allocators keep a little.
constexpr int64_t kKeptMib = 24;

constexpr int kCostlyReads = 4;

// The largest answers that there are, of one message and of many. Each is more than a million bytes.
constexpr const char* kLargeReads[] = {
    "/api/v1/queries/top?hours=24&limit=15&text_length=65536",
    "/api/v1/series?metric=statements&column=calls&hours=3&step=8&group_by=source&group_by=queryid&limit=1000&"
    "filter=queryid~0%24",
    "/api/v1/queries/top?hours=24&limit=1000&text_length=1000"};

double Setting(const char* name, double otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atof(text);
}

int64_t ResidentMib(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE) >> 20;
}

// An attacker has a machine of its own: its threads leave the processor to the others.
void BeElsewhere() {
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 15);
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
    sockaddr_in own{}, target{};
    own.sin_family = target.sin_family = AF_INET;
    inet_pton(AF_INET, from.c_str(), &own.sin_addr);
    target.sin_port = htons(static_cast<uint16_t>(port));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int no_port = 1;
    setsockopt(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &no_port, sizeof no_port);
    open_ = bind(fd_, reinterpret_cast<sockaddr*>(&own), sizeof own) == 0 &&
            connect(fd_, reinterpret_cast<sockaddr*>(&target), sizeof target) == 0;
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
  Person(const Suite* suite, const std::string& token) : thread_([this, suite, token] { Run(*suite, token); }) {}
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
  void Run(const Suite& suite, const std::string& token) {
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

// Everybody who means harm, until `until`; bounded in threads and bytes, and to this machine.
class Attackers {
 public:
  Attackers(const Suite* suite, bool tls, std::string token, clock::SteadyTime until)
      : suite_(suite), tls_(tls), token_(std::move(token)), until_(until) {}
  void StartAll() {
    if (Wanted("silent")) Silent(static_cast<int>(Setting("PGA_ATTACK_CONNECTIONS", 400)));
    for (int i = 0; Wanted("floods") && i < 6; ++i) Start([this, i] { Floods(i); });
    for (int i = 0; Wanted("pushes") && i < 16; ++i) Start([this] { Push(); });
    for (int i = 0; Wanted("reads") && i < 24; ++i) Start([this, i] { CostlyRead(i); });
    for (int i = 0; Wanted("slow") && !tls_ && i < 8; ++i) Start([this, i] { SlowReader(i); });
  }
  // Only those who ask for large answers and hardly read them, and those who push.
  void StartSlowReaders(int count) {
    for (int i = 0; i < count; ++i) Start([this, i] { SlowReader(i); });
  }
  void StartPushes(int count) {
    for (int i = 0; i < count; ++i) Start([this] { Push(); });
  }
  int Counted(const std::string& what) {
    absl::MutexLock lock(&mutex_);
    return counts_[what];
  }
  void Join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    silent_.clear();
  }
  ~Attackers() { Join(); }
  std::string Figures() {
    absl::MutexLock lock(&mutex_);
    std::string out;
    for (const auto& [what, count] : counts_) absl::StrAppend(&out, "  ", what, ": ", count, "\n");
    return out;
  }

 private:
  void Start(std::function<void()> work) {
    threads_.emplace_back([work = std::move(work)] {
      BeElsewhere();
      work();
    });
  }
  bool Going() const { return clock::SteadyNow() < until_; }
  void Pause(absl::Duration duration) const {
    testing::WaitUntil([this] { return !Going(); }, duration);
  }
  static bool Wanted(const std::string& kind) {
    const char* const kinds = std::getenv("PGA_ATTACK_KINDS");
    return kinds == nullptr || absl::StrContains(kinds, kind);
  }
  void Count(const std::string& what) {
    absl::MutexLock lock(&mutex_);
    ++counts_[what];
  }

  // Silent, one byte, parts of a preface, of a request head and of a TLS hello; from ten addresses.
  void Silent(int count) {
    const std::string starts[] = {"",
                                  "P",
                                  rpc::Preface().substr(0, 12),
                                  rpc::Preface(),
                                  "GET /api/v1/health HTTP/1.1\r\nHost: ",
                                  std::string("\x16\x03\x01\x02\x00\x01\x00", 7),
                                  "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{"};
    for (int i = 0; i < count; ++i) {
      silent_.push_back(std::make_unique<Peer>(absl::StrCat("127.0.1.", 1 + i % 10), suite_->port(), false));
      silent_.back()->SendRaw(starts[static_cast<size_t>(i) % std::size(starts)]);
    }
    // The slow ones go on, a byte a second.
    Start([this] {
      while (Going()) {
        for (size_t i = 4; i < silent_.size(); i += 7) silent_[i]->SendRaw("x");
        Pause(absl::Seconds(1));
      }
    });
  }
  void Floods(int number) {
    static const auto* const attacks = new std::vector<rpc::Attack>(rpc::Attacks());
    static const std::string rapid = rpc::RapidReset(10'000);
    for (size_t i = static_cast<size_t>(number); Going(); i += 5) {
      // Every other one is the one that costs servers most.
      const rpc::Attack& attack = (*attacks)[i % attacks->size()];
      const std::string bytes =
          i % 2 == 0 ? rpc::Preface() + rapid : (attack.with_preface ? rpc::Preface() : "") + attack.bytes;
      Peer peer(absl::StrCat("127.0.2.", 1 + number), suite_->port(), tls_);
      peer.Flood(bytes, std::min(until_, clock::SteadyNow() + absl::Seconds(5)));
      Count("connections of floods");
    }
  }
  void Push() {
    static const std::string body = absl::StrCat(R"({"collector_id":"pusher","metrics":[{"type":"pg_log","lines":[")",
                                                 std::string(9'500'000, 'x'), R"("]}]})");
    while (Going()) {
      const auto answer =
          suite_->Send({.method = "POST",
                        .path = "/api/v1/metrics/push",
                        .headers = {{"Authorization", "Bearer " + token_}, {"Content-Type", "application/json"}},
                        .body = body});
      Count(absl::StrCat("pushes, ", answer.ok() ? absl::StrCat(answer->status) : answer.status().ToString()));
      if (!answer.ok()) Count("pushes without an answer");
      if (answer.ok() && answer->status == 503) Pause(absl::Milliseconds(500));
    }
  }
  void CostlyRead(int number) {
    const std::string paths[] = {
        "/api/v1/series?metric=statements&column=calls&hours=3&step=1&group_by=source&group_by=datname&limit=1000",
        "/api/v1/series?metric=statements&column=calls&hours=24&group_by=source&"
        "filter=datname~(.*)(.*)(.*)(.*)(.*)(.*)",
        "/api/v1/queries/top?hours=720&limit=1000", "/api/v1/freshness?hours=720"};
    while (Going()) {
      const std::string& path = paths[number % kCostlyReads];
      const auto answer = suite_->Send({.path = path, .headers = {{"Authorization", "Bearer " + token_}}});
      const std::string what = answer.ok() ? absl::StrCat(answer->status) : answer.status().ToString();
      Count(absl::StrCat("costly reads ", number % kCostlyReads, ", ", what));
      // What is refused for its form costs nothing.
      EXPECT_TRUE(!answer.ok() || answer->status < 400 || answer->status >= 500 || answer->status == 429)
          << path << ": " << answer->body.substr(0, 300);
    }
  }
  // Asks for a large answer and takes a kilobyte of it at a time.
  void SlowReader(int number) {
    while (Going()) {
      Peer peer("127.0.3.1", suite_->port(), false, 4096);
      peer.SendRaw(absl::StrCat("GET ", kLargeReads[static_cast<size_t>(number) % std::size(kLargeReads)],
                                " HTTP/1.1\r\n"
                                "Host: localhost\r\nAuthorization: Bearer ",
                                token_, "\r\n\r\n"));
      Count("slow readers");
      while (Going() && peer.Read(1024)) Pause(absl::Milliseconds(100));
    }
  }

  const Suite* const suite_;
  const bool tls_;
  const std::string token_;
  const clock::SteadyTime until_;
  std::vector<std::unique_ptr<Peer>> silent_;
  std::vector<std::thread> threads_;
  absl::Mutex mutex_;
  std::map<std::string, int> counts_ ABSL_GUARDED_BY(mutex_);
};

struct Shape {
  Form form;
  bool tls;
};

class Combined : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    SuiteOptions options{.form = GetParam().form, .tls = GetParam().tls, .peer_tls = false};
    options.launch = [this](const std::string& name, std::vector<std::string> argv) {
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
    suite_ = std::make_unique<Suite>(options);
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
    options.registration_secret = log::Secret(Suite::kRegistrationSecret);
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

  // Token of somebody with an account, and an hour of data to read.
  std::string Prepare(const std::string& admin) {
    const auto made = suite_->Post(
        "/api/v1/users",
        R"({"username":"mallory","email":"mallory@example.org","password":"Quarry-lantern-71-basil","role":"user"})",
        admin);
    EXPECT_THAT(made.status(), status::IsOk());
    if (made.ok()) {
      EXPECT_EQ(made->status, 201) << made->body;
    }
    const auto stored = Deliver(absl::Seconds(4), /*backlog=*/true);
    EXPECT_THAT(stored.status(), status::IsOk());
    if (stored.ok()) {
      EXPECT_EQ(stored->pending_batches, 0);
    }
    return suite_->Login("mallory", "Quarry-lantern-71-basil");
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
  std::map<std::string, pid_t> Pids() {
    std::map<std::string, pid_t> pids;
    for (const std::string& name : suite_->names()) pids[name] = suite_->process(name).pid();
    return pids;
  }

  std::map<std::string, std::unique_ptr<MemoryGroup>> groups_;
  std::unique_ptr<Suite> suite_;
  testing::ScopedTempDir dir_;
  int deliveries_ = 0;
};

INSTANTIATE_TEST_SUITE_P(All, Combined, ::testing::Values(Shape{Form::kOneProcess, false}, Shape{Form::kApart, true}),
                         [](const auto& test) {
                           return std::string(test.param.form == Form::kApart ? "ServicesApartWithTls" : "OneProcess");
                         });

TEST_P(Combined, AttackDisturbsNobodyForLong) {
  const absl::Duration lasts = absl::Seconds(Setting("PGA_ATTACK_SECONDS", 8));
  const std::string token = suite_->AdminToken();
  // Who attacks by pushes and reads has an account, too.
  const std::string attacker = Prepare(token);

  Person calm(suite_.get(), token);
  const auto calm_acks = Deliver(std::min(lasts, absl::Seconds(10)));
  ASSERT_THAT(calm_acks.status(), status::IsOk());
  calm.Stop();

  Memory memory(Pids());
  Person attacked(suite_.get(), token);
  Attackers attackers(suite_.get(), GetParam().tls, attacker, clock::SteadyNow() + lasts);
  attackers.StartAll();
  const auto acks = Deliver(lasts);
  attacked.Stop();
  attackers.Join();
  memory.Stop();
  const double back = memory.BackAfter();

  EXPECT_EQ(attackers.Counted("pushes without an answer"), 0) << "refusals are read";
  std::printf("attack of %s, %s\n%s", absl::FormatDuration(lasts).c_str(),
              GetParam().form == Form::kApart ? "services apart, TLS" : "one process", attackers.Figures().c_str());
  Judge(memory, lasts >= kLong ? kMostMib : kMostMibOfMoments);
  std::printf("  memory was back after %.1f s\n", back);
  EXPECT_GE(back, 0) << "memory is not back within 60 s";
  std::printf("  person: calm p50 %.1f p99 %.1f ms of %zu; attacked p50 %.1f p99 %.1f ms of %zu, %.1f times\n",
              calm.At(0.5), calm.At(0.99), calm.answers(), attacked.At(0.5), attacked.At(0.99), attacked.answers(),
              attacked.At(0.99) / calm.At(0.99));
  for (const auto& [what, count] : attacked.failures()) {
    ADD_FAILURE() << count << " answers to the person: " << what;
  }
  ASSERT_THAT(acks.status(), status::IsOk());
  const auto p = [](const fleetsim::WireOutcome& of, double share) { return fleetsim::Percentile(of.ack_ms, share); };
  std::printf("  collector: calm p50 %.1f p99 %.1f ms of %zu; attacked p50 %.1f p99 %.1f ms of %zu, %.1f times\n",
              p(*calm_acks, 0.5), p(*calm_acks, 0.99), calm_acks->ack_ms.size(), p(*acks, 0.5), p(*acks, 0.99),
              acks->ack_ms.size(), p(*acks, 0.99) / p(*calm_acks, 0.99));
  EXPECT_EQ(acks->pending_batches, 0) << "everything is stored";
  EXPECT_GT(acks->ack_ms.size(), 0u);
  if (lasts >= kLong) {
    EXPECT_LE(attacked.At(0.99), 10 * calm.At(0.99));
    EXPECT_LE(p(*acks, 0.99), 10 * p(*calm_acks, 0.99));
  }
}

// The largest answers, whose readers take a kilobyte at a time, and pushes of 9.5 MB, all of one caller.
TEST_P(Combined, LargeAnswersAndPushesAreBoundedInBytes) {
  if (GetParam().tls) GTEST_SKIP() << "the readers speak plain HTTP";
  const std::string token = suite_->AdminToken();
  const std::string attacker = Prepare(token);
  {
    const auto deadline = clock::SteadyNow() + absl::Minutes(1);
    auto database = pg::CopyConnection::Connect({.url = suite_->databases().metrics_url}, deadline);
    ASSERT_THAT(database.status(), status::IsOk());
    // JSON takes six bytes for such a character.
    ASSERT_THAT((*database)->Exec("UPDATE metrics.query_text SET text = repeat(E'\\x01', 65536)", deadline).status(),
                status::IsOk());
  }
  for (const char* path : kLargeReads) {
    const auto answer = suite_->Get(path, attacker);
    ASSERT_THAT(answer.status(), status::IsOk());
    ASSERT_EQ(answer->status, 200) << path << ": " << answer->body.substr(0, 500);
    std::printf("%s: %zu bytes\n", path, answer->body.size());
    EXPECT_GE(answer->body.size(), size_t{1'000'000}) << path;
  }
  // What allocators keep of the first answers is not the attack's.
  Memory memory(Pids());

  Person other(suite_.get(), token);
  Attackers attackers(suite_.get(), false, attacker,
                      clock::SteadyNow() + absl::Seconds(Setting("PGA_ATTACK_SECONDS", 8)));
  attackers.StartSlowReaders(8);
  attackers.StartPushes(16);
  attackers.Join();
  other.Stop();
  memory.Stop();
  std::printf("slow readers, pushes\n%s", attackers.Figures().c_str());
  Judge(memory, kMostMibOfLargeAnswers);
  EXPECT_EQ(attackers.Counted("pushes without an answer"), 0) << "refusals are read";
  for (const auto& [what, count] : other.failures()) ADD_FAILURE() << count << " answers to the person: " << what;
  EXPECT_GE(memory.BackAfter(), 0) << "memory is not back within 60 s";
}

}  // namespace
}  // namespace pga::attack
