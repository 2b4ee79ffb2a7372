#include "services/ingest/server.h"

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/exec/periodic_task.h"
#include "libs/exec/thread_pool.h"
#include "libs/log/log.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/pool.h"
#include "libs/pg/read_pool.h"
#include "libs/retry/rate_limiter.h"
#include "libs/rpc/reflection.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/write/group_writer.h"
#include "services/ingest/applied_catalog.h"
#include "services/ingest/batch_preparer.h"
#include "services/ingest/config_client.h"
#include "services/ingest/enrolment_relay.h"
#include "services/ingest/flow_budget.h"
#include "services/ingest/ingest_service.h"
#include "services/ingest/owner_client.h"
#include "services/ingest/pg_ingest_store.h"
#include "services/ingest/push_intake.h"
#include "services/ingest/push_sources.h"
#include "services/ingest/push_writer.h"
#include "services/ingest/source_directory.h"
#include "services/ingest/stream_session.h"
#include "services/ingest/write_queue.h"

namespace pga::ingest {
namespace {

constexpr absl::Duration kTick = absl::Seconds(2);
constexpr absl::Duration kUpkeep = absl::Seconds(5);
constexpr absl::Duration kTouchEvery = absl::Seconds(60);
constexpr absl::Duration kOwnersEvery = absl::Seconds(1);
constexpr absl::Duration kCatalogEvery = absl::Seconds(15);
constexpr absl::Duration kDurabilityEvery = absl::Minutes(1);
// Pushes that are stored at a time.
constexpr int kPushConnections = 2;

class PgBatchWriter final : public BatchWriter {
 public:
  explicit PgBatchWriter(std::unique_ptr<storage::GroupWriter> writer) : writer_(std::move(writer)) {}
  std::vector<storage::BatchResult> WriteGroup(const std::vector<const storage::PreparedBatch*>& batches) override {
    return writer_->WriteGroup(batches);
  }

 private:
  const std::unique_ptr<storage::GroupWriter> writer_;
};

}  // namespace

// In the order in which they are built; taken apart in reverse.
struct IngestServer::Parts {
  IngestConfig config;
  IngestDeps deps;
  // The metrics database where it takes writes.
  log::Secret writable_url;
  std::unique_ptr<pg::Pool> pool;
  // For reading what is stored of sources that get another owner.
  std::unique_ptr<pg::ReadPool> reads;
  std::unique_ptr<PushWriter> pushes;
  std::unique_ptr<PgIngestStore> store;
  std::unique_ptr<OwnerClient> owners;
  std::unique_ptr<retry::RateLimiter> hello_limiter;
  std::unique_ptr<AppliedCatalog> catalog;
  std::unique_ptr<SourceDirectory> sources;
  std::unique_ptr<PushSources> push_sources;
  std::unique_ptr<PushIntake> push_intake;
  std::unique_ptr<BatchPreparer> preparer;
  std::unique_ptr<FlowBudget> budget;
  SessionRegistry sessions;
  std::unique_ptr<SessionInstruments> instruments;
  SessionContext context;
  std::unique_ptr<exec::ThreadPool> decode_pool;
  std::unique_ptr<exec::ThreadPool> control_pool;
  std::unique_ptr<exec::ThreadPool> call_pool;
  std::unique_ptr<WriteQueue> queue;
  std::unique_ptr<rpc::Dispatcher> dispatcher;
  std::unique_ptr<ConfigClient> configs;
  std::unique_ptr<EnrolmentRelay> relay;
  std::unique_ptr<IngestService> service;
  std::unique_ptr<rpc::Reflection> reflection;
  std::unique_ptr<exec::PeriodicTask> ticker, upkeep, config_poll, owner_poll;
  metrics::Gauge* unsafe = nullptr;

  mutable absl::Mutex mutex;
  // Whether commits of this database are durable; UNAVAILABLE until it has been asked.
  absl::Status durability ABSL_GUARDED_BY(mutex) = absl::UnavailableError("the metrics database has not answered yet");
  clock::SteadyTime durability_asked ABSL_GUARDED_BY(mutex);
  // As the writers found it last.
  std::string database ABSL_GUARDED_BY(mutex);
  bool catalog_due ABSL_GUARDED_BY(mutex) = false;
  clock::SteadyTime touched ABSL_GUARDED_BY(mutex);

  void OnDatabase(const std::string& identity);
  void AskDurability();
  void Upkeep();
  absl::Status Safe() const;
};

absl::Status IngestServer::Parts::Safe() const {
  absl::MutexLock lock(&mutex);
  if (durability.code() == absl::StatusCode::kFailedPrecondition && config.environment == "production") {
    return durability;
  }
  return absl::OkStatus();
}

// On a writer's thread, with every connection it makes.
void IngestServer::Parts::OnDatabase(const std::string& identity) {
  bool changed = false;
  {
    absl::MutexLock lock(&mutex);
    durability_asked = clock::SteadyTime::InfinitePast();
    if (!identity.empty()) {
      changed = !database.empty() && database != identity;
      database = identity;
    }
    catalog_due = catalog_due || changed;
  }
  upkeep->Wake();
  if (!changed) return;
  PGA_LOG(warn, "another metrics database answers than before, or another history of it; all streams begin anew",
          {{"database", identity}});
  sources->Clear();
  owners->BeginAnew();
  for (const std::shared_ptr<StreamSession>& session : sessions.All()) {
    session->Close(status::WithReason(absl::UnavailableError("the metrics database has changed; connect again"),
                                      kReasonDatabaseChanged));
  }
}

void IngestServer::Parts::AskDurability() {
  const clock::SteadyTime now = clock::SteadyNow();
  absl::Status former;
  {
    absl::MutexLock lock(&mutex);
    former = durability;
    if (former.code() != absl::StatusCode::kUnavailable && now - durability_asked < kDurabilityEvery) return;
    durability_asked = now;
  }
  absl::Status answer = storage::CheckDurability(writable_url.Reveal(), /*allow_unsafe=*/false);
  // What was found holds until the database says something else.
  if (!answer.ok() && answer.code() != absl::StatusCode::kFailedPrecondition) return;
  if (answer.code() != former.code()) {
    if (answer.ok()) {
      PGA_LOG(info, "commits of the metrics database are durable", {});
    } else {
      PGA_LOG(warn, "THE METRICS DATABASE CAN LOSE ACKNOWLEDGED ROWS: delivery is not exactly once across its crashes",
              {{"reason", answer}, {"streams_refused", config.environment == "production"}});
    }
  }
  unsafe->Set(answer.ok() ? 0 : 1);
  absl::MutexLock lock(&mutex);
  durability = std::move(answer);
}

void IngestServer::Parts::Upkeep() {
  AskDurability();
  bool reload;
  {
    absl::MutexLock lock(&mutex);
    reload = std::exchange(catalog_due, false);
  }
  const clock::SteadyTime now = clock::SteadyNow();
  if (absl::Status status =
          catalog->RefreshIfOlder(reload ? absl::ZeroDuration() : kCatalogEvery, now + absl::Seconds(5));
      !status.ok()) {
    PGA_LOG(warn, "the applied catalog was not read", {{"status", status}});
  }
  bool touch = false;
  {
    absl::MutexLock lock(&mutex);
    if (now - touched >= kTouchEvery) {
      touch = true;
      touched = now;
    }
  }
  if (touch) {
    if (absl::Status status = store->TouchSources(sources->TakeActive(), now + absl::Seconds(10)); !status.ok()) {
      PGA_LOG(debug, "last_seen of sources was not written", {{"status", status}});
    }
  }
}

absl::StatusOr<std::unique_ptr<IngestServer>> IngestServer::Create(const IngestConfig& config, const IngestDeps& deps) {
  PGA_RETURN_IF_ERROR(Validate(config));
  auto parts = std::make_unique<Parts>();
  Parts* p = parts.get();
  p->config = config;
  p->deps = deps;
  pg::PoolOptions pool;
  absl::StatusOr<std::string> writable = pg::WritableConninfo(config.metrics_url.Reveal());
  if (!writable.ok()) return status::Annotate(writable.status(), "TIMESCALE_URL");
  pool.url = *std::move(writable);
  p->writable_url = log::Secret(pool.url);
  pool.application_name = "pga-ingest";
  pool.role = "pganalytics_ingest";
  pool.size = config.connections;
  pool.lock_timeout = absl::Seconds(5);
  PGA_ASSIGN_OR_RETURN(p->pool, pg::Pool::Create(std::move(pool)));
  PGA_ASSIGN_OR_RETURN(p->reads, pg::ReadPool::Create({.url = p->writable_url.Reveal(),
                                                       .application_name = "pga-ingest takeover",
                                                       .size = 2,
                                                       .role = "pganalytics_ingest"}));
  p->pushes = std::make_unique<PushWriter>(pg::CopyConnectionOptions{.url = p->writable_url.Reveal(),
                                                                     .application_name = "pga-ingest pushes",
                                                                     .role = "pganalytics_ingest",
                                                                     .lock_timeout = absl::Seconds(5)},
                                           kPushConnections);
  p->store = std::make_unique<PgIngestStore>(p->pool.get(), p->reads.get());
  p->owners = std::make_unique<OwnerClient>(deps.registry, deps.identity, deps.metrics);
  p->catalog = std::make_unique<AppliedCatalog>(p->store.get());
  SourceAuthority* const authority = deps.authority != nullptr ? deps.authority : p->owners.get();
  p->sources = std::make_unique<SourceDirectory>(p->store.get(), authority);
  p->push_sources = std::make_unique<PushSources>(p->pool.get(), authority, p->sources.get(), deps.clock);
  p->push_intake = std::make_unique<PushIntake>(p->store.get(), p->catalog.get(), p->push_sources.get(),
                                                p->pushes.get(), deps.clock);
  p->preparer = std::make_unique<BatchPreparer>(PreparerOptions{}, p->catalog.get(), p->sources.get(), p->store.get(),
                                                deps.clock);
  const int64_t rows_in_flight =
      config.rows_in_flight > 0 ? config.rows_in_flight : int64_t{3} * config.group_rows * config.writers;
  p->budget = std::make_unique<FlowBudget>(rows_in_flight, config.bytes_in_flight);
  p->instruments = std::make_unique<SessionInstruments>(deps.metrics);
  p->unsafe = &deps.metrics->AddGauge("pga_ingest_unsafe_database",
                                      "1 when the metrics database can lose acknowledged rows in a crash");
  const auto streams = static_cast<size_t>(config.max_streams);
  p->decode_pool = std::make_unique<exec::ThreadPool>("ingest-decode", config.decode_threads, 2 * streams);
  p->control_pool = std::make_unique<exec::ThreadPool>("ingest-hello", 4, streams);
  p->call_pool = std::make_unique<exec::ThreadPool>("ingest-calls", config.threads, static_cast<size_t>(config.queue));

  std::vector<std::unique_ptr<BatchWriter>> writers;
  for (int i = 0; i < config.writers; ++i) {
    storage::GroupWriterOptions options;
    options.url = config.metrics_url.Reveal();
    options.on_database = [p](const std::string& identity) { p->OnDatabase(identity); };
    options.on_point = deps.on_write_point;
    PGA_ASSIGN_OR_RETURN(auto writer, storage::GroupWriter::Create(std::move(options)));
    writers.push_back(std::make_unique<PgBatchWriter>(std::move(writer)));
  }
  WriteQueueOptions queue;
  queue.max_group_rows = config.group_rows;
  p->queue = std::make_unique<WriteQueue>(queue, std::move(writers), deps.metrics);

  p->context.window = config.window;
  p->context.store = p->store.get();
  p->context.preparer = p->preparer.get();
  p->context.sources = p->sources.get();
  p->context.queue = p->queue.get();
  p->context.budget = p->budget.get();
  p->context.decode_pool = p->decode_pool.get();
  p->context.control_pool = p->control_pool.get();
  p->context.registry = &p->sessions;
  p->context.revocations = deps.revocations;
  p->context.clock = deps.clock;
  p->context.instruments = p->instruments.get();
  p->hello_limiter = std::make_unique<retry::RateLimiter>(deps.clock);
  p->context.hello_limiter = p->hello_limiter.get();
  p->context.hellos_per_minute = config.hellos_per_minute;
  p->context.admission = [p] { return p->Safe(); };

  rpc::Dispatcher::Options dispatcher;
  dispatcher.request_timeout = config.request_timeout;
  dispatcher.error_domain = "ingest.pganalytics";
  p->dispatcher =
      std::make_unique<rpc::Dispatcher>(deps.authenticator, p->call_pool.get(), deps.metrics, deps.clock, dispatcher);
  p->configs = std::make_unique<ConfigClient>(deps.registry, deps.identity, &p->sessions, deps.metrics);
  p->relay = std::make_unique<EnrolmentRelay>(EnrolmentRelay::Options{}, p->dispatcher.get(), deps.registry,
                                              deps.identity, deps.metrics, deps.clock);
  IngestService::Options service;
  service.max_streams = streams;
  p->service = std::make_unique<IngestService>(service, &p->context, p->push_intake.get(), p->dispatcher.get(),
                                               p->configs.get(), deps.metrics);
  p->reflection = std::make_unique<rpc::Reflection>(
      deps.authenticator, p->dispatcher.get(),
      std::vector<std::string>{pganalytics::ingest::v1::IngestService::service_full_name(),
                               pganalytics::registry::v1::EnrolmentService::service_full_name()});

  p->ticker = std::make_unique<exec::PeriodicTask>("ingest-ticker", kTick, deps.clock, [p] {
    for (const std::shared_ptr<StreamSession>& session : p->sessions.All()) session->Tick();
  });
  p->upkeep = std::make_unique<exec::PeriodicTask>("ingest-upkeep", kUpkeep, deps.clock, [p] { p->Upkeep(); });
  p->upkeep->Wake();
  p->config_poll = std::make_unique<exec::PeriodicTask>("ingest-configs", config.config_poll, deps.clock,
                                                        [p] { p->configs->Run(absl::Seconds(30)); });
  p->owner_poll = std::make_unique<exec::PeriodicTask>("ingest-owners", kOwnersEvery, deps.clock, [p] {
    const absl::Status polled = p->owners->Poll(p->store.get(), p->sources.get(), absl::Seconds(20));
    if (!polled.ok()) PGA_LOG(debug, "owners of sources were not asked for", {{"status", polled}});
  });
  return std::unique_ptr<IngestServer>(new IngestServer(std::move(parts)));
}

IngestServer::IngestServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

IngestServer::~IngestServer() {
  PrepareDrain();
  Drain(clock::SteadyNow() + absl::Seconds(10));
}

std::vector<grpc::Service*> IngestServer::services() {
  std::vector<grpc::Service*> services = parts_->reflection->services();
  services.insert(services.end(), {parts_->service.get(), parts_->relay.get()});
  return services;
}

absl::Status IngestServer::Ready(clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(parts_->Safe());
  return parts_->store->Ping(deadline);
}

void IngestServer::PrepareDrain() {
  parts_->service->BeginDrain();
  parts_->reflection->BeginDrain();
  parts_->configs->Stop();
}

void IngestServer::Drain(clock::SteadyTime deadline) {
  parts_->service->BeginDrain();
  parts_->reflection->BeginDrain();
  parts_->control_pool->Drain(deadline);
  parts_->decode_pool->Drain(deadline);
  // Answers of the writers go to sessions, which outlive the queue's threads.
  parts_->queue->Drain(deadline);
  parts_->ticker->Stop();
  parts_->upkeep->Stop();
  parts_->config_poll->Stop();
  parts_->owner_poll->Stop();
  parts_->call_pool->Drain(deadline);
}

}  // namespace pga::ingest
