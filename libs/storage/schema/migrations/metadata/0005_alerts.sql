-- Tables of the ruler service: alerts, silences, what is still to be sent, and who evaluates.
CREATE TABLE pganalytics.alerts (
  id              int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rule            text NOT NULL,
  -- SHA-256 of rule, source and labels, hexadecimal.
  fingerprint     text NOT NULL,
  -- closed: a person ended it, and what it says still holds.
  state           text NOT NULL CHECK (state IN ('pending', 'firing', 'closed', 'resolved')),
  severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
  source_id       uuid,
  source_name     text NOT NULL DEFAULT '',
  source_group    text NOT NULL DEFAULT '',
  labels          jsonb NOT NULL,
  summary         text NOT NULL,
  -- As they were when it was last read: the rule may change, or go.
  metric          text NOT NULL,
  value           float8,
  value_text      text NOT NULL,
  unit            text NOT NULL,
  threshold       text NOT NULL,
  runbook         text NOT NULL,
  page            text NOT NULL,
  query           text NOT NULL,
  began_at        timestamptz NOT NULL,
  fired_at        timestamptz,
  seen_at         timestamptz NOT NULL,
  unknown_since   timestamptz,
  unknown_reason  text NOT NULL DEFAULT '',
  resolved_at     timestamptz,
  resolve_reason  text NOT NULL DEFAULT '',
  resolved_by     text NOT NULL DEFAULT '',
  acknowledged_at timestamptz,
  acknowledged_by text NOT NULL DEFAULT '',
  comment         text NOT NULL DEFAULT '',
  -- Its beginning was queued for webhooks.
  notified        bool NOT NULL DEFAULT false,
  -- Alertmanager has its end, or never had to.
  end_sent        bool NOT NULL DEFAULT false,
  -- It stands for many of its rule: their names.
  fleet           bool NOT NULL DEFAULT false,
  members         jsonb NOT NULL DEFAULT '[]',
  -- It is a member of such an alert; receivers hear of that one.
  joined          bool NOT NULL DEFAULT false
) WITH (fillfactor = 70);
-- One thing has one alert, whoever evaluates.
CREATE UNIQUE INDEX alerts_open ON pganalytics.alerts (fingerprint) WHERE state <> 'resolved';
CREATE INDEX alerts_unsent ON pganalytics.alerts (resolved_at) WHERE state IN ('closed', 'resolved') AND NOT end_sent;
CREATE INDEX alerts_resolved ON pganalytics.alerts (resolved_at) WHERE state = 'resolved';

-- Kept here where no Alertmanager is set up.
CREATE TABLE pganalytics.alert_silences (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  -- [{"name", "value", "is_regex", "is_negative"}]
  matchers   jsonb NOT NULL,
  starts_at  timestamptz NOT NULL,
  ends_at    timestamptz NOT NULL,
  created_by text NOT NULL,
  comment    text NOT NULL
);
CREATE INDEX alert_silences_ends_at ON pganalytics.alert_silences (ends_at);

-- What webhooks have not taken yet. No addresses and no keys: these are the service's settings.
CREATE TABLE pganalytics.alert_outbox (
  id           int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  alert_id     int8 NOT NULL REFERENCES pganalytics.alerts ON DELETE CASCADE,
  receiver     text NOT NULL,
  -- firing, resolved
  event        text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  due_at       timestamptz NOT NULL DEFAULT now(),
  attempts     int4 NOT NULL DEFAULT 0,
  last_failure text NOT NULL DEFAULT '',
  UNIQUE (alert_id, receiver, event)
) WITH (fillfactor = 70);
CREATE INDEX alert_outbox_due ON pganalytics.alert_outbox (due_at);

-- One process evaluates at a time. The database's clock decides.
CREATE TABLE pganalytics.alert_lease (
  only_row     bool PRIMARY KEY DEFAULT true CHECK (only_row),
  holder       text NOT NULL,
  expires_at   timestamptz NOT NULL,
  evaluated_at timestamptz
) WITH (fillfactor = 50);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_ruler') THEN
    GRANT USAGE ON SCHEMA pganalytics TO pganalytics_ruler;
    GRANT INSERT ON pganalytics.audit_log TO pganalytics_ruler;
    GRANT SELECT, INSERT, UPDATE, DELETE ON
      pganalytics.alerts, pganalytics.alert_silences, pganalytics.alert_outbox, pganalytics.alert_lease
      TO pganalytics_ruler;
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
      BEGIN
        GRANT pganalytics_ruler TO CURRENT_USER;
      EXCEPTION
        -- An administrator has granted it.
        WHEN insufficient_privilege THEN
          IF NOT pg_has_role('pganalytics_ruler', 'MEMBER') THEN
            RAISE NOTICE 'role pganalytics_ruler was not granted to the login';
          END IF;
      END;
    END IF;
  END IF;
END
$$;
