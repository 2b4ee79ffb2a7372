#!/usr/bin/env bash
# Follows one frame of metric `database` from the collector into the table: the stops it passes are those that
# docs/life-of-a-frame.md lists, in that order, and no others.
. "$(dirname "$0")/lib/suite.sh"
start_postgres
prepare_suite
export LOG_LEVEL=debug
start_api
start_collector traced
stored() { [ "$(in_metrics "SELECT count(*) FROM metrics.database")" -gt 0 ]; }
within "a frame is stored" 40 stored
INSTANT=$(in_metrics "SELECT (extract(epoch FROM min(time)) * 1000000)::int8 FROM metrics.database")
traced() {
  cat "$WORK/collector.log" "$WORK/api.log" | grep -F '"frame stop"' |
    jq -r --argjson at "$INSTANT" 'select(.metric == "database" and .collected_at_us == $at) | .file + " " + .function'
}
complete() { [ "$(traced | tail -n 1)" = "$(python3 "$ROOT/tests/docs/docs_test.py" --stops | tail -n 1)" ]; }
within "the frame has passed its last stop" 20 complete
equals "stops of a traced frame are those of docs/life-of-a-frame.md" \
  "$(python3 "$ROOT/tests/docs/docs_test.py" --stops)" "$(traced | awk '!seen[$0]++')"
finish
