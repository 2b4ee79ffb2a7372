-- Receipts and what was pushed, and the rights of all tables.

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
  element   jsonb NOT NULL,
  -- Of the program that pushed; empty where it does not say.
  version   text NOT NULL DEFAULT ''
);
CREATE INDEX pushed_element_collector ON metrics.pushed_element (collector, time);
CREATE INDEX pushed_element_time ON metrics.pushed_element (time);

-- Rights of the three roles on everything there is, as far as the roles exist. Called at the end of every migration;
-- repeating changes nothing.
CREATE FUNCTION metrics.apply_grants() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  member text;
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_ingest') THEN
    GRANT USAGE ON SCHEMA metrics TO pganalytics_ingest;
    GRANT SELECT ON metrics.setting, metrics.schema_migration, metrics.catalog_metric, metrics.collector, metrics.source,
      metrics.query_text, metrics.ingest_watermark, metrics.ingest_receipt, metrics.source_owner, metrics.counter_run,
      metrics.carried, metrics.frame, metrics.block TO pganalytics_ingest;
    GRANT INSERT ON metrics.frame, metrics.ingest_receipt, metrics.pushed_element, metrics.collector, metrics.source,
      metrics.query_text, metrics.ingest_watermark, metrics.quarantine, metrics.lost_interval, metrics.source_owner,
      metrics.counter_run, metrics.carried, metrics.superseded TO pganalytics_ingest;
    GRANT UPDATE ON metrics.collector, metrics.source, metrics.query_text, metrics.ingest_watermark, metrics.counter_run,
      metrics.carried TO pganalytics_ingest;
    GRANT DELETE ON metrics.ingest_watermark, metrics.carried TO pganalytics_ingest;
    -- Texts of statements pass through a temporary table. Everybody has the right unless an administrator took it.
    BEGIN
      IF NOT has_database_privilege('pganalytics_ingest', current_database(), 'TEMPORARY') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO pganalytics_ingest', current_database());
      END IF;
    EXCEPTION
      WHEN insufficient_privilege THEN
        RAISE NOTICE 'role pganalytics_ingest needs the right TEMPORARY on database %', current_database();
    END;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_query') THEN
    GRANT USAGE ON SCHEMA metrics, readable TO pganalytics_query;
    GRANT SELECT ON metrics.setting, metrics.schema_migration, metrics.catalog_metric, metrics.collector, metrics.source,
      metrics.query_text, metrics.ingest_watermark, metrics.ingest_receipt, metrics.pushed_element, metrics.frame,
      metrics.block, metrics.lost_interval, metrics.lease TO pganalytics_query;
    GRANT SELECT ON ALL TABLES IN SCHEMA readable TO pganalytics_query;
    IF to_regclass('public.metrics') IS NOT NULL THEN
      GRANT SELECT ON public.metrics TO pganalytics_query;
    END IF;
    -- Numbers of the quarantine, not what is in it.
    GRANT SELECT (id, received_at, collector_id, stream_id, seq, reason, message, bytes) ON metrics.quarantine TO pganalytics_query;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_maintenance') THEN
    GRANT USAGE ON SCHEMA metrics TO pganalytics_maintenance;
    GRANT SELECT ON metrics.setting, metrics.schema_migration, metrics.catalog_metric, metrics.collector, metrics.source,
      metrics.query_text, metrics.ingest_watermark, metrics.ingest_receipt, metrics.pushed_element, metrics.frame,
      metrics.block, metrics.lost_interval, metrics.lease, metrics.counter_run, metrics.carried, metrics.superseded
      TO pganalytics_maintenance;
    GRANT SELECT (id, received_at, collector_id, stream_id, seq, reason, bytes) ON metrics.quarantine TO pganalytics_maintenance;
    GRANT SELECT ON metrics.frame_queue TO pganalytics_maintenance;
    GRANT INSERT ON metrics.block, metrics.quarantine TO pganalytics_maintenance;
    GRANT INSERT, UPDATE, DELETE ON metrics.lease TO pganalytics_maintenance;
    GRANT DELETE ON metrics.frame, metrics.block, metrics.ingest_receipt, metrics.pushed_element, metrics.query_text,
      metrics.quarantine, metrics.lost_interval, metrics.ingest_watermark, metrics.counter_run, metrics.carried,
      metrics.superseded TO pganalytics_maintenance;
    GRANT EXECUTE ON FUNCTION metrics.ensure_block_partitions(date, date), metrics.drop_expired_blocks(date, int4)
      TO pganalytics_maintenance;
  END IF;
  -- Nodes of a cluster reach one another as the role that is in force.
  IF metrics.layout() = 'citus' THEN
    FOR member IN SELECT rolname FROM pg_roles
        WHERE rolname IN ('pganalytics_ingest', 'pganalytics_query', 'pganalytics_maintenance') AND NOT rolcanlogin LOOP
      EXECUTE format('ALTER ROLE %I LOGIN', member);
    END LOOP;
  END IF;
  -- The login that migrates is the one services use in a small installation: it may step down to each role. Said even if
  -- it is a member already: since PostgreSQL 16 the membership of a role's creator does not allow SET ROLE.
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    FOR member IN SELECT rolname FROM pg_roles
        WHERE rolname IN ('pganalytics_ingest', 'pganalytics_query', 'pganalytics_maintenance') LOOP
      BEGIN
        EXECUTE format('GRANT %I TO CURRENT_USER', member);
      EXCEPTION
        -- An administrator has granted it.
        WHEN insufficient_privilege THEN
          IF NOT pg_has_role(member, 'MEMBER') THEN
            RAISE NOTICE 'role % was not granted to login %', member, current_user;
          END IF;
      END;
    END LOOP;
  END IF;
END
$$;
