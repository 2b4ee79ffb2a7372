// What callers may take of the gateway's connections and memory, and how they are refused.
#include <poll.h>

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/clock/steady.h"
#include "libs/rpc/certificates_testing.h"
#include "libs/rpc/tls_client_testing.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "services/gateway/gateway_testing.h"

namespace pga::gateway {
namespace {

using ::testing::HasSubstr;

TEST(Bodies, AnnouncedOnesTakeNoRoom) {
  GatewayUnderTest::Options options = Unlimited();
  // Two of them would fill it.
  options.config.max_buffered_bytes = 20 << 20;
  GatewayUnderTest gateway(options);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 30; ++i) {
    clients.push_back(std::make_unique<RawClient>(gateway.port()));
    clients.back()->Send((i % 2 == 0 ? "GET /api/v1/health" : "POST /api/v1/metrics/push") +
                         std::string(" HTTP/1.1\r\nHost: a\r\n") + Bearer(gateway.UserToken("user", i + 1)) +
                         "\r\nContent-Length: 9586980\r\n\r\n");
  }
  EXPECT_EQ(clients[0]->Read().code, 413) << "a method without a body does not even wait for one";
  EXPECT_EQ(Fetch(gateway.port(), "POST", "/api/v1/metrics/push", std::string(1 << 20, 'x'),
                  {Bearer(gateway.UserToken("user", 99))})
                .code,
            200);
}

TEST(Bodies, StrangersSendSmallOnes) {
  GatewayUnderTest gateway(Unlimited());
  EXPECT_EQ(Fetch(gateway.port(), "POST", "/api/v1/auth/login", std::string(70'000, ' ')).code, 413);
  EXPECT_NE(Fetch(gateway.port(), "POST", "/api/v1/auth/login", std::string(60'000, ' ')).code, 413);
}

TEST(Bodies, RefusalIsHeardByAClientThatSendsAllFirst) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.max_buffered_bytes = 1 << 20;
  GatewayUnderTest gateway(options);
  const HttpReply reply = Fetch(gateway.port(), "POST", "/api/v1/metrics/push", std::string(8 << 20, 'x'),
                                {Bearer(gateway.UserToken("user"))});
  EXPECT_EQ(reply.code, 503);
  EXPECT_THAT(reply.body, HasSubstr("OVERLOADED"));
  EXPECT_EQ(reply.Header("retry-after"), "1");
}

TEST(Bodies, OneCallerLeavesRoomForOthers) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.max_body_bytes = 64 << 10;
  options.config.max_buffered_bytes = 1 << 20;
  options.config.request_timeout = absl::Seconds(60);
  GatewayUnderTest gateway(options);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 40; ++i) {
    clients.push_back(std::make_unique<RawClient>(gateway.port()));
    clients.back()->Send("POST /api/v1/metrics/push HTTP/1.1\r\nHost: a\r\n" + Bearer(gateway.UserToken("user", 1)) +
                         "\r\nContent-Length: 60000\r\n\r\n" + std::string(59'000, 'x'));
  }
  // Which ones find memory is a matter of their arrival. Those wait for the rest of their bodies.
  std::vector<pollfd> answered;
  for (const auto& client : clients) answered.push_back({.fd = client->fd(), .events = POLLIN, .revents = 0});
  ASSERT_GT(poll(answered.data(), answered.size(), 60'000), 0);
  for (size_t i = 0; i < clients.size(); ++i) {
    if (answered[i].revents != 0) {
      EXPECT_EQ(clients[i]->Read().code, 503) << "beyond the caller's half";
    }
  }
  EXPECT_EQ(Fetch(gateway.port(), "POST", "/api/v1/metrics/push", std::string(60'000, 'x'),
                  {Bearer(gateway.UserToken("user", 2))})
                .code,
            200);
}

TEST(Connections, SilentOnesGiveWay) {
  GatewayUnderTest gateway(Unlimited());
  std::vector<std::unique_ptr<RawClient>> silent;
  for (int i = 0; i < 300; ++i) silent.push_back(std::make_unique<RawClient>(gateway.port()));
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/health").code, 200);
  EXPECT_TRUE(silent.front()->Closed());
  EXPECT_THAT(gateway.metrics.Render(), HasSubstr("pganalytics_connections_total{kind=\"refused\"} 45"));
}

// Who has sent its part of the handshake and nothing more.
TEST(Connections, ThoseThatBeginTlsGiveWay) {
  const rpc::TestCa ca;
  const testing::ScopedTempDir dir;
  const rpc::TestCertificate certificate = ca.Server();
  GatewayUnderTest::Options options = Unlimited();
  options.config.tls_enabled = true;
  options.config.tls_cert_path = dir / "cert.pem";
  options.config.tls_key_path = dir / "key.pem";
  ASSERT_TRUE(testing::WriteFile(options.config.tls_cert_path, certificate.cert_pem).ok());
  ASSERT_TRUE(testing::WriteFile(options.config.tls_key_path, certificate.key_pem).ok());
  GatewayUnderTest gateway(options);
  const std::string hello = rpc::TlsClient::Hello();
  const clock::SteadyTime begun = clock::SteadyNow();
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 300; ++i) {
    clients.push_back(std::make_unique<RawClient>(gateway.port()));
    clients.back()->Send(hello);
    // The server is in the middle of it.
    if (i == 0) {
      EXPECT_EQ(clients.back()->Drink(100), 100u);
    }
  }
  clients.front()->ReadAll();
  EXPECT_LT(clock::SteadyNow() - begun, absl::Seconds(8)) << "it was closed at the end of its time only";
  rpc::TlsClient other(gateway.port(), ca.pem(), "http/1.1");
  EXPECT_TRUE(other.connected());
}

TEST(Connections, OneTokenDoesNotTakeThemAll) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.max_connections = 16;
  GatewayUnderTest gateway(options);
  const auto ask = [&](RawClient& client, int user) {
    client.Send(MakeRequest("GET", "/api/v1/health", "", {Bearer(gateway.UserToken("viewer", user))}));
    return client.Read().code;
  };
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 16; ++i) {
    clients.push_back(std::make_unique<RawClient>(gateway.port()));
    EXPECT_EQ(ask(*clients.back(), 1), 200);
  }
  RawClient other(gateway.port());
  EXPECT_EQ(ask(other, 2), 200);
  EXPECT_TRUE(clients[2]->Closed()) << "two of the caller stay";
  EXPECT_EQ(ask(*clients[0], 1), 200);
}

TEST(Connections, KnownOnesStayAndAreLimited) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.max_connections_per_address = 2;
  GatewayUnderTest gateway(options);
  const std::string request = MakeRequest("GET", "/api/v1/health", "", {Bearer(gateway.UserToken("viewer"))});
  RawClient first(gateway.port());
  first.Send(request);
  EXPECT_EQ(first.Read().code, 200);
  auto second = std::make_unique<RawClient>(gateway.port());
  second->Send(request);
  EXPECT_EQ(second->Read().code, 200);
  RawClient third(gateway.port());
  EXPECT_TRUE(third.Closed());
  first.Send(request);
  EXPECT_EQ(first.Read().code, 200);
  second.reset();
  EXPECT_TRUE(testing::WaitUntil([&] { return Fetch(gateway.port(), "GET", "/api/v1/health").code == 200; },
                                 absl::Seconds(30)));
}

TEST(Connections, BehindATrustedProxyAreNotOneClient) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.max_connections_per_address = 1;
  options.config.trusted_proxies = {"127.0.0.1"};
  GatewayUnderTest gateway(options);
  const std::string request = MakeRequest("GET", "/api/v1/health", "", {Bearer(gateway.UserToken("viewer"))});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(std::make_unique<RawClient>(gateway.port()));
    clients.back()->Send(request);
    EXPECT_EQ(clients.back()->Read().code, 200);
  }
}

TEST(Calls, OfOneCallerWaitForEachOther) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.max_calls_per_caller = 2;
  GatewayUnderTest gateway(options);
  Observed& observed = gateway.stand_ins.observed;
  observed.hang = true;
  const auto ask = [&](int user) {
    auto client = std::make_unique<RawClient>(gateway.port());
    client->Send(MakeRequest("GET", "/api/v1/metrics", "", {Bearer(gateway.UserToken("viewer", user))}));
    return client;
  };
  std::vector<std::unique_ptr<RawClient>> mine;
  // The first two have the places before the others ask.
  for (int i = 0; i < 2; ++i) mine.push_back(ask(1));
  ASSERT_TRUE(testing::WaitUntil([&] { return observed.calls == 2; }, absl::Seconds(30)));
  for (int i = 0; i < 3; ++i) mine.push_back(ask(1));
  const auto other = ask(2);
  ASSERT_TRUE(testing::WaitUntil([&] { return observed.calls == 3; }, absl::Seconds(30)));
  // A call that its client gives up leaves its place to the next.
  mine[0]->Close();
  EXPECT_TRUE(testing::WaitUntil([&] { return observed.calls >= 4; }, absl::Seconds(30)));
}

}  // namespace
}  // namespace pga::gateway
