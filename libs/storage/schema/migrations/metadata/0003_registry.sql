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
  -- Group of the sources it watches, from the secret it registered with last.
  source_group           text NOT NULL DEFAULT 'default',
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

-- Watched servers and hosts (docs/adr/2026-11-28-sources.md). The name and group as first reported stay: by them collectors
-- are matched. Those that are shown may change.
CREATE TABLE pganalytics.sources (
  id                 uuid PRIMARY KEY,
  name               text NOT NULL,
  group_name         text NOT NULL,
  reported_name      text NOT NULL,
  home_group         text NOT NULL,
  is_host            bool NOT NULL,
  owner              text NOT NULL,
  owner_epoch        int8 NOT NULL,
  owned_since        timestamptz NOT NULL,
  -- The owner's last report; NULL once it has released the source.
  renewed_at         timestamptz,
  interval_ms        int4 NOT NULL DEFAULT 60000,
  up                 bool NOT NULL DEFAULT false,
  since              timestamptz NOT NULL,
  message            text NOT NULL DEFAULT '',
  -- A serialised pganalytics.registry.v1.SourceReport with not_collected alone.
  not_collected      bytea NOT NULL DEFAULT '',
  identifiers        int8[] NOT NULL DEFAULT '{}',
  server_version_num int4 NOT NULL DEFAULT 0,
  in_recovery        bool NOT NULL DEFAULT false,
  address            text NOT NULL DEFAULT '',
  first_seen         timestamptz NOT NULL,
  seen_at            timestamptz,
  removed_at         timestamptz,
  removed_by         text NOT NULL DEFAULT '',
  revision           int8 NOT NULL
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX sources_reported ON pganalytics.sources (home_group, reported_name) WHERE removed_at IS NULL;
-- A report looks for sources that were removed as well.
CREATE INDEX sources_by_report ON pganalytics.sources (home_group, reported_name);
CREATE UNIQUE INDEX sources_shown ON pganalytics.sources (group_name, name) WHERE removed_at IS NULL;
CREATE INDEX sources_revision ON pganalytics.sources (revision);

CREATE TABLE pganalytics.source_watchers (
  source_id      uuid NOT NULL REFERENCES pganalytics.sources ON DELETE CASCADE,
  collector_id   text NOT NULL,
  watching_since timestamptz NOT NULL,
  polled_at      timestamptz NOT NULL,
  PRIMARY KEY (source_id, collector_id)
) WITH (fillfactor = 70);

-- Revisions grow by one in the order of commits: whoever saw number n has seen all below n.
CREATE TABLE pganalytics.source_revision (
  only_row    bool PRIMARY KEY DEFAULT true CHECK (only_row),
  last_number int8 NOT NULL
);
INSERT INTO pganalytics.source_revision (last_number) VALUES (0);

-- Backups that came to their end, noted by `pgactl backup create`; the backup itself does not have its row.
CREATE TABLE pganalytics.backups (
  id          text PRIMARY KEY,
  started_at  timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  databases   text[] NOT NULL,
  bytes       int8 NOT NULL
);
CREATE INDEX backups_finished_at ON pganalytics.backups (finished_at);

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
    GRANT SELECT, INSERT, UPDATE ON pganalytics.sources TO pganalytics_registry;
    GRANT SELECT, INSERT, UPDATE, DELETE ON pganalytics.source_watchers TO pganalytics_registry;
    GRANT SELECT, UPDATE ON pganalytics.source_revision TO pganalytics_registry;
    GRANT SELECT ON pganalytics.backups TO pganalytics_registry;
  END IF;
END
$$;
