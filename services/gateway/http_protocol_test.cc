// The gateway as an HTTP/1.1 server: message boundaries, pipelining, limits, hang-ups, drain.

#include <sys/socket.h>

#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/clock/steady.h"
#include "libs/testing/subprocess.h"
#include "services/gateway/gateway_testing.h"

namespace pga::gateway {
namespace {

using ::testing::HasSubstr;

GatewayUnderTest& Shared() {
  static auto* const kGateway = new GatewayUnderTest(Unlimited());
  return *kGateway;
}

// What follows the request in the same packet must never be taken for a request of its own.
const char kSmuggled[] = "GET /api/v1/metrics/count HTTP/1.1\r\nHost: smuggled\r\n\r\n";
const char kPost[] = "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\n";

struct Vector {
  std::string name;
  std::string bytes;
  int code;
};

class Smuggling : public ::testing::TestWithParam<Vector> {};

TEST_P(Smuggling, IsRefusedAndTheConnectionCloses) {
  const int before = Shared().stand_ins.observed.calls;
  RawClient client(Shared().port());
  client.Send(GetParam().bytes + kSmuggled);
  const HttpReply reply = client.Read();
  EXPECT_EQ(reply.code, GetParam().code) << reply.body;
  EXPECT_EQ(reply.Header("connection"), "close");
  EXPECT_TRUE(client.Closed());
  EXPECT_EQ(Shared().stand_ins.observed.calls, before);
}

INSTANTIATE_TEST_SUITE_P(
    Vectors, Smuggling,
    ::testing::Values(
        Vector{"LengthAndChunked",
               std::string(kPost) + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        Vector{"ChunkedAndLength",
               std::string(kPost) + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
        Vector{"TwoLengths", std::string(kPost) + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345", 400},
        Vector{"LengthList", std::string(kPost) + "Content-Length: 5, 5\r\n\r\n12345", 400},
        Vector{"LengthPlus", std::string(kPost) + "Content-Length: +5\r\n\r\n12345", 400},
        Vector{"ChunkedTwice", std::string(kPost) + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
        Vector{"ChunkedIdentity", std::string(kPost) + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400},
        Vector{"ChunkedTab", std::string(kPost) + "Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
               400},
        Vector{"BlankBeforeColon", std::string(kPost) + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
        Vector{"Folded", std::string(kPost) + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
        Vector{"BareLf", "POST /api/v1/auth/login HTTP/1.1\nHost: a\n\n", 400},
        Vector{"BareLfHeader", std::string(kPost) + "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        Vector{"BareCr", std::string(kPost) + "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        Vector{"NulInHeader", std::string(kPost) + std::string("X: y\0z\r\n\r\n", 10), 400},
        Vector{"NoHost", "GET /api/v1/health HTTP/1.1\r\n\r\n", 400},
        Vector{"TwoHosts", "GET /api/v1/health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        Vector{"AbsoluteForm", "GET http://evil/api/v1/health HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Vector{"Http2Version", "GET /api/v1/health HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        Vector{"Http09", "GET /api/v1/health\r\n\r\n", 400},
        Vector{"LeadingBlankLine", "\r\nGET /api/v1/health HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Vector{"ChunkSizePlus", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n+5\r\n12345\r\n0\r\n\r\n", 400},
        Vector{"ChunkSizeHexPrefix", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n0x5\r\n12345\r\n0\r\n\r\n",
               400},
        Vector{"ChunkSizeNegative", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n-5\r\n12345\r\n0\r\n\r\n",
               400},
        Vector{"ChunkSizeEmpty", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n\r\n12345\r\n0\r\n\r\n", 400},
        Vector{"ChunkSizeBlank", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n 5\r\n12345\r\n0\r\n\r\n",
               400},
        Vector{"ChunkSizeHuge", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n1", 400},
        Vector{"ChunkSizeWraps", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n1", 413},
        Vector{"ChunkLineLf", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n5\n12345\r\n0\r\n\r\n", 400},
        Vector{"ChunkExtensionLf",
               std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n5;a=\nb\r\n12345\r\n0\r\n\r\n", 400},
        Vector{"ChunkTooLong", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n5\r\n123456\r\n0\r\n\r\n", 400},
        Vector{"ChunkTooShort", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n5\r\n1234\r\n0\r\n\r\n", 400},
        Vector{"ChunkTrailerLength",
               std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400},
        Vector{"ChunkTrailerFolded", std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\n b\r\n\r\n",
               400},
        Vector{"UnreadBodyOfARefusal", "POST /api/v1/metrics/push HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n",
               401},
        Vector{"UnreadChunksOfARefusal",
               "POST /api/v1/metrics/push HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 401}),
    [](const auto& test) { return test.param.name; });

TEST(HttpProtocol, PipelinedRequestsAreAnsweredInOrder) {
  RawClient client(Shared().port());
  const std::string login = R"({"username":"ann","password":"secret"})";
  client.Send(MakeRequest("GET", "/api/v1/health", "", {"X-Request-Id: p1"}) +
              MakeRequest("POST", "/api/v1/auth/login", login, {"X-Request-Id: p2"}) +
              MakeRequest("GET", "/api/v1/nothing", "", {"X-Request-Id: p3"}) +
              MakeRequest("GET", "/api/v1/health", "", {"X-Request-Id: p4", "Connection: close"}));
  const int codes[] = {200, 200, 404, 200};
  for (int i = 0; i < 4; ++i) {
    const HttpReply reply = client.Read();
    EXPECT_EQ(reply.code, codes[i]);
    EXPECT_EQ(reply.Header("x-request-id"), "p" + std::to_string(i + 1));
  }
  EXPECT_TRUE(client.Closed());
}

TEST(HttpProtocol, RequestsMayArriveByteByByte) {
  RawClient client(Shared().port());
  const std::string request =
      "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5;x=y\r\n{\"use\r\n21\r\nrname\":\"ann\",\"password\":\"secret\"}\r\n0\r\nX-Trailer: 1\r\n\r\n";
  for (const char c : request) client.Send(std::string_view(&c, 1));
  const HttpReply reply = client.Read();
  EXPECT_EQ(reply.code, 200) << reply.body;
  EXPECT_THAT(reply.body, HasSubstr("\"username\":\"ann\""));
  client.Send(MakeRequest("GET", "/api/v1/health"));
  EXPECT_EQ(client.Read().code, 200);
}

TEST(HttpProtocol, ContinueIsSaidOnlyToWelcomeBodies) {
  const std::string body = R"({"username":"ann","password":"secret"})";
  const std::string length = "Content-Length: " + std::to_string(body.size());
  RawClient welcome(Shared().port());
  welcome.Send("POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + length + "\r\n\r\n");
  EXPECT_EQ(welcome.Read().code, 100);
  welcome.Send(body);
  EXPECT_EQ(welcome.Read().code, 200);

  RawClient refused(Shared().port());
  refused.Send("POST /api/v1/metrics/push HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + length + "\r\n\r\n");
  EXPECT_EQ(refused.Read().code, 401);
  RawClient large(Shared().port());
  large.Send("POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n");
  EXPECT_EQ(large.Read().code, 413);
}

TEST(HttpProtocol, SizesAreLimited) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.max_body_bytes = 100000;
  GatewayUnderTest gateway(options);
  const std::string user = Bearer(gateway.UserToken("user"));
  EXPECT_EQ(Fetch(gateway.port(), "POST", "/api/v1/metrics/push", std::string(100000, 'x'), {user}).code, 200);
  const HttpReply large = Fetch(gateway.port(), "POST", "/api/v1/metrics/push", std::string(100001, 'x'), {user});
  EXPECT_EQ(large.code, 413);
  EXPECT_THAT(large.body, HasSubstr("larger than 100000 bytes"));
  RawClient chunked(gateway.port());
  chunked.Send("POST /api/v1/metrics/push HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + user + "\r\n\r\n");
  for (int i = 0; i < 11; ++i) chunked.Send("2710\r\n" + std::string(10000, 'x') + "\r\n");
  EXPECT_EQ(chunked.Read().code, 413);
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/" + std::string(9000, 'a')).code, 414);
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/health", "", {"X: " + std::string(70000, 'a')}).code, 431);
  RawClient endless(gateway.port());
  endless.Send("GET / HTTP/1.1\r\nX: " + std::string(100000, 'a'));
  EXPECT_EQ(endless.Read().code, 431);
}

TEST(HttpProtocol, BodiesHeldAtATimeAreLimited) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.max_buffered_bytes = 1000;
  GatewayUnderTest gateway(options);
  const std::string user = Bearer(gateway.UserToken("user"));
  const HttpReply reply = Fetch(gateway.port(), "POST", "/api/v1/metrics/push", std::string(2000, 'x'), {user});
  EXPECT_EQ(reply.code, 503);
  EXPECT_EQ(reply.Header("retry-after"), "1");
  EXPECT_EQ(Fetch(gateway.port(), "POST", "/api/v1/metrics/push", std::string(900, 'x'), {user}).code, 200);
  EXPECT_EQ(Fetch(gateway.port(), "POST", "/api/v1/metrics/push", std::string(900, 'x'), {user}).code, 200);
}

TEST(HttpProtocol, SlowHeadsAndIdleConnectionsEnd) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.header_timeout = absl::Seconds(1);
  options.config.idle_timeout = absl::Milliseconds(1500);
  GatewayUnderTest gateway(options);
  RawClient slow(gateway.port());
  slow.Send("GET /api/v1/health HTTP/1.1\r\nHost: ");
  RawClient idle(gateway.port());
  idle.Send(MakeRequest("GET", "/api/v1/health"));
  EXPECT_EQ(idle.Read().code, 200);
  EXPECT_TRUE(slow.Closed());
  EXPECT_TRUE(idle.Closed());
}

TEST(HttpProtocol, SlowBodiesEnd) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.request_timeout = absl::Milliseconds(200);
  GatewayUnderTest gateway(options);
  RawClient client(gateway.port());
  client.Send("POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{");
  EXPECT_TRUE(client.Closed());
}

TEST(HttpProtocol, SlowServicesAreGivenUp) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.request_timeout = absl::Milliseconds(200);
  GatewayUnderTest gateway(options);
  gateway.stand_ins.observed.hang = true;
  const HttpReply reply = Fetch(gateway.port(), "GET", "/api/v1/metrics", "", {Bearer(gateway.UserToken("viewer"))});
  EXPECT_EQ(reply.code, 504);
  EXPECT_THAT(reply.body, HasSubstr("longer than 200ms"));
}

TEST(HttpProtocol, AClientThatHangsUpEndsTheCall) {
  GatewayUnderTest gateway(Unlimited());
  Observed& observed = gateway.stand_ins.observed;
  observed.hang = true;
  RawClient client(gateway.port());
  client.Send(MakeRequest("GET", "/api/v1/metrics", "", {Bearer(gateway.UserToken("viewer"))}));
  ASSERT_TRUE(testing::WaitUntil([&] { return observed.calls == 1; }, absl::Seconds(30)));
  EXPECT_EQ(observed.cancelled, 0);
  client.Close();
  // Long before the time of the request is over.
  EXPECT_TRUE(testing::WaitUntil([&] { return observed.cancelled == 1; }, absl::Seconds(15)));
}

TEST(HttpProtocol, ASlowReaderSlowsTheServiceDown) {
  GatewayUnderTest gateway(Unlimited());
  Observed& observed = gateway.stand_ins.observed;
  observed.stream_length = 5000;  // about 50 MB
  RawClient client(gateway.port());
  const int small = 16 * 1024;
  setsockopt(client.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  client.Send(MakeRequest("GET", "/api/v1/users", "", {Bearer(gateway.UserToken("admin"))}));
  EXPECT_EQ(client.Drink(20000), 20000u);
  // Wait until the service makes no more progress.
  int last = -1;
  clock::SteadyTime since;
  ASSERT_TRUE(testing::WaitUntil([&] {
    if (const int now = observed.streamed; now != last) {
      last = now;
      since = clock::SteadyNow();
    }
    return clock::SteadyNow() - since > absl::Milliseconds(200);
  }));
  EXPECT_LT(observed.streamed, 2000);
  client.Close();
  EXPECT_TRUE(testing::WaitUntil([&] { return observed.cancelled == 1; }, absl::Seconds(30)));
}

TEST(HttpProtocol, ALargeStreamArrivesWhole) {
  GatewayUnderTest gateway(Unlimited());
  gateway.stand_ins.observed.stream_length = 2000;
  const HttpReply reply = Fetch(gateway.port(), "GET", "/api/v1/users", "", {Bearer(gateway.UserToken("admin"))});
  EXPECT_TRUE(reply.complete);
  EXPECT_GT(reply.body.size(), 20'000'000u);
  EXPECT_THAT(reply.body.substr(reply.body.size() - 2), "}]");
}

TEST(Drain, FinishesRequestsAndClosesIdleConnections) {
  GatewayUnderTest gateway(Unlimited());
  Observed& observed = gateway.stand_ins.observed;
  observed.stream_length = 1100;
  RawClient idle(gateway.port());
  idle.Send(MakeRequest("GET", "/api/v1/health"));
  EXPECT_EQ(idle.Read().code, 200);
  RawClient silent(gateway.port());
  RawClient busy(gateway.port());
  busy.Send(MakeRequest("GET", "/api/v1/users", "", {Bearer(gateway.UserToken("admin"))}));
  ASSERT_TRUE(testing::WaitUntil([&] { return observed.streamed > 0; }, absl::Seconds(30)));
  std::thread drain([&] { gateway.gateway->Drain(clock::SteadyNow() + absl::Seconds(60)); });
  EXPECT_TRUE(idle.Closed());
  EXPECT_TRUE(silent.Closed());
  const HttpReply reply = busy.Read();
  EXPECT_EQ(reply.code, 200);
  EXPECT_TRUE(reply.complete);
  EXPECT_TRUE(busy.Closed());
  drain.join();
}

TEST(Drain, CutsWhatDoesNotEndInTime) {
  GatewayUnderTest gateway(Unlimited());
  Observed& observed = gateway.stand_ins.observed;
  observed.hang = true;
  RawClient client(gateway.port());
  client.Send(MakeRequest("GET", "/api/v1/metrics", "", {Bearer(gateway.UserToken("viewer"))}));
  ASSERT_TRUE(testing::WaitUntil([&] { return observed.calls == 1; }, absl::Seconds(30)));
  const clock::SteadyTime start = clock::SteadyNow();
  gateway.gateway->Drain(clock::SteadyNow() + absl::Milliseconds(200));
  EXPECT_LT(clock::SteadyNow() - start, absl::Seconds(20));
  EXPECT_TRUE(client.Closed());
  EXPECT_TRUE(testing::WaitUntil([&] { return observed.cancelled == 1; }, absl::Seconds(30)));
}

TEST(Drain, CutsAStreamThatNobodyReads) {
  GatewayUnderTest gateway(Unlimited());
  Observed& observed = gateway.stand_ins.observed;
  observed.stream_length = 100000;
  RawClient client(gateway.port());
  client.Send(MakeRequest("GET", "/api/v1/users", "", {Bearer(gateway.UserToken("admin"))}));
  ASSERT_TRUE(testing::WaitUntil([&] { return observed.streamed > 0; }, absl::Seconds(30)));
  const clock::SteadyTime start = clock::SteadyNow();
  gateway.gateway->Drain(clock::SteadyNow() + absl::Milliseconds(200));
  EXPECT_LT(clock::SteadyNow() - start, absl::Seconds(20));
  EXPECT_TRUE(testing::WaitUntil([&] { return observed.cancelled == 1; }, absl::Seconds(30)));
}

TEST(ManyClients, AreServedAtOnce) {
  GatewayUnderTest gateway(Unlimited());
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      RawClient client(gateway.port());
      for (int i = 0; i < 100; ++i) {
        client.Send(MakeRequest("GET", "/api/v1/health"));
        if (client.Read().code == 200) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 800);
}

}  // namespace
}  // namespace pga::gateway
