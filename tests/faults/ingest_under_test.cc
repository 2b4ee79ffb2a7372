// The ingest service as a process that the fault campaigns may kill: the real IngestServer behind a Unix socket, with
// the tokens of tests, so that no other service is needed. Arguments: URL of the metrics database, address to listen
// on, and what is armed, if anything (services/collector/failpoints.h). Its points are moments of a transaction, by
// their numbers in docs/delivery.md: C15 before BEGIN, C16 watermarks locked, C16copy in the middle of COPY, C17 before
// COMMIT, C19 committed. An error at a point is the end of the server's side of the writers' connections.
#include <cstdio>

#include "libs/clock/steady.h"
#include "libs/exec/shutdown.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/write/group_writer.h"
#include "services/collector/failpoints.h"
#include "services/ingest/ingest_testing.h"

namespace {

const char* NameOf(pga::storage::WritePoint point) {
  using pga::storage::WritePoint;
  switch (point) {
    case WritePoint::kBeforeBegin:
      return "C15";
    case WritePoint::kLocked:
      return "C16";
    case WritePoint::kMidCopy:
      return "C16copy";
    case WritePoint::kBeforeCommit:
      return "C17";
    case WritePoint::kCommitted:
      return "C19";
    case WritePoint::kConnected:
    case WritePoint::kBegun:
      return "";
  }
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "usage: ingest_under_test URL ADDRESS [FAILPOINTS]\n");
    return 2;
  }
  if (!pga::collector::ArmFailpoints(argc == 4 ? argv[3] : "")) {
    std::fprintf(stderr, "failpoints are name:count[:action[:times]]\n");
    return 2;
  }
  pga::exec::ShutdownSignal::Install();
  const std::string url = argv[1];
  pga::ingest::IngestHarness::Options options;
  options.config.metrics_url = pga::log::Secret(url);
  options.listen = {argv[2]};
  options.on_write_point = [&url](pga::storage::WritePoint point) {
    if (pga::collector::Failpoint(NameOf(point)) == 0) return;
    const pga::clock::SteadyTime deadline = pga::clock::SteadyNow() + absl::Seconds(5);
    auto connection = pga::pg::CopyConnection::Connect({.url = url}, deadline);
    if (!connection.ok()) return;
    (*connection)
        ->Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pga-ingest writer'",
               deadline)
        .status()
        .IgnoreError();
  };
  pga::ingest::IngestHarness harness(std::move(options));
  std::puts("ready");
  std::fflush(stdout);
  pga::exec::ShutdownSignal::WaitUntil(pga::clock::SteadyTime::InfiniteFuture());
  harness.Drain(absl::Seconds(20));
  std::puts("drained");
  return 0;
}
