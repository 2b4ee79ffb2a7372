// A managed instance as the registry keeps it: a server that a collector watches from elsewhere. Plain values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "libs/log/log.h"

namespace pga::registry {

// What people say of an instance; absent values have their defaults already.
struct ManagedSpec {
  std::string name;
  std::optional<std::string> description;
  std::optional<int32_t> cluster_id;
  std::string instance_role = "master";
  std::string aws_region = "us-east-1";
  std::string endpoint;
  int32_t port = 0;
  std::optional<std::string> engine_version;
  std::optional<std::string> db_instance_class;
  std::optional<int32_t> allocated_storage_gb;
  std::string environment = "development";
  std::string username;
  // Absent: as it is.
  std::optional<log::Secret> password;
  bool enhanced_monitoring = false;
  int32_t monitoring_interval = 60;
  std::string ssl_mode = "require";
  int32_t connection_timeout = 30;
  bool multi_az = false;
  std::optional<int32_t> backup_retention_days;
  std::optional<std::string> backup_window;
  std::optional<std::string> maintenance_window;
  std::map<std::string, std::string> tags;
  // Empty where nobody said one.
  std::string status;
  // Absent: as they are, or the default of a new one.
  std::optional<std::string> group;
  std::optional<std::string> collector_id;
};

struct ManagedInstance {
  int32_t id = 0;
  // Without password; status, group and collector_id filled.
  ManagedSpec spec;
  std::optional<int32_t> secret_id;
  std::string assigned_to;
  std::optional<absl::Time> last_heartbeat;
  // connected, error, unknown.
  std::string last_connection_status = "unknown";
  std::optional<std::string> last_error;
  std::optional<absl::Time> last_error_time;
  absl::Time created_at;
  absl::Time updated_at;
  std::optional<int32_t> created_by;
  std::optional<int32_t> updated_by;
};

// A password as the database holds it.
struct SealedPassword {
  std::string sealed;
  // SecretBox::Id() of the key.
  std::string sealed_with;
};

// What a collector needs to watch an instance.
struct ManagedAssignment {
  int32_t id = 0;
  int64_t revision = 0;
  std::string name;
  std::string endpoint;
  int32_t port = 0;
  std::string username;
  std::string ssl_mode;
  int32_t connection_timeout = 0;
  SealedPassword password;
  int32_t monitoring_interval = 0;
};

// What a collector says of managed instances.
struct ManagedReport {
  std::string collector_id;
  bool takes = false;
  // Ids and revisions that it has.
  std::set<std::pair<int32_t, int64_t>> held;
  // Names of the sources that it reaches, its own or another's.
  std::set<std::string> reached;
};

}  // namespace pga::registry
