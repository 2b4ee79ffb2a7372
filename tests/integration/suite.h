// The suite as real processes on a real PostgreSQL, either every service in a process of its own or all in one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/rpc/certificates_testing.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "tests/integration/http_client.h"

namespace pga::integration {

enum class Form { kApart, kOneProcess };

struct SuiteOptions {
  Form form = Form::kOneProcess;
  bool tls = false;
  // Of services apart with TLS: whether they speak it among themselves too, or only at the gateway and at ingest's port
  // for collectors, as the Helm chart sets it up.
  bool peer_tls = true;
  // Of services apart: a real Envoy stands in the gateway's place, with the files that pga-gateway writes. The gateway
  // runs behind it, without TLS.
  bool envoy = false;
  // Added to the environment of every program.
  std::map<std::string, std::string> env = {};
  // What is run for a program ("auth", "pganalytics-api") instead of its own arguments. Null = those.
  std::function<std::vector<std::string>(const std::string& name, std::vector<std::string> argv)> launch = nullptr;
  // Where the databases are, reached over TCP where it listens; must outlive the suite. Null =
  // testing::SharedPostgres().
  testing::TempPostgres* postgres = nullptr;
};

// Databases migrated and ready, the same for all suites of a test binary until somebody asks for fresh ones.
struct Databases {
  std::string metadata_url;
  std::string metrics_url;
};
Databases FreshDatabases(testing::TempPostgres* postgres = nullptr);

class Suite {
 public:
  // Starts everything on fresh databases and waits until health says so. Ends the test program when that fails, with
  // the programs' output.
  explicit Suite(SuiteOptions options);

  int port() const { return port_; }
  // Of the built-in gateway behind Envoy.
  int gateway_port() const { return gateway_port_; }
  const Databases& databases() const { return databases_; }
  // Empty without TLS.
  std::string ca_pem() const { return options_.tls ? server_ca_.pem() : ""; }
  absl::StatusOr<HttpAnswer> Send(const HttpRequest& request) const { return SendHttp(port_, ca_pem(), request); }
  absl::StatusOr<HttpAnswer> Get(const std::string& path, const std::string& token = "") const;
  absl::StatusOr<HttpAnswer> Post(const std::string& path, const std::string& body, const std::string& token = "",
                                  const std::string& method = "POST") const;
  // Token of a login; ends the test program when it fails.
  std::string Login(const std::string& username, const std::string& password) const;
  std::string AdminToken() const { return Login("admin", kAdminPassword); }

  // "pganalytics-api", or "auth", "query", "registry", "ingest", "gateway".
  testing::Subprocess& process(const std::string& name) { return *processes_.at(name); }
  std::vector<std::string> names() const;
  // Starts a process again that has ended; on the same port.
  void StartAgain(const std::string& name);
  // SIGTERM to all; exit codes by name, -1 for one that did not end by itself in time.
  std::map<std::string, int> Terminate(absl::Duration limit);
  std::string Outputs() const;

  // Of a suite of processes of their own: the key that signs tokens, where a service serves gRPC (host:port), and the
  // file with a service's secret, which auth reads as well.
  const std::string& signing_key() const { return signing_key_; }
  std::string GrpcAddress(const std::string& service) const { return env_.at(service).at("GRPC_LISTEN"); }
  std::string ServiceSecretFile(std::string_view service) const;

  static constexpr char kAdminPassword[] = "integration-Password-1";
  static constexpr char kRegistrationSecret[] = "kq3yE7nSdJZb0mC5u8Xw1RtVfGhLpA2s";

 private:
  void Start(const std::string& name, std::map<std::string, std::string> env);
  void StartEnvoy(std::map<std::string, std::string> env);
  int WaitForPort(const std::string& name, const std::string& mark);
  [[noreturn]] void Die(const std::string& why) const;
  std::string ServiceAddress(const std::string& name, const std::string& mark);

  const SuiteOptions options_;
  testing::ScopedTempDir dir_;
  rpc::TestCa server_ca_{"integration CA"};
  Databases databases_;
  int port_ = 0;
  int gateway_port_ = 0;
  std::string signing_key_;
  std::map<std::string, std::map<std::string, std::string>> env_;
  int starts_ = 0;
  std::map<std::string, std::unique_ptr<testing::Subprocess>> processes_;
};

}  // namespace pga::integration
