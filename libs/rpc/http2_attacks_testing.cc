#include "libs/rpc/http2_attacks_testing.h"

#include <arpa/inet.h>

namespace pga::rpc {

std::string Big32(uint32_t value) {
  const uint32_t wire = htonl(value);
  return {reinterpret_cast<const char*>(&wire), 4};
}
std::string Frame(Http2Frame type, uint8_t flags, uint32_t stream, const std::string& payload) {
  return Big32(static_cast<uint32_t>(payload.size())).substr(1) + std::string(1, static_cast<char>(type)) +
         std::string(1, static_cast<char>(flags)) + Big32(stream) + payload;
}
static std::string HpackText(const std::string& text) {
  size_t size = text.size();
  if (size < 127) return std::string(1, static_cast<char>(size)) + text;
  std::string out(1, '\x7f');
  for (size -= 127; size >= 128; size /= 128) out += static_cast<char>(size % 128 + 128);
  return out + static_cast<char>(size) + text;
}
std::string Field(const std::string& name, const std::string& value) {
  return std::string(1, '\0') + HpackText(name) + HpackText(value);
}
std::string Request(const std::string& scheme, const std::string& te) {
  return Field(":method", "POST") + Field(":scheme", scheme) +
         Field(":path", "/pganalytics.query.v1.SystemService/GetVersion") + Field(":authority", "localhost") +
         Field("content-type", "application/grpc") + Field("te", te);
}
std::string Headers(std::string block, uint32_t stream, bool end_stream) {
  constexpr size_t kPiece = 16'000;
  std::string out;
  for (Http2Frame type = kHeaders; type == kHeaders || !block.empty(); type = kContinuation) {
    const std::string piece = block.substr(0, kPiece);
    block.erase(0, piece.size());
    const uint8_t flags =
        static_cast<uint8_t>((type == kHeaders && end_stream ? kEndStream : 0) | (block.empty() ? kEndHeaders : 0));
    out += Frame(type, flags, stream, piece);
  }
  return out;
}
std::string Repeat(int times, const std::string& text) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}
std::string Preface() {
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0, 0, "");
}
std::string RapidReset(int streams) {
  std::string out;
  for (int i = 0; i < streams; ++i) {
    const auto id = static_cast<uint32_t>(2 * i + 1);
    out += Headers(Request(), id, false) + Frame(kRst, 0, id, Big32(8));
  }
  return out;
}

std::string Streams(int streams, const std::string& data) {
  std::string out;
  for (int i = 0; i < streams; ++i) {
    const auto id = static_cast<uint32_t>(2 * i + 1);
    out += Headers(Request(), id, data.empty());
    if (!data.empty()) out += Frame(kData, 0, id, data);
  }
  return out;
}
static std::string Setting(int id, uint32_t value) {
  return std::string{static_cast<char>(id >> 8), static_cast<char>(id)} + Big32(value);
}
static std::string Settings(const std::string& entries) {
  return Frame(kSettings, 0, 0, entries);
}
// Invalid frames on many streams, each of which makes the server reset the stream (CVE-2025-8671).
static std::string MadeToReset(int streams, Http2Frame type, const std::string& payload) {
  std::string out;
  for (int i = 0; i < streams; ++i) {
    const auto id = static_cast<uint32_t>(2 * i + 1);
    out += Headers(Request(), id, false) + Frame(type, 0, id, payload);
  }
  return out;
}
// A field that is put into the header table, and references to it.
static std::string HpackBomb(int references) {
  return "\x40" + HpackText("a") + HpackText(std::string(3'900, 'b')) + Repeat(references, "\xbe");
}

std::vector<Attack> Attacks() {
  const std::string kibi9(9'000, 'x');
  const std::string announced("\0\0\xa0\0\0", 5);  // a message of 10 MiB
  std::vector<Attack> attacks = {
      {"TeWithLongHeaders_CVE_2023_1428", Headers(Request("http", "x") + Field("a", kibi9))},
      {"SchemeWithLongHeaders_CVE_2023_1428", Headers(Request("x") + Field("a", kibi9))},
      {"LoadBalancerStats_CVE_2023_1428", Headers(Request() + Field("grpclb_client_stats", "x") + Field("a", kibi9))},
      {"TeWithVeryLongHeaders", Headers(Request("http", "x") + Field("a", std::string(40'000, 'x')))},
      {"BadBase64InBinaryHeader_CVE_2023_32732", Headers(Request() + Field("x-bin", "!!!")) + Headers(Request(), 3)},
      {"ShortBase64InBinaryHeader", Headers(Request() + Field("x-bin", "A")) + Headers(Request(), 3)},
      {"MetadataOfTheDoorItself", Headers(Request() + Field("x-door-proof", "x") + Field("x-door-peer", "192.0.2.1:1") +
                                          Field("x-door-certificate-bin", "AAAA"))},
      {"MetadataWithOddKey", Headers(Request() + Field("a b", "x"))},
      {"MetadataWithUpperCase", Headers(Request() + Field("Abc", "x"))},
      {"MetadataWithControlBytes", Headers(Request() + Field("a", "x\r\ny: z"))},
      {"MetadataBeyondAscii", Headers(Request() + Field("a", "\xc3\xa4"))},
      {"BadTimeout", Headers(Request() + Field("grpc-timeout", "-1S")) +
                         Headers(Request() + Field("grpc-timeout", "99999999999S"), 3) +
                         Headers(Request() + Field("grpc-timeout", ""), 5)},
  };
  const std::vector<Attack> more = {
      {"PseudoHeaderAfterOthers", Headers(Field("a", "b") + Request())},
      {"TwoPaths", Headers(Request() + Field(":path", "/x"))},
      {"ConnectionHeader", Headers(Request() + Field("connection", "close"))},
      {"TransferEncoding", Headers(Request() + Field("transfer-encoding", "chunked"))},
      {"ContentLengthThatLies",
       Headers(Request() + Field("content-length", "3"), 1, false) + Frame(kData, kEndStream, 1, "\0\0\0\0\0")},
      {"MethodGet",
       Headers(Field(":method", "GET") + Field(":scheme", "http") + Field(":path", "/") + Field(":authority", "x"))},
      {"ContentTypeJson", Headers(Field(":method", "POST") + Field(":scheme", "http") + Field(":path", "/x/y") +
                                  Field(":authority", "x") + Field("content-type", "application/json"))},
      {"HpackTableTooLarge_CVE_2023_33953", Headers("\x3f\xff\xff\xff\xff\x0f" + Request())},
      {"HpackManyTableUpdates", Headers(Repeat(5'000, "\x20") + Request())},
      {"HpackIndexOutOfTable", Headers("\xff\xff\xff\xff\x0f"), true, true},
      {"HpackNumberWithoutEnd", Headers("\xff" + std::string(2'000, '\xff')), true, true},
      {"HpackBomb_CVE_2016_6581", Headers(Request() + HpackBomb(12'000)), true, true},
      {"HeadersWithEmptyNames_CVE_2019_9516", Headers(Request() + Repeat(10'000, Field("", "")))},
      {"RapidReset_CVE_2023_44487", RapidReset(3'000), true, true},
      {"RapidResetTenTimesAsMany", RapidReset(30'000), true, true},
      {"MadeToResetByWindowOfZero_CVE_2025_8671", MadeToReset(3'000, kWindow, Big32(0)), true, true},
      {"MadeToResetByWindowOverflow_CVE_2025_8671", MadeToReset(3'000, kWindow, Big32(0x7fffffff)), true, true},
      {"MadeToResetByPriorityLength_CVE_2025_8671", MadeToReset(3'000, kPriority, "abc"), true, true},
      {"StreamsWithoutSettingsAck", Streams(20'000), true, true},
      {"StreamsThatAnnounceTenMebibytes", Streams(20'000, announced), true, true},
      {"ContinuationFlood_CVE_2024_30255",
       Frame(kHeaders, 0, 1, Request()) +
           Repeat(3'000, Frame(kContinuation, 0, 1, Field("a", std::string(1'000, 'b')))),
       true, true},
      {"EmptyContinuations_CVE_2019_9518", Frame(kHeaders, 0, 1, "") + Repeat(20'000, Frame(kContinuation, 0, 1, "")),
       true, true},
      {"ContinuationOfNothing", Frame(kContinuation, kEndHeaders, 1, Request()), true, true},
      {"HeadersWithinHeaders", Frame(kHeaders, 0, 1, Request()) + Headers(Request(), 3), true, true},
      {"PingFlood_CVE_2019_9512", Repeat(20'000, Frame(kPing, 0, 0, "12345678")), true, true},
      {"PingAckFlood", Repeat(20'000, Frame(kPing, kAck, 0, "12345678")), true, true},
      {"PingOfOddLength", Frame(kPing, 0, 0, "1234"), true, true},
      {"SettingsFlood_CVE_2019_9515", Repeat(20'000, Settings("")), true, true},
      {"SettingsWithManyEntries", Settings(Repeat(2'000, Setting(3, 100))), true, true},
      {"SettingsThatChangeWindows_CVE_2019_9517",
       Streams(10) + Repeat(5'000, Settings(Setting(4, 0)) + Settings(Setting(4, 0x7fffffff))), true, true},
      {"SettingsAckFlood", Repeat(5'000, Frame(kSettings, kAck, 0, "")), true, true},
      {"SettingsOfOddLength", Settings("abc"), true, true},
      {"SettingsWindowTooLarge", Settings(Setting(4, 0xffffffff)), true, true},
      {"SettingsFrameSizeTooSmall", Settings(Setting(5, 1)), true, true},
      {"PriorityFlood_CVE_2019_9513", Repeat(20'000, Frame(kPriority, 0, 1, Big32(3) + "\x10")), true, true},
      {"PriorityOnItself", Frame(kPriority, 0, 1, Big32(1) + "\x10")},
      {"TinyDataFrames", Headers(Request(), 1, false) + Repeat(100'000, Frame(kData, 0, 1, std::string(1, '\0'))), true,
       true},
      {"EmptyDataFrames_CVE_2019_9518", Headers(Request(), 1, false) + Repeat(50'000, Frame(kData, 0, 1, "")), true,
       true},
      {"DataThatIsPadding",
       Headers(Request(), 1, false) + Repeat(5'000, Frame(kData, kPadded, 1, "\x0f" + std::string(15, '\0'))), true,
       true},
      {"PaddingLongerThanTheFrame", Headers(Request(), 1, false) + Frame(kData, kPadded, 1, "\xff"), true, true},
      {"DataOnIdleStream", Frame(kData, 0, 1, "abc"), true, true},
      {"DataAfterTheEnd", Headers(Request(), 1, true) + Repeat(200, Frame(kData, 0, 1, std::string(100, 'x')))},
      {"DataBeyondTheWindow", Headers(Request(), 1, false) + Frame(kData, 0, 1, announced) +
                                  Repeat(400, Frame(kData, 0, 1, std::string(16'000, 'x')))},
      {"WindowUpdateFlood", Repeat(20'000, Frame(kWindow, 0, 0, Big32(1))), true, true},
      {"WindowOverflow", Repeat(3, Frame(kWindow, 0, 0, Big32(0x7fffffff))), true, true},
      {"WindowUpdateOfZero", Frame(kWindow, 0, 0, Big32(0)), true, true},
      {"WindowUpdateOfOddLength", Frame(kWindow, 0, 0, "ab"), true, true},
      {"AnswersWithoutWindow_CVE_2019_9511", Settings(Setting(4, 0)) + Streams(50)},
      {"ResetsOfIdleStreams", Repeat(5'000, Frame(kRst, 0, 1, Big32(8))), true, true},
      {"StreamIdThatIsEven", Headers(Request(), 2), true, true},
      {"StreamIdsThatGoBack", Headers(Request(), 9) + Headers(Request(), 7)},
      {"PushFromTheClient", Frame(kPush, kEndHeaders, 1, Big32(2) + Request()), true, true},
      {"GoawayFlood", Repeat(5'000, Frame(kGoaway, 0, 0, Big32(0) + Big32(0))), true, true},
      {"FramesOfUnknownTypes", Repeat(5'000, Frame(kUnknown, 0, 1, "abc")), true, true},
      {"MessageLargerThanAllowed",
       Headers(Request(), 1, false) + Frame(kData, 0, 1, std::string("\0\xff\xff\xff\xff", 5))},
      {"MessageThatEndsEarly", Headers(Request(), 1, false) + Frame(kData, kEndStream, 1, announced)},
      {"CompressedMessage", Headers(Request() + Field("grpc-encoding", "gzip"), 1, false) +
                                Frame(kData, kEndStream, 1, std::string("\1\0\0\0\4abcd", 9))},
      {"FrameLongerThanSettings", std::string("\xff\xff\xff\x00\x00\x00\x00\x00\x01", 9), true, true},
      {"ManyHeaders", Headers(Request() + Repeat(2'000, Field("a", "b")))},
      {"PathLong",
       Headers(Field(":method", "POST") + Field(":scheme", "http") + Field(":path", std::string(12'000, '/')))},
      {"NoPath", Headers(Field(":method", "POST") + Field(":scheme", "http"))},
      {"Garbage", std::string(5'000, '\x9d'), true, true},
      {"NoPreface", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, true},
      {"HalfPreface", "PRI * HTT", false},
      {"Silence", "", false},
  };
  attacks.insert(attacks.end(), more.begin(), more.end());
  return attacks;
}

}  // namespace pga::rpc
