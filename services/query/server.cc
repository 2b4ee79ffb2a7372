#include "services/query/server.h"

#include <algorithm>
#include <utility>

#include "libs/catalog/catalog.h"
#include "libs/clock/steady.h"
#include "libs/exec/thread_pool.h"
#include "libs/pg/pool.h"
#include "libs/pg/read_pool.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "services/query/advice_service.h"
#include "services/query/compatibility_service.h"
#include "services/query/health.h"
#include "services/query/identity_client.h"
#include "services/query/insight/anomaly_store.h"
#include "services/query/insight/snapshot_store.h"
#include "services/query/insight_service.h"
#include "services/query/otlp_client.h"
#include "services/query/otlp_metrics.h"
#include "services/query/prometheus_service.h"
#include "services/query/query_service.h"
#include "services/query/system_service.h"
#include "services/query/workload_service.h"

namespace pga::query {
namespace {

constexpr int kSmallConnections = 3;

// Pushes what every source read last, whatever its group: where it goes is the operator's.
absl::StatusOr<std::unique_ptr<OtlpExporter>> MakeOtlp(const QueryConfig& config, const QueryDeps& deps,
                                                       std::shared_ptr<const catalog::Catalog> catalog,
                                                       storage::SourceReader* sources, storage::LastValues* last) {
  OtlpOptions options;
  options.endpoint = config.otlp_endpoint;
  options.ca_file = config.otlp_ca_file;
  options.headers_file = config.otlp_headers_file;
  options.interval = config.otlp_interval;
  options.max_points = config.otlp_max_points;
  PGA_ASSIGN_OR_RETURN(auto names, OtlpMetrics::Create(std::move(catalog)));
  const auto read = [sources, last](const std::vector<storage::LastWanted>& wanted,
                                    const pg::CallLimit& limit) -> absl::StatusOr<OtlpExporter::Readings> {
    OtlpExporter::Readings readings;
    PGA_ASSIGN_OR_RETURN(const std::vector<std::string> groups, sources->Groups(limit.deadline));
    PGA_ASSIGN_OR_RETURN(readings.sources, sources->Resolve(groups, {}, limit.deadline));
    PGA_ASSIGN_OR_RETURN(readings.values, last->Read(wanted, readings.sources, limit));
    return readings;
  };
  return OtlpExporter::Create(options, std::move(names), read, deps.metrics, deps.clock);
}

}  // namespace

// Members are destroyed from the last to the first: services before readers, readers before the pool.
struct QueryServer::Parts {
  std::unique_ptr<pg::Pool> pool;
  std::unique_ptr<pg::ReadPool> reads;
  std::shared_ptr<const catalog::Catalog> catalog;
  std::unique_ptr<storage::SentInLastDay> sent;
  std::unique_ptr<storage::SourceReader> sources;
  std::unique_ptr<storage::FreshnessReader> freshness;
  std::unique_ptr<storage::SeriesReader> series;
  std::unique_ptr<storage::StatementReader> statements;
  std::unique_ptr<storage::ActivityReader> activity;
  std::unique_ptr<storage::StateReader> state;
  std::unique_ptr<storage::LogEventReader> log_events;
  std::unique_ptr<storage::PlanReader> plans;
  std::unique_ptr<storage::PushedReader> pushed;
  std::unique_ptr<storage::LastValues> last;
  std::unique_ptr<storage::SampleReader> samples;
  // Null without a metadata database.
  std::unique_ptr<pg::Pool> metadata;
  std::unique_ptr<SnapshotStore> snapshots;
  std::unique_ptr<AnomalyStore> anomalies;
  std::unique_ptr<IdentityClient> identity;
  std::unique_ptr<HealthProbe> metadata_health;
  std::unique_ptr<HealthProbe> metrics_health;
  std::unique_ptr<exec::ThreadPool> health_threads;
  std::unique_ptr<exec::ThreadPool> threads;
  // Questions about many sources wait here for each other, so that one about a single source finds a thread.
  std::unique_ptr<exec::ThreadPool> wide_threads;
  // Health has threads of its own: a service whose reads are all busy is still healthy.
  std::unique_ptr<exec::ThreadPool> system_threads;
  std::unique_ptr<rpc::Dispatcher> dispatcher;
  std::unique_ptr<rpc::Dispatcher> wide_dispatcher;
  std::unique_ptr<rpc::Dispatcher> system_dispatcher;
  std::unique_ptr<QueryService> query;
  std::unique_ptr<CompatibilityService> compatibility;
  std::unique_ptr<InsightService> insight;
  std::unique_ptr<PrometheusService> prometheus;
  std::unique_ptr<AdviceReader> advice_reader;
  std::unique_ptr<AdviceService> advice;
  std::unique_ptr<WorkloadService> workload;
  std::unique_ptr<SystemService> system;
  // Null where nothing is pushed.
  std::unique_ptr<OtlpExporter> otlp;
};

absl::StatusOr<std::unique_ptr<QueryServer>> QueryServer::Create(const QueryConfig& config, const QueryDeps& deps) {
  if (config.metrics_url.empty()) {
    return absl::InvalidArgumentError("TIMESCALE_URL is not set; give the postgresql:// URL of the metrics database");
  }
  auto parts = std::make_unique<Parts>();
  pg::PoolOptions options;
  options.url = config.metrics_url.Reveal();
  options.application_name = "pganalytics-query";
  // For small statements: names of sources, and the health check, which must not wait for a read.
  options.size = kSmallConnections;
  options.role = "pganalytics_query";
  options.connect_timeout = absl::Seconds(2);
  options.statement_timeout = config.request_timeout;
  auto pool = pg::Pool::Create(std::move(options));
  if (!pool.ok()) return status::Annotate(pool.status(), "TIMESCALE_URL");
  parts->pool = *std::move(pool);
  pg::ReadPoolOptions read_options;
  read_options.url = config.metrics_url.Reveal();
  read_options.application_name = "pganalytics-query";
  read_options.size = config.connections;
  read_options.role = "pganalytics_query";
  read_options.connect_timeout = absl::Seconds(2);
  read_options.statement_timeout = config.request_timeout;
  auto reads = pg::ReadPool::Create(std::move(read_options));
  if (!reads.ok()) return status::Annotate(reads.status(), "TIMESCALE_URL");
  parts->reads = *std::move(reads);
  if (config.catalog_folder.empty()) {
    PGA_ASSIGN_OR_RETURN(parts->catalog, catalog::Catalog::Builtin());
  } else {
    PGA_ASSIGN_OR_RETURN(parts->catalog, catalog::Catalog::WithCustom(config.catalog_folder));
  }
  pg::Pool* const db = parts->pool.get();
  pg::ReadPool* const read_db = parts->reads.get();
  parts->sent = std::make_unique<storage::SentInLastDay>(deps.clock);
  parts->sources = std::make_unique<storage::SourceReader>(db, read_db, parts->sent.get());
  parts->freshness = std::make_unique<storage::FreshnessReader>(read_db, parts->catalog, parts->sent.get(), deps.clock);
  parts->series = std::make_unique<storage::SeriesReader>(read_db, parts->catalog, deps.clock);
  parts->statements = std::make_unique<storage::StatementReader>(read_db, parts->catalog, deps.clock);
  parts->activity = std::make_unique<storage::ActivityReader>(read_db, parts->catalog);
  parts->state = std::make_unique<storage::StateReader>(read_db, parts->catalog, deps.clock);
  parts->log_events = std::make_unique<storage::LogEventReader>(read_db, parts->catalog, deps.clock);
  parts->plans = std::make_unique<storage::PlanReader>(read_db, parts->catalog, deps.clock);
  parts->pushed = std::make_unique<storage::PushedReader>(read_db);

  const int rows = std::max(config.prometheus_max_series, config.otlp_endpoint.empty() ? 0 : config.otlp_max_points);
  parts->last = std::make_unique<storage::LastValues>(read_db, deps.clock, static_cast<size_t>(rows));
  parts->samples = std::make_unique<storage::SampleReader>(read_db, deps.clock);
  PGA_ASSIGN_OR_RETURN(auto prometheus_names, catalog::PrometheusNames::Create(parts->catalog));

  parts->health_threads = std::make_unique<exec::ThreadPool>("query-ping", 2, 2);
  if (deps.auth != nullptr) parts->identity = std::make_unique<IdentityClient>(deps.auth, deps.identity);
  parts->metadata_health =
      std::make_unique<HealthProbe>("metadata", parts->health_threads.get(),
                                    [identity = parts->identity.get()](clock::SteadyTime deadline) -> absl::Status {
                                      if (identity == nullptr) return absl::UnavailableError("no way to auth");
                                      return identity->PingDatabase(deadline);
                                    });
  parts->metrics_health = std::make_unique<HealthProbe>(
      "metrics", parts->health_threads.get(), [db](clock::SteadyTime deadline) { return db->Ping(deadline); });

  parts->threads = std::make_unique<exec::ThreadPool>("query", config.threads, static_cast<size_t>(config.queue));
  parts->wide_threads =
      std::make_unique<exec::ThreadPool>("query-wide", config.threads, static_cast<size_t>(config.queue));
  parts->system_threads = std::make_unique<exec::ThreadPool>("query-health", 4, 64);
  // Deadlines of calls are points of real time, whatever clock ranges are measured by.
  clock::Clock* const real = clock::Clock::Real();
  rpc::Dispatcher::Options calls;
  calls.request_timeout = config.request_timeout;
  calls.stream_timeout = config.request_timeout;
  calls.error_domain = "query.pganalytics";
  parts->dispatcher =
      std::make_unique<rpc::Dispatcher>(deps.authenticator, parts->threads.get(), deps.metrics, real, calls);
  parts->wide_dispatcher =
      std::make_unique<rpc::Dispatcher>(deps.authenticator, parts->wide_threads.get(), deps.metrics, real, calls);
  parts->system_dispatcher =
      std::make_unique<rpc::Dispatcher>(deps.authenticator, parts->system_threads.get(), deps.metrics, real, calls);
  const Readers readers{parts->sources.get(),    parts->freshness.get(), parts->series.get(),
                        parts->statements.get(), parts->activity.get(),  parts->state.get(),
                        parts->log_events.get(), parts->plans.get(),     parts->pushed.get()};
  parts->query = std::make_unique<QueryService>(parts->dispatcher.get(), parts->wide_dispatcher.get(),
                                                deps.authenticator, readers, deps.clock);
  parts->compatibility = std::make_unique<CompatibilityService>(parts->dispatcher.get(), deps.authenticator, readers,
                                                                parts->query.get(), deps.clock);
  if (!config.database_url.empty()) {
    pg::PoolOptions metadata;
    metadata.url = config.database_url.Reveal();
    metadata.application_name = "pganalytics-query";
    metadata.size = kSmallConnections;
    metadata.role = "pganalytics_insight";
    metadata.connect_timeout = absl::Seconds(2);
    metadata.statement_timeout = config.request_timeout;
    auto made = pg::Pool::Create(std::move(metadata));
    if (!made.ok()) return status::Annotate(made.status(), "DATABASE_URL");
    parts->metadata = *std::move(made);
  }
  parts->snapshots = std::make_unique<SnapshotStore>(parts->metadata.get());
  parts->anomalies = std::make_unique<AnomalyStore>(parts->metadata.get());
  const Dispatchers where{parts->dispatcher.get(), parts->wide_dispatcher.get()};
  parts->insight = std::make_unique<InsightService>(where, deps.authenticator, readers, parts->snapshots.get(),
                                                    parts->anomalies.get(), deps.clock);
  PrometheusService::Options prometheus;
  prometheus.max_series = config.prometheus_max_series;
  prometheus.max_samples = config.prometheus_max_samples;
  parts->prometheus = std::make_unique<PrometheusService>(
      parts->wide_dispatcher.get(), deps.authenticator, std::move(prometheus_names), parts->sources.get(),
      parts->last.get(), parts->samples.get(), deps.clock, prometheus);
  parts->advice_reader = std::make_unique<AdviceReader>(parts->freshness.get(), parts->state.get(), parts->plans.get(),
                                                        parts->statements.get());
  parts->advice =
      std::make_unique<AdviceService>(parts->wide_dispatcher.get(), deps.authenticator, parts->sources.get(),
                                      parts->series.get(), parts->advice_reader.get(), deps.clock);
  parts->workload =
      std::make_unique<WorkloadService>(where, parts->system_dispatcher.get(), deps.authenticator, readers,
                                        parts->advice_reader.get(), parts->metrics_health.get(), deps.clock);
  parts->system = std::make_unique<SystemService>(parts->system_dispatcher.get(), parts->metadata_health.get(),
                                                  parts->metrics_health.get(), deps.clock);
  if (!config.otlp_endpoint.empty()) {
    PGA_ASSIGN_OR_RETURN(parts->otlp, MakeOtlp(config, deps, parts->catalog, parts->sources.get(), parts->last.get()));
  }
  return std::unique_ptr<QueryServer>(new QueryServer(std::move(parts)));
}

QueryServer::QueryServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

QueryServer::~QueryServer() {
  Drain(clock::SteadyTime::InfinitePast());
}

std::vector<grpc::Service*> QueryServer::services() {
  return {parts_->query.get(),    parts_->insight.get(), parts_->prometheus.get(),   parts_->advice.get(),
          parts_->workload.get(), parts_->system.get(),  parts_->compatibility.get()};
}

void QueryServer::Drain(clock::SteadyTime deadline) {
  if (parts_->otlp != nullptr) parts_->otlp->Stop();
  parts_->threads->Drain(deadline);
  parts_->wide_threads->Drain(deadline);
  parts_->system_threads->Drain(deadline);
  parts_->health_threads->Drain(deadline);
}

}  // namespace pga::query
