-- Lets the collector see plans without auto_explain: function pganalytics.explain plans a statement and never runs it.
-- Run by psql as a superuser, in each database whose plans are wanted; it may be run again.
--   -v login=NAME    login of the collector, the only one that may call the function
--   -v rights=read   what role pganalytics_explain, which plans, may read: read = SELECT on all tables (14 and later: of
--                    all databases, those to come too; 13: of those that this database has now); write = INSERT, UPDATE
--                    and DELETE besides, without which PostgreSQL plans no data changes; none = what you grant it
-- What it lets in, and why that is safe, stands in docs/operations.md. Taken away by:
--   DROP SCHEMA pganalytics CASCADE; DROP OWNED BY pganalytics_explain; and, when it is gone from every database,
--   DROP ROLE pganalytics_explain;
\set ON_ERROR_STOP on
\if :{?login}
\else
  \set login pganalytics_monitor
\endif
\if :{?rights}
\else
  \set rights read
\endif
BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT set_config('pganalytics.login', :'login', true), set_config('pganalytics.rights', :'rights', true) \g /dev/null

DO $setup$
DECLARE
  rights text := current_setting('pganalytics.rights');
  space name;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = current_setting('pganalytics.login')) THEN
    RAISE EXCEPTION 'role % does not exist; name the collector''s login: -v login=NAME', current_setting('pganalytics.login');
  END IF;
  IF rights NOT IN ('read', 'write', 'none') THEN
    RAISE EXCEPTION 'rights=% is not one of read, write, none', rights;
  END IF;
  IF EXISTS (SELECT FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.nspname = 'pganalytics' AND n.nspowner <> current_user::regrole AND NOT r.rolsuper) THEN
    RAISE EXCEPTION 'schema pganalytics belongs to somebody else; drop or rename it';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_explain') THEN
    CREATE ROLE pganalytics_explain NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT;
    COMMENT ON ROLE pganalytics_explain IS 'Plans statements for pgAnalytics: owner of function pganalytics.explain.';
  ELSIF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_explain' AND (rolsuper OR rolcanlogin OR rolbypassrls OR rolcreaterole)) THEN
    RAISE EXCEPTION 'role pganalytics_explain may log in, or has more rights than a role that plans statements needs; drop or alter it';
  END IF;
  IF current_setting('server_version_num')::int >= 140000 THEN
    IF rights IN ('read', 'write') THEN
      GRANT pg_read_all_data TO pganalytics_explain;
    END IF;
    IF rights = 'write' THEN
      GRANT pg_write_all_data TO pganalytics_explain;
    END IF;
  ELSIF rights <> 'none' THEN
    FOR space IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'pganalytics') LOOP
      EXECUTE format('GRANT USAGE ON SCHEMA %I TO pganalytics_explain', space);
      EXECUTE format('GRANT SELECT%s ON ALL TABLES IN SCHEMA %I TO pganalytics_explain',
                     CASE rights WHEN 'write' THEN ', INSERT, UPDATE, DELETE' ELSE '' END, space);
    END LOOP;
  END IF;
  -- Where nested statements are counted, those that are planned here would be, too.
  IF current_setting('server_version_num')::int >= 150000 THEN
    EXECUTE 'GRANT SET ON PARAMETER pg_stat_statements.track TO pganalytics_explain';
  END IF;
END
$setup$;

CREATE SCHEMA IF NOT EXISTS pganalytics;
REVOKE ALL ON SCHEMA pganalytics FROM PUBLIC;

-- The first of `words`, or of the names that are no words and stand in `said`, that names something which has the planner
-- run a function that is no part of PostgreSQL, or ask another server; empty if none does. `words` and `said` are lower
-- case. The planner runs functions that are IMMUTABLE, or STABLE, to know their results, and those that it finds in
-- functions of SQL. So everything counts that leads to a function of another language than C: the function itself, views,
-- tables with such a default, check, index or statistics object, domains, operators, casts; and foreign tables.
CREATE OR REPLACE FUNCTION pganalytics.explain_obstacle(words text[], said text) RETURNS text
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $obstacle$
  WITH RECURSIVE code AS (
    SELECT p.oid, p.proname::text AS name FROM pg_proc p
    WHERE p.oid >= 16384 AND p.prolang NOT IN (SELECT l.oid FROM pg_language l WHERE l.lanname IN ('internal', 'c'))
  ), reached(class, object) AS (
    SELECT d.classid, d.objid FROM code c JOIN pg_depend d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = c.oid
    UNION
    SELECT 'pg_class'::regclass::oid, c.oid FROM pg_class c WHERE c.relkind = 'f'
    UNION
    SELECT e.class, e.object
    FROM reached r
    CROSS JOIN LATERAL (
      SELECT d.classid, d.objid FROM pg_depend d WHERE d.refclassid = r.class AND d.refobjid = r.object
      UNION ALL
      SELECT 'pg_class'::regclass::oid, w.ev_class FROM pg_rewrite w
      WHERE r.class = 'pg_rewrite'::regclass AND w.oid = r.object
      UNION ALL
      SELECT 'pg_class'::regclass::oid, a.adrelid FROM pg_attrdef a
      WHERE r.class = 'pg_attrdef'::regclass AND a.oid = r.object
      UNION ALL
      SELECT CASE WHEN k.conrelid <> 0 THEN 'pg_class'::regclass::oid ELSE 'pg_type'::regclass::oid END,
             CASE WHEN k.conrelid <> 0 THEN k.conrelid ELSE k.contypid END
      FROM pg_constraint k WHERE r.class = 'pg_constraint'::regclass AND k.oid = r.object AND k.contype = 'c'
      UNION ALL
      SELECT 'pg_class'::regclass::oid, i.indrelid FROM pg_index i
      WHERE r.class = 'pg_class'::regclass AND i.indexrelid = r.object
      UNION ALL
      SELECT 'pg_class'::regclass::oid, s.stxrelid FROM pg_statistic_ext s
      WHERE r.class = 'pg_statistic_ext'::regclass AND s.oid = r.object
      UNION ALL
      SELECT 'pg_class'::regclass::oid, h.inhparent FROM pg_inherits h
      WHERE r.class = 'pg_class'::regclass AND h.inhrelid = r.object
    ) e(class, object)
  ), named AS (
    SELECT c.name FROM code c
    UNION ALL
    SELECT p.proname::text AS name FROM reached r JOIN pg_proc p ON p.oid = r.object WHERE r.class = 'pg_proc'::regclass
    UNION ALL
    SELECT c.relname::text FROM reached r JOIN pg_class c ON c.oid = r.object
    WHERE r.class = 'pg_class'::regclass AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
    UNION ALL
    SELECT t.typname::text FROM reached r JOIN pg_type t ON t.oid = r.object WHERE r.class = 'pg_type'::regclass
    UNION ALL
    SELECT o.oprname::text FROM reached r JOIN pg_operator o ON o.oid = r.object WHERE r.class = 'pg_operator'::regclass
  ), folded AS (
    SELECT DISTINCT n.name, lower(n.name COLLATE "C") AS word FROM named n
  )
  SELECT coalesce(
    -- Functions of PostgreSQL that are STABLE and run, or check by a domain, what a text names.
    (SELECT w FROM unnest(words) w WHERE w ~ '_to_xml|^pg_input_' LIMIT 1),
    -- What needs no name to be used.
    (SELECT 'a cast or an operator class' FROM reached r
     WHERE r.class IN ('pg_cast'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_amop'::regclass,
                       'pg_amproc'::regclass)
     LIMIT 1),
    (SELECT f.name FROM folded f
     WHERE CASE WHEN f.word ~ '[\x01-\x23\x25-\x2f\x3a-\x5e\x60\x7b-\x7f]'
                THEN strpos(said, f.word) > 0 OR strpos(said, replace(f.word, '"', '""')) > 0
                ELSE f.word = ANY (words) END
        -- The server may fold such letters otherwise than it is done here.
        OR (f.word ~ '[^\x01-\x7f]' AND said ~ '[^\x01-\x7f]')
     LIMIT 1),
    '')
$obstacle$;
REVOKE ALL ON FUNCTION pganalytics.explain_obstacle(text[], text) FROM PUBLIC;

-- Plans `statement`, a text of pg_stat_statements, as user `as_user` would have it planned whatever its parameters are.
-- `outcome`: planned, with the plan as JSON, without costs; or why it was not: refused (no single SELECT, INSERT, UPDATE,
-- DELETE or MERGE), runs_code (the planner would run, or ask, what is in `detail`), pruned (partitions were left out for
-- values that are not known), rewritten (rules make several of it), or an SQLSTATE. `took_us`: time of the server.
-- Messages of errors are not given: they may hold values of rows.
CREATE OR REPLACE FUNCTION pganalytics.explain(
  statement text, as_user oid, OUT outcome text, OUT detail text, OUT plan text, OUT took_us bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
SET plan_cache_mode = force_generic_plan
-- What row security would change differs by user: such a statement is an error.
SET row_security = off
SET client_min_messages = error
AS $explain$
DECLARE
  begun CONSTANT timestamptz := clock_timestamp();
  generic CONSTANT boolean := current_setting('server_version_num')::int >= 160000;
  said text;
  path text;
  command text;
  parameters int;
  setting record;
  found json;
BEGIN
  IF current_setting('transaction_read_only') <> 'on' THEN
    RAISE EXCEPTION 'pganalytics.explain works in a READ ONLY transaction alone' USING ERRCODE = '25000';
  END IF;
  IF NOT (extract(epoch FROM current_setting('statement_timeout')::interval) BETWEEN 0.001 AND 10) THEN
    RAISE EXCEPTION 'pganalytics.explain needs a statement_timeout of at most 10 seconds' USING ERRCODE = '55000';
  END IF;
  outcome := 'refused';
  took_us := 0;
  statement := regexp_replace(statement, '[; \t\r\n\f\v]+$', '');
  said := lower(statement COLLATE "C");
  IF statement IS NULL OR octet_length(statement) > 65536 OR strpos(statement, ';') > 0 OR said ~ 'u&"'
     OR regexp_replace(said, '^([( \t\r\n\f\v]|--[^\r\n]*[\r\n]|/\*([^*]|\*+[^*/])*\*+/)+', '')
        !~ '^(select|insert|update|delete|merge|with)([^a-z0-9_$]|$)' THEN
    RETURN;
  END IF;
  detail := pganalytics.explain_obstacle(
    regexp_split_to_array(said, '[\x01-\x23\x25-\x2f\x3a-\x5e\x60\x7b-\x7f]+'), said);
  IF detail <> '' THEN
    outcome := 'runs_code';
    took_us := (extract(epoch FROM clock_timestamp() - begun) * 1000000)::bigint;
    RETURN;
  END IF;
  detail := NULL;
  IF EXISTS (SELECT FROM pg_prepared_statements p WHERE p.name = 'pganalytics_explained') THEN
    DEALLOCATE pganalytics_explained;
  END IF;
  BEGIN
    IF current_setting('pg_stat_statements.track', true) = 'all' THEN
      PERFORM set_config('pg_stat_statements.track', 'top', true);
    END IF;
  EXCEPTION WHEN insufficient_privilege THEN
    NULL;
  END;
  BEGIN
    -- What the collector sets for its own statements, and what is set for the user.
    SELECT s.reset_val INTO path FROM pg_settings s WHERE s.name = 'work_mem';
    PERFORM set_config('work_mem', path, true);
    SELECT s.reset_val INTO path FROM pg_settings s WHERE s.name = 'search_path';
    FOR setting IN
      SELECT DISTINCT ON (1) split_part(e, '=', 1) AS name, substr(e, strpos(e, '=') + 1) AS value
      FROM pg_db_role_setting s, unnest(s.setconfig) e
      WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
        AND s.setrole IN (0, coalesce(as_user, 0))
      ORDER BY 1, s.setrole <> 0 DESC, s.setdatabase <> 0 DESC
    LOOP
      IF setting.name = 'search_path' THEN
        path := setting.value;
      ELSIF setting.name ~ '^(enable_[a-z_]+|[a-z_]+_cost|geqo.*|work_mem|hash_mem_multiplier|effective_cache_size|effective_io_concurrency|constraint_exclusion|cursor_tuple_fraction|(from|join)_collapse_limit|max_parallel_workers_per_gather|min_parallel_[a-z_]+)$' THEN
        PERFORM set_config(setting.name, setting.value, true);
      END IF;
    END LOOP;
    path := replace(path, '"$user"', coalesce(quote_ident(pg_get_userbyid(as_user)), '""'))
            || CASE WHEN path = '' THEN '' ELSE ', ' END || 'pg_temp';
    -- From here on to where it is set back nothing but qualified names: the path is that of a user.
    IF generic THEN
      command := 'EXPLAIN (GENERIC_PLAN, COSTS OFF, FORMAT JSON) ' || statement;
      PERFORM pg_catalog.set_config('search_path', path, true);
      EXECUTE command INTO found;
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    ELSE
      command := 'PREPARE pganalytics_explained AS ' || statement;
      PERFORM pg_catalog.set_config('search_path', path, true);
      EXECUTE command;
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
      SELECT coalesce(cardinality(p.parameter_types), 0) INTO parameters
      FROM pg_prepared_statements p WHERE p.name = 'pganalytics_explained';
      -- A generic plan does not depend on the values.
      command := 'EXPLAIN (COSTS OFF, FORMAT JSON) EXECUTE pganalytics_explained'
                 || CASE WHEN parameters > 0 THEN '(NULL' || repeat(', NULL', parameters - 1) || ')' ELSE '' END;
      PERFORM pg_catalog.set_config('search_path', path, true);
      EXECUTE command INTO found;
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
      DEALLOCATE pganalytics_explained;
    END IF;
    IF json_array_length(found) <> 1 THEN
      outcome := 'rewritten';
    ELSIF NOT generic AND found::text ~ '"Subplans Removed": [1-9]' THEN
      outcome := 'pruned';
    ELSE
      outcome := 'planned';
      plan := (found -> 0)::text;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    outcome := SQLSTATE;
  END;
  took_us := (extract(epoch FROM clock_timestamp() - begun) * 1000000)::bigint;
END
$explain$;
REVOKE ALL ON FUNCTION pganalytics.explain(text, oid) FROM PUBLIC;

GRANT USAGE, CREATE ON SCHEMA pganalytics TO pganalytics_explain;
ALTER FUNCTION pganalytics.explain_obstacle(text[], text) OWNER TO pganalytics_explain;
ALTER FUNCTION pganalytics.explain(text, oid) OWNER TO pganalytics_explain;
REVOKE CREATE ON SCHEMA pganalytics FROM pganalytics_explain;
GRANT USAGE ON SCHEMA pganalytics TO :"login";
GRANT EXECUTE ON FUNCTION pganalytics.explain(text, oid) TO :"login";
COMMIT;
