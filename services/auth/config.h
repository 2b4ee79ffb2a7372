#pragma once

// Settings of the auth service. The same struct serves pga-auth and the composed pganalytics-api.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/config/config.h"
#include "libs/log/log.h"

namespace pga::auth {

struct AuthConfig {
  log::Secret database_url;  // postgresql:// of the metadata database
  int connections = 8;
  // Threads for people's calls and for those of services; each with a queue of the size below.
  int people_threads = 8;
  int service_threads = 8;
  int queue = 128;
  absl::Duration request_timeout = absl::Seconds(30);
  // How long the start waits for the database.
  absl::Duration startup_timeout = absl::Seconds(60);

  std::string environment = "development";
  log::Secret jwt_secret;
  log::Secret jwt_secret_previous;
  log::Secret jwt_signing_key;  // P-256, PEM
  // Set by the program whose peers are processes of their own: they verify tokens by key set and have secrets.
  bool serves_alone = false;
  absl::Duration access_lifetime = absl::Minutes(15);
  absl::Duration refresh_lifetime = absl::Hours(24);
  absl::Duration session_lifetime = absl::Hours(24 * 30);
  absl::Duration collector_lifetime = absl::Hours(24);
  // How long audit rows are kept; zero = for ever.
  absl::Duration audit_retention = absl::Hours(24 * 400);
  int hash_concurrency = 2;

  log::Secret registration_secret;
  // Folder of the services' secrets; empty = none gets a token.
  std::string service_secrets_dir;
  // What seals keys in the database: see sealing_key.h.
  log::Secret encryption_key;
  log::Secret backup_key;
  log::Secret admin_password;
  std::string state_dir;

  bool production() const { return environment == "production"; }
  // Where files of the service live: state_dir, or the default of the environment.
  std::string StateDir() const;
};

// Registers every setting with its default; `config` must outlive the loader's Parse().
void RegisterOptions(config::Loader& loader, AuthConfig* config);

// What is too weak for production, or left at a well-known value; one line each.
std::vector<std::string> WeakSecrets(const AuthConfig& config);

// INVALID_ARGUMENT lists everything that is missing, too weak for production, or left at a well-known value.
absl::Status Validate(const AuthConfig& config);

}  // namespace pga::auth
