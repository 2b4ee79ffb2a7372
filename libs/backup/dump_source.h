// Something that can be restored: a sealed dump of a backup, an archive of pg_dump, or its plain SQL text. Each is read
// whole and checked before anything else happens.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/backup/backup_key.h"
#include "libs/backup/manifest.h"
#include "libs/backup/postgres_programs.h"
#include "libs/backup/progress.h"
#include "libs/clock/steady.h"
#include "libs/storage/schema/migrations.h"

namespace pga::backup {

// What Check found.
struct DumpContents {
  storage::Database kind = storage::Database::kMetadata;
  bool timescaledb = false;
  // Major version of the server that it is of; 0 = not known.
  int server_major = 0;
};

// Not thread-safe.
class DumpSource {
 public:
  virtual ~DumpSource() = default;
  // For people: a path.
  virtual const std::string& name() const = 0;
  // psql reads it, not pg_restore.
  virtual bool plain() const { return false; }
  // Of a backup; null for a dump without one.
  virtual const ManifestDatabase* about() const { return nullptr; }
  // Bytes that Read gives in all, about: for progress.
  virtual int64_t size() const = 0;

  // Reads and authenticates everything and has pg_restore read the table of contents. FAILED_PRECONDITION,
  // PERMISSION_DENIED or NOT_FOUND say what is wrong.
  virtual absl::StatusOr<DumpContents> Check(const PostgresPrograms& programs, const OnProgress& progress,
                                             clock::SteadyTime deadline) = 0;
  // Gives all of it, from the beginning, as the program reads it; errors as Check, at the place where they are.
  virtual absl::Status Start() = 0;
  // Valid until the next call; empty at the end.
  virtual absl::StatusOr<std::string_view> Read() = 0;
};

// A database's file of the backup in `folder`; `key` must outlive it.
absl::StatusOr<std::unique_ptr<DumpSource>> OpenSealed(const std::string& folder, const Manifest& manifest,
                                                       const ManifestDatabase& database, const BackupKey& key);
// By the first bytes of the file. FAILED_PRECONDITION when it is neither an archive nor a plain dump of pg_dump.
// `no_privileges`: a plain dump is read without rights; of an archive pg_restore leaves them out.
absl::StatusOr<std::unique_ptr<DumpSource>> OpenDump(const std::string& path, bool no_privileges);

}  // namespace pga::backup
