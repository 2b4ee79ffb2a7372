#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/rpc/peer_certificate.h"
#include "libs/status/testing.h"
#include "services/auth/certificate_authority.h"
#include "services/auth/common_passwords.h"
#include "services/auth/config.h"
#include "services/auth/digest.h"
#include "services/auth/key_files.h"
#include "services/auth/password_hasher.h"
#include "services/auth/rules.h"
#include "services/auth/session_cookie.h"

namespace pga::auth {
namespace {

using status::IsOk;
using status::IsOkAndHolds;
using status::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(LockAfter, GrowsFromTheTenthFailureAndStaysBounded) {
  EXPECT_EQ(LockAfter(9), absl::ZeroDuration());
  EXPECT_EQ(LockAfter(10), absl::Seconds(30));
  EXPECT_EQ(LockAfter(11), absl::Seconds(60));
  EXPECT_EQ(LockAfter(14), absl::Minutes(8));
  EXPECT_EQ(LockAfter(15), absl::Minutes(15));
  EXPECT_EQ(LockAfter(2'000'000'000), absl::Minutes(15));
}

TEST(Validation, Emails) {
  for (const char* good : {"a@b.c", "first.last+tag@example.com", "o'neil@sub.example.org", "admin@localhost",
                           "j\xC3\xBCrgen@example.com", "x@b\xC3\xBC\x63her.example"}) {
    EXPECT_THAT(ValidateEmail(good), IsOk()) << good;
  }
  for (const char* bad : {"", "a", "a@", "@b", "a@@b", "a b@c.d", "a@b..c", "a@-b.c", "a@b-.c", ".a@b.c", "a.@b.c",
                          "a..b@c.d", "a@b.c\n", "<a@b.c>", "a@b_c.d"}) {
    EXPECT_THAT(ValidateEmail(bad), StatusIs(kInvalid)) << bad;
  }
}

TEST(Validation, UsernamesPasswordsRolesLabels) {
  EXPECT_THAT(ValidateUsername("bob"), IsOk());
  EXPECT_THAT(ValidateUsername("Bob.smith-2@example.com"), IsOk());
  // No two names that people take for one: no letters of other scripts, nothing invisible, nothing that turns text
  // around.
  for (const char* odd :
       {"\xC3\xA9\xC3\xA9\xC3\xA9", "\xE2\x84\xAAira", "bob\xE2\x80\x8B", "bob\xE2\x80\xAE", "bob smith"}) {
    EXPECT_THAT(ValidateUsername(odd), StatusIs(kInvalid)) << odd;
  }
  EXPECT_EQ(NormalName("BOB"), NormalName("bob"));
  EXPECT_NE(NormalName("\xE2\x84\xAAira"), NormalName("kira")) << "the Kelvin sign is no K";
  for (const char* odd : {"a\xE2\x80\x8B", "\xE2\x80\xAE evil", "a\xC2\x85", "\xEF\xBB\xBFx", "a\nb"}) {
    EXPECT_THAT(ValidateLabel(odd, "name"), StatusIs(kInvalid)) << odd;
    EXPECT_THAT(ValidateFullName(odd), StatusIs(kInvalid)) << odd;
  }
  EXPECT_THAT(ValidateFullName("Zo\xC3\xAB \xE5\xBC\xA0"), IsOk());
  EXPECT_THAT(ValidateUsername("bo"), StatusIs(kInvalid));
  EXPECT_THAT(ValidateUsername("\xC3\xA9\xC3\xA9"), StatusIs(kInvalid));
  EXPECT_THAT(ValidateUsername(" bob"), StatusIs(kInvalid));
  EXPECT_THAT(ValidateUsername("b\nob"), StatusIs(kInvalid));
  EXPECT_THAT(ValidateUsername(std::string(256, 'x')), StatusIs(kInvalid));

  EXPECT_THAT(ValidatePassword("correct horse", "bob"), IsOk());
  EXPECT_THAT(ValidatePassword("short12", "bob"), StatusIs(kInvalid, HasSubstr("at least 8")));
  EXPECT_THAT(ValidatePassword(std::string(257, 'x'), "bob"), StatusIs(kInvalid));
  EXPECT_THAT(ValidatePassword("Password123", "bob"), StatusIs(kInvalid, HasSubstr("common")));
  EXPECT_THAT(ValidatePassword("Bob.Smith", "bob.smith"), StatusIs(kInvalid, HasSubstr("username")));
  EXPECT_GE(CommonPasswords().size(), 3000U);
  EXPECT_TRUE(std::is_sorted(CommonPasswords().begin(), CommonPasswords().end()));
  const std::pair<const char*, const char*> refused[] = {
      {"iloveyou2", "most common"},   {"Baseball", "most common"},   {"Winter2026", "common word"},
      {"Secret123", "common word"},   {"!!dragon!!", "common word"}, {"Postgres15", "common word"},
      {"bobby1234567", "username"},   {"        ", "different"},     {"aaaaaaaaaaaaaaaaaaaa", "different"},
      {"abcdefghij", "neighbouring"}, {"987654321", "neighbouring"}, {"8264917350", "letters"},
  };
  for (const auto& [password, rule] : refused) {
    EXPECT_THAT(ValidatePassword(password, "bobby"), StatusIs(kInvalid, HasSubstr(rule))) << password;
  }
  for (const char* good :
       {"correct horse", "7Gk2pLq9", "winter in the north", "82649173500316482", "t\xC3\xBCr-am-see-9"}) {
    EXPECT_THAT(ValidatePassword(good, "bobby"), IsOk()) << good;
  }

  for (const char* role : {"admin", "user", "viewer"}) EXPECT_THAT(ValidateRole(role), IsOk());
  for (const char* role : {"", "Admin", "root"}) EXPECT_THAT(ValidateRole(role), StatusIs(kInvalid));
  EXPECT_THAT(ValidateLabel("", "name"), StatusIs(kInvalid, HasSubstr("name")));
  EXPECT_TRUE(IsProtected("Admin"));
  EXPECT_FALSE(IsProtected("administrator"));
}

TEST(RandomTexts, HaveTheirShapeAndDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 200; ++i) {
    const std::string password = TemporaryPassword();
    EXPECT_EQ(password.size(), 16U);
    EXPECT_THAT(ValidatePassword(password, "bob"), IsOk());
    EXPECT_NE(password.find_first_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), std::string::npos);
    EXPECT_NE(password.find_first_of("0123456789"), std::string::npos);
    EXPECT_TRUE(seen.insert(password).second);
    const std::string secret = RandomSecret();
    EXPECT_EQ(secret.size(), 43U);
    EXPECT_TRUE(seen.insert(secret).second);
  }
}

TEST(SecretsEqual, NeverMatchesEmpty) {
  EXPECT_TRUE(SecretsEqual("abc", "abc"));
  EXPECT_FALSE(SecretsEqual("abc", "abd"));
  EXPECT_FALSE(SecretsEqual("abc", "abcd"));
  EXPECT_FALSE(SecretsEqual("", ""));
  EXPECT_FALSE(SecretsEqual("", "abc"));
}

class PasswordHasherTest : public testing::Test {
 protected:
  // Cheap costs: the algorithm is the library's, what is tested is our use of it.
  PasswordHasher hasher_{{.memory_kib = 64, .passes = 1, .lanes = 1, .max_concurrent = 1, .max_waiting = 1}};
};

TEST_F(PasswordHasherTest, HashesAndVerifies) {
  const auto slot = hasher_.Acquire(clock::SteadyNow());
  ASSERT_THAT(slot, IsOk());
  const auto first = hasher_.Hash(*slot, "correct horse");
  const auto second = hasher_.Hash(*slot, "correct horse");
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(*first, StartsWith("$argon2id$v=19$m=64,t=1,p=1$"));
  EXPECT_NE(*first, *second);
  EXPECT_TRUE(hasher_.Verify(*slot, *first, "correct horse"));
  EXPECT_FALSE(hasher_.Verify(*slot, *first, "correct horsf"));
  EXPECT_FALSE(hasher_.Verify(*slot, "", "correct horse"));
  EXPECT_FALSE(hasher_.Verify(*slot, "$2b$06$abcdefghijklmnopqrstuv", "correct horse"));
  EXPECT_FALSE(hasher_.NeedsRehash(*first));
  EXPECT_TRUE(PasswordHasher().NeedsRehash(*first));
}

TEST_F(PasswordHasherTest, KnownVector) {
  // From the reference implementation's test suite: argon2id, version 19, t=2, m=256 KiB, p=1.
  const auto slot = hasher_.Acquire(clock::SteadyNow());
  EXPECT_TRUE(hasher_.Verify(*slot,
                             "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ"
                             "$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                             "password"));
}

TEST_F(PasswordHasherTest, BoundsWhoRunsAndWhoWaits) {
  auto running = hasher_.Acquire(clock::SteadyNow());
  ASSERT_THAT(running, IsOk());
  EXPECT_THAT(hasher_.Acquire(clock::SteadyNow()), StatusIs(absl::StatusCode::kResourceExhausted));
  absl::Status waiter_status = absl::UnknownError("");
  std::thread waiter([&] { waiter_status = hasher_.Acquire(clock::SteadyNow() + absl::Seconds(20)).status(); });
  { const PasswordHasher::Slot done = *std::move(running); }
  waiter.join();
  EXPECT_THAT(waiter_status, IsOk());
  EXPECT_THAT(hasher_.Acquire(clock::SteadyNow()), IsOk());
}

class CertificateAuthorityTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto pem = CertificateAuthority::Generate(now_);
    ASSERT_THAT(pem, IsOk());
    auto authority = CertificateAuthority::Load(*pem);
    ASSERT_THAT(authority, IsOk());
    authority_ = *std::move(authority);
  }
  const absl::Time now_ = clock::WallNow();
  std::unique_ptr<CertificateAuthority> authority_;
};

TEST_F(CertificateAuthorityTest, LeafFollowsTheRules) {
  const auto issued = authority_->IssueWithKey("db-1.prod", now_);
  ASSERT_THAT(issued, IsOk());
  EXPECT_THAT(issued->private_key_pem, StartsWith("-----BEGIN PRIVATE KEY-----"));
  EXPECT_EQ(issued->thumbprint.size(), 64U);
  EXPECT_EQ(issued->not_after - issued->not_before, absl::Hours(24 * 90));
  // The reader that servers use agrees.
  const auto read = rpc::ReadCollectorCertificate(issued->certificate_pem, now_ + absl::Seconds(1));
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->collector_id, "db-1.prod");
  EXPECT_EQ(read->thumbprint, issued->thumbprint);
  EXPECT_EQ(read->not_before, issued->not_before);
  EXPECT_THAT(rpc::ReadCollectorCertificate(authority_->certificate_pem(), now_), Not(IsOk()));
}

TEST_F(CertificateAuthorityTest, RefusesBadIdsAndRequests) {
  for (const char* id : {"", "a/b", "a b", "\xC3\xA9", "x\n"}) {
    EXPECT_THAT(authority_->IssueWithKey(id, now_), StatusIs(kInvalid)) << id;
  }
  EXPECT_THAT(authority_->IssueWithKey(std::string(64, 'x'), now_), StatusIs(kInvalid));
  EXPECT_THAT(authority_->SignRequest("", "db1", now_), StatusIs(kInvalid));
  EXPECT_THAT(authority_->SignRequest(std::string(20000, 'x'), "db1", now_), StatusIs(kInvalid, HasSubstr("16 KiB")));
  EXPECT_THAT(authority_->SignRequest(authority_->certificate_pem(), "db1", now_), StatusIs(kInvalid));
}

TEST_F(CertificateAuthorityTest, KeyAndCertificateMustFit) {
  const auto other = CertificateAuthority::Generate(now_);
  ASSERT_THAT(other, IsOk());
  EXPECT_THAT(CertificateAuthority::Load({authority_->certificate_pem(), other->private_key}),
              StatusIs(kInvalid, HasSubstr("together")));
  EXPECT_THAT(CertificateAuthority::Load({"x", "y"}), StatusIs(kInvalid));
}

AuthConfig GoodConfig() {
  AuthConfig config;
  config.database_url = log::Secret("postgresql://localhost/x");
  config.environment = "production";
  config.jwt_secret = log::Secret("u8Xq2mZ0sR4vT6yB1nK3pL5wE7hJ9dFg");
  return config;
}

TEST(Validate, WeakSecretsAreNamedOutsideProduction) {
  AuthConfig config;
  config.jwt_secret = log::Secret("abc");
  config.backup_key = log::Secret("abc");
  config.registration_secret = log::Secret("q3Jv0l8rXn2cVb7mKdP5tYw9sZf1hGuE");
  EXPECT_THAT(WeakSecrets(config), ElementsAre(HasSubstr("JWT_SECRET: at least"), HasSubstr("BACKUP_KEY: at least")));
}

TEST(Validate, ProductionRefusesWeakAndWellKnownSecrets) {
  EXPECT_THAT(Validate(GoodConfig()), IsOk());
  AuthConfig config = GoodConfig();
  config.jwt_secret = log::Secret();
  EXPECT_THAT(Validate(config), StatusIs(kInvalid, HasSubstr("JWT_SECRET")));
  config.jwt_signing_key = log::Secret("pem");
  EXPECT_THAT(Validate(config), IsOk());

  config = GoodConfig();
  config.jwt_secret = log::Secret("short");
  EXPECT_THAT(Validate(config), StatusIs(kInvalid, AllOf(HasSubstr("JWT_SECRET"), Not(HasSubstr("short")))));
  config = GoodConfig();
  config.jwt_secret_previous = log::Secret("demo-jwt-secret-change-in-production");
  EXPECT_THAT(Validate(config), StatusIs(kInvalid, HasSubstr("JWT_SECRET_PREVIOUS")));
  config = GoodConfig();
  config.registration_secret = log::Secret("demo-registration-secret-change-in-production");
  EXPECT_THAT(Validate(config), StatusIs(kInvalid, HasSubstr("REGISTRATION_SECRET")));
  config.environment = "development";
  EXPECT_THAT(Validate(config), IsOk());

  config = GoodConfig();
  config.encryption_key = log::Secret("short");
  config.admin_password = log::Secret("admin");
  config.database_url = log::Secret();
  EXPECT_THAT(Validate(config), StatusIs(kInvalid, AllOf(HasSubstr("ENCRYPTION_KEY"), HasSubstr("ADMIN_PASSWORD"),
                                                         HasSubstr("DATABASE_URL"))));
  config = GoodConfig();
  config.serves_alone = true;
  EXPECT_THAT(Validate(config),
              StatusIs(kInvalid, AllOf(HasSubstr("JWT_SIGNING_KEY"), HasSubstr("SERVICE_SECRETS_DIR"))));
}

TEST(KeyFiles, MadeOnceAndPrivate) {
  char pattern[] = "/tmp/key_files_test.XXXXXX";
  const std::string directory = mkdtemp(pattern);
  const std::string nested = directory + "/a/b";
  ASSERT_THAT(MakeStateDir(nested), IsOk());
  const std::string path = nested + "/key";
  EXPECT_THAT(ReadKeyFile(path), StatusIs(absl::StatusCode::kNotFound));
  std::vector<std::thread> threads;
  std::vector<std::string> got(8);
  for (size_t i = 0; i < got.size(); ++i) {
    threads.emplace_back([&, i] {
      got[i] = ReadOrMakeKeyFile(path, [i]() -> absl::StatusOr<std::string> {
                 return absl::StrCat("made ", i);
               }).value_or("failed");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(got[0], StartsWith("made "));
  EXPECT_THAT(got, testing::Each(got[0]));
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  std::system(("rm -r " + directory).c_str());
}

// A disk that is full leaves no part of a private key behind.
TEST(KeyFiles, FailedWriteLeavesNothingBehind) {
  char pattern[] = "/tmp/key_files_test.XXXXXX";
  const std::string directory = mkdtemp(pattern);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 16;
  const auto ignored = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto made =
      ReadOrMakeKeyFile(directory + "/key", []() -> absl::StatusOr<std::string> { return std::string(64, 'k'); });
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, ignored);
  EXPECT_THAT(made.status(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cannot be written")));
  EXPECT_TRUE(std::filesystem::is_empty(directory));
  std::filesystem::remove_all(directory);
}

struct OriginCase {
  const char* origin;
  const char* scheme;
  const char* host;
  bool same;
};

TEST(SessionCookie, IsTakenFromPagesOfTheSameOrigin) {
  for (const OriginCase& c : std::vector<OriginCase>{
           {"https://h", "https", "h", true},
           {"https://h:8443", "https", "h:8443", true},
           {"http://h:8080", "http", "h:8080", true},
           {"HTTPS://H", "https", "h", true},
           {"https://h:443", "https", "h", true},
           {"https://h", "https", "h:443", true},
           {"http://h:80", "http", "h", true},
           {"http://h", "https", "h", false},
           {"https://h:8443", "https", "h:8444", false},
           {"https://h:8443", "https", "h", false},
           {"http://h:443", "http", "h", false},
           {"https://h.example", "https", "h", false},
           {"https://x", "https", "h", false},
           {"null", "https", "h", false},
           {"", "https", "h", false},
           {"https://", "https", "", false},
       }) {
    EXPECT_EQ(IsSameOrigin(c.origin, c.scheme, c.host), c.same) << c.origin << " " << c.scheme << " " << c.host;
  }
}

}  // namespace
}  // namespace pga::auth
