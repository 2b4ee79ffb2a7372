// What an unknown peer can send to the port before anybody knows who it is: broken and abusive HTTP/2. gRPC 1.51 is
// older than the fixes of several published weaknesses; each is a case here (named where it has a number), and after
// each the server must still answer others. An abort ends this test program, which is how such a case would show.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/rpc/server.h"
#include "libs/rpc/unary.h"
#include "libs/status/testing.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"

namespace pga::rpc {
namespace {

namespace querypb = pganalytics::query::v1;

enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kRst = 3,
  kSettings = 4,
  kPing = 6,
  kWindow = 8,
  kContinuation = 9
};
constexpr uint8_t kEndStream = 1;
constexpr uint8_t kEndHeaders = 4;

std::string Big32(uint32_t value) {
  const uint32_t wire = htonl(value);
  return {reinterpret_cast<const char*>(&wire), 4};
}
std::string Frame(FrameType type, uint8_t flags, uint32_t stream, const std::string& payload) {
  return Big32(static_cast<uint32_t>(payload.size())).substr(1) + std::string(1, static_cast<char>(type)) +
         std::string(1, static_cast<char>(flags)) + Big32(stream) + payload;
}
std::string HpackText(const std::string& text) {
  size_t size = text.size();
  if (size < 127) return std::string(1, static_cast<char>(size)) + text;
  std::string out(1, '\x7f');
  for (size -= 127; size >= 128; size /= 128) out += static_cast<char>(size % 128 + 128);
  return out + static_cast<char>(size) + text;
}
// A header field with a new name, not indexed, not Huffman-coded.
std::string Field(const std::string& name, const std::string& value) {
  return std::string(1, '\0') + HpackText(name) + HpackText(value);
}
std::string Request(const std::string& scheme = "http", const std::string& te = "trailers") {
  return Field(":method", "POST") + Field(":scheme", scheme) +
         Field(":path", "/pganalytics.query.v1.SystemService/GetVersion") + Field(":authority", "localhost") +
         Field("content-type", "application/grpc") + Field("te", te);
}
// HEADERS and as many CONTINUATION frames as the block needs.
std::string Headers(std::string block, uint32_t stream = 1, bool end_stream = true) {
  constexpr size_t kPiece = 16'000;
  std::string out;
  for (FrameType type = kHeaders; type == kHeaders || !block.empty(); type = kContinuation) {
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
std::string RapidReset(int streams) {
  std::string out;
  for (int i = 0; i < streams; ++i) {
    const auto id = static_cast<uint32_t>(2 * i + 1);
    out += Headers(Request(), id, false) + Frame(kRst, 0, id, Big32(8));
  }
  return out;
}

struct Attack {
  const char* name;
  std::string bytes;
  bool with_preface = true;
  friend void PrintTo(const Attack& attack, std::ostream* os) { *os << attack.name; }
};

std::vector<Attack> Attacks() {
  const std::string kibi9(9'000, 'x');
  return {
      {"TeWithLongHeaders_CVE_2023_1428", Headers(Request("http", "x") + Field("a", kibi9))},
      {"SchemeWithLongHeaders_CVE_2023_1428", Headers(Request("x") + Field("a", kibi9))},
      {"LoadBalancerStats_CVE_2023_1428", Headers(Request() + Field("grpclb_client_stats", "x") + Field("a", kibi9))},
      {"TeWithVeryLongHeaders", Headers(Request("http", "x") + Field("a", std::string(40'000, 'x')))},
      {"BadBase64InBinaryHeader_CVE_2023_32732", Headers(Request() + Field("x-bin", "!!!")) + Headers(Request(), 3)},
      {"ShortBase64InBinaryHeader", Headers(Request() + Field("x-bin", "A")) + Headers(Request(), 3)},
      {"HpackTableTooLarge_CVE_2023_33953", Headers("\x3f\xff\xff\xff\xff\x0f" + Request())},
      {"HpackManyTableUpdates", Headers(Repeat(5'000, "\x20") + Request())},
      {"HpackIndexOutOfTable", Headers("\xff\xff\xff\xff\x0f")},
      {"HpackNumberWithoutEnd", Headers("\xff" + std::string(2'000, '\xff'))},
      {"RapidReset_CVE_2023_44487", RapidReset(3'000)},
      {"RapidResetTenTimesAsMany", RapidReset(30'000)},
      {"ContinuationFlood_CVE_2024_30255",
       Frame(kHeaders, 0, 1, Request()) +
           Repeat(3'000, Frame(kContinuation, 0, 1, Field("a", std::string(1'000, 'b'))))},
      {"EmptyContinuations", Frame(kHeaders, 0, 1, "") + Repeat(20'000, Frame(kContinuation, 0, 1, ""))},
      {"PingFlood_CVE_2019_9512", Repeat(20'000, Frame(kPing, 0, 0, "12345678"))},
      {"SettingsFlood_CVE_2019_9515", Repeat(20'000, Frame(kSettings, 0, 0, ""))},
      {"TinyDataFrames", Headers(Request(), 1, false) + Repeat(100'000, Frame(kData, 0, 1, std::string(1, '\0')))},
      {"EmptyDataFrames_CVE_2019_9518", Headers(Request(), 1, false) + Repeat(50'000, Frame(kData, 0, 1, ""))},
      {"DataOnIdleStream", Frame(kData, 0, 1, "abc")},
      {"WindowOverflow", Repeat(3, Frame(kWindow, 0, 0, Big32(0x7fffffff)))},
      {"MessageLargerThanAllowed",
       Headers(Request(), 1, false) + Frame(kData, 0, 1, std::string("\0\xff\xff\xff\xff", 5))},
      {"CompressedMessage", Headers(Request() + Field("grpc-encoding", "gzip"), 1, false) +
                                Frame(kData, kEndStream, 1, std::string("\1\0\0\0\4abcd", 9))},
      {"FrameLongerThanSettings", std::string("\xff\xff\xff\x00\x00\x00\x00\x00\x01", 9)},
      {"ManyHeaders", Headers(Request() + Repeat(2'000, Field("a", "b")))},
      {"PathLong",
       Headers(Field(":method", "POST") + Field(":scheme", "http") + Field(":path", std::string(12'000, '/')))},
      {"NoPath", Headers(Field(":method", "POST") + Field(":scheme", "http"))},
      {"Garbage", std::string(5'000, '\x9d')},
      {"NoPreface", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false},
      {"HalfPreface", "PRI * HTT", false},
      {"Silence", "", false},
  };
}

class Version final : public querypb::SystemService::CallbackService {
 public:
  explicit Version(Dispatcher* dispatcher) : dispatcher_(dispatcher) {}
  grpc::ServerUnaryReactor* GetVersion(grpc::CallbackServerContext* context, const querypb::GetVersionRequest* request,
                                       querypb::GetVersionResponse* response) override {
    return dispatcher_->Unary<querypb::GetVersionRequest, querypb::GetVersionResponse>(
        context, request, response, [](CallContext&, const auto&, auto&) { return absl::OkStatus(); });
  }

 private:
  Dispatcher* const dispatcher_;
};

struct Target {
  Target() {
    Server::Options options;
    options.name = "target";
    options.listen = {"127.0.0.1:0"};
    options.services = {&service};
    options.handshake_timeout = absl::Seconds(2);
    server = *Server::Start(std::move(options));
  }
  token::Verifier verifier;
  token::RevocationSet revocations;
  Authenticator authenticator{&verifier, &revocations};
  metrics::Registry metrics{/*process_metrics=*/false};
  exec::ThreadPool pool{"target", 4, 64};
  Dispatcher dispatcher{&authenticator, &pool, &metrics, clock::Clock::Real()};
  Version service{&dispatcher};
  std::unique_ptr<Server> server;
};
Target& TheTarget() {
  static auto* const target = new Target;
  return *target;
}

int Connected(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

// The address sanitizer keeps freed memory aside, so that the figure says nothing there.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kMemoryIsOurs = false;
#else
constexpr bool kMemoryIsOurs = true;
#endif

int64_t ResidentMib() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE) >> 20;
}

class HostilePeer : public ::testing::TestWithParam<Attack> {};
INSTANTIATE_TEST_SUITE_P(All, HostilePeer, ::testing::ValuesIn(Attacks()),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST_P(HostilePeer, DoesNotDisturbOthers) {
  const int port = TheTarget().server->ports()[0];
  const auto channel = *Connect("127.0.0.1:" + std::to_string(port), {});
  const auto answers = [&channel] {
    auto stub = querypb::SystemService::NewStub(channel);
    CallOptions options = OwnWork(absl::Seconds(30), nullptr);
    options.wait_for_ready = true;  // the limit is on the answer; a connection may be tried more than once
    return Call(*stub, &querypb::SystemService::Stub::GetVersion, querypb::GetVersionRequest(), options).status();
  };
  ASSERT_THAT(answers(), status::IsOk());
  const int64_t before = ResidentMib();
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0, 0, "");
  const std::string bytes = (GetParam().with_preface ? preface : "") + GetParam().bytes;
  const int fd = Connected(port);
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(10);
  size_t sent = 0;
  bool open = true;
  // Sends all of it, reads (and forgets) what comes back, and stays a moment, as long as the server lets it.
  clock::SteadyTime quiet_since = clock::SteadyNow();
  while (open && clock::SteadyNow() < deadline &&
         (sent < bytes.size() || clock::SteadyNow() < quiet_since + absl::Milliseconds(100))) {
    pollfd waiting{.fd = fd, .events = static_cast<short>(POLLIN | (sent < bytes.size() ? POLLOUT : 0)), .revents = 0};
    if (poll(&waiting, 1, 20) <= 0) continue;
    if ((waiting.revents & POLLIN) != 0) {
      char buffer[65536];
      const ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno != EAGAIN)) open = false;
    }
    if (open && (waiting.revents & POLLOUT) != 0) {
      const ssize_t n = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) open = false;
      if (n > 0) sent += static_cast<size_t>(n);
      quiet_since = clock::SteadyNow();
    }
    if ((waiting.revents & (POLLERR | POLLHUP)) != 0 && (waiting.revents & POLLIN) == 0) open = false;
  }
  EXPECT_THAT(answers(), status::IsOk());
  close(fd);
  EXPECT_THAT(answers(), status::IsOk());
  if (!kMemoryIsOurs) return;
  // What is left of the peer is cleared away a moment after it has gone; the allocator gives pages back when asked.
  int64_t grown = 0;
  const clock::SteadyTime cleared_by = clock::SteadyNow() + absl::Seconds(20);
  do {
    malloc_trim(0);
    grown = ResidentMib() - before;
  } while (grown >= 64 && clock::SteadyNow() < cleared_by);
  EXPECT_LT(grown, 64) << "MiB kept for one peer";
}

}  // namespace
}  // namespace pga::rpc
