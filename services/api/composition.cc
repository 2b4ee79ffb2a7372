#include "services/api/composition.h"

#include <grpcpp/channel.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/exec/heap.h"
#include "libs/exec/periodic_task.h"
#include "libs/exec/shutdown.h"
#include "libs/log/log.h"
#include "libs/metrics/registry.h"
#include "libs/pg/pool.h"
#include "libs/retry/rate_limiter.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/server.h"
#include "libs/rpc/service_host.h"
#include "libs/rpc/service_identity.h"
#include "libs/status/status.h"
#include "libs/storage/schema/migrations.h"
#include "libs/token/revocation_set.h"
#include "libs/token/services.h"
#include "libs/token/verifier.h"
#include "services/auth/server.h"
#include "services/compactor/server.h"
#include "services/gateway/server.h"
#include "services/ingest/server.h"
#include "services/query/server.h"
#include "services/registry/server.h"
#include "services/ruler/server.h"

namespace pga::api {

namespace {

absl::Status CheckGiven(const char* variable, const log::Secret& url) {
  if (!url.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(variable, " is missing: write postgresql://user@host:port/database"));
}

// Waits for the server, then says whether its schema is there.
absl::Status AwaitDatabase(const char* variable, const log::Secret& url, storage::Database database,
                           clock::SteadyTime deadline) {
  const auto made = pg::Pool::Create({.url = url.Reveal(), .application_name = "pganalytics-api", .size = 1});
  if (!made.ok()) return status::Annotate(made.status(), variable);
  const std::unique_ptr<pg::Pool>& pool = *made;
  absl::Status reached = pool->Ping(std::min(deadline, clock::SteadyNow() + absl::Seconds(5)));
  bool logged = false;
  while (!reached.ok() && clock::SteadyNow() < deadline && !exec::ShutdownSignal::requested()) {
    if (absl::IsPermissionDenied(reached) || absl::IsNotFound(reached) || absl::IsInvalidArgument(reached)) break;
    if (!logged) PGA_LOG(warn, "waiting for a database", {{"variable", variable}, {"reason", reached}});
    logged = true;
    exec::ShutdownSignal::WaitUntil(std::min(deadline, clock::SteadyNow() + absl::Seconds(1)));
    reached = pool->Ping(clock::SteadyNow() + absl::Seconds(5));
  }
  if (!reached.ok()) return status::Annotate(reached, absl::StrCat("the database of ", variable, " does not answer"));
  return status::Annotate(storage::CheckMigrated(url.Reveal(), database), variable);
}

// What every service of the process shares; declared in the order of building.
struct Shared {
  metrics::Registry metrics;
  token::Verifier verifier;
  token::RevocationSet revocations;
  std::optional<rpc::Authenticator> authenticator;
  // One allowance for a caller, whether it comes by HTTP or by gRPC.
  retry::RateLimiter rates{clock::Clock::Real()};
  // Set by the first service, before the first call is served.
  auth::AuthServer* auth = nullptr;
  gateway::GatewayService* gateway = nullptr;
};

// One running service; its server goes before it, and its identity after it.
struct Running {
  const token::ServiceRow* row = nullptr;
  std::unique_ptr<rpc::ServiceIdentity> identity;
  rpc::RunningService service;
  std::unique_ptr<rpc::Server> server;
};

// What a factory is given. Services of earlier rows run already.
struct Surroundings {
  const ApiConfig& config;
  Shared& shared;
  rpc::ServiceIdentity* identity;
  const std::vector<Running>& running;

  const Running* Find(std::string_view name) const {
    const auto found = std::ranges::find_if(running, [&](const Running& r) { return r.row->name == name; });
    return found == running.end() ? nullptr : &*found;
  }
  std::shared_ptr<grpc::Channel> Channel(std::string_view name) const {
    const Running* const found = Find(name);
    return found == nullptr ? nullptr : found->server->InProcessChannel();
  }
};

using Factory = absl::StatusOr<rpc::RunningService> (*)(const Surroundings&, rpc::Server::Options*);

template <typename Server>
rpc::RunningService Run(std::unique_ptr<Server> created, std::function<void()> prepare_drain = {}) {
  std::shared_ptr<Server> server = std::move(created);
  return {.owner = server,
          .services = server->services(),
          .prepare_drain = std::move(prepare_drain),
          .drain = [server](clock::SteadyTime deadline) { server->Drain(deadline); }};
}

absl::StatusOr<rpc::RunningService> MakeAuth(const Surroundings& around, rpc::Server::Options*) {
  Shared& shared = around.shared;
  PGA_ASSIGN_OR_RETURN(auto server,
                       auth::AuthServer::Create(around.config.auth, {.metrics = &shared.metrics,
                                                                     .clock = clock::Clock::Real(),
                                                                     .verifier = &shared.verifier,
                                                                     .revocations = &shared.revocations,
                                                                     .authenticator = &*shared.authenticator}));
  shared.auth = server.get();
  return Run(std::move(server), [auth = shared.auth] { auth->PrepareDrain(); });
}

absl::StatusOr<rpc::RunningService> MakeQuery(const Surroundings& around, rpc::Server::Options*) {
  PGA_ASSIGN_OR_RETURN(auto server,
                       query::QueryServer::Create(around.config.query, {.metrics = &around.shared.metrics,
                                                                        .clock = clock::Clock::Real(),
                                                                        .authenticator = &*around.shared.authenticator,
                                                                        .auth = around.Channel("auth"),
                                                                        .identity = around.identity}));
  return Run(std::move(server));
}

absl::StatusOr<rpc::RunningService> MakeRegistry(const Surroundings& around, rpc::Server::Options*) {
  PGA_ASSIGN_OR_RETURN(auto server, registry::RegistryServer::Create(around.config.registry,
                                                                     {.metrics = &around.shared.metrics,
                                                                      .clock = clock::Clock::Real(),
                                                                      .authenticator = &*around.shared.authenticator,
                                                                      .identity = around.identity,
                                                                      .auth = around.Channel("auth"),
                                                                      .query = around.Channel("query")}));
  return Run(std::move(server));
}

absl::StatusOr<rpc::RunningService> MakeIngest(const Surroundings& around, rpc::Server::Options* options) {
  Shared& shared = around.shared;
  PGA_ASSIGN_OR_RETURN(auto server,
                       ingest::IngestServer::Create(around.config.ingest, {.metrics = &shared.metrics,
                                                                           .clock = clock::Clock::Real(),
                                                                           .authenticator = &*shared.authenticator,
                                                                           .revocations = &shared.revocations,
                                                                           .identity = around.identity,
                                                                           .registry = around.Channel("registry")}));
  const gateway::GatewayConfig& door = around.config.gateway;
  options->max_receive_bytes = ingest::kMaxReceiveBytes;
  options->external_acceptor = true;
  options->limits = rpc::DoorLimits::Outside();
  options->limits.address_per_minute = door.rate_limit_per_minute;
  options->limits.user_per_minute = door.rate_limit_user_per_minute;
  options->limits.collector_per_minute = door.rate_limit_collector_per_minute;
  options->authenticator = &*shared.authenticator;
  options->metrics = &shared.metrics;
  options->rates = &shared.rates;
  if (door.tls_enabled) {
    options->tls.enabled = true;
    options->tls.cert_path = door.tls_cert_path;
    options->tls.key_path = door.tls_key_path;
    options->tls.ca_pem = shared.auth->ca_certificate_pem();
  }
  ingest::IngestServer* const ingest = server.get();
  return Run(std::move(server), [ingest] { ingest->PrepareDrain(); });
}

absl::StatusOr<rpc::RunningService> MakeCompactor(const Surroundings& around, rpc::Server::Options*) {
  PGA_ASSIGN_OR_RETURN(auto server, compactor::CompactorServer::Create(
                                        around.config.compactor, {.metrics = &around.shared.metrics,
                                                                  .clock = clock::Clock::Real(),
                                                                  .authenticator = &*around.shared.authenticator}));
  return Run(std::move(server));
}

absl::StatusOr<rpc::RunningService> MakeRuler(const Surroundings& around, rpc::Server::Options*) {
  PGA_ASSIGN_OR_RETURN(auto server,
                       ruler::RulerServer::Create(around.config.ruler, {.metrics = &around.shared.metrics,
                                                                        .clock = clock::Clock::Real(),
                                                                        .authenticator = &*around.shared.authenticator,
                                                                        .identity = around.identity,
                                                                        .query = around.Channel("query"),
                                                                        .registry = around.Channel("registry"),
                                                                        .compactor = around.Channel("compactor")}));
  return Run(std::move(server));
}

absl::StatusOr<rpc::RunningService> MakeGateway(const Surroundings& around, rpc::Server::Options*) {
  Shared& shared = around.shared;
  gateway::GatewayService::Deps deps;
  deps.metrics = &shared.metrics;
  deps.clock = clock::Clock::Real();
  deps.verifier = &shared.verifier;
  deps.revocations = &shared.revocations;
  deps.rates = &shared.rates;
  for (const token::ServiceRow& row : token::kServices) {
    if (!row.package.empty()) deps.channels.emplace_back(row.package, around.Channel(row.name));
  }
  deps.service_token = [identity = around.identity] { return identity->Token(); };
  deps.hand_over = [server = around.Find("ingest")->server.get()](int fd, std::string already_read) {
    return server->AcceptConnection(fd, std::move(already_read));
  };
  PGA_ASSIGN_OR_RETURN(auto created, gateway::GatewayService::Create(around.config.gateway, std::move(deps)));
  PGA_RETURN_IF_ERROR(created->Start());
  shared.gateway = created.get();
  std::shared_ptr<gateway::GatewayService> gateway = std::move(created);
  return rpc::RunningService{
      .owner = gateway, .services = {}, .prepare_drain = {}, .drain = [gateway](clock::SteadyTime deadline) {
        gateway->Drain(deadline);
      }};
}

constexpr std::pair<std::string_view, Factory> kFactories[] = {
    {"auth", MakeAuth},           {"query", MakeQuery}, {"registry", MakeRegistry}, {"ingest", MakeIngest},
    {"compactor", MakeCompactor}, {"ruler", MakeRuler}, {"gateway", MakeGateway},
};

constexpr bool EveryServiceHasAFactory() {
  return std::ranges::equal(token::kServices, kFactories, {}, &token::ServiceRow::name,
                            [](const auto& factory) { return factory.first; });
}
static_assert(EveryServiceHasAFactory(), "kFactories follows token::kServices row by row");

absl::StatusOr<Running> Start(size_t index, const ApiConfig& config, Shared& shared,
                              const std::vector<Running>& running) {
  Running one;
  one.row = &token::kServices[index];
  const std::string name(one.row->name);
  if (shared.auth != nullptr) one.identity = rpc::ServiceIdentity::Local(shared.auth->signer(), name);
  rpc::Server::Options options;
  options.name = name;
  PGA_ASSIGN_OR_RETURN(one.service, kFactories[index].second({config, shared, one.identity.get(), running}, &options));
  if (one.row->port == 0) return one;
  options.services = one.service.services;
  PGA_ASSIGN_OR_RETURN(one.server, rpc::Server::Start(std::move(options)));
  return one;
}

}  // namespace

struct Composition::Parts {
  ~Parts() {
    trim.reset();
    exposer.reset();
    while (!running.empty()) running.pop_back();
  }
  Shared shared;
  std::vector<Running> running;
  std::unique_ptr<metrics::Exposer> exposer;
  std::unique_ptr<exec::PeriodicTask> trim;
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
  Shared& shared = parts->shared;
  shared.authenticator.emplace(
      &shared.verifier, &shared.revocations,
      rpc::Authenticator::Hooks{
          .check_revocation = [&shared](const token::Principal& principal, clock::SteadyTime deadline) {
            return shared.auth->CheckRevocation(principal, deadline);
          }});
  for (size_t i = 0; i < std::size(token::kServices); ++i) {
    PGA_ASSIGN_OR_RETURN(Running one, pga::api::Start(i, config, shared, parts->running));
    parts->running.push_back(std::move(one));
  }
  if (!config.metrics_listen.empty()) {
    PGA_ASSIGN_OR_RETURN(parts->exposer, metrics::Exposer::Start(config.metrics_listen, shared.metrics));
  }
  parts->trim = exec::TrimHeap();
  return std::unique_ptr<Composition>(new Composition(std::move(parts)));
}

Composition::Composition(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Composition::~Composition() {
  Drain(clock::SteadyNow());
}

int Composition::port() const {
  return parts_->shared.gateway->port();
}

bool Composition::has_people() const {
  return parts_->shared.auth->has_people();
}

void Composition::Drain(clock::SteadyTime deadline) {
  for (auto one = parts_->running.rbegin(); one != parts_->running.rend(); ++one) {
    if (one->service.prepare_drain) one->service.prepare_drain();
    if (one->server != nullptr) one->server->Drain(deadline);
    one->service.drain(deadline);
  }
}

}  // namespace pga::api
