// Makes a backup: pg_dump of the server's own version for each database, its output sealed while it comes. The metrics
// database is dumped first, so that the metadata of a backup is never older than the metrics
// (docs/adr/2026-11-28-backup.md).
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/backup/backup_key.h"
#include "libs/backup/manifest.h"
#include "libs/backup/progress.h"
#include "libs/backup/vault.h"
#include "libs/clock/steady.h"

namespace pga::backup {

struct CreateOptions {
  // Logins that may read everything, such as the owner. Empty = this database is left out; one at least is given.
  std::string metadata_url;
  std::string metrics_url;
  // gzip level of pg_dump, 0 to 9. Blocks are packed already.
  int compression = 1;
  // Folder of pg_dump; empty = it is looked for.
  std::string pg_bin;
  absl::Duration timeout = absl::Hours(12);
  OnProgress progress;
};

// FAILED_PRECONDITION when a URL leads to another database than its name says, when the layout is citus, or pg_dump is
// older than the server or fails; RESOURCE_EXHAUSTED when the disk is full; ABORTED when another backup is being made
// there. Nothing is left in the vault then. Blocks; needs no other process of the suite.
absl::StatusOr<Manifest> CreateBackup(const Vault& vault, const BackupKey& key, const CreateOptions& options);

// Notes a finished backup in the metadata database, for health and metrics. Repeating it changes nothing.
absl::Status RecordBackup(const std::string& metadata_url, const Manifest& manifest, clock::SteadyTime deadline);

}  // namespace pga::backup
