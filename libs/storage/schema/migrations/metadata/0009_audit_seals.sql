-- The audit log as a chain: every seal holds the digest of its rows, and a hash over that, over what it says of itself and
-- over the seal before it. Services write rows and let them be sealed; whoever changes or removes a row or a seal
-- afterwards, the owner of the tables included, would have to make all later seals anew, and the newest hash, noted
-- elsewhere, would show that.
CREATE TABLE pganalytics.audit_seal (
  number    int8 PRIMARY KEY,
  sealed_at timestamptz NOT NULL,
  -- From the seal before it on, so that no row stands between two seals.
  first_id  int8 NOT NULL,
  last_id   int8 NOT NULL,
  rows      int8 NOT NULL,
  -- Stays when the rows are pruned: what the seal says of itself is checked by it then.
  digest    bytea NOT NULL,
  hash      bytea NOT NULL
);

-- What is hashed of a row; independent of the session's settings.
CREATE FUNCTION pganalytics.audit_text(entry pganalytics.audit_log) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT jsonb_build_array(entry.id, pganalytics.micros(entry.created_at), entry.user_id, entry.actor, entry.action,
                                 entry.outcome, entry.resource_type, entry.resource_id, entry.changes, entry.ip_address,
                                 entry.request_id)::text $$;

-- The digest of the rows between two ids.
CREATE FUNCTION pganalytics.audit_digest(from_id int8, to_id int8) RETURNS bytea
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT sha256(convert_to(coalesce(string_agg(pganalytics.audit_text(entry), E'\n' ORDER BY entry.id), ''), 'UTF8'))
        FROM pganalytics.audit_log entry WHERE entry.id BETWEEN from_id AND to_id $$;

-- The hash of a seal behind that of the one before.
CREATE FUNCTION pganalytics.audit_hash(before bytea, seal pganalytics.audit_seal) RETURNS bytea
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT sha256(before || convert_to(jsonb_build_array(seal.number, pganalytics.micros(seal.sealed_at), seal.first_id,
                                                             seal.last_id, seal.rows, encode(seal.digest, 'hex'))::text,
                                           'UTF8')) $$;

-- Seals what is older than `age`: younger rows may still get company from transactions that are open, with lower ids. At
-- most 10,000 rows a call. Returns how many rows were sealed.
CREATE FUNCTION pganalytics.seal_audit(age interval DEFAULT INTERVAL '10 minutes') RETURNS int8
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last pganalytics.audit_seal;
  seal pganalytics.audit_seal;
BEGIN
  LOCK TABLE pganalytics.audit_seal IN EXCLUSIVE MODE;
  SELECT * INTO last FROM pganalytics.audit_seal ORDER BY number DESC LIMIT 1;
  seal.number := coalesce(last.number, 0) + 1;
  seal.sealed_at := now();
  seal.first_id := coalesce(last.last_id, 0) + 1;
  SELECT count(*), max(id) INTO seal.rows, seal.last_id FROM (
    SELECT id FROM pganalytics.audit_log
    WHERE id >= seal.first_id AND id < coalesce((SELECT min(young.id) FROM pganalytics.audit_log young
                                                 WHERE young.id >= seal.first_id AND young.created_at > now() - age),
                                                9223372036854775807)
    ORDER BY id LIMIT 10000) old;
  IF seal.rows = 0 THEN
    RETURN 0;
  END IF;
  seal.digest := pganalytics.audit_digest(seal.first_id, seal.last_id);
  seal.hash := pganalytics.audit_hash(coalesce(last.hash, ''), seal);
  INSERT INTO pganalytics.audit_seal SELECT (seal).*;
  RETURN seal.rows;
END
$$;
REVOKE ALL ON FUNCTION pganalytics.seal_audit(interval) FROM PUBLIC;

-- Every seal against the rows that are there: ok; gone, of rows that were old enough to be pruned, which nothing can be
-- said of any more but that the seal is as it was made; changed; missing, where a number is left out. `retention`: how
-- long rows are kept at least. When a seal was made is a part of its hash.
CREATE FUNCTION pganalytics.verify_audit(retention interval DEFAULT INTERVAL '30 days')
  RETURNS TABLE (number int8, sealed_at timestamptz, first_id int8, last_id int8, rows int8, hash bytea, state text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH seals AS (
    SELECT s AS seal, lag(s.hash, 1, ''::bytea) OVER w AS before, lag(s.number, 1, 0::int8) OVER w AS former,
           lag(s.last_id, 1, 0::int8) OVER w + 1 AS next_id,
           (SELECT count(*) FROM pganalytics.audit_log entry WHERE entry.id BETWEEN s.first_id AND s.last_id) AS found,
           (SELECT min(entry.id) FROM pganalytics.audit_log entry) AS oldest
    FROM pganalytics.audit_seal s WINDOW w AS (ORDER BY s.number))
  SELECT (seal).number, (seal).sealed_at, (seal).first_id, (seal).last_id, (seal).rows, (seal).hash,
         CASE WHEN former <> (seal).number - 1 THEN 'missing'
              WHEN next_id <> (seal).first_id OR pganalytics.audit_hash(before, seal) <> (seal).hash THEN 'changed'
              WHEN found = (seal).rows
                   AND pganalytics.audit_digest((seal).first_id, (seal).last_id) = (seal).digest THEN 'ok'
              WHEN found < (seal).rows AND coalesce(oldest > (seal).first_id, true)
                   AND (seal).sealed_at < now() - greatest(retention, INTERVAL '30 days') THEN 'gone'
              ELSE 'changed' END
  FROM seals ORDER BY (seal).number
$$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_auth') THEN
    GRANT EXECUTE ON FUNCTION pganalytics.seal_audit(interval) TO pganalytics_auth;
  END IF;
END
$$;
