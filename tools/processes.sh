# Sourced by run.sh and stop.sh: pid files of the programs that `make run` started.

running_pid() {  # prints the pid in file $1 if it still is program $2
  local pid
  [ -r "$1" ] || return 1
  pid=$(cat "$1")
  [ -n "$pid" ] && [ -d "/proc/$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$2" || return 1
  echo "$pid"
}

end_program() {  # SIGTERM to the program of pid file $1 named $2, SIGKILL after $3 seconds
  local pid deadline=$((SECONDS + $3))
  pid=$(running_pid "$1" "$2") || { rm -f "$1"; return 0; }
  kill -TERM "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null && [ "$(awk '/^State/ {print $2}' "/proc/$pid/status" 2>/dev/null)" != Z ]; do
    if [ $SECONDS -ge $deadline ]; then
      echo "stop: $2 (pid $pid) did not end within $3 s and is killed" >&2
      kill -KILL "$pid" 2>/dev/null || true
      break
    fi
    sleep 0.1
  done
  rm -f "$1"
}

stop_suite() {  # everything of state folder $1, in the order that loses nothing: collector, api, PostgreSQL
  end_program "$1/run/collector.pid" pganalytics-collector 15
  end_program "$1/run/api.pid" pganalytics-api 15
  pg_locate "$1"
  pg_stop
  rm -f "$1/run/postgres.pid"
}
