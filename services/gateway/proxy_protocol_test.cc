// Whose a connection is behind a load balancer that says so by the PROXY protocol.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "libs/door/proxy_header.h"
#include "services/gateway/gateway_testing.h"

namespace pga::gateway {
namespace {

// What counts by the caller's address: each has one request.
GatewayUnderTest::Options OneRequestEach(std::vector<std::string> from) {
  GatewayUnderTest::Options options;
  options.config.rate_limit_per_minute = 1;
  options.config.proxy_protocol_from = std::move(from);
  return options;
}

std::string Line(const std::string& address) {
  return "PROXY TCP4 " + address + " 127.0.0.1 41000 8080\r\n";
}

int CodeBehind(const GatewayUnderTest& gateway, const std::string& header) {
  RawClient client(gateway.port());
  client.Send(header + MakeRequest("GET", "/api/v1/health"));
  return client.Read().code;
}

TEST(ProxyProtocol, CallersAreCountedByTheAddressThatTheHeaderSays) {
  GatewayUnderTest gateway(OneRequestEach({"127.0.0.0/8"}));
  EXPECT_EQ(CodeBehind(gateway, Line("203.0.113.7")), 200);
  EXPECT_EQ(CodeBehind(gateway, Line("203.0.113.7")), 429);
  EXPECT_EQ(CodeBehind(gateway, door::WriteProxyHeader("203.0.113.7", 42'000)), 429) << "version 2 says the same";
  EXPECT_EQ(CodeBehind(gateway, door::WriteProxyHeader("203.0.113.8", 42'000)), 200);
  EXPECT_EQ(CodeBehind(gateway, door::WriteProxyHeader("2001:db8:1::1", 42'000)), 200);
  EXPECT_EQ(CodeBehind(gateway, door::WriteProxyHeader("2001:db8:1::2", 42'000)), 429) << "one /64 is one caller";
  // A balancer that speaks for itself is itself.
  EXPECT_EQ(CodeBehind(gateway, "PROXY UNKNOWN\r\n"), 200);
  EXPECT_EQ(CodeBehind(gateway, door::WriteProxyHeader("", 0)), 429);
}

TEST(ProxyProtocol, HeadersComeInPieces) {
  GatewayUnderTest gateway(OneRequestEach({"127.0.0.1"}));
  // With 60,000 bytes of a balancer's own behind the addresses.
  std::string extended = door::WriteProxyHeader("198.51.100.3", 1);
  extended[14] = static_cast<char>(60'012 >> 8);
  extended[15] = static_cast<char>(60'012 & 255);
  EXPECT_EQ(CodeBehind(gateway, extended + std::string(60'000, 'x')), 200);
  for (const std::string& header : {Line("198.51.100.1"), door::WriteProxyHeader("198.51.100.2", 1)}) {
    RawClient client(gateway.port());
    for (const char byte : header + MakeRequest("GET", "/api/v1/health")) client.Send(std::string_view(&byte, 1));
    EXPECT_EQ(client.Read().code, 200);
  }
}

TEST(ProxyProtocol, ConnectionsOfABalancerNeedOne) {
  GatewayUnderTest gateway(OneRequestEach({"127.0.0.1"}));
  for (const std::string& header :
       {std::string(), std::string("PROXY TCP4 999.0.113.7 127.0.0.1 1 2\r\n"), "PROXY " + std::string(200, 'x'),
        std::string("\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0", 16)}) {
    RawClient client(gateway.port());
    client.Send(header + MakeRequest("GET", "/api/v1/health"));
    EXPECT_TRUE(client.Closed()) << header;
  }
  EXPECT_EQ(CodeBehind(gateway, Line("203.0.113.7")), 200) << "others are served";
}

TEST(ProxyProtocol, OfOthersIsNotBelieved) {
  GatewayUnderTest gateway(OneRequestEach({"192.0.2.0/24"}));
  RawClient client(gateway.port());
  client.Send(Line("203.0.113.7") + MakeRequest("GET", "/api/v1/health"));
  EXPECT_EQ(client.Read().code, 400);
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/health").code, 200);
}

}  // namespace
}  // namespace pga::gateway
