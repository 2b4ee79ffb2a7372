// How a door closes TLS connections: what it said last can be read, and has an end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "libs/rpc/certificates_testing.h"
#include "libs/rpc/http2_attacks_testing.h"
#include "libs/rpc/server.h"
#include "libs/rpc/tls_client_testing.h"
#include "libs/status/testing.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"

namespace pga::rpc {
namespace {

using ::testing::HasSubstr;

struct TlsDoor {
  TlsDoor() {
    const TestCertificate certificate = ca.Server();
    Server::Options options;
    options.name = "close";
    options.listen = {"127.0.0.1:0"};
    options.services = {&service};
    options.limits = DoorLimits::Outside();
    options.tls.enabled = true;
    options.tls.cert_pem = certificate.cert_pem;
    options.tls.key_pem = certificate.key_pem;
    auto started = Server::Start(std::move(options));
    EXPECT_THAT(started.status(), status::IsOk());
    server = *std::move(started);
  }
  TestCa ca;
  pganalytics::query::v1::SystemService::CallbackService service;
  std::unique_ptr<Server> server;
};

// The type and the last four bytes of the last frame.
std::string LastFrame(const std::string& bytes) {
  size_t at = 0;
  std::string last;
  while (at + 9 <= bytes.size()) {
    const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(bytes[at + i])); };
    const size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
    last = bytes.substr(at + 3, 1) + bytes.substr(at + 9 + size - std::min<size_t>(size, 4), 4);
    at += 9 + size;
  }
  return at == bytes.size() ? last : "a frame is cut";
}

TEST(TlsClose, ViolatorWithBytesUnreadHearsWhyAndTheEnd) {
  TlsDoor door;
  TlsClient client(door.server->ports()[0], door.ca.pem(), "h2");
  ASSERT_TRUE(client.connected());
  // More than the guard allows, and bytes behind it that nobody will read.
  client.Send(Preface() + Repeat(2'000, Frame(kPing, 0, 0, "12345678")) + std::string(100'000, 'x'));
  const TlsClient::Received received = client.ReadAll();
  EXPECT_TRUE(received.whole) << "cut instead of ended";
  EXPECT_EQ(LastFrame(received.bytes), std::string("\x07\0\0\0\x0b", 5)) << "GOAWAY with ENHANCE_YOUR_CALM";
}

TEST(TlsClose, DrainEndsTls) {
  TlsDoor door;
  TlsClient client(door.server->ports()[0], door.ca.pem(), "h2");
  ASSERT_TRUE(client.connected());
  client.Send(Preface());
  // A client of TLS 1.3 is done before the server has its last message of the handshake.
  ASSERT_TRUE(client.Answered());
  door.server->Drain(clock::SteadyNow() + absl::Seconds(10));
  const TlsClient::Received received = client.ReadAll();
  EXPECT_TRUE(received.whole) << "cut instead of ended";
}

}  // namespace
}  // namespace pga::rpc
