-- Tables of the auth service: people, sessions, keys, registration secrets, credentials, revocations.
CREATE TABLE pganalytics.users (
  id            int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  username      text NOT NULL,
  email         text NOT NULL,
  password_hash text NOT NULL,
  full_name     text NOT NULL DEFAULT '',
  role          text NOT NULL CHECK (role IN ('admin', 'user', 'viewer')),
  is_active     bool NOT NULL DEFAULT true,
  last_login    timestamptz,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL
);
-- Names are ASCII; "C" folds them as the service does, whatever the database's language.
CREATE UNIQUE INDEX users_username ON pganalytics.users (lower(username COLLATE "C"));
CREATE UNIQUE INDEX users_email ON pganalytics.users (lower(email));

-- Failures per account name, known or not, and address ('' = of all addresses that the account has not signed in from): the
-- key is a hash of the name, so unknown names look the same.
CREATE TABLE pganalytics.login_failures (
  account      bytea NOT NULL,
  address      text NOT NULL,
  failures     int4 NOT NULL,
  last_failure timestamptz NOT NULL,
  locked_until timestamptz,
  PRIMARY KEY (account, address)
);
CREATE INDEX login_failures_last_failure ON pganalytics.login_failures (last_failure);

-- One row per sign-in: the family of refresh tokens. Only the hash of the newest refresh token's id is kept.
CREATE TABLE pganalytics.sessions (
  id            text PRIMARY KEY,
  user_id       int4 NOT NULL REFERENCES pganalytics.users ON DELETE CASCADE,
  token_hash    bytea NOT NULL,
  generation    int4 NOT NULL DEFAULT 1,
  created_at    timestamptz NOT NULL,
  last_used_at  timestamptz NOT NULL,
  expires_at    timestamptz NOT NULL,
  revoked_at    timestamptz,
  revoke_reason text NOT NULL DEFAULT '',
  ip_address    text NOT NULL DEFAULT ''
);
CREATE INDEX sessions_user ON pganalytics.sessions (user_id);
CREATE INDEX sessions_expires_at ON pganalytics.sessions (expires_at);

-- Private keys kept by auth, sealed; sealed_with names the key that opens them.
CREATE TABLE pganalytics.sealed_keys (
  name            text PRIMARY KEY,
  certificate_pem text NOT NULL,
  sealed_key      bytea NOT NULL,
  sealed_with     text NOT NULL,
  created_at      timestamptz NOT NULL
);

CREATE TABLE pganalytics.registration_secrets (
  id                  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name                text NOT NULL UNIQUE,
  secret_hash         bytea NOT NULL UNIQUE,
  description         text NOT NULL DEFAULT '',
  -- Group of the sources that collectors registered with it watch.
  source_group        text NOT NULL DEFAULT 'default',
  active              bool NOT NULL DEFAULT true,
  created_by          int4 REFERENCES pganalytics.users ON DELETE SET NULL,
  created_at          timestamptz NOT NULL,
  updated_at          timestamptz NOT NULL,
  expires_at          timestamptz,
  -- The one collector that it registers: named at creation, or the first that used it.
  collector_id        text NOT NULL DEFAULT '',
  collector_named     bool NOT NULL DEFAULT false,
  for_many            bool NOT NULL DEFAULT false,
  total_registrations int4 NOT NULL DEFAULT 0,
  last_used_at        timestamptz
);

CREATE TABLE pganalytics.registration_secret_audit (
  id             int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  secret_id      uuid,
  collector_id   text NOT NULL DEFAULT '',
  collector_name text NOT NULL DEFAULT '',
  status         text NOT NULL CHECK (status IN ('success', 'failed', 'expired')),
  error_message  text NOT NULL DEFAULT '',
  ip_address     text NOT NULL DEFAULT '',
  used_at        timestamptz NOT NULL
);
CREATE INDEX registration_secret_audit_used_at ON pganalytics.registration_secret_audit (used_at);

-- Tokens and certificates of collectors that have not expired; token ids and certificate thumbprints, no secrets.
CREATE TABLE pganalytics.collector_credentials (
  collector_id text NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('token', 'certificate')),
  credential   text NOT NULL,
  issued_at    timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL,
  revoked      bool NOT NULL DEFAULT false,
  PRIMARY KEY (collector_id, kind, credential)
);
CREATE INDEX collector_credentials_expires_at ON pganalytics.collector_credentials (expires_at);

-- Tokens of programs (Grafana, Prometheus, scripts). The token itself is shown once; by its SHA-256 the owner of a token
-- that was found is known.
CREATE TABLE pganalytics.api_tokens (
  id           uuid PRIMARY KEY,
  name         text NOT NULL,
  token_hash   bytea NOT NULL UNIQUE,
  role         text NOT NULL CHECK (role IN ('admin', 'user', 'viewer')),
  groups       text[] NOT NULL,
  query_texts  bool NOT NULL,
  created_by   int4 REFERENCES pganalytics.users ON DELETE SET NULL,
  created_at   timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL,
  last_used_at timestamptz,
  revoked_at   timestamptz
);
CREATE UNIQUE INDEX api_tokens_name ON pganalytics.api_tokens (name) WHERE revoked_at IS NULL;
CREATE INDEX api_tokens_created_by ON pganalytics.api_tokens (created_by);

-- Numbers grow by one in the order of commits: each writer holds the counter's row to its end, so a reader that saw
-- number n has seen all below n.
CREATE TABLE pganalytics.revocation_counter (
  only_row    bool PRIMARY KEY DEFAULT true CHECK (only_row),
  last_number int8 NOT NULL
);
INSERT INTO pganalytics.revocation_counter (last_number) VALUES (0);

CREATE TABLE pganalytics.revocations (
  number        int8 PRIMARY KEY,
  subject       text NOT NULL DEFAULT '',
  issued_before timestamptz,
  jti           text NOT NULL DEFAULT '',
  created_at    timestamptz NOT NULL,
  expires_at    timestamptz NOT NULL,
  CHECK ((subject <> '' AND issued_before IS NOT NULL AND jti = '') OR (subject = '' AND jti <> ''))
);
CREATE INDEX revocations_subject ON pganalytics.revocations (subject) WHERE subject <> '';
CREATE INDEX revocations_jti ON pganalytics.revocations (jti) WHERE jti <> '';
CREATE INDEX revocations_expires_at ON pganalytics.revocations (expires_at);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pganalytics_auth') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON
      pganalytics.users, pganalytics.login_failures, pganalytics.sessions, pganalytics.registration_secrets,
      pganalytics.collector_credentials, pganalytics.revocations, pganalytics.api_tokens TO pganalytics_auth;
    GRANT SELECT, INSERT ON pganalytics.sealed_keys TO pganalytics_auth;
    GRANT INSERT ON pganalytics.registration_secret_audit TO pganalytics_auth;
    GRANT SELECT, UPDATE ON pganalytics.revocation_counter TO pganalytics_auth;
  END IF;
END
$$;
