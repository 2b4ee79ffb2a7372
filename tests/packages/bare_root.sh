#!/usr/bin/env bash
# The Debian packages in a bare Debian 12: bare_root.sh BUILD-TREE
# Two runs of tools/packages.sh give the same bytes. In a root made by debootstrap: install by apt with what they need, programs
# start, users, folders and modes, units as systemd reads them, settings that were changed survive an upgrade, removal leaves
# settings and data, purge leaves backups alone. No service is started. Needs root and a Debian mirror; everything lies in one
# folder, in a mount namespace of its own, and is removed at the end.
set -euo pipefail
[ "$(id -u)" -eq 0 ] || { echo "bare_root: needs root for debootstrap and chroot" >&2; exit 1; }
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
tree=$(cd "${1:?usage: bare_root.sh BUILD-TREE}" && pwd)
if [ -z "${BARE_NAMESPACE:-}" ]; then
  command -v debootstrap >/dev/null || apt-get install -y -q --no-install-recommends debootstrap >/dev/null
  work=$(mktemp -d "${BARE_ROOT:-/var/tmp}/pga-packages.XXXXXX")
  trap 'rm -rf --one-file-system "$work"' EXIT
  BARE_NAMESPACE=$work unshare --mount --pid --fork --propagation private "$0" "$tree"
  exit
fi
work=$BARE_NAMESPACE
root=$work/root
checks=0
check() {  # what must hold, command
  checks=$((checks + 1))
  "${@:2}" >"$work/check.log" 2>&1 || { echo "FAILED: $1: ${*:2}" >&2; tail -n 20 "$work/check.log" >&2; exit 1; }
}
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
absent() { ! in_root test -e "$1"; }
is() { [ "$(in_root stat -c '%U:%G %a' "$1")" = "$2" ] || { in_root stat -c '%n %U:%G %a' "$1"; return 1; }; }

for run in first second; do
  (cd "$ROOT" && PGA_PACKAGE_COMPRESSION=gzip tools/packages.sh "$tree" "$work/$run" >/dev/null)
done
for deb in "$work"/first/*.deb; do
  check "two runs give the same bytes" cmp "$deb" "$work/second/${deb##*/}"
done
(cd "$ROOT" && PGA_PACKAGE_VERSION=99.0 PGA_PACKAGE_COMPRESSION=gzip tools/packages.sh "$tree" "$work/next" >/dev/null)

mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' | awk '$2 == "bookworm" {print $1; exit}')
[ -n "$mirror" ] || { echo "bare_root: this machine's package sources name no Debian 12 mirror" >&2; exit 1; }
debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >"$work/debootstrap.log" 2>&1 ||
  { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main' | sort -u | grep ' bookworm' >"$root/etc/apt/sources.list"
cp /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
for file in /etc/apt/apt.conf.d/*proxy*; do [ ! -f "$file" ] || cp "$file" "$root/etc/apt/apt.conf.d/"; done
# Package scripts find no init system, and start nothing.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"
mkdir "$root/packages"
cp "$work"/first/*.deb "$root/packages/"
in_root apt-get update -q >"$work/apt.log" 2>&1
check "the root is bare" absent /usr/bin/psql
check "install with what they need" in_root sh -c 'apt-get install -y -q --no-install-recommends /packages/*.deb'

for program in pganalytics-api pganalytics-collector pgactl pga-auth pga-registry pga-ingest pga-query pga-compactor pga-ruler pga-gateway; do
  check "$program starts" in_root $program --version
  check "$program finds its libraries" in_root sh -c "! ldd /usr/bin/$program | grep 'not found'"
done
for user in pganalytics pganalytics-collector pganalytics-backup; do
  check "user $user" in_root id $user
  check "user $user cannot sign in" in_root sh -c "getent passwd $user | grep ':/usr/sbin/nologin$'"
done
check "log folder" is /var/log/pganalytics "pganalytics:pganalytics 750"
check "settings are root's" is /etc/pganalytics/pganalytics.env "root:root 600"
check "settings are root's" is /etc/pganalytics/collector.env "root:root 600"
for unit in pganalytics.service pganalytics-collector.service pganalytics-backup.service pganalytics-backup.timer; do
  check "$unit as systemd reads it" in_root sh -c "out=\$(systemd-analyze verify --man=no /lib/systemd/system/$unit 2>&1); echo \"\$out\"; ! echo \"\$out\" | grep pganalytics"
  check "$unit is not enabled" sh -c "! find '$root/etc/systemd' -name '$unit' | grep ."
done
check "settings without values say what is missing" in_root sh -c '. /etc/pganalytics/pganalytics.env; ! pganalytics-api 2>&1 | tee /tmp/out; grep DATABASE_URL /tmp/out'
check "every file is a package's" in_root dpkg --verify pganalytics pganalytics-collector pgactl

# Upgrade: changed settings and data stay, without a question.
in_root sh -c 'echo PORT=9999 >>/etc/pganalytics/pganalytics.env; mkdir -p /var/lib/pganalytics /var/lib/pganalytics-collector /var/lib/pganalytics-backup
  touch /var/lib/pganalytics/keys /var/lib/pganalytics-collector/spool /var/lib/pganalytics-backup/one; echo line >/var/log/pganalytics/api.log'
rm "$root"/packages/*.deb
cp "$work"/next/*.deb "$root/packages/"
check "upgrade" in_root sh -c 'apt-get install -y -q --no-install-recommends /packages/*.deb </dev/null'
check "the newer version" in_root sh -c 'dpkg-query -W -f "\${Version}\n" pganalytics pganalytics-collector pgactl | sort -u | grep -x 99.0'
check "changed settings stay" in_root grep -x PORT=9999 /etc/pganalytics/pganalytics.env
check "data stays" in_root test -e /var/lib/pganalytics/keys -a -e /var/lib/pganalytics-collector/spool
check "the backup's unit needs pgactl" in_root sh -c '! dpkg --remove pgactl'

check "removal" in_root apt-get remove -y -q pganalytics pganalytics-collector pgactl
for path in /usr/bin/pganalytics-api /usr/bin/pganalytics-collector /usr/bin/pgactl /lib/systemd/system/pganalytics.service \
    /usr/lib/sysusers.d/pganalytics.conf /usr/share/pganalytics; do
  check "removed is $path" absent $path
done
check "settings stay" in_root grep -x PORT=9999 /etc/pganalytics/pganalytics.env
check "data stays" in_root test -e /var/lib/pganalytics/keys -a -e /var/lib/pganalytics-collector/spool -a -e /var/log/pganalytics/api.log
check "a package that was removed comes back with its settings" in_root sh -c 'apt-get install -y -q --no-install-recommends /packages/pganalytics-collector_*.deb /packages/pgactl_*.deb /packages/pganalytics_*.deb </dev/null'
check "its settings" in_root grep -x PORT=9999 /etc/pganalytics/pganalytics.env

check "purge" in_root apt-get purge -y -q pganalytics pganalytics-collector pgactl
for path in /etc/pganalytics /etc/logrotate.d/pganalytics /var/lib/pganalytics /var/lib/pganalytics-collector /var/log/pganalytics; do
  check "purged is $path" absent $path
done
check "backups stay" in_root test -e /var/lib/pganalytics-backup/one
check "nothing else is left" sh -c "! find '$root/etc' '$root/usr' '$root/lib' '$root/opt' -name '*pganalytics*' | grep ."
echo "packages: $checks checks passed in a bare Debian 12"
