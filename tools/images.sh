#!/usr/bin/env bash
# Makes build/images/pganalytics-VERSION.tar, the image of every program, without a daemon: tools/images.sh [build tree] [folder]
# The Debian packages of the tree (release unless given) on Debian 12 by debootstrap, put together by buildah. User 10001, nothing
# that must be written, certificates, time zones, pg_dump of POSTGRES_CLIENT (postgresql-client). Beside it the list of packages as
# SPDX. Needs root and a Debian mirror. Layers are files below the folder; nothing of the machine's own containers is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || { echo "images: needs root for debootstrap and chroot; or build tools/deploy/images/Dockerfile with Docker" >&2; exit 1; }
target=$(mkdir -p "${2:-build/images}" && cd "${2:-build/images}" && pwd)
for tool in buildah debootstrap; do
  command -v $tool >/dev/null || apt-get install -y -q --no-install-recommends $tool >/dev/null
done
if [ -z "${IMAGES_NAMESPACE:-}" ]; then
  # Mounts of this script end with it.
  IMAGES_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi
work=$(mktemp -d "$target/work.XXXXXX")
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot XDG_RUNTIME_DIR=$work/run
buildah() { command buildah --root "$work/storage" --runroot "$work/runroot" "$@"; }
trap 'buildah rm -a >/dev/null 2>&1 || true; rm -rf --one-file-system "$work"' EXIT
mkdir -p "$work/run"
umask 022

version=$(sed -n 's/^project(pganalytics VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
revision=$(git rev-parse HEAD)
PGA_PACKAGE_COMPRESSION=none tools/packages.sh "${1:-}" "$work/packages" >/dev/null
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' | awk '$2 == "bookworm" {print $1; exit}')
[ -n "$mirror" ] || { echo "images: this machine's package sources name no Debian 12 mirror" >&2; exit 1; }

echo "images: Debian 12" >&2
container=$(buildah from --name pganalytics scratch)
root=$(buildah mount "$container")
debootstrap --variant=minbase --include=ca-certificates,tzdata,systemd-standalone-sysusers,systemd-standalone-tmpfiles bookworm "$root" "$mirror" >"$work/log" 2>&1 ||
  { tail -n 20 "$work/log" >&2; exit 1; }
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main' | sort -u | grep ' bookworm' >"$root/etc/apt/sources.list"
cp /etc/resolv.conf "$root/etc/resolv.conf"
for file in /etc/apt/apt.conf.d/*proxy*; do [ ! -f "$file" ] || cp "$file" "$root/etc/apt/apt.conf.d/"; done
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mkdir "$root/packages"
cp "$work"/packages/*.deb "$root/packages/"
mount -t proc proc "$root/proc"
echo "images: packages" >&2
# Before the packages, which keep a user that is there.
chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive CLIENT="${POSTGRES_CLIENT:-postgresql-client}" /bin/sh -euc '
  groupadd -g 10001 pganalytics
  useradd -u 10001 -g 10001 -d /var/lib/pganalytics -s /usr/sbin/nologin pganalytics
  apt-get update -q
  apt-get upgrade -y -q
  apt-get install -y -q --no-install-recommends "$CLIENT" /packages/*.deb
  apt-get clean
  install -d -o 10001 -g 10001 -m 700 /var/lib/pganalytics
  rm -rf /packages /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/* /usr/share/man /usr/sbin/policy-rc.d /etc/apt/apt.conf.d/*proxy*
  find /usr/share/doc -type f ! -name copyright -delete
  rm -f /etc/machine-id /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /var/lib/dpkg/*-old
  # Programs that take the rights of their owner are of no use without root.
  find / -xdev -type f -perm /6000 -exec chmod a-s {} +' >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
umount "$root/proc"
: >"$root/etc/resolv.conf"
for program in pganalytics-api pganalytics-collector pgactl pga-auth pga-registry pga-ingest pga-query pga-compactor pga-ruler pga-gateway pg_dump psql; do
  chroot --userspec=10001:10001 "$root" "/usr/bin/$program" --version >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; echo "images: $program does not start as user 10001" >&2; exit 1; }
done
found=$(chroot "$root" find / -xdev \( -path /tmp -o -path /var/tmp -o -path /run -o -path /dev -o -path /proc \) -prune -o -type d -perm -0002 -print)
[ -z "$found" ] || { echo "images: everybody may write $found" >&2; exit 1; }
cp LICENSE "$root/usr/share/pganalytics/LICENSE"
chroot "$root" dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n' |
  python3 tools/deploy/images/spdx.py "pganalytics-$version" "$revision" "$SOURCE_DATE_EPOCH" >"$target/pganalytics-$version.spdx.json"
cp "$target/pganalytics-$version.spdx.json" "$root/usr/share/pganalytics/sbom.spdx.json"
find "$root" -xdev -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

label=org.opencontainers.image
buildah config --user 10001:10001 --workingdir /var/lib/pganalytics --env LISTEN_ADDRESS=0.0.0.0 --env PATH=/usr/local/bin:/usr/bin:/bin \
  --port 8080 --port 9090 --port 9443 --port 9464 --stop-signal SIGTERM --cmd '["/usr/bin/pganalytics-api"]' \
  --label $label.title=pgAnalytics --label $label.version="$version" --label $label.revision="$revision" --label $label.licenses=PostgreSQL \
  --label $label.description="PostgreSQL fleet monitor: suite, collector and command line" --label $label.created="$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
  "$container"
image=$target/pganalytics-$version.tar
rm -f "$image"
buildah commit --quiet --timestamp "$SOURCE_DATE_EPOCH" "$container" "docker-archive:$image:pganalytics/pganalytics:$version" >/dev/null
echo "$image"
