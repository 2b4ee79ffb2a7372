#!/usr/bin/env bash
# The long form of the delivery campaign: tools/campaign.sh [spool|delivery|ingest|compactor|takeover|counters ...]
# All parts in turn without arguments. It ends by itself after about CAMPAIGN_MINUTES (60), of which
# delivery takes half; one part is at most twice its share. The result goes to build/campaign/result.txt, with the
# commit that it ran on; the exit code is 1 when anything was lost, doubled, spurious or corrupt.
#   spool      20,000 states after power failures, every call failing, 20,000 damages; 8 planted faults
#   delivery   every crash point that can come while collectors deliver, each with every action; 6 planted faults
#   ingest     kills of two ingest processes, connections and the server, with simulated collectors
#   compactor  kills at every step of a merge and a fold, the server every tenth time
#   takeover   sources taken over from killed collectors, which come back
#   counters   resets, restarts, promotions of the watched servers; collectors killed
set -euo pipefail
cd "$(dirname "$0")/.."
parts=("$@")
[ $# -gt 0 ] || parts=(spool delivery ingest compactor takeover counters)
minutes=${CAMPAIGN_MINUTES:-60}
case $minutes in '' | *[!0-9]* | 0) echo "campaign: CAMPAIGN_MINUTES=$minutes is not a number of minutes" >&2; exit 2 ;; esac

targets=()
for part in "${parts[@]}"; do
  case $part in
    spool | delivery | ingest | compactor | takeover) targets+=("${part}_campaign_test") ;;
    counters) targets+=(counter_campaign_test) ;;
    *) echo "usage: tools/campaign.sh [spool|delivery|ingest|compactor|takeover|counters ...]" >&2; exit 2 ;;
  esac
done
tools/build.sh dev "${targets[@]}"
export PGA_SOURCE_DIR=$PWD PGA_BINARY_DIR=$PWD/build/dev

mkdir -p build/campaign
result=build/campaign/result.txt
commit=$(git describe --always --dirty --abbrev=12 2>/dev/null || echo "not a checkout of git")
{
  echo "pgAnalytics delivery campaign"
  echo "commit: $commit"
  echo "began:  $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  echo "on:     $(nproc) cores, $(awk '/MemTotal/ {printf "%d MiB", $2 / 1024}' /proc/meminfo), $(. /etc/os-release && echo "$PRETTY_NAME")"
} >"$result"

seconds_of() { echo $((minutes * 60 * $1 / 100)); }
failed=0
run() {  # name, share of the time in percent, settings...
  local name=$1 share=$2 start code=0
  shift 2
  start=$(date +%s)
  echo "campaign: $name"
  env "$@" timeout --signal=TERM --kill-after=30 $((2 * $(seconds_of "$share") + 120)) \
    "build/dev/bin/${name}_campaign_test" --gtest_brief=1 >"build/campaign/$name.log" 2>&1 || code=$?
  {
    echo
    if [ $code -eq 0 ]; then echo "== $name: passed in $(($(date +%s) - start)) s"; else echo "== $name: FAILED ($code) after $(($(date +%s) - start)) s"; fi
    grep -v '^\[' "build/campaign/$name.log" | tail -n 120
  } >>"$result"
  [ $code -eq 0 ] || failed=1
}
for part in "${parts[@]}"; do
  case $part in
    # A seed of its own each time; the log says which.
    spool)
      run spool 10 PGA_SPOOL_STATES=20000 PGA_SPOOL_DAMAGES=20000 PGA_SPOOL_ROUNDS=25 PGA_FAULT_SEED="${PGA_FAULT_SEED:-$(date +%s)}"
      ;;
    delivery) run delivery 50 PGA_DELIVERY_SECONDS="$(seconds_of 48)" PGA_DELIVERY_MUTANTS=6 ;;
    ingest) run ingest 10 PGA_FAULT_SECONDS="$(seconds_of 9)" ;;
    # Some three kills a second.
    compactor) run compactor 10 PGA_COMPACTOR_KILLS="$(($(seconds_of 10) * 5 / 2))" ;;
    # A round of two pairs takes some twenty seconds.
    takeover) run takeover 10 PGA_TAKEOVER_KILLS="$(($(seconds_of 10) / 10 + 2))" ;;
    counters) run counter 10 PGA_COUNTER_STEPS="$(($(seconds_of 10) / 3 + 10))" ;;
  esac
done
echo "ended:  $(date -u +%Y-%m-%dT%H:%M:%SZ)" >>"$result"
cat "$result"
echo "campaign: $([ $failed -eq 0 ] && echo passed || echo FAILED), $result"
exit $failed
