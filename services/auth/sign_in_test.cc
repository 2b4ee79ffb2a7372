// Sign-in, sessions and their ends, against the auth service on a real database.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "libs/rpc/client.h"
#include "libs/status/testing.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "services/auth/auth_store.h"
#include "services/auth/auth_testing.h"
#include "services/auth/pg_auth_store.h"
#include "services/auth/rules.h"

namespace pga::auth {
namespace {

namespace v1 = pganalytics::auth::v1;
using status::IsOk;
using status::IsOkAndHolds;
using status::ReasonOf;
using status::StatusIs;

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
      for (int i = 0; i < 63; ++i) {
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

TEST_F(AuthTest, AuditRowsAreAChain) {
  Start();
  Admin();
  auto pool = pg::Pool::Create({.url = config_.database_url.Reveal(), .size = 1});
  ASSERT_THAT(pool, IsOk());
  const auto exec = [&](const std::string& sql) {
    return (*pool)->Exec(sql, {}, clock::SteadyNow() + absl::Seconds(20));
  };
  const auto states = [&] {
    const auto read =
        exec("SELECT coalesce(string_agg(state, ' ' ORDER BY number), '') FROM pganalytics.verify_audit()");
    return read.ok() ? std::string((*read)[0].Text(0)) : std::string(read.status().message());
  };
  const auto add = [&](int count, int days) {
    ASSERT_THAT(exec(absl::StrCat(
                    "INSERT INTO pganalytics.audit_log (created_at, actor, action, outcome) SELECT now() - INTERVAL '",
                    days, " days', 'x', 'did ' || n, 'success' FROM generate_series(1, ", count, ") n")),
                IsOk());
  };
  const auto sealed = [&](const char* age) {
    const auto read = exec(absl::StrCat("SELECT pganalytics.seal_audit(INTERVAL '", age, "')"));
    return read.ok() ? (*read)[0].Int64(0) : -1;
  };
  // Rows of now are too young; the service may seal, and not write seals.
  ASSERT_THAT(exec("SET SESSION AUTHORIZATION pganalytics_auth"), IsOk());
  EXPECT_EQ(sealed("10 minutes"), 0);
  EXPECT_THAT(exec("DELETE FROM pganalytics.audit_seal"), StatusIs(absl::StatusCode::kPermissionDenied));
  ASSERT_THAT(exec("RESET SESSION AUTHORIZATION"), IsOk());
  EXPECT_GT(sealed("0 seconds"), 0);
  add(5, 0);
  EXPECT_EQ(sealed("-1 seconds"), 5);
  add(3, 0);
  EXPECT_EQ(sealed("-1 seconds"), 3);
  EXPECT_EQ(sealed("-1 seconds"), 0);
  EXPECT_EQ(states(), "ok ok ok");

  // What the owner of the tables may try.
  const struct {
    const char* sql;
    const char* expected;
  } cases[] = {
      {"UPDATE pganalytics.audit_log SET actor = 'y' WHERE action = 'did 2'", "ok changed changed"},
      {"DELETE FROM pganalytics.audit_log WHERE action = 'did 4'", "ok changed ok"},
      {"DELETE FROM pganalytics.audit_log", "changed changed changed"},
      {"DELETE FROM pganalytics.audit_seal WHERE number = 2", "ok missing"},
      {"UPDATE pganalytics.audit_seal s SET hash = pganalytics.audit_hash('', s) WHERE number = 2",
       "ok changed changed"},
      {"UPDATE pganalytics.audit_seal SET last_id = last_id + 1 WHERE number = 1", "changed changed ok"},
      {"UPDATE pganalytics.audit_seal SET rows = 4 WHERE number = 2; DELETE FROM pganalytics.audit_log WHERE action = "
       "'did 4'",
       "ok changed ok"},
      {"UPDATE pganalytics.audit_seal s SET digest = pganalytics.audit_digest(first_id, last_id - 1) WHERE number = 2",
       "ok changed ok"},
      // Only rows of more than 30 days may have been pruned, and when a seal was made is a part of its hash.
      {"UPDATE pganalytics.audit_seal SET sealed_at = now() - INTERVAL '31 days' WHERE number = 1; DELETE FROM "
       "pganalytics.audit_log WHERE id <= (SELECT last_id FROM pganalytics.audit_seal WHERE number = 1)",
       "changed ok ok"},
      {"UPDATE pganalytics.audit_seal s SET sealed_at = now() - INTERVAL '31 days' WHERE number = 1; UPDATE "
       "pganalytics.audit_seal s SET hash = pganalytics.audit_hash('', s) WHERE number = 1; DELETE FROM "
       "pganalytics.audit_log WHERE id <= (SELECT last_id FROM pganalytics.audit_seal WHERE number = 1)",
       "gone changed ok"},
  };
  for (const auto& c : cases) {
    ASSERT_THAT(exec("BEGIN"), IsOk());
    for (const auto statement : absl::StrSplit(c.sql, "; ")) ASSERT_THAT(exec(std::string(statement)), IsOk()) << c.sql;
    EXPECT_EQ(states(), c.expected) << c.sql;
    ASSERT_THAT(exec("ROLLBACK"), IsOk());
  }
}

// Rows that are pruned, and rows that were there when the service started.
TEST_F(AuthTest, SealsOutliveTheirRowsAndAreMadeAtTheStart) {
  auto pool = pg::Pool::Create({.url = config_.database_url.Reveal(), .size = 1});
  ASSERT_THAT(pool, IsOk());
  const auto exec = [&](const std::string& sql) {
    return (*pool)->Exec(sql, {}, clock::SteadyNow() + absl::Seconds(20));
  };
  const auto states = [&](const char* retention) {
    const auto read = exec(
        absl::StrCat("SELECT string_agg(state, ' ' ORDER BY number) FROM pganalytics.verify_audit('", retention, "')"));
    return read.ok() ? std::string((*read)[0].Text(0)) : std::string(read.status().message());
  };
  const auto add = [&](int count, const char* age) {
    ASSERT_THAT(exec(absl::StrCat(
                    "INSERT INTO pganalytics.audit_log (created_at, actor, action, outcome) SELECT now() - INTERVAL '",
                    age, "', 'x', 'did', 'success' FROM generate_series(1, ", count, ")")),
                IsOk());
  };
  add(12'000, "40 days");
  add(1, "20 days");
  // As the seals of then would be.
  ASSERT_THAT(exec("SELECT pganalytics.seal_audit()"), IsOk());
  ASSERT_THAT(exec("UPDATE pganalytics.audit_seal s SET sealed_at = now() - INTERVAL '40 days'"), IsOk());
  ASSERT_THAT(exec("UPDATE pganalytics.audit_seal s SET hash = pganalytics.audit_hash('', s)"), IsOk());
  Start();
  EXPECT_TRUE(testing::WaitUntil([&] { return states("30 days") == "ok ok"; })) << states("30 days");
  ASSERT_THAT(exec("SELECT pganalytics.prune_audit(now() - INTERVAL '30 days')"), IsOk());
  EXPECT_EQ(states("30 days"), "gone ok");
  // They had to be there still.
  EXPECT_EQ(states("60 days"), "changed ok");
  ASSERT_THAT(exec("UPDATE pganalytics.audit_seal SET rows = 5 WHERE number = 1"), IsOk());
  EXPECT_EQ(states("30 days"), "changed ok");
}

}  // namespace
}  // namespace pga::auth
