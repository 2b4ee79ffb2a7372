#include "libs/door/proxy_header.h"

#include <string>

#include "gtest/gtest.h"

namespace pga::door {
namespace {

using Kind = ProxyHeader::Kind;

TEST(ProxyHeader, SaysWhoseTheConnectionIs) {
  for (const std::string address : {"203.0.113.7", "2001:db8::7"}) {
    const std::string bytes = WriteProxyHeader(address, 41'000);
    const ProxyHeader header = ReadProxyHeader(bytes + "PRI * HTTP/2.0");
    EXPECT_EQ(header.kind, Kind::kHeader);
    EXPECT_EQ(header.bytes, bytes.size());
    EXPECT_EQ(header.address, address);
    EXPECT_EQ(header.port, 41'000);
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_EQ(ReadProxyHeader(bytes.substr(0, size)).kind, Kind::kNeedMore) << size;
    }
  }
}

TEST(ProxyHeader, ProxyMaySpeakForItself) {
  const ProxyHeader header = ReadProxyHeader(WriteProxyHeader("unknown", 0));
  EXPECT_EQ(header.kind, Kind::kHeader);
  EXPECT_EQ(header.bytes, 16u);
  EXPECT_TRUE(header.address.empty());
}

TEST(ProxyHeader, OtherBytesAreNone) {
  EXPECT_EQ(ReadProxyHeader("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").kind, Kind::kNone);
  EXPECT_EQ(ReadProxyHeader("PROXY_").kind, Kind::kNone);
  EXPECT_EQ(ReadProxyHeader("\x16\x03\x01").kind, Kind::kNone);
}

TEST(ProxyHeader, LinesOfVersionOne) {
  const struct {
    std::string line;
    Kind kind;
    std::string address = "";
    int port = 0;
  } kRows[] = {
      {"PROXY TCP4 192.0.2.1 192.0.2.2 41000 8080\r\n", Kind::kHeader, "192.0.2.1", 41'000},
      {"PROXY TCP6 2001:DB8::7 ::1 1 65535\r\n", Kind::kHeader, "2001:db8::7", 1},
      {"PROXY UNKNOWN\r\n", Kind::kHeader},
      {"PROXY UNKNOWN whatever it is\r\n", Kind::kHeader},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 41000 8080\n", Kind::kNeedMore},
      {"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", Kind::kMalformed},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", Kind::kMalformed},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", Kind::kMalformed},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", Kind::kMalformed},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", Kind::kMalformed},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", Kind::kMalformed},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", Kind::kMalformed},
      {"PROXY TCP4 2001:db8::7 ::1 1 2\r\n", Kind::kMalformed},
      {"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", Kind::kMalformed},
      {"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", Kind::kMalformed},
      {"PROXY UNKNOWNS\r\n", Kind::kMalformed},
      {"PROXY \r\n", Kind::kMalformed},
      {"PROXY " + std::string(101, 'x'), Kind::kMalformed},
      {"PROXY " + std::string(100, 'x'), Kind::kNeedMore},
  };
  for (const auto& row : kRows) {
    const ProxyHeader header = ReadProxyHeader(row.line + (row.kind == Kind::kHeader ? "GET / HTTP/1.1" : ""));
    EXPECT_EQ(header.kind, row.kind) << row.line;
    EXPECT_EQ(header.address, row.kind == Kind::kHeader ? row.address : header.address) << row.line;
    if (row.kind != Kind::kHeader) continue;
    EXPECT_EQ(header.bytes, row.line.size()) << row.line;
    EXPECT_EQ(header.port, row.port) << row.line;
    for (size_t size = 0; size < row.line.size(); ++size) {
      EXPECT_EQ(ReadProxyHeader(row.line.substr(0, size)).kind, Kind::kNeedMore) << row.line << size;
    }
  }
}

TEST(ProxyHeader, BrokenOnesAreMalformed) {
  const std::string good = WriteProxyHeader("203.0.113.7", 1);
  std::string version = good, length = good;
  version[12] = 0x31;
  EXPECT_EQ(ReadProxyHeader(version).kind, Kind::kMalformed);
  length[15] = 11;
  EXPECT_EQ(ReadProxyHeader(length).kind, Kind::kMalformed) << "too short for two addresses and ports";
}

// A balancer may say more behind the addresses, as of TLS.
TEST(ProxyHeader, VersionTwoIsAsLongAsItSays) {
  for (const size_t more : {1u, 1500u, 65'523u}) {
    std::string bytes = WriteProxyHeader("203.0.113.7", 41'000);
    const size_t length = 12 + more;
    bytes[14] = static_cast<char>(length >> 8);
    bytes[15] = static_cast<char>(length & 255);
    bytes.append(more, 'x');
    EXPECT_EQ(ReadProxyHeader(bytes.substr(0, bytes.size() - 1)).kind, Kind::kNeedMore);
    const ProxyHeader header = ReadProxyHeader(bytes + "GET /");
    EXPECT_EQ(header.kind, Kind::kHeader);
    EXPECT_EQ(header.bytes, bytes.size());
    EXPECT_EQ(header.address, "203.0.113.7");
  }
}

}  // namespace
}  // namespace pga::door
