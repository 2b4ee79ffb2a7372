#!/usr/bin/env bash
# Installs the Debian packages that are missing. Nothing happens, and no rights are asked for, when all are there.
#   tools/setup.sh build     what building and `make run` need
#   tools/setup.sh test      the same plus what the tests need
#   tools/setup.sh check     the same plus what the slow proofs need
#   tools/setup.sh bench     what building, tests and benchmarks need
set -euo pipefail
mode=${1:-build}

build_packages=(
  g++ dpkg-dev make cmake ninja-build util-linux ccache mold pkg-config git ca-certificates python3 openssl curl procps
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev
  libpqxx-dev libpq-dev libpg-query-dev libre2-dev libnghttp2-dev libboost1.81-dev libssl-dev libjwt-dev libargon2-dev prometheus-cpp-dev
  libtomlplusplus-dev libspdlog-dev libzstd-dev libsnappy-dev zlib1g-dev libsimdjson-dev libyaml-cpp-dev libcurl4-openssl-dev
  libgtest-dev libgmock-dev libbenchmark-dev golang-github-gogo-googleapis-dev
  john-data
  postgresql-15 postgresql-client-15
)
test_packages=(chromium clang-format-14 docker-compose jq logrotate pgbouncer prometheus prometheus-alertmanager rsyslog systemd python3-yaml python3-jsonschema yamllint)
check_packages=(clang-14 libclang-rt-14-dev)
bench_packages=(wrk)

wanted=("${build_packages[@]}")
[ "$mode" = build ] || wanted+=("${test_packages[@]}")
[ "$mode" != check ] || wanted+=("${check_packages[@]}")
[ "$mode" != bench ] || wanted+=("${bench_packages[@]}")
# pip brings Node (tools/fetch-node.sh) for the console, and for what tests take from npm.
python3 -m pip --version >/dev/null 2>&1 || wanted+=(python3-pip)
if [ "$mode" != build ]; then
  command -v go >/dev/null 2>&1 || wanted+=(golang-go)
fi

installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null | awk '$2 == "installed" {print $1}')
missing=()
for package in "${wanted[@]}"; do
  grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup: this machine has no apt-get; pgAnalytics builds on Debian 12. Install the equivalents of: ${missing[*]}" >&2
  exit 1
fi
release=$(. /etc/os-release 2>/dev/null && echo "${ID:-unknown} ${VERSION_ID:-}")
if [ "$release" != "debian 12" ]; then
  echo "setup: pgAnalytics builds on Debian 12; this is $release. In a container: docker run -it --rm -v \"\$PWD:/src\" \\" >&2
  echo "         -w /src debian:12 bash -c 'apt-get update && apt-get install -y make git g++ && make build'" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1 || ! sudo -v; then
    echo "setup: packages are missing and there is no right to install them. As root run:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "setup: installing ${#missing[@]} packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
umask 022
# postgresql-common would otherwise create and claim port 5432 for a cluster nobody asked for.
if ! grep -qsE '^create_main_cluster' /etc/postgresql-common/createcluster.conf; then
  "${as_root[@]}" mkdir -p /etc/postgresql-common
  echo "create_main_cluster = false" | "${as_root[@]}" tee -a /etc/postgresql-common/createcluster.conf >/dev/null
fi
# Nor shall the tests' Prometheus, Alertmanager and rsyslog run as services.
for service in prometheus prometheus-alertmanager rsyslog; do
  if [[ " ${missing[*]} " == *" $service "* ]] && [ ! -e "/etc/systemd/system/$service.service" ]; then
    "${as_root[@]}" mkdir -p /etc/systemd/system
    "${as_root[@]}" ln -s /dev/null "/etc/systemd/system/$service.service"
  fi
done
if ! { "${as_root[@]}" apt-get update -q &&
       "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
         -o Dpkg::Options::=--force-confold "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "setup: apt-get failed (its last lines are above). Check the network, free disk space and /etc/apt/sources.list," >&2
  echo "       then run the same make command again." >&2
  exit 1
fi
