#include <grpcpp/channel.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/config/config.h"
#include "libs/exec/heap.h"
#include "libs/exec/service_process.h"
#include "libs/exec/shutdown.h"
#include "libs/log/log.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/server.h"
#include "libs/status/status.h"
#include "services/auth/people_commands.h"
#include "services/auth/server.h"

namespace pga::auth {
namespace {

const std::string kDescription = absl::StrCat(
    "pga-auth: users, tokens and keys of pgAnalytics. Without arguments it serves.\n\n", kAdminCommandsHelp);

void Print(const std::string& line) {
  std::fprintf(stdout, "%s\n", line.c_str());
}

absl::Status Run(int argc, char** argv) {
  AuthConfig config;
  std::vector<std::string> listen;
  std::string metrics_listen;
  std::string log_level;
  rpc::TlsOptions tls;
  absl::Duration shutdown_timeout;
  config::Loader loader(argc, argv, config::ProcessEnvironment(), kDescription);
  RegisterOptions(loader, &config);
  loader.List(&listen, "GRPC_LISTEN", "grpc-listen", absl::StrCat("127.0.0.1:", token::FindService("auth")->port),
              "addresses of the gRPC server");
  loader.Listen(&metrics_listen, "METRICS_LISTEN", "metrics-listen", "", "host:port of /metrics; empty or off = none");
  loader.String(&log_level, "LOG_LEVEL", "log-level", "info", "debug, info, warn or error");
  loader.Duration(&shutdown_timeout, "SHUTDOWN_TIMEOUT", "shutdown-timeout", absl::Seconds(10),
                  exec::kShutdownTimeoutHelp);
  loader.Bool(&tls.enabled, "GRPC_TLS_ENABLED", "grpc-tls-enabled", false, "serve gRPC over TLS");
  loader.String(&tls.cert_path, "GRPC_TLS_CERT_PATH", "grpc-tls-cert-path", "", "certificate chain, PEM");
  loader.String(&tls.key_path, "GRPC_TLS_KEY_PATH", "grpc-tls-key-path", "", "private key, PEM");
  loader.AllowPositional();
  PGA_RETURN_IF_ERROR(loader.Parse());
  if (loader.help_requested() || loader.version_requested()) {
    std::fputs(loader.help_requested() ? loader.Help().c_str() : "pga-auth " PGA_VERSION "\n", stdout);
    return absl::OkStatus();
  }
  if (!loader.positional().empty()) return RunAdminCommand(config, loader.positional(), Print);
  PGA_ASSIGN_OR_RETURN(const log::Level level, log::ParseLevel(log_level));
  log::Init({.level = level, .json = true, .service = "auth", .sink = {}});
  exec::BeginService();
  config.serves_alone = true;

  metrics::Registry metrics;
  token::Verifier verifier;
  token::RevocationSet revocations;
  std::optional<exec::ProcessStart> starting(std::in_place);
  AuthServer* auth_server = nullptr;  // set before the first call is served
  rpc::Authenticator authenticator(
      &verifier, &revocations,
      {.check_revocation = [&auth_server](const token::Principal& principal, clock::SteadyTime deadline) {
        return auth_server->CheckRevocation(principal, deadline);
      }});
  PGA_ASSIGN_OR_RETURN(const std::unique_ptr<AuthServer> server,
                       AuthServer::Create(config, {.metrics = &metrics,
                                                   .clock = clock::Clock::Real(),
                                                   .verifier = &verifier,
                                                   .revocations = &revocations,
                                                   .authenticator = &authenticator}));
  auth_server = server.get();
  std::unique_ptr<metrics::Exposer> exposer;
  if (!metrics_listen.empty()) {
    PGA_ASSIGN_OR_RETURN(exposer, metrics::Exposer::Start(metrics_listen, metrics));
  }
  rpc::Server::Options options;
  options.name = "auth";
  options.listen = listen;
  options.tls = tls;
  options.services = server->services();
  PGA_ASSIGN_OR_RETURN(const std::unique_ptr<rpc::Server> grpc_server, rpc::Server::Start(std::move(options)));
  PGA_LOG(info, "auth serves",
          {{"port", grpc_server->ports().empty() ? 0 : grpc_server->ports().front()}, {"version", PGA_VERSION}});
  if (!server->has_people()) PGA_LOG(warn, "nobody can sign in; in this environment run: pga-auth admin create");

  starting.reset();
  {
    const auto trim = exec::TrimHeap();
    exec::ShutdownSignal::WaitUntil(clock::SteadyTime::InfiniteFuture());
  }
  PGA_LOG(info, "auth stops", {{"signal", exec::ShutdownSignal::signal()}});
  const clock::SteadyTime deadline = exec::ProcessEnd::Begin(shutdown_timeout);
  grpc_server->SetServing(false);
  server->PrepareDrain();
  grpc_server->Drain(deadline);
  server->Drain(deadline);
  return absl::OkStatus();
}

}  // namespace
}  // namespace pga::auth

int main(int argc, char** argv) {
  const absl::Status status = pga::auth::Run(argc, argv);
  if (status.ok()) return 0;
  std::fprintf(stderr, "pga-auth: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? 2 : 1;
}
