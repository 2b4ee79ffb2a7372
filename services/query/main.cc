// pga-query: the query service as a process of its own.
#include <cstdio>

#include "libs/config/config.h"
#include "libs/exec/shutdown.h"
#include "libs/log/log.h"
#include "services/query/standalone_server.h"

int main(int argc, char** argv) {
  pga::exec::ShutdownSignal::Install();
  pga::config::Loader loader(argc, argv, pga::config::ProcessEnvironment(),
                             "pga-query: reads of stored metrics for pgAnalytics.");
  pga::query::StandaloneConfig config;
  pga::query::RegisterOptions(loader, &config);
  if (const absl::Status status = loader.Parse(); !status.ok()) {
    std::fprintf(stderr, "pga-query: %s\n", std::string(status.message()).c_str());
    return 2;
  }
  if (loader.help_requested()) {
    std::fputs(loader.Help().c_str(), stdout);
    return 0;
  }
  if (loader.version_requested()) {
    std::puts("pga-query " PGA_VERSION);
    return 0;
  }
  if (const absl::Status status = pga::query::RunStandalone(config); !status.ok()) {
    PGA_LOG(error, "query service ends", {{"status", status}});
    return 1;
  }
  return 0;
}
