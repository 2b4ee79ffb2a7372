// What Abseil's check of lock orders costs where the library is built with it. In order: the check cannot be set back.
#include <benchmark/benchmark.h>

#include "absl/synchronization/mutex.h"
#include "libs/exec/locks.h"

namespace pga::exec {
namespace {

void Lock(benchmark::State& state) {
  absl::Mutex outer;
  absl::Mutex inner;
  for (auto _ : state) {
    absl::MutexLock outer_lock(&outer);
    if (state.range(0) == 0) continue;
    absl::MutexLock inner_lock(&inner);
  }
}

void Checked(benchmark::State& state) {
  Lock(state);
}
BENCHMARK(Checked)->ArgName("nested")->Arg(0)->Arg(1);

void Unchecked(benchmark::State& state) {
  SkipLockOrderChecks();
  Lock(state);
}
BENCHMARK(Unchecked)->ArgName("nested")->Arg(0)->Arg(1);

}  // namespace
}  // namespace pga::exec
