#include "services/registry/server.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "libs/catalog/catalog.h"
#include "libs/clock/steady.h"
#include "libs/exec/periodic_task.h"
#include "libs/exec/thread_pool.h"
#include "libs/log/log.h"
#include "libs/net/allowed_hosts.h"
#include "libs/net/host_resolver.h"
#include "libs/pg/pool.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/token/secret_box.h"
#include "services/registry/auth_client.h"
#include "services/registry/connection_tester.h"
#include "services/registry/enrolment_service.h"
#include "services/registry/managed_instance_service.h"
#include "services/registry/managed_instances.h"
#include "services/registry/pg_collector_store.h"
#include "services/registry/pg_managed_store.h"
#include "services/registry/pg_source_store.h"
#include "services/registry/query_client.h"
#include "services/registry/registry.h"
#include "services/registry/registry_service.h"

namespace pga::registry {

namespace {
constexpr absl::Duration kActivityPeriod = absl::Seconds(15);
constexpr absl::Duration kCatalogPeriod = absl::Seconds(30);
constexpr absl::Duration kBackupPeriod = absl::Minutes(1);

// The newest backup of both databases.
constexpr char kLastBackup[] =
    "SELECT extract(epoch FROM max(finished_at))::float8 FROM pganalytics.backups WHERE databases @> "
    "ARRAY['metadata', 'metrics']";

void ShowLastBackup(pg::Pool* pool, metrics::Gauge* gauge) {
  const auto asked = pool->Exec(kLastBackup, {}, clock::SteadyNow() + absl::Seconds(5));
  // Without an answer the last one stands.
  if (asked.ok() && !asked->empty()) gauge->Set((*asked)[0].Double(0));
}
}  // namespace

// Members in the order they are built; they go in reverse.
struct RegistryServer::Parts {
  std::unique_ptr<pg::Pool> pool;
  std::optional<PgCollectorStore> store;
  std::optional<PgSourceStore> sources;
  std::optional<AuthClient> auth;
  std::optional<QueryClient> query;
  std::optional<Registry> registry;
  std::optional<PgManagedStore> managed_store;
  std::optional<ConnectionTester> tester;
  std::optional<ManagedInstances> instances;
  std::optional<catalog::CustomFolder> catalog;
  std::optional<exec::ThreadPool> threads;
  std::optional<rpc::Dispatcher> dispatcher;
  std::optional<RegistryService> registry_service;
  std::optional<EnrolmentService> enrolment_service;
  std::optional<ManagedInstanceService> instance_service;
  std::optional<exec::PeriodicTask> activity_task;
  std::optional<exec::PeriodicTask> catalog_task;
  std::optional<exec::PeriodicTask> backup_task;
};

absl::StatusOr<std::unique_ptr<RegistryServer>> RegistryServer::Create(const RegistryConfig& config,
                                                                       const RegistryDeps& deps) {
  if (config.database_url.empty()) {
    return absl::InvalidArgumentError("DATABASE_URL is missing: postgresql:// URL of the metadata database");
  }
  PGA_RETURN_IF_ERROR(Validate(config));
  auto parts = std::make_unique<Parts>();
  auto pool = pg::Pool::Create({.url = config.database_url.Reveal(),
                                .application_name = "pganalytics-registry",
                                .size = config.connections,
                                .role = "pganalytics_registry"});
  if (!pool.ok()) return status::Annotate(pool.status(), "DATABASE_URL");
  parts->pool = *std::move(pool);
  parts->store.emplace(parts->pool.get());
  parts->sources.emplace(parts->pool.get());
  parts->auth.emplace(deps.auth, deps.identity);
  if (deps.query != nullptr) parts->query.emplace(deps.query, deps.identity);
  parts->registry.emplace(&*parts->store, &*parts->sources, &*parts->auth,
                          parts->query.has_value() ? &*parts->query : nullptr, config.max_concurrent_collectors,
                          deps.clock);
  parts->managed_store.emplace(parts->pool.get());
  PGA_ASSIGN_OR_RETURN(net::AllowedHosts hosts,
                       net::AllowedHosts::Parse(config.managed_hosts, "MANAGED_INSTANCE_HOSTS"));
  // A test holds a thread for as long as a server lets it wait: others keep half of them.
  parts->tester.emplace(std::move(hosts), config.managed_ca_file, std::max(1, config.threads / 2),
                        &net::HostResolver::System());
  std::optional<token::SecretBox> box;
  if (!config.encryption_key.empty()) {
    PGA_ASSIGN_OR_RETURN(box, token::SecretBox::FromText(config.encryption_key.Reveal()));
  }
  parts->instances.emplace(&*parts->managed_store, &*parts->store, &*parts->tester, std::move(box), deps.clock);
  parts->catalog.emplace(config.catalog_folder);
  PGA_RETURN_IF_ERROR(parts->catalog->last_error());
  parts->threads.emplace("registry", config.threads, static_cast<size_t>(config.queue));
  rpc::Dispatcher::Options options;
  options.request_timeout = config.request_timeout;
  options.error_domain = "registry.pganalytics";
  parts->dispatcher.emplace(deps.authenticator, &*parts->threads, deps.metrics, deps.clock, options);
  parts->registry_service.emplace(&*parts->dispatcher, &*parts->registry, &*parts->catalog, deps.clock);
  parts->enrolment_service.emplace(&*parts->dispatcher, &*parts->registry, &*parts->instances);
  parts->instance_service.emplace(&*parts->dispatcher, &*parts->instances);
  parts->activity_task.emplace("registry-activity", kActivityPeriod, deps.clock,
                               [registry = &*parts->registry] { registry->RefreshActivity(absl::Seconds(5)); });
  if (!config.catalog_folder.empty()) {
    parts->catalog_task.emplace("registry-catalog", kCatalogPeriod, deps.clock, [folder = &*parts->catalog] {
      const absl::Status status = folder->Reload();
      if (!status.ok()) PGA_LOG(warn, "the custom catalog is bad; the last good one stays", {{"reason", status}});
    });
  }
  metrics::Gauge* const last_backup =
      &deps.metrics->AddGauge("pga_backup_last_success_timestamp_seconds",
                              "When the newest backup of both databases ended, in seconds since 1970; 0 = none");
  parts->backup_task.emplace("registry-backups", kBackupPeriod, deps.clock,
                             [pool = parts->pool.get(), last_backup] { ShowLastBackup(pool, last_backup); });
  parts->backup_task->Wake();
  return std::unique_ptr<RegistryServer>(new RegistryServer(std::move(parts)));
}

RegistryServer::RegistryServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

RegistryServer::~RegistryServer() {
  Drain(clock::SteadyNow());
}

std::vector<grpc::Service*> RegistryServer::services() {
  return {&*parts_->registry_service, &*parts_->enrolment_service, &*parts_->instance_service};
}

void RegistryServer::Drain(clock::SteadyTime deadline) {
  if (parts_->activity_task.has_value()) parts_->activity_task->Stop();
  if (parts_->catalog_task.has_value()) parts_->catalog_task->Stop();
  if (parts_->backup_task.has_value()) parts_->backup_task->Stop();
  parts_->threads->Drain(deadline);
}

}  // namespace pga::registry
