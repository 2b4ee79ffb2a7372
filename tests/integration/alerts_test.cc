// Alerts from rule to receiver, with real parts: the suite on a real PostgreSQL, Debian's Alertmanager, an HTTP
// receiver.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/json_value.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "libs/testing/wait_until.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

using ::testing::HasSubstr;
using testing::JsonText;

constexpr absl::Duration kSoon = absl::Seconds(30);

// Takes POST requests on loopback and keeps their bodies. It answers 503 while it is `away`.
class Receiver {
 public:
  Receiver() {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(socket_, 64), 0);
    EXPECT_EQ(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~Receiver() {
    stopping_ = true;
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
  }
  int port() const { return port_; }
  void SetAway(bool away) { away_ = away; }
  int refused() const { return refused_; }
  // Bodies by path.
  std::vector<std::string> Bodies(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    const auto found = bodies_.find(path);
    return found == bodies_.end() ? std::vector<std::string>() : found->second;
  }
  // How often a message with this status and label came.
  int Count(const std::string& status, const std::string& source) const {
    int count = 0;
    for (const std::string& body : Bodies("/hook")) {
      count += JsonText(body, "/status") == status && JsonText(body, "/labels/source") == source ? 1 : 0;
    }
    return count;
  }

 private:
  void Serve() {
    while (!stopping_) {
      const int client = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      std::string text;
      char buffer[8192];
      size_t wanted = std::string::npos;
      while (text.size() < wanted) {
        const ssize_t got = ::read(client, buffer, sizeof buffer);
        if (got <= 0) break;
        text.append(buffer, static_cast<size_t>(got));
        const size_t head = text.find("\r\n\r\n");
        const size_t length = text.find("Content-Length: ");
        int bytes = 0;
        if (head != std::string::npos && length != std::string::npos && wanted == std::string::npos &&
            absl::SimpleAtoi(text.substr(length + 16, text.find('\r', length) - length - 16), &bytes)) {
          wanted = head + 4 + static_cast<size_t>(bytes);
        }
      }
      const bool away = away_;
      if (wanted != std::string::npos && !away) {
        const std::string path = text.substr(5, text.find(' ', 5) - 5);
        const std::lock_guard lock(mutex_);
        bodies_[path].push_back(text.substr(text.find("\r\n\r\n") + 4));
      }
      if (away) ++refused_;
      const std::string answer =
          absl::StrCat("HTTP/1.1 ", away ? "503 Away" : "200 OK", "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      (void)::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::close(client);
    }
  }

  int socket_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> away_{false};
  std::atomic<int> refused_{0};
  mutable std::mutex mutex_;
  std::map<std::string, std::vector<std::string>> bodies_;
  std::thread thread_;
};

// Debian's Alertmanager with one receiver.
class Alertmanager {
 public:
  explicit Alertmanager(int hook_port) {
    std::ofstream(dir_ / "config.yml")
        << "route: {receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, "
           "repeat_interval: 1h}\nreceivers:\n  - name: hook\n    webhook_configs:\n      "
           "- {url: 'http://127.0.0.1:"
        << hook_port << "/alertmanager', send_resolved: true}\n";
    Start("127.0.0.1:0");
    // A start again takes the same port.
    const std::string output = process_->Output();
    const size_t at = output.find("address=127.0.0.1:");
    EXPECT_NE(at, std::string::npos) << output;
    EXPECT_TRUE(
        absl::SimpleAtoi(output.substr(at + 18, output.find_first_not_of("0123456789", at + 18) - at - 18), &port_));
  }
  void Stop() {
    process_->Signal(SIGTERM);
    EXPECT_THAT(process_->Wait(clock::SteadyNow() + kSoon), status::IsOk());
  }
  void StartAgain() { Start(absl::StrCat("127.0.0.1:", port_)); }
  int port() const { return port_; }
  std::string url() const { return absl::StrCat("http://127.0.0.1:", port_); }
  std::string Alerts() const {
    const auto answer = SendHttp(port_, "", {.method = "GET", .path = "/api/v2/alerts"});
    return answer.ok() ? answer->body : "";
  }

 private:
  void Start(const std::string& address) {
    ++starts_;
    auto process = testing::Subprocess::Start(
        {.argv = {"prometheus-alertmanager", absl::StrCat("--config.file=", std::string(dir_ / "config.yml")),
                  absl::StrCat("--storage.path=", std::string(dir_ / "data")),
                  "--cluster.listen-address=", "--log.level=debug", absl::StrCat("--web.listen-address=", address)},
         .output_path = dir_ / absl::StrCat("log", starts_)});
    ASSERT_THAT(process, status::IsOk());
    process_ = *std::move(process);
    ASSERT_THAT(process_->WaitForOutput("Listening on", clock::SteadyNow() + kSoon), status::IsOk())
        << process_->Output();
  }

  testing::ScopedTempDir dir_;
  int starts_ = 0;
  int port_ = 0;
  std::unique_ptr<testing::Subprocess> process_;
};

// A rule about sources of the registry: rows of a table make it fire and end, without a collector.
constexpr char kDown[] = R"(name: probe_down
summary: "{source} is down"
severity: critical
terms:
  down: {metric: suite_source, column: is_down}
above: 0
interval: 1s
page: "/s/{source_id}"
runbook: look
)";

class Alerts : public ::testing::Test {
 protected:
  // What the ruler is set up with, beside its rules.
  std::map<std::string, std::string> Environment() const {
    return {{"RULES_DIR", rules_.path()},
            {"RULES_WITHOUT_BUILTIN", "true"},
            {"RULER_LEASE", "1"},
            {"RULES_INTERVAL", "1"},
            {"ALERTMANAGER_RESEND", "1"},
            {"ALERT_WEBHOOK_URL", absl::StrCat("http://127.0.0.1:", receiver_.port(), "/hook")},
            {"ALERT_SLACK_URL", absl::StrCat("http://127.0.0.1:", receiver_.port(), "/slack/secret-key")},
            {"ALERT_PAGERDUTY_KEY", "routing-key"},
            {"ALERT_PAGERDUTY_URL", absl::StrCat("http://127.0.0.1:", receiver_.port(), "/pagerduty")},
            {"PUBLIC_URL", "https://pga.example.com/"}};
  }
  void WriteRule(const std::string& name, const std::string& text) const {
    std::ofstream(rules_ / (name + ".yaml")) << text;
  }
  void StartSuite(std::map<std::string, std::string> env) {
    WriteRule("probe_down", kDown);
    suite_ = std::make_unique<Suite>(SuiteOptions{.env = std::move(env)});
    token_ = suite_->AdminToken();
  }
  pg::Result Sql(const std::string& text) const {
    const std::string url = suite_->databases().metadata_url;
    const std::string address = url.substr(0, url.find('?'));
    auto done = testing::SharedPostgres()->Exec(address.substr(address.rfind('/') + 1), text);
    EXPECT_TRUE(done.ok()) << done.status();
    return done.ok() ? *std::move(done) : pg::Result();
  }
  // Alerts of a source in a state, as they are in the database.
  int64_t Stored(const std::string& source, const std::string& state) const {
    const pg::Result rows = Sql(absl::StrCat("SELECT count(*) FROM pganalytics.alerts WHERE source_name = '", source,
                                             "' AND state = '", state, "'"));
    return rows.empty() ? -1 : rows[0].Int64(0);
  }
  // A source that its collector reports as up or down; registry says so for an hour.
  void Source(const std::string& name, bool up) const {
    Sql(absl::StrCat(
        "WITH n AS (UPDATE pganalytics.source_revision SET last_number = last_number + 1 RETURNING last_number) "
        "INSERT INTO pganalytics.sources AS s (id, name, group_name, reported_name, home_group, is_host, owner, "
        "owner_epoch, owned_since, renewed_at, interval_ms, up, since, first_seen, seen_at, revision) SELECT "
        "md5('",
        name, "')::uuid, '", name, "', 'default', '", name,
        "', 'default', false, 'c1', 1, now(), now(), "
        "3600000, ",
        up ? "true" : "false",
        ", now(), now(), now(), last_number FROM n ON CONFLICT (id) DO UPDATE SET "
        "up = EXCLUDED.up, since = now(), renewed_at = now(), revision = EXCLUDED.revision"));
  }
  std::string List(const std::string& query = "") const {
    const auto answer = suite_->Get("/api/v1/alerts" + query, token_);
    EXPECT_TRUE(answer.ok() && answer->status == 200) << (answer.ok() ? answer->body : answer.status().ToString());
    return answer.ok() ? answer->body : "";
  }
  bool Await(const std::function<bool()>& condition) const { return testing::WaitUntil(condition, kSoon); }
  // State of the newest alert of a source; empty without one.
  std::string StateOf(const std::string& source) const { return JsonText(List("?source=" + source), "/data/0/state"); }

  Receiver receiver_;
  testing::ScopedTempDir rules_;
  std::unique_ptr<Suite> suite_;
  std::string token_;
};

TEST_F(Alerts, TravelFromRuleToEveryReceiverAndBack) {
  Alertmanager alertmanager(receiver_.port());
  auto env = Environment();
  env["ALERTMANAGER_URL"] = alertmanager.url();
  StartSuite(env);
  Source("db1", true);
  Source("db2", false);
  ASSERT_TRUE(Await([&] { return StateOf("db2") == "firing"; })) << List();
  EXPECT_EQ(StateOf("db1"), "");
  const std::string list = List("?source=db2");
  EXPECT_EQ(JsonText(list, "/data/0/message"), "db2 is down");
  EXPECT_EQ(JsonText(list, "/data/0/severity"), "critical");
  EXPECT_EQ(JsonText(list, "/data/0/metric_value"), "1");
  EXPECT_EQ(JsonText(list, "/data/0/threshold"), "above 0");
  EXPECT_THAT(JsonText(list, "/data/0/page"), HasSubstr("/s/"));
  EXPECT_EQ(JsonText(list, "/data/0/query"), "/api/v1/sources");
  const std::string id = JsonText(list, "/data/0/id");

  // Every receiver has it, in its form.
  EXPECT_TRUE(Await([&] { return receiver_.Count("firing", "db2") == 1; }));
  EXPECT_TRUE(Await([&] { return !receiver_.Bodies("/slack/secret-key").empty(); }));
  EXPECT_EQ(JsonText(receiver_.Bodies("/slack/secret-key")[0], "/text"), "db2 is down");
  EXPECT_TRUE(Await([&] { return !receiver_.Bodies("/pagerduty").empty(); }));
  EXPECT_EQ(JsonText(receiver_.Bodies("/pagerduty")[0], "/routing_key"), "routing-key");
  EXPECT_TRUE(Await([&] { return alertmanager.Alerts().find("probe_down") != std::string::npos; }));
  EXPECT_TRUE(Await([&] { return alertmanager.Alerts().find("DeadMansSwitch") != std::string::npos; }));
  const auto delivered = [&](const std::string& status, const std::string& name) {
    int count = 0;
    for (const std::string& body : receiver_.Bodies("/alertmanager")) {
      count += JsonText(body, "/status") == status && JsonText(body, "/commonLabels/alertname") == name ? 1 : 0;
    }
    return count;
  };
  EXPECT_TRUE(Await([&] { return delivered("firing", "probe_down") == 1; }));

  // Acknowledged: it goes on firing, and who did it is in the audit log.
  auto answer = suite_->Post("/api/v1/alerts/" + id + "/acknowledge", R"({"comment":"on it"})", token_);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->status, 200) << answer->body;
  EXPECT_EQ(JsonText(answer->body, "/acknowledged_by"), "admin");
  EXPECT_EQ(JsonText(answer->body, "/state"), "firing");
  EXPECT_EQ(suite_->Post("/api/v1/alerts/999999/acknowledge", "{}", token_)->status, 404);
  EXPECT_EQ(suite_->Post("/api/v1/alerts/x/acknowledge", "{}", token_)->status, 400);

  // A silence lives in Alertmanager.
  answer =
      suite_->Post("/api/v1/silences",
                   R"({"matchers":[{"name":"source","value":"db2"}],"duration_seconds":600,"comment":"work"})", token_);
  ASSERT_EQ(answer->status, 201) << answer->body;
  const std::string silence = JsonText(answer->body, "/id");
  EXPECT_EQ(JsonText(List("?source=db2"), "/data/0/silenced_by/0"), silence);
  EXPECT_EQ(JsonText(suite_->Get("/api/v1/silences", token_)->body, "/kept_in"), "alertmanager");
  EXPECT_EQ(suite_->Post("/api/v1/silences/" + silence, "", token_, "DELETE")->status, 204);
  EXPECT_EQ(suite_->Post("/api/v1/silences/" + silence, "", token_, "DELETE")->status, 404);

  // It ends.
  Source("db2", true);
  EXPECT_TRUE(Await([&] { return StateOf("db2") == "resolved"; })) << List();
  EXPECT_TRUE(Await([&] { return receiver_.Count("resolved", "db2") == 1; }));
  EXPECT_TRUE(Await([&] { return delivered("resolved", "probe_down") == 1; }));
  EXPECT_EQ(receiver_.Count("firing", "db2"), 1);

  // A test alert on demand reaches all four.
  answer = suite_->Post("/api/v1/alerts/test", R"({"message":"hello"})", token_);
  ASSERT_EQ(answer->status, 200) << answer->body;
  EXPECT_THAT(answer->body, HasSubstr(R"("delivered":true})"));
  for (const char* name : {"alertmanager", "webhook", "slack", "pagerduty"}) EXPECT_THAT(answer->body, HasSubstr(name));
  EXPECT_TRUE(Await([&] { return delivered("firing", "TestAlert") == 1; }));
  const std::vector<std::string> hook = receiver_.Bodies("/hook");
  EXPECT_EQ(JsonText(hook.back(), "/summary"), "hello");

  // The rules, and what is wrong with a file.
  WriteRule("broken", "name: broken\n");
  EXPECT_TRUE(Await([&] {
    const std::string rules = suite_->Get("/api/v1/alert-rules", token_)->body;
    return rules.find("broken.yaml:1: summary is missing") != std::string::npos &&
           JsonText(rules, "/rules/0/id") == "probe_down";
  }));

  // Keys are in no log.
  const std::string log = suite_->Outputs();
  EXPECT_EQ(log.find("secret-key"), std::string::npos);
  EXPECT_EQ(log.find("routing-key"), std::string::npos);
}

TEST_F(Alerts, APersonEndsOneThatStillHolds) {
  StartSuite(Environment());
  Source("db1", false);
  ASSERT_TRUE(Await([&] { return StateOf("db1") == "firing"; }));
  const std::string id = JsonText(List(), "/data/0/id");
  auto answer = suite_->Post("/api/v1/alerts/" + id + "/resolve", "{}", token_);
  ASSERT_EQ(answer->status, 200) << answer->body;
  EXPECT_EQ(JsonText(answer->body, "/state"), "resolved");
  EXPECT_EQ(JsonText(answer->body, "/resolved_by"), "admin");
  EXPECT_EQ(suite_->Post("/api/v1/alerts/" + id + "/resolve", "{}", token_)->status, 400);
  EXPECT_TRUE(Await([&] { return receiver_.Count("resolved", "db1") == 1; }));
  // Another source fires afterwards: rounds have passed in which the first one did not come again.
  Source("db2", false);
  ASSERT_TRUE(Await([&] { return StateOf("db2") == "firing"; }));
  EXPECT_EQ(StateOf("db1"), "resolved");
  // Over, and again: a second alert.
  Source("db1", true);
  ASSERT_TRUE(
      Await([&] { return JsonText(suite_->Get("/api/v1/alerts/" + id, token_)->body, "/state") == "resolved"; }));
  Source("db2", true);
  ASSERT_TRUE(Await([&] { return StateOf("db2") == "resolved"; }));
  Source("db1", false);
  EXPECT_TRUE(Await([&] { return StateOf("db1") == "firing"; })) << List();
  EXPECT_EQ(receiver_.Count("resolved", "db1"), 1);
}

TEST_F(Alerts, SilencesWithoutAlertmanagerKeepWebhooksQuietUntilTheyEnd) {
  StartSuite(Environment());
  auto answer = suite_->Post(
      "/api/v1/silences",
      R"({"matchers":[{"name":"source","value":"db[0-9]","is_regex":true}],"duration_seconds":600,"comment":"work"})",
      token_);
  ASSERT_EQ(answer->status, 201) << answer->body;
  const std::string silence = JsonText(answer->body, "/id");
  Source("db1", false);
  Source("other", false);
  ASSERT_TRUE(Await([&] { return receiver_.Count("firing", "other") == 1; }));
  EXPECT_EQ(StateOf("db1"), "firing");
  EXPECT_EQ(JsonText(List("?source=db1"), "/data/0/silenced_by/0"), silence);
  EXPECT_EQ(receiver_.Count("firing", "db1"), 0);
  // Who sees one group alone learns nothing of silences that are not for it, and ends none.
  const auto made =
      suite_->Post("/api/v1/tokens", R"({"name":"payments","role":"user","groups":["payments"]})", token_);
  ASSERT_EQ(made->status, 201) << made->body;
  const std::string limited = JsonText(made->body, "/token");
  EXPECT_EQ(JsonText(suite_->Get("/api/v1/silences", limited)->body, "/silences/0/id"), "");
  EXPECT_EQ(suite_->Post("/api/v1/silences/" + silence, "", limited, "DELETE")->status, 404);
  const auto own = suite_->Post(
      "/api/v1/silences",
      R"({"matchers":[{"name":"source_group","value":"payments"}],"duration_seconds":600,"comment":"ours"})", limited);
  ASSERT_EQ(own->status, 201) << own->body;
  EXPECT_EQ(JsonText(suite_->Get("/api/v1/silences", limited)->body, "/silences/0/id"), JsonText(own->body, "/id"));
  EXPECT_NE(JsonText(suite_->Get("/api/v1/silences", token_)->body, "/silences/1/id"), "");
  EXPECT_EQ(suite_->Post("/api/v1/silences/" + silence, "", token_, "DELETE")->status, 204);
  EXPECT_TRUE(Await([&] { return receiver_.Count("firing", "db1") == 1; }));
}

TEST_F(Alerts, ReceiversThatWereAwayGetThemAfterwards) {
  Alertmanager alertmanager(receiver_.port());
  auto env = Environment();
  env["ALERTMANAGER_URL"] = alertmanager.url();
  StartSuite(env);
  alertmanager.Stop();
  receiver_.SetAway(true);
  Source("db1", false);
  ASSERT_TRUE(Await([&] { return StateOf("db1") == "firing" && receiver_.refused() > 0; }));
  Source("db1", true);
  ASSERT_TRUE(Await([&] { return StateOf("db1") == "resolved"; }));
  Source("db2", false);
  ASSERT_TRUE(Await([&] { return StateOf("db2") == "firing"; }));
  receiver_.SetAway(false);
  alertmanager.StartAgain();
  EXPECT_TRUE(Await([&] { return alertmanager.Alerts().find("db2") != std::string::npos; }));
  // Beginning and end of what is over, in this order.
  EXPECT_TRUE(Await([&] { return receiver_.Count("resolved", "db1") == 1; }));
  EXPECT_EQ(receiver_.Count("firing", "db1"), 1);
  EXPECT_TRUE(Await([&] { return receiver_.Count("firing", "db2") == 1; }));
}

// PGA_ALERT_KILLS=100 for the long form.
TEST_F(Alerts, KilledAgainAndAgainNoneIsLostAndNoneDoubled) {
  const char* const given = std::getenv("PGA_ALERT_KILLS");
  int kills = 20;
  ASSERT_TRUE(given == nullptr || absl::SimpleAtoi(given, &kills));
  StartSuite(Environment());
  testing::Subprocess* process = &suite_->process("pganalytics-api");
  const auto name = [](int i) { return absl::StrCat("db", i); };
  for (int i = 0; i < kills; ++i) {
    Source(name(i), false);
    // Killed before anything is seen, when the alert is stored, or when it was delivered.
    ASSERT_TRUE(i % 3 != 1 || Await([&] { return Stored(name(i), "firing") == 1; }));
    ASSERT_TRUE(i % 3 != 2 || Await([&] { return receiver_.Count("firing", name(i)) > 0; }));
    process->Signal(SIGKILL);
    ASSERT_THAT(process->Wait(clock::SteadyNow() + kSoon), status::IsOk());
    suite_->StartAgain("pganalytics-api");
    process = &suite_->process("pganalytics-api");
    ASSERT_THAT(process->WaitForOutput("gateway listening", clock::SteadyNow() + kSoon), status::IsOk());
  }
  // What a killed process had taken out of the queue is sent 20 s later.
  const auto all = [&](const char* status) {
    return testing::WaitUntil(
        [&] {
          for (int i = 0; i < kills; ++i) {
            if (receiver_.Count(status, name(i)) == 0) return false;
          }
          return true;
        },
        absl::Minutes(2));
  };
  EXPECT_TRUE(all("firing"));
  for (int i = 0; i < kills; ++i) Source(name(i), true);
  EXPECT_TRUE(all("resolved"));
  int lost = 0;
  int doubled = 0;
  int repeated = 0;
  for (int i = 0; i < kills; ++i) {
    std::set<std::string> keys;
    for (const std::string& body : receiver_.Bodies("/hook")) {
      if (JsonText(body, "/labels/source") == name(i)) keys.insert(JsonText(body, "/key"));
    }
    lost += receiver_.Count("firing", name(i)) == 0 || receiver_.Count("resolved", name(i)) == 0 ? 1 : 0;
    // Messages of one alert have one key: receivers join them by it.
    doubled += keys.size() > 1 || Stored(name(i), "resolved") != 1 ? 1 : 0;
    repeated += std::max(0, receiver_.Count("firing", name(i)) - 1);
  }
  std::printf("%d kills: %d alerts lost, %d doubled, %d messages repeated under their key\n", kills, lost, doubled,
              repeated);
  EXPECT_EQ(lost, 0);
  EXPECT_EQ(doubled, 0);
}

}  // namespace
}  // namespace pga::integration
