// The ingest service as a process that the fault campaign may kill: the real IngestServer behind a Unix socket, with
// the tokens of tests, so that no other service is needed. Arguments: URL of the metrics database, address to listen
// on.
#include <cstdio>

#include "libs/clock/steady.h"
#include "libs/exec/shutdown.h"
#include "services/ingest/ingest_testing.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: ingest_under_test URL ADDRESS\n");
    return 2;
  }
  pga::exec::ShutdownSignal::Install();
  pga::ingest::IngestHarness::Options options;
  options.config.metrics_url = pga::log::Secret(argv[1]);
  options.listen = {argv[2]};
  pga::ingest::IngestHarness harness(std::move(options));
  std::puts("ready");
  std::fflush(stdout);
  pga::exec::ShutdownSignal::WaitUntil(pga::clock::SteadyTime::InfiniteFuture());
  harness.Drain(absl::Seconds(20));
  std::puts("drained");
  return 0;
}
