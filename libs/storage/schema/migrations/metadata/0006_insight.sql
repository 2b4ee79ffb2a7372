-- Tables of the query service: named instants to compare, and what was found out of the ordinary.
CREATE TABLE pganalytics.performance_snapshots (
  id            int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name          text NOT NULL CHECK (name <> ''),
  description   text NOT NULL DEFAULT '',
  snapshot_type text NOT NULL CHECK (snapshot_type IN ('manual', 'scheduled', 'pre_deploy', 'post_deploy')),
  created_at    timestamptz NOT NULL,
  created_by    text NOT NULL
);
CREATE INDEX performance_snapshots_created_at ON pganalytics.performance_snapshots (created_at DESC, id DESC);

-- An hour of a statement that is far from what that hour is as a rule. One for each statement, figure and hour.
CREATE TABLE pganalytics.query_anomalies (
  id             int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source_id      uuid NOT NULL,
  source_name    text NOT NULL,
  source_group   text NOT NULL,
  database_name  text NOT NULL,
  query_hash     int8 NOT NULL,
  fingerprint    text NOT NULL DEFAULT '',
  anomaly_type   text NOT NULL,
  severity       text NOT NULL CHECK (severity IN ('low', 'medium', 'high')),
  metric_name    text NOT NULL,
  metric_value   float8 NOT NULL,
  baseline_value float8 NOT NULL,
  spread         float8 NOT NULL,
  z_score        float8 NOT NULL,
  -- hour_of_week or hour_of_day, and how many hours it is of.
  method         text NOT NULL,
  baseline_hours int4 NOT NULL,
  calls          float8 NOT NULL,
  hour_start     timestamptz NOT NULL,
  detected_at    timestamptz NOT NULL,
  resolved_at    timestamptz,
  resolved_by    text NOT NULL DEFAULT '',
  UNIQUE (source_id, database_name, query_hash, metric_name, hour_start)
);
CREATE INDEX query_anomalies_open ON pganalytics.query_anomalies (severity, hour_start DESC) WHERE resolved_at IS NULL;
CREATE INDEX query_anomalies_hour_start ON pganalytics.query_anomalies (hour_start);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_insight') THEN
    GRANT USAGE ON SCHEMA pganalytics TO pganalytics_insight;
    GRANT INSERT ON pganalytics.audit_log TO pganalytics_insight;
    GRANT SELECT, INSERT, UPDATE, DELETE ON pganalytics.performance_snapshots, pganalytics.query_anomalies
      TO pganalytics_insight;
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
      BEGIN
        GRANT pganalytics_insight TO CURRENT_USER;
      EXCEPTION
        -- An administrator has granted it.
        WHEN insufficient_privilege THEN
          IF NOT pg_has_role('pganalytics_insight', 'MEMBER') THEN
            RAISE NOTICE 'role pganalytics_insight was not granted to the login';
          END IF;
      END;
    END IF;
  END IF;
END
$$;
