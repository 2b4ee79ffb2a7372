#!/usr/bin/env bash
# `make run` on a bare Debian 12: a debootstrap root with make, git and a compiler, this checkout's HEAD cloned into it, no
# other step. Prints how long it took cold to READY, and warm to the first metric. Needs root and a Debian mirror.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" -eq 0 ] || { echo "bare_debian: needs root for debootstrap and chroot" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get install -y -q --no-install-recommends debootstrap >/dev/null
target=${BARE_ROOT:-$(mktemp -d /var/tmp/pga-bare.XXXXXX)}
port=${PORT:-18080}

cleanup() {
  local code=$?
  trap - EXIT
  [ ! -d "$target/home/dba/pganalytics" ] || in_bare "make -s stop" >/dev/null 2>&1 || true
  for mount in dev/pts dev proc sys; do umount -l "$target/$mount" 2>/dev/null || true; done
  [ -n "${BARE_KEEP:-}" ] || rm -rf --one-file-system "$target"
  exit $code
}
trap cleanup EXIT
in_bare() { chroot "$target" /bin/bash -c "cd /home/dba/pganalytics && export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root && $1"; }

if [ ! -x "$target/usr/bin/git" ]; then
  debootstrap --variant=minbase --include=make,git,g++,ca-certificates bookworm "$target" >/dev/null
fi
# The package sources of this machine, so that a mirror set up here serves the bare root too.
cp -a /etc/apt/. "$target/etc/apt/"
cp /etc/resolv.conf /etc/hosts "$target/etc/" 2>/dev/null || true
for mount in proc sys dev dev/pts; do mkdir -p "$target/$mount"; mount --bind "/$mount" "$target/$mount"; done
mkdir -p "$target/home/dba"
rm -rf "$target/home/dba/pganalytics"
git clone -q "$ROOT" "$target/home/dba/pganalytics"
in_bare "! command -v cmake && ! command -v psql" >/dev/null || { echo "bare_debian: the root is not bare" >&2; exit 1; }

run_until_ready() {  # prints seconds to READY
  local start=$SECONDS log=$target/tmp/run.log
  : >"$log"
  in_bare "PORT=$port exec make run" >"$log" 2>&1 &
  local pid=$!
  until grep -q '^READY ' "$log"; do
    kill -0 $pid 2>/dev/null || { tail -n 40 "$log" >&2; echo "bare_debian: make run ended" >&2; return 1; }
    [ $((SECONDS - start)) -lt 2400 ] || { tail -n 40 "$log" >&2; echo "bare_debian: not READY after 2400 s" >&2; return 1; }
    sleep 0.2
  done
  READY_SECONDS=$((SECONDS - start))
}

run_until_ready
echo "bare_debian: cold, clone to READY: $READY_SECONDS s"
url=http://127.0.0.1:$port
token=$(curl -fsS -X POST "$url/api/v1/auth/login" -H 'Content-Type: application/json' \
  -d "{\"username\":\"admin\",\"password\":\"$(cat "$target/home/dba/pganalytics/.pganalytics/admin-password")\"}" | jq -r .token)
curl -fsS "$url/api/v1/health" | jq -c .
first=$(curl -fsS "$url/api/v1/metrics/count" | jq .count)
for path in collectors queries/top 'series?metric=database&column=xact_commit&hours=1'; do
  curl -fsS "$url/api/v1/$path" -H "Authorization: Bearer $token" | jq -c . | cut -c1-160
done
deadline=$((SECONDS + 60))
until second=$(curl -fsS "$url/api/v1/metrics/count" | jq .count) && [ "$second" -gt "$first" ]; do
  [ $SECONDS -lt $deadline ] || { echo "bare_debian: the count does not grow" >&2; exit 1; }
  sleep 3
done
echo "bare_debian: count grew from $first to $second"
in_bare "make -s stop"
wait || true
run_until_ready
echo "bare_debian: warm, make run to READY: $READY_SECONDS s"
in_bare "make -s stop"
