#!/usr/bin/env bash
# Makes what tools/deploy/docker-compose.yml reads as files: tools/deploy/compose/secrets.sh NAME [folder]
# NAME is what people and collectors write into their URLs; the certificate, of a CA of its own, carries it. What is there stays.
# The folder is for its owner alone; the files in it can be read by any container that gets one.
set -euo pipefail
name=${1:?usage: secrets.sh NAME [folder]}
[[ $name =~ ^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$ ]] || { echo "secrets: $name is no name of a host" >&2; exit 2; }
folder=${2:-$(cd "$(dirname "$0")" && pwd)/secrets}
mkdir -p -m 700 "$folder"
chmod 700 "$folder"
cd "$folder"
put() {  # file; its text comes on standard input
  local text
  text=$(cat)
  [ ! -e "$1" ] || return 0
  printf '%s\n' "$text" >"$1.part"
  chmod 444 "$1.part"
  mv "$1.part" "$1"
}
# Without characters that a URL would have to quote.
for secret in postgres-password owner-password reader-password reader-texts-password admin-password grafana-password; do
  openssl rand -hex 24 | put $secret
done
for secret in jwt-secret registration-secret encryption-key; do openssl rand -base64 32 | put $secret; done
echo "postgresql://pganalytics:$(cat owner-password)@postgres:5432/pganalytics?sslmode=disable" | put database-url
echo "postgresql://pganalytics:$(cat owner-password)@timescale:5432/metrics?sslmode=disable" | put timescale-url
# Filled in later: pgactl tokens create prometheus --role viewer
echo none | put prometheus-token
if [ ! -e tls.crt ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 -subj "/CN=pgAnalytics CA of $name" \
    -keyout ca.key -out ca.crt.part 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" -keyout tls.key.part -out tls.csr 2>/dev/null
  openssl x509 -req -in tls.csr -CA ca.crt.part -CAkey ca.key -CAcreateserial -days 825 -out tls.crt.part \
    -extfile <(printf 'subjectAltName=DNS:%s,DNS:localhost,DNS:api,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' "$name") 2>/dev/null
  cat tls.key.part | put tls.key
  cat ca.crt.part | put ca.crt
  cat tls.crt.part | put tls.crt
  rm -f ./*.part tls.csr ./*.srl
  chmod 400 ca.key
fi
echo "secrets: $folder"
