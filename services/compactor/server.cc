#include "services/compactor/server.h"

#include <utility>

#include "libs/clock/steady.h"
#include "libs/exec/thread_pool.h"
#include "libs/pg/conninfo.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/storage/upkeep/upkeep.h"
#include "services/compactor/compactor_service.h"

namespace pga::compactor {

// Members are destroyed from the last to the first: the service before what it asks.
struct CompactorServer::Parts {
  std::unique_ptr<storage::Upkeep> upkeep;
  std::unique_ptr<exec::ThreadPool> threads;
  std::unique_ptr<rpc::Dispatcher> dispatcher;
  std::unique_ptr<CompactorService> service;
};

absl::StatusOr<std::unique_ptr<CompactorServer>> CompactorServer::Create(const CompactorConfig& config,
                                                                         const CompactorDeps& deps) {
  if (config.metrics_url.empty()) {
    return absl::InvalidArgumentError("TIMESCALE_URL is not set; give the postgresql:// URL of the metrics database");
  }
  if (const auto parsed = pg::WritableConninfo(config.metrics_url.Reveal()); !parsed.ok()) {
    return status::Annotate(parsed.status(), "TIMESCALE_URL");
  }
  auto parts = std::make_unique<Parts>();
  storage::UpkeepOptions options;
  options.url = config.metrics_url.Reveal();
  options.clock = deps.clock;
  options.registry = deps.metrics;
  options.merge.settle = config.settle;
  options.clean_up.quarantine_bytes = int64_t{config.quarantine_mib} << 20;
  options.clean_up.quarantine_collector_bytes = options.clean_up.quarantine_bytes / 4;
  parts->upkeep = storage::Upkeep::Start(std::move(options));
  parts->threads = std::make_unique<exec::ThreadPool>("compactor", 2, 32);
  rpc::Dispatcher::Options calls;
  calls.request_timeout = config.request_timeout;
  calls.stream_timeout = config.request_timeout;
  calls.error_domain = "compactor.pganalytics";
  // Deadlines of calls are points of real time.
  parts->dispatcher = std::make_unique<rpc::Dispatcher>(deps.authenticator, parts->threads.get(), deps.metrics,
                                                        clock::Clock::Real(), calls);
  parts->service = std::make_unique<CompactorService>(parts->dispatcher.get(), deps.authenticator, parts->upkeep.get());
  return std::unique_ptr<CompactorServer>(new CompactorServer(std::move(parts)));
}

CompactorServer::CompactorServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

CompactorServer::~CompactorServer() {
  Drain(clock::SteadyTime::InfinitePast());
}

std::vector<grpc::Service*> CompactorServer::services() {
  return {parts_->service.get()};
}

void CompactorServer::Drain(clock::SteadyTime deadline) {
  parts_->upkeep->Stop();
  parts_->threads->Drain(deadline);
}

}  // namespace pga::compactor
