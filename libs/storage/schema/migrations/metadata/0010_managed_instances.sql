-- Servers that are watched without an agent on their host. A deleted one keeps its row and loses its password.
CREATE TABLE pganalytics.managed_instances (
  id                           int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name                         text NOT NULL,
  group_name                   text NOT NULL DEFAULT 'default',
  -- The collector that an administrator wants; empty = any of the group.
  collector_id                 text NOT NULL DEFAULT '',
  description                  text,
  cluster_id                   int4,
  instance_role                text NOT NULL DEFAULT 'master',
  aws_region                   text NOT NULL DEFAULT 'us-east-1',
  endpoint                     text NOT NULL,
  port                         int4 NOT NULL CHECK (port BETWEEN 1 AND 65535),
  engine_version               text,
  db_instance_class            text,
  allocated_storage_gb         int4,
  environment                  text NOT NULL DEFAULT 'development',
  master_username              text NOT NULL,
  enable_enhanced_monitoring   bool NOT NULL DEFAULT false,
  monitoring_interval          int4 NOT NULL DEFAULT 60,
  ssl_mode                     text NOT NULL DEFAULT 'require',
  connection_timeout           int4 NOT NULL DEFAULT 30,
  paused                       bool NOT NULL DEFAULT false,
  multi_az                     bool NOT NULL DEFAULT false,
  backup_retention_days        int4,
  preferred_backup_window      text,
  preferred_maintenance_window text,
  tags                         jsonb NOT NULL DEFAULT '{}',
  -- The last connection test.
  tested_at                    timestamptz,
  test_error                   text,
  last_error_message           text,
  last_error_time              timestamptz,
  last_heartbeat               timestamptz,
  -- Grows with every change that a collector must know of.
  revision                     int8 NOT NULL DEFAULT 1,
  -- The collector that watches it; empty = none.
  assigned_to                  text NOT NULL DEFAULT '',
  -- The collector that is to watch it in place of assigned_to, once it has reached it; empty = none.
  moves_to                     text NOT NULL DEFAULT '',
  moves_since                  timestamptz,
  created_at                   timestamptz NOT NULL,
  updated_at                   timestamptz NOT NULL,
  created_by                   int4,
  updated_by                   int4,
  deleted_at                   timestamptz
);
CREATE UNIQUE INDEX managed_instances_name ON pganalytics.managed_instances (group_name, name) WHERE deleted_at IS NULL;
CREATE INDEX managed_instances_assigned ON pganalytics.managed_instances (assigned_to) WHERE deleted_at IS NULL;

-- Their passwords: AES-256-GCM, version byte 1, 12 byte nonce, cipher text, 16 byte tag, under the key that sealed_with
-- names.
CREATE TABLE pganalytics.managed_secrets (
  id          int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  instance_id int4 NOT NULL UNIQUE REFERENCES pganalytics.managed_instances ON DELETE CASCADE,
  sealed      bytea NOT NULL,
  sealed_with text NOT NULL,
  created_at  timestamptz NOT NULL
);

-- Collectors that take managed instances, by their last report.
CREATE TABLE pganalytics.managed_collectors (
  collector_id text PRIMARY KEY REFERENCES pganalytics.collectors ON DELETE CASCADE,
  seen_at      timestamptz NOT NULL,
  lease_until  timestamptz NOT NULL,
  -- Since when it reports without a pause.
  since        timestamptz NOT NULL
) WITH (fillfactor = 70);

-- Collectors that could not reach an instance that was to move to them.
CREATE TABLE pganalytics.managed_unreached (
  instance_id  int4 NOT NULL REFERENCES pganalytics.managed_instances ON DELETE CASCADE,
  collector_id text NOT NULL REFERENCES pganalytics.collectors ON DELETE CASCADE,
  tried_at     timestamptz NOT NULL,
  PRIMARY KEY (instance_id, collector_id)
);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_registry') THEN
    GRANT SELECT, INSERT, UPDATE ON pganalytics.managed_instances TO pganalytics_registry;
    GRANT SELECT, INSERT, UPDATE, DELETE ON pganalytics.managed_secrets, pganalytics.managed_collectors,
      pganalytics.managed_unreached TO pganalytics_registry;
  END IF;
END
$$;
