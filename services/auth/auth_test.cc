// The auth service on a real database, called through a real gRPC server inside the process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "envoy/service/auth/v3/authorization_service.grpc.pb.h"
#include "libs/clock/clock.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "libs/rpc/auth_watch.h"
#include "libs/rpc/client.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/peer_certificate.h"
#include "libs/rpc/server.h"
#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "libs/token/pem.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"
#include "services/auth/auth_store.h"
#include "services/auth/password_hasher.h"
#include "services/auth/people_commands.h"
#include "services/auth/pg_auth_store.h"
#include "services/auth/refusals.h"
#include "services/auth/rules.h"
#include "services/auth/server.h"
#include "services/auth/service_secrets.h"

namespace pga::auth {
namespace {

namespace v1 = pganalytics::auth::v1;
using status::IsOk;
using status::IsOkAndHolds;
using status::ReasonOf;
using status::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kAdminPassword[] = "a good admin password";
constexpr char kRegistrationSecret[] = "the registration secret of the settings";

// One database, migrated once; every test gets a copy of it.
std::string FreshDatabase() {
  [[maybe_unused]] static const bool made = [] {
    const auto created = testing::SharedPostgres()->CreateDatabase("auth_base");
    if (!created.ok()) {
      ADD_FAILURE() << created.status();
      std::abort();
    }
    const absl::Status migrated = storage::MigrateUp(*created, storage::Database::kMetadata, {});
    if (!migrated.ok()) {
      ADD_FAILURE() << migrated;
      std::abort();
    }
    return true;
  }();
  static std::atomic<int> counter{0};
  const std::string name = absl::StrCat("auth_", ++counter);
  const auto copied =
      testing::SharedPostgres()->Exec("postgres", absl::StrCat("CREATE DATABASE ", name, " TEMPLATE auth_base"));
  EXPECT_THAT(copied, IsOk());
  return testing::SharedPostgres()->Url(name);
}

std::string NewRequest() {
  const token::KeyPtr key = token::NewP256Key();
  const token::RequestPtr request(X509_REQ_new());
  X509_REQ_set_pubkey(request.get(), key.get());
  // Names in a request have no effect.
  X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>("somebody else"), -1, -1, 0);
  X509_REQ_sign(request.get(), key.get(), EVP_sha256());
  return token::CertificateRequestPem(request.get());
}

// One running service.
struct Instance {
  explicit Instance(const AuthConfig& config, clock::Clock* clock)
      : authenticator(&verifier, &revocations,
                      {.check_revocation =
                           [this](const token::Principal& principal, clock::SteadyTime deadline) {
                             return server->CheckRevocation(principal, deadline);
                           }},
                      clock) {
    auto created = AuthServer::Create(config, {.metrics = &metrics,
                                               .clock = clock,
                                               .verifier = &verifier,
                                               .revocations = &revocations,
                                               .authenticator = &authenticator});
    start = created.status();
    if (!start.ok()) return;
    server = *std::move(created);
    rpc::Server::Options options;
    options.name = "auth";
    options.services = server->services();
    grpc = *rpc::Server::Start(std::move(options));
    channel = grpc->InProcessChannel();
    auth = v1::AuthService::NewStub(channel);
    identity = v1::IdentityService::NewStub(channel);
    service = rpc::ServiceIdentity::Local(server->signer(), "registry", clock);
  }
  ~Instance() {
    if (server == nullptr) return;
    server->PrepareDrain();
    grpc->Drain(clock::SteadyNow() + absl::Seconds(10));
    server->Drain(clock::SteadyNow() + absl::Seconds(10));
  }

  metrics::Registry metrics;
  token::Verifier verifier;
  token::RevocationSet revocations;
  rpc::Authenticator authenticator;
  absl::Status start;
  std::unique_ptr<AuthServer> server;
  std::unique_ptr<rpc::Server> grpc;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::AuthService::Stub> auth;
  std::unique_ptr<v1::IdentityService::Stub> identity;
  std::unique_ptr<rpc::ServiceIdentity> service;
};

class AuthTest : public ::testing::Test {
 protected:
  void SetUp() override {
    config_.database_url = log::Secret(FreshDatabase());
    config_.state_dir = state_.path();
    config_.jwt_secret = log::Secret("a secret of the tests, long enough");
    config_.registration_secret = log::Secret(kRegistrationSecret);
    SetServiceSecret("query", "the secret of query\n");
    SetServiceSecret("gateway", "the secret of gateway\n");
    config_.service_secrets_dir = service_secrets_.path();
    config_.admin_password = log::Secret(kAdminPassword);
    config_.encryption_key = log::Secret("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    config_.startup_timeout = absl::Seconds(10);
  }
  void Start() {
    instance_ = std::make_unique<Instance>(config_, &clock_);
    ASSERT_THAT(instance_->start, IsOk());
  }

  rpc::CallOptions Options(const std::string& bearer = "") {
    rpc::CallOptions options = rpc::OwnWork(absl::Seconds(20), nullptr);
    options.bearer = bearer;
    return options;
  }
  rpc::CallOptions AsService() { return rpc::OwnWork(absl::Seconds(20), instance_->service.get()); }

  template <typename Req, typename Resp>
  absl::StatusOr<Resp> Call(grpc::Status (v1::AuthService::Stub::*method)(grpc::ClientContext*, const Req&, Resp*),
                            const Req& request, const std::string& bearer = "") {
    return rpc::Call(*instance_->auth, method, request, Options(bearer));
  }
  template <typename Req, typename Resp>
  absl::StatusOr<Resp> Call(grpc::Status (v1::IdentityService::Stub::*method)(grpc::ClientContext*, const Req&, Resp*),
                            const Req& request) {
    return rpc::Call(*instance_->identity, method, request, AsService());
  }

  absl::StatusOr<v1::LoginResponse> Login(const std::string& username, const std::string& password) {
    v1::LoginRequest request;
    request.set_username(username);
    request.set_password(password);
    return Call(&v1::AuthService::Stub::Login, request);
  }
  // As the gateway passes it on for a client of that address.
  absl::StatusOr<v1::LoginResponse> LoginFrom(const std::string& address, const std::string& username,
                                              const std::string& password) {
    v1::LoginRequest request;
    request.set_username(username);
    request.set_password(password);
    if (gateway_ == nullptr) {
      gateway_ = rpc::ServiceIdentity::Local(instance_->server->signer(), "gateway", &clock_);
    }
    rpc::CallOptions options = Options();
    options.metadata = {{rpc::kForwardedFor, address}, {rpc::kServiceAuthorization, "Bearer " + gateway_->Token()}};
    return rpc::Call(*instance_->auth, &v1::AuthService::Stub::Login, request, options);
  }
  absl::StatusOr<v1::LoginResponse> Refresh(const std::string& token) {
    v1::RefreshRequest request;
    request.set_refresh_token(token);
    return Call(&v1::AuthService::Stub::Refresh, request);
  }
  v1::LoginResponse Admin() {
    auto response = Login("admin", kAdminPassword);
    EXPECT_THAT(response, IsOk());
    return response.value_or(v1::LoginResponse());
  }
  // Whether the access token opens a call that needs a role.
  absl::Status Use(const std::string& bearer) {
    return Call(&v1::AuthService::Stub::ListRegistrationSecrets, v1::ListRegistrationSecretsRequest(), bearer).status();
  }
  // Waits until the token is refused (or accepted), as the feed brings the news.
  absl::Status UseUntil(const std::string& bearer, absl::StatusCode code) {
    absl::Status last;
    testing::WaitUntil([&] {
      last = Use(bearer);
      return last.code() == code;
    });
    return last;
  }
  absl::StatusOr<v1::User> CreateUser(const std::string& bearer, const std::string& username, const std::string& role) {
    v1::CreateUserRequest request;
    request.set_username(username);
    request.set_email(username + "@example.com");
    request.set_password("a password of " + username);
    request.set_role(role);
    return Call(&v1::AuthService::Stub::CreateUser, request, bearer);
  }
  absl::StatusOr<v1::IssueCollectorCredentialsResponse> Issue(const std::string& id, bool revoke_former,
                                                              const std::string& csr = "") {
    v1::IssueCollectorCredentialsRequest request;
    request.set_collector_id(id);
    request.set_hostname("host-of-" + id);
    request.set_revoke_former(revoke_former);
    request.set_csr_pem(csr);
    return Call(&v1::IdentityService::Stub::IssueCollectorCredentials, request);
  }
  absl::StatusOr<v1::IssueServiceTokenResponse> IssueServiceToken(const std::string& service,
                                                                  const std::string& secret) {
    v1::IssueServiceTokenRequest request;
    request.set_service(service);
    rpc::CallOptions options = Options();
    if (!secret.empty()) options.metadata.emplace_back(rpc::kServiceSecret, secret);
    return rpc::Call(*instance_->identity, &v1::IdentityService::Stub::IssueServiceToken, request, options);
  }
  bool Revoked(const std::string& token) {
    const auto principal = instance_->verifier.Verify(token, clock_.Now());
    EXPECT_THAT(principal, IsOk());
    return instance_->server->CheckRevocation(*principal, clock::SteadyNow() + absl::Seconds(10)).value();
  }
  void Sql(const std::string& statement) {
    auto pool = pg::Pool::Create({.url = config_.database_url.Reveal()});
    EXPECT_THAT((*pool)->Exec(statement, {}, clock::SteadyNow() + absl::Seconds(10)), IsOk());
  }
  // Makes `call` wait for a lock, with what it has read before, and runs `change` before it goes on. With
  // `change_first` the change itself is what it waits for.
  template <typename Resp>
  absl::StatusOr<Resp> Overtaken(const std::string& lock, const std::string& change,
                                 const std::function<absl::StatusOr<Resp>()>& call, bool change_first = false) {
    auto pool = pg::Pool::Create({.url = config_.database_url.Reveal()});
    absl::StatusOr<Resp> answer = absl::UnknownError("not called");
    std::thread caller;
    const auto waits = [&] {
      const auto waiting = (*pool)->Exec(
          "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", {},
          clock::SteadyNow() + absl::Seconds(10));
      return waiting.ok() && (*waiting)[0].Int64(0) > 0;
    };
    EXPECT_THAT((*pool)->InTransaction(clock::SteadyNow() + absl::Seconds(20),
                                       [&](pg::Transaction& tx) -> absl::Status {
                                         PGA_RETURN_IF_ERROR(tx.Exec(change_first ? change : lock));
                                         caller = std::thread([&] { answer = call(); });
                                         EXPECT_TRUE(testing::WaitUntil(waits));
                                         return change_first ? absl::OkStatus() : tx.Exec(change).status();
                                       }),
                IsOk());
    if (caller.joinable()) caller.join();
    return answer;
  }
  int64_t Count(const std::string& from) {
    auto pool = pg::Pool::Create({.url = config_.database_url.Reveal()});
    const auto result =
        (*pool)->Exec("SELECT count(*) FROM pganalytics." + from, {}, clock::SteadyNow() + absl::Seconds(10));
    EXPECT_THAT(result, IsOk());
    return result.ok() ? (*result)[0].Int64(0) : -1;
  }

  clock::FakeClock clock_{clock::WallNow()};
  void SetServiceSecret(const std::string& service, const std::string& text) {
    ASSERT_THAT(testing::WriteFile(service_secrets_ / service, text), IsOk());
  }

  testing::ScopedTempDir state_;
  testing::ScopedTempDir service_secrets_;
  std::unique_ptr<rpc::ServiceIdentity> gateway_;
  AuthConfig config_;
  std::unique_ptr<Instance> instance_;
};

TEST_F(AuthTest, SignsInAndDescribesTheUser) {
  Start();
  const v1::LoginResponse response = Admin();
  EXPECT_EQ(response.user().username(), "admin");
  EXPECT_EQ(response.user().role(), "admin");
  EXPECT_TRUE(response.user().is_active());
  EXPECT_TRUE(response.user().has_last_login());
  EXPECT_EQ(absl::FromUnixSeconds(response.expires_at().seconds()),
            absl::FromUnixSeconds(absl::ToUnixSeconds(clock_.Now() + absl::Minutes(15))));
  EXPECT_THAT(Use(response.token()), IsOk());
  // A refresh token is no identity, and an access token refreshes nothing.
  EXPECT_THAT(Use(response.refresh_token()), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Refresh(response.token()), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_EQ(Count("audit_log WHERE action = 'login' AND outcome = 'success'"), 1);
}

TEST_F(AuthTest, UnknownUserWrongPasswordAndInactiveAccountLookTheSame) {
  Start();
  const v1::LoginResponse admin = Admin();
  const auto user = CreateUser(admin.token(), "inactive", "viewer");
  ASSERT_THAT(user, IsOk());
  v1::UpdateUserRequest update;
  update.set_id(user->id());
  update.set_is_active(false);
  ASSERT_THAT(Call(&v1::AuthService::Stub::UpdateUser, update, admin.token()), IsOk());

  const absl::Status unknown = Login("nobody", "some password").status();
  const absl::Status wrong = Login("admin", "some password").status();
  const absl::Status inactive = Login("inactive", "a password of inactive").status();
  EXPECT_THAT(unknown, StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_EQ(unknown.message(), wrong.message());
  EXPECT_EQ(unknown.message(), inactive.message());
  EXPECT_EQ(ReasonOf(unknown), ReasonOf(wrong));
  EXPECT_EQ(ReasonOf(unknown), ReasonOf(inactive));
  EXPECT_THAT(Login("", "x"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(Count("audit_log WHERE action = 'login' AND outcome = 'refused'"), 3);
}

// Passwords guessed from elsewhere lock the guesser's address, and strangers all together, but not where the account
// signs in from.
TEST_F(AuthTest, NobodyLocksTheOwnerOut) {
  Start();
  const std::string home = "198.51.100.7";
  ASSERT_THAT(LoginFrom(home, "admin", kAdminPassword), IsOk());
  for (int i = 0; i < kFailuresBeforeLock; ++i) {
    EXPECT_THAT(LoginFrom("203.0.113.1", "admin", "wrong"), StatusIs(absl::StatusCode::kUnauthenticated));
  }
  EXPECT_EQ(ReasonOf(LoginFrom("203.0.113.1", "admin", kAdminPassword).status()), "ACCOUNT_LOCKED");
  EXPECT_THAT(LoginFrom("203.0.113.2", "admin", "wrong"), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(LoginFrom(home, "admin", kAdminPassword), IsOk());
  // One guess a time from many addresses.
  absl::Status last;
  int guesses = 0;
  while (!absl::IsResourceExhausted(last) && ++guesses < 2 * kFailuresOfStrangersBeforeLock) {
    last = LoginFrom(absl::StrCat("192.0.2.", guesses % 250), "admin", "wrong").status();
  }
  EXPECT_LE(guesses, kFailuresOfStrangersBeforeLock + 1);
  EXPECT_EQ(ReasonOf(LoginFrom("203.0.113.9", "admin", kAdminPassword).status()), "ACCOUNT_LOCKED");
  EXPECT_THAT(LoginFrom(home, "admin", kAdminPassword), IsOk());
  EXPECT_THAT(LoginFrom("203.0.113.9", "admin", kAdminPassword), IsOk()) << "the owner's sign-in ends it";
}

// All spellings of a name are counted as one account, and no other name is taken for it.
TEST_F(AuthTest, FailuresAreCountedByTheNameThatIsFound) {
  Start();
  ASSERT_THAT(CreateUser(Admin().token(), "kira", "viewer"), IsOk());
  const std::string password = "a password of kira";
  for (int i = 0; i < kFailuresBeforeLock; ++i) {
    EXPECT_THAT(Login(i % 2 == 0 ? "kira" : "KIRA", "wrong"), StatusIs(absl::StatusCode::kUnauthenticated));
  }
  EXPECT_EQ(ReasonOf(Login("Kira", password).status()), "ACCOUNT_LOCKED");
  EXPECT_THAT(Login("\xE2\x84\xAAira", password), StatusIs(absl::StatusCode::kUnauthenticated)) << "with a Kelvin sign";
}

TEST_F(AuthTest, LocksAnAccountAfterTenFailuresForAWhile) {
  Start();
  for (const char* name : {"admin", "nobody"}) {
    SCOPED_TRACE(name);
    for (int i = 0; i < 10; ++i) {
      ASSERT_THAT(Login(name, "wrong password"), StatusIs(absl::StatusCode::kUnauthenticated)) << i;
    }
    const absl::Status locked = Login(name, kAdminPassword).status();
    EXPECT_THAT(locked, StatusIs(absl::StatusCode::kResourceExhausted));
    EXPECT_EQ(ReasonOf(locked), "ACCOUNT_LOCKED");
    EXPECT_EQ(status::RetryAfterOf(locked), absl::Seconds(30));
  }
  clock_.Advance(absl::Seconds(31));
  EXPECT_THAT(Login("admin", "wrong password"), StatusIs(absl::StatusCode::kUnauthenticated));
  clock_.Advance(absl::Seconds(31));
  EXPECT_THAT(Login("ADMIN", kAdminPassword), StatusIs(absl::StatusCode::kResourceExhausted)) << "it doubles";
  clock_.Advance(absl::Seconds(30));
  EXPECT_THAT(Login("admin", kAdminPassword), IsOk());
  EXPECT_THAT(Login("admin", "wrong password"), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Login("admin", kAdminPassword), IsOk()) << "a success forgets the failures";
}

TEST_F(AuthTest, AttemptsAtTheSameTimeAreAllCounted) {
  Start();
  std::atomic<int> refused{0};
  std::atomic<int> locked{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        const absl::Status status = Login("admin", "wrong password").status();
        if (absl::IsUnauthenticated(status)) ++refused;
        if (ReasonOf(status) == "ACCOUNT_LOCKED") ++locked;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 10) << "no more guesses than allowed";
  EXPECT_GT(locked, 0);
}

TEST_F(AuthTest, RefreshRotatesAndReuseEndsTheFamily) {
  Start();
  const v1::LoginResponse first = Admin();
  clock_.Advance(absl::Seconds(1));
  const auto second = Refresh(first.refresh_token());
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(second->refresh_token(), first.refresh_token());
  EXPECT_EQ(second->user().username(), "admin");
  EXPECT_THAT(Use(second->token()), IsOk());

  const absl::Status reused = Refresh(first.refresh_token()).status();
  EXPECT_THAT(reused, StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_EQ(ReasonOf(reused), "REFRESH_TOKEN_REUSED");
  EXPECT_THAT(Refresh(second->refresh_token()), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(UseUntil(second->token(), absl::StatusCode::kUnauthenticated),
              StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Login("admin", kAdminPassword), IsOk());
  EXPECT_EQ(Count("audit_log WHERE action = 'refresh.reuse'"), 1);
}

TEST_F(AuthTest, OfManyConcurrentRefreshesOneWins) {
  Start();
  const v1::LoginResponse login = Admin();
  std::atomic<int> won{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        if (Refresh(login.refresh_token()).ok()) ++won;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(won, 1);
}

TEST_F(AuthTest, TokensAndSessionsExpire) {
  config_.session_lifetime = absl::Hours(48);
  Start();
  v1::LoginResponse login = Admin();
  clock_.Advance(absl::Minutes(15) + token::Verifier::kLeeway + absl::Seconds(2));
  EXPECT_THAT(Use(login.token()), StatusIs(absl::StatusCode::kUnauthenticated));
  for (int day = 0; day < 2; ++day) {
    const auto refreshed = Refresh(login.refresh_token());
    ASSERT_THAT(refreshed, IsOk()) << day;
    login = *refreshed;
    clock_.Advance(absl::Hours(23));
  }
  clock_.Advance(absl::Hours(3));
  EXPECT_THAT(Refresh(login.refresh_token()), StatusIs(absl::StatusCode::kUnauthenticated)) << "absolute end";

  login = Admin();
  const absl::Time end = clock_.Now() + config_.session_lifetime;
  for (int part = 0; part < 3; ++part) {
    clock_.Advance(absl::Hours(16) - absl::Minutes(1));
    const auto refreshed = Refresh(login.refresh_token());
    ASSERT_THAT(refreshed, IsOk()) << part;
    login = *refreshed;
  }
  for (const std::string& last : {login.token(), login.refresh_token()}) {
    const auto type = last == login.token() ? token::TokenType::kAccess : token::TokenType::kRefresh;
    const auto claims = instance_->verifier.VerifyClaims(last, type, clock_.Now());
    ASSERT_THAT(claims, IsOk());
    EXPECT_LE(claims->principal.expires_at, end) << "no token outlives its session";
  }
}

TEST_F(AuthTest, LogoutEndsTheSessionOfEitherToken) {
  Start();
  const v1::LoginResponse by_bearer = Admin();
  const v1::LoginResponse by_refresh = Admin();
  EXPECT_THAT(Call(&v1::AuthService::Stub::Logout, v1::LogoutRequest(), by_bearer.token()), IsOk());
  v1::LogoutRequest request;
  request.set_refresh_token(by_refresh.refresh_token());
  EXPECT_THAT(Call(&v1::AuthService::Stub::Logout, request), IsOk());
  for (const v1::LoginResponse* login : {&by_bearer, &by_refresh}) {
    EXPECT_THAT(UseUntil(login->token(), absl::StatusCode::kUnauthenticated),
                StatusIs(absl::StatusCode::kUnauthenticated));
    EXPECT_THAT(Refresh(login->refresh_token()), StatusIs(absl::StatusCode::kUnauthenticated));
  }
  EXPECT_THAT(Call(&v1::AuthService::Stub::Logout, v1::LogoutRequest()), IsOk()) << "nobody may log out, too";
  EXPECT_THAT(Use(Admin().token()), IsOk());
}

TEST_F(AuthTest, LogoutSaysWhenItEndedNothing) {
  Start();
  const v1::LoginResponse first = Admin();
  v1::LogoutRequest request;
  request.set_refresh_token("no token");
  EXPECT_THAT(Call(&v1::AuthService::Stub::Logout, request), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Call(&v1::AuthService::Stub::Logout, request, first.token()), IsOk()) << "the bearer's session is ended";
  EXPECT_THAT(Refresh(first.refresh_token()), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Call(&v1::AuthService::Stub::Logout, v1::LogoutRequest(), first.token()), IsOk()) << "ended already";

  const v1::LoginResponse second = Admin();
  clock_.Advance(absl::Minutes(15) + token::Verifier::kLeeway + absl::Seconds(2));
  EXPECT_THAT(Call(&v1::AuthService::Stub::Logout, v1::LogoutRequest(), second.token()),
              StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Refresh(second.refresh_token()), IsOk()) << "the client knows that it has to send the refresh token";
}

TEST_F(AuthTest, NothingRestsOnAPasswordThatWasReplacedWhileItWasHashed) {
  Start();
  auto pool = pg::Pool::Create({.url = config_.database_url.Reveal()});
  ASSERT_THAT(pool, IsOk());
  PgAuthStore store(pool->get(), {});
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(20);
  const auto admin = store.FindUserByName("admin", deadline);
  ASSERT_THAT(admin, IsOk());
  const std::string verified = (*admin)->password_hash;
  const int32_t id = (*admin)->id;
  EXPECT_THAT(store.SetPassword(id, "account", std::nullopt, "another hash", "", clock_.Now(), {}, deadline),
              IsOkAndHolds(true));

  NewSession session;
  session.id = "a session";
  session.user_id = id;
  session.token_hash = "hash";
  session.created_at = clock_.Now();
  session.expires_at = clock_.Now() + absl::Hours(1);
  const auto opened = store.OpenSession("account", session, verified, "rehashed old password", {}, deadline);
  ASSERT_THAT(opened, IsOk());
  EXPECT_FALSE(opened->has_value());
  EXPECT_EQ(Count("sessions"), 0);
  EXPECT_THAT(store.SetPassword(id, "account", verified, "changed by the old one", "", clock_.Now(), {}, deadline),
              IsOkAndHolds(false));
  EXPECT_EQ((*store.FindUser(id, deadline))->password_hash, "another hash");
}

TEST_F(AuthTest, AuditRowsGoByAgeAndNoYoungOnes) {
  Start();
  Admin();
  auto pool = pg::Pool::Create({.url = config_.database_url.Reveal(), .size = 1});
  ASSERT_THAT(pool, IsOk());
  PgAuthStore store(pool->get(), {});
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(20);
  const auto exec = [&](const char* sql) { return (*pool)->Exec(sql, {}, deadline); };
  ASSERT_THAT(exec("INSERT INTO pganalytics.audit_log (created_at, actor, action, outcome) "
                   "SELECT now() - (n + 0.5) * INTERVAL '1 day', 'x', 'old', 'success' FROM generate_series(1, 100) n"),
              IsOk());
  ASSERT_THAT(exec("INSERT INTO pganalytics.registration_secret_audit (status, used_at) "
                   "SELECT 'failed', now() - (n + 0.5) * INTERVAL '1 day' FROM generate_series(1, 100) n"),
              IsOk());
  EXPECT_THAT(store.PruneAudit(clock::WallNow() - absl::Hours(24 * 60), deadline), IsOkAndHolds(82));
  // As the service itself: it can neither delete rows nor have young ones deleted.
  ASSERT_THAT(exec("SET SESSION AUTHORIZATION pganalytics_auth"), IsOk());
  EXPECT_THAT(store.PruneAudit(clock::WallNow(), deadline), IsOkAndHolds(60));
  EXPECT_THAT(exec("DELETE FROM pganalytics.audit_log"), StatusIs(absl::StatusCode::kPermissionDenied));
  ASSERT_THAT(exec("RESET SESSION AUTHORIZATION"), IsOk());
  const auto left = exec("SELECT count(*)::int8 FROM pganalytics.audit_log WHERE action = 'old'");
  ASSERT_THAT(left, IsOk());
  EXPECT_EQ((*left)[0].Int64(0), 29);
}

TEST_F(AuthTest, SignInOvertakenByAChangeOfTheAccountSeesTheChange) {
  Start();
  const std::string admin = Admin().token();
  ASSERT_THAT(CreateUser(admin, "ursula", "admin"), IsOk());
  ASSERT_THAT(CreateUser(admin, "victor", "viewer"), IsOk());
  const auto login = [&] { return Login("ursula", "a password of ursula"); };

  const auto demoted = Overtaken<v1::LoginResponse>("LOCK TABLE pganalytics.login_failures",
                                                    "UPDATE pganalytics.users SET role = 'viewer'", login);
  ASSERT_THAT(demoted, IsOk());
  EXPECT_EQ(demoted->user().role(), "viewer");
  EXPECT_THAT(Use(demoted->token()), StatusIs(absl::StatusCode::kPermissionDenied));

  // The hash to be renewed is the one of the former password.
  PasswordHasher weak({.passes = 1});
  const auto hash = weak.Hash(*weak.Acquire(clock::SteadyNow() + absl::Seconds(10)), "a password of ursula");
  ASSERT_THAT(hash, IsOk());
  Sql("UPDATE pganalytics.users SET password_hash = '" + *hash + "' WHERE username = 'ursula'");
  const std::string reset =
      "UPDATE pganalytics.users SET password_hash = (SELECT password_hash FROM pganalytics.users "
      "WHERE username = 'victor') WHERE username = 'ursula'";
  EXPECT_THAT(Overtaken<v1::LoginResponse>("LOCK TABLE pganalytics.login_failures", reset, login),
              StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(login(), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Login("ursula", "a password of victor"), IsOk());

  const auto victor = Login("victor", "a password of victor");
  ASSERT_THAT(victor, IsOk());
  v1::ChangePasswordRequest change;
  change.set_old_password("a password of victor");
  change.set_new_password("another password of his");
  EXPECT_THAT(Overtaken<v1::MessageResponse>(
                  "LOCK TABLE pganalytics.login_failures",
                  "UPDATE pganalytics.users SET password_hash = '" + *hash + "' WHERE username = 'victor'",
                  [&] { return Call(&v1::AuthService::Stub::ChangePassword, change, victor->token()); }),
              StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Login("victor", "a password of ursula"), IsOk());
}

TEST_F(AuthTest, RefreshOvertakenByAChangeOfTheRoleSeesTheChange) {
  Start();
  const auto user = CreateUser(Admin().token(), "ursula", "admin");
  ASSERT_THAT(user, IsOk());
  const auto login = Login("ursula", "a password of ursula");
  ASSERT_THAT(login, IsOk());
  const auto refreshed = Overtaken<v1::LoginResponse>(
      "SELECT 1", "UPDATE pganalytics.users SET role = 'viewer' WHERE username = 'ursula'",
      [&] { return Refresh(login->refresh_token()); }, /*change_first=*/true);
  ASSERT_THAT(refreshed, IsOk());
  EXPECT_EQ(refreshed->user().role(), "viewer");
}

TEST_F(AuthTest, ChangeOfTheRoleRevokesTokensOfAClockAhead) {
  Start();
  const std::string admin = Admin().token();
  const auto user = CreateUser(admin, "ursula", "admin");
  ASSERT_THAT(user, IsOk());
  clock_.Advance(absl::Milliseconds(500));
  const auto ahead = Login("ursula", "a password of ursula");
  ASSERT_THAT(ahead, IsOk());
  clock_.Advance(-absl::Milliseconds(500));
  v1::UpdateUserRequest update;
  update.set_id(user->id());
  update.set_role("viewer");
  ASSERT_THAT(Call(&v1::AuthService::Stub::UpdateUser, update, admin), IsOk());
  EXPECT_TRUE(Revoked(ahead->token()));
  // A new one is good at once, though this clock has not reached the time of the revocation.
  const auto refreshed = Refresh(ahead->refresh_token());
  ASSERT_THAT(refreshed, IsOk());
  EXPECT_FALSE(Revoked(refreshed->token()));
}

TEST_F(AuthTest, ChangePasswordEndsTheOtherSessions) {
  Start();
  const v1::LoginResponse other = Admin();
  const v1::LoginResponse mine = Admin();
  v1::ChangePasswordRequest request;
  request.set_old_password("wrong");
  request.set_new_password("another good password");
  EXPECT_THAT(Call(&v1::AuthService::Stub::ChangePassword, request, mine.token()),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("Old password")));
  request.set_old_password(kAdminPassword);
  request.set_new_password("short");
  EXPECT_THAT(Call(&v1::AuthService::Stub::ChangePassword, request, mine.token()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  request.set_new_password(kAdminPassword);
  EXPECT_THAT(Call(&v1::AuthService::Stub::ChangePassword, request, mine.token()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  request.set_new_password("another good password");
  EXPECT_THAT(Call(&v1::AuthService::Stub::ChangePassword, request), StatusIs(absl::StatusCode::kUnauthenticated));
  ASSERT_THAT(Call(&v1::AuthService::Stub::ChangePassword, request, mine.token()), IsOk());

  EXPECT_THAT(UseUntil(other.token(), absl::StatusCode::kUnauthenticated),
              StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Use(mine.token()), IsOk());
  EXPECT_THAT(Refresh(mine.refresh_token()), IsOk());
  EXPECT_THAT(Login("admin", kAdminPassword), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Login("admin", "another good password"), IsOk());
}

TEST_F(AuthTest, UsersAreManagedByAdministratorsOnly) {
  Start();
  const std::string admin = Admin().token();
  const auto viewer = CreateUser(admin, "victor", "viewer");
  ASSERT_THAT(viewer, IsOk());
  EXPECT_GT(viewer->id(), 0);
  EXPECT_EQ(viewer->role(), "viewer");
  EXPECT_FALSE(viewer->has_last_login());
  EXPECT_THAT(CreateUser(admin, "VICTOR", "viewer"), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(CreateUser(admin, "vi", "viewer"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CreateUser(admin, "walter", "root"), StatusIs(absl::StatusCode::kInvalidArgument));

  const auto login = Login("victor", "a password of victor");
  ASSERT_THAT(login, IsOk());
  EXPECT_THAT(CreateUser(login->token(), "walter", "viewer"), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(Use(login->token()), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(CreateUser("", "walter", "viewer"), StatusIs(absl::StatusCode::kUnauthenticated));

  std::vector<std::string> names;
  EXPECT_THAT(rpc::CallStream(*instance_->auth, &v1::AuthService::Stub::ListUsers, v1::ListUsersRequest(),
                              Options(admin), std::function<absl::Status(v1::User&)>([&](v1::User& user) {
                                names.push_back(user.username());
                                return absl::OkStatus();
                              })),
              IsOk());
  EXPECT_THAT(names, ::testing::ElementsAre("victor", "admin"));
}

TEST_F(AuthTest, RoleAndActivityTakeEffectAtOnce) {
  Start();
  const std::string admin = Admin().token();
  const auto user = CreateUser(admin, "ursula", "admin");
  ASSERT_THAT(user, IsOk());
  const auto login = Login("ursula", "a password of ursula");
  ASSERT_THAT(login, IsOk());
  EXPECT_THAT(Use(login->token()), IsOk());

  // At the very instant of the sign-in, and so before a token's time by another replica's clock.
  v1::UpdateUserRequest update;
  update.set_id(user->id());
  EXPECT_THAT(Call(&v1::AuthService::Stub::UpdateUser, update, admin), StatusIs(absl::StatusCode::kInvalidArgument));
  update.set_role("viewer");
  ASSERT_THAT(Call(&v1::AuthService::Stub::UpdateUser, update, admin), IsOk());
  EXPECT_THAT(UseUntil(login->token(), absl::StatusCode::kUnauthenticated),
              StatusIs(absl::StatusCode::kUnauthenticated));
  const auto refreshed = Refresh(login->refresh_token());
  ASSERT_THAT(refreshed, IsOk()) << "the session goes on with the new role";
  EXPECT_EQ(refreshed->user().role(), "viewer");
  EXPECT_THAT(Use(refreshed->token()), StatusIs(absl::StatusCode::kPermissionDenied));

  clock_.Advance(absl::Seconds(1));
  update.clear_role();
  update.set_is_active(false);
  ASSERT_THAT(Call(&v1::AuthService::Stub::UpdateUser, update, admin), IsOk());
  EXPECT_TRUE(Revoked(refreshed->token()));
  EXPECT_THAT(Refresh(refreshed->refresh_token()), StatusIs(absl::StatusCode::kUnauthenticated));
  update.set_id(9999);
  EXPECT_THAT(Call(&v1::AuthService::Stub::UpdateUser, update, admin), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(AuthTest, DeleteAndResetEndSessions) {
  Start();
  const std::string admin = Admin().token();
  const auto user = CreateUser(admin, "ursula", "admin");
  ASSERT_THAT(user, IsOk());
  const auto login = Login("ursula", "a password of ursula");
  ASSERT_THAT(login, IsOk());

  v1::ResetUserPasswordRequest reset;
  reset.set_id(user->id());
  const auto fresh = Call(&v1::AuthService::Stub::ResetUserPassword, reset, admin);
  ASSERT_THAT(fresh, IsOk());
  EXPECT_EQ(fresh->username(), "ursula");
  EXPECT_THAT(UseUntil(login->token(), absl::StatusCode::kUnauthenticated),
              StatusIs(absl::StatusCode::kUnauthenticated));
  const auto again = Login("ursula", fresh->temp_password());
  ASSERT_THAT(again, IsOk());

  v1::DeleteUserRequest remove;
  remove.set_id(user->id());
  EXPECT_THAT(Call(&v1::AuthService::Stub::DeleteUser, remove, admin), IsOk());
  EXPECT_THAT(UseUntil(again->token(), absl::StatusCode::kUnauthenticated),
              StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Call(&v1::AuthService::Stub::DeleteUser, remove, admin), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(AuthTest, TheAccountAdminIsProtected) {
  Start();
  const v1::LoginResponse admin = Admin();
  v1::UpdateUserRequest update;
  update.set_id(admin.user().id());
  update.set_role("viewer");
  EXPECT_THAT(Call(&v1::AuthService::Stub::UpdateUser, update, admin.token()),
              StatusIs(absl::StatusCode::kPermissionDenied));
  update.clear_role();
  update.set_is_active(false);
  EXPECT_THAT(Call(&v1::AuthService::Stub::UpdateUser, update, admin.token()),
              StatusIs(absl::StatusCode::kPermissionDenied));
  v1::DeleteUserRequest remove;
  remove.set_id(admin.user().id());
  EXPECT_THAT(Call(&v1::AuthService::Stub::DeleteUser, remove, admin.token()),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(AuthTest, RegistrationSecretsAreShownOnceAndKeptAsHashes) {
  Start();
  const std::string admin = Admin().token();
  v1::CreateRegistrationSecretRequest create;
  create.set_name("rollout");
  create.set_description("for the new racks");
  const auto created = Call(&v1::AuthService::Stub::CreateRegistrationSecret, create, admin);
  ASSERT_THAT(created, IsOk());
  EXPECT_EQ(created->secret_value().size(), 43U);
  EXPECT_THAT(Call(&v1::AuthService::Stub::CreateRegistrationSecret, create, admin),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(Count("registration_secrets WHERE encode(secret_hash, 'escape') LIKE '%" + created->secret_value() + "%'"),
            0);

  v1::UseRegistrationSecretRequest use;
  use.set_secret(created->secret_value());
  use.set_collector_id("db1");
  const auto used = Call(&v1::IdentityService::Stub::UseRegistrationSecret, use);
  ASSERT_THAT(used, IsOk());
  EXPECT_EQ(used->secret_id(), created->id());

  v1::GetRegistrationSecretRequest get;
  get.set_id(created->id());
  const auto secret = Call(&v1::AuthService::Stub::GetRegistrationSecret, get, admin);
  ASSERT_THAT(secret, IsOk());
  EXPECT_EQ(secret->total_registrations(), 1);
  EXPECT_TRUE(secret->has_last_used_at());
  EXPECT_EQ(secret->created_by_username(), "admin");
  EXPECT_FALSE(secret->has_expires_at());

  v1::UpdateRegistrationSecretRequest update;
  update.set_id(created->id());
  EXPECT_THAT(Call(&v1::AuthService::Stub::UpdateRegistrationSecret, update, admin),
              StatusIs(absl::StatusCode::kInvalidArgument));
  update.set_name("rollout 2");
  update.set_active(false);
  const auto updated = Call(&v1::AuthService::Stub::UpdateRegistrationSecret, update, admin);
  ASSERT_THAT(updated, IsOk());
  EXPECT_FALSE(updated->active());
  EXPECT_EQ(updated->description(), "");
  EXPECT_THAT(Call(&v1::IdentityService::Stub::UseRegistrationSecret, use),
              StatusIs(absl::StatusCode::kUnauthenticated));

  const auto listed =
      Call(&v1::AuthService::Stub::ListRegistrationSecrets, v1::ListRegistrationSecretsRequest(), admin);
  ASSERT_THAT(listed, IsOk());
  EXPECT_EQ(listed->count(), 1);
  v1::DeleteRegistrationSecretRequest remove;
  remove.set_id(created->id());
  EXPECT_THAT(Call(&v1::AuthService::Stub::DeleteRegistrationSecret, remove, admin), IsOk());
  for (const std::string& id : {created->id(), std::string("no-uuid"), std::string()}) {
    remove.set_id(id);
    EXPECT_THAT(Call(&v1::AuthService::Stub::DeleteRegistrationSecret, remove, admin),
                StatusIs(absl::StatusCode::kNotFound));
  }
}

// One secret, one collector, unless it was made for many; in the place of a collector at work only a secret that was
// made for it.
TEST_F(AuthTest, RegistrationSecretIsOfOneCollector) {
  Start();
  const std::string admin = Admin().token();
  const auto make = [&](const std::string& name, const std::string& collector, bool for_many) {
    v1::CreateRegistrationSecretRequest create;
    create.set_name(name);
    create.set_collector_id(collector);
    create.set_for_many(for_many);
    const auto created = Call(&v1::AuthService::Stub::CreateRegistrationSecret, create, admin);
    EXPECT_THAT(created, IsOk());
    return created.ok() ? created->secret_value() : "";
  };
  const auto use = [&](const std::string& secret, const std::string& collector, bool replaces = false) {
    v1::UseRegistrationSecretRequest request;
    request.set_secret(secret);
    request.set_collector_id(collector);
    request.set_replaces(replaces);
    const absl::Status status = Call(&v1::IdentityService::Stub::UseRegistrationSecret, request).status();
    return status.ok() ? std::string("ok") : status::ReasonOf(status);
  };
  const std::string one = make("one", "", false);
  EXPECT_EQ(use(one, "at-work", true), "COLLECTOR_EXISTS");
  EXPECT_EQ(use(one, "a"), "ok") << "what was refused does not bind it";
  EXPECT_EQ(use(one, "a"), "ok") << "an answer may be lost";
  EXPECT_EQ(use(one, "b"), "REGISTRATION_SECRET_OF_ANOTHER");
  EXPECT_EQ(use(one, "a", true), "COLLECTOR_EXISTS") << "whoever has it is not the collector";
  const std::string many = make("many", "", true);
  for (const char* id : {"a", "b", "c"}) EXPECT_EQ(use(many, id), "ok");
  EXPECT_EQ(use(many, "a", true), "COLLECTOR_EXISTS");
  EXPECT_EQ(use(kRegistrationSecret, "d"), "ok");
  EXPECT_EQ(use(kRegistrationSecret, "d", true), "COLLECTOR_EXISTS");
  const std::string for_a = make("for a", "a", false);
  EXPECT_EQ(use(for_a, "a", true), "ok") << "an administrator made it for this";
  EXPECT_EQ(use(for_a, "b"), "REGISTRATION_SECRET_OF_ANOTHER");
  EXPECT_EQ(use("a guess", "a", true), "REGISTRATION_SECRET_INVALID") << "who is registered is told to nobody";
  v1::CreateRegistrationSecretRequest odd;
  odd.set_name("odd");
  odd.set_collector_id("..");
  EXPECT_THAT(Call(&v1::AuthService::Stub::CreateRegistrationSecret, odd, admin),
              StatusIs(absl::StatusCode::kInvalidArgument));
  odd.set_collector_id("a");
  odd.set_for_many(true);
  EXPECT_THAT(Call(&v1::AuthService::Stub::CreateRegistrationSecret, odd, admin),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(AuthTest, RegistrationSecretVerdicts) {
  Start();
  const std::string admin = Admin().token();
  v1::CreateRegistrationSecretRequest create;
  create.set_name("short-lived");
  create.mutable_expires_at()->set_seconds(absl::ToUnixSeconds(clock_.Now()) - 5);
  EXPECT_THAT(Call(&v1::AuthService::Stub::CreateRegistrationSecret, create, admin),
              StatusIs(absl::StatusCode::kInvalidArgument));
  create.mutable_expires_at()->set_seconds(absl::ToUnixSeconds(clock_.Now()) + 60);
  const auto created = Call(&v1::AuthService::Stub::CreateRegistrationSecret, create, admin);
  ASSERT_THAT(created, IsOk());

  v1::UseRegistrationSecretRequest use;
  use.set_secret(kRegistrationSecret);
  const auto fallback = Call(&v1::IdentityService::Stub::UseRegistrationSecret, use);
  ASSERT_THAT(fallback, IsOk());
  EXPECT_EQ(fallback->secret_id(), "");
  clock_.Advance(absl::Minutes(2));
  for (const std::string& secret : {created->secret_value(), std::string("guess"), std::string(),
                                    std::string(5000, 'x'), std::string(kRegistrationSecret) + "x"}) {
    use.set_secret(secret);
    const absl::Status refused = Call(&v1::IdentityService::Stub::UseRegistrationSecret, use).status();
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnauthenticated, Not(HasSubstr("guess"))));
  }
  EXPECT_EQ(Count("registration_secret_audit WHERE status = 'success'"), 1);
  EXPECT_EQ(Count("registration_secret_audit WHERE status = 'expired'"), 1);
  EXPECT_EQ(Count("registration_secret_audit WHERE status = 'failed'"), 2);
}

TEST_F(AuthTest, CollectorCredentialsComeWithTheAskedIdentityAlone) {
  Start();
  const auto made = Issue("db1", false);
  ASSERT_THAT(made, IsOk());
  EXPECT_THAT(made->private_key_pem(), HasSubstr("BEGIN PRIVATE KEY"));
  EXPECT_EQ(made->ca_pem(), instance_->server->ca_certificate_pem());
  const auto signed_request = Issue("db1", false, NewRequest());
  ASSERT_THAT(signed_request, IsOk());
  EXPECT_EQ(signed_request->private_key_pem(), "");
  const auto certificate = rpc::ReadCollectorCertificate(signed_request->certificate_pem(), clock_.Now());
  ASSERT_THAT(certificate, IsOk());
  EXPECT_EQ(certificate->collector_id, "db1");
  EXPECT_EQ(certificate->thumbprint, signed_request->certificate_thumbprint());
  const auto principal = instance_->verifier.Verify(made->token(), clock_.Now());
  ASSERT_THAT(principal, IsOk());
  EXPECT_EQ(principal->collector_id, "db1");
  EXPECT_THAT(Issue("not valid!", false), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Issue("db1", false, "no request"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(AuthTest, RegisteringAgainRevokesTheFormerCredentials) {
  Start();
  const auto first = Issue("db1", true);
  const absl::Status too_soon = Issue("db1", false).status();
  EXPECT_THAT(too_soon, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ReasonOf(too_soon), "RENEWED_TOO_SOON") << "a revoked credential must not be exchanged for a good one";
  clock_.Advance(kRenewPause + absl::Seconds(1));
  const auto renewed = Issue("db1", false);
  const auto neighbour = Issue("db2", true);
  ASSERT_THAT(renewed, IsOk());
  EXPECT_FALSE(Revoked(first->token()));
  // In the same microsecond, which is the hardest case: only ids tell the tokens apart.
  const auto second = Issue("db1", true);
  ASSERT_THAT(second, IsOk());
  const auto by_thumbprint = [&](const v1::IssueCollectorCredentialsResponse& issued, const std::string& id) {
    token::Principal principal;
    principal.kind = token::Principal::kCollector;
    principal.subject = token::CollectorSubject(id);
    principal.jti = issued.certificate_thumbprint();
    const auto certificate = rpc::ReadCollectorCertificate(issued.certificate_pem(), clock_.Now());
    principal.issued_at = certificate->not_before + absl::Seconds(1) - absl::Microseconds(1);
    return instance_->server->CheckRevocation(principal, clock::SteadyNow() + absl::Seconds(10)).value();
  };
  for (const auto* former : {&*first, &*renewed}) {
    EXPECT_TRUE(Revoked(former->token()));
    EXPECT_TRUE(by_thumbprint(*former, "db1"));
  }
  EXPECT_FALSE(Revoked(second->token()));
  EXPECT_FALSE(by_thumbprint(*second, "db1"));
  EXPECT_FALSE(Revoked(neighbour->token()));

  clock_.Advance(absl::Seconds(10));
  const auto third = Issue("db1", true);
  EXPECT_TRUE(Revoked(second->token()));
  EXPECT_TRUE(by_thumbprint(*second, "db1"));
  EXPECT_FALSE(Revoked(third->token()));
  EXPECT_FALSE(by_thumbprint(*third, "db1"));

  v1::RevokeCollectorRequest revoke;
  revoke.set_collector_id("db1");
  revoke.set_reason("deleted");
  EXPECT_THAT(Call(&v1::IdentityService::Stub::RevokeCollector, revoke), IsOk());
  EXPECT_TRUE(Revoked(third->token()));
  EXPECT_TRUE(by_thumbprint(*third, "db1"));
  EXPECT_FALSE(Revoked(neighbour->token()));
}

TEST_F(AuthTest, OfConcurrentRegistrationsOneSetOfCredentialsIsLeft) {
  Start();
  constexpr int kThreads = 8;
  std::vector<std::thread> threads;
  std::vector<std::string> tokens(kThreads);
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto issued = Issue("db1", true);
      if (issued.ok()) tokens[t] = issued->token();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(tokens, Each(Not(IsEmpty())));
  int valid = 0;
  for (const std::string& token : tokens) valid += Revoked(token) ? 0 : 1;
  EXPECT_EQ(valid, 1);
}

TEST_F(AuthTest, IdentityServiceIsForServices) {
  Start();
  const std::string admin = Admin().token();
  const auto as_admin = rpc::Call(*instance_->identity, &v1::IdentityService::Stub::RevokeCollector,
                                  v1::RevokeCollectorRequest(), Options(admin));
  EXPECT_THAT(as_admin, StatusIs(absl::StatusCode::kPermissionDenied));
  for (const char* name : {"query", "ingest", "compactor", "gateway"}) {
    const auto service = rpc::ServiceIdentity::Local(instance_->server->signer(), name, &clock_);
    EXPECT_THAT(rpc::Call(*instance_->identity, &v1::IdentityService::Stub::IssueCollectorCredentials,
                          v1::IssueCollectorCredentialsRequest(), rpc::OwnWork(absl::Seconds(20), service.get())),
                StatusIs(absl::StatusCode::kPermissionDenied))
        << name;
  }
  const auto as_nobody = rpc::Call(*instance_->identity, &v1::IdentityService::Stub::IssueCollectorCredentials,
                                   v1::IssueCollectorCredentialsRequest(), Options());
  EXPECT_THAT(as_nobody, StatusIs(absl::StatusCode::kUnauthenticated));
}

// A service gets tokens of its own name alone, for its own secret.
TEST_F(AuthTest, ServiceTokensAreExchangedForTheServicesOwnSecret) {
  Start();
  const auto issued = IssueServiceToken("query", "the secret of query");
  ASSERT_THAT(issued, IsOk());
  const auto principal = instance_->verifier.Verify(issued->token(), clock_.Now());
  ASSERT_THAT(principal, IsOk());
  EXPECT_EQ(principal->kind, token::Principal::kService);
  EXPECT_EQ(principal->service, "query");
  const std::pair<const char*, const char*> refused[] = {
      {"query", "another"},
      {"query", ""},
      {"query", "the secret of gateway"},
      {"registry", "the secret of query"},
      {"collector", "the secret of query"},
      {"", "the secret of query"},
      {"auth", "the secret of query"},
      {"../query", "the secret of query"},
  };
  for (const auto& [service, secret] : refused) {
    EXPECT_THAT(IssueServiceToken(service, secret), StatusIs(absl::StatusCode::kUnauthenticated)) << service;
  }
}

// Both secrets are good while one is rotated; the folder is read again without a restart, and a file that cannot be
// used changes nothing.
TEST_F(AuthTest, ServiceSecretIsRotatedWithoutARestart) {
  Start();
  const auto works = [&](const char* secret) {
    clock_.Advance(ServiceSecrets::kReadAgainAfter);
    return IssueServiceToken("query", secret).ok();
  };
  EXPECT_TRUE(works("the secret of query"));
  SetServiceSecret("query", "a new one\nthe secret of query\n");
  EXPECT_TRUE(works("a new one"));
  EXPECT_TRUE(works("the secret of query"));
  SetServiceSecret("query", "a new one\n");
  EXPECT_TRUE(works("a new one"));
  EXPECT_FALSE(works("the secret of query"));
  for (const char* bad : {"", "one\ntwo\nthree\n", "the secret of gateway\n"}) {
    SetServiceSecret("query", bad);
    EXPECT_TRUE(works("a new one")) << bad;
    EXPECT_FALSE(works("the secret of gateway")) << bad;
  }
  ASSERT_EQ(unlink((service_secrets_ / "query").c_str()), 0);
  EXPECT_FALSE(works("a new one"));
}

TEST_F(AuthTest, ServiceSecretsThatCannotBeUsedEndTheStart) {
  SetServiceSecret("query", "the secret of gateway\n");
  Instance shared(config_, &clock_);
  EXPECT_THAT(shared.start, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one of its own")));
  SetServiceSecret("query", "the secret of query\n");
  config_.environment = "production";
  config_.jwt_secret = log::Secret("u8Xq2mZ0sR4vT6yB1nK3pL5wE7hJ9dFg");
  config_.registration_secret = log::Secret();
  Instance weak(config_, &clock_);
  EXPECT_THAT(weak.start, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("32 characters")));
  config_.service_secrets_dir = "/nowhere/at/all";
  Instance missing(config_, &clock_);
  EXPECT_THAT(missing.start, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no folder")));
}

// What strangers do wrong is recorded, but cannot fill the audit log.
TEST_F(AuthTest, RefusalsOfStrangersDoNotFillTheAuditLog) {
  Start();
  for (int i = 0; i < 200; ++i) {
    EXPECT_THAT(IssueServiceToken("query", "a guess"), StatusIs(absl::StatusCode::kUnauthenticated));
  }
  EXPECT_LE(Count("audit_log WHERE action = 'service_token'"), Refusals::kPerAddressAndMinute);
  clock_.Advance(absl::Minutes(2));
  EXPECT_THAT(IssueServiceToken("query", "a guess"), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_EQ(Count("audit_log WHERE action = 'service_token' AND changes->>'refusals_not_recorded' = '180'"), 1);
}

TEST_F(AuthTest, FollowersHearOfRevocationsAndHeartbeats) {
  Start();
  ASSERT_THAT(Issue("early", true), IsOk());
  token::RevocationSet set;
  rpc::RevocationWatcher watcher(instance_->channel, instance_->service.get(), &set, &clock_);
  const auto is_revoked = [&](const std::string& id) {
    token::Principal principal;
    principal.kind = token::Principal::kCollector;
    principal.subject = token::CollectorSubject(id);
    principal.issued_at = clock_.Now() - absl::Seconds(1);
    return set.IsRevoked(principal);
  };
  EXPECT_TRUE(testing::WaitUntil([&] { return is_revoked("early"); })) << "what happened before it subscribed";
  const clock::SteadyTime subscribed = clock::SteadyNow();
  ASSERT_THAT(Issue("late", true), IsOk());
  EXPECT_TRUE(testing::WaitUntil([&] { return is_revoked("late"); }));
  EXPECT_LT(clock::SteadyNow() - subscribed, absl::Seconds(5));
  // Without revocations there is news, too.
  clock_.Advance(absl::Minutes(1));
  EXPECT_TRUE(testing::WaitUntil([&] { return set.HasNews(clock_.BoottimeNanos()); }));
  watcher.Stop();
}

TEST_F(AuthTest, EndingServiceDoesNotWaitForFollowers) {
  Start();
  token::RevocationSet set;
  rpc::RevocationWatcher watcher(instance_->channel, instance_->service.get(), &set, &clock_);
  ASSERT_TRUE(testing::WaitUntil([&] { return set.HasNews(clock_.BoottimeNanos()); }));
  const clock::SteadyTime before = clock::SteadyNow();
  instance_->server->PrepareDrain();
  instance_->grpc->Drain(clock::SteadyNow() + absl::Seconds(60));
  EXPECT_LT(clock::SteadyNow() - before, absl::Seconds(20));
  watcher.Stop();
}

TEST_F(AuthTest, RestartKeepsKeysUsersAndRevocations) {
  Start();
  const std::string ca = instance_->server->ca_certificate_pem();
  const auto former = Issue("db1", true);
  clock_.Advance(absl::Seconds(1));
  const auto current = Issue("db1", true);
  const v1::LoginResponse login = Admin();
  instance_.reset();
  config_.admin_password = log::Secret("yet another password");
  Start();
  EXPECT_EQ(instance_->server->ca_certificate_pem(), ca);
  EXPECT_THAT(Use(login.token()), IsOk());
  EXPECT_THAT(Refresh(login.refresh_token()), IsOk());
  EXPECT_THAT(Login("admin", kAdminPassword), IsOk()) << "the password is only used while there are no users";
  const auto old_principal = instance_->verifier.Verify(former->token(), clock_.Now());
  EXPECT_TRUE(instance_->revocations.IsRevoked(*old_principal)) << "known before the first call";
  EXPECT_FALSE(Revoked(current->token()));
}

// Where the key that seals the CA comes from, and what a start with another one says.
struct SealingCase {
  std::string name;
  std::string encryption_key;
  std::string backup_key;
  std::string origin;  // in the message of a start with this key where another one sealed
};

class SealingTest : public AuthTest, public ::testing::WithParamInterface<SealingCase> {
 protected:
  void Use(const SealingCase& sealing) {
    config_.encryption_key = log::Secret(sealing.encryption_key);
    config_.backup_key = log::Secret(sealing.backup_key);
  }
};

const SealingCase kSealingCases[] = {
    {"EncryptionKey", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "", "ENCRYPTION_KEY"},
    {"EncryptionKeyBeforeBackupKey", "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
     "a backup key of thirty-two bytes and more", "ENCRYPTION_KEY"},
    {"BackupKey", "", "a backup key of thirty-two bytes and more", "BACKUP_KEY"},
    {"AnotherBackupKey", "", "another backup key of thirty-two bytes", "BACKUP_KEY"},
    {"StateDir", "", "", "/encryption-key"},
};

TEST_P(SealingTest, IsKeptAndAnotherKeyStopsTheStart) {
  Use(GetParam());
  Start();
  const std::string ca = instance_->server->ca_certificate_pem();
  instance_.reset();
  Start();
  EXPECT_EQ(instance_->server->ca_certificate_pem(), ca) << "the key is kept";
  EXPECT_EQ(Count("sealed_keys"), 1);
  instance_.reset();
  for (const SealingCase& other : kSealingCases) {
    if (other.name == GetParam().name) continue;
    Use(other);
    Instance wrong_key(config_, &clock_);
    EXPECT_THAT(wrong_key.start, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(other.origin)))
        << other.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Keys, SealingTest, ::testing::ValuesIn(kSealingCases),
                         [](const auto& test) { return test.param.name; });

TEST_F(AuthTest, ProductionWithoutAPasswordStartsAndTheFirstPersonIsMadeByCommand) {
  config_.environment = "production";
  config_.admin_password = log::Secret();
  config_.jwt_secret = log::Secret("1fZq0v9H5mJb8sXw2kLr7tYc4nGd6pQe");
  config_.registration_secret = log::Secret("8sXw2kLr7tYc4nGd6pQe1fZq0v9H5mJb");
  config_.encryption_key = log::Secret();
  config_.backup_key = log::Secret("7tYc4nGd6pQe1fZq0v9H5mJb8sXw2kLr");
  config_.service_secrets_dir.clear();
  config_.state_dir = "/proc/no-folder-can-be-made-here";
  Start();
  EXPECT_FALSE(instance_->server->has_people());
  EXPECT_EQ(Count("users"), 0);
  EXPECT_THAT(Login("admin", kAdminPassword), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Login("admin", "admin"), StatusIs(absl::StatusCode::kUnauthenticated));

  std::vector<std::string> lines;
  const auto print = [&lines](const std::string& line) { lines.push_back(line); };
  const auto password = [&lines] {
    for (const std::string& line : lines) {
      if (line.starts_with("password: ")) return line.substr(10);
    }
    return std::string();
  };
  ASSERT_THAT(RunAdminCommand(config_, {"admin", "create", "kira"}, print), IsOk());
  const std::string first = password();
  const auto login = Login("kira", first);
  ASSERT_THAT(login, IsOk());
  EXPECT_EQ(login->user().role(), "admin");
  EXPECT_THAT(RunAdminCommand(config_, {"admin", "create"}, print),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("reset-password")));

  clock_.Advance(absl::Seconds(1));
  lines.clear();
  ASSERT_THAT(RunAdminCommand(config_, {"admin", "reset-password", "kira"}, print), IsOk());
  EXPECT_THAT(Login("kira", first), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Login("kira", password()), IsOk());
  EXPECT_THAT(UseUntil(login->token(), absl::StatusCode::kUnauthenticated),
              StatusIs(absl::StatusCode::kUnauthenticated))
      << "a running service learns of it";
  EXPECT_THAT(RunAdminCommand(config_, {"admin", "reset-password", "nobody"}, print),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(RunAdminCommand(config_, {"admin", "remove", "kira"}, print),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(AuthTest, DevelopmentMakesItsOwnSecretsInFiles) {
  config_.jwt_secret = log::Secret();
  config_.encryption_key = log::Secret();
  config_.admin_password = log::Secret();
  Start();
  const auto password = testing::ReadFile(state_ / "admin-password");
  ASSERT_THAT(password, IsOk());
  const auto login = Login("admin", password->substr(0, password->find('\n')));
  ASSERT_THAT(login, IsOk());
  const std::string ca = instance_->server->ca_certificate_pem();
  instance_.reset();
  Start();
  EXPECT_THAT(Use(login->token()), IsOk()) << "the key is kept";
  EXPECT_EQ(instance_->server->ca_certificate_pem(), ca);
  EXPECT_TRUE(testing::ReadFile(state_ / "encryption-key").ok());
}

TEST_F(AuthTest, AsymmetricKeysArePublishedAndSecretsAreNot) {
  config_.jwt_signing_key = log::Secret(*token::GenerateKeyPem());
  Start();
  const v1::LoginResponse login = Admin();
  const auto jwks =
      rpc::Call(*instance_->identity, &v1::IdentityService::Stub::GetJwks, v1::GetJwksRequest(), Options());
  ASSERT_THAT(jwks, IsOk());
  token::Verifier elsewhere;
  ASSERT_THAT(elsewhere.SetJwks(jwks->jwks_json()), IsOk());
  EXPECT_THAT(elsewhere.Verify(login.token(), clock_.Now()), IsOk());
  EXPECT_THAT(jwks->jwks_json(), Not(HasSubstr("oct")));
  // Tokens of the shared secret stay good while both are set.
  const auto legacy = token::Signer::FromSecret(config_.jwt_secret.Reveal());
  token::Claims claims;
  claims.principal.kind = token::Principal::kUser;
  claims.principal.user_id = login.user().id();
  claims.principal.username = "admin";
  claims.principal.role = "admin";
  claims.principal.issued_at = clock_.Now();
  claims.principal.expires_at = clock_.Now() + absl::Minutes(5);
  EXPECT_THAT(Use(*(*legacy)->Sign(claims)), IsOk());
}

TEST_F(AuthTest, UnpreparedDatabaseSaysWhatToDo) {
  const auto url = testing::SharedPostgres()->CreateFreshDatabase("bare");
  ASSERT_THAT(url, IsOk());
  config_.database_url = log::Secret(*url);
  Instance bare(config_, &clock_);
  EXPECT_THAT(bare.start, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("migrate up")));
}

TEST_F(AuthTest, MissingDatabaseEndsTheStartAndLaterOnlyTheCalls) {
  config_.database_url = log::Secret("host=/nonexistent dbname=x");
  config_.startup_timeout = absl::ZeroDuration();
  Instance nowhere(config_, &clock_);
  EXPECT_THAT(nowhere.start, StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(AuthTest, OutageOfTheDatabaseIsToldWithoutItsAddress) {
  auto postgres = testing::TempPostgres::Start();
  ASSERT_THAT(postgres, IsOk());
  config_.database_url = log::Secret((*postgres)->Url());
  ASSERT_THAT(storage::MigrateUp((*postgres)->Url(), storage::Database::kMetadata, {}), IsOk());
  Start();
  Sql("ALTER TABLE pganalytics.users RENAME TO away");
  EXPECT_THAT(Login("admin", kAdminPassword), StatusIs(absl::StatusCode::kUnavailable, Not(HasSubstr("users"))));
  ASSERT_THAT((*postgres)->StopFast(), IsOk());
  const absl::Status refused = Login("admin", kAdminPassword).status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnavailable, Not(HasSubstr((*postgres)->socket_dir()))));
  instance_.reset();
}

TEST_F(AuthTest, EnvoyIsToldWhatTheServicesWouldSay) {
  Start();
  const v1::LoginResponse admin = Admin();
  ASSERT_THAT(CreateUser(admin.token(), "victor", "viewer"), IsOk());
  const auto viewer = Login("victor", "a password of victor");
  const auto stub = envoy::service::auth::v3::Authorization::NewStub(instance_->channel);
  struct Case {
    std::string name, path, bearer, secret;
    int http_code;  // 0 = may pass
  };
  const std::string list = "/pganalytics.auth.v1.AuthService/ListRegistrationSecrets";
  const std::vector<Case> cases = {
      {"admin", list, admin.token(), "", 0},
      {"query is no part of the method", list + "?x=/pganalytics.auth.v1.AuthService/Login", "", "", 401},
      {"viewer", list, viewer->token(), "", 403},
      {"nobody", list, "", "", 401},
      {"bad token", list, "x.y.z", "", 401},
      {"open method", "/pganalytics.auth.v1.AuthService/Login", "", "", 0},
      {"open method, stale token", "/pganalytics.auth.v1.AuthService/Login", "x.y.z", "", 0},
      {"services' method", "/pganalytics.auth.v1.IdentityService/RevokeCollector", admin.token(), "", 403},
      {"registration", "/pganalytics.registry.v1.RegistryService/RegisterCollector", "", "s", 0},
      {"registration without secret", "/pganalytics.registry.v1.RegistryService/RegisterCollector", "", "", 401},
      {"query", "/pganalytics.query.v1.SystemService/GetVersion", "", "", 0},
      {"ingest without token", "/pganalytics.ingest.v1.IngestService/StreamBatches", "", "", 401},
      {"unknown method", "/pganalytics.auth.v1.AuthService/Drop", admin.token(), "", 403},
      {"REST path", "/api/v1/users", admin.token(), "", 403},
      {"no path", "", admin.token(), "", 403},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    envoy::service::auth::v3::CheckRequest request;
    auto* http = request.mutable_attributes()->mutable_request()->mutable_http();
    http->set_path(c.path);
    if (!c.bearer.empty()) (*http->mutable_headers())["authorization"] = "Bearer " + c.bearer;
    if (!c.secret.empty()) (*http->mutable_headers())["x-registration-secret"] = c.secret;
    const auto answer = rpc::Call(*stub, &envoy::service::auth::v3::Authorization::Stub::Check, request, Options());
    ASSERT_THAT(answer, IsOk());
    if (c.http_code == 0) {
      EXPECT_EQ(answer->status().code(), 0);
      EXPECT_THAT(answer->ok_response().headers_to_remove(), ::testing::Contains("x-service-authorization"));
    } else {
      EXPECT_NE(answer->status().code(), 0);
      EXPECT_EQ(answer->denied_response().status().code(), c.http_code);
      EXPECT_THAT(answer->denied_response().body(), HasSubstr(absl::StrCat("\"code\":", c.http_code)));
    }
  }
}

TEST_F(AuthTest, UnknownUsersTakeAsLongAsKnownOnes) {
  Start();
  const auto time_of = [&](const std::string& username) {
    std::vector<absl::Duration> times;
    for (int i = 0; i < 9; ++i) {
      const clock::SteadyTime before = clock::SteadyNow();
      EXPECT_THAT(Login(username, "wrong password"), StatusIs(absl::StatusCode::kUnauthenticated));
      times.push_back(clock::SteadyNow() - before);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  };
  const absl::Duration known = time_of("admin");
  const absl::Duration unknown = time_of("nobody");
  // Medians on a busy machine: a skipped hash would be a factor of five or more.
  EXPECT_LT(known, unknown * 3) << known << " " << unknown;
  EXPECT_LT(unknown, known * 3) << known << " " << unknown;
}

TEST_F(AuthTest, CaCertificateIsPublic) {
  Start();
  const auto ca = rpc::Call(*instance_->identity, &v1::IdentityService::Stub::GetCollectorCa,
                            v1::GetCollectorCaRequest(), Options());
  ASSERT_THAT(ca, IsOk());
  EXPECT_EQ(ca->ca_pem(), instance_->server->ca_certificate_pem());
  EXPECT_THAT(ca->ca_pem(), Not(HasSubstr("PRIVATE")));
}

TEST_F(AuthTest, PingTellsWhetherTheDatabaseAnswers) {
  Start();
  const auto query = rpc::ServiceIdentity::Local(instance_->server->signer(), "query", &clock_);
  const auto answer = rpc::Call(*instance_->identity, &v1::IdentityService::Stub::Ping, v1::PingRequest(),
                                rpc::OwnWork(absl::Seconds(20), query.get()));
  ASSERT_THAT(answer, IsOk());
  EXPECT_TRUE(answer->database_ok());
}

}  // namespace
}  // namespace pga::auth
