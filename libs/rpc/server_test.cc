// Unary and streaming calls through real servers, in process and over TCP.
#include "libs/rpc/server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"
#include "libs/clock/steady.h"
#include "libs/rpc/auth_watch.h"
#include "libs/rpc/client.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/node_testing.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/testing/wait_until.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"

namespace pga::rpc {
namespace {

namespace authpb = pganalytics::auth::v1;
namespace querypb = pganalytics::query::v1;
using status::IsOk;
using status::StatusIs;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using token::Principal;

INSTANTIATE_TEST_SUITE_P(All, BothForms, ::testing::Bool(),
                         [](const auto& param_info) { return param_info.param ? "Tcp" : "InProcess"; });

TEST_P(BothForms, UnaryCallCarriesIdentityRequestIdDeadlineAndMetadata) {
  Node node(&world_);
  CallContext seen;
  node.system.handler = [&seen](CallContext& call, const auto&, querypb::GetVersionResponse& response) {
    response.set_version("3.2.0");
    call.SetResponseMetadata(kHttpCode, "207");
    seen.principal = call.principal;
    seen.request_id = call.request_id;
    seen.deadline = call.deadline;
    seen.method = call.method;
    seen.peer = call.peer;
    seen.bearer = call.bearer;
    seen.request_metadata = call.request_metadata;
    return absl::OkStatus();
  };
  const auto channel = node.Channel(GetParam());
  CallOptions options = Within(absl::Seconds(9), world_.Token(Principal::kUser, "admin"));
  options.request_id = "req-42";
  options.metadata = {{"x-extra", "1"}};
  Metadata answer;
  options.response_metadata = &answer;
  const auto response = GetVersion(channel, options);
  ASSERT_THAT(response.status(), IsOk());
  EXPECT_EQ(response->version(), "3.2.0");
  EXPECT_EQ(seen.principal.subject, "user:7");
  EXPECT_EQ(seen.request_id, "req-42");
  EXPECT_EQ(seen.method, "/pganalytics.query.v1.SystemService/GetVersion");
  EXPECT_EQ(seen.bearer, options.bearer);
  EXPECT_EQ(seen.Find("x-extra"), "1");
  EXPECT_FALSE(seen.Find("x-none").has_value());
  EXPECT_LE(seen.deadline, options.deadline + absl::Milliseconds(50));
  EXPECT_GT(seen.deadline, clock::SteadyNow() + absl::Seconds(5));
  EXPECT_THAT(seen.peer, GetParam() ? ::testing::StartsWith("127.0.0.1:") : ::testing::StartsWith("in-process"));
  EXPECT_EQ(Find(answer, kHttpCode), "207");
  EXPECT_EQ(Find(answer, kRequestId), "req-42");
  EXPECT_THAT(
      world_.metrics.Render(),
      HasSubstr("pga_rpc_requests_total{code=\"OK\",method=\"/pganalytics.query.v1.SystemService/GetVersion\"} 1"));
}

TEST_P(BothForms, OddRequestIdIsReplaced) {
  Node node(&world_);
  for (const std::string& odd : {std::string("a b"), std::string(200, 'x'), std::string("quote\"")}) {
    CallOptions options = Within(kLimit);
    options.request_id = odd;
    Metadata answer;
    options.response_metadata = &answer;
    ASSERT_THAT(GetVersion(node.Channel(GetParam()), options).status(), IsOk());
    EXPECT_EQ(Find(answer, kRequestId).size(), 32u) << odd;
  }
}

TEST_P(BothForms, ForwardedAddressIsBelievedOnlyWithAServiceToken) {
  Node node(&world_);
  std::string peer;
  node.system.handler = [&peer](CallContext& call, const auto&, auto&) {
    peer = call.peer;
    return absl::OkStatus();
  };
  CallOptions options = Within(kLimit, world_.Token(Principal::kUser, "viewer"));
  options.metadata = {{kForwardedFor, "198.51.100.4"}};
  ASSERT_THAT(GetVersion(node.Channel(GetParam()), options).status(), IsOk());
  EXPECT_NE(peer, "198.51.100.4");
  options.metadata.emplace_back(kServiceAuthorization, "Bearer " + world_.Token(Principal::kUser, "admin"));
  ASSERT_THAT(GetVersion(node.Channel(GetParam()), options).status(), IsOk());
  EXPECT_NE(peer, "198.51.100.4");
  options.metadata.back().second = "Bearer " + world_.Token(Principal::kService, "query");
  ASSERT_THAT(GetVersion(node.Channel(GetParam()), options).status(), IsOk());
  EXPECT_NE(peer, "198.51.100.4") << "query passes nobody on";
  options.metadata.back().second = "Bearer " + world_.Token(Principal::kService, "gateway");
  ASSERT_THAT(GetVersion(node.Channel(GetParam()), options).status(), IsOk());
  EXPECT_EQ(peer, "198.51.100.4");
}

TEST_P(BothForms, ErrorsCarryReasonAndDelayAndHideInternals) {
  Node node(&world_);
  const auto channel = node.Channel(GetParam());
  node.system.handler = [](CallContext&, const auto&, auto&) {
    return status::WithRetryAfter(status::WithReason(absl::FailedPreconditionError("not now"), "NOT_NOW"),
                                  absl::Seconds(3));
  };
  const auto precondition = GetVersion(channel, Within(kLimit)).status();
  EXPECT_THAT(precondition, StatusIs(absl::StatusCode::kFailedPrecondition, "not now"));
  EXPECT_EQ(status::ReasonOf(precondition), "NOT_NOW");
  EXPECT_EQ(status::RetryAfterOf(precondition), absl::Seconds(3));
  node.system.handler = [](CallContext&, const auto&, auto&) { return absl::InternalError("host db1 password"); };
  CallOptions options = Within(kLimit);
  options.request_id = "req-77";
  const auto internal = GetVersion(channel, options).status();
  EXPECT_THAT(internal, StatusIs(absl::StatusCode::kInternal, HasSubstr("req-77")));
  EXPECT_THAT(std::string(internal.message()), ::testing::Not(HasSubstr("db1")));
  node.system.handler = [](CallContext&, const auto&, auto&) -> absl::Status { throw std::runtime_error("host db1"); };
  EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), StatusIs(absl::StatusCode::kInternal));
  node.system.handler = [](CallContext&, const auto&, auto&) -> absl::Status { throw 7; };
  EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), StatusIs(absl::StatusCode::kInternal));
}

TEST_P(BothForms, HandlerDoesNotRunForCallersWithoutRight) {
  Node node(&world_);
  std::atomic<int> runs = 0;
  node.auth.handler = [&runs](CallContext&, const auto&, auto&) {
    ++runs;
    return absl::OkStatus();
  };
  const auto channel = node.Channel(GetParam());
  EXPECT_THAT(ListUsers(channel, Within(kLimit)).status(), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(ListUsers(channel, Within(kLimit, world_.Token(Principal::kUser, "viewer"))).status(),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_EQ(runs, 0);
  EXPECT_THAT(ListUsers(channel, Within(kLimit, world_.Token(Principal::kUser, "admin"))).status(), IsOk());
  EXPECT_EQ(runs, 1);
}

TEST_P(BothForms, StreamArrivesWholeAndInOrder) {
  Node node(&world_);
  node.auth.handler = [](CallContext&, const auto&, StreamWriter<authpb::User>& writer) {
    for (int i = 0; i < 5000; ++i) {
      authpb::User user;
      user.set_id(i);
      user.set_full_name(std::string(200, 'x'));
      PGA_RETURN_IF_ERROR(writer.Write(std::move(user)));
    }
    return absl::OkStatus();
  };
  const auto ids = ListUsers(node.Channel(GetParam()), Within(kLimit, world_.Token(Principal::kUser, "admin")));
  ASSERT_THAT(ids.status(), IsOk());
  ASSERT_EQ(ids->size(), 5000u);
  for (int i = 0; i < 5000; ++i) ASSERT_EQ((*ids)[static_cast<size_t>(i)], i);
}

TEST_P(BothForms, StreamEndsWithTheHandlersFailure) {
  Node node(&world_);
  node.auth.handler = [](CallContext&, const auto&, StreamWriter<authpb::User>& writer) {
    PGA_RETURN_IF_ERROR(writer.Write(authpb::User()));
    return absl::ResourceExhaustedError("too many");
  };
  EXPECT_THAT(ListUsers(node.Channel(GetParam()), Within(kLimit, world_.Token(Principal::kUser, "admin"))).status(),
              StatusIs(absl::StatusCode::kResourceExhausted, "too many"));
}

TEST_P(BothForms, HandlerOfAnEndlessStreamSeesTheCallerGo) {
  Node node(&world_);
  absl::Notification ended;
  absl::Status seen;
  node.auth.handler = [&](CallContext& call, const auto&, StreamWriter<authpb::User>& writer) {
    absl::Status status;
    while (status.ok()) status = writer.Write(authpb::User());
    EXPECT_TRUE(pga::testing::WaitUntil([&call] { return call.cancelled(); }, kLimit));
    seen = status;
    ended.Notify();  // the test may be over before the next line
    return status;
  };
  auto stub = authpb::AuthService::NewStub(node.Channel(GetParam()));
  int read = 0;
  const absl::Status stopped = CallStream<authpb::AuthService::Stub, authpb::ListUsersRequest, authpb::User>(
      *stub, &authpb::AuthService::Stub::ListUsers, authpb::ListUsersRequest(),
      Within(kLimit, world_.Token(Principal::kUser, "admin")),
      [&read](authpb::User&) { return ++read < 10 ? absl::OkStatus() : absl::OutOfRangeError("enough"); });
  EXPECT_THAT(stopped, StatusIs(absl::StatusCode::kOutOfRange));
  ASSERT_TRUE(ended.WaitForNotificationWithTimeout(kLimit));
  EXPECT_THAT(seen, StatusIs(absl::StatusCode::kCancelled));
}

TEST_P(BothForms, SlowReaderDoesNotHoldTheHandlerBeyondTheDeadline) {
  Node node(&world_);
  absl::Notification ended;
  node.auth.handler = [&ended](CallContext&, const auto&, StreamWriter<authpb::User>& writer) {
    authpb::User user;
    user.set_full_name(std::string(1 << 20, 'x'));
    absl::Status status;
    while (status.ok()) status = writer.Write(user);
    ended.Notify();
    return status;
  };
  auto stub = authpb::AuthService::NewStub(node.Channel(GetParam()));
  grpc::ClientContext context;
  context.AddMetadata(kAuthorization, "Bearer " + world_.Token(Principal::kUser, "admin"));
  context.set_deadline(GrpcDeadline(clock::SteadyNow() + absl::Seconds(1)));
  auto reader = stub->ListUsers(&context, authpb::ListUsersRequest());
  ASSERT_TRUE(ended.WaitForNotificationWithTimeout(kLimit)) << "never read, still ended";
  authpb::User user;
  while (reader->Read(&user)) {
  }
  EXPECT_THAT(reader->Finish().error_code(), AnyOf(grpc::StatusCode::DEADLINE_EXCEEDED, grpc::StatusCode::CANCELLED));
}

// A call for users whose answer nobody reads until the test does.
struct UnreadUsers {
  UnreadUsers(World* world, const std::shared_ptr<grpc::Channel>& channel, clock::SteadyTime deadline)
      : stub(authpb::AuthService::NewStub(channel)) {
    context.AddMetadata(kAuthorization, "Bearer " + world->Token(Principal::kUser, "admin"));
    context.set_deadline(GrpcDeadline(deadline));
    reader = stub->ListUsers(&context, authpb::ListUsersRequest());
  }
  grpc::ClientContext context;
  std::unique_ptr<authpb::AuthService::Stub> stub;
  std::unique_ptr<grpc::ClientReader<authpb::User>> reader;
};

// More than connections hold on their way.
constexpr int kManyUsers = 100;
bool LargeUser(int id, authpb::User* user) {
  user->set_id(id);
  user->set_full_name(std::string(256 << 10, 'x'));
  return id < kManyUsers;
}

TEST_P(BothForms, ARestThatNobodyReadsHoldsNoThread) {
  NodeOptions options;
  options.threads = 1;
  Node node(&world_, options);
  absl::Notification handed_over;
  node.auth.handler = [&](CallContext&, const auto&, StreamWriter<authpb::User>& writer) {
    writer.WriteRest([id = 0](authpb::User* user) mutable { return LargeUser(id++, user); });
    handed_over.Notify();
    return absl::OkStatus();
  };
  UnreadUsers unread(&world_, node.Channel(GetParam()), clock::SteadyNow() + kLimit);
  ASSERT_TRUE(handed_over.WaitForNotificationWithTimeout(kLimit));
  EXPECT_THAT(GetVersion(node.Channel(GetParam()), Within(kLimit / 2)).status(), IsOk()) << "its thread waits";
  authpb::User user;
  int read = 0;
  for (; unread.reader->Read(&user); ++read) ASSERT_EQ(user.id(), read);
  EXPECT_EQ(read, kManyUsers);
  EXPECT_TRUE(unread.reader->Finish().ok());
}

TEST_P(BothForms, ARestGoesWhenItsCallEnds) {
  for (const bool callers_deadline : {true, false}) {
    NodeOptions options;
    if (!callers_deadline) options.dispatcher.stream_timeout = absl::Milliseconds(300);
    Node node(&world_, options);
    std::weak_ptr<int> held;
    absl::Notification handed_over;
    node.auth.handler = [&](CallContext&, const auto&, StreamWriter<authpb::User>& writer) {
      const auto part = std::make_shared<int>();
      held = part;
      writer.WriteRest([part](authpb::User* user) { return LargeUser(1, user); });
      handed_over.Notify();
      return absl::OkStatus();
    };
    UnreadUsers unread(
        &world_, node.Channel(GetParam()),
        callers_deadline ? clock::SteadyNow() + absl::Milliseconds(300) : clock::SteadyTime::InfiniteFuture());
    ASSERT_TRUE(handed_over.WaitForNotificationWithTimeout(kLimit));
    EXPECT_TRUE(pga::testing::WaitUntil([&held] { return held.expired(); }, kLimit));
    EXPECT_TRUE(node.dispatcher.AwaitIdle(clock::SteadyNow() + kLimit));
    unread.context.TryCancel();
    EXPECT_FALSE(unread.reader->Finish().ok());
  }
}

TEST_P(BothForms, ACallerThatDoesNotReadIsGivenUp) {
  NodeOptions options;
  options.dispatcher.write_timeout = absl::Milliseconds(200);
  Node node(&world_, options);
  absl::Notification ended;
  absl::Status seen;
  node.auth.handler = [&](CallContext& call, const auto&, StreamWriter<authpb::User>& writer) {
    authpb::User user;
    (void)LargeUser(1, &user);
    while (seen.ok()) seen = writer.Write(user);
    EXPECT_LT(clock::SteadyNow(), call.deadline);
    ended.Notify();
    return seen;
  };
  UnreadUsers unread(&world_, node.Channel(GetParam()), clock::SteadyNow() + kLimit);
  ASSERT_TRUE(ended.WaitForNotificationWithTimeout(kLimit / 2));
  EXPECT_THAT(seen, StatusIs(absl::StatusCode::kDeadlineExceeded, "the caller does not read"));
  EXPECT_TRUE(node.dispatcher.AwaitIdle(clock::SteadyNow() + kLimit / 2));
  authpb::User user;
  while (unread.reader->Read(&user)) {
  }
  EXPECT_FALSE(unread.reader->Finish().ok());
}

TEST_P(BothForms, CancelledCallIsSeenByItsHandler) {
  Node node(&world_);
  absl::Notification entered, ended;
  node.system.handler = [&](CallContext& call, const auto&, auto&) {
    entered.Notify();
    EXPECT_TRUE(pga::testing::WaitUntil([&call] { return call.cancelled(); }, kLimit));
    ended.Notify();
    return absl::CancelledError();
  };
  auto stub = querypb::SystemService::NewStub(node.Channel(GetParam()));
  grpc::ClientContext context;
  std::thread canceller([&] {
    entered.WaitForNotification();
    context.TryCancel();
  });
  querypb::GetVersionResponse response;
  const grpc::Status status = stub->GetVersion(&context, querypb::GetVersionRequest(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  canceller.join();
  EXPECT_TRUE(ended.WaitForNotificationWithTimeout(kLimit));
}

TEST_P(BothForms, CallWithoutDeadlineGetsTheServicesOwn) {
  NodeOptions options;
  options.dispatcher.request_timeout = absl::Seconds(7);
  Node node(&world_, options);
  clock::SteadyTime deadline;
  node.system.handler = [&deadline](CallContext& call, const auto&, auto&) {
    deadline = call.deadline;
    return absl::OkStatus();
  };
  auto stub = querypb::SystemService::NewStub(node.Channel(GetParam()));
  grpc::ClientContext context;
  querypb::GetVersionResponse response;
  const clock::SteadyTime before = clock::SteadyNow();
  ASSERT_TRUE(stub->GetVersion(&context, querypb::GetVersionRequest(), &response).ok());
  EXPECT_GE(deadline, before + absl::Seconds(6));
  EXPECT_LE(deadline, clock::SteadyNow() + absl::Seconds(7));
  EXPECT_THAT(GetVersion(node.Channel(GetParam()), CallOptions()).status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_P(BothForms, FullPoolAnswersAtOnceAndDeadCallsDoNotRun) {
  NodeOptions options;
  options.threads = 1;
  options.queue = 1;
  Node node(&world_, options);
  absl::Notification release;
  std::atomic<int> runs = 0;
  node.system.handler = [&](CallContext&, const auto&, auto&) {
    ++runs;
    release.WaitForNotification();
    return absl::OkStatus();
  };
  const auto channel = node.Channel(GetParam());
  std::thread running([&] { EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), IsOk()); });
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return runs == 1; }, kLimit));
  absl::Status queued;
  std::thread waiting([&] { queued = GetVersion(channel, Within(absl::Milliseconds(300))).status(); });
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return node.pool.queued() == 1; }, kLimit));
  const clock::SteadyTime before = clock::SteadyNow();
  const auto refused = GetVersion(channel, Within(kLimit)).status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(status::ReasonOf(refused), "POOL_FULL");
  EXPECT_EQ(status::RetryAfterOf(refused), absl::Seconds(1));
  EXPECT_LT(clock::SteadyNow() - before, absl::Seconds(5));
  waiting.join();
  EXPECT_THAT(queued, StatusIs(absl::StatusCode::kDeadlineExceeded));
  // The server's count of the call's time began when the call arrived, a little after the caller's.
  ASSERT_TRUE(pga::testing::WaitUntil(
      [gone = clock::SteadyNow()] { return clock::SteadyNow() > gone + absl::Milliseconds(500); }, kLimit));
  release.Notify();
  running.join();
  EXPECT_TRUE(pga::testing::WaitUntil([&] { return node.pool.queued() == 0 && node.pool.busy() == 0; }, kLimit));
  EXPECT_EQ(runs, 1) << "the call whose caller had gone was not run";
  EXPECT_THAT(world_.metrics.Render(), HasSubstr("pga_rpc_refused_total"));
}

// A calls B calls C, each with a small pool, under far more calls than all pools hold. Every call ends: answered, or
// refused; none waits for ever, although pool threads of A wait for B and those of B for C.
TEST_P(BothForms, ChainUnderLoadAnswersOrRefusesEveryCall) {
  NodeOptions small;
  small.threads = 3;
  small.queue = 12;
  Node c(&world_, small);
  Node b(&world_, small);
  Node a(&world_, small);
  const auto identity = ServiceIdentity::Local(world_.signer.get(), "query");
  const auto forward = [&](std::shared_ptr<grpc::Channel> next) -> VersionHandler {
    return [&identity, next](CallContext& call, const auto&, querypb::GetVersionResponse& response) {
      PGA_ASSIGN_OR_RETURN(response, GetVersion(next, OnBehalfOf(call, absl::Seconds(10), identity.get())));
      response.set_version(response.version() + ">");
      return absl::OkStatus();
    };
  };
  c.system.handler = [](CallContext&, const auto&, querypb::GetVersionResponse& response) {
    response.set_version("c");
    return absl::OkStatus();
  };
  b.system.handler = forward(c.Channel(GetParam()));
  a.system.handler = forward(b.Channel(GetParam()));
  const auto channel = a.Channel(GetParam());
  constexpr int kCallers = 100;
  constexpr int kCallsEach = 10;
  std::atomic<int> answered = 0, refused = 0, other = 0;
  std::vector<std::thread> callers;
  callers.reserve(kCallers);
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&] {
      for (int n = 0; n < kCallsEach; ++n) {
        const auto response = GetVersion(channel, Within(absl::Seconds(30)));
        if (response.ok() && response->version() == "c>>") {
          ++answered;
        } else if (absl::IsResourceExhausted(response.status())) {
          ++refused;
        } else {
          ++other;
          ADD_FAILURE() << response.status();
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(answered + refused, kCallers * kCallsEach);
  EXPECT_EQ(other, 0);
  EXPECT_GT(answered, 15) << "the pools were never used";
}

}  // namespace
}  // namespace pga::rpc
