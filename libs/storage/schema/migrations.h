// Brings the two databases to the state that this program needs: numbered SQL files
// (migrations/<database>/NNNN_name.sql, embedded at build time), each applied once, in order, in a transaction of its
// own, under an advisory lock, its SHA-256 recorded. Nothing is ever undone. Functions block; they open their own
// connection and need no pool.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/schema/embedded_migrations.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

enum class Database { kMetadata, kMetrics };

// How frames and blocks are kept (docs/layouts.md). kAuto: TimescaleDB if the server has it preloaded, else native
// partitions. kCitus, experimental: distributed over the workers of a cluster that an administrator has made. The first
// migration's choice is recorded and stays.
enum class Layout { kAuto, kNative, kTimescaledb, kCitus };
absl::StatusOr<Layout> ParseLayout(std::string_view text);
std::string_view LayoutName(Layout layout);

struct MigrateOptions {
  Layout layout = Layout::kAuto;
  // Applied after the SQL files to the metrics database (catalog_schema.h); may be empty.
  std::vector<const pganalytics::catalog::v1::Metric*> metrics = {};
  // Called with one readable line per step, on the calling thread.
  std::function<void(const std::string&)> progress = {};
  // For everything together, waiting for another migration included.
  absl::Duration timeout = absl::Minutes(10);
  // Instead of the embedded files; for tests.
  const std::vector<internal::EmbeddedMigration>* files = nullptr;
};

// Applies what is missing. A second run changes nothing. FAILED_PRECONDITION, naming the file, when an applied file's
// text has changed since, when the database has migrations this program does not know (it is newer), or when another
// layout than the recorded one is asked for. PERMISSION_DENIED when the login may not create what is needed.
absl::Status MigrateUp(const std::string& url, Database database, const MigrateOptions& options);

struct MigrationEntry {
  int version = 0;
  std::string name;
  bool applied = false;
  // Applied, but this program's file differs; or not known to this program.
  bool changed = false;
  bool unknown = false;
  absl::Time applied_at = absl::InfinitePast();
};

struct MigrationStatus {
  std::vector<MigrationEntry> migrations;
  int pending = 0;
  // The database is newer than this program.
  bool newer = false;
  // A `migrate up` was begun and has not come to its end, though its files may all be applied.
  bool unfinished = false;
  // "native", "timescaledb" or "citus"; empty for the metadata database and before the first migration.
  std::string layout;
};

// What is applied and what is missing; changes nothing.
absl::StatusOr<MigrationStatus> GetMigrationStatus(const std::string& url, Database database,
                                                   const std::vector<internal::EmbeddedMigration>* files = nullptr);

// For a service's start: OK when nothing is missing; a newer database is fine. FAILED_PRECONDITION saying what to run;
// also where the tables are in the database `postgres` of the same server, in which psql restores a plain dump that
// names no database.
absl::Status CheckMigrated(const std::string& url, Database database);

// For a service's start: FAILED_PRECONDITION when fsync, full_page_writes or synchronous_commit is off, because then an
// acknowledged row may be gone after a crash. `allow_unsafe` (tests, throw-away servers) turns that off.
absl::Status CheckDurability(const std::string& url, bool allow_unsafe);

// The layout recorded in the database behind `connection`; FAILED_PRECONDITION before the first migration.
absl::StatusOr<Layout> RecordedLayout(pg::CopyConnection& connection);

}  // namespace pga::storage
