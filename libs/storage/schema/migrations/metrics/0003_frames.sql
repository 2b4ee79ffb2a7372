-- Frames as they came and blocks made of them, in columns. See libs/columns for the bytes of a column.

-- What collectors sent in the last hours, every metric; the compactor takes closed hours out of it. Frames below the
-- target of 8160 bytes stay in the row. Space of deleted rows is used again only after a vacuum, hence so eager.
CREATE TABLE metrics.frame (
  source_id      int4 NOT NULL,
  metric_id      int2 NOT NULL,
  -- oid of the database, 0 for metrics of the server
  scope_id       int8 NOT NULL,
  -- 1 delta, 2 keyframe (FrameKind)
  kind           int2 NOT NULL,
  part           int2 NOT NULL,
  -- bits of FrameFlag that all rows have; 32 = some row has LOWER_BOUND
  flags          int2 NOT NULL,
  schema_version int2 NOT NULL,
  collected_at   timestamptz NOT NULL,
  interval_start timestamptz NOT NULL,
  received_at    timestamptz NOT NULL,
  collector_id   int4 NOT NULL,
  rows           int4 NOT NULL,
  unchanged_rows int4 NOT NULL,
  -- One chunk per column of the schema version, then the flags of the rows, which may be empty. `offsets` has the start of
  -- each and the end: column c is substring(data FROM offsets[c] + 1 FOR offsets[c + 1] - offsets[c]).
  offsets        int4[] NOT NULL,
  data           bytea NOT NULL,
  PRIMARY KEY (source_id, metric_id, scope_id, kind, collected_at, part)
) WITH (toast_tuple_target = 8160,
        autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 1,
        -- so that frames are counted from the index
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.1,
        toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 2000,
        toast.autovacuum_vacuum_cost_delay = 1);
ALTER TABLE metrics.frame ALTER COLUMN data SET STORAGE EXTERNAL;

-- Frames of one source, metric and span, merged, and the levels above them. Pieces of one span add up.
CREATE TABLE metrics.block (
  -- first day on which it may be dropped
  expires_on     date NOT NULL,
  source_id      int4 NOT NULL,
  metric_id      int2 NOT NULL,
  -- 0 raw, 1 hours, 2 days UTC, 3 days of the configured zone
  level          int2 NOT NULL,
  kind           int2 NOT NULL,
  part           int2 NOT NULL,
  -- holds frames that cover more than an hour
  long           bool NOT NULL,
  -- least interval_start; least and greatest collected_at, above raw the end of the bucket
  starts         timestamptz NOT NULL,
  first          timestamptz NOT NULL,
  last           timestamptz NOT NULL,
  -- frames counted once: 0 in every part but the first
  frames         int4 NOT NULL,
  series         int4 NOT NULL,
  rows           int8 NOT NULL,
  unchanged_rows int8 NOT NULL,
  -- frames that the sections describe, in every part
  frame_entries  int4 NOT NULL,
  locate_min     bytea,
  locate_max     bytea,
  -- The section of id ids[i] is data[offsets[i], offsets[i + 1]); an empty one has the bytes of a column before it.
  ids            int2[] NOT NULL,
  offsets        int4[] NOT NULL,
  data           bytea NOT NULL
) PARTITION BY RANGE (expires_on);
ALTER TABLE metrics.block ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE INDEX block_span ON metrics.block (source_id, metric_id, level, last);
CREATE INDEX block_long ON metrics.block (source_id, metric_id, level, starts) WHERE long;
-- Counts stored frames and rows without reading a block.
CREATE INDEX block_frames ON metrics.block (source_id, metric_id) INCLUDE (frames, rows) WHERE level = 0;

DO $$
DECLARE
  extension_schema name;
BEGIN
  IF metrics.layout() = 'timescaledb' THEN
    SELECT n.nspname INTO STRICT extension_schema
      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb';
    -- A hypertable starts as a plain table.
    CREATE TABLE metrics.block_plain (LIKE metrics.block INCLUDING ALL);
    DROP TABLE metrics.block;
    ALTER TABLE metrics.block_plain RENAME TO block;
    EXECUTE format('SELECT %I.create_hypertable(''metrics.block''::regclass, ''expires_on''::name, '
                   'chunk_time_interval => interval ''1 day'', create_default_indexes => false)', extension_schema);
  ELSIF metrics.layout() = 'citus' THEN
    -- A source's frames and blocks stand on one node, so that a merge moves them in one transaction of that node and a
    -- question about one source sees one instant. By name: the functions are there only in this layout.
    -- One connection to each node for the whole transaction: what is made after the tables is made on the nodes too.
    PERFORM set_config('citus.multi_shard_modify_mode', 'sequential', true);
    EXECUTE 'SELECT pg_catalog.create_distributed_table(''metrics.frame'', ''source_id'', colocate_with => ''none''), '
            'pg_catalog.create_distributed_table(''metrics.block'', ''source_id'', colocate_with => ''metrics.frame'')';
  END IF;
END
$$;

-- Which frames wait to be merged: per source and metric the oldest instant. Found by a scan that jumps over the frames of
-- each key; in the layout citus, where no recursion runs over several nodes, by reading the keys of all.
DO $$
BEGIN
  IF metrics.layout() = 'citus' THEN
    CREATE VIEW metrics.frame_queue AS
      SELECT source_id, metric_id, min(collected_at) AS oldest FROM metrics.frame GROUP BY source_id, metric_id;
  ELSE
    CREATE VIEW metrics.frame_queue AS
      WITH RECURSIVE k AS (
        (SELECT source_id, metric_id, scope_id, kind, collected_at FROM metrics.frame
         ORDER BY source_id, metric_id, scope_id, kind, collected_at LIMIT 1)
        UNION ALL SELECT n.* FROM k CROSS JOIN LATERAL (
          SELECT f.source_id, f.metric_id, f.scope_id, f.kind, f.collected_at FROM metrics.frame f
          WHERE (f.source_id, f.metric_id, f.scope_id, f.kind) > (k.source_id, k.metric_id, k.scope_id, k.kind)
          ORDER BY f.source_id, f.metric_id, f.scope_id, f.kind, f.collected_at LIMIT 1) n)
      SELECT source_id, metric_id, min(collected_at) AS oldest FROM k GROUP BY source_id, metric_id;
  END IF;
END
$$;

-- Makes the partitions of metrics.block for every day from `p_from` to `p_to`, both included: one partition per day on
-- which blocks expire, in the layout citus one per week from Monday, because each is a table per shard. Returns how many
-- it made. Cheap when all are there. Readers and writers go on: a partition is attached. Calls at the same time take
-- turns; 55P03 after 2 s. The layout timescaledb makes chunks by itself.
CREATE FUNCTION metrics.ensure_block_partitions(p_from date, p_to date) RETURNS int4
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'
  AS $$
DECLARE
  day    date := p_from;
  days   int4 := 1;
  part   text;
  made   int4 := 0;
  locked bool := false;
BEGIN
  IF p_from IS NULL OR p_to IS NULL OR p_to < p_from OR p_to - p_from > 1100
     OR p_from < (now() AT TIME ZONE 'UTC')::date - 3700 OR p_to > (now() AT TIME ZONE 'UTC')::date + 3700 THEN
    RAISE EXCEPTION 'partitions of blocks cannot be made for % to %', p_from, p_to
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF metrics.layout() = 'timescaledb' THEN
    RETURN 0;
  END IF;
  IF metrics.layout() = 'citus' THEN
    days := 7;
    day := date_trunc('week', p_from)::date;
  END IF;
  WHILE day <= p_to LOOP
    part := 'block_p' || to_char(day, 'YYYYMMDD');
    IF to_regclass(format('metrics_data.%I', part)) IS NULL THEN
      IF NOT locked THEN
        -- Until the end of the transaction: the name is visible to others only then.
        PERFORM pg_advisory_xact_lock(hashtext('pganalytics partitions'), hashtext('block'));
        locked := true;
      END IF;
      -- to_regclass may still answer from before the lock; a query of its own sees what others have committed since.
      IF NOT EXISTS (SELECT FROM pg_class c WHERE c.relname = part AND c.relnamespace = 'metrics_data'::regnamespace) THEN
        -- toast_tuple_target: a block that fits a page needs no second table to be read.
        EXECUTE format('CREATE TABLE metrics_data.%I (LIKE metrics.block INCLUDING ALL) '
                       'WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.05, '
                       'autovacuum_vacuum_insert_scale_factor = 0.05, '
                       'toast.autovacuum_vacuum_scale_factor = 0.05)', part);
        EXECUTE format('ALTER TABLE metrics.block ATTACH PARTITION metrics_data.%I FOR VALUES FROM (%L) TO (%L)',
                       part, day, day + days);
        made := made + 1;
      END IF;
    END IF;
    day := day + days;
  END LOOP;
  RETURN made;
END
$$;

-- Drops the oldest partition of metrics.block if all of its blocks may go on `p_today` (expires_on <= p_today), and returns
-- 1, or 0 when there is none or `p_limit` is below 1. A drop locks the whole table until the transaction ends, so one call
-- drops no more than one; commit between calls. Waits at most 2 s for readers (55P03). In the layout timescaledb, where a
-- drop locks its chunk alone, it drops up to `p_limit` chunks. A day in the future is refused: a clock that is ahead must
-- not delete.
CREATE FUNCTION metrics.drop_expired_blocks(p_today date, p_limit int4) RETURNS int4
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'
  AS $$
DECLARE
  part             name;
  dropped          int4 := 0;
  until            date;
  extension_schema name;
BEGIN
  IF p_today IS NULL OR p_today > (now() AT TIME ZONE 'UTC')::date THEN
    RAISE EXCEPTION 'blocks that expire after today are not dropped (asked for %)', p_today
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF p_limit < 1 THEN
    RETURN 0;
  END IF;
  IF metrics.layout() = 'timescaledb' THEN
    EXECUTE 'SELECT max(range_end::date) FROM (SELECT range_end FROM timescaledb_information.chunks '
            'WHERE hypertable_schema = ''metrics'' AND hypertable_name = ''block'' AND range_start::date <= $1 '
            'ORDER BY range_end LIMIT $2) oldest' INTO until USING p_today, p_limit;
    IF until IS NULL THEN
      RETURN 0;
    END IF;
    SELECT n.nspname INTO STRICT extension_schema
      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb';
    EXECUTE format('SELECT count(*) FROM %I.drop_chunks(''metrics.block''::regclass, older_than => %L::date)',
                   extension_schema, until) INTO dropped;
    RETURN dropped;
  END IF;
  -- The name carries the day.
  SELECT c.relname INTO part
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'metrics.block'::regclass AND c.relname ~ '^block_p[0-9]{8}$'
      AND to_date(right(c.relname, 8), 'YYYYMMDD') + CASE metrics.layout() WHEN 'citus' THEN 6 ELSE 0 END <= p_today
    ORDER BY c.relname LIMIT 1;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  EXECUTE format('DROP TABLE metrics_data.%I', part);
  RETURN 1;
END
$$;

-- Stored frames and pushed elements: what count(*) of public.metrics says, without a row of it being made.
CREATE FUNCTION metrics.frame_count() RETURNS int8
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT (SELECT count(*) FROM metrics.frame f WHERE f.part = 0) +
               (SELECT coalesce(sum(b.frames), 0)::int8 FROM metrics.block b WHERE b.level = 0) +
               (SELECT count(*) FROM metrics.pushed_element) $$;

-- How many of the sources have anything of a metric.
CREATE FUNCTION metrics.count_sources_with(p_sources int4[], p_metric int2) RETURNS int8
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  counted int8;
BEGIN
  IF metrics.layout() = 'citus' THEN
    -- Each worker looks at what it has: a list of sources is not joined to what lies on several nodes.
    SELECT count(DISTINCT t.source_id) INTO counted
      FROM (SELECT f.source_id FROM metrics.frame f WHERE f.source_id = ANY (p_sources) AND f.metric_id = p_metric
            UNION ALL
            SELECT b.source_id FROM metrics.block b WHERE b.source_id = ANY (p_sources) AND b.metric_id = p_metric) t;
  ELSE
    SELECT count(*) INTO counted
      FROM unnest(p_sources) AS s(id)
      WHERE EXISTS (SELECT FROM metrics.frame f WHERE f.source_id = s.id AND f.metric_id = p_metric)
         OR EXISTS (SELECT FROM metrics.block b WHERE b.source_id = s.id AND b.metric_id = p_metric);
  END IF;
  RETURN counted;
END
$$;

REVOKE ALL ON FUNCTION metrics.ensure_block_partitions(date, date), metrics.drop_expired_blocks(date, int4) FROM PUBLIC;

-- Days of the configured zone (level 3) are made of what is merged while metrics.setting, `time_zone`, names it. When it was
-- last changed is kept beside it, as microseconds since 1970: before that there are no such days, or those of another zone.
CREATE FUNCTION metrics.note_time_zone() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
BEGIN
  IF TG_OP = 'INSERT' OR OLD.value IS DISTINCT FROM NEW.value THEN
    INSERT INTO metrics.setting (name, value)
      VALUES ('time_zone_since', (extract(epoch FROM clock_timestamp()) * 1000000)::int8::text)
      ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value;
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER note_time_zone AFTER INSERT OR UPDATE ON metrics.setting
  FOR EACH ROW WHEN (NEW.name = 'time_zone') EXECUTE FUNCTION metrics.note_time_zone();
