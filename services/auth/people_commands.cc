#include "services/auth/people_commands.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/pg/pool.h"
#include "libs/status/status.h"
#include "libs/token/principal.h"
#include "services/auth/accounts.h"
#include "services/auth/digest.h"
#include "services/auth/pg_auth_store.h"
#include "services/auth/rules.h"

namespace pga::auth {
namespace {

constexpr absl::Duration kCommandTime = absl::Seconds(30);
constexpr char kChooseAnother[] = "Sign in with it and choose another: POST /api/v1/auth/change-password";

// There is no caller with an address and a request.
AuditEntry LocalEntry(const char* action, const std::string& resource_id) {
  Caller caller;
  caller.principal.subject = token::ServiceSubject("auth");
  return AuditOf(caller, action, "user", resource_id);
}

absl::StatusOr<std::string> HashOf(PasswordHasher* hasher, const std::string& password, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const PasswordHasher::Slot slot, hasher->Acquire(deadline));
  return hasher->Hash(slot, password);
}

absl::Status Create(AuthStore* store, PasswordHasher* hasher, const std::string& username, clock::SteadyTime deadline,
                    const std::function<void(const std::string&)>& print) {
  const std::string password = TemporaryPassword();
  PGA_ASSIGN_OR_RETURN(const bool made,
                       MakeFirstPerson(store, hasher, clock::Clock::Real(), username, password, deadline));
  if (!made) {
    return absl::FailedPreconditionError(
        "there are users already; an administrator makes others (pgactl users create); for a password that was lost: "
        "admin reset-password NAME");
  }
  print(absl::StrCat("account:  ", username));
  print(absl::StrCat("password: ", password));
  print(kChooseAnother);
  return absl::OkStatus();
}

absl::Status Reset(AuthStore* store, PasswordHasher* hasher, const std::string& username, clock::SteadyTime deadline,
                   const std::function<void(const std::string&)>& print) {
  PGA_ASSIGN_OR_RETURN(const std::optional<UserRecord> user, store->FindUserByName(username, deadline));
  if (!user.has_value()) return absl::NotFoundError(absl::StrCat("there is no user ", username));
  const std::string password = TemporaryPassword();
  PGA_ASSIGN_OR_RETURN(const std::string hash, HashOf(hasher, password, deadline));
  PGA_RETURN_IF_ERROR(store->SetPassword(user->id, AccountHash(user->username), std::nullopt, hash, "",
                                         clock::Clock::Real()->Now(),
                                         LocalEntry("password.reset", absl::StrCat(user->id)), deadline));
  print(absl::StrCat("account:  ", user->username));
  print(absl::StrCat("password: ", password));
  print("Its sessions are ended.");
  print(kChooseAnother);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> MakeFirstPerson(AuthStore* store, PasswordHasher* hasher, clock::Clock* clock,
                                     const std::string& username, const std::string& password,
                                     clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(ValidateUsername(username));
  PGA_ASSIGN_OR_RETURN(const int64_t users, store->CountUsers(deadline));
  if (users > 0) return false;
  NewUser person;
  person.username = username;
  person.email = "admin@pganalytics.local";
  person.full_name = "Administrator";
  person.role = "admin";
  PGA_ASSIGN_OR_RETURN(person.password_hash, HashOf(hasher, password, deadline));
  PGA_ASSIGN_OR_RETURN(
      const std::optional<UserRecord> created,
      store->CreateUser(person, /*only_if_empty=*/true, clock->Now(), LocalEntry("user.seed", ""), deadline));
  return created.has_value();
}

absl::Status RunAdminCommand(const AuthConfig& config, const std::vector<std::string>& words,
                             const std::function<void(const std::string&)>& print) {
  const bool create = words.size() >= 2 && words.size() <= 3 && words[1] == "create";
  const bool reset = words.size() == 3 && words[1] == "reset-password";
  if (!create && !reset) {
    return absl::InvalidArgumentError("write `admin create [NAME]` or `admin reset-password NAME` (see --help)");
  }
  if (config.database_url.empty()) {
    return absl::InvalidArgumentError("DATABASE_URL is missing: postgresql:// URL of the metadata database");
  }
  const std::string username = words.size() == 3 ? words[2] : kProtectedUsername;
  const clock::SteadyTime deadline = clock::SteadyNow() + kCommandTime;
  pg::PoolOptions options;
  options.url = config.database_url.Reveal();
  options.application_name = "pganalytics-admin";
  options.role = "pganalytics_auth";
  options.size = 1;
  const auto pool = pg::Pool::Create(options);
  if (!pool.ok()) return status::Annotate(pool.status(), "DATABASE_URL");
  PgAuthStore store(pool->get(), HorizonsOf(config));
  PasswordHasher hasher;
  return status::Annotate(
      create ? Create(&store, &hasher, username, deadline, print) : Reset(&store, &hasher, username, deadline, print),
      create ? "admin create" : "admin reset-password");
}

}  // namespace pga::auth
