-- Readings in steps of time (readable.<metric>(since, until, step)): buckets begin at multiples of the step since 1970. What
-- libs/columns/rollup.h says of increases and readings holds here: an increase over (start, end] is split by time, so that
-- its parts add up to it, and a reading lies in the bucket that holds its instant. All times in microseconds.

CREATE FUNCTION metrics.step_us(step interval) RETURNS int8
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT (extract(epoch FROM step) * 1000000)::int8 $$;

-- Part of an increase over (start, end] that lies in (from, to]; NULL where nothing does.
CREATE FUNCTION metrics.part_of(value int8, start_us int8, end_us int8, from_us int8, to_us int8) RETURNS int8
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT CASE
  WHEN start_us >= end_us OR (from_us <= start_us AND to_us >= end_us) THEN value
  WHEN to_us > from_us THEN
    (div(value::numeric * (to_us - start_us) - CASE WHEN value < 0 THEN end_us - start_us - 1 ELSE 0 END, end_us - start_us)
     - div(value::numeric * (from_us - start_us) - CASE WHEN value < 0 THEN end_us - start_us - 1 ELSE 0 END,
           end_us - start_us))::int8
  END
$$;

-- First and last bucket that has something of a frame within [lo, hi); the last one is before the first where there is
-- nothing. A keyframe (kind 2) is a reading and no increase.
CREATE FUNCTION metrics.first_step(kind int2, start_us int8, end_us int8, lo_us int8, step_us int8) RETURNS int8
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT CASE WHEN end_us < lo_us THEN 1 WHEN kind = 1 AND start_us < end_us THEN greatest(start_us, lo_us) / step_us
            ELSE end_us / step_us END
$$;
CREATE FUNCTION metrics.last_step(kind int2, start_us int8, end_us int8, lo_us int8, hi_us int8, step_us int8) RETURNS int8
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT CASE
  WHEN end_us < lo_us OR start_us >= hi_us OR (end_us >= hi_us AND (kind <> 1 OR start_us >= end_us)) THEN 0
  ELSE least(end_us, hi_us - 1) / step_us END
$$;
-- The same of all frames of a block.
CREATE FUNCTION metrics.first_steps(kind int2, starts int8[], ends int8[], lo_us int8, step_us int8) RETURNS int8[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  result int8[] := '{}';
BEGIN
  FOR i IN 1 .. cardinality(ends) LOOP
    result[i] := metrics.first_step(kind, starts[i], ends[i], lo_us, step_us);
  END LOOP;
  RETURN result;
END
$$;
CREATE FUNCTION metrics.last_steps(kind int2, starts int8[], ends int8[], lo_us int8, hi_us int8, step_us int8) RETURNS int8[]
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
DECLARE
  result int8[] := '{}';
BEGIN
  FOR i IN 1 .. cardinality(ends) LOOP
    result[i] := metrics.last_step(kind, starts[i], ends[i], lo_us, hi_us, step_us);
  END LOOP;
  RETURN result;
END
$$;

-- Where each frame of a block begins.
CREATE FUNCTION metrics.block_frame_starts(data bytea, ids int2[], offsets int4[], frames int4) RETURNS int8[]
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
  AS $$
DECLARE
  ends    int8[] := metrics.decode_ints(metrics.block_section(data, ids, offsets, -1), 0, frames);
  lengths int8[] := metrics.block_frame_lengths(data, ids, offsets, frames);
BEGIN
  FOR i IN 1 .. frames LOOP
    ends[i] := ends[i] - lengths[i];
  END LOOP;
  RETURN ends;
END
$$;

-- Where whole hours or days (`unit_us`) of [lo, hi) begin and end that answer for a step; both are hi where none do. They do
-- for steps that are made of whole ones.
CREATE FUNCTION metrics.whole_start(lo_us int8, hi_us int8, step_us int8, unit_us int8) RETURNS int8
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT CASE WHEN step_us % unit_us = 0 AND (lo_us + unit_us - 1) / unit_us < hi_us / unit_us
            THEN (lo_us + unit_us - 1) / unit_us * unit_us ELSE hi_us END
$$;
CREATE FUNCTION metrics.whole_end(lo_us int8, hi_us int8, step_us int8, unit_us int8) RETURNS int8
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$
SELECT CASE WHEN step_us % unit_us = 0 AND (lo_us + unit_us - 1) / unit_us < hi_us / unit_us
            THEN hi_us / unit_us * unit_us ELSE hi_us END
$$;

-- The least unit of which sums of a metric are stored: hours, or days where it is read too seldom for hours
-- (catalog::HasHours).
CREATE FUNCTION metrics.least_unit_us(definition bytea) RETURNS int8
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
  AS $$
SELECT CASE WHEN coalesce((SELECT f.number FROM metrics.proto_fields(definition) f WHERE f.field = 5), 0) < 30
            THEN 3600000000 ELSE 86400000000 END
$$;

-- What readable.<metric>(since, until, step) shows of a metric's columns, in order: `part` is the number that is added to a
-- column's id at levels (libs/columns/row_set.h), 0 for labels, counters and infos.
CREATE FUNCTION metrics.step_columns(definition bytea)
  RETURNS TABLE (id int4, type int4, kind int4, part int4, name text, sql_type text)
  LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  own   text[] := ARRAY['time', 'source_name', 'source_id', 'database_oid', 'interval_start', 'kind', 'lower_bound', 'unknown',
                        'gone', 'read_at'];
  taken text[];
  base  text;
  col   record;
  form  record;
BEGIN
  taken := own || (SELECT array_agg(c.name) FROM metrics.metric_columns(definition) c);
  FOR col IN SELECT * FROM metrics.metric_columns(definition) c ORDER BY c.id LOOP
    base := CASE WHEN col.name = ANY (own) THEN col.name || '_value' ELSE col.name END;
    FOR form IN SELECT * FROM (VALUES (5000, ''), (1000, '_min'), (2000, '_max'), (3000, '_sum'), (4000, '_count')) v (part, suffix)
                  WHERE (col.kind = 2 AND col.type <> 4) OR v.part = 5000 LOOP
      id := col.id;
      type := col.type;
      kind := col.kind;
      part := CASE WHEN col.kind = 2 AND col.type <> 4 THEN form.part ELSE 0 END;
      name := base || form.suffix;
      IF form.suffix <> '' AND name = ANY (taken) THEN
        name := name || '_value';
      END IF;
      -- A gauge is a number.
      sql_type := CASE WHEN part = 4000 THEN 'int8' WHEN col.type = 3 THEN 'float8' WHEN col.type = 4 THEN 'text'
                       WHEN col.type = 1 AND part = 0 THEN 'bool' WHEN col.type = 5 AND part = 0 THEN 'timestamptz'
                       ELSE 'int8' END;
      RETURN NEXT;
    END LOOP;
  END LOOP;
END
$$;

-- The query behind readable.<metric>(since, until, step): frames, raw blocks where no whole hours or days answer, and these.
-- Everything that readable_query says holds here.
CREATE FUNCTION metrics.readable_step_query(p_metric_id int2, p_definition bytea) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  has_scope   bool := coalesce((SELECT f.number = 2 FROM metrics.proto_fields(p_definition) f WHERE f.field = 4), false);
  unit        int8 := metrics.least_unit_us(p_definition);
  col         record;
  decode      text;
  counted     text;
  chunk       text;
  value       text;
  inner_of    text[] := ARRAY['', '', ''];
  outer_of    text[] := ARRAY['', '', ''];
BEGIN
  FOR col IN SELECT * FROM metrics.step_columns(p_definition) WITH ORDINALITY AS c(id, type, kind, part, name, sql_type, place)
               ORDER BY c.place LOOP
    decode := CASE col.type WHEN 3 THEN 'metrics.chunk_floats' WHEN 4 THEN 'metrics.chunk_text_indexes'
                            ELSE 'metrics.chunk_ints' END;
    FOR i IN 1 .. 3 LOOP
      IF i = 3 AND col.kind = 4 AND col.type <> 4 THEN
        outer_of[i] := outer_of[i] || format(E',\n       NULL::%s', col.sql_type);
        CONTINUE;
      END IF;
      -- In frames every column has one value per row; in blocks labels have one per series.
      counted := CASE WHEN i = 1 THEN 'f.rows' WHEN col.kind = 1 THEN 'b.series' ELSE 'b.rows::int4' END;
      chunk := CASE i WHEN 1 THEN format('metrics.frame_chunk(f.data, f.offsets, %s), %s', col.id, counted)
                      ELSE format('metrics.block_section(b.data, b.ids, b.offsets, %s), %s',
                                  col.id + CASE i WHEN 3 THEN col.part ELSE 0 END, counted) END;
      IF i = 3 AND col.part > 0 THEN
        inner_of[i] := inner_of[i] || format(E',\n       %s(%s) AS c%s_%s',
                                             CASE col.part WHEN 4000 THEN 'metrics.chunk_ints' ELSE decode END, chunk, col.id,
                                             col.part);
        value := format('d.c%s_%s[r.i]', col.id, col.part);
        -- Of integers the greatest and the newest reading stand as differences to the least one, the sum as that to count
        -- times the least one (libs/columns/block.h).
        IF col.type <> 3 AND col.part IN (2000, 5000) THEN
          value := format('d.c%s_1000[r.i] + %s', col.id, value);
        ELSIF col.type <> 3 AND col.part = 3000 THEN
          value := format('d.c%1$s_4000[r.i] * d.c%1$s_1000[r.i] + %2$s', col.id, value);
        END IF;
      ELSE
        IF col.part IN (0, 5000) THEN
          inner_of[i] := inner_of[i] || format(E',\n       %s(%s) AS c%s', decode, chunk, col.id);
          IF col.type = 4 THEN
            inner_of[i] := inner_of[i] || format(', metrics.chunk_texts(%s) AS t%s', chunk, col.id);
          END IF;
        END IF;
        value := format('d.c%s[%s]', col.id, CASE WHEN i > 1 AND col.kind = 1 THEN 'd.row_series[r.i]' ELSE 'r.i' END);
        value := CASE
          WHEN col.type = 4 THEN format('d.t%s[%s + 1]', col.id, value)
          WHEN col.type = 1 AND col.part = 0 THEN value || ' <> 0'
          WHEN col.type = 5 AND col.part = 0 THEN format('metrics.time_of(%s)', value)
          ELSE value END;
        IF i < 3 AND col.kind = 3 THEN
          value := CASE i
            WHEN 1 THEN format('CASE WHEN d.kind = 1 THEN metrics.part_of(%s, d.start_us, d.end_us, '
                               'greatest(d.start_us, d.lo_us, k.b * d.step_us), '
                               'least(d.end_us, d.hi_us, k.b * d.step_us + d.step_us)) END', value)
            ELSE format('CASE WHEN d.kind <> 1 THEN NULL '
                        'WHEN d.first_of[d.row_frame[r.i]] = d.last_of[d.row_frame[r.i]] '
                        'AND d.starts[d.row_frame[r.i]] >= d.lo_us AND d.ends[d.row_frame[r.i]] <= d.hi_us THEN %1$s '
                        'ELSE metrics.part_of(%1$s, d.starts[d.row_frame[r.i]], d.ends[d.row_frame[r.i]], '
                        'greatest(d.starts[d.row_frame[r.i]], d.lo_us, k.b * d.step_us), '
                        'least(d.ends[d.row_frame[r.i]], d.hi_us, k.b * d.step_us + d.step_us)) END', value) END;
        ELSIF i < 3 AND col.kind IN (2, 4) THEN
          -- A keyframe stands beside the readings of its instant: averages would count it twice.
          value := format('CASE WHEN %s%s THEN %s END',
                          CASE i WHEN 1 THEN 'd.reading = k.b' ELSE 'd.reading_of[d.row_frame[r.i]] = k.b' END,
                          CASE WHEN col.part IN (3000, 4000) THEN ' AND d.kind = 1' ELSE '' END,
                          CASE col.part WHEN 4000 THEN format('(%s IS NOT NULL)::int4::int8', value) ELSE value END);
        END IF;
      END IF;
      outer_of[i] := outer_of[i] || format(E',\n       %s AS %I', value, col.name);
    END LOOP;
  END LOOP;
  -- 223: all flags but that of frames which says that some row is a lower bound.
  RETURN format($q$SELECT metrics.time_of(k.b * d.step_us) AS "time", d.source_name, d.source_id%1$s,
       CASE d.kind WHEN 1 THEN 'delta'::text ELSE 'keyframe'::text END AS kind,
       (coalesce(d.row_flags[r.i], 0) | (d.flags & 223)) & 1 <> 0 AS lower_bound,
       (coalesce(d.row_flags[r.i], 0) | (d.flags & 223)) & 2 <> 0 AS unknown,
       (coalesce(d.row_flags[r.i], 0) | (d.flags & 223)) & 4 <> 0 AS gone, d.collected_at AS read_at%2$s
  FROM (SELECT f.rows, f.kind, f.flags, f.collected_at, f.scope_id, s.name AS source_name, s.uuid AS source_id,
       clock_timestamp() AS asked_at, metrics.us_of(f.interval_start) AS start_us, metrics.us_of(f.collected_at) AS end_us,
       metrics.us_of(since) AS lo_us, metrics.us_of(until) AS hi_us, metrics.step_us(step) AS step_us,
       metrics.first_step(f.kind, metrics.us_of(f.interval_start), metrics.us_of(f.collected_at), metrics.us_of(since),
                          metrics.step_us(step)) AS first,
       metrics.last_step(f.kind, metrics.us_of(f.interval_start), metrics.us_of(f.collected_at), metrics.us_of(since),
                         metrics.us_of(until), metrics.step_us(step)) AS last,
       CASE WHEN f.collected_at < until THEN metrics.us_of(f.collected_at) / metrics.step_us(step) END AS reading,
       metrics.frame_row_flags(f.data, f.offsets, f.rows) AS row_flags%3$s
    FROM metrics.source s JOIN %12$s f ON f.source_id = s.id
    WHERE f.metric_id = %8$s::int2 AND f.collected_at >= since AND f.interval_start < until) d
  CROSS JOIN LATERAL generate_series(d.first, d.last) k(b)
  CROSS JOIN LATERAL generate_series(1, d.rows) r(i)
UNION ALL
SELECT metrics.time_of(k.b * d.step_us), d.source_name, d.source_id%4$s,
       CASE d.kind WHEN 1 THEN 'delta'::text ELSE 'keyframe'::text END,
       coalesce(d.row_flags[r.i], 0) & 1 <> 0, coalesce(d.row_flags[r.i], 0) & 2 <> 0,
       coalesce(d.row_flags[r.i], 0) & 4 <> 0, metrics.time_of(d.ends[d.row_frame[r.i]])%5$s
  FROM (SELECT b.rows, b.kind, s.name AS source_name, s.uuid AS source_id, clock_timestamp() AS asked_at, w.lo_us, w.hi_us,
       metrics.step_us(step) AS step_us,
       metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -1), 0, b.frame_entries) AS ends,
       metrics.block_frame_starts(b.data, b.ids, b.offsets, b.frame_entries) AS starts,
       metrics.first_steps(b.kind, metrics.block_frame_starts(b.data, b.ids, b.offsets, b.frame_entries),
         metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -1), 0, b.frame_entries), w.lo_us,
         metrics.step_us(step)) AS first_of,
       metrics.last_steps(b.kind, metrics.block_frame_starts(b.data, b.ids, b.offsets, b.frame_entries),
         metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -1), 0, b.frame_entries), w.lo_us, w.hi_us,
         metrics.step_us(step)) AS last_of,
       metrics.last_steps(2::int2, metrics.block_frame_starts(b.data, b.ids, b.offsets, b.frame_entries),
         metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -1), 0, b.frame_entries), w.lo_us, w.hi_us,
         metrics.step_us(step)) AS reading_of,
       metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -3), 0, b.frame_entries) AS scopes,
       metrics.block_row_frames(b.data, b.ids, b.offsets, b.frame_entries, b.series, b.rows::int4) AS row_frame,
       metrics.block_row_series(b.data, b.ids, b.offsets, b.frame_entries, b.series, b.rows::int4) AS row_series,
       metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -21), 0, b.rows::int4) AS row_flags%6$s
    FROM (VALUES (metrics.us_of(since),
                  metrics.whole_start(metrics.us_of(since), metrics.us_of(until), metrics.step_us(step), %9$s)),
                 (metrics.whole_end(metrics.us_of(since), metrics.us_of(until), metrics.step_us(step), %9$s),
                  metrics.us_of(until))) w(lo_us, hi_us)
    CROSS JOIN metrics.source s
    JOIN %13$s b ON b.source_id = s.id AND b.last >= metrics.time_of(w.lo_us) AND b.starts < metrics.time_of(w.hi_us)
    WHERE w.lo_us < w.hi_us AND b.metric_id = %8$s::int2 AND b.level = 0) d
  CROSS JOIN LATERAL generate_series(1, d.rows::int4) r(i)
  CROSS JOIN LATERAL generate_series(d.first_of[d.row_frame[r.i]], d.last_of[d.row_frame[r.i]]) k(b)
UNION ALL
SELECT metrics.time_of((d.ends[d.row_frame[r.i]] - d.width) / d.step_us * d.step_us), d.source_name, d.source_id%4$s,
       'delta'::text, coalesce(d.row_flags[r.i], 0) & 1 <> 0, coalesce(d.row_flags[r.i], 0) & 2 <> 0,
       coalesce(d.row_flags[r.i], 0) & 4 <> 0, metrics.time_of(d.ends[d.row_frame[r.i]])%7$s
  FROM (SELECT b.rows, s.name AS source_name, s.uuid AS source_id, clock_timestamp() AS asked_at, w.lo_us, w.hi_us, w.not_from,
       w.not_to, w.width, metrics.step_us(step) AS step_us,
       metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -1), 0, b.frame_entries) AS ends,
       metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -3), 0, b.frame_entries) AS scopes,
       metrics.block_row_frames(b.data, b.ids, b.offsets, b.frame_entries, b.series, b.rows::int4) AS row_frame,
       metrics.block_row_series(b.data, b.ids, b.offsets, b.frame_entries, b.series, b.rows::int4) AS row_series,
       metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -21), 0, b.rows::int4) AS row_flags%10$s
    FROM (%11$s) w
    CROSS JOIN metrics.source s
    JOIN %13$s b ON b.source_id = s.id AND b.level = w.level AND b.level IN (1, 2) AND b.last > metrics.time_of(w.lo_us)
                         AND b.starts < metrics.time_of(w.hi_us)
    WHERE w.lo_us < w.hi_us AND b.metric_id = %8$s::int2) d
  CROSS JOIN LATERAL generate_series(1, d.rows::int4) r(i)
  WHERE d.ends[d.row_frame[r.i]] - d.width >= d.lo_us AND d.ends[d.row_frame[r.i]] <= d.hi_us
    AND (d.ends[d.row_frame[r.i]] <= d.not_from OR d.ends[d.row_frame[r.i]] > d.not_to)$q$,
    CASE WHEN has_scope THEN ', d.scope_id AS database_oid' ELSE '' END, outer_of[1], inner_of[1],
    CASE WHEN has_scope THEN ', d.scopes[d.row_frame[r.i]]' ELSE '' END, outer_of[2], inner_of[2], outer_of[3], p_metric_id,
    unit, inner_of[3], metrics.whole_windows(unit, 'since', 'until', 'step'), metrics.relation_of(p_definition, false),
    metrics.relation_of(p_definition, true));
END
$$;

-- Query for the windows [lo, hi) in which levels answer: days, and whole hours before and after them. not_from to not_to is
-- what another level answers for.
CREATE FUNCTION metrics.whole_windows(p_unit int8, p_since text, p_until text, p_step text) RETURNS text
  LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
  AS $$
SELECT string_agg(format('SELECT %1$s::int2 AS level, %2$s::int8 AS width, metrics.whole_start(%3$s, %2$s) AS lo_us, '
                         'metrics.whole_end(%3$s, %2$s) AS hi_us, %4$s AS not_from, %5$s AS not_to',
                         l.level, l.width, a.arguments,
                         CASE l.level WHEN 1 THEN format('metrics.whole_start(%s, 86400000000)', a.arguments)
                                      ELSE '9223372036854775807' END,
                         CASE l.level WHEN 1 THEN format('metrics.whole_end(%s, 86400000000)', a.arguments)
                                      ELSE '9223372036854775807' END), ' UNION ALL ' ORDER BY l.level)
  FROM (VALUES (1, 3600000000), (2, 86400000000)) l(level, width)
  CROSS JOIN (SELECT format('metrics.us_of(%s), metrics.us_of(%s), metrics.step_us(%s)', p_since, p_until, p_step)) a(arguments)
  WHERE l.width >= p_unit
$$;

-- How many seconds of each step the frames of a metric cover, and how many readings lie in it, per source and, where it is
-- read once per database, database: by this an increase is divided to get a rate, and the sum of readings of what comes and
-- goes to get an average. Of sources and databases that have any, every step of the span has a row; one without both is not
-- known.
CREATE FUNCTION readable.covered(metric text, since timestamptz, until timestamptz, step interval)
  RETURNS TABLE ("time" timestamptz, source_name text, source_id uuid, database_oid int8, seconds float8, readings int8)
  LANGUAGE plpgsql STABLE ROWS 1000
  AS $$
#variable_conflict use_column
DECLARE
  wanted   int2;
  unit     int8;
  frames   text;
  blocks   text;
  lo       int8 := metrics.us_of(since);
  hi       int8 := metrics.us_of(until);
  width    int8 := metrics.step_us(step);
  whole_lo int8;
  whole_hi int8;
BEGIN
  SELECT m.id, metrics.least_unit_us(m.definition), metrics.relation_of(m.definition, false), metrics.relation_of(m.definition, true)
    INTO wanted, unit, frames, blocks FROM metrics.catalog_metric m WHERE m.name = metric;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no metric %', metric USING ERRCODE = 'undefined_object';
  END IF;
  whole_lo := metrics.whole_start(lo, hi, width, unit);
  whole_hi := metrics.whole_end(lo, hi, width, unit);
  RETURN QUERY EXECUTE format($q$
WITH c AS (
  SELECT c.bucket, c.source_id, c.scope, sum(c.covered) AS covered, sum(c.readings) AS readings
  FROM (
    SELECT f.source_id, f.scope_id AS scope, k.b AS bucket,
           least(f.end_us, $2, (k.b + 1) * $3) - greatest(f.start_us, $1, k.b * $3) AS covered,
           CASE WHEN f.end_us / $3 = k.b AND f.end_us < $2 THEN 1 ELSE 0 END AS readings
      FROM (SELECT f.source_id, f.scope_id, metrics.us_of(f.interval_start) AS start_us, metrics.us_of(f.collected_at) AS end_us
              FROM %2$s f
              WHERE f.metric_id = $4 AND f.kind = 1 AND f.part = 0 AND f.collected_at >= metrics.time_of($1)
                AND f.interval_start < metrics.time_of($2)) f
      CROSS JOIN LATERAL generate_series(metrics.first_step(1::int2, f.start_us, f.end_us, $1, $3),
                                         metrics.last_step(1::int2, f.start_us, f.end_us, $1, $2, $3)) k(b)
    UNION ALL
    SELECT d.source_id, d.scopes[n.i], k.b,
           least(d.ends[n.i], d.hi_us, (k.b + 1) * $3) - greatest(d.starts[n.i], d.lo_us, k.b * $3),
           CASE WHEN d.ends[n.i] / $3 = k.b AND d.ends[n.i] < d.hi_us THEN 1 ELSE 0 END
      FROM (SELECT b.source_id, b.frame_entries, w.lo_us, w.hi_us,
                   metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -1), 0, b.frame_entries) AS ends,
                   metrics.block_frame_starts(b.data, b.ids, b.offsets, b.frame_entries) AS starts,
                   metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -3), 0, b.frame_entries) AS scopes,
                   metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -6), 0, b.frame_entries) AS counts
              FROM (VALUES ($1, $5), ($6, $2)) w(lo_us, hi_us)
              JOIN %3$s b ON b.last >= metrics.time_of(w.lo_us) AND b.starts < metrics.time_of(w.hi_us)
              WHERE w.lo_us < w.hi_us AND b.metric_id = $4 AND b.level = 0 AND b.kind = 1 AND b.part = 0
              OFFSET 0) d
      CROSS JOIN LATERAL generate_series(1, d.frame_entries) n(i)
      CROSS JOIN LATERAL generate_series(metrics.first_step(1::int2, d.starts[n.i], d.ends[n.i], d.lo_us, $3),
                                         metrics.last_step(1::int2, d.starts[n.i], d.ends[n.i], d.lo_us, d.hi_us, $3)) k(b)
      WHERE coalesce(d.counts[n.i], 1) > 0
    UNION ALL
    SELECT d.source_id, d.scopes[n.i], (d.ends[n.i] - d.width) / $3, d.covered[n.i], coalesce(d.counts[n.i], 1)
      FROM (SELECT b.source_id, b.frame_entries, w.lo_us, w.hi_us, w.not_from, w.not_to, w.width,
                   metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -1), 0, b.frame_entries) AS ends,
                   metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -3), 0, b.frame_entries) AS scopes,
                   metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -6), 0, b.frame_entries) AS counts,
                   metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -8), 0, b.frame_entries) AS covered
              FROM (%1$s) w
              JOIN %3$s b ON b.level = w.level AND b.last > metrics.time_of(w.lo_us)
                                   AND b.starts < metrics.time_of(w.hi_us)
              WHERE w.lo_us < w.hi_us AND b.metric_id = $4 AND b.part = 0
              OFFSET 0) d
      CROSS JOIN LATERAL generate_series(1, d.frame_entries) n(i)
      WHERE d.ends[n.i] - d.width >= d.lo_us AND d.ends[n.i] <= d.hi_us
        AND (d.ends[n.i] <= d.not_from OR d.ends[n.i] > d.not_to)) c
  WHERE c.covered > 0 OR c.readings > 0
  GROUP BY c.bucket, c.source_id, c.scope)
SELECT metrics.time_of(g.bucket * $3), s.name, s.uuid, w.scope, (coalesce(c.covered, 0) / 1e6)::float8, coalesce(c.readings, 0)::int8
  FROM (SELECT DISTINCT c.source_id, c.scope FROM c) w
  JOIN (SELECT id, name, uuid FROM metrics.source) s ON s.id = w.source_id
  CROSS JOIN generate_series($1 / $3, ($2 - 1) / $3) g(bucket)
  LEFT JOIN c ON c.bucket = g.bucket AND c.source_id = w.source_id AND c.scope = w.scope$q$,
    metrics.whole_windows(unit, '$7', '$8', '$9'), frames, blocks)
  USING lo, hi, width, wanted, whole_lo, whole_hi, since, until, step;
END
$$;
COMMENT ON FUNCTION readable.covered(text, timestamptz, timestamptz, interval) IS
  'Seconds of each step that frames of a metric cover, and readings in it';

-- The function readable.<metric>(since, until, step) of one metric. Its rows have a type of their own, which gains columns as
-- the metric does.
CREATE FUNCTION metrics.apply_readable_steps(p_metric_id int2, p_name text, p_definition bytea) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  row_type  text := format('metrics.%I', 'steps_of_' || p_name);
  has_scope bool := coalesce((SELECT f.number = 2 FROM metrics.proto_fields(p_definition) f WHERE f.field = 4), false);
  body      text := metrics.readable_step_query(p_metric_id, p_definition);
  attribute record;
BEGIN
  IF metrics.layout() = 'citus' THEN
    body := 'BEGIN RETURN QUERY ' || body || '; END';
  END IF;
  IF EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'readable'::regnamespace AND p.proname = p_name AND p.prosrc = body) THEN
    RETURN;
  END IF;
  IF to_regtype(row_type) IS NULL THEN
    EXECUTE format('CREATE TYPE %s AS ("time" timestamptz, source_name text, source_id uuid%s, kind text, lower_bound bool, '
                   'unknown bool, gone bool, read_at timestamptz)', row_type,
                   CASE WHEN has_scope THEN ', database_oid int8' ELSE '' END);
  END IF;
  FOR attribute IN SELECT * FROM metrics.step_columns(p_definition) c
      WHERE NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.typrelid = a.attrelid
                          WHERE t.oid = to_regtype(row_type) AND a.attname = c.name) LOOP
    EXECUTE format('ALTER TYPE %s ADD ATTRIBUTE %I %s', row_type, attribute.name, attribute.sql_type);
  END LOOP;
  -- Without SET and STRICT: either would keep it from being inlined.
  EXECUTE format('CREATE OR REPLACE FUNCTION readable.%I(since timestamptz, until timestamptz, step interval) '
                 'RETURNS SETOF %s LANGUAGE %s STABLE ROWS 100000 AS %L', p_name, row_type,
                 CASE metrics.layout() WHEN 'citus' THEN 'plpgsql' ELSE 'sql' END, body);
  EXECUTE format('COMMENT ON FUNCTION readable.%I(timestamptz, timestamptz, interval) IS %L', p_name,
                 'Rows of [since, until) in steps of time, from hourly and daily sums where the step is made of whole ones');
END
$$;

-- Makes readable.<metric> (functions and view) for every metric of the catalog whose query has changed or is not there, and
-- gives readers their rights. Returns how many views it made. A metric that fails, for example because its view stayed locked
-- for 2 s, is a warning and comes the next time. Called by migrations and by the compactor; nothing that writes waits
-- for it. Runs with the owner's rights and builds everything from the stored definitions.
CREATE FUNCTION metrics.apply_readable() RETURNS int4
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'
  AS $$
DECLARE
  metric record;
  body   text;
  made   int4 := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('pganalytics readable'));
  BEGIN
    PERFORM metrics.apply_shown();
  EXCEPTION
    WHEN lock_not_available THEN
      RAISE WARNING 'readers see metrics that were added the next time: %', SQLERRM;
  END;
  FOR metric IN SELECT m.id, m.name, m.definition FROM metrics.catalog_metric m ORDER BY m.id LOOP
    body := metrics.readable_query(metric.id, metric.definition, 'since', 'until');
    IF metrics.layout() = 'citus' THEN
      body := 'BEGIN RETURN QUERY ' || body || '; END';
    END IF;
    BEGIN
      PERFORM metrics.apply_readable_steps(metric.id, metric.name, metric.definition);
    EXCEPTION
      WHEN OTHERS THEN
        RAISE WARNING 'readable.% in steps was not made: %', metric.name, SQLERRM;
    END;
    CONTINUE WHEN EXISTS (
      SELECT FROM pg_proc p
        WHERE p.pronamespace = 'readable'::regnamespace AND p.proname = metric.name AND p.prosrc = body);
    BEGIN
      -- The view's row is the function's: new columns come at the end of it.
      EXECUTE format('CREATE OR REPLACE VIEW readable.%I AS %s', metric.name,
                     metrics.readable_query(metric.id, metric.definition, '(now() - interval ''2 hours'')',
                                            '''infinity''::timestamptz'));
      -- Without SET and STRICT: either would keep it from being inlined.
      -- In the layout citus a query of an SQL function that has parameters is not planned over nodes.
      EXECUTE format('CREATE OR REPLACE FUNCTION readable.%I(since timestamptz, until timestamptz) '
                     'RETURNS SETOF readable.%I LANGUAGE %s STABLE ROWS 100000 AS %L', metric.name, metric.name,
                     CASE metrics.layout() WHEN 'citus' THEN 'plpgsql' ELSE 'sql' END, body);
      EXECUTE format('COMMENT ON VIEW readable.%I IS %L', metric.name, 'Rows of the last two hours');
      EXECUTE format('COMMENT ON FUNCTION readable.%I(timestamptz, timestamptz) IS %L', metric.name,
                     'Rows read in [since, until)');
      made := made + 1;
    EXCEPTION
      WHEN OTHERS THEN
        RAISE WARNING 'readable.% was not made: %', metric.name, SQLERRM;
    END;
  END LOOP;
  PERFORM metrics.apply_readable_grants();
  RETURN made;
END
$$;

-- Texts of statements, by the ids that readable.statements shows. Only for pganalytics_reader_texts.
CREATE VIEW readable.statement_texts AS
  SELECT s.name AS source_name, s.uuid AS source_id, q.database_id AS dbid, q.query_id AS queryid, q.text AS query,
         q.last_seen
    FROM metrics.query_text q JOIN metrics.source s ON s.id = q.source_id;
COMMENT ON VIEW readable.statement_texts IS 'Texts of statements by source_id, dbid and queryid';

-- One row per stored frame and per pushed element. A block says how often each of its frames counts. All three parts have
-- the same types to the letter: only then what a query does not name is decoded in none of them. Tables of the
-- coordinator are joined as subqueries: in the layout citus these go to the workers.
DROP VIEW IF EXISTS public.metrics;
DO $do$
DECLARE
  joined bool := metrics.layout() = 'citus';
BEGIN
  EXECUTE format($q$
CREATE VIEW public.metrics AS
  SELECT f.collected_at AS "timestamp", c.collector_id, s.name AS source, k.name AS metric_name, f.rows::int8 AS rows,
         (extract(epoch FROM f.collected_at - f.interval_start) * 1000)::int8 AS interval_ms, f.flags::int8 AS flags,
         f.scope_id AS database_oid, f.source_id, f.metric_id
    FROM metrics.frame f
    LEFT JOIN (SELECT id, collector_id FROM metrics.collector) c ON c.id = f.collector_id
    LEFT JOIN (SELECT id, name FROM metrics.source) s ON s.id = f.source_id
    LEFT JOIN (SELECT id, name FROM metrics.catalog_metric) k ON k.id = f.metric_id
    WHERE f.part = 0
  UNION ALL
  SELECT metrics.time_of(d.ends[coalesce(d.entry_of[n.i], n.i)]),
         %1$s,
         d.source, d.metric_name, d.frame_rows[coalesce(d.entry_of[n.i], n.i)],
         d.lengths[coalesce(d.entry_of[n.i], n.i)] / 1000, coalesce(d.flags[coalesce(d.entry_of[n.i], n.i)], 0),
         d.scopes[coalesce(d.entry_of[n.i], n.i)], d.source_id, d.metric_id
    FROM (SELECT b.source_id, b.metric_id, b.frames, s.name AS source, k.name AS metric_name,
                 clock_timestamp() AS read_at,
                 metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -1), 0, b.frame_entries) AS ends,
                 metrics.block_frame_lengths(b.data, b.ids, b.offsets, b.frame_entries) AS lengths,
                 metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -3), 0, b.frame_entries) AS scopes,
                 metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -4), 0, b.frame_entries) AS collectors,
                 metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -5), 0, b.frame_entries) AS flags,
                 metrics.repeated_numbers(metrics.decode_ints(metrics.block_section(b.data, b.ids, b.offsets, -6), 0,
                                                              b.frame_entries)) AS entry_of,
                 metrics.block_frame_rows(b.data, b.ids, b.offsets, b.frame_entries, b.series, b.rows::int4) AS frame_rows
            FROM metrics.block b
            LEFT JOIN (SELECT id, name FROM metrics.source) s ON s.id = b.source_id
            LEFT JOIN (SELECT id, name FROM metrics.catalog_metric) k ON k.id = b.metric_id
            WHERE b.level = 0 AND b.part = 0) d
    CROSS JOIN LATERAL generate_series(1, d.frames) n(i) %2$s
  UNION ALL
  SELECT p.time, p.collector, p.hostname, 'push'::text, 1::int8, 0::int8, 0::int8, 0::int8, NULL::int4, NULL::int2
    FROM metrics.pushed_element p
  $q$,
  -- A subquery per row is not sent to the workers. A join is, but it has collectors decoded where nobody asks for them.
  CASE WHEN joined THEN 'c.collector_id'
       ELSE '(SELECT c.collector_id FROM metrics.collector c WHERE c.id = d.collectors[coalesce(d.entry_of[n.i], n.i)])' END,
  CASE WHEN joined THEN 'LEFT JOIN (SELECT id, collector_id FROM metrics.collector) c '
                        'ON c.id = d.collectors[coalesce(d.entry_of[n.i], n.i)]' ELSE '' END);
END
$do$;
COMMENT ON VIEW public.metrics IS 'One row per stored frame: one metric of one source at one instant';

-- Rights of the roles that read with SQL, as far as the roles exist; repeating changes nothing. Functions of schema
-- readable are inlined and so read with the caller's rights. Frames and blocks of restricted metrics hold texts: only
-- pganalytics_reader_texts reads the tables themselves.
CREATE FUNCTION metrics.apply_readable_grants() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  member  text;
  texts   bool;
  view_of record;
BEGIN
  FOR member IN SELECT rolname FROM pg_roles WHERE rolname IN ('pganalytics_reader', 'pganalytics_reader_texts') LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA metrics, readable TO %I', member);
    texts := member = 'pganalytics_reader_texts';
    EXECUTE format('GRANT SELECT ON metrics.source, metrics.collector, metrics.catalog_metric, metrics.shown_frame, '
                   'metrics.shown_block, public.metrics%s TO %I', CASE WHEN texts THEN ', metrics.frame, metrics.block' ELSE '' END,
                   member);
    -- Enough to count them.
    EXECUTE format('GRANT SELECT (time) ON metrics.pushed_element TO %I', member);
    FOR view_of IN SELECT c.relname, texts OR NOT (c.relname = 'statement_texts' OR coalesce(metrics.is_restricted(m.definition), false))
                            AS shown, has_table_privilege(member, c.oid, 'SELECT') AS granted
        FROM pg_class c LEFT JOIN metrics.catalog_metric m ON m.name = c.relname
        WHERE c.relnamespace = 'readable'::regnamespace AND c.relkind = 'v' LOOP
      IF view_of.shown AND NOT view_of.granted THEN
        EXECUTE format('GRANT SELECT ON readable.%I TO %I', view_of.relname, member);
      ELSIF view_of.granted AND NOT view_of.shown THEN
        EXECUTE format('REVOKE SELECT ON readable.%I FROM %I', view_of.relname, member);
      END IF;
    END LOOP;
  END LOOP;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_maintenance') THEN
    GRANT EXECUTE ON FUNCTION metrics.apply_readable() TO pganalytics_maintenance;
  END IF;
END
$$;
REVOKE ALL ON FUNCTION metrics.apply_readable() FROM PUBLIC;
