// More than three hundred malformed requests, each followed in the same packet by one that must never be answered: over
// TCP and over TLS. Where message boundaries are in doubt the gateway refuses and closes; no service hears of it.

#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/rpc/certificates_testing.h"
#include "libs/rpc/tls_client_testing.h"
#include "libs/testing/temp_dir.h"
#include "services/gateway/gateway_testing.h"

namespace pga::gateway {
namespace {

using namespace std::string_literals;

const std::string kSmuggled = "GET /api/v1/metrics/count HTTP/1.1\r\nHost: smuggled\r\n\r\n";
const std::string kGet = "GET /api/v1/health HTTP/1.1\r\nHost: a\r\n";
const std::string kPost = "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\n";
const std::string kChunked = kPost + "Transfer-Encoding: chunked\r\n\r\n";
const std::string kNothing = "0\r\n\r\n";

struct Vector {
  std::string name;
  std::string bytes;
  int code = 400;
};
using Vectors = std::vector<Vector>;

// Bytes that no name of a header may hold.
std::string NoTokenBytes() {
  std::string out;
  for (int c = 0; c <= 0x20; ++c) out += static_cast<char>(c);
  return out + "\"(),/:;<=>?@[\\]{}\x7f\x80\xa0\xff";
}

void AddEach(Vectors& to, const std::string& group, const std::string& before, const std::vector<std::string>& middles,
             const std::string& after, int code = 400) {
  for (const std::string& middle : middles) {
    to.push_back(
        {absl::StrCat(group, " [", absl::CHexEscape(middle.substr(0, 60)), "]"), before + middle + after, code});
  }
}

void AddLengths(Vectors& to) {
  AddEach(to, "length", kPost + "Content-Length: ",
          {"+5",
           "-5",
           "+0",
           "-0",
           "0x5",
           "0X5",
           "0b101",
           "0o5",
           "5.0",
           "5e0",
           "5,5",
           "5, 5",
           "5,",
           ",5",
           "0,5",
           "5;5",
           "5;",
           "5 5",
           "5\t5",
           "\"5\"",
           "'5'",
           "(5)",
           "5a",
           "a",
           "",
           "NaN",
           "5_0",
           "%35",
           "5%",
           "5/5",
           "null",
           "\xd9\xa5",
           "\xef\xbc\x95",
           "5\0"s,
           "\0"s,
           "5\x0b",
           "\x0c"
           "5",
           "5\x7f",
           "5\x80",
           "\xa0"
           "5",
           "5\xa0",
           "9223372036854775807",
           "9223372036854775808",
           "18446744073709551615",
           "18446744073709551616",
           "18446744073709551621",
           "99999999999999999999999999",
           std::string(200, '0') + "5"},
          "\r\n\r\n12345");
  AddEach(to, "length of much", kPost + "Content-Length: ", {"10485761", "999999999999999999"}, "\r\n\r\n12345", 413);
  AddEach(
      to, "lengths", kPost,
      {"Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 0",
       "Content-Length: 0\r\nContent-Length: 5", "content-length: 5\r\nCONTENT-LENGTH: 6",
       "Content-Length: 5\r\nX: y\r\nContent-Length: 6",
       "Content-Length: 5\r\nContent-Length:", "Content-Length: 5\r\nTransfer-Encoding: chunked",
       "Transfer-Encoding: chunked\r\nContent-Length: 5", "Content-Length: 0\r\nTransfer-Encoding: chunked",
       "CONTENT-LENGTH: 5\r\ntransfer-encoding: CHUNKED", "Transfer-Encoding:\tchunked\r\nContent-Length: 5",
       "Transfer-Encoding: chunked \t\r\nContent-Length: 5", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
       "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
       "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "Transfer-Encoding:\r\nTransfer-Encoding: chunked"},
      "\r\n\r\n" + kNothing);
}

void AddEncodings(Vectors& to) {
  AddEach(to, "encoding", kPost + "Transfer-Encoding: ",
          {"",
           "identity",
           "gzip",
           "deflate",
           "compress",
           "br, chunked",
           "trailers",
           "gzip, chunked",
           "chunked, gzip",
           "identity, chunked",
           "chunked, identity",
           "chunked, chunked",
           "chunked,",
           ",chunked",
           "chunked;q=1",
           "chunked; a=b",
           "chunked=1",
           "\"chunked\"",
           "'chunked'",
           "(chunked)",
           "[chunked]",
           "{chunked}",
           "xchunked",
           "x-chunked",
           "chunkedx",
           "chunke",
           "chunk",
           "chun ked",
           "chunked chunked",
           "chunked/1",
           "chunked:chunked",
           "chunked\\",
           "%63hunked",
           "0",
           "null",
           "\0chunked"s,
           "chunked\0"s,
           "chun\0ked"s,
           "\x0b"
           "chunked",
           "\x0c"
           "chunked",
           "chunked\x0b",
           "\x1b"
           "chunked",
           "chunked\x7f",
           "\x85"
           "chunked",
           "\xa0"
           "chunked",
           "chunked\xa0",
           "\xef\xbb\xbf"
           "chunked",
           "chun\xe2\x84\xaa"
           "ed",
           "\xef\xbd\x83hunked"},
          "\r\n\r\n" + kNothing);
  to.push_back({"encoding over HTTP/1.0",
                "POST /api/v1/auth/login HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + kNothing});
  to.push_back(
      {"encoding and length over HTTP/1.0",
       "POST /api/v1/auth/login HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + kNothing});
}

void AddNames(Vectors& to) {
  for (const char c : NoTokenBytes()) {
    const std::string text(1, c);
    AddEach(to, "after the name", kPost + "Transfer-Encoding", {text}, ": chunked\r\n\r\n" + kNothing);
    AddEach(to, "before the name", kPost, {text}, "Content-Length: 5\r\n\r\n12345");
  }
  AddEach(to, "name", kPost, {"", "X", "X y", "Content-Length", "Transfer-Encoding chunked", "X\r", ": "},
          "\r\nX: y\r\n\r\n");
  // The first of them ends the head.
  to.erase(std::remove_if(to.begin(), to.end(), [](const Vector& of) { return of.name == "name []"; }), to.end());
}

void AddValues(Vectors& to) {
  for (int c = 0; c <= 0x7f; c = c == 0x1f ? 0x7f : c + 1) {
    if (c == '\t') continue;
    AddEach(to, "in a value", kGet + "X: y", {std::string(1, static_cast<char>(c))}, "z\r\n\r\n");
  }
  for (const char c : " \t\"/<>?@\\^`{|}#\x7f\x80\xff"s) {
    AddEach(to, "in the host", "GET /api/v1/health HTTP/1.1\r\nHost: a", {std::string(1, c)}, "b\r\n\r\n");
  }
  AddEach(to, "hosts", "GET /api/v1/health HTTP/1.1\r\n",
          {"", "X: y\r\n", "Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n", "Host: a\r\nhost:\r\n", "Host : a\r\n",
           "Host\r\n", "Host: a, b\r\nHost: c\r\n", "X-Host: a\r\n"},
          "\r\n");
  AddEach(to, "expectation", kGet + "Expect: ",
          {"200-ok", "", "100-continue, x", "100", "100-continued", "\"100-continue\"", "102-processing"}, "\r\n\r\n",
          417);
}

void AddRequestLines(Vectors& to) {
  AddEach(to, "method", "",
          {"get", "Get", "GE", "GETT", "FOO", "PRI", "G(T", "GET\0"s, "GET\x0b", "\"GET\"", "GET:", "GET,", "G\tET",
           "GET HTTP/1.1", "X-GET", "_", "-", "GET\x7f", "G\xc3\x89T"},
          " /api/v1/health HTTP/1.1\r\nHost: a\r\n\r\n");
  AddEach(to, "target", "GET ",
          {"",
           "*",
           "api/v1/health",
           "http://a/api/v1/health",
           "https://a/",
           "//a b",
           "a:80",
           "?x=1",
           "%2fapi",
           ".",
           "\\api",
           "/#",
           "/api/v1/health#x",
           "/a b",
           "/a\tb",
           "/a\0b"s,
           "/a\rb",
           "/a\x0b"
           "b",
           "/a\x7f",
           "/\x80",
           "/\xc3\xa9",
           "/api/v1/health HTTP/1.1",
           "@a/",
           "urn:x"},
          " HTTP/1.1\r\nHost: a\r\n\r\n");
  AddEach(to, "version", "GET /api/v1/health ",
          {"",          "HTTP",       "HTTP/",       "HTTP/1",    "HTTP/1.",   "HTTP/.1",   "HTTP/11",
           "HTTP/1.10", "HTTP/01.1",  "HTTP/1.1.1",  "HTTP/+1.1", "HTTP/1,1",  "HTTP/a.b",  "HTTP/1.a",
           "http/1.1",  "Http/1.1",   "HTTPS/1.1",   "ICY/1.1",   "SIP/2.0",   "HTTP /1.1", "HTTP/ 1.1",
           "HTTP/1.1 ", "HTTP/1.1\t", "HTTP/1.1\0"s, "HTTP/1.1x", "HTTP\\1.1", "HTTP/-1.1", "HTTP/\xef\xbc\x91.1",
           "1.1"},
          "\r\nHost: a\r\n\r\n");
  AddEach(to, "version not served", "GET /api/v1/health ",
          {"HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/1.2", "HTTP/1.9", "HTTP/9.9", "HTTP/0.0"}, "\r\nHost: a\r\n\r\n",
          505);
}

void AddLineEnds(Vectors& to) {
  AddEach(to, "line ends", "",
          {"GET /api/v1/health HTTP/1.1\nHost: a\n\n",
           "GET /api/v1/health HTTP/1.1\nHost: a\r\n\r\n",
           "GET /api/v1/health HTTP/1.1\r\nHost: a\n\r\n",
           "GET /api/v1/health HTTP/1.1\r\nHost: a\r\n\n",
           "GET /api/v1/health HTTP/1.1\r\nHost: a\n\n",
           "GET /api/v1/health HTTP/1.1\n\rHost: a\n\r\n\r\n",
           "GET /api/v1/health HTTP/1.1\rHost: a\r\n\r\n",
           "GET /api/v1/health HTTP/1.1\r\r\nHost: a\r\n\r\n",
           "GET /api/v1/health HTTP/1.1\r\nHost: a\r\r\n\r\n",
           "GET /api/v1/health HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n",
           "GET /api/v1/health HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n\r\n",
           "GET /api/v1/health HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 5\r\n\r\n",
           "\r\n" + kGet + "\r\n",
           "\n" + kGet + "\r\n",
           "\r" + kGet + "\r\n",
           " " + kGet + "\r\n",
           "\t" + kGet + "\r\n",
           "\r\n\r\n" + kGet + "\r\n",
           "\xef\xbb\xbf" + kGet + "\r\n",
           "\0"s + kGet + "\r\n",
           "GET /api/v1/health\r\n\r\n",
           "GET\r\n\r\n",
           "/api/v1/health\r\n\r\n",
           "HTTP/1.1 200 OK\r\n\r\n"},
          "");
  AddEach(to, "folded", "POST /api/v1/auth/login HTTP/1.1\r\n",
          {" Host: a\r\n", "Host:\r\n a\r\n", "Host: a\r\nX: y\r\n z\r\n", "Host: a\r\nX: y\r\n\tz\r\n",
           "Host: a\r\nTransfer-Encoding:\r\n chunked\r\n", "Host: a\r\nTransfer-Encoding: chunked\r\n , identity\r\n",
           "Host: a\r\nX: y\r\n Content-Length: 5\r\n", "Host: a\r\nX:\r\n\r\n"s.substr(0, 13) + "\t\r\n",
           "Host: a\r\nContent-Length: 5\r\n 6\r\n", "Host: a\r\n \r\n"},
          "\r\n" + kNothing);
}

void AddChunks(Vectors& to) {
  AddEach(to, "chunk size", kChunked,
          {"+5",
           "-5",
           "+0",
           "-0",
           "0x5",
           "0X5",
           "x5",
           " 5",
           "\t5",
           "",
           "g",
           "5g",
           "5.0",
           "5,5",
           "\"5\"",
           "5\0"s,
           "\0"
           "5"s,
           "5\x0b",
           "\xef\xbc\x95",
           "5_",
           "%35",
           "5:5",
           "5=5",
           "5h",
           "fffffffffffffffff",
           "10000000000000005",
           std::string(40, 'f'),
           ";a=b",
           ";",
           "-1",
           "5 5",
           "5 ;\x01"
           "a"},
          "\r\n12345\r\n0\r\n\r\n");
  AddEach(to, "chunk of much", kChunked, {"ffffffffffffffff", "7fffffffffffffff", "80000000", "10001"},
          "\r\n12345\r\n0\r\n\r\n", 413);
  AddEach(to, "chunk", kChunked,
          {"5\n12345\r\n0\r\n\r\n", "5\r12345\r\n0\r\n\r\n", "5\r\r\n12345\r\n0\r\n\r\n", "5\r\n12345\n0\r\n\r\n",
           "5\r\n12345\r0\r\n\r\n", "5\r\n123450\r\n\r\n", "5\r\n123456\r\n0\r\n\r\n", "5\r\n1234\r\n0\r\n\r\n",
           "5\r\n12345xx0\r\n\r\n", "5\r\n12345\r\n\r\n0\r\n\r\n", "5;a=\nb\r\n12345\r\n0\r\n\r\n",
           "5;a=b\n12345\r\n0\r\n\r\n", "5;\r\n12345\r\n0\r\n\r\n"s.replace(2, 2, "\n\n"), "0\n\n", "0\n\r\n",
           "0\r\r\n\r\n", "\r\n5\r\n12345\r\n0\r\n\r\n"},
          "");
  AddEach(to, "trailer", kChunked + "0\r\n",
          {"Content-Length: 5\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n", "X: a\n b\r\n\r\n", "X: a\n\r\n",
           "X\r\n\r\n", ": a\r\n\r\n", "X y: a\r\n\r\n", "X: a\0b\r\n\r\n"s, "X : a\r\n\r\n", " X: a\r\n\r\n"},
          "");
  to.push_back({"chunk extension without end", kChunked + "5;" + std::string(60'000, 'a')});
  to.push_back({"trailers without end", kChunked + "0\r\nX: " + std::string(60'000, 'a')});
}

void AddSizes(Vectors& to) {
  std::string many = kGet;
  for (int i = 0; i < 101; ++i) many += "X: a\r\n";
  to.push_back({"101 headers", many + "\r\n", 431});
  std::string cookies = kGet;
  for (int i = 0; i < 8'000; ++i) cookies += "a:\r\n";
  to.push_back({"8000 empty headers", cookies + "\r\n", 431});
  to.push_back({"long target", "GET /" + std::string(9'000, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414});
  to.push_back({"long query", "GET /?" + std::string(9'000, '&') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414});
  to.push_back({"long value", kGet + "X: " + std::string(70'000, 'a') + "\r\n\r\n", 431});
  to.push_back({"long name", kGet + std::string(70'000, 'a') + ": x\r\n\r\n", 431});
  to.push_back({"head without end", kGet + "X: " + std::string(90'000, 'a'), 431});
  to.push_back({"method without end", std::string(90'000, 'G'), 431});
}

Vectors AllVectors() {
  Vectors all;
  for (const auto add :
       {AddLengths, AddEncodings, AddNames, AddValues, AddRequestLines, AddLineEnds, AddChunks, AddSizes}) {
    add(all);
  }
  return all;
}

TEST(HostileHeads, AreMoreThanThreeHundred) {
  std::set<std::string> names, bytes;
  for (const Vector& vector : AllVectors()) {
    EXPECT_TRUE(names.insert(vector.name).second) << vector.name;
    EXPECT_TRUE(bytes.insert(vector.bytes).second) << vector.name;
  }
  std::printf("%zu malformed requests\n", bytes.size());
  EXPECT_GE(bytes.size(), 300u);
}

class HostileHeads : public ::testing::TestWithParam<bool> {
 protected:
  // All that comes back until the connection ends.
  std::string Answer(const std::string& bytes) {
    if (!GetParam()) {
      RawClient client(gateway_->port());
      client.Send(bytes);
      return client.ReadAll();
    }
    rpc::TlsClient client(gateway_->port(), ca_.pem(), "http/1.1");
    EXPECT_TRUE(client.connected());
    client.Send(bytes);
    const rpc::TlsClient::Received received = client.ReadAll();
    EXPECT_TRUE(received.whole) << "cut instead of ended";
    return received.bytes;
  }
  void SetUp() override {
    GatewayUnderTest::Options options;
    options.config.rate_limit_per_minute = 0;
    if (GetParam()) {
      const rpc::TestCertificate certificate = ca_.Server();
      options.config.tls_enabled = true;
      options.config.tls_cert_path = dir_ / "cert.pem";
      options.config.tls_key_path = dir_ / "key.pem";
      ASSERT_TRUE(testing::WriteFile(options.config.tls_cert_path, certificate.cert_pem).ok());
      ASSERT_TRUE(testing::WriteFile(options.config.tls_key_path, certificate.key_pem).ok());
    }
    gateway_ = std::make_unique<GatewayUnderTest>(options);
  }

  testing::ScopedTempDir dir_;
  rpc::TestCa ca_;
  std::unique_ptr<GatewayUnderTest> gateway_;
};

INSTANTIATE_TEST_SUITE_P(All, HostileHeads, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "OverTls" : "Plain"; });

TEST_P(HostileHeads, AreRefusedAndNothingAfterThemIsAnswered) {
  ASSERT_THAT(Answer(kGet + "Connection: close\r\n\r\n"), ::testing::StartsWith("HTTP/1.1 200 "));
  const int before = gateway_->stand_ins.observed.calls;
  for (const Vector& vector : AllVectors()) {
    SCOPED_TRACE(vector.name);
    const std::string answer = Answer(vector.bytes + kSmuggled);
    EXPECT_THAT(answer, ::testing::StartsWith(absl::StrCat("HTTP/1.1 ", vector.code, " ")));
    EXPECT_THAT(answer, ::testing::HasSubstr("\r\nConnection: close\r\n"));
    EXPECT_EQ(answer.find("X-Request-Id: "), answer.rfind("X-Request-Id: ")) << "a second answer";
    EXPECT_EQ(gateway_->stand_ins.observed.calls, before) << "a service was asked";
  }
  EXPECT_THAT(Answer(kGet + "Connection: close\r\n\r\n"), ::testing::StartsWith("HTTP/1.1 200 "));
}

}  // namespace
}  // namespace pga::gateway
