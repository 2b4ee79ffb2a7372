// What a database is and what it holds, asked over an open connection.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/schema/migrations.h"

namespace pga::backup {

// "metadata" or "metrics".
std::string KindName(storage::Database database);

struct DatabaseFacts {
  std::string name;
  int64_t oid = 0;
  std::string server_version;
  int server_major = 0;
  std::string system_identifier;
  std::string encoding;
  std::string collate;
  std::string ctype;
  int64_t bytes = 0;
  bool has_metadata = false;
  bool has_metrics = false;
  // Tables, views and sequences outside of the system's schemas and of extensions.
  int64_t relations = 0;
  std::string timescaledb_version;  // empty without the extension
  std::string timescaledb_schema;

  bool Has(storage::Database database) const {
    return database == storage::Database::kMetadata ? has_metadata : has_metrics;
  }
};

absl::StatusOr<DatabaseFacts> AskFacts(pg::CopyConnection& connection, clock::SteadyTime deadline);

// Newest applied migration of the database; 0 when it has none.
absl::StatusOr<int64_t> AskMigration(pg::CopyConnection& connection, storage::Database database,
                                     clock::SteadyTime deadline);

// Rows by what they are, in the present snapshot. Names of other programs' manifests that this one does not know are
// left out by `only`, which may be null.
absl::StatusOr<std::map<std::string, int64_t>> AskCounts(pg::CopyConnection& connection, storage::Database database,
                                                         const std::map<std::string, int64_t>* only,
                                                         clock::SteadyTime deadline);

// Sizes in bytes of tables by "schema.name".
absl::StatusOr<std::map<std::string, int64_t>> AskTableSizes(pg::CopyConnection& connection,
                                                             clock::SteadyTime deadline);

// A connection of this library. No limit of statements but `deadline`s; never ended for being idle.
absl::StatusOr<std::unique_ptr<pg::CopyConnection>> ConnectTo(const std::string& url, clock::SteadyTime deadline);

}  // namespace pga::backup
