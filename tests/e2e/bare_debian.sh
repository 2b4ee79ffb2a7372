#!/usr/bin/env bash
# `make run` on a bare Debian 12: a debootstrap root with make, git and a compiler, this checkout's HEAD cloned into it, no
# other step. First as root, then in a second clone as a user with sudo. Prints how long it took cold to READY, warm to
# the first metric and, where this machine has Chromium, to the console's first useful screen; and how long the console is
# in a cold build. Needs root and a Debian mirror; everything lies under BARE_ROOT and is removed at the end.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" -eq 0 ] || { echo "bare_debian: needs root for debootstrap and chroot" >&2; exit 1; }
for tool in debootstrap jq curl; do
  command -v $tool >/dev/null || apt-get install -y -q --no-install-recommends $tool >/dev/null
done
target=${BARE_ROOT:-$(mktemp -d /var/tmp/pga-bare.XXXXXX)}
mkdir -p "$target" && chmod 755 "$target"  # it becomes `/`, which every user must be able to enter
port=${PORT:-18080}
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' | awk '$2 == "bookworm" {print $1; exit}')
[ -n "$mirror" ] || { echo "bare_debian: this machine's package sources name no Debian 12 mirror" >&2; exit 1; }

# How this machine reaches PyPI and npm: settings of pip and npm, and the certificates they name, at the same places.
machine=()
carried=(/etc/pip.conf)
for name in PIP_CERT PIP_INDEX_URL NODE_EXTRA_CA_CERTS SSL_CERT_FILE; do
  [ -z "${!name:-}" ] || machine+=("$name=${!name}")
  [ ! -f "${!name:-}" ] || carried+=("${!name}")
done
registry=$(PATH="$("$ROOT/tools/fetch-node.sh"):$PATH" npm config get registry 2>/dev/null || true)
[ -z "$registry" ] || machine+=("NPM_CONFIG_REGISTRY=$registry")

in_bare() {  # user, checkout, command
  local home=/root
  [ "$1" = root ] || home=/home/$1
  chroot --userspec="$1:$1" "$target" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$home" \
    USER="$1" CCACHE_DIR=/var/cache/ccache PORT="$port" "${machine[@]}" /bin/bash -c "cd $2 && $3"
}
cleanup() {
  local code=$? mount
  trap - EXIT
  for checkout in root:/root/pganalytics dba:/home/dba/pganalytics; do
    [ ! -d "$target${checkout#*:}/.pganalytics" ] || in_bare "${checkout%%:*}" "${checkout#*:}" "make -s stop" >/dev/null 2>&1 || true
  done
  for mount in dev/pts dev proc sys; do umount -l "$target/$mount" 2>/dev/null || true; done
  [ -n "${BARE_KEEP:-}" ] || rm -rf --one-file-system "$target"
  exit $code
}
trap cleanup EXIT

if [ ! -x "$target/usr/bin/git" ]; then
  debootstrap --variant=minbase --include=make,git,g++,ca-certificates bookworm "$target" "$mirror" >"$target.log" 2>&1 ||
    { tail -n 20 "$target.log" >&2; exit 1; }
  rm -f "$target.log"
fi
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main' | sort -u | grep ' bookworm' >"$target/etc/apt/sources.list"
cp /etc/resolv.conf /etc/hosts "$target/etc/" 2>/dev/null || true
for file in "${carried[@]}"; do
  [ ! -f "$file" ] || install -D -m 644 "$(readlink -f "$file")" "$target$file"
done
for mount in proc sys dev dev/pts; do
  mkdir -p "$target/$mount"
  mountpoint -q "$target/$mount" || mount --bind "/$mount" "$target/$mount"
done
mkdir -p -m 1777 "$target/var/cache/ccache"
in_bare root / "! command -v cmake && ! command -v psql && ! command -v sudo" >/dev/null ||
  { echo "bare_debian: the root is not bare" >&2; exit 1; }

run_until_ready() {  # user, checkout; sets READY_SECONDS
  local began log=$target/tmp/run-$1.log
  began=$(date +%s.%N)
  : >"$log"
  in_bare "$1" "$2" "exec make run" >"$log" 2>&1 &
  local pid=$!
  until grep -q '^READY ' "$log"; do
    kill -0 $pid 2>/dev/null || { tail -n 40 "$log" >&2; echo "bare_debian: make run ended" >&2; return 1; }
    [ "$(date +%s)" -lt $((${began%.*} + 2400)) ] || { tail -n 40 "$log" >&2; echo "bare_debian: not READY after 2400 s" >&2; return 1; }
    sleep 0.1
  done
  READY_SECONDS=$(awk -v began="$began" -v now="$(date +%s.%N)" 'BEGIN {printf "%.1f", now - began}')
}

try() {  # user, checkout, name
  run_until_ready "$1" "$2"
  echo "bare_debian: $3, clone to READY: $READY_SECONDS s"
  local url=http://127.0.0.1:$port token first second deadline path rows
  token=$(curl -fsS -X POST "$url/api/v1/auth/login" -H 'Content-Type: application/json' \
    -d "{\"username\":\"admin\",\"password\":\"$(cat "$target$2/.pganalytics/admin-password")\"}" | jq -r .token)
  curl -fsS "$url/api/v1/health" | jq -c .
  first=$(curl -fsS "$url/api/v1/metrics/count" | jq .count)
  deadline=$((SECONDS + 60))
  for path in collectors queries/top 'series?metric=database&column=xact_commit&hours=1'; do
    # An increase is known from the second reading on.
    until rows=$(curl -fsS "$url/api/v1/$path" -H "Authorization: Bearer $token" | jq -c '.data? // .queries? // .') &&
          [ "$(jq length <<<"$rows")" -gt 0 ]; do
      [ $SECONDS -lt $deadline ] || { echo "bare_debian: $path stays empty" >&2; exit 1; }
      sleep 1
    done
    cut -c1-200 <<<"$rows"
  done
  until second=$(curl -fsS "$url/api/v1/metrics/count" | jq .count) && [ "$second" -gt "$first" ]; do
    [ $SECONDS -lt $deadline ] || { echo "bare_debian: the count does not grow" >&2; exit 1; }
    sleep 1
  done
  echo "bare_debian: count grew from $first to $second"
  in_bare "$1" "$2" "make -s stop"
  wait || true
  run_until_ready "$1" "$2"
  echo "bare_debian: $3, warm, make run to the first metric: $READY_SECONDS s (target 10 s)"
  curl -fsS "$url/" | grep -q '<script type="module"' || { echo "bare_debian: $url is not the console" >&2; exit 1; }
  if [ -x "${CHROMIUM:=/usr/bin/chromium}" ]; then
    local screen again
    read -r screen again < <(cd "$ROOT/services/console" && URL=$url CHROMIUM=$CHROMIUM \
      ADMIN_PASSWORD=$(cat "$target$2/.pganalytics/admin-password") timeout 90 "$ROOT/tools/console.sh" node test/first.ts)
    [ -n "${again:-}" ] || { echo "bare_debian: no useful screen" >&2; exit 1; }
    awk -v name="$3" -v ready="$READY_SECONDS" -v screen="$screen" -v again="$again" 'BEGIN {
      printf "bare_debian: %s, warm, make run to the first useful screen: %.1f s (target 15 s), a page load after it: %.1f s (target 2 s)\n",
        name, ready + screen / 1000, again / 1000}'
  fi
  in_bare "$1" "$2" "make -s stop"
  wait || true
}

rm -rf "$target/root/pganalytics" "$target/home/dba/pganalytics"
git clone -q "$ROOT" "$target/root/pganalytics"
try root /root/pganalytics "as root"
console_began=$(date +%s.%N)
in_bare root /root/pganalytics "rm -rf build/tools/node services/console/node_modules && mkdir -p /tmp/console && tools/console.sh build /tmp/console/console.cc >/dev/null"
echo "bare_debian: the console in a cold build, Node and packages included: $(awk -v began="$console_began" -v now="$(date +%s.%N)" 'BEGIN {printf "%.0f", now - began}') s (target 90 s)"

# The user finds packages missing, so that sudo has something to do; objects come from the compiler cache.
in_bare root / "apt-get install -y -q --no-install-recommends sudo && apt-get remove -y -q ninja-build mold" >/dev/null
in_bare root / "id dba 2>/dev/null || useradd -m -s /bin/bash dba; echo 'dba ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/dba; chmod -R a+rwX /var/cache/ccache" >/dev/null
git clone -q "$ROOT" "$target/home/dba/pganalytics"
in_bare root / "chown -R dba:dba /home/dba"
try dba /home/dba/pganalytics "as a user with sudo"
