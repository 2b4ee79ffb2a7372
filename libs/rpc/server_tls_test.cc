// TLS, and connections that somebody else accepted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/rpc/certificates_testing.h"
#include "libs/rpc/client.h"
#include "libs/rpc/node_testing.h"
#include "libs/rpc/unary.h"
#include "libs/status/testing.h"
#include "libs/testing/loopback_listener.h"
#include "libs/testing/wait_until.h"

namespace pga::rpc {
namespace {

using status::IsOk;
using status::StatusIs;
using token::Principal;

TEST_F(Tls, ClientCertificateIsIdentityAndIsNotRequired) {
  NodeOptions options;
  options.tls = server_tls_;
  Node node(&world_, options);
  // Without a certificate: open methods work, others need a token.
  const auto bare = node.Channel(true, plain_client_);
  EXPECT_THAT(GetVersion(bare, Within(kLimit)).status(), IsOk());
  EXPECT_THAT(WhoAmI(bare, Within(kLimit)).status(), StatusIs(absl::StatusCode::kUnauthenticated));
  const std::string token = world_.Token(Principal::kCollector, "db-1");
  EXPECT_THAT(WhoAmI(bare, Within(kLimit, token)), status::IsOkAndHolds(std::string("collector:db-1||token")));
  // With one.
  const auto mutual = node.Channel(true, ClientWith(collector_ca_.Collector("db-1")));
  EXPECT_THAT(WhoAmI(mutual, Within(kLimit)), status::IsOkAndHolds(std::string("collector:db-1|db-1|certificate")));
  EXPECT_THAT(WhoAmI(mutual, Within(kLimit, token)), status::IsOkAndHolds(std::string("collector:db-1|db-1|token")));
  EXPECT_THAT(WhoAmI(mutual, Within(kLimit, world_.Token(Principal::kCollector, "db-2"))).status(),
              StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(Tls, CertificatesThatDoNotVerifyEndTheHandshake) {
  NodeOptions options;
  options.tls = server_tls_;
  Node node(&world_, options);
  const TestCa foreign("foreign CA");
  TestCa::Request expired{.uris = {"pganalytics://collector/db-1"}};
  expired.not_before = clock::WallNow() - absl::Hours(2);
  expired.not_after = clock::WallNow() - absl::Hours(1);
  TestCa::Request future{.uris = {"pganalytics://collector/db-1"}};
  future.not_before = clock::WallNow() + absl::Hours(1);
  future.not_after = clock::WallNow() + absl::Hours(2);
  for (const TestCertificate& bad : {foreign.Collector("db-1"), server_ca_.Collector("db-1"),
                                     collector_ca_.Issue(expired), collector_ca_.Issue(future)}) {
    EXPECT_THAT(WhoAmI(node.Channel(true, ClientWith(bad)), Within(absl::Seconds(5))).status(),
                StatusIs(absl::StatusCode::kUnavailable));
  }
  // Verified, but with an odd name: connected, not identified.
  const auto odd = node.Channel(true, ClientWith(collector_ca_.Issue({.uris = {"pganalytics://service/auth"}})));
  EXPECT_THAT(WhoAmI(odd, Within(kLimit)).status(), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(GetVersion(odd, Within(kLimit)).status(), IsOk());
}

TEST_F(Tls, ClientsVerifyTheServer) {
  NodeOptions options;
  options.tls = server_tls_;
  Node node(&world_, options);
  TlsOptions wrong_ca = plain_client_;
  wrong_ca.ca_pem = TestCa("other").pem();
  EXPECT_THAT(GetVersion(node.Channel(true, wrong_ca), Within(absl::Seconds(5))).status(),
              StatusIs(absl::StatusCode::kUnavailable));
  TlsOptions wrong_name = plain_client_;
  wrong_name.server_name = "db.example.org";
  EXPECT_THAT(GetVersion(node.Channel(true, wrong_name), Within(absl::Seconds(5))).status(),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(GetVersion(node.Channel(true), Within(absl::Seconds(5))).status(),
              StatusIs(absl::StatusCode::kUnavailable))
      << "no plain text on a TLS port";
  TlsOptions trusting = wrong_ca;
  trusting.verify_server = false;
  EXPECT_THAT(GetVersion(node.Channel(true, trusting), Within(kLimit)).status(), IsOk());
}

TEST_F(Tls, RenewedFilesComeIntoUse) {
  const std::string dir = ::testing::TempDir() + "/pga_tls_" + std::to_string(getpid());
  std::filesystem::create_directories(dir);
  const auto write = [&dir](const TestCertificate& certificate, const std::string& ca) {
    // Key and certificate change together: the folder is exchanged as one.
    const std::string next = dir + "/next";
    std::filesystem::create_directories(next);
    std::ofstream(next + "/cert.pem") << certificate.cert_pem;
    std::ofstream(next + "/key.pem") << certificate.key_pem;
    std::ofstream(next + "/ca.pem") << ca;
    std::filesystem::remove_all(dir + "/old");
    if (std::filesystem::exists(dir + "/now")) std::filesystem::rename(dir + "/now", dir + "/old");
    std::filesystem::rename(next, dir + "/now");
  };
  write(server_ca_.Server(), collector_ca_.pem());
  NodeOptions options;
  options.tls.enabled = true;
  options.tls.cert_path = dir + "/now/cert.pem";
  options.tls.key_path = dir + "/now/key.pem";
  options.tls.ca_path = dir + "/now/ca.pem";
  options.tls.reload_interval = absl::Seconds(1);
  Node node(&world_, options);
  EXPECT_THAT(GetVersion(node.Channel(true, plain_client_), Within(kLimit)).status(), IsOk());

  const TestCa new_server_ca("new server CA"), new_collector_ca("new collector CA");
  write(new_server_ca.Server(), new_collector_ca.pem());
  const TestCertificate collector = new_collector_ca.Collector("db-1");
  TlsOptions new_client;
  new_client.enabled = true;
  new_client.ca_pem = new_server_ca.pem();
  new_client.cert_pem = collector.cert_pem;
  new_client.key_pem = collector.key_pem;
  EXPECT_TRUE(pga::testing::WaitUntil(
      [&] { return WhoAmI(node.Channel(true, new_client), Within(absl::Seconds(2))).ok(); }, kLimit));
  std::filesystem::remove_all(dir);
}

TEST_F(Tls, CaAsTextGoesWithCertificateFiles) {
  const std::string dir = ::testing::TempDir() + "/pga_tls_mixed_" + std::to_string(getpid());
  std::filesystem::create_directories(dir);
  std::ofstream(dir + "/cert.pem") << server_tls_.cert_pem;
  std::ofstream(dir + "/key.pem") << server_tls_.key_pem;
  NodeOptions options;
  options.tls.enabled = true;
  options.tls.cert_path = dir + "/cert.pem";
  options.tls.key_path = dir + "/key.pem";
  options.tls.ca_pem = collector_ca_.pem();
  Node node(&world_, options);
  EXPECT_THAT(WhoAmI(node.Channel(true, ClientWith(collector_ca_.Collector("db-1"))), Within(kLimit)),
              status::IsOkAndHolds(std::string("collector:db-1|db-1|certificate")));
  EXPECT_THAT(
      WhoAmI(node.Channel(true, ClientWith(TestCa("foreign").Collector("db-1"))), Within(absl::Seconds(5))).status(),
      StatusIs(absl::StatusCode::kUnavailable));
  std::filesystem::remove_all(dir);
}

// Peers on the first address, collectors over TLS on the second.
TEST_F(Tls, CallersFromOutsideHaveAnAddressOfTheirOwn) {
  Node node(&world_, {.outside_tls = server_tls_});
  const std::string outside = "127.0.0.1:" + std::to_string(node.server->ports().at(1));
  const std::string token = world_.Token(Principal::kCollector, "db-1");
  EXPECT_THAT(WhoAmI(*Connect(node.address(), {}), Within(kLimit, token)),
              status::IsOkAndHolds(std::string("collector:db-1||token")));
  EXPECT_THAT(WhoAmI(*Connect(outside, ClientWith(collector_ca_.Collector("db-1"))), Within(kLimit)),
              status::IsOkAndHolds(std::string("collector:db-1|db-1|certificate")));
  EXPECT_THAT(WhoAmI(*Connect(outside, {}), Within(absl::Seconds(5), token)).status(),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(Tls, OptionsThatDoNotFitAreRefused) {
  struct Case {
    const char* name;
    std::function<void(TlsOptions&)> change;
  };
  const TestCertificate other = server_ca_.Server();
  const Case cases[] = {
      {"no certificate", [](TlsOptions& t) { t.cert_pem.clear(); }},
      {"no key", [](TlsOptions& t) { t.key_pem.clear(); }},
      {"nothing",
       [](TlsOptions& t) {
         t = {};
         t.enabled = true;
       }},
      {"key of another certificate", [&other](TlsOptions& t) { t.key_pem = other.key_pem; }},
      {"certificate is no PEM", [](TlsOptions& t) { t.cert_pem = "hello"; }},
      {"key is no PEM", [](TlsOptions& t) { t.key_pem = "hello"; }},
      {"CA is no PEM", [](TlsOptions& t) { t.ca_pem = "hello"; }},
      {"CA as file and text", [](TlsOptions& t) { t.ca_path = "/nowhere/ca.pem"; }},
      {"certificate as file and text", [](TlsOptions& t) { t.cert_path = "/nowhere/cert.pem"; }},
      {"missing files",
       [](TlsOptions& t) {
         t = {};
         t.enabled = true;
         t.cert_path = "/nowhere/cert.pem";
         t.key_path = "/nowhere/key.pem";
       }},
  };
  for (const Case& test : cases) {
    TlsOptions tls = server_tls_;
    test.change(tls);
    EXPECT_THAT(ValidateServerTls(tls), StatusIs(absl::StatusCode::kInvalidArgument)) << test.name;
  }
  EXPECT_THAT(ValidateServerTls(server_tls_), IsOk());
  EXPECT_THAT(ValidateClientTls(plain_client_), IsOk());
  EXPECT_THAT(ValidateServerTls({}), IsOk());
}

// ---- Connections that somebody else accepted ----

// Accepts connections, reads up to `read_first` bytes of each, and hands them over.
class Door {
 public:
  Door(Server* server, size_t read_first) : server_(server), read_first_(read_first) {
    thread_ = std::thread([this] { Run(); });
  }
  ~Door() {
    stop_ = true;
    thread_.join();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(listener_.port()); }

 private:
  void Run() {
    while (!stop_) {
      pollfd waiting{.fd = listener_.fd(), .events = POLLIN, .revents = 0};
      if (poll(&waiting, 1, 20) <= 0) continue;
      const int fd = accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      std::string bytes(read_first_, '\0');
      size_t got = 0;
      while (got < read_first_) {
        pollfd data{.fd = fd, .events = POLLIN, .revents = 0};
        // What one flight of the client brings is all there is to wait for.
        if (poll(&data, 1, got == 0 ? 5000 : 50) <= 0) break;
        const ssize_t n = read(fd, bytes.data() + got, read_first_ - got);
        if (n <= 0) break;
        got += static_cast<size_t>(n);
      }
      bytes.resize(got);
      EXPECT_THAT(server_->AcceptConnection(fd, bytes), IsOk());
    }
  }
  Server* const server_;
  const size_t read_first_;
  pga::testing::LoopbackListener listener_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class HandedOver : public Tls, public ::testing::WithParamInterface<std::tuple<bool, size_t>> {};
INSTANTIATE_TEST_SUITE_P(All, HandedOver,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(0, 1, 5, 24, 100, 16384)),
                         [](const auto& param_info) {
                           return std::string(std::get<0>(param_info.param) ? "Tls" : "Plain") + "AfterBytes" +
                                  std::to_string(std::get<1>(param_info.param));
                         });

TEST_P(HandedOver, ConnectionIsServedLikeAnAcceptedOne) {
  const auto [tls, read_first] = GetParam();
  NodeOptions options;
  options.tcp = false;
  options.external = true;
  if (tls) options.tls = server_tls_;
  Node node(&world_, options);
  Door door(node.server.get(), read_first);
  for (int round = 0; round < 3; ++round) {
    const auto channel = *Connect(door.address(), tls ? ClientWith(collector_ca_.Collector("db-1")) : TlsOptions());
    std::string token = tls ? "" : world_.Token(Principal::kCollector, "db-1");
    EXPECT_THAT(WhoAmI(channel, Within(kLimit, token)),
                status::IsOkAndHolds(std::string(tls ? "collector:db-1|db-1|certificate" : "collector:db-1||token")));
    std::string peer;
    node.system.handler = [&peer](CallContext& call, const auto&, auto&) {
      peer = call.peer;
      return absl::OkStatus();
    };
    EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), IsOk());
    EXPECT_THAT(peer, ::testing::StartsWith("127.0.0.1:"));
  }
}

TEST(HandedOverConnections, NeedTheOptionAndALivingServer) {
  World world;
  NodeOptions options;
  options.external = true;
  Node with(&world, options), without(&world);
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  EXPECT_THAT(without.server->AcceptConnection(pair[0], ""), StatusIs(absl::StatusCode::kFailedPrecondition));
  char byte;
  EXPECT_EQ(read(pair[1], &byte, 1), 0) << "the socket was closed";
  close(pair[1]);
  with.server->Drain(clock::SteadyNow());
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  EXPECT_THAT(with.server->AcceptConnection(pair[0], ""), StatusIs(absl::StatusCode::kFailedPrecondition));
  close(pair[1]);
}

}  // namespace
}  // namespace pga::rpc
