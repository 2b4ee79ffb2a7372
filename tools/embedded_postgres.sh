# Sourced by run.sh and stop.sh: one private PostgreSQL 15 cluster in the state folder.
#
# PostgreSQL refuses to run as root, so root runs it as user postgres; a state folder that user cannot reach (below
# /root, for example) moves the cluster to /var/lib/pganalytics. Functions print problems as one clear sentence.
PG_BIN=${PG_BIN:-/usr/lib/postgresql/15/bin}
PG_MAJOR=15

pg_as() {  # runs a command as the cluster's owner
  if [ "$(id -u)" -eq 0 ]; then (cd / && runuser -u postgres -- "$@"); else (cd / && "$@"); fi
}

pg_locate() {  # sets PG_HOME: the folder of the cluster, its sockets and its log
  local state=$1
  if [ "$(id -u)" -ne 0 ] || pg_as test -x "$state"; then
    PG_HOME=$state/postgres
  else
    PG_HOME=/var/lib/pganalytics/$(printf '%s' "$state" | sha256sum | cut -c1-12)
  fi
}

pg_running_pid() {  # prints the postmaster's pid if this cluster is up
  local file=$PG_HOME/data/postmaster.pid pid
  [ -r "$file" ] || return 1
  pid=$(head -n 1 "$file")
  [ -n "$pid" ] && [ -d "/proc/$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$PG_HOME/data" ||
    return 1
  echo "$pid"
}

port_is_free() {
  ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# First free port from $1 on, at most 200 further. Below 32768: the kernel gives ports above to connections that begin.
free_port() {
  local port=$1 last=$(($1 + 200))
  while [ "$port" -lt "$last" ]; do
    if port_is_free "$port"; then echo "$port"; return 0; fi
    port=$((port + 1))
  done
  return 1
}

pg_init() {  # makes the cluster if it is not there: password file $1
  local password_file=$1 version
  local user owner_name
  user=$(pg_as id -un)
  if [ -e "$PG_HOME/data" ] && owner_name=$(stat -c %U "$PG_HOME/data") && [ "$owner_name" != "$user" ]; then
    echo "run: the data in $PG_HOME/data belongs to $owner_name, and PostgreSQL would run as $user here." >&2
    echo "     Run as the user who made it, or choose another folder: make run STATE=<folder>" >&2
    return 1
  fi
  if [ -r "$PG_HOME/data/PG_VERSION" ]; then
    version=$(cat "$PG_HOME/data/PG_VERSION")
    if [ "$version" != "$PG_MAJOR" ]; then
      echo "run: the data in $PG_HOME/data was made by PostgreSQL $version, this program uses $PG_MAJOR." >&2
      echo "     Upgrade it with pg_upgrade, or choose another folder: make run STATE=<folder>" >&2
      return 1
    fi
    return 0
  fi
  if [ -e "$PG_HOME/data" ] && [ -n "$(ls -A "$PG_HOME/data" 2>/dev/null)" ]; then
    echo "run: $PG_HOME/data is not empty and is not a PostgreSQL data folder. Move it away, or choose another folder:" >&2
    echo "     make run STATE=<folder>" >&2
    return 1
  fi
  local owner=(); [ "$(id -u)" -ne 0 ] || owner=(-o postgres -g postgres)
  [ -d "$(dirname "$PG_HOME")" ] || install -d -m 755 "$(dirname "$PG_HOME")"
  install -d "${owner[@]}" -m 700 "$PG_HOME" "$PG_HOME/run"
  install "${owner[@]}" -m 600 "$password_file" "$PG_HOME/initial-password"
  if ! pg_as "$PG_BIN/initdb" -D "$PG_HOME/data" -U postgres -E UTF8 --locale=C.UTF-8 --data-checksums \
      --auth-local=trust --auth-host=scram-sha-256 --pwfile="$PG_HOME/initial-password" >"$PG_HOME.initdb.log" 2>&1; then
    tail -n 5 "$PG_HOME.initdb.log" >&2
    echo "run: PostgreSQL could not make its data folder $PG_HOME/data (its last lines are above)." >&2
    return 1
  fi
  rm -f "$PG_HOME/initial-password" "$PG_HOME.initdb.log"
  pg_as tee -a "$PG_HOME/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$PG_HOME/run'
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.max = 10000
track_io_timing = on
max_connections = 100
CONF
}

# The password of role $1 from file $2, by psql with the options that follow. \password computes the verifier, so that no
# statement, and no log of one, holds the password. Without a terminal it reads the standard input.
pg_set_password() {
  local role=$1 file=$2
  shift 2
  { cat "$file" && echo && cat "$file" && echo; } | sed '/^$/d' | setsid -w "$@" -c "\\password $role" >/dev/null
}

pg_start() {  # starts the cluster on port $1 if it is not up
  local port=$1
  pg_running_pid >/dev/null && return 0
  if ! pg_as "$PG_BIN/pg_ctl" -D "$PG_HOME/data" -l "$PG_HOME/log" -o "-p $port" -w -t 60 start >/dev/null 2>&1; then
    pg_as tail -n 10 "$PG_HOME/log" >&2 || true
    echo "run: PostgreSQL did not start (the end of $PG_HOME/log is above)." >&2
    return 1
  fi
}

pg_stop() {
  pg_running_pid >/dev/null || return 0
  pg_as "$PG_BIN/pg_ctl" -D "$PG_HOME/data" -m fast -w -t 60 stop >/dev/null 2>&1
}
