#include "services/auth/config.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/token/secret_box.h"
#include "services/auth/rules.h"
#include "services/auth/service_secrets.h"

namespace pga::auth {
namespace {

void CheckSecret(const log::Secret& secret, const char* name, std::vector<std::string>* problems) {
  if (secret.empty()) return;
  const absl::Status strong = CheckStrength(secret.Reveal(), name);
  if (!strong.ok()) problems->emplace_back(strong.message());
}

}  // namespace

std::string AuthConfig::StateDir() const {
  if (!state_dir.empty()) return state_dir;
  return production() ? "/var/lib/pganalytics" : ".pganalytics/state";
}

void RegisterOptions(config::Loader& loader, AuthConfig* config) {
  loader.Secret(&config->database_url, "DATABASE_URL", "postgresql:// URL of the metadata database");
  loader.Int(&config->connections, "AUTH_CONNECTIONS", "auth-connections", config->connections,
             "connections of the auth service to the metadata database", "connections", 2, 200);
  loader.Int(&config->people_threads, "AUTH_PEOPLE_THREADS", "auth-people-threads", config->people_threads,
             "threads for people's calls", "threads", 1, 256);
  loader.Int(&config->service_threads, "AUTH_SERVICE_THREADS", "auth-service-threads", config->service_threads,
             "threads for services' calls", "threads", 1, 256);
  loader.Int(&config->queue, "AUTH_QUEUE", "auth-queue", config->queue,
             "calls that may wait for a thread; more are refused at once", "calls", 1, 100000);
  loader.Duration(&config->request_timeout, "REQUEST_TIMEOUT", "request-timeout", config->request_timeout,
                  "time of a call whose caller names no deadline", absl::Milliseconds(100), absl::Minutes(10));
  loader.Duration(&config->startup_timeout, "STARTUP_TIMEOUT", "startup-timeout", config->startup_timeout,
                  "how long the start waits for the database", absl::ZeroDuration(), absl::Hours(1));
  loader.Stage(&config->environment, config->environment, "production refuses weak and well-known secrets");
  loader.Secret(&config->jwt_secret, "JWT_SECRET",
                "key of HS256 tokens; made and kept in STATE_DIR when unset outside production");
  loader.Secret(&config->jwt_secret_previous, "JWT_SECRET_PREVIOUS",
                "former JWT_SECRET, still accepted while it is rotated out");
  loader.Secret(&config->jwt_signing_key, "JWT_SIGNING_KEY",
                "P-256 private key (PEM): tokens are ES256 and verified by key set; separate services need it");
  loader.Duration(&config->access_lifetime, "JWT_EXPIRATION", "jwt-expiration", config->access_lifetime,
                  "life of access tokens", absl::Seconds(10), absl::Hours(24 * 366));
  loader.Duration(&config->refresh_lifetime, "JWT_REFRESH_EXPIRATION", "jwt-refresh-expiration",
                  config->refresh_lifetime, "life of refresh tokens", absl::Seconds(10), absl::Hours(24 * 366));
  loader.Duration(&config->session_lifetime, "SESSION_LIFETIME", "session-lifetime", config->session_lifetime,
                  "a session ends after this, however often it is refreshed", absl::Minutes(1), absl::Hours(24 * 366));
  loader.Duration(&config->collector_lifetime, "COLLECTOR_TOKEN_EXPIRATION", "collector-token-expiration",
                  config->collector_lifetime, "life of collectors' tokens", absl::Minutes(1), absl::Hours(24 * 366));
  loader.Duration(&config->audit_retention, "AUDIT_RETENTION", "audit-retention", config->audit_retention,
                  "how long audit rows are kept, 30 days or more; 0 = for ever", absl::ZeroDuration(),
                  absl::Hours(24 * 36600));
  loader.Int(&config->hash_concurrency, "PASSWORD_HASH_CONCURRENCY", "password-hash-concurrency",
             config->hash_concurrency, "password hashes at a time, 19 MiB each", "hashes", 1, 64);
  loader.Secret(&config->registration_secret, "REGISTRATION_SECRET",
                "lets collectors register, beside the secrets that administrators create");
  loader.String(&config->service_secrets_dir, "SERVICE_SECRETS_DIR", "service-secrets-dir", "",
                "folder with a file for each service that runs as a process of its own, named as the service: what it "
                "has as SERVICE_SECRET; two lines while it is rotated; read again when it changes");
  loader.Secret(&config->encryption_key, "ENCRYPTION_KEY",
                "base64 of 32 bytes: seals the CA key in the database; unset = derived from BACKUP_KEY");
  loader.Secret(&config->backup_key, "BACKUP_KEY",
                "32 random bytes or more; without it and ENCRYPTION_KEY a key is made and kept in STATE_DIR");
  loader.Secret(
      &config->admin_password, "ADMIN_PASSWORD",
      "password of the account admin, which is made when there are no users; `admin create` makes one as well");
  loader.String(&config->state_dir, "STATE_DIR", "state-dir", "",
                "folder of the service's files; empty = /var/lib/pganalytics in production, else .pganalytics/state");
}

std::vector<std::string> WeakSecrets(const AuthConfig& config) {
  std::vector<std::string> problems;
  CheckSecret(config.jwt_secret, "JWT_SECRET", &problems);
  CheckSecret(config.jwt_secret_previous, "JWT_SECRET_PREVIOUS", &problems);
  if (config.encryption_key.empty()) CheckSecret(config.backup_key, "BACKUP_KEY", &problems);
  CheckSecret(config.registration_secret, "REGISTRATION_SECRET", &problems);
  return problems;
}

absl::Status Validate(const AuthConfig& config) {
  std::vector<std::string> problems;
  if (config.database_url.empty()) problems.emplace_back("DATABASE_URL: name the metadata database");
  if (config.serves_alone && config.jwt_signing_key.empty()) {
    problems.emplace_back(
        "JWT_SIGNING_KEY: services on their own need it: openssl ecparam -name prime256v1 -genkey -noout");
  }
  if (config.serves_alone && config.service_secrets_dir.empty()) {
    problems.emplace_back(
        "SERVICE_SECRETS_DIR: name the folder with the secrets of the services, one file for each: openssl rand "
        "-base64 "
        "32 >FOLDER/query");
  }
  if (!config.encryption_key.empty()) {
    const auto box = token::SecretBox::FromText(config.encryption_key.Reveal());
    if (!box.ok()) problems.push_back(absl::StrCat("ENCRYPTION_KEY: ", box.status().message()));
  }
  if (!config.admin_password.empty()) {
    const absl::Status password = ValidatePassword(config.admin_password.Reveal(), kProtectedUsername);
    if (!password.ok()) problems.push_back(absl::StrCat("ADMIN_PASSWORD: ", password.message()));
  }
  if (config.audit_retention > absl::ZeroDuration() && config.audit_retention < absl::Hours(24 * 30)) {
    problems.emplace_back("AUDIT_RETENTION: 30 days or more, or 0 to keep audit rows for ever");
  }
  if (config.production()) {
    if (config.jwt_secret.empty() && config.jwt_signing_key.empty()) {
      problems.emplace_back("JWT_SECRET or JWT_SIGNING_KEY: one is needed in production: openssl rand -base64 32");
    }
    const std::vector<std::string> weak = WeakSecrets(config);
    problems.insert(problems.end(), weak.begin(), weak.end());
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "; "));
  return absl::OkStatus();
}

}  // namespace pga::auth
