#!/usr/bin/env bash
# The slow proofs, each step on its own or all in turn: tools/check.sh [asan|tsan|fuzz|attack|envoy|api|plans|faults|packages|bare ...]
#   asan   every unit and integration test under the address and undefined-behaviour sanitizers
#   tsan   the gRPC-free core under the thread sanitizer (Debian's gRPC is not instrumented, a zero there proves little)
#   fuzz   every decoder with libFuzzer, FUZZ_SECONDS each (default 60)
#   attack the floods of rpc_hostile_peer_test for 30 s each, 2,000 silent connections; all attacks at once for 60 s against
#          the real processes under their limits of memory; 5,000 slow clients, plain and over TLS, for 60 s; every process stopped in turn, with the product's time limits
#   envoy  100,000 odd requests to the gateway and to a real Envoy: no difference without an explanation
#   api    every route asked by schemathesis from the suite's OpenAPI document, the long form: no failure, nothing undescribed
#   plans  an index is dropped and brought back on a real server: what the suite says of it, in stepped minutes; EXPLAIN on all
#          versions
#   faults every fault of tests/reproduced put back: its test fails with it and passes without it
#   packages  the Debian packages installed, upgraded, removed and purged in a bare Debian 12 made by debootstrap, and the image
#          (needs root)
#   bare   `make run` on a bare Debian 12 made by debootstrap (needs root)
set -euo pipefail
cd "$(dirname "$0")/.."
steps=("$@")
[ $# -gt 0 ] || steps=(asan tsan fuzz attack envoy api plans faults packages bare)
tools/setup.sh check
if [ "$(id -u)" -ne 0 ] && [[ " ${steps[*]} " =~ \ (bare|packages)\  ]]; then
  echo "check: the steps packages and bare make a Debian root and need root: sudo make check, or tools/check.sh asan tsan fuzz attack envoy api plans faults" >&2
  exit 2
fi
jobs=${JOBS:-$(nproc)}
export UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=detect_stack_use_after_return=0
export LSAN_OPTIONS=suppressions=$PWD/tools/lsan.supp:print_suppressions=0
export TSAN_OPTIONS=suppressions=$PWD/tools/tsan.supp

for step in "${steps[@]}"; do
  start=$(date +%s)
  case $step in
    asan)
      tools/build.sh asan-ubsan
      tools/fetch-postgres.sh
      ctest --preset asan-ubsan -j "$jobs" -L '^(unit|integration)$'
      ;;
    tsan)
      tools/build.sh tsan pga_core_tests
      ctest --preset tsan -j "$jobs" -L '^core$'
      ;;
    fuzz)
      tools/build.sh fuzz pga_fuzzers
      while read -r fuzzer corpus kind; do
        found=$(mktemp -d)
        only=()
        [ "$kind" = - ] || only=(env "PGA_FUZZ_KIND=$kind")
        echo "fuzz: $fuzzer${only[1]:+ ${only[1]}} for ${FUZZ_SECONDS:-60} s"
        if ! "${only[@]}" "build/fuzz/bin/$fuzzer" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=2048 \
            -print_final_stats=1 -artifact_prefix="build/fuzz/" "$found" "$corpus" >"build/fuzz/$fuzzer.log" 2>&1; then
          tail -n 40 "build/fuzz/$fuzzer.log" >&2
          echo "fuzz: ${only[*]} $fuzzer found an input; it lies in build/fuzz/" >&2
          exit 1
        fi
        grep '^stat::' "build/fuzz/$fuzzer.log" || true
        rm -rf "$found"
      done <build/fuzz/fuzzers.txt
      ;;
    attack)
      tools/build.sh dev rpc_hostile_peer_test attack_test paused_process_test
      ulimit -n "$(ulimit -Hn)"
      export PGA_SOURCE_DIR=$PWD PGA_BINARY_DIR=$PWD/build/dev PGA_ATTACK_CONNECTIONS=2000
      PGA_ATTACK_SECONDS=${ATTACK_SECONDS:-30} build/dev/bin/rpc_hostile_peer_test --gtest_brief=1
      PGA_ATTACK_SECONDS=${ATTACK_SECONDS:-60} PGA_SLOW_CLIENTS=5000 PGA_SLOW_SECONDS=${ATTACK_SECONDS:-60} \
        build/dev/bin/attack_test --gtest_brief=1
      PGA_PAUSE_REQUEST_TIMEOUT=30 build/dev/bin/paused_process_test --gtest_brief=1
      ;;
    envoy)
      tools/build.sh dev pga-auth pga-registry pga-ingest pga-query pga-compactor pga-ruler pga-gateway pganalytics-api
      PGA_BINARY_DIR=$PWD/build/dev PGA_ENVOY_REQUESTS=${ENVOY_REQUESTS:-100000} PGA_ENVOY_SEED=${ENVOY_SEED:-1} tests/e2e/envoy_test.sh
      ;;
    api)
      tools/build.sh dev pganalytics-api pganalytics-collector
      PGA_BINARY_DIR=$PWD/build/dev PGA_API_EXAMPLES=long PGA_API_SEED=${API_SEED:-1} tests/e2e/schemathesis_test.sh
      ;;
    plans)
      tools/build.sh dev plan_change_test collector_explain_test
      tools/fetch-postgres.sh
      export PGA_SOURCE_DIR=$PWD PGA_BINARY_DIR=$PWD/build/dev
      PGA_PLAN_CHANGE=1 build/dev/bin/plan_change_test --gtest_brief=1
      PGA_EXPLAIN_VERSIONS=all build/dev/bin/collector_explain_test --gtest_brief=1
      ;;
    faults)
      tools/fetch-postgres.sh
      tools/checks/fault_proofs.py
      ;;
    packages)
      tools/build.sh release
      tests/packages/bare_root.sh build/release
      tools/images.sh build/release
      ;;
    bare)
      tests/e2e/bare_debian.sh
      ;;
    *)
      echo "usage: tools/check.sh [asan|tsan|fuzz|attack|envoy|api|faults|packages|bare ...]" >&2
      exit 2
      ;;
  esac
  took=$(($(date +%s) - start))
  # For tools/approval.py.
  mkdir -p build/check
  touch build/check/passed.txt
  sed -i "/^$step /d" build/check/passed.txt
  echo "$step $took $(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)" >>build/check/passed.txt
  echo "check: $step passed in $took s"
done
