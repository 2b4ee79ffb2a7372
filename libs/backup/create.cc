#include "libs/backup/create.h"

#include <openssl/rand.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/backup/child.h"
#include "libs/backup/database_facts.h"
#include "libs/backup/postgres_programs.h"
#include "libs/backup/sealed_stream.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"
#include "libs/storage/schema/migrations.h"

namespace pga::backup {
namespace {

using storage::Database;

constexpr absl::Duration kAskLimit = absl::Minutes(10);

// pg_dump says which table it is at; a table's share of the whole is its size on the server.
class DumpProgress {
 public:
  DumpProgress(std::string kind, std::map<std::string, int64_t> sizes, const OnProgress& progress)
      : kind_(std::move(kind)), sizes_(std::move(sizes)), progress_(progress) {
    for (const auto& [name, size] : sizes_) total_ += size;
  }

  void Message(std::string_view line) {
    const std::string_view mark = "dumping contents of table \"";
    const size_t at = line.find(mark);
    if (at == std::string_view::npos || !progress_) return;
    done_ += current_;
    std::string table(line.substr(at + mark.size()));
    table = table.substr(0, table.find('"'));
    const auto size = sizes_.find(table);
    current_ = size == sizes_.end() ? 0 : size->second;
    progress_({kind_ + ": dumping", done_, total_, table});
  }

 private:
  const std::string kind_;
  const std::map<std::string, int64_t> sizes_;
  const OnProgress& progress_;
  int64_t total_ = 0;
  int64_t done_ = 0;
  int64_t current_ = 0;
};

absl::Status CheckKind(const DatabaseFacts& facts, Database kind) {
  const Database other = kind == Database::kMetadata ? Database::kMetrics : Database::kMetadata;
  if (facts.Has(other)) {
    return absl::FailedPreconditionError(
        absl::StrCat("database ", facts.name, " holds the ", KindName(other),
                     facts.Has(kind) ? " as well: each has its own database" : ": are the two URLs exchanged?"));
  }
  if (!facts.Has(kind)) {
    return absl::FailedPreconditionError(
        absl::StrCat("database ", facts.name, " holds no ", KindName(kind), " tables of the suite"));
  }
  return absl::OkStatus();
}

class Creation {
 public:
  Creation(const Vault& vault, const BackupKey& key, const CreateOptions& options)
      : vault_(vault), key_(key), options_(options), deadline_(clock::SteadyNow() + options.timeout) {}

  absl::StatusOr<Manifest> Run() {
    std::string id(kBackupIdBytes, '\0');
    if (RAND_bytes(reinterpret_cast<unsigned char*>(id.data()), kBackupIdBytes) != 1) {
      return absl::InternalError("the crypto library gives no random bytes");
    }
    backup_id_ = id;
    manifest_.started_at = clock::WallNow();
    PGA_ASSIGN_OR_RETURN(backup_, vault_.Begin(manifest_.started_at));
    manifest_.id = backup_->id();
    manifest_.backup_id = absl::BytesToHexString(backup_id_);
    manifest_.key_id = absl::BytesToHexString(key_.id());
    manifest_.program = PGA_VERSION;
    for (const auto& [kind, url] :
         {std::pair(Database::kMetrics, options_.metrics_url), std::pair(Database::kMetadata, options_.metadata_url)}) {
      if (url.empty()) continue;
      const absl::Status dumped = Dump(kind, url);
      if (!dumped.ok()) return status::Annotate(dumped, absl::StrCat(KindName(kind), " database"));
    }
    if (manifest_.databases.empty()) return absl::InvalidArgumentError("no database is named");
    manifest_.finished_at = clock::WallNow();
    PGA_ASSIGN_OR_RETURN(const std::string text, FormatManifest(manifest_, key_));
    PGA_RETURN_IF_ERROR(backup_->Publish(text));
    manifest_.authenticated = true;
    return manifest_;
  }

 private:
  absl::Status Dump(Database kind, const std::string& url) {
    ManifestDatabase about;
    about.kind = KindName(kind);
    about.file = about.kind + ".dump.sealed";
    about.started_at = clock::WallNow();
    const clock::SteadyTime asked = std::min(deadline_, clock::SteadyNow() + kAskLimit);
    PGA_ASSIGN_OR_RETURN(const auto connection, ConnectTo(url, asked));
    PGA_ASSIGN_OR_RETURN(const DatabaseFacts facts, AskFacts(*connection, asked));
    PGA_RETURN_IF_ERROR(CheckKind(facts, kind));
    if (kind == Database::kMetrics) {
      PGA_ASSIGN_OR_RETURN(const storage::Layout layout, storage::RecordedLayout(*connection));
      about.layout = storage::LayoutName(layout);
      if (layout == storage::Layout::kCitus) {
        return absl::FailedPreconditionError(
            "its layout is citus: its data lies on several servers, and a dump of one of them is no backup; back up "
            "every node by pg_basebackup at one restore point (docs/backup.md)");
      }
    }
    PGA_ASSIGN_OR_RETURN(const PostgresPrograms programs,
                         FindPostgresPrograms(facts.server_major, options_.pg_bin, asked));
    about.name = facts.name;
    about.server_version = facts.server_version;
    about.pg_dump_version = programs.version;
    about.system_identifier = facts.system_identifier;
    about.database_oid = facts.oid;
    about.encoding = facts.encoding;
    about.collate = facts.collate;
    about.ctype = facts.ctype;
    about.timescaledb_version = facts.timescaledb_version;
    about.database_bytes = facts.bytes;

    // The counts and the dump are of one snapshot.
    PGA_RETURN_IF_ERROR(connection->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", asked).status());
    PGA_ASSIGN_OR_RETURN(const pg::Result exported, connection->Exec("SELECT pg_export_snapshot()", asked));
    const std::string snapshot(exported[0].Text(0));
    PGA_ASSIGN_OR_RETURN(about.migration, AskMigration(*connection, kind, asked));
    PGA_ASSIGN_OR_RETURN(about.counts, AskCounts(*connection, kind, nullptr, deadline_));
    PGA_ASSIGN_OR_RETURN(auto sizes, AskTableSizes(*connection, std::min(deadline_, clock::SteadyNow() + kAskLimit)));

    PGA_ASSIGN_OR_RETURN(const auto file, NewFile::Create(backup_->Path(about.file)));
    PGA_ASSIGN_OR_RETURN(const auto sealed,
                         SealedWriter::Create(key_, backup_id_, kind == Database::kMetadata ? 1 : 2,
                                              [&file](std::string_view bytes) { return file->Write(bytes); }));
    PGA_ASSIGN_OR_RETURN(const ChildConnection child, ConnectChild(url));
    DumpProgress progress(about.kind, std::move(sizes), options_.progress);
    ChildOptions dump;
    dump.argv = {programs.Path("pg_dump"),
                 "--format=custom",
                 absl::StrCat("--compress=", options_.compression),
                 "--verbose",
                 "--no-password",
                 "--lock-wait-timeout=60s",
                 "--snapshot=" + snapshot,
                 "--dbname=" + child.conninfo};
    dump.env = child.env;
    dump.output = [&sealed](std::string_view bytes) { return sealed->Write(bytes); };
    dump.message = [&progress](std::string_view line) { progress.Message(line); };
    PGA_ASSIGN_OR_RETURN(const ChildOutcome outcome, RunChild(dump, deadline_));
    PGA_RETURN_IF_ERROR(CheckOutcome("pg_dump", outcome));
    PGA_RETURN_IF_ERROR(sealed->Finish());
    PGA_RETURN_IF_ERROR(file->Finish());
    about.finished_at = clock::WallNow();
    about.dump_bytes = sealed->plain_bytes();
    about.sealed_bytes = sealed->sealed_bytes();
    about.chunks = sealed->chunks();
    about.salt = absl::BytesToHexString(sealed->salt());
    if (options_.progress) options_.progress({about.kind + ": dumped", 1, 1, ""});
    manifest_.databases.push_back(std::move(about));
    return absl::OkStatus();
  }

  const Vault& vault_;
  const BackupKey& key_;
  const CreateOptions& options_;
  const clock::SteadyTime deadline_;
  std::string backup_id_;
  std::unique_ptr<NewBackup> backup_;
  Manifest manifest_;
};

}  // namespace

absl::StatusOr<Manifest> CreateBackup(const Vault& vault, const BackupKey& key, const CreateOptions& options) {
  return Creation(vault, key, options).Run();
}

absl::Status RecordBackup(const std::string& metadata_url, const Manifest& manifest, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const auto connection, ConnectTo(metadata_url, deadline));
  std::vector<std::string> kinds;
  for (const ManifestDatabase& database : manifest.databases) kinds.push_back(database.kind);
  std::sort(kinds.begin(), kinds.end());
  return connection
      ->Exec(
          "INSERT INTO pganalytics.backups (id, started_at, finished_at, databases, bytes) VALUES ($1, "
          "pganalytics.at($2::int8), pganalytics.at($3::int8), $4::text[], $5) ON CONFLICT (id) DO NOTHING",
          {manifest.backup_id, absl::ToUnixMicros(manifest.started_at), absl::ToUnixMicros(manifest.finished_at),
           pg::ArrayOf(kinds), manifest.sealed_bytes()},
          deadline)
      .status();
}

}  // namespace pga::backup
