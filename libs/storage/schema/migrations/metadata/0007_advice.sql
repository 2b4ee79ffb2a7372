-- What people decided against: advice by its id, which is the same as long as what it is about is.
CREATE TABLE pganalytics.advice_dismissals (
  advice_id     text PRIMARY KEY,
  kind          text NOT NULL,
  source_id     uuid NOT NULL,
  database_name text NOT NULL,
  object        text NOT NULL,
  reason        text NOT NULL,
  dismissed_by  text NOT NULL,
  dismissed_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX advice_dismissals_source ON pganalytics.advice_dismissals (source_id);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_ruler') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON pganalytics.advice_dismissals TO pganalytics_ruler;
  END IF;
END
$$;
