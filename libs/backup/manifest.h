// What a backup says of itself: one line of JSON and, on a second line, its HMAC under BACKUP_KEY in hexadecimal. It
// holds no secret, so that it can be read without the key; with the key it is refused when anything in it was changed.
// It binds the files of one backup together by their salts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/backup/backup_key.h"

namespace pga::backup {

// One database of a backup.
struct ManifestDatabase {
  std::string kind;  // "metadata" or "metrics"
  std::string file;  // name inside the backup's folder
  std::string name;  // of the database
  std::string server_version;
  std::string pg_dump_version;
  std::string system_identifier;
  int64_t database_oid = 0;
  std::string encoding;
  std::string collate;
  std::string ctype;
  std::string layout;               // of the metrics database
  std::string timescaledb_version;  // empty without the extension
  int64_t migration = 0;            // the newest applied
  absl::Time started_at;
  absl::Time finished_at;
  int64_t database_bytes = 0;  // on the server
  int64_t dump_bytes = 0;      // as pg_dump wrote it
  int64_t sealed_bytes = 0;    // of the file
  int64_t chunks = 0;
  std::string salt;  // hexadecimal
  // Rows in the dump, by what they are: counted in the snapshot of the dump.
  std::map<std::string, int64_t> counts;
};

struct Manifest {
  std::string id;         // the folder's name
  std::string backup_id;  // hexadecimal, in the header of every file
  std::string key_id;     // hexadecimal
  std::string program;    // version of pgactl
  absl::Time started_at;
  absl::Time finished_at;
  // In the order they were made.
  std::vector<ManifestDatabase> databases;
  // Whether ParseManifest was given the key that it was made with.
  bool authenticated = false;

  const ManifestDatabase* Find(std::string_view kind) const;
  int64_t sealed_bytes() const;
};

// The two lines. INTERNAL when the crypto library fails.
absl::StatusOr<std::string> FormatManifest(const Manifest& manifest, const BackupKey& key);
// `key` may be null: then nothing is authenticated. FAILED_PRECONDITION when it does not parse or was changed;
// PERMISSION_DENIED when it was made with another key.
absl::StatusOr<Manifest> ParseManifest(std::string_view text, const BackupKey* key);

}  // namespace pga::backup
