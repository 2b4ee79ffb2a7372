// Keys, restarts, the first person, and a database that is missing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "libs/rpc/auth_watch.h"
#include "libs/rpc/client.h"
#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "libs/token/pem.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"
#include "services/auth/auth_testing.h"
#include "services/auth/people_commands.h"
#include "services/auth/refusals.h"

namespace pga::auth {
namespace {

namespace v1 = pganalytics::auth::v1;
using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;

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
