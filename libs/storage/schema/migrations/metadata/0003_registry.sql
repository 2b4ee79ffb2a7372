-- Tables of the registry service: collectors and their configuration.
CREATE TABLE pganalytics.collectors (
  id                     text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$'),
  name                   text NOT NULL,
  description            text NOT NULL DEFAULT '',
  hostname               text NOT NULL,
  address                text NOT NULL DEFAULT '',
  version                text NOT NULL DEFAULT '',
  last_seen              timestamptz,
  certificate_thumbprint text NOT NULL DEFAULT '',
  certificate_expires_at timestamptz,
  config_version         int4 NOT NULL DEFAULT 1,
  metrics_count_total    int8 NOT NULL DEFAULT 0,
  metrics_count_24h      int8 NOT NULL DEFAULT 0,
  health_check_interval  int4 NOT NULL DEFAULT 60,
  registrations          int4 NOT NULL DEFAULT 1,
  created_at             timestamptz NOT NULL,
  updated_at             timestamptz NOT NULL
);
CREATE INDEX collectors_created_at ON pganalytics.collectors (created_at DESC, id);
CREATE INDEX collectors_last_seen ON pganalytics.collectors (last_seen);

-- Every version ever stored, as the text that was given.
CREATE TABLE pganalytics.collector_config (
  collector_id text NOT NULL REFERENCES pganalytics.collectors ON DELETE CASCADE,
  version      int4 NOT NULL,
  config       text NOT NULL,
  created_at   timestamptz NOT NULL,
  updated_by   text NOT NULL,
  PRIMARY KEY (collector_id, version)
);

-- For people and scripts whose search_path is the default one.
CREATE VIEW public.collectors AS
  SELECT id, name, description, hostname, address, version,
         CASE WHEN last_seen IS NULL THEN 'registered'
              WHEN last_seen < now() - INTERVAL '300 seconds' THEN 'offline'
              ELSE 'active' END AS status,
         last_seen, certificate_thumbprint, certificate_expires_at, config_version, metrics_count_total,
         metrics_count_24h, health_check_interval, created_at, updated_at
  FROM pganalytics.collectors;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_registry') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON pganalytics.collectors TO pganalytics_registry;
    GRANT SELECT, INSERT, DELETE ON pganalytics.collector_config TO pganalytics_registry;
  END IF;
END
$$;
