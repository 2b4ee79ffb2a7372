// Puts dumps back. Nothing is touched before every dump was read whole and every target was looked at. Each dump goes
// into a database of its own beside the target; when all of them are filled and counted, names are exchanged, metrics
// first (docs/adr/2026-11-28-backup.md). Whatever ends the program before that, the databases in use stay as they are.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/backup/dump_source.h"
#include "libs/backup/manifest.h"
#include "libs/backup/progress.h"

namespace pga::backup {

struct RestoreOptions {
  // The databases to be restored, for their owner's login. Needed for what `sources` hold.
  std::string metadata_url;
  std::string metrics_url;
  // Login that makes and renames databases and makes roles; its database is not used. Empty = the login of the URL,
  // which then needs CREATEDB.
  std::string admin_url;
  // A database with tables of the suite may be replaced; it is kept under another name.
  bool replace = false;
  // Leaves out rights that are in the dump.
  bool no_privileges = false;
  std::string pg_bin;
  absl::Duration timeout = absl::Hours(12);
  OnProgress progress;
  // Gets lines for people: what was restored, where the former database is.
  std::function<void(const std::string&)> say;
  // The backup that is restored: noted in the metadata database. May be null.
  const Manifest* manifest = nullptr;
  // Called at the moments of a restore, for tests that end the program there: "loaded metrics", "swapped metrics". May
  // be null.
  std::function<void(const std::string&)> on_point;
};

// FAILED_PRECONDITION: a dump is damaged, of a newer server, or of no database of the suite; a target is in use, is not
// empty, holds the other database or tables of others. PERMISSION_DENIED: the key is another one, or the login lacks
// rights, with what to run. ABORTED: another restore of the database is under way. Blocks.
absl::Status Restore(std::vector<std::unique_ptr<DumpSource>> sources, const RestoreOptions& options);

}  // namespace pga::backup
