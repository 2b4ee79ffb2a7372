-- The audit log as a chain: every seal holds the hash of its rows and of the seal before it. Services write rows and let
-- them be sealed; whoever changes or removes a row afterwards, the owner of the tables included, would have to make all
-- later seals anew, and the newest hash, noted elsewhere, would show that.
CREATE TABLE pganalytics.audit_seal (
  number    int8 PRIMARY KEY,
  sealed_at timestamptz NOT NULL DEFAULT now(),
  first_id  int8 NOT NULL,
  last_id   int8 NOT NULL,
  rows      int8 NOT NULL,
  hash      bytea NOT NULL
);

-- What is hashed of a row; independent of the session's settings.
CREATE FUNCTION pganalytics.audit_text(entry pganalytics.audit_log) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT jsonb_build_array(entry.id, pganalytics.micros(entry.created_at), entry.user_id, entry.actor, entry.action,
                                 entry.outcome, entry.resource_type, entry.resource_id, entry.changes, entry.ip_address,
                                 entry.request_id)::text $$;

-- The hash of the rows between two ids, behind that of the seal before.
CREATE FUNCTION pganalytics.audit_hash(before bytea, from_id int8, to_id int8) RETURNS bytea
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT sha256(before || convert_to(coalesce(string_agg(pganalytics.audit_text(entry), E'\n' ORDER BY entry.id), ''), 'UTF8'))
        FROM pganalytics.audit_log entry WHERE entry.id BETWEEN from_id AND to_id $$;

-- Seals what is older than `age`: younger rows may still get company from transactions that are open, with lower ids. At
-- most 10,000 ids a call. Returns how many rows were sealed.
CREATE FUNCTION pganalytics.seal_audit(age interval DEFAULT INTERVAL '10 minutes') RETURNS int8
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last    pganalytics.audit_seal;
  from_id int8;
  to_id   int8;
  counted int8;
BEGIN
  LOCK TABLE pganalytics.audit_seal IN EXCLUSIVE MODE;
  SELECT * INTO last FROM pganalytics.audit_seal ORDER BY number DESC LIMIT 1;
  from_id := coalesce(last.last_id, 0) + 1;
  SELECT min(id) - 1 INTO to_id FROM pganalytics.audit_log WHERE id >= from_id AND created_at > now() - age;
  to_id := least(coalesce(to_id, (SELECT max(id) FROM pganalytics.audit_log)), from_id + 9999);
  SELECT count(*) INTO counted FROM pganalytics.audit_log WHERE id BETWEEN from_id AND to_id;
  IF counted = 0 THEN
    RETURN 0;
  END IF;
  INSERT INTO pganalytics.audit_seal (number, first_id, last_id, rows, hash)
  VALUES (coalesce(last.number, 0) + 1, from_id, to_id, counted,
          pganalytics.audit_hash(coalesce(last.hash, ''), from_id, to_id));
  RETURN counted;
END
$$;
REVOKE ALL ON FUNCTION pganalytics.seal_audit(interval) FROM PUBLIC;

-- Every seal against the rows that are there: ok; gone, of rows that were old enough to be pruned, which nothing can be
-- said of any more but that seals go on from its hash; changed; missing, where a number is left out.
CREATE FUNCTION pganalytics.verify_audit()
  RETURNS TABLE (number int8, sealed_at timestamptz, first_id int8, last_id int8, rows int8, hash bytea, state text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH seals AS (
    SELECT s.*, lag(s.hash, 1, ''::bytea) OVER w AS before, lag(s.number, 1, 0::int8) OVER w AS former,
           (SELECT count(*) FROM pganalytics.audit_log entry WHERE entry.id BETWEEN s.first_id AND s.last_id) AS found,
           (SELECT min(entry.id) FROM pganalytics.audit_log entry) AS oldest
    FROM pganalytics.audit_seal s WINDOW w AS (ORDER BY s.number))
  SELECT s.number, s.sealed_at, s.first_id, s.last_id, s.rows, s.hash,
         CASE WHEN s.former <> s.number - 1 THEN 'missing'
              WHEN s.found = s.rows AND pganalytics.audit_hash(s.before, s.first_id, s.last_id) = s.hash THEN 'ok'
              WHEN s.found < s.rows AND coalesce(s.oldest > s.first_id, true) AND s.sealed_at < now() - INTERVAL '30 days' THEN 'gone'
              ELSE 'changed' END
  FROM seals s ORDER BY s.number
$$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_auth') THEN
    GRANT EXECUTE ON FUNCTION pganalytics.seal_audit(interval) TO pganalytics_auth;
  END IF;
END
$$;
