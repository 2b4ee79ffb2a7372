#include "services/query/standalone_server.h"

#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "libs/clock/clock.h"
#include "libs/exec/shutdown.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/auth_watch.h"
#include "libs/rpc/client.h"
#include "libs/rpc/server.h"
#include "libs/rpc/service_identity.h"
#include "libs/status/status.h"
#include "libs/token/revocation_set.h"
#include "libs/token/verifier.h"
#include "services/query/server.h"

namespace pga::query {

void RegisterOptions(config::Loader& loader, StandaloneConfig* config) {
  RegisterOptions(loader, &config->query);
  loader.String(&config->listen, "GRPC_LISTEN", "grpc-listen", "127.0.0.1:9094", "address of the gRPC server");
  loader.String(&config->auth_address, "AUTH_SERVICE_ADDR", "auth-service-addr", "127.0.0.1:9091",
                "address of the auth service");
  loader.Secret(&config->service_secret, "SERVICE_SECRET", "what services show auth to get their tokens");
  loader.String(&config->metrics_listen, "METRICS_LISTEN", "metrics-listen", "",
                "address that serves /metrics for Prometheus; empty = off");
  loader.String(&config->log_level, "LOG_LEVEL", "log-level", "info", "debug, info, warn or error");
  loader.Duration(&config->shutdown_timeout, "SHUTDOWN_TIMEOUT", "shutdown-timeout", config->shutdown_timeout,
                  "time that running calls get to end after SIGTERM", absl::ZeroDuration(), absl::Minutes(10));
}

absl::Status RunStandalone(const StandaloneConfig& config) {
  PGA_ASSIGN_OR_RETURN(const log::Level level, log::ParseLevel(config.log_level));
  log::Init({.level = level, .json = true, .service = "query", .sink = {}});
  clock::Clock* const clock = clock::Clock::Real();

  metrics::Registry metrics;
  std::unique_ptr<metrics::Exposer> exposer;
  if (!config.metrics_listen.empty()) {
    auto started = metrics::Exposer::Start(config.metrics_listen, metrics);
    if (!started.ok()) return status::Annotate(started.status(), "METRICS_LISTEN");
    exposer = *std::move(started);
  }
  auto auth = rpc::Connect(config.auth_address, rpc::TlsOptions{});
  if (!auth.ok()) return status::Annotate(auth.status(), "AUTH_SERVICE_ADDR");
  const auto identity = rpc::ServiceIdentity::Remote(*auth, "query", config.service_secret, clock);
  token::Verifier verifier;
  token::RevocationSet revocations;
  rpc::JwksWatcher keys(*auth, &verifier, clock);
  rpc::RevocationWatcher watcher(*auth, identity.get(), &revocations, clock);
  rpc::Authenticator authenticator(&verifier, &revocations, {rpc::MakeRevocationCheck(*auth, identity.get())}, clock);

  PGA_ASSIGN_OR_RETURN(const std::unique_ptr<QueryServer> query,
                       QueryServer::Create(config.query, {&metrics, clock, &authenticator, *auth, identity.get()}));
  rpc::Server::Options options;
  options.name = "query";
  options.listen = {config.listen};
  options.services = query->services();
  auto server = rpc::Server::Start(std::move(options));
  if (!server.ok()) return status::Annotate(server.status(), "GRPC_LISTEN");
  PGA_LOG(info, "query service ready", {{"listen", config.listen}, {"version", PGA_VERSION}});

  exec::ShutdownSignal::WaitUntil(absl::InfiniteFuture());
  PGA_LOG(info, "query service stops", {{"signal", exec::ShutdownSignal::signal()}});
  const absl::Time deadline = absl::Now() + config.shutdown_timeout;
  (*server)->Drain(deadline);
  query->Drain(deadline);
  return absl::OkStatus();
}

}  // namespace pga::query
