-- Advice that somebody followed: what it was about and when, so that it can be measured what came of it.
CREATE TABLE pganalytics.advice_implementations (
  id             int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  advice_id      text NOT NULL,
  kind           text NOT NULL,
  source_id      uuid NOT NULL,
  source_name    text NOT NULL,
  database_name  text NOT NULL,
  object         text NOT NULL,
  -- The statement concerned that took most time; null for none.
  query_hash     int8,
  notes          text NOT NULL,
  implemented_by text NOT NULL,
  implemented_at timestamptz NOT NULL
);
CREATE INDEX advice_implementations_source ON pganalytics.advice_implementations (source_id, implemented_at DESC);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_ruler') THEN
    GRANT SELECT, INSERT, DELETE ON pganalytics.advice_implementations TO pganalytics_ruler;
  END IF;
END
$$;
