// `pganalytics-api migrate up`, `migrate status` and `migrate roles`: both databases brought to, or compared with, what
// this program needs, and what an administrator does before.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "services/api/config.h"

namespace pga::api {

// Applies what is missing to the metadata database, then to the metrics database with the tables of every catalog
// metric. `print` gets one readable line per step. A second run changes nothing.
absl::Status MigrateUp(const ApiConfig& config, const std::function<void(const std::string&)>& print);

// Prints every migration with its state. FAILED_PRECONDITION when something is pending.
absl::Status MigrateStatus(const ApiConfig& config, const std::function<void(const std::string&)>& print);

// Prints the script that an administrator of the database server runs once with psql before MigrateUp: roles, the login
// of the URLs, the databases. `only` is "metadata", "metrics" or empty for both, which fits one server;
// INVALID_ARGUMENT for another word. Connects to nothing and prints no password.
absl::Status PrintRoles(const ApiConfig& config, const std::string& only,
                        const std::function<void(const std::string&)>& print);

}  // namespace pga::api
