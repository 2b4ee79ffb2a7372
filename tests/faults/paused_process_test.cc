// A process that is there and does nothing: each service, PostgreSQL and clients in turn are stopped by SIGSTOP while
// others call them and are asked to end. Every wait ends within its deadline, every process that was asked to end does.
// The figures are printed as a table.
//
// PGA_PAUSE_REQUEST_TIMEOUT (3) is the gateway's REQUEST_TIMEOUT in seconds; the product's own is 30.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/testing/settings.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

// A stop of the whole in one process (guide); the chart gives its processes 30 s by SHUTDOWN_TIMEOUT.
constexpr absl::Duration kUnitStop = absl::Seconds(10);
// The time that a loaded machine may take for what was decided.
constexpr absl::Duration kSlack = absl::Seconds(2);

absl::Duration RequestTimeout() {
  return absl::Seconds(testing::Setting("PGA_PAUSE_REQUEST_TIMEOUT", 3));
}

void Row(const std::string& stopped, const std::string& what, absl::Duration deadline, absl::Duration took,
         const std::string& outcome) {
  std::printf("| %-10s | %-42s | %6.1f s | %6.2f s | %s |\n", stopped.c_str(), what.c_str(),
              absl::ToDoubleSeconds(deadline), absl::ToDoubleSeconds(took), outcome.c_str());
}

std::string Outcome(const absl::StatusOr<HttpAnswer>& answer) {
  return answer.ok() ? absl::StrCat(answer->status) : std::string(answer.status().message());
}

// Bytes that lie unread, and connections not accepted, at a TCP port of this machine: of a stopped process, what others
// wait for.
int64_t UnreadAt(int port) {
  int64_t unread = 0;
  for (const char* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(path);
    std::string line;
    while (std::getline(file, line)) {
      const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
      if (fields.size() < 5) continue;
      const auto number = [](const std::string& pair) {
        return std::strtoll(pair.substr(pair.find(':') + 1).c_str(), nullptr, 16);
      };
      if (number(fields[1]) == port) unread += number(fields[4]);
    }
  }
  return unread;
}

// A server that is reached over TCP, without a password.
absl::StatusOr<std::unique_ptr<testing::TempPostgres>> StartServer() {
  PGA_ASSIGN_OR_RETURN(auto server, testing::TempPostgres::Start({.tcp = true}));
  const std::string path = server->data_dir() + "/pg_hba.conf";
  PGA_ASSIGN_OR_RETURN(const std::string rules, testing::ReadFile(path));
  PGA_RETURN_IF_ERROR(testing::WriteFile(path, "host all all 127.0.0.1/32 trust\n" + rules));
  PGA_RETURN_IF_ERROR(server->Exec("postgres", "SELECT pg_reload_conf()").status());
  // The postmaster takes it in its own time.
  const auto taken = [&] {
    return pg::CopyConnection::Connect({.url = server->TcpUrl()}, clock::SteadyNow() + absl::Seconds(5)).ok();
  };
  if (!testing::WaitUntil(taken, absl::Seconds(30))) return absl::DeadlineExceededError("pg_hba.conf is not read");
  return server;
}

// Stopped as long as it lives.
class Paused {
 public:
  explicit Paused(testing::Subprocess& process) : process_(&process) { process.Signal(SIGSTOP); }
  explicit Paused(testing::TempPostgres& server) : server_(&server) { server.Pause(); }
  ~Paused() { Resume(); }
  Paused(const Paused&) = delete;
  Paused& operator=(const Paused&) = delete;
  void Resume() {
    if (process_ != nullptr) process_->Signal(SIGCONT);
    if (server_ != nullptr) server_->Resume();
    process_ = nullptr;
    server_ = nullptr;
  }

 private:
  testing::Subprocess* process_ = nullptr;
  testing::TempPostgres* server_ = nullptr;
};

// Clients that stop in the middle: of the request's head, of its body, and before the answer is read.
class StoppedClients {
 public:
  StoppedClients(int port, const std::string& token) {
    for (const std::string& bytes :
         {std::string("GET /api/v1/health HTTP/1.1\r\nHost: "),
          absl::StrCat("POST /api/v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ", token,
                       "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"),
          absl::StrCat("GET /api/v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ", token, "\r\n\r\n"),
          std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), std::string()}) {
      const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in target{};
      target.sin_family = AF_INET;
      target.sin_port = htons(static_cast<uint16_t>(port));
      target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&target), sizeof target), 0);
      (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      fds_.push_back(fd);
    }
  }
  ~StoppedClients() {
    for (const int fd : fds_) close(fd);
  }

 private:
  std::vector<int> fds_;
};

struct Call {
  std::string name, method, path, body;
};

const std::vector<Call>& Calls() {
  static const auto* const calls = new std::vector<Call>{
      {"auth: users", "GET", "/api/v1/users", ""},
      {"auth: sign-in", "POST", "/api/v1/auth/login", R"({"username":"admin","password":"integration-Password-1"})"},
      {"registry: collectors", "GET", "/api/v1/collectors", ""},
      {"registry: sources", "GET", "/api/v1/sources", ""},
      {"registry, auth: enrolment", "POST", "/api/v1/collectors/register", R"({"name":"paused","hostname":"paused"})"},
      {"query: top", "GET", "/api/v1/queries/top?hours=1", ""},
      {"query: count", "GET", "/api/v1/metrics/count", ""},
      {"ingest: push", "POST", "/api/v1/metrics/push",
       R"({"collector_id":"col_001","metrics":[{"type":"pg_stats","database":"postgres","tables":[]}]})"},
      {"compactor: storage", "GET", "/api/v1/storage", ""},
      {"ruler: alerts", "GET", "/api/v1/alerts", ""},
      {"health", "GET", "/api/v1/health", ""}};
  return *calls;
}

// Every call; each ends within the request's time.
void CallEverything(const Suite& suite, const std::string& token, const std::string& stopped) {
  const absl::Duration deadline = RequestTimeout() + kSlack;
  std::vector<std::thread> callers;
  std::vector<absl::Duration> took(Calls().size());
  std::vector<std::string> outcomes(Calls().size());
  const auto ask = [&](size_t i) {
    const Call& call = Calls()[i];
    HttpRequest request{.method = call.method, .path = call.path, .body = call.body, .limit = deadline * 4};
    request.headers = {{"Authorization", "Bearer " + token}, {"Content-Type", "application/json"}};
    if (call.name.find("enrolment") != std::string::npos) {
      request.headers.emplace_back("X-Registration-Secret", Suite::kRegistrationSecret);
    }
    const clock::SteadyTime begun = clock::SteadyNow();
    const auto answer = suite.Send(request);
    took[i] = clock::SteadyNow() - begun;
    outcomes[i] = Outcome(answer);
    EXPECT_THAT(answer.status(), status::IsOk()) << call.name << " while " << stopped << " is stopped";
    if (answer.ok()) {
      EXPECT_NE(answer->status, 400) << call.name << " is not what the service takes: " << answer->body;
    }
  };
  // Of one caller's calls only six run at once.
  for (size_t first = 0; first < Calls().size(); first += 5) {
    callers.clear();
    for (size_t i = first; i < std::min(first + 5, Calls().size()); ++i) callers.emplace_back(ask, i);
    for (std::thread& caller : callers) caller.join();
  }
  for (size_t i = 0; i < Calls().size(); ++i) {
    Row(stopped, Calls()[i].name, deadline, took[i], outcomes[i]);
    EXPECT_LE(took[i], deadline) << Calls()[i].name << " while " << stopped << " is stopped";
  }
}

// SIGTERM to all but the stopped one, which listens on `port`, while calls to it are under way and clients hang.
void EndEverything(Suite& suite, const std::string& token, const std::string& stopped, int port) {
  const int64_t unread = UnreadAt(port);
  const StoppedClients clients(suite.port(), token);
  std::vector<std::thread> callers;
  for (size_t i = 0; i < Calls().size(); ++i) {
    callers.emplace_back([&, i] {
      HttpRequest request{.method = Calls()[i].method, .path = Calls()[i].path, .body = Calls()[i].body};
      request.headers = {{"Authorization", "Bearer " + token}, {"Content-Type", "application/json"}};
      (void)suite.Send(request);
    });
  }
  EXPECT_TRUE(testing::WaitUntil([&] { return UnreadAt(port) > unread; })) << "nobody calls " << stopped;
  const clock::SteadyTime begun = clock::SteadyNow();
  std::map<std::string, std::thread> ends;
  for (const std::string& name : suite.names()) {
    if (name == stopped) continue;
    suite.process(name).Signal(SIGTERM);
    ends[name] = std::thread([&suite, name, begun, stopped] {
      const auto code = suite.process(name).Wait(begun + absl::Seconds(60));
      const absl::Duration took = clock::SteadyNow() - begun;
      Row(stopped, absl::StrCat("SIGTERM of ", name), kUnitStop, took,
          code.ok() ? absl::StrCat("exit ", *code) : "runs");
      EXPECT_THAT(code, status::IsOkAndHolds(0)) << name;
      EXPECT_LE(took, kUnitStop) << name << " while " << stopped << " is stopped";
    });
  }
  for (auto& [name, thread] : ends) thread.join();
  for (std::thread& caller : callers) caller.join();
}

class PausedService : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, PausedService,
                         ::testing::Values("auth", "registry", "ingest", "query", "compactor", "ruler", "postgres"),
                         [](const auto& test) { return test.param; });

TEST_P(PausedService, EveryWaitEndsAndSoDoesEveryProcess) {
  auto server = StartServer();
  ASSERT_THAT(server.status(), status::IsOk());
  Suite suite({.form = Form::kApart,
               .env = {{"REQUEST_TIMEOUT", absl::StrCat(absl::ToInt64Seconds(RequestTimeout()))}},
               .postgres = server->get()});
  const std::string token = suite.AdminToken();
  std::unique_ptr<Paused> paused = GetParam() == "postgres" ? std::make_unique<Paused>(**server)
                                                            : std::make_unique<Paused>(suite.process(GetParam()));
  CallEverything(suite, token, GetParam());
  int port = (*server)->tcp_port();
  if (GetParam() != "postgres") {
    const std::string address = suite.GrpcAddress(GetParam());
    ASSERT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port)) << address;
  }
  EndEverything(suite, token, GetParam(), port);
  if (HasFailure()) std::fprintf(stderr, "%s\n", suite.Outputs().c_str());
}

// The whole in one process, as the unit runs it.
TEST(PausedPostgres, TheUnitAnswersAndEnds) {
  auto server = StartServer();
  ASSERT_THAT(server.status(), status::IsOk());
  Suite suite(
      {.env = {{"REQUEST_TIMEOUT", absl::StrCat(absl::ToInt64Seconds(RequestTimeout()))}}, .postgres = server->get()});
  const std::string token = suite.AdminToken();
  Paused paused(**server);
  CallEverything(suite, token, "postgres");
  EndEverything(suite, token, "postgres", (*server)->tcp_port());
  if (HasFailure()) std::fprintf(stderr, "%s\n", suite.Outputs().c_str());
}

// A service that waits for its database at its start ends when it is asked to.
TEST(PausedPostgres, AStartEnds) {
  auto server = StartServer();
  ASSERT_THAT(server.status(), status::IsOk());
  Suite suite({.form = Form::kApart, .postgres = server->get()});
  suite.process("auth").Signal(SIGTERM);
  ASSERT_THAT(suite.process("auth").Wait(clock::SteadyNow() + absl::Seconds(60)), status::IsOkAndHolds(0));
  Paused paused(**server);
  const int64_t unread = UnreadAt((*server)->tcp_port());
  suite.StartAgain("auth");
  ASSERT_TRUE(testing::WaitUntil([&] { return UnreadAt((*server)->tcp_port()) > unread; }));
  const clock::SteadyTime begun = clock::SteadyNow();
  suite.process("auth").Signal(SIGTERM);
  const auto code = suite.process("auth").Wait(begun + absl::Seconds(120));
  const absl::Duration took = clock::SteadyNow() - begun;
  Row("postgres", "SIGTERM of auth at its start", kSlack, took, code.ok() ? absl::StrCat("exit ", *code) : "runs");
  EXPECT_THAT(code.status(), status::IsOk());
  EXPECT_LE(took, kSlack) << suite.Outputs();
}

// A collector, by whatever it waits for: the server that it watches, and the backend.
class PausedPeer : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(OfCollector, PausedPeer, ::testing::Values("watched", "backend"),
                         [](const auto& test) { return test.param; });

TEST_P(PausedPeer, DoesNotHoldTheCollectorUp) {
  auto watched = StartServer();
  ASSERT_THAT(watched.status(), status::IsOk());
  Suite suite({});
  testing::ScopedTempDir dir;
  auto collector = testing::Subprocess::Start({.argv = {testing::Program("pganalytics-collector")},
                                               .env = {{"COLLECTOR_ID", "paused"},
                                                       {"STATE_DIR", dir / "state"},
                                                       {"BACKEND_URL", absl::StrCat("http://localhost:", suite.port())},
                                                       {"REGISTRATION_SECRET", Suite::kRegistrationSecret},
                                                       {"POSTGRES_HOST", "127.0.0.1"},
                                                       {"POSTGRES_PORT", absl::StrCat((*watched)->tcp_port())},
                                                       {"COLLECTION_INTERVAL", "1"},
                                                       {"METRICS_LISTEN", "off"}},
                                               .output_path = dir / "log"});
  ASSERT_THAT(collector.status(), status::IsOk());
  ASSERT_THAT((*collector)->WaitForOutput("stream to the backend is open", clock::SteadyNow() + absl::Seconds(40)),
              status::IsOk());
  std::unique_ptr<Paused> paused = GetParam() == "watched" ? std::make_unique<Paused>(**watched)
                                                           : std::make_unique<Paused>(suite.process("pganalytics-api"));
  const int port = GetParam() == "watched" ? (*watched)->tcp_port() : suite.port();
  ASSERT_TRUE(testing::WaitUntil([&] { return UnreadAt(port) > 0; }, absl::Seconds(30))) << "nothing is under way";
  const clock::SteadyTime begun = clock::SteadyNow();
  (*collector)->Signal(SIGTERM);
  const auto code = (*collector)->Wait(begun + absl::Seconds(60));
  const absl::Duration took = clock::SteadyNow() - begun;
  Row(GetParam(), "SIGTERM of collector", kUnitStop, took, code.ok() ? absl::StrCat("exit ", *code) : "runs");
  EXPECT_THAT(code, status::IsOkAndHolds(0)) << (*collector)->Output();
  EXPECT_LE(took, kUnitStop);
}

// ---- Names that nobody answers for: the system's resolver asks a server that is silent

class SilentResolver : public ::testing::Test {
 protected:
  static constexpr char kServer[] = "127.77.0.53";
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root for a file system of its own";
    socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(53);
    inet_pton(AF_INET, kServer, &address.sin_addr);
    ASSERT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_THAT(
        testing::WriteFile(dir_ / "resolv.conf", absl::StrCat("nameserver ", kServer, "\nsearch a.test b.test\n")),
        status::IsOk());
  }
  void TearDown() override {
    if (socket_ >= 0) close(socket_);
  }
  // The command with a resolver of its own.
  std::vector<std::string> With(std::vector<std::string> argv) {
    std::vector<std::string> out = {
        "unshare",           "--mount", "/bin/sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"",
        dir_ / "resolv.conf"};
    out.insert(out.end(), argv.begin(), argv.end());
    return out;
  }
  // Whether somebody has asked for the name.
  bool Asked(const std::string& name) {
    char buffer[512];
    for (ssize_t size = 0; (size = recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT)) > 0;) {
      // The labels of the question, each after its length, behind a head of 12 bytes.
      std::string asked;
      for (ssize_t at = 12; at < size && buffer[at] != 0; at += 1 + buffer[at]) {
        const auto length = static_cast<size_t>(std::min<ssize_t>(buffer[at], size - at - 1));
        absl::StrAppend(&asked, asked.empty() ? "" : ".", std::string(buffer + at + 1, length));
      }
      asked_.insert(asked);
    }
    return asked_.contains(name);
  }
  testing::ScopedTempDir dir_;
  int socket_ = -1;
  std::set<std::string> asked_;
};

TEST_F(SilentResolver, TheStartOfTheUnitEndsInTime) {
  auto api = testing::Subprocess::Start({.argv = With({testing::Program("pganalytics-api")}),
                                         .env = {{"DATABASE_URL", "postgresql://u:p@db.silent.test/pganalytics"},
                                                 {"TIMESCALE_URL", "postgresql://u:p@db.silent.test/metrics"},
                                                 {"JWT_SECRET", "Zk7w0QmXvT4bR9sLhJ2dYc8gNfPaEu3i"},
                                                 {"REGISTRATION_SECRET", Suite::kRegistrationSecret},
                                                 {"STATE_DIR", dir_ / "state"},
                                                 {"PORT", "0"},
                                                 {"STARTUP_TIMEOUT", "3"}},
                                         .output_path = dir_ / "log"});
  ASSERT_THAT(api.status(), status::IsOk());
  const clock::SteadyTime begun = clock::SteadyNow();
  const auto code = (*api)->Wait(begun + absl::Seconds(120));
  const absl::Duration took = clock::SteadyNow() - begun;
  Row("resolver", "start of pganalytics-api", absl::Seconds(3) + kUnitStop, took,
      code.ok() ? absl::StrCat("exit ", *code) : "runs");
  EXPECT_TRUE(Asked("db.silent.test")) << (*api)->Output();
  EXPECT_THAT(code, status::IsOkAndHolds(1)) << (*api)->Output();
  EXPECT_LE(took, absl::Seconds(3) + kUnitStop) << (*api)->Output();
}

TEST_F(SilentResolver, TheCollectorEnds) {
  auto collector = testing::Subprocess::Start({.argv = With({testing::Program("pganalytics-collector")}),
                                               .env = {{"COLLECTOR_ID", "paused"},
                                                       {"STATE_DIR", dir_ / "state"},
                                                       {"BACKEND_URL", "http://backend.silent.test:8080"},
                                                       {"BACKEND_ALLOW_PLAINTEXT", "true"},
                                                       {"REGISTRATION_SECRET", Suite::kRegistrationSecret},
                                                       {"POSTGRES_HOST", "db.silent.test"},
                                                       {"COLLECTION_INTERVAL", "1"},
                                                       {"METRICS_LISTEN", "off"}},
                                               .output_path = dir_ / "log"});
  ASSERT_THAT(collector.status(), status::IsOk());
  for (const char* name : {"backend.silent.test", "db.silent.test"}) {
    ASSERT_TRUE(testing::WaitUntil([&] { return Asked(name); }, absl::Seconds(30))) << name << (*collector)->Output();
  }
  const clock::SteadyTime begun = clock::SteadyNow();
  (*collector)->Signal(SIGTERM);
  const auto code = (*collector)->Wait(begun + absl::Seconds(120));
  const absl::Duration took = clock::SteadyNow() - begun;
  Row("resolver", "SIGTERM of collector", kUnitStop, took, code.ok() ? absl::StrCat("exit ", *code) : "runs");
  EXPECT_THAT(code, status::IsOkAndHolds(0)) << (*collector)->Output();
  EXPECT_LE(took, kUnitStop) << (*collector)->Output();
}

}  // namespace
}  // namespace pga::integration
