// Accounts: who changes them, and what a change does to sessions under way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/status/testing.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "services/auth/auth_testing.h"
#include "services/auth/password_hasher.h"

namespace pga::auth {
namespace {

namespace v1 = pganalytics::auth::v1;
using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;

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
  EXPECT_THAT(CreateUser(admin, "VICTOR", "viewer"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("already exists")));
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

}  // namespace
}  // namespace pga::auth
