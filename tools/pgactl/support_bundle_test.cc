// No planted secret leaves in a support bundle, and what helps does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/redactor.h"

namespace pga::pgactl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kKey[] = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=";
constexpr char kToken[] = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";

TEST(Redactor, TakesOutWhatLooksLikeASecret) {
  struct Case {
    const char* text;
    const char* expected;
  };
  const Case cases[] = {
      {"postgres://ann:hunter2@db/x?sslmode=require", "postgres://ann:<redacted>@db/x?sslmode=require"},
      {"url=postgresql://a:p@ss/w?rd@db:5432/x y", "url=postgresql://a:<redacted>@db:5432/x y"},
      {"postgres://ann@db:5432/x", "postgres://ann@db:5432/x"},
      {"host=db password=hunter2 user=ann", "host=db password=<redacted> user=ann"},
      {"password='hun ter2' user=ann", "password='<redacted>' user=ann"},
      {R"({"password":"hunter2","user":"ann"})", R"({"password":"<redacted>","user":"ann"})"},
      {R"({"message":"{\"client_secret\":\"hunter2\",\"a\":1}"})",
       R"({"message":"{\"client_secret\":\"<redacted>\",\"a\":1}"})"},
      {R"({"refresh_token": "abc\"def", "n": 1})", R"({"refresh_token": "<redacted>", "n": 1})"},
      {"ALTER ROLE ann PASSWORD 'hunter2';", "ALTER ROLE ann PASSWORD '<redacted>';"},
      {"JWT_SECRET=hunter2\nPORT=8080", "JWT_SECRET=<redacted>\nPORT=8080"},
      {"JWT_SECRET_FILE=/etc/x", "JWT_SECRET_FILE=/etc/x"},
      {"TLS_KEY_PATH=/etc/key.pem", "TLS_KEY_PATH=/etc/key.pem"},
      {"Authorization: Bearer abcdefgh.ij", "Authorization: Bearer <redacted>"},
      {"curl -H 'X: bearer abcdefgh.ij'", "curl -H 'X: bearer <redacted>'"},
      {"$argon2id$v=19$m=65536,t=3,p=1$c29tZXNhbHQ$aGFzaGhhc2g and more", "<redacted> and more"},
      {"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----",
       "<redacted>-----END EC PRIVATE KEY-----"},
      {"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
       "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"},
      {"no password was given", "no password was given"},
      {"wait_event=ClientRead queryid=4242424242", "wait_event=ClientRead queryid=4242424242"},
      {"", ""},
  };
  const Redactor redactor;
  for (const Case& c : cases) EXPECT_EQ(redactor.Redact(c.text), c.expected);
  EXPECT_EQ(redactor.Redact(absl::StrCat("key ", kKey, " end")), "key <redacted> end");
  EXPECT_EQ(redactor.Redact(absl::StrCat("saw ", kToken, " here")), "saw <redacted> here");
}

TEST(Redactor, TakesOutWhatIsKnown) {
  Redactor redactor;
  redactor.LearnSetting("DATABASE_URL", "postgres://ann:s3cr&t!!@db/x");
  redactor.LearnSetting("ADMIN_PASSWORD", "correct horse");
  redactor.LearnSetting("BACKUP_DIR", "/var/backups");
  EXPECT_EQ(redactor.Redact("it said s3cr&t!! and s3cr%26t%21%21, correct horse, /var/backups"),
            "it said <redacted> and <redacted>, <redacted>, /var/backups");
}

TEST(SupportBundle, HasNoPlantedSecretAndWhatHelps) {
  testing::ScopedTempDir dir;
  const std::vector<std::string> secrets = {"planted-jwt-secret",
                                            "planted-database-pw",
                                            "planted-admin-pw",
                                            "planted-file-secret",
                                            "planted-log-password",
                                            kKey,
                                            kToken,
                                            "planted/slack/hook"};
  ASSERT_TRUE(testing::WriteFile(dir / "secret", "planted-file-secret\n").ok());
  ASSERT_TRUE(
      testing::WriteFile(
          dir / "env", absl::StrCat("# Secrets\nJWT_SECRET=planted-jwt-secret # of 2026\nPORT=8080\nBACKUP_KEY=", kKey,
                                    "\nexport DATABASE_URL=\"postgres://pga:planted-database-pw@db/pganalytics\"\n"
                                    "ALERT_SLACK_URL=https://hooks.example.com/planted/slack/hook\n"))
          .ok());
  std::string log = "{\"level\":\"info\",\"message\":\"an early line\"}\n";
  log.append(3 << 20, 'x');
  absl::StrAppend(
      &log, "\n{\"level\":\"error\",\"message\":\"login of ann refused\",\"password\":\"planted-log-password\"}\n",
      "retry with planted-jwt-secret, planted-file-secret, planted-database-pw, ", kToken, "\n",
      "FATAL: connection to postgres://pga:planted-database-pw@db/pganalytics failed: no route to host\n");
  ASSERT_TRUE(testing::WriteFile(dir / "log", log).ok());

  const Environment environment = {{"PGACTL_URL", "http://127.0.0.1:1"},
                                   {"PGACTL_TOKEN", kToken},
                                   {"ADMIN_PASSWORD", "planted-admin-pw"},
                                   {"REGISTRATION_SECRET_FILE", dir / "secret"},
                                   {"HOME", dir.path()},
                                   {"UNRELATED", "planted-admin-pw of somebody"}};
  std::ostringstream out, err;
  const std::vector<std::string> words = {
      "support-bundle", "--output", dir / "b.tar",  "--settings", dir / "env", "--log",
      dir / "log",      "--log",    dir / "absent", "--log-mb",   "1"};
  ASSERT_EQ(RunPgactl(words, environment, out, err), 0) << err.str();
  EXPECT_THAT(out.str(), HasSubstr("b.tar"));
  struct stat info {};
  ASSERT_EQ(stat((dir / "b.tar").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  const auto archive = testing::ReadFile(dir / "b.tar");
  ASSERT_TRUE(archive.ok());
  for (const std::string& secret : secrets) EXPECT_THAT(*archive, Not(HasSubstr(secret)));

  // Any tar reads it.
  const auto unpacked =
      testing::RunCommand({.argv = {"tar", "-C", dir.path(), "--strip-components=1", "-xvf", dir / "b.tar"}});
  ASSERT_TRUE(unpacked.ok());
  ASSERT_EQ(unpacked->exit_code, 0) << unpacked->output;
  const auto text = [&](const char* name) {
    const auto read = testing::ReadFile(dir / name);
    EXPECT_TRUE(read.ok()) << name;
    return read.ok() ? *read : "";
  };
  EXPECT_THAT(text("settings-1.txt"), HasSubstr("PORT=8080"));
  EXPECT_THAT(text("settings-1.txt"), HasSubstr("postgres://pga:<redacted>@db/pganalytics"));
  EXPECT_THAT(text("environment.txt"), HasSubstr("PGACTL_URL=http://127.0.0.1:1"));
  EXPECT_THAT(text("environment.txt"), Not(HasSubstr("UNRELATED")));
  EXPECT_THAT(text("doctor.txt"), HasSubstr("FAIL  endpoint"));
  EXPECT_THAT(text("log-1.txt"), HasSubstr("login of ann refused"));
  EXPECT_THAT(text("log-1.txt"), HasSubstr("no route to host"));
  EXPECT_THAT(text("log-1.txt"), Not(HasSubstr("an early line")));
  const std::string manifest = text("manifest.txt");
  EXPECT_THAT(manifest, HasSubstr("health.json: not there"));
  EXPECT_THAT(manifest, HasSubstr("absent: not there"));

  // What is there is not written over.
  EXPECT_EQ(RunPgactl(words, environment, out, err), 1);
}

}  // namespace
}  // namespace pga::pgactl
