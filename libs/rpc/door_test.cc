// What a door does for callers: who they are to the services, how much they may send, and how they are refused. Calls
// in general are tested in server_test.cc, attacks in hostile_peer_test.cc.
#include "libs/rpc/door.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <limits>
#include <thread>

#include "absl/synchronization/notification.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/door/proxy_header.h"
#include "libs/rpc/client.h"
#include "libs/rpc/door_metadata.h"
#include "libs/rpc/http2_attacks_testing.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/server.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/testing/wait_until.h"
#include "libs/token/signer.h"
#include "pganalytics/ingest/v1/ingest_service.grpc.pb.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"

namespace pga::rpc {
namespace {

namespace querypb = pganalytics::query::v1;
using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kSecret[] = "a secret of this test with enough bytes";
constexpr absl::Duration kLimit = absl::Seconds(30);

class Version final : public querypb::SystemService::CallbackService {
 public:
  explicit Version(Dispatcher* dispatcher) : dispatcher_(dispatcher) {}
  // Answers with who called, as far as the service knows.
  grpc::ServerUnaryReactor* GetVersion(grpc::CallbackServerContext* context, const querypb::GetVersionRequest* request,
                                       querypb::GetVersionResponse* response) override {
    return dispatcher_->Unary<querypb::GetVersionRequest, querypb::GetVersionResponse>(
        context, request, response, [](CallContext& call, const auto&, auto& answer) {
          std::string text = "peer=" + call.peer + " certificate=" + call.peer_certificate_collector_id;
          for (const auto& [key, value] : call.request_metadata) text += " " + key + "=" + value;
          answer.set_version(text);
          return absl::OkStatus();
        });
  }

 private:
  Dispatcher* const dispatcher_;
};

struct World {
  explicit World(DoorLimits limits, std::vector<std::string> proxies = {}) {
    EXPECT_THAT(verifier.SetHmacSecrets({std::string(kSecret)}), IsOk());
    revocations.Apply({}, clock::Clock::Real()->BoottimeNanos());
    Server::Options options;
    options.name = "door";
    options.listen = {"127.0.0.1:0"};
    options.limits = limits;
    options.proxies = std::move(proxies);
    options.services = {&service};
    options.max_receive_bytes = 11 << 20;
    options.authenticator = &authenticator;
    options.metrics = &metrics;
    server = *Server::Start(std::move(options));
    address = "127.0.0.1:" + std::to_string(server->ports()[0]);
  }
  static std::string Token(token::Principal::Kind kind, const std::string& name) {
    token::Claims claims;
    claims.principal.kind = kind;
    if (kind == token::Principal::kCollector) {
      claims.principal.collector_id = name;
      claims.principal.subject = token::CollectorSubject(name);
    } else {
      claims.principal.service = name;
      claims.principal.subject = token::ServiceSubject(name);
    }
    claims.principal.issued_at = clock::WallNow() - absl::Minutes(1);
    claims.principal.expires_at = clock::WallNow() + absl::Hours(1);
    return *(*token::Signer::FromSecret(std::string(kSecret)))->Sign(claims);
  }
  absl::StatusOr<std::string> Ask(const std::string& bearer = "", const Metadata& metadata = {},
                                  std::shared_ptr<grpc::Channel> by = nullptr) {
    if (by == nullptr) by = *Connect(address, {});
    auto stub = querypb::SystemService::NewStub(by);
    CallOptions options = OwnWork(kLimit, nullptr);
    options.bearer = bearer;
    options.metadata = metadata;
    const auto answer = Call(*stub, &querypb::SystemService::Stub::GetVersion, querypb::GetVersionRequest(), options);
    if (!answer.ok()) return answer.status();
    return answer->version();
  }
  token::Verifier verifier;
  token::RevocationSet revocations;
  Authenticator authenticator{&verifier, &revocations};
  metrics::Registry metrics{/*process_metrics=*/false};
  exec::ThreadPool pool{"door", 4, 64};
  Dispatcher dispatcher{&authenticator, &pool, &metrics, clock::Clock::Real()};
  Version service{&dispatcher};
  std::unique_ptr<Server> server;
  std::string address;
};

DoorLimits Unlimited() {
  DoorLimits limits = DoorLimits::Outside();
  limits.address_per_minute = limits.user_per_minute = limits.collector_per_minute = 0;
  return limits;
}

// A socket on which HTTP/2 is written by hand.
class Wire {
 public:
  explicit Wire(const World& world) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in target{};
    target.sin_family = AF_INET;
    target.sin_port = htons(static_cast<uint16_t>(world.server->ports()[0]));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&target), sizeof target), 0);
  }
  ~Wire() { close(fd_); }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  void Send(const std::string& bytes) {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n = send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += static_cast<size_t>(n);
    }
  }
  // Reads until `text` has come; false when the connection ends or the time is over.
  bool Await(const std::string& text, absl::Duration limit = kLimit) {
    const clock::SteadyTime until = clock::SteadyNow() + limit;
    while (received_.find(text) == std::string::npos) {
      if (!ReadSome(until)) return false;
    }
    return true;
  }
  bool AwaitEnd(absl::Duration limit = kLimit) {
    const clock::SteadyTime until = clock::SteadyNow() + limit;
    while (ReadSome(until)) {
    }
    return ended_;
  }

 private:
  bool ReadSome(clock::SteadyTime until) {
    pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
    const absl::Duration left = until - clock::SteadyNow();
    if (left <= absl::ZeroDuration() || poll(&waiting, 1, static_cast<int>(absl::ToInt64Milliseconds(left))) <= 0) {
      return false;
    }
    char buffer[16384];
    const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) {
      ended_ = true;
      return false;
    }
    received_.append(buffer, static_cast<size_t>(n));
    return true;
  }
  int fd_ = -1;
  bool ended_ = false;
  std::string received_;
};

bool Eventually(const std::function<bool()>& condition) {
  return testing::WaitUntil(condition, kLimit);
}

const std::string& EmptyMessage() {
  static const auto* const message = new std::string(5, '\0');
  return *message;
}

TEST(Identity, WhatTheDoorSaysCannotBeSetFromOutside) {
  World world(Unlimited());
  const auto answer = world.Ask("", {{kDoorProof, DoorProof()},
                                     {kDoorPeer, "192.0.2.1:1"},
                                     {kDoorCertificate, "-----BEGIN CERTIFICATE-----"},
                                     {"x-doors", "stay"}});
  ASSERT_THAT(answer.status(), IsOk());
  EXPECT_THAT(*answer, StartsWith("peer=127.0.0.1:"));
  EXPECT_THAT(*answer, HasSubstr("certificate= "));
  EXPECT_THAT(*answer, HasSubstr("x-doors=stay"));
  EXPECT_THAT(*answer, Not(HasSubstr("x-door-"))) << "services see none of it";
}

TEST(Identity, WithoutTheProofNobodyIsBelievedInTheProcessEither) {
  World world(Unlimited());
  const auto answer =
      world.Ask("", {{kDoorProof, "guess"}, {kDoorPeer, "192.0.2.1:1"}}, world.server->InProcessChannel());
  ASSERT_THAT(answer.status(), IsOk());
  EXPECT_THAT(*answer, StartsWith("peer=in-process "));
}

TEST(Identity, ProxyOfATrustedNetworkSaysWhoseTheConnectionIs) {
  World world(Unlimited(), {"127.0.0.0/8"});
  Wire wire(world);
  wire.Send(door::WriteProxyHeader("203.0.113.7", 41'000) + Preface() + Headers(Request(), 1, false) +
            Frame(kData, kEndStream, 1, EmptyMessage()));
  EXPECT_TRUE(wire.Await("peer=203.0.113.7:41000 "));
  Wire without(world);
  without.Send(Preface() + Headers(Request()));
  EXPECT_TRUE(without.AwaitEnd()) << "from this network every connection has the header";
}

TEST(Identity, ProxyHeaderOfOthersIsNoPreface) {
  World world(Unlimited(), {"192.0.2.0/24"});
  Wire wire(world);
  wire.Send(door::WriteProxyHeader("203.0.113.7", 41'000) + Preface() + Headers(Request()));
  EXPECT_TRUE(wire.AwaitEnd());
  EXPECT_THAT(world.Ask().status(), IsOk());
}

TEST(Rates, CallsOfAnAddressAndOfACollectorAreLimitedByTheMinute) {
  DoorLimits limits = Unlimited();
  limits.address_per_minute = 3;
  limits.collector_per_minute = 5;
  World world(limits);
  const std::string one = World::Token(token::Principal::kCollector, "db-1");
  const auto channel = *Connect(world.address, {});
  const auto allowed = [&](const std::string& bearer) {
    int count = 0;
    absl::Status last;
    while (count < 20 && (last = world.Ask(bearer, {}, channel).status()).ok()) ++count;
    EXPECT_THAT(last, StatusIs(absl::StatusCode::kResourceExhausted));
    EXPECT_EQ(status::ReasonOf(last), "RATE_LIMITED");
    EXPECT_GT(status::RetryAfterOf(last), absl::ZeroDuration());
    return count;
  };
  EXPECT_EQ(allowed(""), 3);
  EXPECT_EQ(allowed(one), 5) << "a known caller does not suffer for its address";
  EXPECT_THAT(world.Ask(World::Token(token::Principal::kCollector, "db-2"), {}, channel).status(), IsOk());
  EXPECT_THAT(world.Ask("no token", {}, channel).status(), StatusIs(absl::StatusCode::kResourceExhausted))
      << "a bad token is none";
  const std::string service = World::Token(token::Principal::kService, "gateway");
  for (int i = 0; i < 20; ++i) EXPECT_THAT(world.Ask(service, {}, channel).status(), IsOk());
  EXPECT_THAT(world.metrics.Render(), HasSubstr("pga_door_calls_refused_total{reason=\"rate_limited\""));
}

TEST(Bytes, ArriveBeforeTheyAreCounted) {
  World world(Unlimited());
  const std::string token = Field("authorization", "Bearer " + World::Token(token::Principal::kCollector, "db-1"));
  Wire wire(world);
  std::string announced = Preface();
  for (uint32_t id = 1; id < 100; id += 2) {
    announced += Headers(Request() + token, id, false) + Frame(kData, 0, id, std::string("\0\0\xa0\0\0", 5));
  }
  wire.Send(announced + Headers(Request() + token, 101, false) + Frame(kData, kEndStream, 101, EmptyMessage()));
  EXPECT_TRUE(wire.Await("peer=127.0.0.1")) << "50 messages of 10 MiB are announced, and the next call is served";
  EXPECT_LT(world.server->held_bytes(), 1000);
}

TEST(Bytes, OfOneCallerAreBoundedAndLeaveRoomForOthers) {
  DoorLimits limits = Unlimited();
  limits.bytes = {.wait_total = 8 << 20, .most_total = 12 << 20, .wait_each = 64 << 10, .most_each = 128 << 10};
  World world(limits);
  const std::string token = Field("authorization", "Bearer " + World::Token(token::Principal::kCollector, "db-1"));
  Wire wire(world);
  std::string bytes = Preface();
  for (uint32_t id = 1; id < 40; id += 2) {
    bytes += Headers(Request() + token, id, false) +
             Frame(kData, 0, id, std::string("\0\0\xa0\0\0", 5) + std::string(15'000, 'x'));
  }
  wire.Send(bytes);
  EXPECT_TRUE(Eventually([&] {
    return world.metrics.Render().find("pga_door_calls_refused_total{reason=\"bytes\"") != std::string::npos;
  }));
  EXPECT_LE(world.server->held_bytes(), (128 << 10) + 16384) << "one frame beyond the second mark";
  EXPECT_THAT(world.Ask(World::Token(token::Principal::kCollector, "db-2")).status(), IsOk());
}

TEST(Bytes, AreHeldUntilTheServiceHasAnswered) {
  absl::Notification go;
  DoorLimits limits = Unlimited();
  limits.bytes = {.wait_total = 8 << 20, .most_total = 12 << 20, .wait_each = 32 << 10, .most_each = 64 << 10};
  World world(limits);
  // Calls wait for a thread, with their messages.
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(world.pool.TrySubmit([&go] { go.WaitForNotification(); }));
  const std::string token = Field("authorization", "Bearer " + World::Token(token::Principal::kCollector, "db-1"));
  // A message of one unknown field.
  const std::string message = std::string("\0\0\0\x3a\x9b\x7a\x98\x75", 8) + std::string(15'000, 'x');
  Wire wire(world);
  std::string bytes = Preface();
  for (uint32_t id = 1; id < 20; id += 2) {
    bytes += Headers(Request() + token, id, false) + Frame(kData, kEndStream, id, message);
  }
  wire.Send(bytes);
  EXPECT_TRUE(Eventually([&] {
    return world.metrics.Render().find("pga_door_calls_refused_total{reason=\"bytes\"") != std::string::npos;
  }));
  EXPECT_LE(world.server->held_bytes(), (64 << 10) + 16384) << "one frame beyond the second mark";
  go.Notify();
  EXPECT_TRUE(wire.Await("peer=127.0.0.1"));
  EXPECT_TRUE(Eventually([&] { return world.server->held_bytes() == 0; }));
}

TEST(Bytes, AreGivenBackWithTheConnection) {
  World world(Unlimited());
  const std::string token = Field("authorization", "Bearer " + World::Token(token::Principal::kCollector, "db-1"));
  {
    Wire wire(world);
    wire.Send(Preface() + Headers(Request() + token, 1, false) +
              Frame(kData, 0, 1, std::string("\0\0\xa0\0\0", 5) + std::string(10'000, 'x')));
    EXPECT_TRUE(Eventually([&] { return world.server->held_bytes() >= 10'000; }));
  }
  EXPECT_TRUE(Eventually([&] { return world.server->held_bytes() == 0; }));
}

TEST(Bytes, StrangersSendSmallMessagesOnly) {
  World world(Unlimited());
  const auto channel = *Connect(world.address, {});
  const auto code_of = [&](size_t size, const std::string& bearer) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    if (!bearer.empty()) context.AddMetadata(kAuthorization, "Bearer " + bearer);
    // A message of one unknown field.
    std::string text = std::string("\x7a") + static_cast<char>(size % 128 + 128) +
                       static_cast<char>(size / 128 % 128 + 128) + static_cast<char>(size / 16384) +
                       std::string(size, 'x');
    const grpc::Slice slice(text);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    absl::Notification done;
    grpc::StatusCode code = grpc::StatusCode::UNKNOWN;
    stub.UnaryCall(&context, "/pganalytics.query.v1.SystemService/GetVersion", grpc::StubOptions(), &request, &response,
                   [&](const grpc::Status& status) {
                     code = status.error_code();
                     done.Notify();
                   });
    done.WaitForNotification();
    return code;
  };
  EXPECT_EQ(code_of(60'000, ""), grpc::StatusCode::OK);
  EXPECT_EQ(code_of(70'000, ""), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(code_of(1'000'000, World::Token(token::Principal::kCollector, "db-1")), grpc::StatusCode::OK);
}

TEST(Slowness, RequestsThatStopAndAnswersThatNobodyTakesEnd) {
  DoorLimits limits = Unlimited();
  limits.stall = absl::Seconds(1);
  World world(limits);
  const std::string token = Field("authorization", "Bearer " + World::Token(token::Principal::kCollector, "db-1"));
  Wire request(world), answer(world), ack(world);
  request.Send(Preface() + Headers(Request() + token, 1, false) + Frame(kData, 0, 1, std::string("\0\0\0\1\0", 5)));
  // INITIAL_WINDOW_SIZE 0: the answer cannot leave.
  answer.Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0, 0, std::string("\0\4\0\0\0\0", 6)) +
              Frame(kSettings, kAck, 0, "") + Headers(Request() + token, 1, false) +
              Frame(kData, kEndStream, 1, EmptyMessage()));
  EXPECT_TRUE(request.AwaitEnd());
  EXPECT_TRUE(answer.AwaitEnd());
  EXPECT_THAT(world.metrics.Render(), HasSubstr("reason=\"slow_request\""));
  EXPECT_THAT(world.metrics.Render(), HasSubstr("reason=\"slow_reader\""));
}

TEST(Slowness, SettingsHaveToBeAcknowledged) {
  DoorLimits limits = Unlimited();
  limits.settings_ack = absl::Seconds(1);
  World world(limits);
  Wire wire(world);
  wire.Send(Preface());
  EXPECT_TRUE(wire.AwaitEnd());
  EXPECT_THAT(world.metrics.Render(), HasSubstr("reason=\"settings_ack\""));
}

// Ends a stream as it is asked to, whatever the client still has to say.
class Streams final : public pganalytics::ingest::v1::IngestService::CallbackService {
 public:
  using Request = pganalytics::ingest::v1::StreamBatchesRequest;
  using Response = pganalytics::ingest::v1::StreamBatchesResponse;
  grpc::ServerBidiReactor<Request, Response>* StreamBatches(grpc::CallbackServerContext*) override {
    class Reactor final : public grpc::ServerBidiReactor<Request, Response> {
     public:
      explicit Reactor(bool at_once) {
        if (at_once) {
          Finish(grpc::Status(grpc::StatusCode::ABORTED, "at once"));
        } else {
          StartRead(&request_);
        }
      }
      void OnReadDone(bool ok) override { Finish(grpc::Status(grpc::StatusCode::ABORTED, ok ? "read" : "ended")); }
      void OnDone() override { delete this; }

     private:
      Request request_;
    };
    return new Reactor(at_once);
  }
  std::atomic<bool> at_once{false};
};

int64_t ResidentKib() {
  malloc_trim(0);
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE) >> 10;
}

TEST(Streamed, CallsThatTheServiceEndsFirstLeaveNothing) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer keeps freed memory aside";
#endif
  Streams service;
  Server::Options options;
  options.name = "streams";
  options.listen = {"127.0.0.1:0"};
  options.services = {&service};
  const auto server = *Server::Start(std::move(options));
  const auto channel = *Connect("127.0.0.1:" + std::to_string(server->ports()[0]), {});
  const auto stub = pganalytics::ingest::v1::IngestService::NewStub(channel);
  for (const bool at_once : {false, true}) {
    for (const bool cancel : {false, true}) {
      service.at_once = at_once;
      const auto calls = [&](int count) {
        for (int i = 0; i < count; ++i) {
          grpc::ClientContext context;
          const auto stream = stub->StreamBatches(&context);
          Streams::Request request;
          request.mutable_hello()->set_config_version(static_cast<int32_t>(i));
          stream->Write(request);
          if (cancel) context.TryCancel();
          stream->WritesDone();
          Streams::Response response;
          while (stream->Read(&response)) {
          }
          EXPECT_FALSE(stream->Finish().ok());
        }
      };
      calls(300);
      // What calls leave is left by every thousand; what other work of the process takes meanwhile is not.
      int64_t least = std::numeric_limits<int64_t>::max();
      for (int round = 0; round < 3 && least >= 12'000; ++round) {
        const int64_t before = ResidentKib();
        calls(1'000);
        least = std::min(least, ResidentKib() - before);
      }
      EXPECT_LT(least, 12'000) << "KiB for 1000 calls; at once " << at_once << ", cancelled " << cancel;
    }
  }
}

// gRPC's clients send RST_STREAM alone for a call that ends before its head is on the wire.
TEST(Resets, OfAStreamThatWasNeverOpenedEndNoOther) {
  World world(Unlimited());
  Wire wire(world);
  wire.Send(Preface() + Frame(kSettings, kAck, 0, "") + Headers(Request(), 1, false) +
            Frame(kRst, 0, 3, std::string("\0\0\0\x8", 4)) + Frame(kData, kEndStream, 1, EmptyMessage()));
  ASSERT_TRUE(wire.Await("peer="));
  EXPECT_THAT(world.metrics.Render(), Not(HasSubstr("pga_door_closed_total")));
}

TEST(Resets, CallsThatEndAtOnceEndNoOtherOfTheirConnection) {
  World world(DoorLimits::Inside());
  const auto channel = *Connect(world.address, {});
  ASSERT_THAT(world.Ask("", {}, channel), IsOk());
  const auto stub = querypb::SystemService::NewStub(channel);
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < 5; ++i) {
      grpc::ClientContext context;
      grpc::CompletionQueue queue;
      const auto call = stub->AsyncGetVersion(&context, querypb::GetVersionRequest(), &queue);
      querypb::GetVersionResponse response;
      grpc::Status status;
      call->Finish(&response, &status, nullptr);
      context.TryCancel();
      void* tag = nullptr;
      bool ok = false;
      queue.Next(&tag, &ok);
    }
    ASSERT_THAT(world.Ask("", {}, channel), IsOk()) << round;
  }
  EXPECT_THAT(world.metrics.Render(), Not(HasSubstr("pga_door_closed_total")));
}

TEST(Drained, ConnectionIsToldToGoAway) {
  World world(Unlimited());
  Wire wire(world);
  wire.Send(Preface() + Frame(kSettings, kAck, 0, "") + Headers(Request(), 1, false) +
            Frame(kData, kEndStream, 1, EmptyMessage()));
  ASSERT_TRUE(wire.Await("peer="));
  std::thread drain([&] { world.server->Drain(clock::SteadyNow() + kLimit); });
  EXPECT_TRUE(wire.Await(std::string("\0\0\x08\7\0\0\0\0\0\0\0\0\1\0\0\0\0", 17)))
      << "GOAWAY behind stream 1, NO_ERROR";
  EXPECT_TRUE(wire.AwaitEnd());
  drain.join();
}

}  // namespace
}  // namespace pga::rpc
