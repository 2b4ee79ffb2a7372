#include "services/api/composition.h"

#include <grpcpp/channel.h>
#include <malloc.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/exec/periodic_task.h"
#include "libs/exec/shutdown.h"
#include "libs/log/log.h"
#include "libs/metrics/registry.h"
#include "libs/pg/pool.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/server.h"
#include "libs/rpc/service_identity.h"
#include "libs/status/status.h"
#include "libs/storage/schema/migrations.h"
#include "libs/token/revocation_set.h"
#include "libs/token/verifier.h"
#include "services/auth/server.h"
#include "services/compactor/server.h"
#include "services/gateway/server.h"
#include "services/ingest/server.h"
#include "services/query/server.h"
#include "services/registry/server.h"

namespace pga::api {

namespace {

// glibc keeps the pages of bursts unless asked: docs/adr/2026-11-23-process-memory.md.
constexpr absl::Duration kTrimPeriod = absl::Seconds(30);

absl::Status CheckGiven(const char* variable, const log::Secret& url) {
  if (!url.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(variable, " is missing: write postgresql://user@host:port/database"));
}

// Waits for the server, then says whether its schema is there.
absl::Status AwaitDatabase(const char* variable, const log::Secret& url, storage::Database database,
                           clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const std::unique_ptr<pg::Pool> pool,
                       pg::Pool::Create({.url = url.Reveal(), .application_name = "pganalytics-api", .size = 1}));
  absl::Status reached = pool->Ping(std::min(deadline, clock::SteadyNow() + absl::Seconds(5)));
  bool told = false;
  while (!reached.ok() && clock::SteadyNow() < deadline && !exec::ShutdownSignal::requested()) {
    if (absl::IsPermissionDenied(reached) || absl::IsNotFound(reached) || absl::IsInvalidArgument(reached)) break;
    if (!told) PGA_LOG(warn, "waiting for a database", {{"variable", variable}, {"reason", reached}});
    told = true;
    exec::ShutdownSignal::WaitUntil(std::min(deadline, clock::SteadyNow() + absl::Seconds(1)));
    reached = pool->Ping(clock::SteadyNow() + absl::Seconds(5));
  }
  if (!reached.ok()) return status::Annotate(reached, absl::StrCat("the database of ", variable, " does not answer"));
  return status::Annotate(storage::CheckMigrated(url.Reveal(), database), variable);
}

absl::StatusOr<std::unique_ptr<rpc::Server>> InProcess(const std::string& name, std::vector<grpc::Service*> services) {
  rpc::Server::Options options;
  options.name = name;
  options.services = std::move(services);
  return rpc::Server::Start(std::move(options));
}

}  // namespace

// Members in the order they are built; they go in reverse.
struct Composition::Parts {
  metrics::Registry metrics;
  token::Verifier verifier;
  token::RevocationSet revocations;
  std::optional<rpc::Authenticator> authenticator;
  std::unique_ptr<auth::AuthServer> auth;
  std::unique_ptr<rpc::Server> auth_server;
  std::unique_ptr<rpc::ServiceIdentity> query_identity;
  std::unique_ptr<query::QueryServer> query;
  std::unique_ptr<rpc::Server> query_server;
  std::unique_ptr<rpc::ServiceIdentity> registry_identity;
  std::unique_ptr<registry::RegistryServer> registry;
  std::unique_ptr<rpc::Server> registry_server;
  std::unique_ptr<rpc::ServiceIdentity> ingest_identity;
  std::unique_ptr<ingest::IngestServer> ingest;
  std::unique_ptr<rpc::Server> ingest_server;
  std::unique_ptr<compactor::CompactorServer> compactor;
  std::unique_ptr<rpc::Server> compactor_server;
  std::unique_ptr<rpc::ServiceIdentity> gateway_identity;
  std::unique_ptr<gateway::GatewayService> gateway;
  std::unique_ptr<metrics::Exposer> exposer;
  std::optional<exec::PeriodicTask> trim;
};

absl::StatusOr<std::unique_ptr<Composition>> Composition::Start(const ApiConfig& config) {
  PGA_RETURN_IF_ERROR(auth::Validate(config.auth));
  PGA_RETURN_IF_ERROR(config.gateway.Validate());
  PGA_RETURN_IF_ERROR(CheckGiven("DATABASE_URL", config.database_url));
  PGA_RETURN_IF_ERROR(CheckGiven("TIMESCALE_URL", config.metrics_url));
  const clock::SteadyTime databases_by = clock::SteadyNow() + config.startup_timeout;
  PGA_RETURN_IF_ERROR(AwaitDatabase("DATABASE_URL", config.database_url, storage::Database::kMetadata, databases_by));
  PGA_RETURN_IF_ERROR(AwaitDatabase("TIMESCALE_URL", config.metrics_url, storage::Database::kMetrics, databases_by));

  auto parts = std::make_unique<Parts>();
  clock::Clock* const clock = clock::Clock::Real();
  parts->authenticator.emplace(
      &parts->verifier, &parts->revocations,
      rpc::Authenticator::Hooks{
          .check_revocation = [raw = parts.get()](const token::Principal& principal, clock::SteadyTime deadline) {
            return raw->auth->CheckRevocation(principal, deadline);
          }});

  PGA_ASSIGN_OR_RETURN(parts->auth, auth::AuthServer::Create(config.auth, {.metrics = &parts->metrics,
                                                                           .clock = clock,
                                                                           .verifier = &parts->verifier,
                                                                           .revocations = &parts->revocations,
                                                                           .authenticator = &*parts->authenticator}));
  PGA_ASSIGN_OR_RETURN(parts->auth_server, InProcess("auth", parts->auth->services()));
  const std::shared_ptr<grpc::Channel> auth = parts->auth_server->InProcessChannel();
  const token::Signer* const signer = parts->auth->signer();

  parts->query_identity = rpc::ServiceIdentity::Local(signer, "query");
  PGA_ASSIGN_OR_RETURN(parts->query,
                       query::QueryServer::Create(config.query, {.metrics = &parts->metrics,
                                                                 .clock = clock,
                                                                 .authenticator = &*parts->authenticator,
                                                                 .auth = auth,
                                                                 .identity = parts->query_identity.get()}));
  PGA_ASSIGN_OR_RETURN(parts->query_server, InProcess("query", parts->query->services()));

  parts->registry_identity = rpc::ServiceIdentity::Local(signer, "registry");
  PGA_ASSIGN_OR_RETURN(parts->registry, registry::RegistryServer::Create(
                                            config.registry, {.metrics = &parts->metrics,
                                                              .clock = clock,
                                                              .authenticator = &*parts->authenticator,
                                                              .identity = parts->registry_identity.get(),
                                                              .auth = auth,
                                                              .query = parts->query_server->InProcessChannel()}));
  PGA_ASSIGN_OR_RETURN(parts->registry_server, InProcess("registry", parts->registry->services()));

  parts->ingest_identity = rpc::ServiceIdentity::Local(signer, "ingest");
  PGA_ASSIGN_OR_RETURN(parts->ingest, ingest::IngestServer::Create(
                                          config.ingest, {.metrics = &parts->metrics,
                                                          .clock = clock,
                                                          .authenticator = &*parts->authenticator,
                                                          .revocations = &parts->revocations,
                                                          .identity = parts->ingest_identity.get(),
                                                          .registry = parts->registry_server->InProcessChannel()}));
  rpc::Server::Options ingest_options;
  ingest_options.name = "ingest";
  ingest_options.services = parts->ingest->services();
  ingest_options.max_receive_bytes = ingest::kMaxReceiveBytes;
  ingest_options.external_acceptor = true;
  ingest_options.limits = rpc::DoorLimits::Outside();
  ingest_options.limits.address_per_minute = config.gateway.rate_limit_per_minute;
  ingest_options.limits.user_per_minute = config.gateway.rate_limit_user_per_minute;
  ingest_options.limits.collector_per_minute = config.gateway.rate_limit_collector_per_minute;
  ingest_options.authenticator = &*parts->authenticator;
  ingest_options.metrics = &parts->metrics;
  if (config.gateway.tls_enabled) {
    ingest_options.tls.enabled = true;
    ingest_options.tls.cert_path = config.gateway.tls_cert_path;
    ingest_options.tls.key_path = config.gateway.tls_key_path;
    ingest_options.tls.ca_pem = parts->auth->ca_certificate_pem();
  }
  PGA_ASSIGN_OR_RETURN(parts->ingest_server, rpc::Server::Start(std::move(ingest_options)));

  PGA_ASSIGN_OR_RETURN(
      parts->compactor,
      compactor::CompactorServer::Create(
          config.compactor, {.metrics = &parts->metrics, .clock = clock, .authenticator = &*parts->authenticator}));
  PGA_ASSIGN_OR_RETURN(parts->compactor_server, InProcess("compactor", parts->compactor->services()));

  parts->gateway_identity = rpc::ServiceIdentity::Local(signer, "gateway");
  gateway::GatewayService::Deps deps;
  deps.metrics = &parts->metrics;
  deps.clock = clock;
  deps.verifier = &parts->verifier;
  deps.revocations = &parts->revocations;
  deps.channels = {{"pganalytics.auth.", auth},
                   {"pganalytics.registry.", parts->registry_server->InProcessChannel()},
                   {"pganalytics.ingest.", parts->ingest_server->InProcessChannel()},
                   {"pganalytics.query.", parts->query_server->InProcessChannel()},
                   {"pganalytics.compactor.", parts->compactor_server->InProcessChannel()}};
  deps.service_token = [identity = parts->gateway_identity.get()] { return identity->Token(); };
  deps.hand_over = [server = parts->ingest_server.get()](int fd, std::string already_read) {
    return server->AcceptConnection(fd, std::move(already_read));
  };
  PGA_ASSIGN_OR_RETURN(parts->gateway, gateway::GatewayService::Create(config.gateway, std::move(deps)));
  PGA_RETURN_IF_ERROR(parts->gateway->Start());
  if (!config.metrics_listen.empty()) {
    PGA_ASSIGN_OR_RETURN(parts->exposer, metrics::Exposer::Start(config.metrics_listen, parts->metrics));
  }
  parts->trim.emplace("malloc-trim", kTrimPeriod, clock, [] { malloc_trim(0); });
  return std::unique_ptr<Composition>(new Composition(std::move(parts)));
}

Composition::Composition(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Composition::~Composition() {
  Drain(clock::SteadyNow());
}

int Composition::port() const {
  return parts_->gateway->port();
}

void Composition::Drain(clock::SteadyTime deadline) {
  parts_->gateway->Drain(deadline);
  parts_->compactor_server->Drain(deadline);
  parts_->compactor->Drain(deadline);
  parts_->ingest->PrepareDrain();
  parts_->ingest_server->Drain(deadline);
  parts_->ingest->Drain(deadline);
  parts_->registry_server->Drain(deadline);
  parts_->registry->Drain(deadline);
  parts_->query_server->Drain(deadline);
  parts_->query->Drain(deadline);
  parts_->auth->PrepareDrain();
  parts_->auth_server->Drain(deadline);
  parts_->auth->Drain(deadline);
}

}  // namespace pga::api
