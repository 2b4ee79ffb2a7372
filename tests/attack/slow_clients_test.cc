// Thousands of clients that are slow in every way against the port for HTTP: half of them from one address, the others
// from addresses of their own, plain and over TLS, some with the token of somebody who has an account. They are refused
// or bounded; a person and four collectors are served.
//
// PGA_SLOW_CLIENTS (500) is how many there are, PGA_SLOW_SECONDS (5) how long they come.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/rpc/http2_attacks_testing.h"
#include "libs/status/testing.h"
#include "tests/attack/attack_testing.h"

namespace pga::attack {
namespace {

using integration::Form;

constexpr int64_t kMostMib = 64;
// From so many seconds on the times of answers are held to ten times those of calm.
constexpr absl::Duration kLong = absl::Seconds(30);
// Of the limit of open files in the test of it: too few for what the suite is set to take.
constexpr int kFewFiles = 1024;

enum Kind { kSilent, kHead, kBody, kHello, kHandshake, kGrpc, kDocument, kConsole, kKnown, kKinds };
constexpr const char* kNames[] = {"silent",
                                  "heads",
                                  "bodies",
                                  "TLS hellos",
                                  "TLS handshakes",
                                  "HTTP/2 connections",
                                  "readers of the OpenAPI document",
                                  "readers of the console",
                                  "readers with a token"};

int OpenFiles(pid_t pid) {
  std::error_code gone;
  int count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/fd"), gone)) {
    ++count;
  }
  return count;
}

double ProcessorSeconds(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string word;
  for (int i = 1; i < 14; ++i) file >> word;
  double user = 0, system = 0;
  file >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// A client that comes again a second after it has been sent away.
class SlowClient {
 public:
  SlowClient(Kind kind, std::string from, int port, SSL_CTX* tls, std::string request)
      : kind_(kind), from_(std::move(from)), port_(port), tls_(tls), request_(std::move(request)) {}
  ~SlowClient() { End(); }
  SlowClient(const SlowClient&) = delete;
  SlowClient& operator=(const SlowClient&) = delete;

  bool connected() const { return fd_ >= 0; }
  int attempts() const { return attempts_; }
  size_t received() const { return received_; }

  // Does what is due, without waiting.
  void Step(clock::SteadyTime now) {
    if (now < due_) return;
    if (fd_ < 0) {
      Connect();
      due_ = now + (ssl_ == nullptr || kind_ == kHandshake ? absl::Seconds(1) : absl::ZeroDuration());
      return;
    }
    if (ssl_ != nullptr && !SSL_is_init_finished(ssl_) && kind_ != kHandshake) {
      const int done = SSL_do_handshake(ssl_);
      if (done == 1) {
        Send(request_);
      } else if (SSL_get_error(ssl_, done) != SSL_ERROR_WANT_READ) {
        End();
        due_ = now + absl::Seconds(1);
      }
      return;
    }
    due_ = now + absl::Seconds(1);
    if (kind_ == kHead || kind_ == kBody || kind_ == kHello) Send("x");
    char buffer[1024];
    const bool reads = kind_ >= kDocument;
    const ssize_t got = ssl_ != nullptr && reads
                            ? SSL_read(ssl_, buffer, sizeof buffer)
                            : recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT | (reads ? 0 : MSG_PEEK));
    if (got > 0 && reads) received_ += static_cast<size_t>(got);
    const bool waits =
        got < 0 && (ssl_ != nullptr && reads ? SSL_get_error(ssl_, static_cast<int>(got)) == SSL_ERROR_WANT_READ
                                             : errno == EAGAIN);
    if (got <= 0 && !waits) End();
  }

 private:
  void Connect() {
    ++attempts_;
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int small = 4096;
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (fd_ < 0 || !ConnectFrom(fd_, from_, port_)) {
      End();
      return;
    }
    if (kind_ == kHello) {
      Send(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
    } else if (kind_ != kSilent && tls_ != nullptr) {
      ssl_ = SSL_new(tls_);
      SSL_set_fd(ssl_, fd_);
      SSL_set_connect_state(ssl_);
      const unsigned char h2[] = "\x02h2";
      if (kind_ == kGrpc) SSL_set_alpn_protos(ssl_, h2, sizeof h2 - 1);
      (void)SSL_do_handshake(ssl_);
    } else {
      Send(request_);
    }
  }
  void Send(const std::string& bytes) {
    if (bytes.empty()) return;
    if (ssl_ != nullptr) {
      (void)SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
    } else {
      (void)!send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  }
  void End() {
    SSL_free(std::exchange(ssl_, nullptr));
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  const Kind kind_;
  const std::string from_;
  const int port_;
  SSL_CTX* const tls_;
  const std::string request_;
  int fd_ = -1;
  SSL* ssl_ = nullptr;
  clock::SteadyTime due_;
  int attempts_ = 0;
  size_t received_ = 0;
};

// All of them on one thread, which leaves the processor to others.
class SlowClients {
 public:
  SlowClients(int count, int port, bool tls, const std::string& token, const std::string& asset)
      : tls_(tls ? SSL_CTX_new(TLS_client_method()) : nullptr, &SSL_CTX_free) {
    const std::string get = " HTTP/1.1\r\nHost: localhost\r\n";
    const std::map<Kind, std::string> requests = {
        {kHead, "GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "},
        {kBody, "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n{"},
        {kGrpc, rpc::Preface()},
        {kDocument, "GET /api/v1/openapi.json" + get + "\r\n"},
        {kConsole, "GET " + asset + get + "\r\n"},
        {kKnown, "GET /api/v1/openapi.json" + get + "Authorization: Bearer " + token + "\r\n\r\n"}};
    for (int i = 0; i < count; ++i) {
      const Kind kind = static_cast<Kind>(i / 2 % kKinds);
      const auto request = requests.find(kind);
      // Each second one has an address of its own.
      clients_.push_back(std::make_unique<SlowClient>(
          kind, i % 2 == 0 ? "127.0.4.1" : absl::StrCat("127.5.", i / 2 / 250, ".", 1 + i / 2 % 250), port, tls_.get(),
          request == requests.end() ? "" : request->second));
    }
    thread_ = std::thread([this] {
      BeElsewhere();
      while (!stop_) {
        const clock::SteadyTime now = clock::SteadyNow();
        for (const auto& client : clients_) client->Step(now);
        testing::WaitUntil([this] { return stop_.load(); }, absl::Milliseconds(50));
      }
    });
  }
  ~SlowClients() { Stop(); }
  void Stop() {
    if (stop_.exchange(true)) return;
    thread_.join();
    for (size_t i = 0; i < clients_.size(); ++i) {
      Figures& of = figures_[static_cast<Kind>(i / 2 % kKinds)];
      of.attempts += clients_[i]->attempts();
      of.connected += clients_[i]->connected() ? 1 : 0;
      of.received += clients_[i]->received();
    }
    clients_.clear();
  }
  int Attempts() const {
    int sum = 0;
    for (const auto& [kind, of] : figures_) sum += of.attempts;
    return sum;
  }
  void Print() const {
    for (const auto& [kind, of] : figures_) {
      std::printf("  %s: %d connections, %d at the end, %zu bytes received\n", kNames[kind], of.attempts, of.connected,
                  of.received);
    }
  }

 private:
  struct Figures {
    int attempts = 0;
    int connected = 0;
    size_t received = 0;
  };
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> tls_;
  std::vector<std::unique_ptr<SlowClient>> clients_;
  std::map<Kind, Figures> figures_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// The path of the console's file that is named in `text` with this begin and end.
std::string AssetIn(const std::string& text, const std::string& begin, const std::string& end) {
  const size_t at = text.find(begin);
  return at == std::string::npos ? "/" : "/assets/" + text.substr(at, text.find(end, at) + end.size() - at);
}

class Slowness : public AttackedSuite {};

INSTANTIATE_TEST_SUITE_P(All, Slowness,
                         ::testing::Values(Shape{Form::kOneProcess, false, kFewFiles}, Shape{Form::kApart, true, 0}),
                         [](const auto& test) {
                           return std::string(test.param.form == Form::kApart ? "ServicesApartWithTls"
                                                                              : "OneProcessWithFewFiles");
                         });

TEST_P(Slowness, KeepsNobodyOut) {
  const int count = static_cast<int>(Setting("PGA_SLOW_CLIENTS", 500));
  const absl::Duration lasts = absl::Seconds(Setting("PGA_SLOW_SECONDS", 5));
  const std::string token = suite_->AdminToken();
  const std::string attacker = MakeAttacker(token);
  const auto page = suite_->Get("/");
  ASSERT_THAT(page.status(), status::IsOk());
  // The largest file, which the script of the first page names.
  const std::string script = AssetIn(page->body, "index-", ".js");
  const auto code = suite_->Get(script);
  ASSERT_THAT(code.status(), status::IsOk());
  const std::string asset = AssetIn(code->body, "swagger-ui", ".js");
  const auto largest = suite_->Get(asset);
  ASSERT_THAT(largest.status(), status::IsOk());
  ASSERT_EQ(largest->status, 200);
  ASSERT_GT(largest->body.size(), size_t{1'000'000});

  Person calm(suite_.get(), token);
  const auto calm_acks = Deliver(std::min(lasts, absl::Seconds(10)));
  ASSERT_THAT(calm_acks.status(), status::IsOk());
  calm.Stop();

  Memory memory(Pids());
  const pid_t gateway = suite_->process(GetParam().form == Form::kApart ? "gateway" : "pganalytics-api").pid();
  const double before = ProcessorSeconds(gateway);
  SlowClients clients(count, suite_->port(), GetParam().tls, attacker, asset);
  Person other(suite_.get(), token);
  const auto acks = Deliver(lasts);
  other.Stop();
  const int files = OpenFiles(gateway);
  clients.Stop();
  memory.Stop();
  const double used = ProcessorSeconds(gateway) - before;

  std::printf("%d slow clients for %s, %s\n", count, absl::FormatDuration(lasts).c_str(),
              GetParam().tls ? "TLS" : "plain");
  clients.Print();
  EXPECT_GE(clients.Attempts(), count);
  std::printf("  gateway: %d open files, %.1f s of processor\n", files, used);
  if (GetParam().open_files > 0) {
    EXPECT_LT(files, GetParam().open_files - 64) << "files for the service's own work are left";
    const std::string said = suite_->process("pganalytics-api").Output();
    EXPECT_THAT(said, ::testing::HasSubstr("LimitNOFILE")) << "a limit that is too low is said at the start";
    EXPECT_THAT(said, ::testing::Not(::testing::HasSubstr("Too many open files")));
    EXPECT_THAT(said, ::testing::Not(::testing::HasSubstr("no open file is left")));
  }
  Judge(memory, kMostMib);
  // Allocators give free pages back every 30 s: a short run does not wait for that.
  if (lasts >= kLong) {
    const double back = memory.BackAfter();
    std::printf("  memory was back after %.1f s\n", back);
    EXPECT_GE(back, 0) << "memory is not back within 60 s";
  }
  JudgeTimes(calm, *calm_acks, other, acks, lasts >= kLong);
}

}  // namespace
}  // namespace pga::attack
