// The .sql files of migrations/, put into the library at build time.
#pragma once

#include <string>
#include <vector>

namespace pga::storage::internal {

struct EmbeddedMigration {
  int version;
  std::string name;  // file name without .sql
  std::string sql;
};

// In order of version.
const std::vector<EmbeddedMigration>& metadata_migrations();
const std::vector<EmbeddedMigration>& metrics_migrations();

}  // namespace pga::storage::internal
