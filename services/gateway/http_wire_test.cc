// The request head, the first bytes of a connection, and error bodies.

#include <cstdint>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "services/gateway/connection_sniffer.h"
#include "services/gateway/http_error.h"
#include "services/gateway/request_head.h"

namespace pga::gateway {
namespace {

int CodeOf(const std::string& head) {
  const auto parsed = ParseRequestHead(head, HeadLimits());
  const auto* error = std::get_if<HttpError>(&parsed);
  EXPECT_TRUE(error == nullptr || error->close) << head;
  return error != nullptr ? error->code : 200;
}

struct HeadCase {
  std::string name;
  std::string head;
  int code;
};

class Heads : public ::testing::TestWithParam<HeadCase> {};

TEST_P(Heads, AreReadStrictly) {
  EXPECT_EQ(CodeOf(GetParam().head), GetParam().code) << GetParam().head;
}

const char kGet[] = "GET / HTTP/1.1\r\nHost: a\r\n";

INSTANTIATE_TEST_SUITE_P(
    Http, Heads,
    ::testing::
        Values(
            HeadCase{"Plain", std::string(kGet) + "\r\n", 200},
            HeadCase{"Length", std::string(kGet) + "Content-Length: 0\r\n\r\n", 200},
            HeadCase{"Chunked", std::string(kGet) + "Transfer-Encoding: chunked\r\n\r\n", 200},
            HeadCase{"ChunkedInCapitals", std::string(kGet) + "TRANSFER-ENCODING: CHUNKED\r\n\r\n", 200},
            HeadCase{"Http10WithoutHost", "GET / HTTP/1.0\r\n\r\n", 200},
            HeadCase{"HighBytesInValue", std::string(kGet) + "X: \xc3\xa9\r\n\r\n", 200},
            HeadCase{"LengthAndChunked", std::string(kGet) + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                     400},
            HeadCase{"ChunkedAndLength", std::string(kGet) + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
                     400},
            HeadCase{"TwoLengths", std::string(kGet) + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
            HeadCase{"TwoEqualLengths", std::string(kGet) + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400},
            HeadCase{"LengthList", std::string(kGet) + "Content-Length: 3, 3\r\n\r\n", 400},
            HeadCase{"LengthWithPlus", std::string(kGet) + "Content-Length: +3\r\n\r\n", 400},
            HeadCase{"NegativeLength", std::string(kGet) + "Content-Length: -3\r\n\r\n", 400},
            HeadCase{"HexLength", std::string(kGet) + "Content-Length: 0x3\r\n\r\n", 400},
            HeadCase{"EmptyLength", std::string(kGet) + "Content-Length:\r\n\r\n", 400},
            HeadCase{"HugeLength", std::string(kGet) + "Content-Length: 99999999999999999999\r\n\r\n", 400},
            HeadCase{"LengthWithBlank", std::string(kGet) + "Content-Length: 3 3\r\n\r\n", 400},
            HeadCase{"TwoEncodings",
                     std::string(kGet) + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
            HeadCase{"EncodingList", std::string(kGet) + "Transfer-Encoding: gzip, chunked\r\n\r\n", 400},
            HeadCase{"EncodingIdentity", std::string(kGet) + "Transfer-Encoding: identity\r\n\r\n", 400},
            HeadCase{"EncodingVerticalTab",
                     std::string(kGet) + "Transfer-Encoding: \x0b"
                                         "chunked\r\n\r\n",
                     400},
            HeadCase{"EncodingQuoted", std::string(kGet) + "Transfer-Encoding: \"chunked\"\r\n\r\n", 400},
            HeadCase{"EncodingOverHttp10", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
            HeadCase{"BlankBeforeColon", std::string(kGet) + "Content-Length : 3\r\n\r\n", 400},
            HeadCase{"TabBeforeColon", std::string(kGet) + "Content-Length\t: 3\r\n\r\n", 400},
            HeadCase{"BlankBeforeName", std::string(kGet) + " Content-Length: 3\r\n\r\n", 400},
            HeadCase{"Folding", std::string(kGet) + "X: a\r\n b\r\n\r\n", 400},
            HeadCase{"FoldingByTab", std::string(kGet) + "X: a\r\n\tb\r\n\r\n", 400},
            HeadCase{"BareLfInValue", std::string(kGet) + "X: a\nContent-Length: 3\r\n\r\n", 400},
            HeadCase{"BareCrInValue", std::string(kGet) + "X: a\rContent-Length: 3\r\n\r\n", 400},
            HeadCase{"BareLfAfterRequestLine", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
            HeadCase{"NulInValue", std::string(kGet) + std::string("X: a\0b\r\n\r\n", 10), 400},
            HeadCase{"NulInName", std::string(kGet) + std::string("X\0: a\r\n\r\n", 9), 400},
            HeadCase{"NoColon", std::string(kGet) + "X\r\n\r\n", 400},
            HeadCase{"EmptyName", std::string(kGet) + ": a\r\n\r\n", 400},
            HeadCase{"NameWithBrackets", std::string(kGet) + "X[]: a\r\n\r\n", 400},
            HeadCase{"NoHost", "GET / HTTP/1.1\r\n\r\n", 400},
            HeadCase{"TwoHosts", std::string(kGet) + "Host: b\r\n\r\n", 400},
            HeadCase{"HostWithPath", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
            HeadCase{"HostWithBlank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
            HeadCase{"TwoBlanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
            HeadCase{"TabInRequestLine", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
            HeadCase{"LeadingEmptyLine", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
            HeadCase{"NoVersion", "GET /\r\nHost: a\r\n\r\n", 400},
            HeadCase{"LowerCaseVersion", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
            HeadCase{"Version2", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
            HeadCase{"Version12", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
            HeadCase{"Version11x", "GET / HTTP/1.1x\r\nHost: a\r\n\r\n", 400},
            HeadCase{"AbsoluteTarget", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
            HeadCase{"Connect", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
            HeadCase{"AsteriskTarget", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
            HeadCase{"FragmentInTarget", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
            HeadCase{"HighByteInTarget", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
            HeadCase{"OddMethod", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
            HeadCase{"OddExpectation", std::string(kGet) + "Expect: 200-ok\r\n\r\n", 417},
            HeadCase{"LongTarget", "GET /" + std::string(9000, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
            HeadCase{"LongHead", std::string(kGet) + "X: " + std::string(70000, 'a') + "\r\n\r\n", 431},
            HeadCase{
                "ManyHeaders",
                [] {
                  std::string head = kGet;
                  for (int i = 0; i < 101; ++i) head += "X: a\r\n";
                  return head + "\r\n";
                }(),
                431}),
    [](const auto& test) { return test.param.name; });

TEST(RequestHead, IsTakenApart) {
  const auto parsed = ParseRequestHead(
      "POST /a/b%20c?x=1&y=%20 HTTP/1.1\r\nHost: h:8080\r\nX-A:  v w \t\r\nContent-Length: 12\r\nConnection: "
      "keep-alive, Close\r\nExpect: 100-Continue\r\n\r\n",
      HeadLimits());
  const auto* head = std::get_if<RequestHead>(&parsed);
  ASSERT_NE(head, nullptr);
  EXPECT_EQ(head->method, "POST");
  EXPECT_EQ(head->path, "/a/b%20c");
  EXPECT_EQ(head->query, "x=1&y=%20");
  ASSERT_NE(head->Find("x-a"), nullptr);
  EXPECT_EQ(*head->Find("x-a"), "v w");
  EXPECT_EQ(head->framing, RequestHead::Framing::kLength);
  EXPECT_EQ(head->content_length, 12u);
  EXPECT_FALSE(head->keep_alive);
  EXPECT_TRUE(head->expect_continue);
}

TEST(RequestHead, Http10ClosesUnlessAskedNotTo) {
  const auto closing = ParseRequestHead("GET / HTTP/1.0\r\n\r\n", HeadLimits());
  EXPECT_FALSE(std::get<RequestHead>(closing).keep_alive);
  const auto keeping = ParseRequestHead("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", HeadLimits());
  EXPECT_TRUE(std::get<RequestHead>(keeping).keep_alive);
}

TEST(RequestHead, BareLineFeedsAreSeenEarly) {
  EXPECT_TRUE(HasBareLineFeed("GET / HTTP/1.1\n"));
  EXPECT_TRUE(HasBareLineFeed("\n"));
  EXPECT_FALSE(HasBareLineFeed("GET / HTTP/1.1\r\nHost: a\r\n"));
  const std::string_view head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  for (size_t seen = 0; seen < head.size(); ++seen) {
    EXPECT_FALSE(EndOfHead(head.substr(0, seen)).has_value());
    EXPECT_EQ(EndOfHead(head, seen), head.size());
    EXPECT_FALSE(HasBareLineFeed(head, seen));
  }
}

// ---- First bytes ----

std::string Number(size_t value, int width) {
  std::string out;
  for (int shift = (width - 1) * 8; shift >= 0; shift -= 8) out += static_cast<char>((value >> shift) & 0xFF);
  return out;
}

std::string Alpn(const std::vector<std::string>& protocols) {
  std::string list;
  for (const auto& protocol : protocols) list += Number(protocol.size(), 1) + protocol;
  const std::string data = Number(list.size(), 2) + list;
  return Number(16, 2) + Number(data.size(), 2) + data;
}

std::string Handshake(const std::string& extensions) {
  const std::string sni = Number(0, 2) + Number(4, 2) + "abcd";
  std::string body = Number(0x0303, 2) + std::string(32, 'r') + Number(0, 1) + Number(2, 2) + "\x13\x01" +
                     Number(1, 1) + std::string(1, '\0');
  const std::string all = sni + extensions;
  body += Number(all.size(), 2) + all;
  return Number(1, 1) + Number(body.size(), 3) + body;
}

std::string Records(const std::string& handshake, size_t fragment) {
  std::string out;
  for (size_t at = 0; at < handshake.size(); at += fragment) {
    const std::string part = handshake.substr(at, fragment);
    out += Number(22, 1) + Number(0x0301, 2) + Number(part.size(), 2) + part;
  }
  return out;
}

struct AlpnCase {
  std::string name;
  std::string extensions;
  ConnectionKind kind;
};

class ClientHellos : public ::testing::TestWithParam<AlpnCase> {};

TEST_P(ClientHellos, AreToldApartHoweverTheyAreCut) {
  const std::string handshake = Handshake(GetParam().extensions);
  for (const size_t fragment : {handshake.size(), size_t{100}, size_t{7}, size_t{1}}) {
    const std::string bytes = Records(handshake, fragment);
    EXPECT_EQ(ClassifyConnection(bytes), GetParam().kind) << fragment;
    EXPECT_EQ(ClassifyConnection(bytes + "more"), GetParam().kind) << fragment;
    for (size_t cut = 0; cut < bytes.size(); ++cut) {
      ASSERT_EQ(ClassifyConnection(std::string_view(bytes).substr(0, cut)), ConnectionKind::kNeedMore)
          << fragment << " " << cut;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Alpn, ClientHellos,
    ::testing::Values(AlpnCase{"Grpc", Alpn({"grpc-exp", "h2"}), ConnectionKind::kGrpcTls},
                      AlpnCase{"H2", Alpn({"h2"}), ConnectionKind::kGrpcTls},
                      AlpnCase{"Browser", Alpn({"h2", "http/1.1"}), ConnectionKind::kTls},
                      AlpnCase{"Http11", Alpn({"http/1.1"}), ConnectionKind::kTls},
                      AlpnCase{"WrongOrder", Alpn({"h2", "grpc-exp"}), ConnectionKind::kTls},
                      AlpnCase{"Longer", Alpn({"grpc-exp", "h2", "http/1.1"}), ConnectionKind::kTls},
                      AlpnCase{"Capitals", Alpn({"H2"}), ConnectionKind::kTls},
                      AlpnCase{"None", "", ConnectionKind::kTls},
                      AlpnCase{"EmptyList", Number(16, 2) + Number(2, 2) + Number(0, 2), ConnectionKind::kMalformed},
                      AlpnCase{"EmptyName", Alpn({""}), ConnectionKind::kMalformed},
                      AlpnCase{"Twice", Alpn({"h2"}) + Alpn({"h2"}), ConnectionKind::kMalformed},
                      AlpnCase{"Overlong", Number(16, 2) + Number(4, 2) + Number(9, 2) + "\x02h",
                               ConnectionKind::kMalformed}),
    [](const auto& test) { return test.param.name; });

TEST(ConnectionSniffer, GarbageIsMalformedOrHttp) {
  EXPECT_EQ(ClassifyConnection(""), ConnectionKind::kNeedMore);
  EXPECT_EQ(ClassifyConnection("GET / HTTP/1.1"), ConnectionKind::kHttp);
  EXPECT_EQ(ClassifyConnection("P"), ConnectionKind::kNeedMore);
  EXPECT_EQ(ClassifyConnection("POST"), ConnectionKind::kHttp);
  EXPECT_EQ(ClassifyConnection("PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), ConnectionKind::kNeedMore);
  EXPECT_EQ(ClassifyConnection("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ConnectionKind::kGrpcPlaintext);
  EXPECT_EQ(ClassifyConnection("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"), ConnectionKind::kHttp);
  EXPECT_EQ(ClassifyConnection(std::string("\x16\x02\x00\x00\x01", 5)), ConnectionKind::kMalformed);
  EXPECT_EQ(ClassifyConnection(std::string("\x16\x03\x01\x00\x00", 5)), ConnectionKind::kMalformed);
  EXPECT_EQ(ClassifyConnection(std::string("\x16\x03\x01\xff\xff", 5)), ConnectionKind::kMalformed);
  EXPECT_EQ(ClassifyConnection(std::string("\x16\x03\x01\x00\x01\x02", 6)), ConnectionKind::kMalformed);
  EXPECT_EQ(ClassifyConnection(std::string("\x16\x03\x01\x00\x04\x01\xff\xff\xff", 9)), ConnectionKind::kMalformed);
  EXPECT_EQ(
      ClassifyConnection(Records(Handshake(Alpn({"h2"})), 20).substr(0, 25) + std::string("\x15\x03\x01\x00\x02", 5)),
      ConnectionKind::kMalformed);
  // One byte a record for ever.
  std::string drip;
  while (drip.size() < kMaxSniffBytes) drip += Records(drip.empty() ? std::string("\x01", 1) : std::string(1, '\0'), 1);
  EXPECT_EQ(ClassifyConnection(drip), ConnectionKind::kMalformed);
}

// ---- Errors ----

TEST(HttpErrorTest, FollowsTheTable) {
  const int want[] = {200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401};
  for (int code = 0; code <= 16; ++code) EXPECT_EQ(HttpCodeOfGrpc(code), want[code]) << code;
  EXPECT_EQ(HttpCodeOfGrpc(1024), 500);
  EXPECT_EQ(HttpCodeOfGrpc(-1), 500);
}

TEST(HttpErrorTest, DetailsBecomeReasonTextAndRetryAfter) {
  google::rpc::Status status;
  status.set_code(8);
  status.set_message("Too many.");
  google::rpc::ErrorInfo info;
  info.set_reason("COLLECTOR_LIMIT");
  status.add_details()->PackFrom(info);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(7);
  status.add_details()->PackFrom(retry);
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("name");
  bad.mutable_field_violations(0)->set_description("is empty");
  status.add_details()->PackFrom(bad);
  const HttpError error = ErrorOfGrpc(8, "ignored", status.SerializeAsString());
  EXPECT_EQ(error.code, 429);
  EXPECT_EQ(error.retry_after, absl::Seconds(7));
  EXPECT_EQ(ErrorBody(error, "r1"),
            R"({"error":"Too Many Requests","message":"Too many.","code":429,"details":"name: is empty",)"
            R"("reason":"COLLECTOR_LIMIT","request_id":"r1"})");
  EXPECT_EQ(ErrorOfGrpc(5, "gone", "garbage").message, "gone");
}

}  // namespace
}  // namespace pga::gateway
