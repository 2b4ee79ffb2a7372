#include "services/collector/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/status/testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<CollectorConfig> Load(config::Environment environment) {
  const char* argv[] = {"pganalytics-collector"};
  config::Loader loader(1, argv, std::move(environment), "test");
  CollectorConfig config;
  RegisterOptions(loader, &config);
  PGA_RETURN_IF_ERROR(loader.Parse());
  PGA_RETURN_IF_ERROR(FinishConfig(&config));
  return config;
}

TEST(Config, TheGuidesVariablesAreEnough) {
  const auto config = Load({{"COLLECTOR_ID", "col_prod_001"},
                            {"BACKEND_URL", "https://host:8080"},
                            {"POSTGRES_HOST", "db1"},
                            {"POSTGRES_PORT", "5433"},
                            {"POSTGRES_DATABASES", "postgres,production_db"},
                            {"COLLECTION_INTERVAL", "120 # seconds"},
                            {"METRICS_BUFFER_SIZE", "104857600"}});
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->collector_id, "col_prod_001");
  EXPECT_EQ(config->collection_interval, absl::Seconds(120));
  EXPECT_EQ(config->spool_limit_bytes, 104857600);
  ASSERT_EQ(config->sources.size(), 1u);
  EXPECT_EQ(config->sources[0].name, "db1:5433");
  EXPECT_THAT(config->sources[0].databases, ElementsAre("postgres", "production_db"));
  EXPECT_TRUE(config->backend_tls_verify);
}

TEST(Config, MetricsPortCanBeTurnedOff) {
  EXPECT_EQ(Load({})->metrics_listen, "127.0.0.1:9187");
  EXPECT_EQ(Load({{"METRICS_LISTEN", "off"}})->metrics_listen, "");
}

TEST(Config, DefaultIdFollowsTheHostsName) {
  EXPECT_EQ(DefaultCollectorId("db1"), "030d98e8-882f-58b2-bc92-7c274fe28149");
}

struct BadCase {
  const char* name;
  config::Environment environment;
  const char* message;
};

TEST(Config, BadValuesSayWhatToWrite) {
  const BadCase cases[] = {
      {"plain to another host", {{"BACKEND_URL", "http://host:8080"}}, "BACKEND_ALLOW_PLAINTEXT"},
      {"no url", {{"BACKEND_URL", "host:8080"}}, "is not a URL like"},
      {"id", {{"COLLECTOR_ID", "a b"}}, "COLLECTOR_ID"},
      {"sslmode", {{"POSTGRES_SSLMODE", "on"}}, "POSTGRES_SSLMODE"},
      {"query text", {{"QUERY_TEXT", "some"}}, "normalized, full, none"},
      {"interval", {{"COLLECTION_INTERVAL", "often"}}, "COLLECTION_INTERVAL"},
      {"metrics address", {{"METRICS_LISTEN", "bogus"}}, "METRICS_LISTEN=\"bogus\": write host:port"},
      {"health address", {{"HEALTH_LISTEN", "9"}}, "HEALTH_LISTEN"},
      {"ca", {{"BACKEND_CA_FILE", "/nowhere/ca.pem"}}, "BACKEND_CA_FILE=/nowhere/ca.pem cannot be read"},
      {"file", {{"COLLECTOR_CONFIG", "/nowhere/x.yaml"}}, "COLLECTOR_CONFIG"},
  };
  for (const BadCase& c : cases) {
    EXPECT_THAT(Load(c.environment), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message))) << c.name;
  }
}

TEST(Config, MetricsHaveToBeKnown) {
  const auto catalog = catalog::Catalog::Builtin();
  ASSERT_THAT(catalog, IsOk());
  for (const char* setting : {"DISABLED_METRICS", "ENABLED_METRICS"}) {
    const auto good = Load({{setting, "bloat_measured, setings"}});
    ASSERT_THAT(good, IsOk());
    EXPECT_THAT(CheckMetricNames(*good, **catalog),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat(setting, ": \"setings\" is no metric; similar: settings"))));
    EXPECT_THAT(CheckMetricNames(*Load({{setting, "bloat_measured,settings"}}), **catalog), IsOk());
  }
}

TEST(Config, PlaintextIsForTheSameHost) {
  EXPECT_THAT(Load({{"BACKEND_URL", "http://127.0.0.1:8080"}}), IsOk());
  EXPECT_THAT(Load({{"BACKEND_URL", "http://localhost:8080/"}}), IsOk());
  EXPECT_THAT(Load({{"BACKEND_URL", "http://host:8080"}, {"BACKEND_ALLOW_PLAINTEXT", "true"}}), IsOk());
}

struct UrlCase {
  const char* url;
  const char* target;  // nullptr = refused
  bool tls;
};

TEST(Config, BackendUrls) {
  const UrlCase cases[] = {
      {"https://a.example:8080", "a.example:8080", true},
      {"https://a.example", "a.example:443", true},
      {"http://localhost", "localhost:80", false},
      {"https://[::1]:9/", "[::1]:9", true},
      {"ftp://a", nullptr, false},
      {"https://", nullptr, false},
      {"https://a/path", nullptr, false},
      {"https://user:pw@a", nullptr, false},
      {"https://a:99999", nullptr, false},
  };
  for (const UrlCase& c : cases) {
    const auto address = ParseBackendUrl(c.url);
    if (c.target == nullptr) {
      EXPECT_THAT(address, StatusIs(absl::StatusCode::kInvalidArgument)) << c.url;
      continue;
    }
    ASSERT_THAT(address, IsOk()) << c.url;
    EXPECT_EQ(address->target, c.target);
    EXPECT_EQ(address->tls, c.tls);
  }
}

TEST(Config, YamlNamesManySources) {
  CollectorConfig config;
  ASSERT_THAT(ApplyYaml(R"(
collector_id: fleet-1
collection_interval: 30
metrics:
  settings: off
  wal: on
sources:
  - name: orders
    host: db1
    user: watcher
    databases: [orders, billing]
    sslmode: require
  - host: db2
    port: 5433
    databases: "*"
)",
                        "c.yaml", &config),
              IsOk());
  EXPECT_EQ(config.collector_id, "fleet-1");
  EXPECT_EQ(config.collection_interval, absl::Seconds(30));
  EXPECT_THAT(config.disabled_metrics, ElementsAre("settings"));
  ASSERT_EQ(config.sources.size(), 2u);
  EXPECT_THAT(config.sources[0].databases, ElementsAre("orders", "billing"));
  EXPECT_EQ(config.sources[1].name, "db2:5433");
}

struct YamlCase {
  const char* name;
  const char* text;
  const char* message;
};

TEST(Config, YamlErrorsNameTheLine) {
  const YamlCase cases[] = {
      {"unknown key", "sources:\n  - host: a\nintervall: 3\n", "f.yaml:3: unknown key intervall"},
      {"unknown source key", "sources:\n  - host: a\n    pasword: x\n", "f.yaml:3: unknown key pasword"},
      {"port", "sources:\n  - host: a\n    port: many\n", "f.yaml:3: port must be a number"},
      {"two of a name", "sources:\n  - name: a\n  - name: a\n", "f.yaml:3: two sources are named a"},
      {"no sources", "collector_id: a\n", "sources is missing"},
      {"syntax", "sources: [\n", "f.yaml:"},
      {"not a map", "- a\n", "must be a map"},
      {"sslmode", "sources:\n  - host: a\n    sslmode: no\n", "f.yaml:2"},
  };
  for (const YamlCase& c : cases) {
    CollectorConfig config;
    EXPECT_THAT(ApplyYaml(c.text, "f.yaml", &config),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)))
        << c.name;
  }
}

}  // namespace
}  // namespace pga::collector
