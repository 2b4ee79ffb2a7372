// The suite as a whole, in both of its forms: each service in a process of its own, and all in one process.
#include "tests/integration/suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/rpc/deadline.h"
#include "libs/status/testing.h"
#include "libs/testing/json_value.h"
#include "libs/testing/settings.h"
#include "libs/testing/temp_postgres.h"
#include "pganalytics/ingest/v1/ingest_service.grpc.pb.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"

namespace pga::integration {
namespace {

namespace ingestpb = pganalytics::ingest::v1;
namespace registrypb = pganalytics::registry::v1;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr absl::Duration kLimit = absl::Seconds(30);

int StatusOf(const absl::StatusOr<HttpAnswer>& answer) {
  return answer.ok() ? answer->status : -1;
}

struct Shape {
  Form form;
  bool tls;
  bool peer_tls = true;
  bool envoy = false;
  auto operator<=>(const Shape&) const = default;
};
std::string NameOf(const ::testing::TestParamInfo<Shape>& param) {
  return std::string(param.param.form == Form::kApart ? "Apart" : "OneProcess") + (param.param.tls ? "Tls" : "") +
         (param.param.peer_tls ? "" : "AtTheEdge") + (param.param.envoy ? "Envoy" : "");
}

// One suite per shape for all tests that leave it running.
class Running : public ::testing::TestWithParam<Shape> {
 protected:
  static Suite& suite() {
    static auto* const suites = new std::map<Shape, std::unique_ptr<Suite>>;
    auto& suite = (*suites)[GetParam()];
    if (suite == nullptr) {
      suite = std::make_unique<Suite>(SuiteOptions{
          .form = GetParam().form, .tls = GetParam().tls, .peer_tls = GetParam().peer_tls, .envoy = GetParam().envoy});
    }
    return *suite;
  }
  void TearDown() override {
    if (HasFailure()) std::fprintf(stderr, "%s\n", suite().Outputs().c_str());
  }
};
INSTANTIATE_TEST_SUITE_P(All, Running,
                         ::testing::Values(Shape{Form::kOneProcess, false}, Shape{Form::kOneProcess, true},
                                           Shape{Form::kApart, false}, Shape{Form::kApart, true},
                                           Shape{Form::kApart, true, false}, Shape{Form::kApart, false, true, true},
                                           Shape{Form::kApart, true, false, true}),
                         NameOf);

TEST_P(Running, AnswersEveryServiceOverHttp) {
  const auto health = suite().Get("/api/v1/health");
  ASSERT_THAT(health.status(), status::IsOk());
  EXPECT_EQ(health->status, 200);
  EXPECT_EQ(testing::JsonText(health->body, "/status"), "healthy");
  EXPECT_EQ(testing::JsonText(health->body, "/version"), "3.2.0");
  EXPECT_THAT(testing::JsonText(health->body, "/timestamp"), ::testing::EndsWith("Z"));
  const std::string admin = suite().AdminToken();
  // auth, registry, query, ingest.
  EXPECT_EQ(StatusOf(suite().Get("/api/v1/users", admin)), 200);
  const auto collectors = suite().Get("/api/v1/collectors", admin);
  EXPECT_EQ(StatusOf(collectors), 200);
  EXPECT_GE(testing::JsonNumber(collectors->body, "/count"), 0);
  const auto before = suite().Get("/api/v1/metrics/count");
  ASSERT_EQ(StatusOf(before), 200);
  // Another body than other suites on these databases pushed: a repeat is not stored again.
  const auto pushed =
      suite().Post("/api/v1/metrics/push",
                   absl::StrCat(R"({"collector_id":"col_001","version":")", suite().port(),
                                R"(","metrics":[{"type":"pg_stats","database":"postgres","tables":[]}]})"),
                   admin);
  ASSERT_EQ(StatusOf(pushed), 200) << (pushed.ok() ? pushed->body : "");
  EXPECT_EQ(testing::JsonNumber(pushed->body, "/metrics_inserted"), 1);
  // A count may be given again for up to a second.
  auto after = suite().Get("/api/v1/metrics/count");
  testing::WaitUntil(
      [&] {
        after = suite().Get("/api/v1/metrics/count");
        return !after.ok() || testing::JsonNumber(after->body, "/count") != testing::JsonNumber(before->body, "/count");
      },
      absl::Seconds(5));
  EXPECT_EQ(testing::JsonNumber(after->body, "/count"), testing::JsonNumber(before->body, "/count") + 1);
  EXPECT_EQ(StatusOf(suite().Get("/api/v1/nothing", admin)), 404);
}

TEST_P(Running, RefusesBeforeItLooksAtTheBody) {
  EXPECT_EQ(StatusOf(suite().Post("/api/v1/metrics/push", "{}")), 401);
  EXPECT_EQ(StatusOf(suite().Get("/api/v1/users")), 401);
  EXPECT_EQ(StatusOf(suite().Get("/api/v1/users", "not.a.token")), 401);
  EXPECT_EQ(StatusOf(suite().Get("/api/v1/collectors")), 401);
  EXPECT_EQ(StatusOf(suite().Post("/api/v1/auth/login", R"({"username":"admin","password":"wrong"})")), 401);
}

TEST_P(Running, RolesHoldInEveryService) {
  const std::string admin = suite().AdminToken();
  EXPECT_EQ(StatusOf(suite().Post("/api/v1/users",
                                  R"({"username":"looker","email":"looker@example.org","password":"looker-Password-1",)"
                                  R"("full_name":"Looker","role":"viewer"})",
                                  admin)),
            201);
  const std::string viewer = suite().Login("looker", "looker-Password-1");
  EXPECT_EQ(StatusOf(suite().Get("/api/v1/collectors", viewer)), 200);
  EXPECT_EQ(StatusOf(suite().Get("/api/v1/users", viewer)), 403);
  EXPECT_EQ(StatusOf(suite().Post("/api/v1/metrics/push", R"({"collector_id":"x","metrics":[]})", viewer)), 403);
  EXPECT_EQ(StatusOf(suite().Post("/api/v1/collectors/x", "", viewer, "DELETE")), 403);
  // An end of the session is known to every service at once, or within the time of the revocation stream.
  const auto users = suite().Get("/api/v1/users", admin);
  ASSERT_EQ(StatusOf(users), 200);
  const size_t at = users->body.find("\"username\":\"looker\"");
  const size_t id_at = users->body.rfind("\"id\":", at);
  const std::string id = users->body.substr(id_at + 5, users->body.find(',', id_at) - id_at - 5);
  ASSERT_EQ(StatusOf(suite().Post("/api/v1/users/" + id, R"({"is_active":false})", admin, "PUT")), 200);
  for (const char* path : {"/api/v1/collectors", "/api/v1/sources", "/api/v1/metrics"}) {
    EXPECT_TRUE(testing::WaitUntil([&] { return StatusOf(suite().Get(path, viewer)) == 401; }, absl::Seconds(5)))
        << path;
  }
  EXPECT_EQ(StatusOf(suite().Post("/api/v1/users/" + id, "", admin, "DELETE")), 204);
}

// A collector reaches all it needs through the one port, by token and, where there is TLS, by its certificate.
TEST_P(Running, CollectorsShareThePort) {
  const std::string admin = suite().AdminToken();
  HttpRequest request{
      .method = "POST",
      .path = "/api/v1/collectors/register",
      .headers = {{"Content-Type", "application/json"}, {"X-Registration-Secret", Suite::kRegistrationSecret}},
      .body = R"({"name":"db one","hostname":"db1","collector_id":"db-one"})"};
  const auto registered = suite().Send(request);
  ASSERT_THAT(StatusOf(registered), AnyOf(200, 201)) << (registered.ok() ? registered->body : "");
  EXPECT_EQ(testing::JsonText(registered->body, "/collector_id"), "db-one");
  request.headers[1].second = "wrong";
  EXPECT_EQ(StatusOf(suite().Send(request)), 401);

  const std::string address = absl::StrCat("localhost:", suite().port());
  rpc::TlsOptions by_token, by_certificate;
  if (GetParam().tls) {
    by_token.enabled = true;
    by_token.ca_pem = suite().ca_pem();
    by_certificate = by_token;
    by_certificate.cert_pem = testing::JsonText(registered->body, "/certificate");
    by_certificate.key_pem = testing::JsonText(registered->body, "/private_key");
  }
  const auto fetch = [&](const rpc::TlsOptions& tls, const std::string& token) {
    auto stub = registrypb::EnrolmentService::NewStub(*rpc::Connect(address, tls));
    rpc::CallOptions options = rpc::OwnWork(absl::Seconds(10), nullptr);
    options.bearer = token;
    return rpc::Call(*stub, &registrypb::EnrolmentService::Stub::FetchConfig, registrypb::FetchConfigRequest(),
                     options);
  };
  HttpRequest put{.method = "PUT",
                  .path = "/api/v1/config/db-one",
                  .headers = {{"Content-Type", "text/plain"}, {"Authorization", "Bearer " + admin}},
                  .body = "[collector]\ninterval = 30\n"};
  const auto stored = suite().Send(put);
  EXPECT_EQ(StatusOf(stored), 200) << (stored.ok() ? stored->body : "");
  const auto with_token = fetch(by_token, testing::JsonText(registered->body, "/token"));
  ASSERT_THAT(with_token.status(), status::IsOk());
  EXPECT_EQ(with_token->toml(), put.body);
  EXPECT_THAT(fetch(by_token, admin).status(), status::StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(fetch(by_token, "").status(), status::StatusIs(absl::StatusCode::kUnauthenticated));
  if (GetParam().tls) {
    const auto with_certificate = fetch(by_certificate, "");
    ASSERT_THAT(with_certificate.status(), status::IsOk());
    EXPECT_EQ(with_certificate->toml(), put.body);
  }
  // Its stream opens, and gets a new configuration.
  auto ingest = ingestpb::IngestService::NewStub(*rpc::Connect(address, by_token));
  grpc::ClientContext context;
  context.set_deadline(rpc::GrpcDeadline(clock::SteadyNow() + kLimit));
  context.AddMetadata("authorization", "Bearer " + testing::JsonText(registered->body, "/token"));
  auto stream = ingest->StreamBatches(&context);
  ingestpb::StreamBatchesRequest hello;
  hello.mutable_hello()->set_collector_version("3.2.0");
  ASSERT_TRUE(stream->Write(hello));
  ingestpb::StreamBatchesResponse response;
  bool acknowledged = false, configured = false;
  while ((!acknowledged || !configured) && stream->Read(&response)) {
    acknowledged = acknowledged || response.has_hello_ack();
    configured = configured || (response.has_config() && response.config().toml() == put.body);
  }
  EXPECT_TRUE(acknowledged);
  EXPECT_TRUE(configured);
  // Deleting the collector ends all of it.
  EXPECT_THAT(StatusOf(suite().Post("/api/v1/collectors/db-one", "", admin, "DELETE")), AnyOf(200, 204));
  EXPECT_TRUE(testing::WaitUntil(
      [&] { return absl::IsUnauthenticated(fetch(by_token, testing::JsonText(registered->body, "/token")).status()); },
      absl::Seconds(6)));
  if (GetParam().tls) {
    EXPECT_TRUE(testing::WaitUntil([&] { return absl::IsUnauthenticated(fetch(by_certificate, "").status()); },
                                   absl::Seconds(6)));
  }
  while (stream->Read(&response)) {
  }
  EXPECT_NE(stream->Finish().error_code(), grpc::StatusCode::OK);
}

// The program itself, set up as for a server elsewhere: it enrols over the shared port and its frames arrive. Started
// again without the secret and with a certificate that the backend does not trust, it goes on with its token.
TEST_P(Running, ACollectorEnrolsAndDelivers) {
  testing::ScopedTempDir dir;
  const std::string ca_path = GetParam().tls ? dir / "ca.pem" : "";
  if (GetParam().tls) {
    ASSERT_THAT(testing::WriteFile(ca_path, suite().ca_pem()), status::IsOk());
  }
  const std::string scheme = GetParam().tls ? "https" : "http";
  for (const bool enrolled : {false, true}) {
    SCOPED_TRACE(enrolled ? "started again" : "first start");
    if (enrolled && GetParam().tls) {
      const rpc::TestCertificate foreign = rpc::TestCa("another CA").Collector("program");
      ASSERT_THAT(testing::WriteFile(dir / "state/collector.crt", foreign.cert_pem), status::IsOk());
      ASSERT_THAT(testing::WriteFile(dir / "state/collector.key", foreign.key_pem), status::IsOk());
    }
    const auto before = suite().Get("/api/v1/metrics/count");
    ASSERT_EQ(StatusOf(before), 200);
    auto collector =
        testing::Subprocess::Start({.argv = {testing::Program("pganalytics-collector")},
                                    .env = {{"COLLECTOR_ID", "program"},
                                            {"STATE_DIR", dir / "state"},
                                            {"BACKEND_URL", absl::StrCat(scheme, "://localhost:", suite().port())},
                                            {"BACKEND_CA_FILE", ca_path},
                                            {"REGISTRATION_SECRET", enrolled ? "" : Suite::kRegistrationSecret},
                                            {"POSTGRES_HOST", testing::SharedPostgres()->socket_dir()},
                                            {"POSTGRES_PORT", absl::StrCat(testing::SharedPostgres()->port())},
                                            {"COLLECTION_INTERVAL", "1"},
                                            {"HOST_METRICS", "false"},
                                            {"METRICS_LISTEN", "off"}},
                                    .output_path = dir / (enrolled ? "log of the second" : "log of the first")});
    ASSERT_THAT(collector.status(), status::IsOk());
    EXPECT_TRUE(testing::WaitUntil(
        [&] {
          if ((*collector)->Output().find("stream to the backend is open") == std::string::npos) return false;
          const auto now = suite().Get("/api/v1/metrics/count");
          return now.ok() && testing::JsonNumber(now->body, "/count") > testing::JsonNumber(before->body, "/count");
        },
        kLimit))
        << (*collector)->Output();
    (*collector)->Signal(SIGTERM);
    EXPECT_THAT((*collector)->Wait(clock::SteadyNow() + kLimit), status::IsOkAndHolds(0)) << (*collector)->Output();
  }
}

// 200 callers at once over four services, far more than the pools hold. Every request ends: answered or refused, within
// the request's own time.
TEST_P(Running, TwoHundredParallelRequestsAllEnd) {
  const std::string admin = suite().AdminToken();
  constexpr int kCallers = 200;
  constexpr int kRequestsEach = 5;
  absl::Mutex mutex;
  std::map<int, int> by_status;
  std::vector<absl::Duration> times;
  std::vector<std::thread> callers;
  callers.reserve(kCallers);
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&, i] {
      for (int n = 0; n < kRequestsEach; ++n) {
        const clock::SteadyTime start = clock::SteadyNow();
        absl::StatusOr<HttpAnswer> answer;
        switch ((i + n) % 5) {
          case 0:
            answer = suite().Get("/api/v1/collectors", admin);
            break;
          case 1:
            answer = suite().Get("/api/v1/metrics", admin);
            break;
          case 2:
            answer = suite().Get("/api/v1/users", admin);
            break;
          case 3:
            answer =
                suite().Post("/api/v1/metrics/push",
                             absl::StrCat(R"({"collector_id":"c)", i, R"(","metrics":[{"type":"pg_log"}]})"), admin);
            break;
          default:
            answer = suite().Get("/api/v1/health");
        }
        absl::MutexLock lock(&mutex);
        ++by_status[StatusOf(answer)];
        times.push_back(clock::SteadyNow() - start);
        if (!answer.ok()) ADD_FAILURE() << answer.status();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  std::ranges::sort(times);
  ASSERT_EQ(times.size(), static_cast<size_t>(kCallers * kRequestsEach));
  std::string counts;
  for (const auto& [code, count] : by_status) {
    absl::StrAppend(&counts, " ", code, "x", count);
    EXPECT_THAT(code, AnyOf(200, 429, 503, 504)) << count;
  }
  std::printf("[ figures  ] %d requests:%s; median %.0f ms, slowest %.0f ms\n", kCallers * kRequestsEach,
              counts.c_str(), absl::ToDoubleMilliseconds(times[times.size() / 2]),
              absl::ToDoubleMilliseconds(times.back()));
  EXPECT_LT(times.back(), absl::Seconds(35));
  EXPECT_GE(by_status[200], kCallers);
  // Nothing is left over: the suite answers as before.
  EXPECT_TRUE(testing::WaitUntil([&] { return StatusOf(suite().Get("/api/v1/collectors", admin)) == 200; }));
}

// ---- Events, each on a suite of its own ----

class Events : public ::testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(All, Events, ::testing::Values(Shape{Form::kOneProcess, false}, Shape{Form::kApart, false}),
                         NameOf);

TEST_P(Events, SigtermUnderLoadEndsEveryProcessInTime) {
  Suite suite({.form = GetParam().form});
  const std::string admin = suite.AdminToken();
  std::atomic<bool> stop = false;
  std::atomic<int> answered = 0, cut = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 20; ++i) {
    callers.emplace_back([&, i] {
      while (!stop) {
        HttpRequest request{.path = i % 2 == 0 ? "/api/v1/collectors" : "/api/v1/metrics",
                            .headers = {{"Authorization", "Bearer " + admin}},
                            .limit = absl::Seconds(15)};
        const auto answer = suite.Send(request);
        ++(answer.ok() ? answered : cut);
        // Callers that are refused come back, but not in a circle as fast as they can.
        if (!answer.ok()) testing::WaitUntil([&] { return stop.load(); }, absl::Milliseconds(20));
        EXPECT_FALSE(absl::IsDeadlineExceeded(answer.status())) << "a request was left hanging";
      }
    });
  }
  EXPECT_TRUE(testing::WaitUntil([&] { return answered > 100; }, kLimit));
  const clock::SteadyTime before = clock::SteadyNow();
  const auto codes = suite.Terminate(absl::Seconds(20));
  const absl::Duration took = clock::SteadyNow() - before;
  stop = true;
  for (std::thread& caller : callers) caller.join();
  for (const auto& [name, code] : codes) EXPECT_EQ(code, 0) << name << "\n" << suite.Outputs();
  EXPECT_LT(took, absl::Seconds(13));
  if (HasFailure() || took > absl::Seconds(5)) std::fprintf(stderr, "%s\n", suite.Outputs().c_str());
  std::printf("[ figures  ] ended after %.1f s; %d answered, %d refused connections\n", absl::ToDoubleSeconds(took),
              answered.load(), cut.load());
}

TEST(Apart, AuthGoneRefusesPeopleKeepsCollectorsAndComesBack) {
  Suite suite({.form = Form::kApart});
  const std::string admin = suite.AdminToken();
  HttpRequest request{
      .method = "POST",
      .path = "/api/v1/collectors/register",
      .headers = {{"Content-Type", "application/json"}, {"X-Registration-Secret", Suite::kRegistrationSecret}},
      .body = R"({"name":"db one","hostname":"db1","collector_id":"db-one"})"};
  const auto registered = suite.Send(request);
  ASSERT_THAT(StatusOf(registered), AnyOf(200, 201));
  const std::string collector = testing::JsonText(registered->body, "/token");
  const std::string push =
      R"({"collector_id":"db-one","hostname":"db1","timestamp":"2030-01-01T00:00:00Z","metrics":[]})";

  suite.process("auth").Signal(SIGKILL);
  // People: for as long as revocations are fresh enough their tokens are still taken; then not, and as "cannot tell",
  // not as "you may not".
  EXPECT_TRUE(
      testing::WaitUntil([&] { return StatusOf(suite.Get("/api/v1/collectors", admin)) == 503; }, absl::Seconds(20)));
  EXPECT_EQ(StatusOf(suite.Get("/api/v1/health")), 503);
  // Collectors go on.
  auto stub = registrypb::EnrolmentService::NewStub(*rpc::Connect(absl::StrCat("localhost:", suite.port()), {}));
  rpc::CallOptions options = rpc::OwnWork(absl::Seconds(10), nullptr);
  options.bearer = collector;
  EXPECT_THAT(
      rpc::Call(*stub, &registrypb::EnrolmentService::Stub::FetchConfig, registrypb::FetchConfigRequest(), options)
          .status(),
      status::IsOk());
  const auto pushed = suite.Post("/api/v1/metrics/push", push, collector);
  EXPECT_THAT(StatusOf(pushed), AnyOf(200, 400)) << (pushed.ok() ? pushed->body : "");

  suite.StartAgain("auth");
  EXPECT_TRUE(testing::WaitUntil([&] { return StatusOf(suite.Get("/api/v1/collectors", admin)) == 200; }, kLimit))
      << suite.Outputs();
  EXPECT_TRUE(testing::WaitUntil([&] { return StatusOf(suite.Get("/api/v1/health")) == 200; }, kLimit));
}

TEST(Apart, OtherServicesGoOnWithoutRegistryOrIngest) {
  Suite suite({.form = Form::kApart});
  const std::string admin = suite.AdminToken();
  suite.process("registry").Signal(SIGKILL);
  suite.process("ingest").Signal(SIGKILL);
  EXPECT_TRUE(testing::WaitUntil([&] { return StatusOf(suite.Get("/api/v1/collectors", admin)) == 503; }, kLimit));
  EXPECT_TRUE(testing::WaitUntil(
      [&] {
        return StatusOf(suite.Post("/api/v1/metrics/push", R"({"collector_id":"a","metrics":[]})", admin)) == 503;
      },
      kLimit));
  EXPECT_EQ(StatusOf(suite.Get("/api/v1/users", admin)), 200);
  EXPECT_EQ(StatusOf(suite.Get("/api/v1/metrics/count")), 200);
  EXPECT_EQ(StatusOf(suite.Get("/api/v1/health")), 200);
  suite.StartAgain("registry");
  suite.StartAgain("ingest");
  EXPECT_TRUE(testing::WaitUntil([&] { return StatusOf(suite.Get("/api/v1/collectors", admin)) == 200; }, kLimit));
  EXPECT_TRUE(testing::WaitUntil(
      [&] {
        return StatusOf(suite.Post("/api/v1/metrics/push", R"({"collector_id":"a","metrics":[]})", admin)) == 200;
      },
      kLimit));
}

// ---- What the program says when it cannot start ----

testing::CommandOutcome Api(std::map<std::string, std::string> env, std::vector<std::string> words = {}) {
  std::vector<std::string> argv = {testing::Program("pganalytics-api")};
  argv.insert(argv.end(), words.begin(), words.end());
  testing::ScopedTempDir state;
  env.emplace("STATE_DIR", state.path());
  env.emplace("STARTUP_TIMEOUT", "1");
  env.emplace("PORT", "0");
  return *testing::RunCommand({.argv = argv, .env = env});
}

TEST(Start, NamesWhatIsWrongAndEnds) {
  const Databases empty = FreshDatabases();
  const std::string nowhere = "postgresql://nobody@127.0.0.1:1/none";
  const std::string good = "Zk7w0QmXvT4bR9sLhJ2dYc8gNfPaEu3i";
  struct Case {
    const char* name;
    std::map<std::string, std::string> env;
    const char* says;
  };
  const Case cases[] = {
      {"no metadata database", {{"TIMESCALE_URL", empty.metrics_url}}, "DATABASE_URL"},
      {"no metrics database", {{"DATABASE_URL", empty.metadata_url}}, "TIMESCALE_URL"},
      {"metadata database does not answer",
       {{"DATABASE_URL", nowhere}, {"TIMESCALE_URL", empty.metrics_url}},
       "DATABASE_URL"},
      {"not migrated", {{"DATABASE_URL", empty.metadata_url}, {"TIMESCALE_URL", empty.metrics_url}}, "migrate up"},
      {"no secret in production",
       {{"DATABASE_URL", empty.metadata_url}, {"TIMESCALE_URL", empty.metrics_url}, {"ENVIRONMENT", "production"}},
       "JWT_SECRET"},
      {"short secret in production",
       {{"DATABASE_URL", empty.metadata_url},
        {"TIMESCALE_URL", empty.metrics_url},
        {"ENVIRONMENT", "production"},
        {"JWT_SECRET", "short"}},
       "JWT_SECRET"},
      {"example secret in production",
       {{"DATABASE_URL", empty.metadata_url},
        {"TIMESCALE_URL", empty.metrics_url},
        {"ENVIRONMENT", "production"},
        {"JWT_SECRET", good},
        {"REGISTRATION_SECRET", "change-me-in-production-please-now"}},
       "REGISTRATION_SECRET"},
      {"number that is none",
       {{"DATABASE_URL", empty.metadata_url}, {"TIMESCALE_URL", empty.metrics_url}, {"JWT_EXPIRATION", "a day"}},
       "JWT_EXPIRATION"},
  };
  for (const Case& test : cases) {
    const auto outcome = Api(test.env);
    EXPECT_NE(outcome.exit_code, 0) << test.name;
    EXPECT_THAT(outcome.output, HasSubstr(test.says)) << test.name;
    EXPECT_THAT(outcome.output, ::testing::Not(HasSubstr(good))) << test.name << ": a secret was printed";
  }
}

TEST(Start, MigratesHelpsAndTellsItsVersion) {
  const Databases databases = FreshDatabases();
  // Values as systemd passes the guide's file on: with remarks behind them.
  const std::map<std::string, std::string> env = {{"DATABASE_URL", databases.metadata_url},
                                                  {"TIMESCALE_URL", databases.metrics_url},
                                                  {"JWT_EXPIRATION", "86400  # 24 hours"},
                                                  {"MAX_CONCURRENT_COLLECTORS", "50 # hard limit"},
                                                  {"COLLECTION_INTERVAL", "120   # seconds"}};
  EXPECT_NE(Api(env, {"migrate", "status"}).exit_code, 0);
  const auto first = Api(env, {"migrate", "up"});
  EXPECT_EQ(first.exit_code, 0) << first.output;
  const auto second = Api(env, {"migrate", "up"});
  EXPECT_EQ(second.exit_code, 0) << second.output;
  EXPECT_LT(second.output.size(), first.output.size());
  EXPECT_EQ(Api(env, {"migrate", "status"}).exit_code, 0);
  EXPECT_THAT(Api({}, {"--version"}).output, HasSubstr("3.2.0"));
  const auto help = Api({}, {"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* name : {"DATABASE_URL", "TIMESCALE_URL", "JWT_SECRET", "PORT", "SHUTDOWN_TIMEOUT"}) {
    EXPECT_THAT(help.output, HasSubstr(name));
  }
  EXPECT_EQ(Api(env, {"unknown"}).exit_code, 2);
}

}  // namespace
}  // namespace pga::integration
