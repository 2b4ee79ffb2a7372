#!/usr/bin/env bash
# Makes the Debian packages pganalytics, pganalytics-collector and pgactl: tools/packages.sh [build tree] [folder]
# Without a tree it builds the release preset; the packages come to build/packages. Two runs of one commit give the same bytes.
#   PGA_PACKAGE_VERSION      version in place of the project's (tests of upgrades)
#   PGA_PACKAGE_COMPRESSION  of dpkg-deb, xz unless set
set -euo pipefail
cd "$(dirname "$0")/.."
tree=${1:-}
if [ -z "$tree" ]; then
  tools/build.sh release
  tree=build/release
fi
target=${2:-build/packages}
mkdir -p "$target"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
umask 022

files=tools/deploy/packages
version=${PGA_PACKAGE_VERSION:-$(sed -n 's/^project(pganalytics VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)}
architecture=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH
maintainer="pgAnalytics authors <maintainers@pganalytics.example.com>"

programs() {  # package, programs: stripped, as this tree built them
  local package=$1
  shift
  mkdir -p "$stage/$package/usr/bin"
  for program in "$@"; do strip -o "$stage/$package/usr/bin/$program" "$tree/bin/$program"; done
}
# Units as in tools/deploy/systemd, with the places of a package.
unit() {  # package, unit, file of settings
  mkdir -p "$stage/$1/lib/systemd/system"
  sed -e "s|/opt/pganalytics/.env.production|/etc/pganalytics/$3|" -e 's|=/opt/pganalytics/\(pg\)|=/usr/bin/\1|' \
    -e 's|^WorkingDirectory=.*|WorkingDirectory=/var/lib/pganalytics|' "tools/deploy/systemd/$2" >"$stage/$1/lib/systemd/system/$2"
}
settings() {  # package, file: holds secrets later
  install -D -m 600 "$files/$2" "$stage/$1/etc/pganalytics/$2"
}

programs pganalytics pganalytics-api pga-auth pga-registry pga-ingest pga-query pga-compactor pga-ruler pga-gateway
unit pganalytics pganalytics.service pganalytics.env
unit pganalytics pganalytics-backup.service pganalytics.env
unit pganalytics pganalytics-backup.timer pganalytics.env
settings pganalytics pganalytics.env
install -D -m 644 tools/deploy/systemd/logrotate.d/pganalytics "$stage/pganalytics/etc/logrotate.d/pganalytics"
mkdir -p "$stage"/{pganalytics,pganalytics-collector}/usr/lib/sysusers.d
grep -v '^u pganalytics-collector ' tools/deploy/systemd/sysusers.d/pganalytics.conf >"$stage/pganalytics/usr/lib/sysusers.d/pganalytics.conf"
install -D -m 644 tools/deploy/systemd/tmpfiles.d/pganalytics.conf "$stage/pganalytics/usr/lib/tmpfiles.d/pganalytics.conf"
install -D -m 644 "$tree/pganalytics.pb" "$stage/pganalytics/usr/share/pganalytics/pganalytics.pb"
install -D -m 644 -t "$stage/pganalytics/usr/share/pganalytics/rsyslog" tools/deploy/rsyslog/50-pganalytics.conf
install -D -m 644 -t "$stage/pganalytics/usr/share/pganalytics/prometheus" tools/deploy/prometheus/pganalytics-alerts.yaml
install -D -m 644 -t "$stage/pganalytics/usr/share/pganalytics/grafana/dashboards" tools/deploy/grafana/dashboards/*.json
for kind in dashboards datasources; do
  install -D -m 644 -t "$stage/pganalytics/usr/share/pganalytics/grafana/provisioning/$kind" tools/deploy/grafana/provisioning/$kind/*.yaml
done
install -D -m 644 -t "$stage/pganalytics/usr/share/doc/pganalytics" docs/*.md README.md SECURITY.md

programs pganalytics-collector pganalytics-collector
unit pganalytics-collector pganalytics-collector.service collector.env
settings pganalytics-collector collector.env
grep '^u pganalytics-collector ' tools/deploy/systemd/sysusers.d/pganalytics.conf >"$stage/pganalytics-collector/usr/lib/sysusers.d/pganalytics-collector.conf"

programs pgactl pgactl

for package in pganalytics pganalytics-collector pgactl; do
  root=$stage/$package
  mkdir -p "$root/DEBIAN" "$root/usr/share/doc/$package" "$stage/debian"
  {
    echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
    printf 'Upstream-Name: pgAnalytics\n\nFiles: *\nCopyright: 2026 the pgAnalytics authors\nLicense: PostgreSQL\n'
    sed -e '1,/^Copyright/d' -e 's/^$/./' -e 's/^/ /' LICENSE | sed '1{/^ \.$/d}'
  } >"$root/usr/share/doc/$package/copyright"
  printf 'pganalytics (%s) stable; urgency=medium\n\n  * See CHANGELOG.md of pgAnalytics %s.\n\n -- %s  %s\n' "$version" "$version" "$maintainer" \
    "$(date -uR -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$root/usr/share/doc/$package/changelog.gz"
  for script in postinst prerm postrm; do
    [ ! -f "$files/$package.$script" ] || install -m 755 "$files/$package.$script" "$root/DEBIAN/$script"
  done
  [ ! -d "$root/etc" ] || (cd "$root" && find etc -type f -printf '/%p\n' | LC_ALL=C sort) >"$root/DEBIAN/conffiles"
  # The paragraph of the package, with what its programs need.
  awk -v RS= -v package="$package" '$2 == package' "$files/control" >"$stage/paragraph"
  printf 'Source: pganalytics\nMaintainer: %s\n\n' "$maintainer" | cat - "$stage/paragraph" >"$stage/debian/control"
  mapfile -t binaries < <(find "$root/usr/bin" -type f | LC_ALL=C sort)
  depends=$(cd "$stage" && dpkg-shlibdeps -O "${binaries[@]}" 2>"$stage/shlibdeps.log") || { cat "$stage/shlibdeps.log" >&2; exit 1; }
  depends=${depends#shlibs:Depends=}
  {
    sed -n '/^Package:/p' "$stage/paragraph"
    printf 'Source: pganalytics\nVersion: %s\nArchitecture: %s\nMaintainer: %s\n' "$version" "$architecture" "$maintainer"
    printf 'Installed-Size: %s\n' "$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)"
    printf 'Section: database\nPriority: optional\n'
    sed -e '/^Package:/d' -e '/^Architecture:/d' -e "s/\${shlibs:Depends}/$depends/" -e "s/\${version}/$version/" "$stage/paragraph"
  } >"$root/DEBIAN/control"
  (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs md5sum) >"$root/DEBIAN/md5sums"
  find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Z"${PGA_PACKAGE_COMPRESSION:-xz}" --build "$root" "$target/${package}_${version}_$architecture.deb" >/dev/null
  echo "$target/${package}_${version}_$architecture.deb"
done
