// pganalytics-collector: reads statistics of PostgreSQL servers and delivers them to the suite.
#include <malloc.h>

#include <cstdio>

#include "libs/config/config.h"
#include "libs/exec/locks.h"
#include "libs/exec/shutdown.h"
#include "libs/exec/startup_pages.h"
#include "libs/log/log.h"
#include "libs/rpc/runtime.h"
#include "services/collector/collector.h"
#include "services/collector/config.h"
#include "services/collector/failpoints.h"
#include "services/collector/plan_explainer.h"

namespace {

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "pganalytics-collector: %s\n", std::string(status.message()).c_str());
  // What is written wrong, as of every program of the suite.
  return absl::IsInvalidArgument(status) ? 2 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  // One arena for all threads and early return of free memory: there is little to contend for, and the heap stays
  // small.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_TRIM_THRESHOLD, 256 << 10);
  mallopt(M_MMAP_THRESHOLD, 128 << 10);
  pga::exec::SkipLockOrderChecks();
  pga::config::Loader loader(argc, argv, pga::config::ProcessEnvironment(),
                             "pganalytics-collector: reads statistics of PostgreSQL servers and delivers them.");
  pga::collector::CollectorConfig config;
  pga::collector::RegisterOptions(loader, &config);
  if (absl::Status status = loader.Parse(); !status.ok()) return Fail(status);
  if (loader.help_requested()) {
    std::fputs(loader.Help().c_str(), stdout);
    return 0;
  }
  if (loader.version_requested()) {
    std::puts("pganalytics-collector " PGA_VERSION);
    return 0;
  }
  if (config.explain_setup) {
    std::fputs(pga::collector::ExplainSetupScript(config.environment_source.user).c_str(), stdout);
    return 0;
  }
  if (absl::Status status = pga::collector::FinishConfig(&config); !status.ok()) return Fail(status);
  const auto level = pga::log::ParseLevel(config.log_level);
  if (!level.ok()) return Fail(level.status());
  pga::log::Init({.level = *level, .json = true, .service = "collector", .sink = nullptr});
  if (config.check_only) {
    const auto complete = pga::collector::Collector::Check(config);
    if (!complete.ok()) return Fail(complete.status());
    return *complete ? 0 : 1;
  }
  if (!pga::collector::ArmFailpointsFromEnvironment()) {
    return Fail(absl::InvalidArgumentError("PGA_FAILPOINT is not name:count[:action[:times]]"));
  }
  pga::exec::ShutdownSignal::Install();
  const pga::rpc::Runtime grpc;
  auto collector = pga::collector::Collector::Create(config);
  if (!collector.ok()) return Fail(collector.status());
  pga::exec::ReleaseStartupPages();
  if (absl::Status status = (*collector)->Run(); !status.ok()) return Fail(status);
  return 0;
}
