// `pganalytics-api preflight` as a process on real servers: a good one, and each problem planted, which is named with
// its remedy. Nothing is changed by it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>

#include <simdjson.h>
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/pg/copy_connection.h"
#include "libs/rpc/certificates_testing.h"
#include "libs/testing/loopback_listener.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "tests/clock/stepped_clock_testing.h"

namespace pga::integration {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using Environment = std::map<std::string, std::string>;

struct Check {
  std::string state = "absent";
  std::string detail = {};
  std::string remedy = {};
};

struct Answer {
  int exit_code = -1;
  std::string output;
  std::map<std::string, Check> checks;

  Check operator[](const std::string& name) const {
    const auto found = checks.find(name);
    return found == checks.end() ? Check{} : found->second;
  }
};

class PreflightTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = testing::TempPostgres::Start({.durable = true, .tcp = true});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = server->release();
    ASSERT_TRUE(server_->Exec("postgres", "CREATE ROLE pganalytics LOGIN PASSWORD 'right'").ok());
    for (const char* role : {"auth", "registry", "ruler", "insight", "ingest", "query", "maintenance"}) {
      ASSERT_TRUE(server_->Exec("postgres", absl::StrCat("CREATE ROLE pganalytics_", role)).ok());
      ASSERT_TRUE(server_->Exec("postgres", absl::StrCat("GRANT pganalytics_", role, " TO pganalytics")).ok());
    }
    for (const char* database : {"pganalytics", "metrics"}) {
      ASSERT_TRUE(server_->Exec("postgres", absl::StrCat("CREATE DATABASE ", database, " OWNER pganalytics")).ok());
    }
    const auto migrated = Command({"migrate", "up"}, Good());
    ASSERT_EQ(migrated.exit_code, 0) << migrated.output;
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }

  static std::string Url(const std::string& database) { return server_->UrlAs("pganalytics", database); }
  // Development on a free port, with a folder of its own.
  static Environment Good() {
    return {{"DATABASE_URL", Url("pganalytics")},
            {"TIMESCALE_URL", Url("metrics")},
            {"PORT", "0"},
            {"STATE_DIR", state_ / "state"}};
  }

  static testing::CommandOutcome Command(std::vector<std::string> words, const Environment& environment) {
    words.insert(words.begin(), testing::Program("pganalytics-api"));
    const auto outcome =
        testing::RunCommand({.argv = std::move(words), .env = environment, .clear_env = true}, absl::Seconds(120));
    return outcome.ok() ? *outcome : testing::CommandOutcome{-1, std::string(outcome.status().message())};
  }

  // With `changed` in place of what Good() says.
  static Answer Run(const Environment& changed = {}) {
    Environment environment = changed;
    environment.merge(Good());
    const auto outcome = Command({"preflight", "--json"}, environment);
    Answer answer{.exit_code = outcome.exit_code, .output = outcome.output, .checks = {}};
    simdjson::dom::parser parser;
    simdjson::dom::array checks;
    // The line of the exit code follows on standard error.
    const std::string json = outcome.output.substr(0, outcome.output.find('\n'));
    if (parser.parse(json).at_pointer("/checks").get_array().get(checks) != simdjson::SUCCESS) return answer;
    for (const simdjson::dom::element check : checks) {
      const auto text = [&check](const char* key) { return std::string(std::string_view(check[key])); };
      answer.checks[text("name")] = {text("state"), text("detail"), text("remedy")};
    }
    return answer;
  }

  static void ExpectFound(const Answer& answer, const std::string& name, const std::string& state,
                          const std::string& detail, const std::string& remedy) {
    const Check check = answer[name];
    EXPECT_EQ(check.state, state) << name << " in " << answer.output;
    EXPECT_THAT(check.detail, HasSubstr(detail));
    EXPECT_THAT(check.remedy, HasSubstr(remedy));
    EXPECT_THAT(check.remedy, Not(IsEmpty()));
    EXPECT_EQ(answer.exit_code, state == "fail" ? 1 : 0) << answer.output;
  }

  static inline testing::TempPostgres* server_ = nullptr;
  static inline testing::ScopedTempDir state_;
};

TEST_F(PreflightTest, NothingIsWrongWithAGoodInstallation) {
  const Answer answer = Run();
  EXPECT_EQ(answer.exit_code, 0) << answer.output;
  for (const char* database : {"metadata", "metrics"}) {
    for (const char* part :
         {"connect", "version", "rights", "migrations", "connections", "durability", "tls", "clock"}) {
      EXPECT_EQ(answer[absl::StrCat(database, ".", part)].state, "ok")
          << database << "." << part << " in " << answer.output;
    }
  }
  for (const char* name : {"settings", "port", "state"}) EXPECT_EQ(answer[name].state, "ok") << answer.output;
  EXPECT_THAT(answer["metrics.disk"].detail, HasSubstr("50 servers over 30 days"));
  for (const auto& [name, check] : answer.checks) {
    if (check.state == "ok") {
      EXPECT_EQ(check.remedy, "") << name;
    }
  }
  EXPECT_NE(access(std::string(state_ / "state").c_str(), F_OK), 0) << "preflight made the folder";

  const auto text = Command({"preflight"}, Good());
  EXPECT_EQ(text.exit_code, 0) << text.output;
  EXPECT_THAT(text.output, HasSubstr("ok    metadata.connect: reached"));
  EXPECT_THAT(text.output, HasSubstr(" 0 failed"));
}

TEST_F(PreflightTest, ServersThatAreNotReached) {
  const std::string tcp = absl::StrCat("127.0.0.1:", server_->tcp_port());
  ExpectFound(Run({{"DATABASE_URL", "postgresql://a@127.0.0.1:1/pganalytics"}}), "metadata.connect", "fail", "",
              "check host, port");
  ExpectFound(Run({{"TIMESCALE_URL", "postgresql://a@nowhere.invalid/metrics"}}), "metrics.connect", "fail", "",
              "check host, port");
  ExpectFound(Run({{"TIMESCALE_URL", absl::StrCat(Url("nothing"))}}), "metrics.connect", "fail", "nothing",
              "migrate roles metrics");
  ExpectFound(Run({{"TIMESCALE_URL", server_->UrlAs("nobody", "metrics")}}), "metrics.connect", "fail", "nobody",
              "pg_hba.conf");
  ExpectFound(Run({{"TIMESCALE_URL", "mysql://a/b"}}), "metrics.connect", "fail", "", "TIMESCALE_URL");
  ExpectFound(Run({{"TIMESCALE_URL", ""}}), "metrics.connect", "fail", "is not set", "postgresql://LOGIN");
  ExpectFound(Run({{"DATABASE_URL", absl::StrCat("postgresql://pganalytics@", tcp, "/pganalytics?sslmode=require")}}),
              "metadata.connect", "fail", "SSL", "sslmode");
}

TEST_F(PreflightTest, WrongPassword) {
  const std::string path = server_->data_dir() + "/pg_hba.conf";
  const auto before = testing::ReadFile(path);
  ASSERT_TRUE(before.ok());
  ASSERT_TRUE(testing::WriteFile(path, "host all pganalytics 127.0.0.1/32 scram-sha-256\n" + *before).ok());
  ASSERT_TRUE(server_->Exec("postgres", "SELECT pg_reload_conf()").ok());
  const std::string at = absl::StrCat("@127.0.0.1:", server_->tcp_port(), "/pganalytics");
  Answer answer;
  // The server reads the file in its own time.
  ASSERT_TRUE(testing::WaitUntil(
      [&] {
        answer = Run({{"DATABASE_URL", "postgresql://pganalytics:secretly-wrong" + at}});
        return answer.exit_code == 1;
      },
      absl::Seconds(30)));
  ExpectFound(answer, "metadata.connect", "fail", "password", "the password in DATABASE_URL");
  EXPECT_THAT(answer.output, Not(HasSubstr("secretly-wrong")));
  EXPECT_EQ(Run({{"DATABASE_URL", "postgresql://pganalytics:right" + at}})["metadata.connect"].state, "ok");
  ASSERT_TRUE(testing::WriteFile(path, *before).ok());
  ASSERT_TRUE(server_->Exec("postgres", "SELECT pg_reload_conf()").ok());
}

TEST_F(PreflightTest, RightsAndMigrations) {
  ASSERT_TRUE(server_->Exec("postgres", "CREATE ROLE guest LOGIN").ok());
  ExpectFound(Run({{"TIMESCALE_URL", server_->UrlAs("guest", "metrics")}}), "metrics.rights", "fail",
              "guest in metrics may not create", "ALTER DATABASE metrics OWNER TO guest");
  ASSERT_TRUE(server_->Exec("postgres", "CREATE DATABASE fresh OWNER guest").ok());
  const Answer fresh = Run({{"TIMESCALE_URL", server_->UrlAs("guest", "fresh")}});
  ExpectFound(fresh, "metrics.rights", "warn", "pganalytics_ingest, pganalytics_query", "migrate roles metrics");
  ExpectFound(fresh, "metrics.migrations", "warn", "pending", "migrate up");
  ExpectFound(Run({{"TIMESCALE_URL", Url("pganalytics")}}), "databases", "fail", "one database", "make two");

  ASSERT_TRUE(
      server_
          ->Exec(
              "metrics",
              "DO $$ DECLARE row metrics.schema_migration; BEGIN SELECT * INTO row FROM metrics.schema_migration ORDER "
              "BY "
              "version DESC LIMIT 1; row.version := 9999; INSERT INTO metrics.schema_migration VALUES (row.*); END $$")
          .ok());
  ExpectFound(Run(), "metrics.migrations", "warn", "newer than this program", "install the version");
  ASSERT_TRUE(server_->Exec("metrics", "DELETE FROM metrics.schema_migration WHERE version = 9999").ok());
}

TEST_F(PreflightTest, Connections) {
  ASSERT_TRUE(server_->Exec("postgres", "ALTER ROLE pganalytics CONNECTION LIMIT 5").ok());
  ExpectFound(Run(), "metrics.connections", "fail", "the login may open 5", "CONNECTION LIMIT");
  ASSERT_TRUE(server_->Exec("postgres", "ALTER ROLE pganalytics CONNECTION LIMIT -1").ok());
  auto small = testing::TempPostgres::Start({.extra_conf = {"max_connections = 20"}});
  ASSERT_TRUE(small.ok()) << small.status();
  ExpectFound(Run({{"TIMESCALE_URL", (*small)->Url()}}), "metrics.connections", "fail", "are free",
              "raise max_connections by");
  // That server does not sync, as tests mostly do not.
  ExpectFound(Run({{"TIMESCALE_URL", (*small)->Url()}}), "metrics.durability", "fail", "fsync", "turn it on");
}

TEST_F(PreflightTest, Standby) {
  auto primary = testing::TempPostgres::Start();
  ASSERT_TRUE(primary.ok()) << primary.status();
  auto standby = testing::TempPostgres::StartStandby(**primary);
  ASSERT_TRUE(standby.ok()) << standby.status();
  ExpectFound(Run({{"DATABASE_URL", (*standby)->Url()}}), "metadata.writable", "fail", "standby", "name the primary");
}

TEST_F(PreflightTest, PortsAndFolders) {
  const testing::LoopbackListener taken;
  const std::string port = absl::StrCat(taken.port());
  ExpectFound(Run({{"PORT", port}}), "port", "fail", "in use", "ss -tlnp | grep :" + port);
  ExpectFound(Run({{"METRICS_LISTEN", "127.0.0.1:" + port}}), "port.metrics", "fail", "in use", "METRICS_LISTEN");
  ExpectFound(Run({{"METRICS_LISTEN", "localhost:0"}}), "port.metrics", "fail", "no address and port",
              "correct METRICS_LISTEN");
  const Answer refused = Run({{"METRICS_LISTEN", "9999"}});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr("METRICS_LISTEN=\"9999\": write host:port"));
  ExpectFound(Run({{"LISTEN_ADDRESS", "203.0.113.9"}}), "port", "fail", "assign", "address of this host");
  ASSERT_TRUE(testing::WriteFile(state_ / "file", "x").ok());
  ExpectFound(Run({{"STATE_DIR", state_ / "file/below"}}), "state", "fail", "cannot be written", "STATE_DIR");
  const Answer many = Run({{"MAX_CONCURRENT_COLLECTORS", "1000000"}});
  ExpectFound(many, "metrics.disk", "warn", "1000000 servers", "fewer days");
}

TEST_F(PreflightTest, Certificates) {
  const rpc::TestCa authority("preflight CA");
  const rpc::TestCertificate good =
      authority.Issue({.dns = {"localhost"}, .not_after = clock::WallNow() + absl::Hours(24 * 90)});
  int count = 0;
  const auto run = [&](const std::string& cert, const std::string& key, const std::string& trusted = "") {
    const std::string cert_path = state_ / absl::StrCat("cert", ++count);
    const std::string key_path = state_ / absl::StrCat("key", count);
    const std::string store = state_ / absl::StrCat("store", count);
    EXPECT_TRUE(testing::WriteFile(cert_path, cert).ok() && testing::WriteFile(key_path, key).ok() &&
                testing::WriteFile(store, trusted).ok());
    return Run({{"TLS_ENABLED", "true"},
                {"TLS_CERT_PATH", cert_path},
                {"TLS_KEY_PATH", key_path},
                {"SSL_CERT_FILE", store},
                {"SSL_CERT_DIR", state_.path()}});
  };
  const Answer fine = run(good.cert_pem, good.key_pem, authority.pem());
  EXPECT_EQ(fine.exit_code, 0) << fine.output;
  for (const char* name : {"tls.files", "tls.expiry", "tls.chain"}) EXPECT_EQ(fine[name].state, "ok") << fine.output;

  ExpectFound(run(good.cert_pem, good.key_pem), "tls.chain", "warn", "issuer", "BACKEND_CA_FILE");
  ExpectFound(run(good.cert_pem, authority.Server().key_pem), "tls.files", "fail", "do not belong together",
              "name the key");
  ExpectFound(run("nothing", good.key_pem), "tls.files", "fail", "holds no PEM certificate", "openssl x509");
  ExpectFound(run(good.cert_pem, "nothing"), "tls.files", "fail", "holds no PEM private key", "openssl pkey");
  ExpectFound(
      Run({{"TLS_ENABLED", "true"}, {"TLS_CERT_PATH", "/nowhere/cert.pem"}, {"TLS_KEY_PATH", "/nowhere/key.pem"}}),
      "tls.files", "fail", "/nowhere/cert.pem", "readable by the user");

  const absl::Time now = clock::WallNow();
  const auto issued = [&](absl::Time from, absl::Time until, std::vector<std::string> names) {
    return authority.Issue({.dns = std::move(names), .not_before = from, .not_after = until});
  };
  const rpc::TestCertificate old = issued(now - absl::Hours(48), now - absl::Hours(24), {"localhost"});
  ExpectFound(run(old.cert_pem, old.key_pem, authority.pem()), "tls.expiry", "fail", "not valid since", "renew");
  const rpc::TestCertificate soon = issued(now - absl::Hours(48), now + absl::Hours(48), {"localhost"});
  ExpectFound(run(soon.cert_pem, soon.key_pem, authority.pem()), "tls.expiry", "warn", "valid until", "renew");
  const rpc::TestCertificate later = issued(now + absl::Hours(48), now + absl::Hours(2400), {"localhost"});
  ExpectFound(run(later.cert_pem, later.key_pem, authority.pem()), "tls.expiry", "fail", "valid from", "clock");
  const rpc::TestCertificate nameless = issued(now - absl::Hours(1), now + absl::Hours(2400), {});
  ExpectFound(run(nameless.cert_pem, nameless.key_pem, authority.pem()), "tls.names", "fail",
              "no subject alternative name", "make it");
  ExpectFound(Run({{"ENVIRONMENT", "production"}}), "settings", "fail", "", "set what is named");
}

TEST_F(PreflightTest, Clocks) {
  if (access(testing::Program("libpga_stepped_clock.so").c_str(), R_OK) != 0) {
    GTEST_SKIP() << "a sanitizer's build has no preloaded clock";
  }
  testing::SteppedClock clock;
  EXPECT_EQ(Run(clock.environment())["metrics.clock"].state, "ok");
  clock.Step(absl::Seconds(-30));
  ExpectFound(Run(clock.environment()), "metrics.clock", "warn", "ahead", "NTP");
  clock.Step(absl::Hours(2));
  ExpectFound(Run(clock.environment()), "metrics.clock", "fail", "behind", "NTP");
}

}  // namespace
}  // namespace pga::integration
