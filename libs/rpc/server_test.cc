// The whole path through real servers: in process, over TCP, over TLS, over handed-over connections.
#include "libs/rpc/server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/synchronization/barrier.h"
#include "absl/synchronization/notification.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/rpc/auth_watch.h"
#include "libs/rpc/certificates_testing.h"
#include "libs/rpc/client.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/status.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/testing/loopback_listener.h"
#include "libs/token/signer.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"

namespace pga::rpc {
namespace {

namespace authpb = pganalytics::auth::v1;
namespace querypb = pganalytics::query::v1;
namespace registrypb = pganalytics::registry::v1;
using status::IsOk;
using status::StatusIs;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using token::Principal;

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";
constexpr absl::Duration kLimit = absl::Seconds(20);

// ---- What all nodes of a test share: keys, revocations, metrics. ----
struct World {
  World() : signer(*token::Signer::FromSecret(kSecret)) {
    EXPECT_THAT(verifier.SetHmacSecrets({kSecret}), IsOk());
    revocations.Apply({}, std::numeric_limits<int64_t>::max());
  }
  std::string Token(Principal::Kind kind, const std::string& name) {
    token::Claims claims;
    claims.principal.kind = kind;
    claims.principal.all_groups = true;
    claims.principal.user_id = 7;
    claims.principal.role = name;
    claims.principal.collector_id = name;
    claims.principal.service = name;
    claims.principal.issued_at = clock::WallNow();
    claims.principal.expires_at = clock::WallNow() + absl::Minutes(15);
    return *signer->Sign(claims);
  }
  std::unique_ptr<token::Signer> signer;
  token::Verifier verifier;
  token::RevocationSet revocations;
  Authenticator authenticator{&verifier, &revocations};
  metrics::Registry metrics{/*process_metrics=*/false};
};

using VersionHandler =
    std::function<absl::Status(CallContext&, const querypb::GetVersionRequest&, querypb::GetVersionResponse&)>;
using UsersHandler =
    std::function<absl::Status(CallContext&, const authpb::ListUsersRequest&, StreamWriter<authpb::User>&)>;

class System final : public querypb::SystemService::CallbackService {
 public:
  explicit System(Dispatcher* dispatcher) : dispatcher_(dispatcher) {}
  grpc::ServerUnaryReactor* GetVersion(grpc::CallbackServerContext* context, const querypb::GetVersionRequest* request,
                                       querypb::GetVersionResponse* response) override {
    return dispatcher_->Unary<querypb::GetVersionRequest, querypb::GetVersionResponse>(context, request, response,
                                                                                       handler);
  }
  VersionHandler handler = [](CallContext&, const auto&, querypb::GetVersionResponse& response) {
    response.set_version("3.2.0");
    return absl::OkStatus();
  };

 private:
  Dispatcher* const dispatcher_;
};

class Auth final : public authpb::AuthService::CallbackService {
 public:
  explicit Auth(Dispatcher* dispatcher) : dispatcher_(dispatcher) {}
  grpc::ServerUnaryReactor* Login(grpc::CallbackServerContext* context, const authpb::LoginRequest* request,
                                  authpb::LoginResponse* response) override {
    return dispatcher_->Unary<authpb::LoginRequest, authpb::LoginResponse>(
        context, request, response, [](CallContext&, const auto& req, authpb::LoginResponse& resp) {
          resp.set_token(req.username());
          return absl::OkStatus();
        });
  }
  grpc::ServerWriteReactor<authpb::User>* ListUsers(grpc::CallbackServerContext* context,
                                                    const authpb::ListUsersRequest* request) override {
    return dispatcher_->Stream<authpb::ListUsersRequest, authpb::User>(context, request, handler);
  }
  UsersHandler handler = [](CallContext&, const auto&, StreamWriter<authpb::User>& writer) {
    for (int i = 1; i <= 3; ++i) {
      authpb::User user;
      user.set_id(i);
      PGA_RETURN_IF_ERROR(writer.Write(std::move(user)));
    }
    return absl::OkStatus();
  };

 private:
  Dispatcher* const dispatcher_;
};

class Enrolment final : public registrypb::EnrolmentService::CallbackService {
 public:
  explicit Enrolment(Dispatcher* dispatcher) : dispatcher_(dispatcher) {}
  grpc::ServerUnaryReactor* FetchConfig(grpc::CallbackServerContext* context,
                                        const registrypb::FetchConfigRequest* request,
                                        registrypb::FetchConfigResponse* response) override {
    return dispatcher_->Unary<registrypb::FetchConfigRequest, registrypb::FetchConfigResponse>(
        context, request, response, [](CallContext& call, const auto&, registrypb::FetchConfigResponse& resp) {
          resp.set_toml(call.principal.subject + "|" + call.peer_certificate_collector_id + "|" +
                        (call.principal.from_certificate ? "certificate" : "token"));
          return absl::OkStatus();
        });
  }

 private:
  Dispatcher* const dispatcher_;
};

struct NodeOptions {
  int threads = 4;
  size_t queue = 16;
  TlsOptions tls = {};
  bool tcp = true;
  bool external = false;
  Dispatcher::Options dispatcher = {};
  TlsOptions outside_tls = {};
};

struct Node {
  Node(World* world, NodeOptions options = {})
      : pool("node", options.threads, options.queue),
        dispatcher(&world->authenticator, &pool, &world->metrics, clock::Clock::Real(), options.dispatcher),
        system(&dispatcher),
        auth(&dispatcher),
        enrolment(&dispatcher) {
    Server::Options server_options;
    server_options.name = "node";
    if (options.tcp) server_options.listen = {"127.0.0.1:0"};
    server_options.tls = options.tls;
    if (options.outside_tls.enabled) server_options.outside_listen = {"127.0.0.1:0"};
    server_options.outside_tls = options.outside_tls;
    server_options.services = {&system, &auth, &enrolment};
    server_options.dispatcher = &dispatcher;
    server_options.external_acceptor = options.external;
    auto started = Server::Start(std::move(server_options));
    EXPECT_THAT(started.status(), IsOk());
    server = *std::move(started);
  }
  ~Node() {
    server->Drain(clock::SteadyNow() + absl::Seconds(5));
    pool.Drain(clock::SteadyNow() + absl::Seconds(5));
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(server->ports()[0]); }
  std::shared_ptr<grpc::Channel> Channel(bool tcp, const TlsOptions& tls = {}) {
    return tcp ? *Connect(address(), tls) : server->InProcessChannel();
  }
  exec::ThreadPool pool;
  Dispatcher dispatcher;
  System system;
  Auth auth;
  Enrolment enrolment;
  std::unique_ptr<Server> server;
};

CallOptions Within(absl::Duration limit, const std::string& bearer = "") {
  CallOptions options = OwnWork(limit, nullptr);
  options.bearer = bearer;
  return options;
}

absl::StatusOr<querypb::GetVersionResponse> GetVersion(const std::shared_ptr<grpc::Channel>& channel,
                                                       const CallOptions& options) {
  auto stub = querypb::SystemService::NewStub(channel);
  return Call(*stub, &querypb::SystemService::Stub::GetVersion, querypb::GetVersionRequest(), options);
}

absl::StatusOr<std::string> WhoAmI(const std::shared_ptr<grpc::Channel>& channel, const CallOptions& options) {
  auto stub = registrypb::EnrolmentService::NewStub(channel);
  PGA_ASSIGN_OR_RETURN(auto response, Call(*stub, &registrypb::EnrolmentService::Stub::FetchConfig,
                                           registrypb::FetchConfigRequest(), options));
  return response.toml();
}

absl::StatusOr<std::vector<int>> ListUsers(const std::shared_ptr<grpc::Channel>& channel, const CallOptions& options) {
  auto stub = authpb::AuthService::NewStub(channel);
  std::vector<int> ids;
  PGA_RETURN_IF_ERROR((CallStream<authpb::AuthService::Stub, authpb::ListUsersRequest, authpb::User>(
      *stub, &authpb::AuthService::Stub::ListUsers, authpb::ListUsersRequest(), options, [&ids](authpb::User& user) {
        ids.push_back(user.id());
        return absl::OkStatus();
      })));
  return ids;
}

std::string Find(const Metadata& metadata, const std::string& key) {
  for (const auto& [name, value] : metadata) {
    if (name == key) return value;
  }
  return "";
}

// Waits on a condition with a limit; the only way these tests wait.
bool Eventually(const std::function<bool()>& condition, absl::Duration limit = kLimit) {
  const clock::SteadyTime deadline = clock::SteadyNow() + limit;
  while (!condition()) {
    if (clock::SteadyNow() > deadline) return false;
    clock::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

class BothForms : public ::testing::TestWithParam<bool> {
 protected:
  World world_;
};
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
    EXPECT_TRUE(Eventually([&call] { return call.cancelled(); }));
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

TEST_P(BothForms, CancelledCallIsSeenByItsHandler) {
  Node node(&world_);
  absl::Notification entered, ended;
  node.system.handler = [&](CallContext& call, const auto&, auto&) {
    entered.Notify();
    EXPECT_TRUE(Eventually([&call] { return call.cancelled(); }));
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
  ASSERT_TRUE(Eventually([&] { return runs == 1; }));
  absl::Status queued;
  std::thread waiting([&] { queued = GetVersion(channel, Within(absl::Milliseconds(300))).status(); });
  ASSERT_TRUE(Eventually([&] { return node.pool.queued() == 1; }));
  const clock::SteadyTime before = clock::SteadyNow();
  const auto refused = GetVersion(channel, Within(kLimit)).status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(status::ReasonOf(refused), "POOL_FULL");
  EXPECT_EQ(status::RetryAfterOf(refused), absl::Seconds(1));
  EXPECT_LT(clock::SteadyNow() - before, absl::Seconds(5));
  waiting.join();
  EXPECT_THAT(queued, StatusIs(absl::StatusCode::kDeadlineExceeded));
  // The server's count of the call's time began when the call arrived, a little after the caller's.
  ASSERT_TRUE(Eventually([gone = clock::SteadyNow()] { return clock::SteadyNow() > gone + absl::Milliseconds(500); }));
  release.Notify();
  running.join();
  EXPECT_TRUE(Eventually([&] { return node.pool.queued() == 0 && node.pool.busy() == 0; }));
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
  ASSERT_TRUE(Eventually([&] {
    return absl::IsUnavailable(
        WhoAmI(channel, Within(absl::Seconds(2), world_.Token(Principal::kCollector, "a"))).status());
  }));
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
  ASSERT_TRUE(Eventually([&] { return node.pool.queued() == 1; }));
  std::thread drain([&] { node.pool.Drain(clock::SteadyNow() + absl::Milliseconds(50)); });
  ASSERT_TRUE(Eventually([&] { return node.pool.draining(); }));
  EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), StatusIs(absl::StatusCode::kUnavailable));
  // The pool drops what waited when its time is over; the caller is told all the same.
  const clock::SteadyTime over = clock::SteadyNow() + absl::Milliseconds(100);
  EXPECT_TRUE(Eventually([&] { return clock::SteadyNow() > over; }));
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
  EXPECT_TRUE(Eventually([&] {
    EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), IsOk());
    return calls[0] > 0 && calls[1] > 0;
  }));
  const int before[2] = {calls[0], calls[1]};
  for (int i = 0; i < 10; ++i) EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), IsOk());
  EXPECT_EQ(calls[0], before[0] + 5);
  EXPECT_EQ(calls[1], before[1] + 5);
  // One that stops is left out.
  nodes[0].server->Drain(clock::SteadyNow());
  EXPECT_TRUE(Eventually([&] { return GetVersion(channel, Within(kLimit)).ok() && calls[1] > before[1] + 6; }));
}

// ---- TLS ----

class Tls : public ::testing::Test {
 protected:
  Tls() {
    const TestCertificate server = server_ca_.Server();
    server_tls_.enabled = true;
    server_tls_.cert_pem = server.cert_pem;
    server_tls_.key_pem = server.key_pem;
    server_tls_.ca_pem = collector_ca_.pem();
    plain_client_.enabled = true;
    plain_client_.ca_pem = server_ca_.pem();
  }
  TlsOptions ClientWith(const TestCertificate& certificate) const {
    TlsOptions tls = plain_client_;
    tls.cert_pem = certificate.cert_pem;
    tls.key_pem = certificate.key_pem;
    return tls;
  }
  World world_;
  TestCa server_ca_{"server CA"};
  TestCa collector_ca_{"collector CA"};
  TlsOptions server_tls_;
  TlsOptions plain_client_;
};

TEST_F(Tls, ClientCertificateIsIdentityAndIsNotRequired) {
  NodeOptions options;
  options.tls = server_tls_;
  Node node(&world_, options);
  // Without a certificate: open methods work, others need a token.
  const auto bare = node.Channel(true, plain_client_);
  EXPECT_THAT(GetVersion(bare, Within(kLimit)).status(), IsOk());
  EXPECT_THAT(WhoAmI(bare, Within(kLimit)).status(), StatusIs(absl::StatusCode::kUnauthenticated));
  const std::string token = world_.Token(Principal::kCollector, "db-1");
  EXPECT_THAT(WhoAmI(bare, Within(kLimit, token)), status::IsOkAndHolds(std::string("collector:db-1||token")));
  // With one.
  const auto mutual = node.Channel(true, ClientWith(collector_ca_.Collector("db-1")));
  EXPECT_THAT(WhoAmI(mutual, Within(kLimit)), status::IsOkAndHolds(std::string("collector:db-1|db-1|certificate")));
  EXPECT_THAT(WhoAmI(mutual, Within(kLimit, token)), status::IsOkAndHolds(std::string("collector:db-1|db-1|token")));
  EXPECT_THAT(WhoAmI(mutual, Within(kLimit, world_.Token(Principal::kCollector, "db-2"))).status(),
              StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(Tls, CertificatesThatDoNotVerifyEndTheHandshake) {
  NodeOptions options;
  options.tls = server_tls_;
  Node node(&world_, options);
  const TestCa foreign("foreign CA");
  TestCa::Request expired{.uris = {"pganalytics://collector/db-1"}};
  expired.not_before = clock::WallNow() - absl::Hours(2);
  expired.not_after = clock::WallNow() - absl::Hours(1);
  TestCa::Request future{.uris = {"pganalytics://collector/db-1"}};
  future.not_before = clock::WallNow() + absl::Hours(1);
  future.not_after = clock::WallNow() + absl::Hours(2);
  for (const TestCertificate& bad : {foreign.Collector("db-1"), server_ca_.Collector("db-1"),
                                     collector_ca_.Issue(expired), collector_ca_.Issue(future)}) {
    EXPECT_THAT(WhoAmI(node.Channel(true, ClientWith(bad)), Within(absl::Seconds(5))).status(),
                StatusIs(absl::StatusCode::kUnavailable));
  }
  // Verified, but with an odd name: connected, not identified.
  const auto odd = node.Channel(true, ClientWith(collector_ca_.Issue({.uris = {"pganalytics://service/auth"}})));
  EXPECT_THAT(WhoAmI(odd, Within(kLimit)).status(), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(GetVersion(odd, Within(kLimit)).status(), IsOk());
}

TEST_F(Tls, ClientsVerifyTheServer) {
  NodeOptions options;
  options.tls = server_tls_;
  Node node(&world_, options);
  TlsOptions wrong_ca = plain_client_;
  wrong_ca.ca_pem = TestCa("other").pem();
  EXPECT_THAT(GetVersion(node.Channel(true, wrong_ca), Within(absl::Seconds(5))).status(),
              StatusIs(absl::StatusCode::kUnavailable));
  TlsOptions wrong_name = plain_client_;
  wrong_name.server_name = "db.example.org";
  EXPECT_THAT(GetVersion(node.Channel(true, wrong_name), Within(absl::Seconds(5))).status(),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(GetVersion(node.Channel(true), Within(absl::Seconds(5))).status(),
              StatusIs(absl::StatusCode::kUnavailable))
      << "no plain text on a TLS port";
  TlsOptions trusting = wrong_ca;
  trusting.verify_server = false;
  EXPECT_THAT(GetVersion(node.Channel(true, trusting), Within(kLimit)).status(), IsOk());
}

TEST_F(Tls, RenewedFilesComeIntoUse) {
  const std::string dir = ::testing::TempDir() + "/pga_tls_" + std::to_string(getpid());
  std::filesystem::create_directories(dir);
  const auto write = [&dir](const TestCertificate& certificate, const std::string& ca) {
    // Key and certificate change together: the folder is exchanged as one.
    const std::string next = dir + "/next";
    std::filesystem::create_directories(next);
    std::ofstream(next + "/cert.pem") << certificate.cert_pem;
    std::ofstream(next + "/key.pem") << certificate.key_pem;
    std::ofstream(next + "/ca.pem") << ca;
    std::filesystem::remove_all(dir + "/old");
    if (std::filesystem::exists(dir + "/now")) std::filesystem::rename(dir + "/now", dir + "/old");
    std::filesystem::rename(next, dir + "/now");
  };
  write(server_ca_.Server(), collector_ca_.pem());
  NodeOptions options;
  options.tls.enabled = true;
  options.tls.cert_path = dir + "/now/cert.pem";
  options.tls.key_path = dir + "/now/key.pem";
  options.tls.ca_path = dir + "/now/ca.pem";
  options.tls.reload_interval = absl::Seconds(1);
  Node node(&world_, options);
  EXPECT_THAT(GetVersion(node.Channel(true, plain_client_), Within(kLimit)).status(), IsOk());

  const TestCa new_server_ca("new server CA"), new_collector_ca("new collector CA");
  write(new_server_ca.Server(), new_collector_ca.pem());
  const TestCertificate collector = new_collector_ca.Collector("db-1");
  TlsOptions new_client;
  new_client.enabled = true;
  new_client.ca_pem = new_server_ca.pem();
  new_client.cert_pem = collector.cert_pem;
  new_client.key_pem = collector.key_pem;
  EXPECT_TRUE(Eventually([&] { return WhoAmI(node.Channel(true, new_client), Within(absl::Seconds(2))).ok(); }));
  std::filesystem::remove_all(dir);
}

TEST_F(Tls, CaAsTextGoesWithCertificateFiles) {
  const std::string dir = ::testing::TempDir() + "/pga_tls_mixed_" + std::to_string(getpid());
  std::filesystem::create_directories(dir);
  std::ofstream(dir + "/cert.pem") << server_tls_.cert_pem;
  std::ofstream(dir + "/key.pem") << server_tls_.key_pem;
  NodeOptions options;
  options.tls.enabled = true;
  options.tls.cert_path = dir + "/cert.pem";
  options.tls.key_path = dir + "/key.pem";
  options.tls.ca_pem = collector_ca_.pem();
  Node node(&world_, options);
  EXPECT_THAT(WhoAmI(node.Channel(true, ClientWith(collector_ca_.Collector("db-1"))), Within(kLimit)),
              status::IsOkAndHolds(std::string("collector:db-1|db-1|certificate")));
  EXPECT_THAT(
      WhoAmI(node.Channel(true, ClientWith(TestCa("foreign").Collector("db-1"))), Within(absl::Seconds(5))).status(),
      StatusIs(absl::StatusCode::kUnavailable));
  std::filesystem::remove_all(dir);
}

// Peers on the first address, collectors over TLS on the second.
TEST_F(Tls, CallersFromOutsideHaveAnAddressOfTheirOwn) {
  Node node(&world_, {.outside_tls = server_tls_});
  const std::string outside = "127.0.0.1:" + std::to_string(node.server->ports().at(1));
  const std::string token = world_.Token(Principal::kCollector, "db-1");
  EXPECT_THAT(WhoAmI(*Connect(node.address(), {}), Within(kLimit, token)),
              status::IsOkAndHolds(std::string("collector:db-1||token")));
  EXPECT_THAT(WhoAmI(*Connect(outside, ClientWith(collector_ca_.Collector("db-1"))), Within(kLimit)),
              status::IsOkAndHolds(std::string("collector:db-1|db-1|certificate")));
  EXPECT_THAT(WhoAmI(*Connect(outside, {}), Within(absl::Seconds(5), token)).status(),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(Tls, OptionsThatDoNotFitAreRefused) {
  struct Case {
    const char* name;
    std::function<void(TlsOptions&)> change;
  };
  const TestCertificate other = server_ca_.Server();
  const Case cases[] = {
      {"no certificate", [](TlsOptions& t) { t.cert_pem.clear(); }},
      {"no key", [](TlsOptions& t) { t.key_pem.clear(); }},
      {"nothing",
       [](TlsOptions& t) {
         t = {};
         t.enabled = true;
       }},
      {"key of another certificate", [&other](TlsOptions& t) { t.key_pem = other.key_pem; }},
      {"certificate is no PEM", [](TlsOptions& t) { t.cert_pem = "hello"; }},
      {"key is no PEM", [](TlsOptions& t) { t.key_pem = "hello"; }},
      {"CA is no PEM", [](TlsOptions& t) { t.ca_pem = "hello"; }},
      {"CA as file and text", [](TlsOptions& t) { t.ca_path = "/nowhere/ca.pem"; }},
      {"certificate as file and text", [](TlsOptions& t) { t.cert_path = "/nowhere/cert.pem"; }},
      {"missing files",
       [](TlsOptions& t) {
         t = {};
         t.enabled = true;
         t.cert_path = "/nowhere/cert.pem";
         t.key_path = "/nowhere/key.pem";
       }},
  };
  for (const Case& test : cases) {
    TlsOptions tls = server_tls_;
    test.change(tls);
    EXPECT_THAT(ValidateServerTls(tls), StatusIs(absl::StatusCode::kInvalidArgument)) << test.name;
  }
  EXPECT_THAT(ValidateServerTls(server_tls_), IsOk());
  EXPECT_THAT(ValidateClientTls(plain_client_), IsOk());
  EXPECT_THAT(ValidateServerTls({}), IsOk());
}

// ---- Connections that somebody else accepted ----

// Accepts connections, reads up to `read_first` bytes of each, and hands them over.
class Door {
 public:
  Door(Server* server, size_t read_first) : server_(server), read_first_(read_first) {
    thread_ = std::thread([this] { Run(); });
  }
  ~Door() {
    stop_ = true;
    thread_.join();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(listener_.port()); }

 private:
  void Run() {
    while (!stop_) {
      pollfd waiting{.fd = listener_.fd(), .events = POLLIN, .revents = 0};
      if (poll(&waiting, 1, 20) <= 0) continue;
      const int fd = accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      std::string bytes(read_first_, '\0');
      size_t got = 0;
      while (got < read_first_) {
        pollfd data{.fd = fd, .events = POLLIN, .revents = 0};
        // What one flight of the client brings is all there is to wait for.
        if (poll(&data, 1, got == 0 ? 5000 : 50) <= 0) break;
        const ssize_t n = read(fd, bytes.data() + got, read_first_ - got);
        if (n <= 0) break;
        got += static_cast<size_t>(n);
      }
      bytes.resize(got);
      EXPECT_THAT(server_->AcceptConnection(fd, bytes), IsOk());
    }
  }
  Server* const server_;
  const size_t read_first_;
  pga::testing::LoopbackListener listener_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class HandedOver : public Tls, public ::testing::WithParamInterface<std::tuple<bool, size_t>> {};
INSTANTIATE_TEST_SUITE_P(All, HandedOver,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(0, 1, 5, 24, 100, 16384)),
                         [](const auto& param_info) {
                           return std::string(std::get<0>(param_info.param) ? "Tls" : "Plain") + "AfterBytes" +
                                  std::to_string(std::get<1>(param_info.param));
                         });

TEST_P(HandedOver, ConnectionIsServedLikeAnAcceptedOne) {
  const auto [tls, read_first] = GetParam();
  NodeOptions options;
  options.tcp = false;
  options.external = true;
  if (tls) options.tls = server_tls_;
  Node node(&world_, options);
  Door door(node.server.get(), read_first);
  for (int round = 0; round < 3; ++round) {
    const auto channel = *Connect(door.address(), tls ? ClientWith(collector_ca_.Collector("db-1")) : TlsOptions());
    std::string token = tls ? "" : world_.Token(Principal::kCollector, "db-1");
    EXPECT_THAT(WhoAmI(channel, Within(kLimit, token)),
                status::IsOkAndHolds(std::string(tls ? "collector:db-1|db-1|certificate" : "collector:db-1||token")));
    std::string peer;
    node.system.handler = [&peer](CallContext& call, const auto&, auto&) {
      peer = call.peer;
      return absl::OkStatus();
    };
    EXPECT_THAT(GetVersion(channel, Within(kLimit)).status(), IsOk());
    EXPECT_THAT(peer, ::testing::StartsWith("127.0.0.1:"));
  }
}

TEST(HandedOverConnections, NeedTheOptionAndALivingServer) {
  World world;
  NodeOptions options;
  options.external = true;
  Node with(&world, options), without(&world);
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  EXPECT_THAT(without.server->AcceptConnection(pair[0], ""), StatusIs(absl::StatusCode::kFailedPrecondition));
  char byte;
  EXPECT_EQ(read(pair[1], &byte, 1), 0) << "the socket was closed";
  close(pair[1]);
  with.server->Drain(clock::SteadyNow());
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  EXPECT_THAT(with.server->AcceptConnection(pair[0], ""), StatusIs(absl::StatusCode::kFailedPrecondition));
  close(pair[1]);
}

// ---- Following auth ----

class Identity final : public authpb::IdentityService::CallbackService {
 public:
  Identity(Dispatcher* dispatcher, World* world) : dispatcher_(dispatcher), world_(world) {}
  grpc::ServerUnaryReactor* IssueServiceToken(grpc::CallbackServerContext* context,
                                              const authpb::IssueServiceTokenRequest* request,
                                              authpb::IssueServiceTokenResponse* response) override {
    return dispatcher_->Unary<authpb::IssueServiceTokenRequest, authpb::IssueServiceTokenResponse>(
        context, request, response, [this](CallContext& call, const auto& req, auto& resp) {
          if (call.Find(kServiceSecret) != "service secret") return absl::UnauthenticatedError("wrong secret");
          ++exchanges;
          resp.set_token(world_->Token(Principal::kService, req.service()));
          resp.mutable_expires_at()->set_seconds(absl::ToUnixSeconds(clock::WallNow() + lifetime));
          return absl::OkStatus();
        });
  }
  grpc::ServerUnaryReactor* GetJwks(grpc::CallbackServerContext* context, const authpb::GetJwksRequest* request,
                                    authpb::GetJwksResponse* response) override {
    return dispatcher_->Unary<authpb::GetJwksRequest, authpb::GetJwksResponse>(
        context, request, response, [this](CallContext&, const auto&, auto& resp) {
          absl::MutexLock lock(&mutex);
          resp.set_jwks_json(jwks);
          return absl::OkStatus();
        });
  }
  grpc::ServerUnaryReactor* CheckRevocation(grpc::CallbackServerContext* context,
                                            const authpb::CheckRevocationRequest* request,
                                            authpb::CheckRevocationResponse* response) override {
    return dispatcher_->Unary<authpb::CheckRevocationRequest, authpb::CheckRevocationResponse>(
        context, request, response, [](CallContext&, const auto& req, auto& resp) {
          resp.set_revoked(req.subject() == "user:8");
          return absl::OkStatus();
        });
  }
  grpc::ServerWriteReactor<authpb::RevocationBatch>* WatchRevocations(
      grpc::CallbackServerContext* context, const authpb::WatchRevocationsRequest* request) override {
    return dispatcher_->Stream<authpb::WatchRevocationsRequest, authpb::RevocationBatch>(
        context, request,
        [this](CallContext& call, const authpb::WatchRevocationsRequest& req,
               StreamWriter<authpb::RevocationBatch>& writer) {
          int64_t sent = req.after();
          while (!call.cancelled() && !stopping) {
            authpb::RevocationBatch batch;
            {
              absl::MutexLock lock(&mutex);
              for (const authpb::Revocation& r : revocations) {
                if (r.number() > sent) *batch.add_revocations() = r;
              }
              if (!revocations.empty()) sent = revocations.back().number();
            }
            PGA_RETURN_IF_ERROR(writer.Write(std::move(batch)));
            absl::MutexLock lock(&mutex);
            const auto more = [this, sent]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
              return stopping || (!revocations.empty() && revocations.back().number() > sent);
            };
            clock::AwaitUntil(mutex, absl::Condition(&more), clock::SteadyNow() + absl::Milliseconds(50));
          }
          return absl::CancelledError();
        });
  }
  std::atomic<int> exchanges = 0;
  absl::Duration lifetime = absl::Minutes(10);
  std::atomic<bool> stopping = false;
  absl::Mutex mutex;
  std::string jwks ABSL_GUARDED_BY(mutex) = R"({"keys":[]})";
  std::vector<authpb::Revocation> revocations ABSL_GUARDED_BY(mutex);

 private:
  Dispatcher* const dispatcher_;
  World* const world_;
};

class FollowingAuth : public ::testing::Test {
 protected:
  FollowingAuth()
      : pool_("auth", 4, 16),
        dispatcher_(&world_.authenticator, &pool_, &world_.metrics, clock::Clock::Real()),
        identity_(&dispatcher_, &world_) {
    Server::Options options;
    options.name = "auth";
    options.services = {&identity_};
    options.dispatcher = &dispatcher_;
    server_ = *Server::Start(std::move(options));
    channel_ = server_->InProcessChannel();
  }
  ~FollowingAuth() override {
    identity_.stopping = true;
    server_->Drain(clock::SteadyNow() + absl::Seconds(2));
    pool_.Drain(clock::SteadyNow() + absl::Seconds(2));
  }
  World world_;
  exec::ThreadPool pool_;
  Dispatcher dispatcher_;
  Identity identity_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(FollowingAuth, ServiceIdentityExchangesItsSecretAndRenewsAhead) {
  identity_.lifetime = absl::Seconds(2);
  auto identity = ServiceIdentity::Remote(channel_, "query", [] { return "service secret"; });
  ASSERT_THAT(identity->WaitReady(clock::SteadyNow() + kLimit), IsOk());
  const auto principal = world_.verifier.Verify(identity->Token(), clock::WallNow());
  ASSERT_THAT(principal.status(), IsOk());
  EXPECT_EQ(principal->service, "query");
  EXPECT_TRUE(Eventually([&] { return identity_.exchanges >= 2; }));
}

TEST_F(FollowingAuth, WrongServiceSecretGivesNoToken) {
  auto identity = ServiceIdentity::Remote(channel_, "query", [] { return "wrong"; });
  EXPECT_THAT(identity->WaitReady(clock::SteadyNow() + absl::Milliseconds(300)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(identity->Token(), "");
  EXPECT_EQ(status::ReasonOf(GetVersion(channel_, OwnWork(kLimit, identity.get())).status()), "NO_SERVICE_TOKEN");
}

// While a secret is rotated auth and the service read their files at different times: the second line is shown, too,
// and the file is read before each exchange.
TEST_F(FollowingAuth, RotatedServiceSecretIsReadAgain) {
  identity_.lifetime = absl::Seconds(2);
  std::atomic<int> reads = 0;
  auto identity = ServiceIdentity::Remote(channel_, "query", [&]() -> absl::StatusOr<std::string> {
    switch (++reads) {
      case 1:
        return absl::NotFoundError("no file yet");
      case 2:
        return "not known to auth yet\nservice secret\n";
      default:
        return "service secret\n";
    }
  });
  ASSERT_THAT(identity->WaitReady(clock::SteadyNow() + kLimit), IsOk());
  EXPECT_TRUE(Eventually([&] { return identity_.exchanges >= 2; }));
  EXPECT_GE(reads, 3);
}

TEST_F(FollowingAuth, LocalIdentitySignsItsOwn) {
  const auto identity = ServiceIdentity::Local(world_.signer.get(), "ingest");
  EXPECT_THAT(identity->WaitReady(clock::SteadyNow()), IsOk());
  EXPECT_EQ(world_.verifier.Verify(identity->Token(), clock::WallNow())->service, "ingest");
  EXPECT_EQ(identity->Token(), identity->Token()) << "kept until it is half used up";
}

TEST_F(FollowingAuth, OwnTokenBeingRefusedDoesNotLookLikeTheCallersFault) {
  const auto foreign = token::Signer::FromSecret("another secret that auth does not know");
  const auto identity = ServiceIdentity::Local(foreign->get(), "ingest");
  auto stub = authpb::IdentityService::NewStub(channel_);
  const auto status = Call(*stub, &authpb::IdentityService::Stub::CheckRevocation, authpb::CheckRevocationRequest(),
                           OwnWork(kLimit, identity.get()))
                          .status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(status::ReasonOf(status), "SERVICE_TOKEN_REFUSED");
}

TEST_F(FollowingAuth, RevocationsArriveAndSilenceIsNoticed) {
  const auto identity = ServiceIdentity::Local(world_.signer.get(), "query");
  token::RevocationSet set;
  RevocationWatcher watcher(channel_, identity.get(), &set);
  ASSERT_TRUE(Eventually([&] { return set.HasNews(clock::Clock::Real()->BoottimeNanos()); }));
  {
    absl::MutexLock lock(&identity_.mutex);
    authpb::Revocation revocation;
    revocation.set_number(5);
    revocation.set_subject("user:7");
    revocation.mutable_issued_before()->set_seconds(absl::ToUnixSeconds(clock::WallNow()));
    identity_.revocations.push_back(revocation);
  }
  ASSERT_TRUE(Eventually([&] { return set.last_number() == 5; }));
  Principal principal;
  principal.kind = Principal::kUser;
  principal.subject = "user:7";
  principal.issued_at = clock::WallNow() - absl::Hours(1);
  EXPECT_TRUE(set.IsRevoked(principal));
  // Auth goes away and the watcher still ends promptly.
  identity_.stopping = true;
  const int64_t last = set.last_news();
  EXPECT_FALSE(set.HasNews(last + absl::ToInt64Nanoseconds(absl::Seconds(5))));
  const clock::SteadyTime before = clock::SteadyNow();
  watcher.Stop();
  EXPECT_LT(clock::SteadyNow() - before, absl::Seconds(5));
}

TEST_F(FollowingAuth, KeySetIsFetchedAndAskedAgainForAnUnknownKey) {
  const auto signer = *token::Signer::FromPrivateKeyPem(*token::GenerateKeyPem());
  token::Verifier verifier;
  JwksWatcher watcher(channel_, &verifier);
  ASSERT_THAT(watcher.WaitReady(clock::SteadyNow() + kLimit), IsOk());
  token::Claims claims;
  claims.principal.kind = Principal::kService;
  claims.principal.service = "query";
  claims.principal.issued_at = clock::WallNow();
  claims.principal.expires_at = clock::WallNow() + absl::Minutes(5);
  const std::string token = *signer->Sign(claims);
  EXPECT_THAT(verifier.Verify(token, clock::WallNow()).status(), StatusIs(absl::StatusCode::kUnauthenticated));
  {
    absl::MutexLock lock(&identity_.mutex);
    identity_.jwks = token::JwksFromKeys(std::vector{*signer->public_key()});
  }
  EXPECT_TRUE(Eventually([&] { return verifier.Verify(token, clock::WallNow()).ok(); }));
}

TEST_F(FollowingAuth, RevocationIsAskedPerCall) {
  const auto identity = ServiceIdentity::Local(world_.signer.get(), "query");
  const auto check = MakeRevocationCheck(channel_, identity.get());
  Principal principal;
  principal.kind = Principal::kUser;
  principal.subject = "user:8";
  principal.issued_at = clock::WallNow();
  EXPECT_THAT(check(principal, clock::SteadyNow() + kLimit), status::IsOkAndHolds(true));
  principal.subject = "user:9";
  EXPECT_THAT(check(principal, clock::SteadyNow() + kLimit), status::IsOkAndHolds(false));
  server_->Drain(clock::SteadyNow());
  EXPECT_FALSE(check(principal, clock::SteadyNow() + absl::Seconds(1)).ok());
}

}  // namespace
}  // namespace pga::rpc
