-- Services write the audit tables and cannot change them. Rows go in this one way, by age, and never those of the last
-- 30 days: whoever gets hold of a service's login cannot wipe out what was done with it. At most 10,000 rows of each
-- table a call, so that a long backlog holds nothing up. Returns how many rows went.
CREATE FUNCTION pganalytics.prune_audit(before timestamptz) RETURNS int8
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  horizon CONSTANT timestamptz := least(before, now() - INTERVAL '30 days');
  actions int8;
  uses    int8;
BEGIN
  DELETE FROM pganalytics.audit_log WHERE id IN (
    SELECT id FROM pganalytics.audit_log WHERE created_at < horizon ORDER BY created_at LIMIT 10000);
  GET DIAGNOSTICS actions = ROW_COUNT;
  DELETE FROM pganalytics.registration_secret_audit WHERE id IN (
    SELECT id FROM pganalytics.registration_secret_audit WHERE used_at < horizon ORDER BY used_at LIMIT 10000);
  GET DIAGNOSTICS uses = ROW_COUNT;
  RETURN actions + uses;
END
$$;
REVOKE ALL ON FUNCTION pganalytics.prune_audit(timestamptz) FROM PUBLIC;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_auth') THEN
    GRANT EXECUTE ON FUNCTION pganalytics.prune_audit(timestamptz) TO pganalytics_auth;
  END IF;
END
$$;
