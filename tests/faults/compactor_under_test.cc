// Upkeep as a process that the fault campaign may kill: merges and folds over and over, without leases, so that two of
// them meet in everything. Arguments: URL of the metrics database, the moment to die at (NameOf(UpkeepPoint); "-" =
// never), and how many times that moment passes before.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "libs/clock/steady.h"
#include "libs/exec/shutdown.h"
#include "libs/storage/upkeep/upkeep.h"

int main(int argc, char** argv) {
  using namespace pga;
  if (argc != 4) {
    std::fprintf(stderr, "usage: compactor_under_test URL POINT COUNT\n");
    return 2;
  }
  exec::ShutdownSignal::Install();
  const std::string point = argv[2];
  std::atomic<int> left{std::atoi(argv[3])};
  storage::UpkeepOptions options;
  options.url = argv[1];
  options.leases = false;
  // Everything that is older than the current hour is closed at once; few frames a step and few pieces, so that all
  // moments come often.
  options.merge.settle = absl::ZeroDuration();
  options.merge.max_values = 400;
  options.fold.max_pieces = 2;
  options.on_point = [&](storage::UpkeepPoint at) {
    if (storage::NameOf(at) == point && left-- <= 0) std::raise(SIGKILL);
  };
  const auto upkeep = storage::Upkeep::Create(options);
  std::puts("ready");
  std::fflush(stdout);
  std::thread folds([&] {
    while (!exec::ShutdownSignal::requested()) {
      upkeep->RunJob(storage::UpkeepJob::kFold, true).status().IgnoreError();
      exec::ShutdownSignal::WaitUntil(clock::SteadyNow() + absl::Milliseconds(5));
    }
  });
  while (!exec::ShutdownSignal::requested()) {
    upkeep->RunJob(storage::UpkeepJob::kMerge, true).status().IgnoreError();
    exec::ShutdownSignal::WaitUntil(clock::SteadyNow() + absl::Milliseconds(5));
  }
  folds.join();
  std::puts("drained");
  return 0;
}
