-- Schema and two time helpers of the metadata database.
CREATE SCHEMA IF NOT EXISTS pganalytics;

-- Instants travel as microseconds since 1970-01-01 UTC: exact, and independent of date styles.
CREATE FUNCTION pganalytics.at(micros int8) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  AS $$ SELECT TIMESTAMPTZ 'epoch' + micros * INTERVAL '1 microsecond' $$;
CREATE FUNCTION pganalytics.micros(instant timestamptz) RETURNS int8
  LANGUAGE sql STABLE PARALLEL SAFE
  AS $$ SELECT (EXTRACT(epoch FROM instant) * 1000000)::int8 $$;

-- Who did what, from where, with which outcome. Services may insert only.
CREATE TABLE pganalytics.audit_log (
  id            int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  created_at    timestamptz NOT NULL DEFAULT now(),
  user_id       int4,
  actor         text NOT NULL,
  action        text NOT NULL,
  outcome       text NOT NULL CHECK (outcome IN ('success', 'refused')),
  resource_type text NOT NULL DEFAULT '',
  resource_id   text NOT NULL DEFAULT '',
  changes       jsonb NOT NULL DEFAULT '{}',
  ip_address    text NOT NULL DEFAULT '',
  request_id    text NOT NULL DEFAULT ''
);
CREATE INDEX audit_log_created_at ON pganalytics.audit_log (created_at);

DO $$
DECLARE
  grantee text;
BEGIN
  FOR grantee IN
    SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('pganalytics_auth', 'pganalytics_registry')
  LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA pganalytics TO %I', grantee);
    EXECUTE format('GRANT INSERT ON pganalytics.audit_log TO %I', grantee);
    -- The login that migrates may be the one that services use. Granted even if it is a member already: since PostgreSQL
    -- 16 the membership that a role's creator gets does not allow SET ROLE.
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
      BEGIN
        EXECUTE format('GRANT %I TO CURRENT_USER', grantee);
      EXCEPTION
        -- An administrator has granted it.
        WHEN insufficient_privilege THEN
          IF NOT pg_has_role(grantee, 'MEMBER') THEN
            RAISE NOTICE 'role % was not granted to the login', grantee;
          END IF;
      END;
    END IF;
  END LOOP;
END
$$;
