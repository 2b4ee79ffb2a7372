#include "libs/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/status/testing.h"

namespace pga::config {
namespace {

using status::IsOk;
using status::IsOkAndHolds;
using status::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

struct Settings {
  std::string url;
  int port = 0;
  bool tls = false;
  absl::Duration interval;
  int64_t buffer = 0;
  std::vector<std::string> origins;
  log::Secret secret;
  std::string cert;
  double rate = 0;
};

class LoaderTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/config_test.XXXXXX";
    directory_ = mkdtemp(pattern);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string WriteFile(const std::string& name, const std::string& text) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

  static void Register(Loader& loader, Settings& settings) {
    loader.String(&settings.url, "DATABASE_URL", "database-url", "postgres://local", "metadata database");
    loader.Int(&settings.port, "PORT", "port", 8080, "HTTP port", "port", 1, 65535);
    loader.Bool(&settings.tls, "TLS_ENABLED", "tls-enabled", false, "serve HTTPS");
    loader.Duration(&settings.interval, "COLLECTION_INTERVAL", "collection-interval", absl::Seconds(60), "interval",
                    absl::Seconds(1));
    loader.Bytes(&settings.buffer, "METRICS_BUFFER_SIZE", "metrics-buffer-size", 52428800, "spool limit");
    loader.List(&settings.origins, "CORS_ALLOWED_ORIGINS", "cors-allowed-origins", "", "origins");
    loader.Secret(&settings.secret, "JWT_SECRET", "key of tokens");
    loader.String(&settings.cert, "TLS_CERT_PATH|TLS_CERT", "tls-cert-path", "", "certificate");
    loader.Double(&settings.rate, "SAMPLE_RATE", "sample-rate", 0.5, "share of samples", "ratio", 0, 1);
  }

  absl::Status Load(std::vector<const char*> arguments, Environment environment) {
    arguments.insert(arguments.begin(), "/usr/bin/pga-test");
    loader_ = std::make_unique<Loader>(static_cast<int>(arguments.size()), arguments.data(), std::move(environment),
                                       "A test.");
    Register(*loader_, settings_);
    return loader_->Parse();
  }

  std::string directory_;
  Settings settings_;
  std::unique_ptr<Loader> loader_;
};

// The lines of a file as systemd's own parser yields them: a unit's EnvironmentFile and environment.d share it.
Environment ThroughSystemd(const std::string& folder, const std::string& text) {
  std::filesystem::create_directory(folder + "/environment.d");
  std::ofstream(folder + "/environment.d/test.conf") << text;
  const std::string command = "env -i XDG_CONFIG_HOME=" + folder +
                              " /usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator";
  Environment environment;
  FILE* const output = popen(command.c_str(), "r");
  char line[4096];
  while (output != nullptr && fgets(line, sizeof line, output) != nullptr) {
    // NAME=value, or NAME="value" where the value needs it; none here holds a quote.
    std::string value = line;
    const size_t equals = value.find('=');
    const std::string name = value.substr(0, equals);
    value = value.substr(equals + 1);
    std::erase_if(value, [](char c) { return c == '"' || c == '\n'; });
    environment[name] = value;
  }
  if (output != nullptr) pclose(output);
  return environment;
}

TEST_F(LoaderTest, RemarksAreDroppedAsSystemdHandsThemOver) {
  const Environment environment =
      ThroughSystemd(directory_, R"(DATABASE_URL="postgres://u@h/db?sslmode=require"   # main
PORT="8081"            # where it listens
TLS_ENABLED=true       # serve HTTPS
COLLECTION_INTERVAL="120"   # seconds
METRICS_BUFFER_SIZE="104857600"  # 100 MB
CORS_ALLOWED_ORIGINS="https://a.example,https://b.example"  # two
TLS_CERT_PATH="/etc/pganalytics/cert.pem"   # PEM
SAMPLE_RATE="0.25"# close
JWT_SECRET="0123456789abcdef#0123456789abcdef"
)");
  ASSERT_EQ(environment.at("PORT"), "8081# where it listens") << "systemd joins value and remark";
  ASSERT_THAT(Load({}, environment), IsOk());
  EXPECT_EQ(settings_.url, "postgres://u@h/db?sslmode=require");
  EXPECT_EQ(settings_.port, 8081);
  EXPECT_TRUE(settings_.tls);
  EXPECT_EQ(settings_.interval, absl::Seconds(120));
  EXPECT_EQ(settings_.buffer, 104857600);
  EXPECT_THAT(settings_.origins, ElementsAre("https://a.example", "https://b.example"));
  EXPECT_EQ(settings_.cert, "/etc/pganalytics/cert.pem");
  EXPECT_EQ(settings_.rate, 0.25);
  EXPECT_EQ(settings_.secret.Reveal(), "0123456789abcdef#0123456789abcdef");
}

TEST_F(LoaderTest, SecretFilesAreReadAlikeWhereverTheyAreNamed) {
  EXPECT_THAT(ReadSecretFile(WriteFile("windows", "secret\r\n")), IsOkAndHolds("secret"));
  EXPECT_THAT(ReadSecretFile(WriteFile("two lines", "a\nb\n")), IsOkAndHolds("a\nb"));
  EXPECT_THAT(ReadSecretFile(WriteFile("empty", "\n")), StatusIs(kInvalid, HasSubstr("empty")));
  EXPECT_THAT(ReadSecretFile(directory_ + "/absent"), StatusIs(kInvalid, HasSubstr("cannot be read")));
}

TEST_F(LoaderTest, DefaultsHoldWhenNothingIsGiven) {
  ASSERT_THAT(Load({}, {{"PORT", ""}}), IsOk());
  EXPECT_EQ(settings_.url, "postgres://local");
  EXPECT_EQ(settings_.port, 8080);
  EXPECT_FALSE(settings_.tls);
  EXPECT_EQ(settings_.interval, absl::Minutes(1));
  EXPECT_EQ(settings_.buffer, 52428800);
  EXPECT_THAT(settings_.origins, IsEmpty());
  EXPECT_TRUE(settings_.secret.empty());
  EXPECT_EQ(settings_.rate, 0.5);
  EXPECT_FALSE(loader_->IsSet("PORT"));
}

TEST_F(LoaderTest, FlagBeatsEnvironmentBeatsFile) {
  const std::string file = WriteFile(
      "env",
      "PORT=1\nSAMPLE_RATE=0.1\n# remark\nexport TLS_ENABLED='yes'\nCORS_ALLOWED_ORIGINS=\"https://a, https://b\"\n");
  ASSERT_THAT(Load({"--port=3"}, {{"PORT", "2"}, {"SAMPLE_RATE", "0.2"}, {"ENV_FILE", file}}), IsOk());
  EXPECT_EQ(settings_.port, 3);
  EXPECT_EQ(settings_.rate, 0.2);
  EXPECT_TRUE(settings_.tls);
  EXPECT_THAT(settings_.origins, ElementsAre("https://a", "https://b"));
  EXPECT_TRUE(loader_->IsSet("PORT"));
}

TEST_F(LoaderTest, RemarksAndBlanksAreTolerated) {
  ASSERT_THAT(Load({}, {{"COLLECTION_INTERVAL", "120  # raise when > 30 collectors"},
                        {"PORT", "8081 "},
                        {"TLS_ENABLED", "true\t# on"},
                        {"DATABASE_URL", "postgres://h/db#x  # remark"},
                        {"CORS_ALLOWED_ORIGINS", "https://a # one"}}),
              IsOk());
  EXPECT_EQ(settings_.interval, absl::Seconds(120));
  EXPECT_EQ(settings_.port, 8081);
  EXPECT_TRUE(settings_.tls);
  EXPECT_EQ(settings_.url, "postgres://h/db#x");
  EXPECT_THAT(settings_.origins, ElementsAre("https://a"));
}

TEST_F(LoaderTest, UnreadableValuesNameTheVariableAndTheCure) {
  EXPECT_THAT(Load({}, {{"PORT", "eighty"}, {"COLLECTION_INTERVAL", "0"}}),
              StatusIs(kInvalid, AllOf(HasSubstr("PORT=\"eighty\": write a whole number from 1 to 65535"),
                                       HasSubstr("COLLECTION_INTERVAL=\"0\": write a duration of at least 1s"))));
  EXPECT_THAT(Load({"--tls-enabled=maybe"}, {}), StatusIs(kInvalid, HasSubstr("--tls-enabled")));
}

TEST_F(LoaderTest, AddressesToListenOnHaveHostAndPort) {
  const auto listen = [](const std::string& value) -> absl::StatusOr<std::string> {
    const char* const argv[] = {"x"};
    Loader loader(1, argv, {{"METRICS_LISTEN", value}}, "");
    std::string address;
    loader.Listen(&address, "METRICS_LISTEN", "metrics-listen", "127.0.0.1:1", "what it does");
    if (const absl::Status parsed = loader.Parse(); !parsed.ok()) return parsed;
    return address;
  };
  for (const char* good : {"127.0.0.1:0", "localhost:9187", "[::1]:65535", "0.0.0.0:80"}) {
    EXPECT_THAT(listen(good), status::IsOkAndHolds(good));
  }
  EXPECT_THAT(listen("off"), status::IsOkAndHolds(""));
  EXPECT_THAT(listen("127.0.0.1:9187 # here"), status::IsOkAndHolds("127.0.0.1:9187"));
  for (const char* bad : {"9999", "bogus", ":9187", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1"}) {
    EXPECT_THAT(listen(bad), StatusIs(kInvalid, AllOf(HasSubstr("METRICS_LISTEN"), HasSubstr("write host:port"))))
        << bad;
  }
}

// A misspelt word must not pass for development.
TEST_F(LoaderTest, StageIsOneOfItsWords) {
  for (const char* word : {"development", "staging", "production", "", "Production", "prod", "1", "produktion"}) {
    SCOPED_TRACE(word);
    std::string stage;
    const char* arguments[] = {"x"};
    Loader loader(1, arguments, {{"ENVIRONMENT", word}}, "x");
    loader.Stage(&stage, "development", "what it does");
    const std::string text = word;
    if (text.empty() || text == "development" || text == "staging" || text == "production") {
      ASSERT_THAT(loader.Parse(), IsOk());
      EXPECT_EQ(stage, text.empty() ? "development" : text);
    } else {
      EXPECT_THAT(loader.Parse(),
                  StatusIs(kInvalid, HasSubstr(absl::StrCat("ENVIRONMENT=\"", text,
                                                            "\": write one of development, staging, production"))));
    }
  }
}

TEST_F(LoaderTest, AFileOfSettingsThatCannotBeReadNamesItsVariable) {
  EXPECT_THAT(Load({}, {{"ENV_FILE", "/nowhere/env"}}),
              StatusIs(kInvalid, HasSubstr("ENV_FILE=/nowhere/env: the file cannot be read")));
}

TEST_F(LoaderTest, FlagForms) {
  ASSERT_THAT(Load({"--tls-enabled", "--port", "9", "--database-url="}, {}), IsOk());
  EXPECT_TRUE(settings_.tls);
  EXPECT_EQ(settings_.port, 9);
  EXPECT_EQ(settings_.url, "");
  ASSERT_THAT(Load({"--no-tls-enabled"}, {{"TLS_ENABLED", "true"}}), IsOk());
  EXPECT_FALSE(settings_.tls);
  EXPECT_THAT(Load({"--colour"}, {}), StatusIs(kInvalid, HasSubstr("unknown flag --colour")));
  EXPECT_THAT(Load({"--no-port"}, {}), StatusIs(kInvalid, HasSubstr("unknown flag")));
  EXPECT_THAT(Load({"--port"}, {}), StatusIs(kInvalid, HasSubstr("needs a value")));
  EXPECT_THAT(Load({"word"}, {}), StatusIs(kInvalid, HasSubstr("is no flag")));
}

TEST_F(LoaderTest, SecretsComeFromEnvironmentOrFileAndNeverShow) {
  ASSERT_THAT(Load({}, {{"JWT_SECRET", "abc # kept"}}), IsOk());
  EXPECT_EQ(settings_.secret.Reveal(), "abc # kept");
  EXPECT_THAT(loader_->Help(), Not(HasSubstr("abc")));

  const std::string path = WriteFile("secret", "from file\n");
  ASSERT_THAT(Load({}, {{"JWT_SECRET_FILE", path}}), IsOk());
  EXPECT_EQ(settings_.secret.Reveal(), "from file");
  ASSERT_THAT(Load({"--jwt-secret-file", path.c_str()}, {{"JWT_SECRET", "env"}}), IsOk());
  EXPECT_EQ(settings_.secret.Reveal(), "from file");

  EXPECT_THAT(Load({}, {{"JWT_SECRET_FILE", directory_ + "/none"}}), StatusIs(kInvalid, HasSubstr("JWT_SECRET_FILE")));
  EXPECT_THAT(Load({}, {{"JWT_SECRET_FILE", WriteFile("empty", "\n")}}), StatusIs(kInvalid, HasSubstr("empty")));
  EXPECT_THAT(Load({"--jwt-secret=abc"}, {}), StatusIs(kInvalid, HasSubstr("unknown flag")));
}

TEST_F(LoaderTest, SpellingsAndSharedSettings) {
  ASSERT_THAT(Load({}, {{"TLS_CERT", "/a.pem"}}), IsOk());
  EXPECT_EQ(settings_.cert, "/a.pem");
  ASSERT_THAT(Load({}, {{"TLS_CERT", "/a.pem"}, {"TLS_CERT_PATH", "/b.pem"}}), IsOk());
  EXPECT_EQ(settings_.cert, "/b.pem");

  Settings first;
  Settings second;
  const char* arguments[] = {"x", "--port=5"};
  Loader loader(2, arguments, {}, "x");
  Register(loader, first);
  Register(loader, second);
  ASSERT_THAT(loader.Parse(), IsOk());
  EXPECT_EQ(first.port, 5);
  EXPECT_EQ(second.port, 5);
}

TEST_F(LoaderTest, HelpListsEverySetting) {
  ASSERT_THAT(Load({"--help", "--port=x"}, {}), IsOk());
  EXPECT_TRUE(loader_->help_requested());
  const std::string help = loader_->Help();
  for (const char* part : {"--port, PORT", "Default: 8080", "JWT_SECRET_FILE", "TLS_CERT_PATH, TLS_CERT", "(bytes)"}) {
    EXPECT_THAT(help, HasSubstr(part));
  }
  ASSERT_THAT(Load({"--version"}, {}), IsOk());
  EXPECT_TRUE(loader_->version_requested());
}

TEST_F(LoaderTest, PositionalWordsWhereAllowed) {
  const char* arguments[] = {"x", "migrate", "--", "--status"};
  Loader loader(4, arguments, {}, "x");
  loader.AllowPositional();
  ASSERT_THAT(loader.Parse(), IsOk());
  EXPECT_THAT(loader.positional(), ElementsAre("migrate", "--status"));
}

TEST_F(LoaderTest, EnvironmentFileIsCheckedByLine) {
  EXPECT_THAT(Load({"--env-file", WriteFile("bad", "A=1\nnonsense\n").c_str()}, {}),
              StatusIs(kInvalid, HasSubstr("line 2")));
  EXPECT_THAT(ParseEnvironmentFile("A=\"open\n"), StatusIs(kInvalid, HasSubstr("line 1")));
  EXPECT_THAT(Load({"--env-file=/nonexistent/env"}, {}), StatusIs(kInvalid, HasSubstr("/nonexistent/env")));
}

TEST(ParseDuration, UnitsAndLimits) {
  struct Case {
    std::string text;
    absl::Duration want;
  };
  for (const Case& c : std::vector<Case>{{"0", absl::ZeroDuration()},
                                         {"90", absl::Seconds(90)},
                                         {"1.5", absl::Milliseconds(1500)},
                                         {"250ms", absl::Milliseconds(250)},
                                         {"1h30m", absl::Minutes(90)},
                                         {"7d", absl::Hours(168)},
                                         {"86400 # 24 h", absl::Hours(24)}}) {
    EXPECT_THAT(ParseDuration(c.text), IsOkAndHolds(c.want)) << c.text;
  }
  for (const char* bad : {"", "-1", "1h30", "1w", "s", "1..5", "1e9d", "99999999999999999999d", "# 5"}) {
    EXPECT_THAT(ParseDuration(bad), StatusIs(kInvalid)) << bad;
  }
}

TEST(ParseBytes, UnitsAndLimits) {
  EXPECT_THAT(ParseBytes("104857600"), IsOkAndHolds(104857600));
  EXPECT_THAT(ParseBytes("64KiB"), IsOkAndHolds(65536));
  EXPECT_THAT(ParseBytes("64k"), IsOkAndHolds(65536));
  EXPECT_THAT(ParseBytes("100 MB"), IsOkAndHolds(100'000'000));
  EXPECT_THAT(ParseBytes("0.5GiB"), IsOkAndHolds(536870912));
  for (const char* bad : {"", "x", "1XB", "1.5", "-1", "99999999TB", "1KiBB"}) {
    EXPECT_THAT(ParseBytes(bad), StatusIs(kInvalid)) << bad;
  }
}

TEST(ParseList, QuotedPartsKeepCommasAndBlanks) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(ParseList(" a , b,,c "), (Parts{"a", "b", "c"}));
  EXPECT_EQ(ParseList(R"("a,b", c)"), (Parts{"a,b", "c"}));
  EXPECT_EQ(ParseList(R"(" a " ,"say ""x""")"), (Parts{" a ", R"(say "x")"}));
  EXPECT_EQ(ParseList(R"(a"b,c)"), (Parts{R"(a"b)", "c"}));
  EXPECT_EQ(ParseList(""), Parts());
}

TEST(ParseInt, Limits) {
  EXPECT_THAT(ParseInt(" -5 # x", -10, 10), IsOkAndHolds(-5));
  for (const char* bad : {"", "11", "5x", "0x5", "1.0", "9223372036854775808"}) {
    EXPECT_THAT(ParseInt(bad, -10, 10), StatusIs(kInvalid)) << bad;
  }
}

}  // namespace
}  // namespace pga::config
