#include "tests/integration/suite.h"

#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/clock/steady.h"
#include "libs/testing/json_value.h"
#include "libs/testing/settings.h"
#include "libs/testing/temp_postgres.h"
#include "libs/token/keys.h"
#include "libs/token/services.h"

namespace pga::integration {
namespace {

constexpr absl::Duration kStartLimit = absl::Seconds(120);

std::string Program(const std::string& name) {
  return testing::Program(name == "pganalytics-api" ? name : "pga-" + name);
}

std::string As(const std::string& login, const std::string& url) {
  return absl::StrReplaceAll(url, {{"//postgres@", absl::StrCat("//", login, "@")}});
}

// The roles and logins that the chart's README has an administrator make.
void MakeLogins(testing::TempPostgres* postgres) {
  const auto readme = testing::ReadFile(testing::SourceDir() + "/helm/pganalytics/README.md");
  const size_t begin = readme.ok() ? readme->find("CREATE ROLE") : std::string::npos;
  const absl::Status made =
      begin == std::string::npos
          ? absl::NotFoundError("no CREATE ROLE in the chart's README")
          : postgres->Exec("postgres", readme->substr(begin, readme->find("CREATE DATABASE", begin) - begin)).status();
  if (made.ok()) return;
  std::fprintf(stderr, "logins: %s\n", std::string(made.message()).c_str());
  std::exit(1);
}

// The database that the URL names.
std::string NameOf(const std::string& url) {
  const std::string address = url.substr(0, url.find('?'));
  return address.substr(address.rfind('/') + 1);
}

std::string FreshDatabase(testing::TempPostgres* postgres, const std::string& prefix) {
  const std::string url = *postgres->CreateFreshDatabase(prefix);
  return postgres->tcp_port() == 0 ? url : postgres->TcpUrl(NameOf(url));
}

}  // namespace

Databases FreshDatabases(testing::TempPostgres* postgres) {
  if (postgres == nullptr) postgres = testing::SharedPostgres();
  static std::mutex mutex;
  // By folder: a server may have the address of one before it.
  static std::set<std::string> with_logins;
  {
    const std::lock_guard lock(mutex);
    if (with_logins.insert(postgres->data_dir()).second) MakeLogins(postgres);
  }
  Databases databases;
  databases.metadata_url = FreshDatabase(postgres, "pganalytics");
  databases.metrics_url = FreshDatabase(postgres, "metrics");
  for (const std::string& url : {databases.metadata_url, databases.metrics_url}) {
    const auto owned =
        postgres->Exec("postgres", absl::StrCat("ALTER DATABASE ", NameOf(url), " OWNER TO pganalytics_owner"));
    if (!owned.ok()) std::fprintf(stderr, "databases: %s\n", owned.status().ToString().c_str());
  }
  return databases;
}

Suite::Suite(SuiteOptions options) : options_(std::move(options)), databases_(FreshDatabases(options_.postgres)) {
  std::map<std::string, std::string> common = {
      {"DATABASE_URL", databases_.metadata_url},
      {"TIMESCALE_URL", databases_.metrics_url},
      {"ADMIN_PASSWORD", kAdminPassword},
      {"REGISTRATION_SECRET", kRegistrationSecret},
      {"STATE_DIR", dir_ / "state"},
      {"RATE_LIMIT_PER_MINUTE", "0"},
      {"RATE_LIMIT_USER_PER_MINUTE", "0"},
      {"RATE_LIMIT_COLLECTOR_PER_MINUTE", "0"},
      {"PORT", "0"},
      {"STARTUP_TIMEOUT", "30"},
      {"INGEST_CONFIG_POLL", "1"},
  };
  for (const auto& [name, value] : options_.env) common[name] = value;
  if (options_.form == Form::kApart) {
    common["DATABASE_URL"] = As("pganalytics_owner", databases_.metadata_url);
    common["TIMESCALE_URL"] = As("pganalytics_owner", databases_.metrics_url);
  }
  const auto migrated =
      testing::RunCommand({.argv = {Program("pganalytics-api"), "migrate", "up"}, .env = common}, kStartLimit);
  if (!migrated.ok() || migrated->exit_code != 0) {
    Die(migrated.ok() ? migrated->output : std::string(migrated.status().message()));
  }
  const std::string cert_path = dir_ / "server.pem";
  const std::string key_path = dir_ / "server.key";
  if (options_.tls) {
    const rpc::TestCertificate certificate = server_ca_.Server();
    (void)testing::WriteFile(cert_path, certificate.cert_pem);
    (void)testing::WriteFile(key_path, certificate.key_pem);
    common["TLS_ENABLED"] = "true";
    common["TLS_CERT_PATH"] = cert_path;
    common["TLS_KEY_PATH"] = key_path;
  }
  if (options_.form == Form::kOneProcess) {
    common["JWT_SECRET"] = "Zk7w0QmXvT4bR9sLhJ2dYc8gNfPaEu3i";
    Start("pganalytics-api", common);
    port_ = WaitForPort("pganalytics-api", "gateway listening");
    // Started again it is found where it was.
    env_["pganalytics-api"]["PORT"] = absl::StrCat(port_);
  } else {
    common["DATABASE_URL"] = As("pganalytics_services", databases_.metadata_url);
    common["TIMESCALE_URL"] = As("pganalytics_services", databases_.metrics_url);
    common["GRPC_LISTEN"] = "127.0.0.1:0";
    auto auth = common;
    signing_key_ = *token::GenerateKeyPem();
    auth["JWT_SIGNING_KEY"] = signing_key_;
    auth["SERVICE_SECRETS_DIR"] = dir_ / "service-secrets";
    std::filesystem::create_directory(auth["SERVICE_SECRETS_DIR"]);
    for (const token::ServiceRow& row : token::kServices) {
      if (!row.calls.empty()) (void)testing::WriteFile(ServiceSecretFile(row.name), token::RandomHex(32) + "\n");
    }
    if (options_.tls && options_.peer_tls) {
      // Every service speaks TLS, and checks the others by the server's CA.
      const std::string ca_path = dir_ / "server-ca.pem";
      (void)testing::WriteFile(ca_path, server_ca_.pem());
      for (auto* env : {&auth, &common}) {
        (*env)["GRPC_TLS_ENABLED"] = "true";
        (*env)["GRPC_TLS_CERT_PATH"] = cert_path;
        (*env)["GRPC_TLS_KEY_PATH"] = key_path;
        (*env)["PEER_TLS_ENABLED"] = "true";
        (*env)["PEER_TLS_CA_PATH"] = ca_path;
      }
    }
    Start("auth", auth);
    common["AUTH_SERVICE_ADDR"] = ServiceAddress("auth", "auth serves");
    Start("query", common);
    common["QUERY_SERVICE_ADDR"] = ServiceAddress("query", "\"serves\"");
    Start("compactor", common);
    common["COMPACTOR_SERVICE_ADDR"] = ServiceAddress("compactor", "\"serves\"");
    Start("registry", common);
    common["REGISTRY_SERVICE_ADDR"] = ServiceAddress("registry", "\"serves\"");
    Start("ruler", common);
    common["RULER_SERVICE_ADDR"] = ServiceAddress("ruler", "\"serves\"");
    auto ingest = common;
    if (options_.tls && !options_.peer_tls) {
      ingest["COLLECTOR_LISTEN"] = "127.0.0.1:0";
      ingest["COLLECTOR_TLS_CERT_PATH"] = cert_path;
      ingest["COLLECTOR_TLS_KEY_PATH"] = key_path;
    } else if (options_.tls) {
      // Collectors' TLS ends in ingest, which knows the CA that auth made.
      testing::TempPostgres* const postgres =
          options_.postgres == nullptr ? testing::SharedPostgres() : options_.postgres;
      const auto ca =
          postgres->Exec(NameOf(databases_.metadata_url), "SELECT certificate_pem FROM pganalytics.sealed_keys");
      if (!ca.ok() || ca->empty()) Die("auth has left no CA");
      const std::string ca_path = dir_ / "collector-ca.pem";
      (void)testing::WriteFile(ca_path, std::string((*ca)[0].Text(0)));
      ingest["GRPC_TLS_CLIENT_CA_PATH"] = ca_path;
    }
    Start("ingest", ingest);
    auto gateway = common;
    gateway["INGEST_SERVICE_ADDR"] = ServiceAddress("ingest", "\"serves\"");
    if (options_.tls && !options_.peer_tls) {
      const std::string address = absl::StrCat("127.0.0.1:", WaitForPort("ingest", "serves callers from outside"));
      env_["ingest"]["COLLECTOR_LISTEN"] = address;
      gateway["INGEST_COLLECTOR_ADDR"] = address;
    }
    const std::map<std::string, std::string> outside = gateway;
    if (options_.envoy) {
      gateway["TLS_ENABLED"] = "false";
      gateway["TRUSTED_PROXIES"] = "127.0.0.0/8";
    }
    Start("gateway", gateway);
    port_ = WaitForPort("gateway", "gateway listening");
    if (options_.envoy) {
      gateway_port_ = port_;
      StartEnvoy(outside);
    }
  }
  const bool healthy = testing::WaitUntil(
      [this] {
        const auto answer = Get("/api/v1/health");
        return answer.ok() && answer->status == 200;
      },
      kStartLimit);
  if (!healthy) Die("the suite is not healthy");
}

std::string Suite::ServiceAddress(const std::string& name, const std::string& mark) {
  const int port = WaitForPort(name, mark);
  const std::string address = absl::StrCat("127.0.0.1:", port);
  // A process that is started again keeps its port, as a Kubernetes service would.
  env_[name]["GRPC_LISTEN"] = address;
  return address;
}

void Suite::Start(const std::string& name, std::map<std::string, std::string> env) {
  if (options_.form == Form::kApart && name != "auth") env["SERVICE_SECRET_FILE"] = ServiceSecretFile(name);
  env_[name] = env;
  std::vector<std::string> argv = {Program(name)};
  if (options_.launch != nullptr) argv = options_.launch(name, std::move(argv));
  auto process = testing::Subprocess::Start(
      {.argv = std::move(argv),
       .env = std::move(env),
       // Of each start its own: words that are waited for stand in those of the starts before.
       .output_path = dir_ / absl::StrCat(name, ++starts_, ".log")});
  if (!process.ok()) Die(absl::StrCat(name, ": ", process.status().message()));
  processes_[name] = *std::move(process);
}

void Suite::StartEnvoy(std::map<std::string, std::string> env) {
  const auto fetched =
      testing::RunCommand({.argv = {testing::SourceDir() + "/tools/fetch-python.sh", "envoy"}}, kStartLimit);
  if (!fetched.ok() || fetched->exit_code != 0) Die(fetched.ok() ? fetched->output : fetched.status().ToString());
  const std::string folder = dir_ / "envoy";
  std::filesystem::create_directory(folder);
  env["GATEWAY_SERVICE_ADDR"] = absl::StrCat("127.0.0.1:", gateway_port_);
  env["SERVICE_SECRET_FILE"] = ServiceSecretFile("gateway");
  env["METRICS_LISTEN"] = "127.0.0.1:0";
  const auto written = testing::RunCommand({.argv = {Program("gateway"), "envoy", folder}, .env = env}, kStartLimit);
  if (!written.ok() || written->exit_code != 0) Die(written.ok() ? written->output : written.status().ToString());
  const std::string program(absl::StripAsciiWhitespace(fetched->output));
  auto process = testing::Subprocess::Start({.argv = {program + "/envoy/_bin/envoy", "-c", folder + "/envoy.yaml",
                                                      "--concurrency", "2", "--use-dynamic-base-id", "-l", "warn"},
                                             .output_path = dir_ / "envoy.log"});
  if (!process.ok()) Die(process.status().ToString());
  processes_["envoy"] = *std::move(process);
  // Listeners are there once Envoy is ready.
  std::string listeners;
  const bool ready = testing::WaitUntil(
      [&] {
        const auto asked = testing::RunCommand({.argv = {"curl", "-fsS", "--unix-socket", folder + "/admin.sock",
                                                         "http://localhost/listeners?format=json"}});
        listeners = asked.ok() && asked->exit_code == 0 ? asked->output : "";
        return listeners.find("\"outside\"") != std::string::npos;
      },
      kStartLimit);
  const size_t at = listeners.find("\"port_value\":", listeners.find("\"outside\""));
  if (!ready || at == std::string::npos ||
      !absl::SimpleAtoi(
          absl::StripAsciiWhitespace(listeners.substr(at + 13, listeners.find_first_of(",}", at) - at - 13)), &port_)) {
    Die("Envoy does not listen: " + listeners);
  }
}

std::string Suite::ServiceSecretFile(std::string_view service) const {
  return dir_ / absl::StrCat("service-secrets/", std::string(service));
}

void Suite::StartAgain(const std::string& name) {
  processes_.erase(name);
  Start(name, env_.at(name));
}

int Suite::WaitForPort(const std::string& name, const std::string& mark) {
  const absl::Status ready = process(name).WaitForOutput(mark, clock::SteadyNow() + kStartLimit);
  if (!ready.ok()) Die(absl::StrCat(name, ": ", ready.message()));
  const std::string output = process(name).Output();
  const size_t at = output.find("\"port\":", output.find(mark));
  int port = 0;
  if (at == std::string::npos ||
      !absl::SimpleAtoi(output.substr(at + 7, output.find_first_of(",}", at) - at - 7), &port)) {
    Die(absl::StrCat(name, " does not say its port"));
  }
  return port;
}

absl::StatusOr<HttpAnswer> Suite::Get(const std::string& path, const std::string& token) const {
  HttpRequest request{.method = "GET", .path = path};
  if (!token.empty()) request.headers = {{"Authorization", "Bearer " + token}};
  return Send(request);
}

absl::StatusOr<HttpAnswer> Suite::Post(const std::string& path, const std::string& body, const std::string& token,
                                       const std::string& method) const {
  HttpRequest request{.method = method, .path = path, .headers = {{"Content-Type", "application/json"}}, .body = body};
  if (!token.empty()) request.headers.emplace_back("Authorization", "Bearer " + token);
  return Send(request);
}

std::string Suite::Login(const std::string& username, const std::string& password) const {
  const auto answer =
      Post("/api/v1/auth/login", absl::StrCat(R"({"username":")", username, R"(","password":")", password, R"("})"));
  const std::string token =
      answer.ok() && answer->status == 200 ? testing::JsonText(answer->body, "/token") : std::string();
  if (token.empty()) {
    Die(absl::StrCat("login of ", username, ": ",
                     answer.ok() ? absl::StrCat(answer->status, " ", answer->body) : answer.status().ToString()));
  }
  return token;
}

std::vector<std::string> Suite::names() const {
  std::vector<std::string> names;
  for (const auto& [name, process] : processes_) names.push_back(name);
  return names;
}

std::map<std::string, int> Suite::Terminate(absl::Duration limit) {
  const clock::SteadyTime deadline = clock::SteadyNow() + limit;
  std::map<std::string, int> codes;
  for (auto& [name, process] : processes_) process->Signal(SIGTERM);
  for (auto& [name, process] : processes_) codes[name] = process->Wait(deadline).value_or(-1);
  return codes;
}

std::string Suite::Outputs() const {
  std::string out;
  for (const auto& [name, process] : processes_) {
    const std::string text = process->Output();
    absl::StrAppend(&out, "--- ", name, "\n", text.substr(text.size() > 4000 ? text.size() - 4000 : 0), "\n");
  }
  return out;
}

void Suite::Die(const std::string& why) const {
  std::fprintf(stderr, "the suite cannot be tested: %s\n%s\n", why.c_str(), Outputs().c_str());
  std::exit(1);
}

}  // namespace pga::integration
