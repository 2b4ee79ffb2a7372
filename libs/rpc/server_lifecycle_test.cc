// Drain, health, limits and the start of servers; channels to several addresses.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"
#include "libs/clock/steady.h"
#include "libs/rpc/auth_watch.h"
#include "libs/rpc/client.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/node_testing.h"
#include "libs/rpc/server.h"
#include "libs/rpc/unary.h"
#include "libs/status/testing.h"
#include "libs/testing/wait_until.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"

namespace pga::rpc {
namespace {

namespace authpb = pganalytics::auth::v1;
namespace querypb = pganalytics::query::v1;
using status::IsOk;
using status::StatusIs;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using token::Principal;

TEST_P(BothForms, DrainLetsRunningCallsFinishAndRefusesNewOnes) {
  Node node(&world_);
  absl::Notification entered, release;
  node.system.handler = [&](CallContext&, const auto&, querypb::GetVersionResponse& response) {
    entered.Notify();
    release.WaitForNotification();
    response.set_version("done");
    return absl::OkStatus();
  };
  const auto channel = node.Channel(GetParam());
  absl::StatusOr<querypb::GetVersionResponse> running = absl::UnknownError("");
  std::thread caller([&] { running = GetVersion(channel, Within(kLimit)); });
  entered.WaitForNotification();
  std::thread drain([&] { node.server->Drain(clock::SteadyNow() + absl::Seconds(15)); });
  // The server says no to new calls while the old one still runs.
  const auto refused = [&] {
    return absl::IsUnavailable(
        WhoAmI(channel, Within(absl::Seconds(2), world_.Token(Principal::kCollector, "a"))).status());
  };
  ASSERT_TRUE(pga::testing::WaitUntil(refused, kLimit));
  release.Notify();
  drain.join();
  caller.join();
  ASSERT_THAT(running.status(), IsOk());
  EXPECT_EQ(running->version(), "done");
}

TEST_P(BothForms, CallsOnADrainedPoolAreUnavailableAndQueuedOnesAreAnswered) {
  NodeOptions options;
  options.threads = 1;
  Node node(&world_, options);
  absl::Notification entered, release;
  node.system.handler = [&](CallContext&, const auto&, auto&) {
    if (!entered.HasBeenNotified()) entered.Notify();
    release.WaitForNotification();
    return absl::OkStatus();
  };
  const auto channel = node.Channel(GetParam());
  std::thread running([&] { EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), IsOk()); });
  entered.WaitForNotification();
  absl::Status queued;
  std::thread waiting([&] { queued = GetVersion(channel, Within(kLimit)).status(); });
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return node.pool.queued() == 1; }, kLimit));
  std::thread drain([&] { node.pool.Drain(clock::SteadyNow() + absl::Milliseconds(50)); });
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return node.pool.draining(); }, kLimit));
  EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), StatusIs(absl::StatusCode::kUnavailable));
  // The pool drops what waited when its time is over; the caller gets an answer all the same.
  const clock::SteadyTime over = clock::SteadyNow() + absl::Milliseconds(100);
  EXPECT_TRUE(pga::testing::WaitUntil([&] { return clock::SteadyNow() > over; }, kLimit));
  release.Notify();
  running.join();
  drain.join();
  waiting.join();
  EXPECT_THAT(queued, AnyOf(IsOk(), StatusIs(absl::StatusCode::kUnavailable)));
}

TEST_P(BothForms, HealthFollowsServing) {
  Node node(&world_);
  const auto channel = node.Channel(GetParam());
  // The health proto is not among ours: its messages are one string (service) and one enum (status) field.
  const auto check = [&channel]() -> std::string {
    grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check", grpc::internal::RpcMethod::NORMAL_RPC);
    grpc::ClientContext context;
    context.set_deadline(GrpcDeadline(clock::SteadyNow() + kLimit));
    grpc::ByteBuffer request, response;
    grpc::Slice empty("");
    request = grpc::ByteBuffer(&empty, 1);
    const grpc::Status status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
        channel.get(), method, &context, request, &response);
    if (!status.ok()) return status.error_message();
    std::vector<grpc::Slice> slices;
    EXPECT_TRUE(response.Dump(&slices).ok());
    std::string bytes;
    for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    return bytes;
  };
  EXPECT_EQ(check(), std::string("\x08\x01"));
  node.server->SetServing(false);
  EXPECT_EQ(check(), std::string("\x08\x02"));
}

TEST(Limits, TooLargeRequestIsRefused) {
  World world;
  Node node(&world);
  auto stub = authpb::AuthService::NewStub(node.Channel(true));
  authpb::LoginRequest request;
  request.set_username(std::string(1 << 20, 'x'));
  EXPECT_THAT(Call(*stub, &authpb::AuthService::Stub::Login, request, Within(kLimit)).status(),
              StatusIs(absl::StatusCode::kResourceExhausted));
  request.set_username("ok");
  EXPECT_THAT(Call(*stub, &authpb::AuthService::Stub::Login, request, Within(kLimit)).status(), IsOk());
}

TEST(Limits, TooMuchMetadataIsRefused) {
  World world;
  Node node(&world);
  CallOptions options = Within(kLimit);
  options.metadata = {{"x-long", std::string(40'000, 'x')}};
  EXPECT_THAT(GetVersion(node.Channel(true), options).status(), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(Start, SaysWhatIsWrong) {
  World world;
  Node node(&world);
  Server::Options taken;
  taken.name = "query";
  taken.listen = {node.address()};
  taken.services = {&node.system};
  EXPECT_THAT(Server::Start(std::move(taken)).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(node.address())));
  Server::Options no_certificate;
  no_certificate.name = "query";
  no_certificate.listen = {"127.0.0.1:0"};
  no_certificate.tls.enabled = true;
  EXPECT_THAT(Server::Start(std::move(no_certificate)).status(), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(Channels, CallsGoToAllAddressesOfAName) {
  World world;
  Node nodes[2] = {Node(&world), Node(&world)};
  std::atomic<int> calls[2] = {0, 0};
  for (int i = 0; i < 2; ++i) {
    nodes[i].system.handler = [&calls, i](CallContext&, const auto&, querypb::GetVersionResponse&) {
      ++calls[i];
      return absl::OkStatus();
    };
  }
  const auto channel =
      *Connect("ipv4:" + nodes[0].address() + "," + nodes[1].address(), {}, ChannelOptions{.all_addresses = true});
  // The second connection may stand a moment after the first.
  const auto both_answer = [&] {
    EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), IsOk());
    return calls[0] > 0 && calls[1] > 0;
  };
  EXPECT_TRUE(pga::testing::WaitUntil(both_answer, kLimit));
  const int before[2] = {calls[0], calls[1]};
  for (int i = 0; i < 10; ++i) EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), IsOk());
  EXPECT_EQ(calls[0], before[0] + 5);
  EXPECT_EQ(calls[1], before[1] + 5);
  // One that stops is left out.
  nodes[0].server->Drain(clock::SteadyNow());
  EXPECT_TRUE(pga::testing::WaitUntil(
      [&] { return GetVersion(channel, Within(kLimit)).ok() && calls[1] > before[1] + 6; }, kLimit));
}

}  // namespace
}  // namespace pga::rpc
