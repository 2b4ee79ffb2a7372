// `pganalytics-api migrate up` and `migrate status`: both databases brought to, or compared with, what this program
// needs.
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

}  // namespace pga::api
