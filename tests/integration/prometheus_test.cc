// A real Prometheus beside the whole suite in one process: what it scrapes, and that its answers over remote read equal
// those of the API on known data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "libs/catalog/catalog.h"
#include "libs/catalog/metric.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "libs/status/testing.h"
#include "libs/storage/testing/frame_store.h"
#include "libs/testing/json_value.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/text/percent.h"
#include "services/query/otlp_receiver_testing.h"
#include "tests/integration/peer_forms.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

using storage::StoredFrame;
using storage::StoredRow;
using ::testing::HasSubstr;

// Values by what tells them apart, at one instant (seconds since 1970).
using Values = std::map<std::string, double>;
using ValuesAt = std::map<int64_t, Values>;

constexpr int kMinutes = 180;

class PrometheusTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    receiver_ = new query::OtlpReceiver();
    suite_ = new Suite(
        {.form = Form::kOneProcess, .env = {{"OTLP_ENDPOINT", receiver_->endpoint()}, {"OTLP_INTERVAL", "2"}}});
    dir_ = new testing::ScopedTempDir();
    const auto made = suite_->Post("/api/v1/tokens", R"({"name":"prometheus","role":"viewer"})", suite_->AdminToken());
    ASSERT_TRUE(made.ok() && made->status == 201);
    token_ = testing::JsonText(made->body, "/token");
    Fill();
    FillOthers();
    std::ofstream(*dir_ / "token") << token_;
    std::ofstream(*dir_ / "prometheus.yml")
        << "global: {scrape_interval: 5s, scrape_timeout: 5s}\n"
        << "scrape_configs:\n"
        << "  - job_name: pganalytics\n"
        << "    metrics_path: /api/v1/export/prometheus\n"
        << "    authorization: {credentials_file: " << *dir_ / "token"
        << "}\n"
        << "    static_configs: [{targets: ['127.0.0.1:" << suite_->port() << "']}]\n"
        << "remote_read:\n"
        << "  - url: http://127.0.0.1:" << suite_->port() << "/api/v1/prometheus/read\n"
        << "    read_recent: true\n"
        << "    authorization: {credentials_file: " << *dir_ / "token"
        << "}\n";
    auto started = testing::Subprocess::Start(
        {.argv = {"prometheus", "--config.file=" + *dir_ / "prometheus.yml", "--storage.tsdb.path=" + *dir_ / "data",
                  "--web.listen-address=127.0.0.1:0"},
         .output_path = *dir_ / "log"});
    ASSERT_THAT(started, status::IsOk());
    prometheus_ = started->release();
    ASSERT_THAT(prometheus_->WaitForOutput("Server is ready", clock::SteadyNow() + absl::Seconds(20)), status::IsOk());
    const std::string log = prometheus_->Output();
    const std::string mark = "msg=\"Listening on\" address=127.0.0.1:";
    ASSERT_NE(log.find(mark), std::string::npos);
    port_ = std::atoi(log.c_str() + log.find(mark) + mark.size());
  }
  static void TearDownTestSuite() {
    delete prometheus_;
    delete suite_;
    delete receiver_;
    delete dir_;
  }
  void TearDown() override {
    if (HasFailure()) std::fprintf(stderr, "%s\n%s\n", prometheus_->Output().c_str(), suite_->Outputs().c_str());
  }

  // Two servers, a frame a minute up to now; every figure is random, and kept in known_.
  static void Fill() {
    auto pool = pg::Pool::Create({.url = suite_->databases().metrics_url});
    ASSERT_THAT(pool, status::IsOk());
    for (const char* sql : {"INSERT INTO metrics.collector (id, collector_id) VALUES (100, 'col_prometheus')",
                            "INSERT INTO metrics.source (id, uuid, name, collector_id, group_name) VALUES "
                            "(101, '00000000-0000-0000-0000-000000000101', 'alpha', 100, 'default'), "
                            "(102, '00000000-0000-0000-0000-000000000102', 'beta', 100, 'sales'), "
                            "(103, '00000000-0000-0000-0000-000000000103', 'silent', 100, 'sales')"}) {
      ASSERT_THAT((*pool)->Exec(sql, {}, clock::SteadyNow() + absl::Seconds(10)).status(), status::IsOk());
    }
    const auto catalog = *catalog::Catalog::Builtin();
    now_ = absl::ToUnixSeconds(clock::WallNow()) / 60 * 60;
    std::mt19937_64 random(41);
    for (const char* metric : {"database", "table_stats", "statements"}) {
      storage::FrameStore store(pool->get(), *catalog->Find(metric));
      std::vector<StoredFrame> frames;
      for (const int32_t source : {101, 102}) {
        for (int minute = 0; minute <= kMinutes; ++minute) {
          StoredFrame frame;
          frame.source = source;
          frame.collector = 100;
          frame.scope = std::string_view(metric) == "table_stats" ? 5 : 0;
          frame.end = absl::FromUnixSeconds(now_ - 60 * (kMinutes - minute));
          frame.keyframe = minute == 0;
          frame.start = minute == 0 ? frame.end : frame.end - absl::Minutes(1);
          for (int row = 0; row < 4; ++row) {
            // Of the metrics that leave unchanged rows out, some are.
            if (minute > 0 && std::string_view(metric) != "database" && random() % 3 == 0) continue;
            frame.rows.push_back(Row(metric, row, &random));
            if (std::string_view(metric) == "database") {
              known_[absl::StrCat(source == 101 ? "alpha" : "beta", " db", row)] +=
                  static_cast<double>(std::get<int64_t>(frame.rows.back().values["xact_commit"]));
            }
          }
          frames.push_back(std::move(frame));
        }
      }
      store.Store(frames);
    }
  }

  // What dashboards and rules of postgres_exporter ask for besides, of one server: a frame a minute, always the same.
  static void FillOthers() {
    auto pool = pg::Pool::Create({.url = suite_->databases().metrics_url});
    ASSERT_THAT(pool, status::IsOk());
    const auto catalog = *catalog::Catalog::Builtin();
    const std::map<std::string, std::vector<StoredRow>> rows = PeerRows(now_);
    for (const auto& [metric, of_metric] : rows) {
      const auto* const definition = catalog->Find(metric);
      ASSERT_NE(definition, nullptr) << metric;
      storage::FrameStore store(pool->get(), *definition);
      std::vector<StoredFrame> frames;
      for (int minute = 0; minute <= kMinutes; ++minute) {
        StoredFrame frame;
        frame.source = 101;
        frame.collector = 100;
        frame.scope = definition->scope() == pganalytics::catalog::v1::SCOPE_DATABASE ? 9 : 0;
        frame.keyframe = minute == 0 && catalog::HasCounters(*definition);
        frame.end = absl::FromUnixSeconds(now_ - 60 * (kMinutes - minute));
        frame.start = frame.keyframe ? frame.end : frame.end - absl::Minutes(1);
        frame.rows = of_metric;
        frames.push_back(std::move(frame));
      }
      store.Store(frames);
    }
  }

  static StoredRow Row(std::string_view metric, int row, std::mt19937_64* random) {
    const auto number = [&](int64_t below) { return static_cast<int64_t>((*random)() % static_cast<uint64_t>(below)); };
    if (metric == "database") {
      return {{{"datname", absl::StrCat("db", row)},
               {"datid", int64_t{100 + row}},
               {"xact_commit", number(5000)},
               {"blks_hit", number(1'000'000)},
               {"blk_read_time_us", number(700'000)},
               {"xact_rollback", number(20)},
               {"blks_read", number(2'000)},
               {"tup_returned", number(9'000)},
               {"tup_fetched", number(900)},
               {"temp_bytes", number(5'000)},
               {"conflicts", number(2)},
               {"deadlocks", number(2)},
               {"numbackends", number(50)}},
              0};
    }
    if (metric == "table_stats") {
      return {{{"datname", "db0"},
               {"schemaname", "public"},
               {"relname", absl::StrCat("t", row)},
               {"relid", int64_t{row}},
               {"seq_scan", number(20)},
               {"n_tup_ins", number(9000)},
               {"n_live_tup", number(100'000)}},
              0};
    }
    return {{{"userid", 10},
             {"dbid", 5},
             {"queryid", int64_t{1000 + row}},
             {"toplevel", 1},
             {"datname", absl::StrCat("db", row % 2)},
             {"username", "app"},
             {"calls", number(300)},
             {"total_exec_time_us", number(4'000'000)}},
            0};
  }

  static simdjson::dom::element Parse(simdjson::dom::parser* parser, const std::string& json) {
    simdjson::dom::element element;
    EXPECT_EQ(parser->parse(json).get(element), simdjson::SUCCESS) << json.substr(0, 300);
    return element;
  }

  static std::string FromPrometheus(const std::string& path) {
    const auto answer = SendHttp(port_, "", {.path = path});
    EXPECT_THAT(answer, status::IsOk()) << path;
    return answer.ok() ? answer->body : "{}";
  }

  // Answers of PromQL by source and the labels `by`; instants as they come.
  static ValuesAt Ask(const std::string& path, const std::vector<std::string>& by) {
    ValuesAt values;
    simdjson::dom::parser parser;
    const std::string json = FromPrometheus(path);
    EXPECT_EQ(testing::JsonText(json, "/status"), "success") << path << "\n" << json.substr(0, 500);
    simdjson::dom::array result;
    if (Parse(&parser, json).at_pointer("/data/result").get(result) != simdjson::SUCCESS) return values;
    for (const simdjson::dom::element series : result) {
      std::vector<std::string> key;
      for (const std::string& label : by) {
        std::string_view text;
        if (series["metric"][label].get(text) != simdjson::SUCCESS) text = "";
        key.emplace_back(text);
      }
      const auto add = [&](simdjson::dom::element pair) {
        values[static_cast<int64_t>(std::llround(pair.at(0).get_double()))][absl::StrJoin(key, " ")] =
            std::strtod(std::string(pair.at(1).get_string().value()).c_str(), nullptr);
      };
      simdjson::dom::array points;
      if (series["values"].get(points) == simdjson::SUCCESS) {
        for (const simdjson::dom::element pair : points) add(pair);
      } else {
        add(series["value"]);
      }
    }
    return values;
  }
  static ValuesAt Instant(const std::string& promql, int64_t at, const std::vector<std::string>& by) {
    return Ask(absl::StrCat("/api/v1/query?time=", at, "&query=", text::PercentEncode(promql)), by);
  }
  static ValuesAt Range(const std::string& promql, int64_t start, int64_t end, int64_t step,
                        const std::vector<std::string>& by) {
    return Ask(absl::StrCat("/api/v1/query_range?start=", start, "&end=", end, "&step=", step,
                            "&query=", text::PercentEncode(promql)),
               by);
  }

  // The API's series by the same key, at the ends of their buckets.
  static ValuesAt Series(const std::string& parameters, int64_t start, int64_t end, int64_t step,
                         const std::vector<std::string>& by, double divisor) {
    const auto time = [](int64_t seconds) {
      return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(seconds), absl::UTCTimeZone());
    };
    const auto answer = suite_->Get(
        absl::StrCat("/api/v1/series?", parameters, "&start=", time(start), "&end=", time(end), "&step=", step),
        token_);
    EXPECT_TRUE(answer.ok() && answer->status == 200) << (answer.ok() ? answer->body : "");
    ValuesAt values;
    simdjson::dom::parser parser;
    simdjson::dom::array all;
    if (Parse(&parser, answer.ok() ? answer->body : "[]").get(all) != simdjson::SUCCESS) return values;
    for (const simdjson::dom::element series : all) {
      std::vector<std::string> key;
      for (const std::string& label : by) {
        std::string_view text;
        const bool found = label == "source" ? series["source_name"].get(text) == simdjson::SUCCESS
                                             : series["labels"][label].get(text) == simdjson::SUCCESS;
        key.emplace_back(found ? text : std::string_view());
      }
      for (const simdjson::dom::element point : simdjson::dom::array(series["points"])) {
        double value = 0;
        if (point["value"].get(value) != simdjson::SUCCESS) continue;
        absl::Time at;
        std::string error;
        const std::string text(point["time"].get_string().value());
        EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &at, &error)) << error;
        values[absl::ToUnixSeconds(at) + step][absl::StrJoin(key, " ")] = value / divisor;
      }
    }
    return values;
  }

  // Compares; false when there was nothing to compare.
  static bool Same(const std::string& promql, const ValuesAt& ours, const ValuesAt& theirs) {
    EXPECT_EQ(ours.size(), theirs.size()) << promql;
    size_t compared = 0;
    for (const auto& [at, values] : ours) {
      const auto found = theirs.find(at);
      EXPECT_NE(found, theirs.end()) << promql << " at " << at;
      if (found == theirs.end()) continue;
      EXPECT_EQ(values.size(), found->second.size()) << promql << " at " << at;
      for (const auto& [key, value] : values) {
        const auto other = found->second.find(key);
        EXPECT_NE(other, found->second.end()) << promql << " at " << at << " " << key;
        if (other == found->second.end()) continue;
        EXPECT_NEAR(value, other->second, std::abs(value) * 1e-9 + 1e-12) << promql << " at " << at << " " << key;
        ++compared;
      }
    }
    EXPECT_GT(compared, 0u) << promql;
    compared_ += compared;
    return compared > 0;
  }

  static Suite* suite_;
  static query::OtlpReceiver* receiver_;
  static testing::ScopedTempDir* dir_;
  static testing::Subprocess* prometheus_;
  static int port_;
  static std::string token_;
  // Newest reading, seconds since 1970.
  static int64_t now_;
  static Values known_;
  static size_t compared_;
};
Suite* PrometheusTest::suite_ = nullptr;
query::OtlpReceiver* PrometheusTest::receiver_ = nullptr;
testing::ScopedTempDir* PrometheusTest::dir_ = nullptr;
testing::Subprocess* PrometheusTest::prometheus_ = nullptr;
int PrometheusTest::port_ = 0;
std::string PrometheusTest::token_;
int64_t PrometheusTest::now_ = 0;
Values PrometheusTest::known_;
size_t PrometheusTest::compared_ = 0;

TEST_F(PrometheusTest, ScrapesTheServersOwnFigures) {
  const auto at = [] { return absl::ToUnixSeconds(clock::WallNow()); };
  ValuesAt up;
  EXPECT_TRUE(testing::WaitUntil(
      [&] {
        up = Instant("pg_up{job=\"pganalytics\"}", at(), {"source"});
        return !up.empty();
      },
      absl::Seconds(40)));
  ASSERT_EQ(up.size(), 1u);
  EXPECT_EQ(up.begin()->second, (Values{{"alpha", 1}, {"beta", 1}, {"silent", 0}}));
  const ValuesAt commits = Instant("pg_stat_database_xact_commit{job=\"pganalytics\"}", at(), {"source", "datname"});
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_EQ(commits.begin()->second, known_);
  // Every series of the source is there, and its labels tell it apart.
  const ValuesAt left = Instant("pganalytics_export_series_left_out{job=\"pganalytics\"}", at(), {"source"});
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left.begin()->second, (Values{{"alpha", 0}, {"beta", 0}, {"silent", 0}}));
}

// What a receiver of OpenTelemetry is sent: the same figures under its names.
TEST_F(PrometheusTest, PushesTheSameFiguresByOtlp) {
  Values commits;
  const auto complete = [&] {
    const auto requests = receiver_->requests();
    if (requests.empty()) return false;
    commits.clear();
    for (const auto& resource : requests.back().resource_metrics()) {
      std::map<std::string, std::string> of_server;
      for (const auto& pair : resource.resource().attributes()) of_server[pair.key()] = pair.value().string_value();
      for (const auto& metric : resource.scope_metrics(0).metrics()) {
        if (metric.name() != "postgresql.commits") continue;
        EXPECT_TRUE(metric.sum().is_monotonic());
        for (const auto& point : metric.sum().data_points()) {
          commits[absl::StrCat(of_server["service.name"], " ", point.attributes(0).value().string_value())] =
              static_cast<double>(point.as_int());
        }
      }
    }
    return commits.size() == known_.size();
  };
  EXPECT_TRUE(testing::WaitUntil(complete, absl::Seconds(40)));
  EXPECT_EQ(commits, known_);
}

TEST_F(PrometheusTest, PromtoolFindsNothingInTheScrape) {
  for (const char* path : {"/api/v1/export/prometheus", "/api/v1/export/prometheus?metric=statements&source=alpha"}) {
    const auto scrape = suite_->Get(path, token_);
    ASSERT_TRUE(scrape.ok() && scrape->status == 200);
    EXPECT_EQ(scrape->headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    std::ofstream(*dir_ / "scrape") << scrape->body;
    const auto checked = testing::RunCommand(
        {.argv = {"sh", "-c", absl::StrCat("promtool check metrics < ", *dir_ / "scrape", " 2>&1")}});
    ASSERT_THAT(checked, status::IsOk());
    // Its opinions on names concern those that postgres_exporter gave; 3 = there were some.
    EXPECT_TRUE(checked->exit_code == 0 || checked->exit_code == 3) << checked->output;
    for (const absl::string_view line : absl::StrSplit(checked->output, '\n', absl::SkipEmpty())) {
      EXPECT_FALSE(absl::StartsWith(line, "pganalytics_")) << line;
    }
  }
  const auto open = suite_->Send(
      {.path = "/api/v1/export/prometheus",
       .headers = {{"Authorization", "Bearer " + token_}, {"Accept", "application/openmetrics-text; version=1.0.0"}}});
  ASSERT_TRUE(open.ok() && open->status == 200);
  EXPECT_EQ(open->headers.at("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
  EXPECT_THAT(open->body, ::testing::EndsWith("# EOF\n"));
}

TEST_F(PrometheusTest, AnswersOfPromqlEqualTheApis) {
  const int64_t hour = now_ / 3600 * 3600;
  struct Figure {
    const char* metric;
    const char* column;
    const char* name;
    double divisor;
    const char* label;
  };
  constexpr Figure kCounters[] = {
      {"database", "xact_commit", "pg_stat_database_xact_commit", 1, "datname"},
      {"database", "blks_hit", "pg_stat_database_blks_hit", 1, "datname"},
      {"database", "blk_read_time_us", "pg_stat_database_blk_read_time", 1e3, "datname"},
      {"table_stats", "seq_scan", "pg_stat_user_tables_seq_scan", 1, "relname"},
      {"table_stats", "n_tup_ins", "pg_stat_user_tables_n_tup_ins", 1, "relname"},
      {"statements", "calls", "pg_stat_statements_calls_total", 1, "queryid"},
      {"statements", "total_exec_time_us", "pg_stat_statements_seconds_total", 1e6, "datname"},
  };
  constexpr int64_t kWindows[] = {300, 600, 900, 1800, 3600};
  int queries = 0;
  // `job=""` chooses what comes by remote read.
  for (const Figure& figure : kCounters) {
    const std::string series = absl::StrCat("metric=", figure.metric, "&column=", figure.column);
    for (const int64_t window : kWindows) {
      const std::string selector = absl::StrCat(figure.name, "{job=\"\"}[", window, "s]");
      const std::vector<std::string> by = {"source", figure.label};
      const std::string grouped = absl::StrCat("sum by (source, ", figure.label, ") (");
      const std::string group_by = absl::StrCat("&group_by=source&group_by=", figure.label);
      for (const bool rate : {false, true}) {
        const std::string promql = absl::StrCat(grouped, rate ? "rate(" : "increase(", selector, "))");
        const std::string api = absl::StrCat(series, group_by, rate ? "&rate=true" : "");
        Same(promql, Series(api, hour - window, hour, window, by, figure.divisor), Instant(promql, hour, by));
        Same(promql, Series(api, hour - 7200, hour, window, by, figure.divisor),
             Range(promql, hour - 7200 + window, hour, window, by));
        queries += 2;
      }
      // One source, and labels by every kind of matcher.
      const std::string one = absl::StrCat("sum(increase(", figure.name, "{job=\"\",source=\"alpha\",", figure.label,
                                           "=~\".*[02]\"}[", window, "s]))");
      Same(one,
           Series(absl::StrCat(series, "&group_by=none&source=alpha&filter=",
                               text::PercentEncode(absl::StrCat(figure.label, "~[02]$"))),
                  hour - window, hour, window, {}, figure.divisor),
           Instant(one, hour, {}));
      const std::string others =
          absl::StrCat("sum by (source) (increase(", figure.name, "{job=\"\",source!=\"silent\",", figure.label,
                       "!~\".*[13]\"}[", window, "s]))");
      Same(others,
           Series(absl::StrCat(series,
                               "&group_by=source&filter=", text::PercentEncode(absl::StrCat(figure.label, "~[^13]$"))),
                  hour - window, hour, window, {"source"}, figure.divisor),
           Instant(others, hour, {"source"}));
      queries += 2;
    }
  }
  // Gauges: readings of [start, end), so the window ends with the last one before the end.
  constexpr Figure kGauges[] = {{"database", "numbackends", "pg_stat_database_numbackends", 1, "datname"},
                                {"table_stats", "n_live_tup", "pg_stat_user_tables_n_live_tup", 1, "relname"}};
  for (const Figure& figure : kGauges) {
    const std::vector<std::string> by = {"source", figure.label};
    for (const int64_t window : kWindows) {
      for (const auto& [function, aggregate] : std::map<std::string, std::string>{{"avg_over_time", "avg"},
                                                                                  {"min_over_time", "min"},
                                                                                  {"max_over_time", "max"},
                                                                                  {"last_over_time", "last"}}) {
        // Where unchanged rows are left out, the API takes what was read in the range, PromQL what holds there as well:
        // of these the last one is the same.
        if (std::string_view(figure.metric) != "database" && aggregate != "last") continue;
        const std::string promql = absl::StrCat(function, "(", figure.name, "{job=\"\"}[", window - 60, "s])");
        const std::string api =
            absl::StrCat("metric=", figure.metric, "&column=", figure.column, "&aggregate=", aggregate);
        ValuesAt ours = Series(api, hour - window, hour, window, by, 1);
        ValuesAt theirs;
        for (auto& [at, values] : Instant(promql, hour - 60, by)) theirs[at + 60] = values;
        Same(promql, ours, theirs);
        ++queries;
      }
    }
  }
  std::printf("%d PromQL queries, %zu values, equal to the API's\n", queries, compared_);
  EXPECT_GE(queries, 200);
}

TEST_F(PrometheusTest, FormsOfPeersReturnRows) {
  const auto at = [] { return absl::ToUnixSeconds(clock::WallNow()); };
  // Two scrapes, so that there are rates.
  ASSERT_TRUE(testing::WaitUntil(
      [&] { return !Instant("count_over_time(pg_settings_fsync{job=\"pganalytics\"}[5m]) > 1", at(), {}).empty(); },
      absl::Seconds(60)));
  for (const PeerForm& form : kPeerForms) {
    for (const bool scraped : {true, false}) {
      if (scraped && form.by_name) continue;
      const std::string promql =
          absl::StrReplaceAll(form.promql, {{"$", scraped ? "job=\"pganalytics\"" : "job=\"\",server!=\"silent\""}});
      EXPECT_FALSE(Instant(promql, scraped ? at() : now_, {}).empty()) << promql;
    }
  }
  const ValuesAt buffers = Instant("pg_settings_shared_buffers_bytes{job=\"\"}", now_, {"source"});
  ASSERT_EQ(buffers.size(), 1u);
  EXPECT_EQ(buffers.begin()->second, (Values{{"alpha", 134'217'728}}));
  const ValuesAt sessions = Instant("pg_stat_activity_count{job=\"\"}", now_, {"source", "state"});
  ASSERT_EQ(sessions.size(), 1u);
  EXPECT_EQ(sessions.begin()->second, (Values{{"alpha active", 2}, {"alpha idle in transaction", 1}}));
  const ValuesAt oldest = Instant("pg_stat_activity_max_tx_duration{job=\"\"}", now_, {"source", "state"});
  ASSERT_EQ(oldest.size(), 1u);
  EXPECT_EQ(oldest.begin()->second, (Values{{"alpha active", 10}, {"alpha idle in transaction", 15}}));
}

TEST_F(PrometheusTest, WhatCannotBeAnsweredSaysWhy) {
  const std::string refused =
      FromPrometheus("/api/v1/query?query=" + text::PercentEncode("count({job=\"\",source=\"alpha\"})"));
  EXPECT_THAT(refused, HasSubstr("name one by __name__"));
  // The protocol alone: what is no request, and a caller without a token.
  const auto post = [&](const std::string& body, const std::string& token) {
    const auto answer = suite_->Send({.method = "POST",
                                      .path = "/api/v1/prometheus/read",
                                      .headers = {{"Authorization", "Bearer " + token},
                                                  {"Content-Encoding", "snappy"},
                                                  {"Content-Type", "application/x-protobuf"}},
                                      .body = body});
    return answer.ok() ? *answer : HttpAnswer{};
  };
  const HttpAnswer malformed = post("no snappy", token_);
  EXPECT_EQ(malformed.status, 400);
  EXPECT_THAT(malformed.body, HasSubstr("snappy-compressed"));
  EXPECT_EQ(post("", "pga_wrong").status, 401);
  EXPECT_EQ(suite_->Get("/api/v1/export/prometheus")->status, 401);
  EXPECT_THAT(suite_->Get("/api/v1/export/prometheus?metric=databse", token_)->body,
              HasSubstr("did you mean database"));
  EXPECT_EQ(suite_->Get("/api/v1/export/prometheus?source=nobody", token_)->status, 404);
}

}  // namespace
}  // namespace pga::integration
