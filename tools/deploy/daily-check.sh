#!/usr/bin/env bash
# The daily look at the suite, and the baseline of a quiet hour: daily-check.sh [--short|--baseline]
# A line for each thing looked at: ok, warn, FAIL or skip. Exit code 1 when anything is FAIL.
#   --short     service, health, errors of 30 minutes, memory, disk: what the guide wants every half hour
#   --baseline  the same whole look, written to baseline_<stamp>.txt in BASELINE_DIR (/var/log/pganalytics) besides
# BACKEND_URL (https://localhost:8080), CURL_CA_BUNDLE, API_LOG (/var/log/pganalytics/api.log), SERVICE (pganalytics);
# TOKEN or TOKEN_FILE: a viewer's (pgactl tokens create). BACKUP_DIR (/var/lib/pganalytics-backup).
set -uo pipefail
url=${BACKEND_URL:-https://localhost:8080}
log=${API_LOG:-/var/log/pganalytics/api.log}
service=${SERVICE:-pganalytics}
mode=${1:-}
case $mode in '' | --short | --baseline) ;; *) sed -n '2,8s/^# //p' "$0" >&2; exit 2 ;; esac
token=${TOKEN:-}
[ -n "$token" ] || [ -z "${TOKEN_FILE:-}" ] || token=$(head -n 1 "$TOKEN_FILE")
failed=0

say() { printf '%-5s %-22s %s\n' "$1" "$2" "$3"; [ "$1" != FAIL ] || failed=1; }
get() { curl -sS --max-time 20 ${token:+-H "Authorization: Bearer $token"} "$url$1" 2>&1; }
number() { grep -oE "\"$1\": *[0-9]+" | head -n 1 | grep -oE '[0-9]+$'; }

# Lines of the suite's log that want a person, of the last so many minutes; times in it are UTC.
errors() {
  local since
  since=$(date -u -d "$1 minutes ago" +%Y-%m-%dT%H:%M:%S)
  grep -F '"level":"error"' "$log" 2>/dev/null | grep -oE '"time":"[^"]+' | cut -d'"' -f4 | awk -v since="$since" '$0 >= since' | wc -l
}

look() {
  echo "pgAnalytics at $url, $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  if [ -d /run/systemd/system ]; then
    state=$(systemctl is-active "$service" 2>/dev/null)
    if [ "$state" = active ]; then say ok service "$service is active"; else say FAIL service "$service is $state: systemctl status $service"; fi
  else
    say skip service "systemd does not run here"
  fi
  health=$(get /api/v1/health)
  case $health in
    *'"healthy"'*) say ok health "$(grep -oE '"version": *"[^"]+"' <<<"$health" | cut -d'"' -f4), both databases answer" ;;
    *) say FAIL health "${health:0:200}" ;;
  esac
  if [ -r "$log" ]; then
    minutes=1440
    [ "$mode" != --short ] || minutes=30
    count=$(errors $minutes)
    if [ "$count" -eq 0 ]; then say ok errors "none in $log in $minutes minutes"; else say warn errors "$count in $log in $minutes minutes: grep '\"level\":\"error\"' $log"; fi
  else
    say skip errors "$log cannot be read"
  fi
  say ok memory "$(free -m | awk '/^Mem:/ {print $7 " MB of " $2 " are available"}')"
  say ok processors "load $(cut -d' ' -f1-3 /proc/loadavg) on $(nproc)"
  while read -r used mount; do
    if [ "${used%\%}" -ge 90 ]; then say FAIL disk "$mount is $used full"; elif [ "${used%\%}" -ge 80 ]; then say warn disk "$mount is $used full"; else say ok disk "$mount is $used full"; fi
  done < <(df -P / /var/lib /var/log 2>/dev/null | awk 'NR > 1 && !seen[$6]++ {print $5, $6}')
  [ "$mode" != --short ] || return

  took=$(curl -sS --max-time 20 -o /dev/null -w '%{time_total}' ${token:+-H "Authorization: Bearer $token"} "$url/api/v1/metrics" 2>/dev/null)
  if awk -v took="${took:-9}" 'BEGIN {exit !(took < 0.3)}'; then say ok latency "/api/v1/metrics in $took s"; else say warn latency "/api/v1/metrics in ${took:-?} s, more than 0.3"; fi
  if [ -n "$token" ]; then
    count=$(get /api/v1/metrics | number count)
    if [ -n "$count" ]; then say ok metrics "$count frames stored"; else say FAIL metrics "/api/v1/metrics has no count: $(get /api/v1/metrics | head -c 200)"; fi
    count=$(get /api/v1/collectors | number count)
    if [ -n "$count" ]; then say ok collectors "$count registered"; else say FAIL collectors "/api/v1/collectors has no count"; fi
    silent=$(get /api/v1/sources | grep -oE '"state": *"(down|silent)"' | wc -l)
    if [ "$silent" -eq 0 ]; then say ok sources "none is down or silent"; else say warn sources "$silent down or silent: pgactl sources"; fi
  else
    say skip metrics "TOKEN or TOKEN_FILE is not set: pgactl tokens create daily --role viewer"
  fi
  folder=${BACKUP_DIR:-/var/lib/pganalytics-backup}
  if [ -d "$folder" ]; then
    if [ -n "$(find "$folder" -type f -mtime -2 -print -quit 2>/dev/null)" ]; then say ok backup "one younger than two days in $folder"; else say FAIL backup "none younger than two days in $folder: pgactl backup list"; fi
  else
    say skip backup "there is no $folder here"
  fi
}

if [ "$mode" = --baseline ]; then
  file=${BASELINE_DIR:-/var/log/pganalytics}/baseline_$(date -u +%Y%m%d_%H%M%S).txt
  look >"$file" || exit 1
  cat "$file"
  echo "written to $file"
else
  look
fi
exit $failed
