// What an unknown peer can do to a port before anybody knows who it is: broken and abusive HTTP/2, published weaknesses
// by their numbers among it. During and after each the server answers a collector and holds little memory, and the peer
// of a flood is sent away. An abort ends this test program, which is how such a case would show.
//
// PGA_ATTACK_SECONDS (default 0.3) is how long each of the repeated attacks lasts, PGA_ATTACK_CONNECTIONS (default 300)
// how many silent connections there are.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/rpc/http2_attacks_testing.h"
#include "libs/rpc/server.h"
#include "libs/rpc/unary.h"
#include "libs/status/testing.h"
#include "libs/testing/wait_until.h"
#include "libs/token/signer.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"

namespace pga::rpc {
namespace {

namespace querypb = pganalytics::query::v1;

constexpr char kSecret[] = "a secret of this test with enough bytes";
constexpr char kAttacker[] = "127.0.0.2";
constexpr int64_t kMostMib = 64;

double Setting(const char* name, double otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atof(text);
}

// The address sanitizer keeps freed memory aside, so that figures of memory say nothing there.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kMemoryIsOurs = false;
#else
constexpr bool kMemoryIsOurs = true;
#endif

int64_t ResidentMib() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE) >> 20;
}

class Version final : public querypb::SystemService::CallbackService {
 public:
  explicit Version(Dispatcher* dispatcher) : dispatcher_(dispatcher) {}
  grpc::ServerUnaryReactor* GetVersion(grpc::CallbackServerContext* context, const querypb::GetVersionRequest* request,
                                       querypb::GetVersionResponse* response) override {
    return dispatcher_->Unary<querypb::GetVersionRequest, querypb::GetVersionResponse>(
        context, request, response, [](CallContext& call, const auto&, auto& answer) {
          answer.set_version(call.peer);
          return absl::OkStatus();
        });
  }

 private:
  Dispatcher* const dispatcher_;
};

struct Target {
  Target() {
    EXPECT_THAT(verifier.SetHmacSecrets({std::string(kSecret)}), status::IsOk());
    revocations.Apply({}, clock::Clock::Real()->BoottimeNanos());
    token::Claims claims;
    claims.principal.kind = token::Principal::kCollector;
    claims.principal.collector_id = "db-1";
    claims.principal.subject = token::CollectorSubject("db-1");
    claims.principal.issued_at = clock::WallNow() - absl::Minutes(1);
    claims.principal.expires_at = clock::WallNow() + absl::Hours(1);
    collector_token = *(*token::Signer::FromSecret(std::string(kSecret)))->Sign(claims);
    Server::Options options;
    options.name = "target";
    options.listen = {"127.0.0.1:0"};
    options.services = {&service};
    options.limits = DoorLimits::Outside();
    options.limits.handshake = absl::Seconds(2);
    options.limits.collector_per_minute = 0;  // this collector only asks, all the time
    options.authenticator = &authenticator;
    options.metrics = &metrics;
    server = *Server::Start(std::move(options));
    port = server->ports()[0];
    channel = *Connect("127.0.0.1:" + std::to_string(port), {});
  }
  absl::Status Ask() {
    auto stub = querypb::SystemService::NewStub(channel);
    CallOptions options = OwnWork(absl::Seconds(30), nullptr);
    options.bearer = collector_token;
    options.wait_for_ready = true;
    return Call(*stub, &querypb::SystemService::Stub::GetVersion, querypb::GetVersionRequest(), options).status();
  }
  std::string collector_token;
  token::Verifier verifier;
  token::RevocationSet revocations;
  Authenticator authenticator{&verifier, &revocations};
  metrics::Registry metrics{/*process_metrics=*/false};
  exec::ThreadPool pool{"target", 4, 64};
  Dispatcher dispatcher{&authenticator, &pool, &metrics, clock::Clock::Real()};
  Version service{&dispatcher};
  std::unique_ptr<Server> server;
  int port = 0;
  std::shared_ptr<grpc::Channel> channel;
};
Target& TheTarget() {
  static auto* const target = new Target;
  return *target;
}

// A collector that asks all the time, and notes how long each answer takes; and the most memory of the process.
class Watch {
 public:
  Watch() : before_mib_(ResidentMib()), thread_([this] { Run(); }) {}
  ~Watch() { Stop(); }
  void Stop() {
    if (stop_.exchange(true)) return;
    thread_.join();
    std::sort(millis_.begin(), millis_.end());
  }
  double P99() const { return millis_.empty() ? 0 : millis_[millis_.size() * 99 / 100]; }
  size_t answers() const { return millis_.size(); }
  // Questions answered so far.
  int asked() const { return asked_; }
  int failures() const { return failures_; }
  int64_t rise_mib() const { return most_mib_ - before_mib_; }
  int64_t before_mib() const { return before_mib_; }

 private:
  void Run() {
    while (!stop_) {
      const clock::SteadyTime begun = clock::SteadyNow();
      if (const absl::Status status = TheTarget().Ask(); !status.ok()) {
        ++failures_;
        std::fprintf(stderr, "the collector was refused: %s\n", status.ToString().c_str());
      }
      millis_.push_back(absl::ToDoubleMilliseconds(clock::SteadyNow() - begun));
      ++asked_;
      most_mib_ = std::max(most_mib_, ResidentMib());
    }
  }
  const int64_t before_mib_;
  int64_t most_mib_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<int> asked_{0};
  std::vector<double> millis_;
  int failures_ = 0;
  std::thread thread_;
};

// A socket of the attacker, from an address of its own.
class Peer {
 public:
  explicit Peer(const char* from = kAttacker) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in own{};
    own.sin_family = AF_INET;
    inet_pton(AF_INET, from, &own.sin_addr);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
    sockaddr_in target{};
    target.sin_family = AF_INET;
    target.sin_port = htons(static_cast<uint16_t>(TheTarget().port));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&target), sizeof target), 0);
  }
  ~Peer() { close(fd_); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // Sends all of it, reads (and forgets) what comes back, as long as the server lets it and the time is not over. After
  // the last byte it stays until the server has been silent for `stay`, or until more than `enough` bytes have come.
  void Send(const std::string& bytes, clock::SteadyTime until, absl::Duration stay = absl::Milliseconds(50),
            size_t enough = 1 << 30) {
    size_t sent = 0;
    clock::SteadyTime quiet_since = clock::SteadyNow();
    while (open_ && clock::SteadyNow() < until && received_.size() <= enough &&
           (sent < bytes.size() || clock::SteadyNow() < quiet_since + stay)) {
      pollfd waiting{
          .fd = fd_, .events = static_cast<short>(POLLIN | (sent < bytes.size() ? POLLOUT : 0)), .revents = 0};
      if (poll(&waiting, 1, 10) <= 0) continue;
      if ((waiting.revents & POLLIN) != 0) {
        char buffer[65536];
        const ssize_t n = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) open_ = false;
        if (n > 0 && received_.size() < 4096) received_.append(buffer, static_cast<size_t>(n));
        quiet_since = clock::SteadyNow();
      }
      if (open_ && (waiting.revents & POLLOUT) != 0) {
        const ssize_t n = send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) open_ = false;
        if (n > 0) sent += static_cast<size_t>(n);
        quiet_since = clock::SteadyNow();
      }
      if ((waiting.revents & (POLLERR | POLLHUP)) != 0 && (waiting.revents & POLLIN) == 0) open_ = false;
    }
  }
  bool open() const { return open_; }
  const std::string& received() const { return received_; }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
  bool open_ = true;
  std::string received_;
};

// What is left of the peer is cleared away soon after it has gone; the allocator gives pages back when asked.
int64_t KeptMib(int64_t before) {
  int64_t kept = 0;
  testing::WaitUntil(
      [&] {
        malloc_trim(0);
        kept = ResidentMib() - before;
        return kept < 16;
      },
      absl::Seconds(60));
  return kept;
}

class HostilePeer : public ::testing::TestWithParam<Attack> {};
INSTANTIATE_TEST_SUITE_P(All, HostilePeer, ::testing::ValuesIn(Attacks()),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST_P(HostilePeer, DoesNotDisturbOthers) {
  ASSERT_THAT(TheTarget().Ask(), status::IsOk());
  const std::string bytes = (GetParam().with_preface ? Preface() : "") + GetParam().bytes;
  Watch watch;
  bool open = true;
  {
    Peer peer;
    peer.Send(bytes, clock::SteadyNow() + absl::Seconds(10));
    open = peer.open();
    ASSERT_THAT(TheTarget().Ask(), status::IsOk());
  }
  watch.Stop();
  EXPECT_EQ(watch.failures(), 0);
  if (GetParam().closes) {
    EXPECT_FALSE(open) << "the peer was not sent away";
  }
  if (!kMemoryIsOurs) return;
  EXPECT_LE(watch.rise_mib(), kMostMib);
  EXPECT_LT(KeptMib(watch.before_mib()), 16);
}

// ---- The same for longer: the peer comes again as soon as it is sent away, on many connections at once

struct Siege {
  const char* name;
  int connections;
  std::string bytes;
  friend void PrintTo(const Siege& siege, std::ostream* os) { *os << siege.name; }
};

std::vector<Siege> Sieges() {
  const std::string announced("\0\0\xa0\0\0", 5);
  return {
      {"StreamsWithoutSettingsAck", 4, Preface() + Streams(20'000)},
      {"StreamsThatAnnounceTenMebibytes", 4, Preface() + Streams(20'000, announced)},
      {"StreamsWithHalfAMessage", 24, Preface() + Streams(100, announced + std::string(15'000, 'x'))},
      {"RapidReset", 24, Preface() + RapidReset(10'000)},
      {"ContinuationFlood", 4,
       Preface() + Frame(kHeaders, 0, 1, Request()) +
           Repeat(3'000, Frame(kContinuation, 0, 1, std::string(16'000, 'b')))},
      {"PingFlood", 24, Preface() + Repeat(10'000, Frame(kPing, 0, 0, "12345678"))},
      {"Prefaces", 24, Preface()},
  };
}

// Enough for a percentile of calm.
constexpr int kCalmAnswers = 200;

class Sieged : public ::testing::TestWithParam<Siege> {};
INSTANTIATE_TEST_SUITE_P(All, Sieged, ::testing::ValuesIn(Sieges()),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST_P(Sieged, DoesNotDisturbOthers) {
  ASSERT_THAT(TheTarget().Ask(), status::IsOk());
  const absl::Duration seconds = absl::Seconds(Setting("PGA_ATTACK_SECONDS", 0.3));
  double calm = 0;
  int64_t calm_rise = 0;
  {
    Watch watch;
    EXPECT_TRUE(testing::WaitUntil([&] { return watch.asked() >= kCalmAnswers; }, absl::Seconds(60)));
    watch.Stop();
    calm = watch.P99();
    calm_rise = watch.rise_mib();
  }
  Watch watch;
  std::vector<std::thread> threads;
  std::atomic<int> connections{0};
  const clock::SteadyTime until = clock::SteadyNow() + seconds;
  for (int i = 0; i < GetParam().connections; ++i) {
    threads.emplace_back([&] {
      while (clock::SteadyNow() < until) {
        Peer peer;
        ++connections;
        peer.Send(GetParam().bytes, until);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  watch.Stop();
  std::printf("%-32s %6d connections, most memory +%lld MiB (calm +%lld), p99 %.1f ms (calm %.1f), %zu answers\n",
              GetParam().name, connections.load(), static_cast<long long>(watch.rise_mib()),
              static_cast<long long>(calm_rise), watch.P99(), calm, watch.answers());
  EXPECT_EQ(watch.failures(), 0);
  EXPECT_GT(watch.answers(), 0u);
  if (!kMemoryIsOurs) return;
  EXPECT_LE(watch.rise_mib(), kMostMib);
  EXPECT_LT(KeptMib(watch.before_mib()), 16);
}

TEST(SilentConnections, KeepNobodyOut) {
  ASSERT_THAT(TheTarget().Ask(), status::IsOk());
  const auto count = static_cast<size_t>(Setting("PGA_ATTACK_CONNECTIONS", 300));
  Watch watch;
  std::vector<std::unique_ptr<Peer>> peers;
  for (size_t i = 0; i < count; ++i) {
    // Silent, one byte, half a preface, a preface.
    peers.push_back(std::make_unique<Peer>());
    const std::string bytes = Preface().substr(0, i % 4 == 3 ? std::string::npos : (i % 4) * 8);
    if (!bytes.empty()) (void)!send(peers.back()->fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  for (const char* from : {kAttacker, "127.0.0.3"}) {
    // Whoever comes now is served, also from the attacker's own address.
    Peer peer(from);
    peer.Send(Preface() + Headers(Request(), 1, false) + Frame(kData, kEndStream, 1, std::string(5, '\0')),
              clock::SteadyNow() + absl::Seconds(10), absl::Seconds(10), 80);
    EXPECT_GT(peer.received().size(), 80u) << from << ": an answer is longer than SETTINGS and its acknowledgement";
    EXPECT_TRUE(peer.open()) << from;
  }
  watch.Stop();
  EXPECT_EQ(watch.failures(), 0);
  EXPECT_LE(TheTarget().server->connections(), 256 + 3) << "silent connections of one address are bounded";
  std::printf("%zu silent connections: most memory +%lld MiB, p99 %.1f ms\n", count,
              static_cast<long long>(watch.rise_mib()), watch.P99());
  peers.clear();
  if (!kMemoryIsOurs) return;
  EXPECT_LE(watch.rise_mib(), kMostMib);
  EXPECT_LT(KeptMib(watch.before_mib()), 16);
}

TEST(SilentConnections, AreClosedInTime) {
  Peer silent, preface("127.0.0.3");
  preface.Send(Preface(), clock::SteadyNow() + absl::Seconds(1));
  const clock::SteadyTime begun = clock::SteadyNow();
  silent.Send("", begun + absl::Seconds(8), absl::Seconds(8));
  EXPECT_FALSE(silent.open()) << "no preface within the time for it";
}

}  // namespace
}  // namespace pga::rpc
