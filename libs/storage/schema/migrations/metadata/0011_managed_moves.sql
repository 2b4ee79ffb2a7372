-- Managed instances move between the collectors of a group, so that they stay shared evenly.
ALTER TABLE pganalytics.managed_instances
  -- The collector that is to watch it in place of assigned_to, once it has reached it; empty = none.
  ADD COLUMN moves_to    text NOT NULL DEFAULT '',
  ADD COLUMN moves_since timestamptz;

-- Since when the collector reports without a pause; null = not known.
ALTER TABLE pganalytics.managed_collectors ADD COLUMN since timestamptz;

-- Collectors that could not reach an instance that was to move to them.
CREATE TABLE pganalytics.managed_unreached (
  instance_id  int4 NOT NULL REFERENCES pganalytics.managed_instances ON DELETE CASCADE,
  collector_id text NOT NULL REFERENCES pganalytics.collectors ON DELETE CASCADE,
  tried_at     timestamptz NOT NULL,
  PRIMARY KEY (instance_id, collector_id)
);

-- Collectors read at this interval; longer ones were kept and never used.
UPDATE pganalytics.managed_instances SET monitoring_interval = 300 WHERE monitoring_interval > 300;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_registry') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON pganalytics.managed_unreached TO pganalytics_registry;
  END IF;
END
$$;
