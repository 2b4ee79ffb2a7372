-- What is known of pushes beside their elements: which were stored, and where the counters in them stood.

-- Readings of metrics that were made of the element; 0 = it is kept as it came.
ALTER TABLE metrics.pushed_element ADD COLUMN readings int4 NOT NULL DEFAULT 0;

-- One row per push that was stored, so that its repeat is not stored again.
CREATE TABLE metrics.push_receipt (
  collector_id int4 NOT NULL,
  -- SHA-256 of the body, unpacked
  body_hash    bytea NOT NULL,
  received_at  timestamptz NOT NULL DEFAULT now(),
  -- As answered.
  rows         int4 NOT NULL,
  refused      int4 NOT NULL,
  untyped      int4 NOT NULL,
  PRIMARY KEY (collector_id, body_hash)
);
CREATE INDEX push_receipt_received_at ON metrics.push_receipt (received_at);

-- The last reading of a metric that was made of pushed elements. Increases are the difference to it; it is written in the
-- transaction that stores them.
CREATE TABLE metrics.push_reading (
  source_id    int4 NOT NULL,
  metric_id    int2 NOT NULL,
  scope_id     int8 NOT NULL,
  -- Ownership epoch it was read in; another one begins anew.
  owner_epoch  int8 NOT NULL,
  collected_at timestamptz NOT NULL,
  -- services/ingest/push_counters.h
  state        bytea NOT NULL,
  PRIMARY KEY (source_id, metric_id, scope_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE metrics.push_reading ALTER COLUMN state SET STORAGE EXTERNAL;

-- Sources that collectors push for, under the id and epoch that registry granted last: whoever holds them goes on.
CREATE TABLE metrics.push_source (
  collector_id int4 NOT NULL,
  name         text NOT NULL,
  uuid         uuid NOT NULL,
  owner_epoch  int8 NOT NULL,
  PRIMARY KEY (collector_id, name)
);

ALTER FUNCTION metrics.apply_grants() RENAME TO apply_table_grants;
CREATE FUNCTION metrics.apply_grants() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
BEGIN
  PERFORM metrics.apply_table_grants();
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_ingest') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON metrics.push_receipt, metrics.push_reading, metrics.push_source
      TO pganalytics_ingest;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_maintenance') THEN
    GRANT SELECT, DELETE ON metrics.push_receipt, metrics.push_reading TO pganalytics_maintenance;
    GRANT SELECT ON metrics.push_source TO pganalytics_maintenance;
  END IF;
END
$$;
