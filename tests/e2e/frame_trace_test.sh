#!/usr/bin/env bash
# Follows one frame of metric `database` from the collector into the table: the stops it passes are those that
# docs/life-of-a-frame.md lists, in that order, and no others.
. "$(dirname "$0")/lib/suite.sh"
start_postgres "log_statement = all"
check "no statement holds a password" eval '! grep -E "(owner|monitor)-password" "$PG_HOME/log"'
prepare_suite
export LOG_LEVEL=debug
start_api
start_collector traced
FRAMES="public.metrics WHERE metric_name = 'database' AND interval_ms > 0"
stored() { [ "$(in_metrics "SELECT count(*) FROM $FRAMES")" -gt 0 ]; }
within "a frame is stored" 40 stored
INSTANT=$(in_metrics "SELECT (extract(epoch FROM min(\"timestamp\")) * 1000000)::int8 FROM $FRAMES")
# The lines that name the frame itself, or the batch it was sealed into; the collector's come before ingest's.
traced() {
  cat "$WORK/collector.log" "$WORK/api.log" | grep -E '"message":"(frame stop|batch stop|frame sealed)"' >"$WORK/stops"
  local sealed
  sealed=$(jq -c --argjson at "$INSTANT" 'select(.message == "frame sealed" and .metric == "database" and
    .collected_at_us == $at) | [.stream, .seq]' "$WORK/stops" | head -n 1)
  jq -r --argjson at "$INSTANT" --argjson batch "${sealed:-null}" 'select((.metric == "database" and .collected_at_us == $at)
    or (.message == "batch stop" and [.stream, .seq] == $batch)) | .file + " " + .function' "$WORK/stops"
}
complete() { [ "$(traced | tail -n 1)" = "$(python3 "$ROOT/tests/docs/docs_test.py" --stops | tail -n 1)" ]; }
within "the frame has passed its last stop" 20 complete
equals "stops of a traced frame are those of docs/life-of-a-frame.md" \
  "$(python3 "$ROOT/tests/docs/docs_test.py" --stops)" "$(traced | uniq)"
finish
