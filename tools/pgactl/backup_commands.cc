// Backups of the two databases: made, checked, listed, put back, removed.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "libs/backup/backup_key.h"
#include "libs/backup/create.h"
#include "libs/backup/dump_source.h"
#include "libs/backup/postgres_programs.h"
#include "libs/backup/restore.h"
#include "libs/backup/vault.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

constexpr char kDefaultFolder[] = "/var/lib/pganalytics-backup";

// The value of NAME, or the first line of the file that NAME_FILE names; empty when neither is set.
absl::StatusOr<std::string> Setting(const Context& context, const std::string& name) {
  if (const auto set = context.environment.find(name); set != context.environment.end() && !set->second.empty()) {
    return set->second;
  }
  const auto file = context.environment.find(name + "_FILE");
  if (file == context.environment.end() || file->second.empty()) return std::string();
  return ReadSecretFile(file->second);
}

absl::StatusOr<backup::BackupKey> Key(const Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string text, Setting(context, "BACKUP_KEY"));
  if (text.empty()) {
    return UsageError(
        "BACKUP_KEY is not set: base64 of 32 random bytes (openssl rand -base64 32), or BACKUP_KEY_FILE "
        "names a file with it");
  }
  auto key = backup::BackupKey::FromText(text);
  if (!key.ok()) return UsageError(absl::StrCat("BACKUP_KEY: ", std::string(key.status().message())));
  return key;
}

// For commands that say more with a key and do without one.
absl::StatusOr<std::optional<backup::BackupKey>> KeyIfSet(const Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string text, Setting(context, "BACKUP_KEY"));
  if (text.empty()) return std::optional<backup::BackupKey>();
  PGA_ASSIGN_OR_RETURN(backup::BackupKey key, Key(context));
  return std::optional<backup::BackupKey>(std::move(key));
}

backup::Vault VaultOf(const Context& context) {
  std::string folder = context.arguments->Get("dir");
  if (const auto set = context.environment.find("BACKUP_DIR"); folder.empty() && set != context.environment.end()) {
    folder = set->second;
  }
  return backup::Vault(folder.empty() ? kDefaultFolder : folder);
}

absl::StatusOr<absl::Duration> TimeLimit(const Context& context) {
  PGA_ASSIGN_OR_RETURN(const int hours, context.arguments->Int("timeout", 12, 1, 24 * 30));
  return absl::Hours(hours);
}

// Draws a bar over one line of a terminal; in a pipe writes a line for each step and one every ten seconds.
class ProgressLine {
 public:
  explicit ProgressLine(Context& context) : context_(context) {}
  ~ProgressLine() { Clear(); }

  void Show(const backup::Progress& progress) {
    const clock::SteadyTime now = clock::SteadyNow();
    const bool next = progress.what != what_;
    if (!next && now - shown_ < (context_.progress ? absl::Milliseconds(100) : absl::Seconds(10))) return;
    what_ = progress.what;
    shown_ = now;
    std::string amount;
    if (progress.total > 1) {
      amount =
          absl::StrCat(Bytes(static_cast<double>(progress.done)), " of ", Bytes(static_cast<double>(progress.total)));
    }
    if (!context_.progress) {
      *context_.err << progress.what << (amount.empty() || next ? "" : ": " + amount) << "\n" << std::flush;
      return;
    }
    constexpr int64_t kWidth = 30;
    const int64_t full =
        progress.total > 0 ? std::clamp<int64_t>(progress.done * kWidth / progress.total, 0, kWidth) : 0;
    std::string bar(static_cast<size_t>(full), '#');
    bar.resize(kWidth, '.');
    *context_.err << "\r\033[K"
                  << OneLine(absl::StrCat(progress.what, " [", bar, "] ", amount, " ", progress.detail)).substr(0, 110)
                  << std::flush;
  }

  // Before a line of another kind.
  void Clear() {
    if (context_.progress && !what_.empty()) *context_.err << "\r\033[K" << std::flush;
  }

 private:
  Context& context_;
  std::string what_;
  clock::SteadyTime shown_;
};

absl::Status PrintBackups(const Context& context, const std::vector<backup::ListedBackup>& listed) {
  Table table({"BACKUP", "MADE", "DATABASES", "SIZE", "SERVER", "KEY", "STATE"});
  std::string json;
  for (const backup::ListedBackup& one : listed) {
    if (!one.manifest.ok()) {
      const std::string why(one.manifest.status().message());
      table.Add({one.id, "", "", "", "", "", "not usable: " + why});
      absl::StrAppend(&json, json.empty() ? "" : ",", "{\"id\":\"", one.id, "\",\"usable\":false}");
      continue;
    }
    const backup::Manifest& manifest = *one.manifest;
    std::vector<std::string> kinds;
    for (const auto& database : manifest.databases) kinds.push_back(database.kind);
    const std::string state = manifest.authenticated ? "manifest good" : "not checked: BACKUP_KEY is not set";
    table.Add({one.id, Minute(manifest.finished_at), absl::StrJoin(kinds, ", "),
               Bytes(static_cast<double>(manifest.sealed_bytes())),
               absl::StrCat("PostgreSQL ", manifest.databases.front().server_version), manifest.key_id, state});
    absl::StrAppend(&json, json.empty() ? "" : ",", "{\"id\":\"", one.id,
                    "\",\"usable\":true,\"authenticated\":", manifest.authenticated ? "true" : "false",
                    ",\"finished_at\":\"",
                    absl::FormatTime(absl::RFC3339_sec, manifest.finished_at, absl::UTCTimeZone()),
                    "\",\"databases\":[\"", absl::StrJoin(kinds, "\",\""), "\"],\"bytes\":", manifest.sealed_bytes(),
                    ",\"key_id\":\"", manifest.key_id, "\"}");
  }
  if (context.json) {
    *context.out << "[" << json << "]\n";
    return absl::OkStatus();
  }
  return context.Print(table, "no backups");
}

absl::Status Prune(Context& context, const backup::Vault& vault, const backup::BackupKey* key) {
  PGA_ASSIGN_OR_RETURN(const int keep, context.arguments->Int("keep", 1, 1, 100'000));
  PGA_ASSIGN_OR_RETURN(const int days, context.arguments->Int("days", 0, 0, 100'000));
  PGA_ASSIGN_OR_RETURN(const std::vector<backup::ListedBackup> listed, vault.List(key));
  for (const std::string& id : backup::Superfluous(listed, keep, days, context.now)) {
    PGA_RETURN_IF_ERROR(vault.Remove(id));
    *context.out << "removed " << id << "\n";
  }
  for (const backup::ListedBackup& one : listed) {
    if (!one.manifest.ok()) {
      *context.err << one.id << " is left alone: " << one.manifest.status().message() << "\n";
    }
  }
  return absl::OkStatus();
}

absl::Status Create(Context& context) {
  PGA_ASSIGN_OR_RETURN(const backup::BackupKey key, Key(context));
  const backup::Vault vault = VaultOf(context);
  backup::CreateOptions options;
  const std::string only = context.arguments->Get("only");
  if (!only.empty() && only != "metadata" && only != "metrics") return UsageError("--only must be metadata or metrics");
  for (const auto& [kind, name, url] : {std::tuple("metadata", "DATABASE_URL", &options.metadata_url),
                                        std::tuple("metrics", "TIMESCALE_URL", &options.metrics_url)}) {
    if (!only.empty() && only != kind) continue;
    PGA_ASSIGN_OR_RETURN(*url, Setting(context, name));
    if (url->empty()) {
      return UsageError(absl::StrCat(name, " is not set; give the postgresql:// URL of the ", kind,
                                     " database, or leave it out with --only"));
    }
  }
  PGA_ASSIGN_OR_RETURN(options.compression, context.arguments->Int("compress", 1, 0, 9));
  PGA_ASSIGN_OR_RETURN(options.timeout, TimeLimit(context));
  options.pg_bin = context.arguments->Get("pg-bin");
  absl::StatusOr<backup::Manifest> manifest = absl::UnknownError("");
  {
    ProgressLine line(context);
    options.progress = [&line](const backup::Progress& progress) { line.Show(progress); };
    manifest = backup::CreateBackup(vault, key, options);
  }
  PGA_RETURN_IF_ERROR(manifest.status());
  if (context.json) {
    PGA_RETURN_IF_ERROR(PrintBackups(context, {{manifest->id, "", *manifest}}));
  } else {
    for (const backup::ManifestDatabase& one : manifest->databases) {
      *context.out << one.kind << ": " << Bytes(static_cast<double>(one.database_bytes)) << " on the server, "
                   << Bytes(static_cast<double>(one.sealed_bytes)) << " in the backup, "
                   << absl::StrFormat("%.1f s", absl::ToDoubleSeconds(one.finished_at - one.started_at)) << "\n";
    }
    *context.out << vault.folder() << "/" << manifest->id << "\n";
  }
  if (!options.metadata_url.empty()) {
    const absl::Status noted =
        backup::RecordBackup(options.metadata_url, *manifest, clock::SteadyNow() + absl::Seconds(30));
    if (!noted.ok())
      return status::Annotate(noted, "the backup is good, and could not be noted in the metadata database");
  }
  if (context.arguments->Has("keep") || context.arguments->Has("days")) return Prune(context, vault, &key);
  return absl::OkStatus();
}

absl::Status Verify(Context& context) {
  PGA_ASSIGN_OR_RETURN(const backup::BackupKey key, Key(context));
  const backup::Vault vault = VaultOf(context);
  const std::string name = context.arguments->words().empty() ? "latest" : context.arguments->words()[0];
  PGA_ASSIGN_OR_RETURN(const std::string folder, vault.Find(name));
  PGA_ASSIGN_OR_RETURN(const std::string text, backup::ReadManifestFile(folder));
  const auto manifest = backup::ParseManifest(text, &key);
  if (!manifest.ok()) return status::Annotate(manifest.status(), folder);
  PGA_ASSIGN_OR_RETURN(const absl::Duration limit, TimeLimit(context));
  const clock::SteadyTime deadline = clock::SteadyNow() + limit;
  ProgressLine line(context);
  for (const backup::ManifestDatabase& database : manifest->databases) {
    PGA_ASSIGN_OR_RETURN(const auto programs, backup::FindPostgresPrograms(std::atoi(database.pg_dump_version.c_str()),
                                                                           context.arguments->Get("pg-bin"), deadline));
    PGA_ASSIGN_OR_RETURN(const auto source, backup::OpenSealed(folder, *manifest, database, key));
    PGA_RETURN_IF_ERROR(source->Check(
        programs, [&line](const backup::Progress& progress) { line.Show(progress); }, deadline));
    line.Clear();
    *context.out << database.kind << ": good, " << database.chunks << " chunks, "
                 << Bytes(static_cast<double>(database.dump_bytes)) << ", of " << Minute(database.started_at) << "\n";
  }
  return absl::OkStatus();
}

absl::Status List(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::optional<backup::BackupKey> key, KeyIfSet(context));
  PGA_ASSIGN_OR_RETURN(const auto listed, VaultOf(context).List(key.has_value() ? &*key : nullptr));
  return PrintBackups(context, listed);
}

absl::Status Restore(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string name, context.Word(0, "the backup, or the file of a dump,"));
  const std::string only = context.arguments->Get("only");
  if (!only.empty() && only != "metadata" && only != "metrics") return UsageError("--only must be metadata or metrics");
  backup::RestoreOptions options;
  PGA_ASSIGN_OR_RETURN(options.metadata_url, Setting(context, "DATABASE_URL"));
  PGA_ASSIGN_OR_RETURN(options.metrics_url, Setting(context, "TIMESCALE_URL"));
  PGA_ASSIGN_OR_RETURN(options.admin_url, Setting(context, "BACKUP_ADMIN_URL"));
  options.replace = context.arguments->Has("replace");
  options.no_privileges = context.arguments->Has("no-privileges");
  options.pg_bin = context.arguments->Get("pg-bin");
  PGA_ASSIGN_OR_RETURN(options.timeout, TimeLimit(context));
  // A dump cannot be read for another database than its own.
  if (only == "metadata") options.metrics_url.clear();
  if (only == "metrics") options.metadata_url.clear();

  std::vector<std::unique_ptr<backup::DumpSource>> sources;
  std::optional<backup::BackupKey> key;
  backup::Manifest manifest;
  std::error_code ignored;
  if (std::filesystem::is_regular_file(name, ignored)) {
    PGA_ASSIGN_OR_RETURN(auto source, backup::OpenDump(name, options.no_privileges));
    sources.push_back(std::move(source));
  } else {
    PGA_ASSIGN_OR_RETURN(key, Key(context));
    PGA_ASSIGN_OR_RETURN(const std::string folder, VaultOf(context).Find(name));
    PGA_ASSIGN_OR_RETURN(const std::string text, backup::ReadManifestFile(folder));
    auto parsed = backup::ParseManifest(text, &*key);
    if (!parsed.ok()) return status::Annotate(parsed.status(), folder);
    manifest = *std::move(parsed);
    options.manifest = &manifest;
    for (const backup::ManifestDatabase& database : manifest.databases) {
      if (!only.empty() && only != database.kind) continue;
      PGA_ASSIGN_OR_RETURN(auto source, backup::OpenSealed(folder, manifest, database, *key));
      sources.push_back(std::move(source));
    }
    if (sources.empty()) return absl::NotFoundError(absl::StrCat(folder, " holds no dump of the ", only, " database"));
  }
  ProgressLine line(context);
  options.progress = [&line](const backup::Progress& progress) { line.Show(progress); };
  options.say = [&](const std::string& text) {
    line.Clear();
    *context.out << text << "\n" << std::flush;
  };
  PGA_RETURN_IF_ERROR(backup::Restore(std::move(sources), options));
  line.Clear();
  *context.out << "now: pgactl migrate up, then start the suite\n";
  return absl::OkStatus();
}

absl::Status PruneCommand(Context& context) {
  if (!context.arguments->Has("keep") && !context.arguments->Has("days")) {
    return UsageError("say what stays: --keep N, --days N, or both");
  }
  PGA_ASSIGN_OR_RETURN(const std::optional<backup::BackupKey> key, KeyIfSet(context));
  return Prune(context, VaultOf(context), key.has_value() ? &*key : nullptr);
}

}  // namespace

std::vector<Command> BackupCommands() {
  const OptionSpec dir = {"dir", "FOLDER",
                          absl::StrCat("of the backups (default BACKUP_DIR, else ", kDefaultFolder, ")")};
  const OptionSpec only = {"only", "metadata|metrics", "one of the two databases"};
  const OptionSpec programs = {"pg-bin", "FOLDER", "of pg_dump and its like (default: those of the server's version)"};
  const OptionSpec timeout = {"timeout", "HOURS", "for everything together (default 12)"};
  const OptionSpec keep = {"keep", "N", "this many of the newest stay (default 1)"};
  const OptionSpec days = {"days", "N", "what is younger than this many days stays (default 0)"};
  return {
      {"backup create",
       "",
       "dump both databases, sealed with BACKUP_KEY (DATABASE_URL, TIMESCALE_URL); with --keep or --days prune then",
       {dir,
        only,
        {"compress", "0..9", "gzip level of pg_dump (default 1; 0 is fastest)"},
        keep,
        days,
        programs,
        timeout},
       Create},
      {"backup verify",
       "[BACKUP]",
       "read and authenticate all of a backup (default: the latest)",
       {dir, programs, timeout},
       Verify},
      {"backup list", "", "backups in the folder; with BACKUP_KEY their manifests are checked", {dir}, List, true},
      {"backup restore",
       "BACKUP",
       "put back a backup, \"latest\", or the file of a dump; the suite must be stopped",
       {dir,
        only,
        {"replace", "", "take the place of databases that hold data; these are kept under another name"},
        {"no-privileges", "", "leave out rights that roles have"},
        programs,
        timeout},
       Restore},
      {"backup prune", "", "remove backups; what cannot be read is left alone", {dir, keep, days}, PruneCommand},
  };
}

}  // namespace pga::pgactl
