-- The ledger, the receipts and what was pushed.

-- One row per stored frame. The view public.metrics shows it with names.
SELECT metrics.create_time_table(
  'metrics', 'metrics',
  'time timestamptz NOT NULL, source_id int4 NOT NULL, collector_id int4 NOT NULL, interval_ms int8 NOT NULL, '
  'rows int4 NOT NULL, bytes int4 NOT NULL, scope int4 NOT NULL, metric_id int2 NOT NULL, flags int2 NOT NULL',
  'time', 'day', 31, 'ledger', NULL, 'source_id, metric_id, time', 'metric_id');

-- One row per stored batch, for telling a repeat from a fork; of use only while collectors may send it again.
CREATE TABLE metrics.ingest_receipt (
  received_at     timestamptz NOT NULL,
  collector_id    int4 NOT NULL,
  stream_id       uuid NOT NULL,
  seq             int8 NOT NULL,
  hash            bytea NOT NULL,
  rows            int4 NOT NULL,
  bytes           int4 NOT NULL,
  clock_offset_us int8 NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
CREATE INDEX ingest_receipt_batch ON metrics.ingest_receipt (collector_id, stream_id, seq);
CREATE INDEX ingest_receipt_received_at ON metrics.ingest_receipt (received_at);

-- What came by POST /metrics/push, element by element.
CREATE TABLE metrics.pushed_element (
  time      timestamptz NOT NULL,
  collector text NOT NULL,
  hostname  text NOT NULL,
  type      text NOT NULL,
  element   jsonb NOT NULL
);
CREATE INDEX pushed_element_collector ON metrics.pushed_element (collector, time);
CREATE INDEX pushed_element_time ON metrics.pushed_element (time);

-- Left joins on unique keys cost nothing when only rows are counted.
CREATE VIEW public.metrics AS
  SELECT m.time AS "timestamp", c.collector_id, s.name AS source, coalesce(k.name, 'push') AS metric_name,
         m.rows, m.bytes, m.interval_ms, m.flags, m.scope::int8 & 4294967295 AS database_oid, m.source_id, m.metric_id
    FROM metrics.metrics m
    LEFT JOIN metrics.collector c ON c.id = m.collector_id
    LEFT JOIN metrics.source s ON s.id = m.source_id
    LEFT JOIN metrics.catalog_metric k ON k.id = m.metric_id;
COMMENT ON VIEW public.metrics IS 'One row per stored frame: one metric of one source at one instant';

-- Rights of the three roles on everything there is, as far as the roles exist. Called at the end of every migration and
-- every catalog version; repeating changes nothing.
CREATE FUNCTION metrics.apply_grants() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  entry  metrics.time_table%ROWTYPE;
  member text;
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_ingest') THEN
    GRANT USAGE ON SCHEMA metrics, custom TO pganalytics_ingest;
    GRANT SELECT ON metrics.setting, metrics.schema_migration, metrics.catalog_metric, metrics.collector, metrics.source,
      metrics.text, metrics.query_text, metrics.ingest_watermark, metrics.ingest_receipt, metrics.rollup_dirty,
      metrics.time_table, metrics.metrics TO pganalytics_ingest;
    GRANT INSERT ON metrics.frame, metrics.ingest_receipt, metrics.pushed_element, metrics.collector, metrics.source, metrics.text, metrics.query_text, metrics.ingest_watermark,
      metrics.rollup_dirty, metrics.quarantine, metrics.lost_interval TO pganalytics_ingest;
    GRANT UPDATE ON metrics.source, metrics.text, metrics.query_text, metrics.ingest_watermark, metrics.rollup_dirty TO pganalytics_ingest;
    GRANT DELETE ON metrics.ingest_watermark TO pganalytics_ingest;
    -- Texts of statements pass through a temporary table. Everybody has the right unless an administrator took it.
    BEGIN
      IF NOT has_database_privilege('pganalytics_ingest', current_database(), 'TEMPORARY') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO pganalytics_ingest', current_database());
      END IF;
    EXCEPTION
      WHEN insufficient_privilege THEN
        RAISE NOTICE 'role pganalytics_ingest needs the right TEMPORARY on database %', current_database();
    END;
    GRANT EXECUTE ON FUNCTION metrics.ensure_partitions(text, timestamptz, timestamptz) TO pganalytics_ingest;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_query') THEN
    GRANT USAGE ON SCHEMA metrics, custom, readable TO pganalytics_query;
    GRANT SELECT ON metrics.setting, metrics.schema_migration, metrics.catalog_metric, metrics.collector, metrics.source,
      metrics.text, metrics.query_text, metrics.ingest_watermark, metrics.rollup_dirty, metrics.ledger_day,
      metrics.lost_interval, metrics.time_table, metrics.lease, metrics.frame, metrics.block, metrics.ingest_receipt, metrics.pushed_element, public.metrics TO pganalytics_query;
    GRANT SELECT ON ALL TABLES IN SCHEMA readable TO pganalytics_query;
    -- Numbers of the quarantine, not what is in it.
    GRANT SELECT (id, received_at, collector_id, stream_id, seq, reason, message, bytes) ON metrics.quarantine TO pganalytics_query;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_maintenance') THEN
    GRANT USAGE ON SCHEMA metrics, custom TO pganalytics_maintenance;
    GRANT SELECT ON metrics.setting, metrics.schema_migration, metrics.catalog_metric, metrics.collector, metrics.source,
      metrics.text, metrics.query_text, metrics.ingest_watermark, metrics.rollup_dirty, metrics.ledger_day, metrics.lease,
      metrics.lost_interval, metrics.time_table, metrics.frame, metrics.block, metrics.ingest_receipt, metrics.pushed_element TO pganalytics_maintenance;
    GRANT SELECT (id, received_at, collector_id, stream_id, seq, reason, bytes) ON metrics.quarantine TO pganalytics_maintenance;
    GRANT INSERT, UPDATE, DELETE ON metrics.lease, metrics.ledger_day TO pganalytics_maintenance;
    GRANT UPDATE, DELETE ON metrics.rollup_dirty TO pganalytics_maintenance;
    GRANT INSERT, DELETE ON metrics.block TO pganalytics_maintenance;
    GRANT DELETE ON metrics.frame, metrics.ingest_receipt, metrics.pushed_element, metrics.text, metrics.query_text, metrics.quarantine, metrics.lost_interval,
      metrics.ingest_watermark TO pganalytics_maintenance;
    GRANT EXECUTE ON FUNCTION metrics.ensure_partitions(text, timestamptz, timestamptz),
      metrics.ensure_partitions_ahead(timestamptz, interval),
      metrics.drop_partitions(text, timestamptz, int4), metrics.compress_chunks(text, timestamptz, int4),
      metrics.ensure_block_partitions(date, date), metrics.drop_expired_blocks(date, int4) TO pganalytics_maintenance;
  END IF;
  FOR entry IN SELECT * FROM metrics.time_table LOOP
    FOR member IN SELECT rolname FROM pg_roles
        WHERE rolname IN ('pganalytics_ingest', 'pganalytics_query', 'pganalytics_maintenance') LOOP
      IF member = 'pganalytics_ingest' AND entry.kind <> 'rollup' THEN
        EXECUTE format('GRANT INSERT ON %I.%I TO pganalytics_ingest', entry.schema_name, entry.name);
      ELSIF member = 'pganalytics_query' THEN
        EXECUTE format('GRANT SELECT ON %I.%I TO pganalytics_query', entry.schema_name, entry.name);
      ELSIF member = 'pganalytics_maintenance' THEN
        EXECUTE format('GRANT SELECT ON %I.%I TO pganalytics_maintenance', entry.schema_name, entry.name);
        IF entry.kind = 'rollup' THEN
          EXECUTE format('GRANT INSERT, DELETE ON %I.%I TO pganalytics_maintenance', entry.schema_name, entry.name);
        END IF;
      END IF;
    END LOOP;
  END LOOP;
  -- The login that migrates is the one services use in a small installation: it may step down to each role. Said even if
  -- it is a member already: since PostgreSQL 16 the membership of a role's creator does not allow SET ROLE.
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    FOR member IN SELECT rolname FROM pg_roles
        WHERE rolname IN ('pganalytics_ingest', 'pganalytics_query', 'pganalytics_maintenance') LOOP
      BEGIN
        EXECUTE format('GRANT %I TO CURRENT_USER', member);
      EXCEPTION
        WHEN insufficient_privilege THEN
          RAISE NOTICE 'role % was not granted to login %', member, current_user;
      END;
    END LOOP;
  END IF;
END
$$;

-- What runs with the owner's rights is for the roles alone.
REVOKE ALL ON FUNCTION metrics.ensure_partitions(text, timestamptz, timestamptz),
  metrics.ensure_partitions_ahead(timestamptz, interval), metrics.drop_partitions(text, timestamptz, int4),
  metrics.compress_chunks(text, timestamptz, int4),
  metrics.create_time_table(name, name, text, name, text, int4, text, int2, text, text) FROM PUBLIC;
