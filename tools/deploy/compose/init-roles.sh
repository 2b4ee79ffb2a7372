#!/bin/sh
# Run once by the image of PostgreSQL while it prepares its data folder: owner's login, the roles of the services, and database
# $PGANALYTICS_DATABASE. Passwords come from files; nothing of this is logged.
set -eu
password() { cat "${PGANALYTICS_SECRETS_DIR:-/run/secrets}/$1" 2>/dev/null || true; }
OWNER_PASSWORD=$(password owner-password) READER_PASSWORD=$(password reader-password) READER_TEXTS_PASSWORD=$(password reader-texts-password)
export OWNER_PASSWORD READER_PASSWORD READER_TEXTS_PASSWORD
case $PGANALYTICS_DATABASE in
  pganalytics) roles="auth registry ruler insight" ;;
  *) roles="ingest query maintenance" ;;
esac
{
  cat <<'SQL'
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
\getenv owner_password OWNER_PASSWORD
\getenv reader_password READER_PASSWORD
\getenv reader_texts_password READER_TEXTS_PASSWORD
CREATE ROLE pganalytics LOGIN PASSWORD :'owner_password';
SQL
  for role in $roles; do
    echo "CREATE ROLE pganalytics_$role NOLOGIN;"
    echo "GRANT pganalytics_$role TO pganalytics;"
  done
  if [ "$PGANALYTICS_DATABASE" != pganalytics ]; then
    for reader in reader reader_texts; do
      echo "CREATE ROLE pganalytics_$reader LOGIN CONNECTION LIMIT 10 PASSWORD :'${reader}_password';"
      echo "ALTER ROLE pganalytics_$reader SET statement_timeout = '60s';"
      echo "ALTER ROLE pganalytics_$reader SET idle_in_transaction_session_timeout = '60s';"
      echo "ALTER ROLE pganalytics_$reader SET default_transaction_read_only = on;"
      echo "ALTER ROLE pganalytics_$reader SET jit = off;"
    done
  fi
  echo "CREATE DATABASE $PGANALYTICS_DATABASE OWNER pganalytics;"
  echo "\\connect $PGANALYTICS_DATABASE"
  if [ "$PGANALYTICS_DATABASE" != pganalytics ]; then
    # Where the server has it: its owner may not.
    echo "SELECT 'CREATE EXTENSION IF NOT EXISTS timescaledb' FROM pg_available_extensions WHERE name = 'timescaledb' AND current_setting('shared_preload_libraries') LIKE '%timescaledb%' \\gexec"
  fi
  # As \`pganalytics-api migrate roles\` does.
  echo "REVOKE TEMPORARY ON DATABASE $PGANALYTICS_DATABASE FROM PUBLIC;"
  echo "REVOKE CREATE ON SCHEMA public FROM PUBLIC;"
  echo "REVOKE EXECUTE ON FUNCTION pg_catalog.lo_creat(int4), pg_catalog.lo_create(oid), pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC;"
} | psql -X -q -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres
