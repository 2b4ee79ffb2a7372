// Service tokens, revocations and key sets, as a service follows them.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>

#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/rpc/auth_watch.h"
#include "libs/rpc/client.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/node_testing.h"
#include "libs/rpc/server.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/testing/wait_until.h"
#include "libs/token/signer.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"

namespace pga::rpc {
namespace {

namespace authpb = pganalytics::auth::v1;
using status::IsOk;
using status::StatusIs;
using token::Principal;

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
  EXPECT_TRUE(pga::testing::WaitUntil([&] { return identity_.exchanges >= 2; }, kLimit));
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
  EXPECT_TRUE(pga::testing::WaitUntil([&] { return identity_.exchanges >= 2; }, kLimit));
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
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return set.HasNews(clock::Clock::Real()->BoottimeNanos()); }, kLimit));
  {
    absl::MutexLock lock(&identity_.mutex);
    authpb::Revocation revocation;
    revocation.set_number(5);
    revocation.set_subject("user:7");
    revocation.mutable_issued_before()->set_seconds(absl::ToUnixSeconds(clock::WallNow()));
    identity_.revocations.push_back(revocation);
  }
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return set.last_number() == 5; }, kLimit));
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
  EXPECT_TRUE(pga::testing::WaitUntil([&] { return verifier.Verify(token, clock::WallNow()).ok(); }, kLimit));
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
