#include "libs/backup/manifest.h"

#include <simdjson.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::backup {
namespace {

constexpr char kPurpose[] = "pganalytics backup manifest 1";
constexpr int64_t kForm = 1;
// Far beyond what two databases need.
constexpr size_t kMostBytes = 1 << 20;

std::string Quoted(std::string_view text) {
  std::string out;
  log::AppendJsonString(text, &out);
  return out;
}

std::string Instant(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

// Members of an object, in the order they are given.
class Object {
 public:
  Object& Text(std::string_view name, std::string_view value) { return Raw(name, Quoted(value)); }
  Object& Number(std::string_view name, int64_t value) { return Raw(name, absl::StrCat(value)); }
  Object& Raw(std::string_view name, const std::string& json) {
    absl::StrAppend(&text_, text_.empty() ? "{" : ",", Quoted(name), ":", json);
    return *this;
  }
  std::string End() const { return text_.empty() ? "{}" : text_ + "}"; }

 private:
  std::string text_;
};

std::string Line(const Manifest& manifest) {
  std::string databases;
  for (const ManifestDatabase& database : manifest.databases) {
    Object counts;
    for (const auto& [name, count] : database.counts) counts.Number(name, count);
    Object one;
    one.Text("kind", database.kind)
        .Text("file", database.file)
        .Text("name", database.name)
        .Text("server_version", database.server_version)
        .Text("pg_dump_version", database.pg_dump_version)
        .Text("system_identifier", database.system_identifier)
        .Number("database_oid", database.database_oid)
        .Text("encoding", database.encoding)
        .Text("collate", database.collate)
        .Text("ctype", database.ctype)
        .Text("layout", database.layout)
        .Text("timescaledb_version", database.timescaledb_version)
        .Number("migration", database.migration)
        .Text("started_at", Instant(database.started_at))
        .Text("finished_at", Instant(database.finished_at))
        .Number("database_bytes", database.database_bytes)
        .Number("dump_bytes", database.dump_bytes)
        .Number("sealed_bytes", database.sealed_bytes)
        .Number("chunks", database.chunks)
        .Text("salt", database.salt)
        .Raw("counts", counts.End());
    absl::StrAppend(&databases, databases.empty() ? "" : ",", one.End());
  }
  Object all;
  all.Number("form", kForm)
      .Text("id", manifest.id)
      .Text("backup_id", manifest.backup_id)
      .Text("key_id", manifest.key_id)
      .Text("program", manifest.program)
      .Text("started_at", Instant(manifest.started_at))
      .Text("finished_at", Instant(manifest.finished_at))
      .Raw("databases", absl::StrCat("[", databases, "]"));
  return all.End();
}

// Reads members; the first that is missing or of another type is the reader's error.
class Reader {
 public:
  explicit Reader(simdjson::dom::element element) : element_(element) {}
  std::string Text(std::string_view name) {
    std::string_view value;
    Note(element_[name].get(value), name);
    return std::string(value);
  }
  int64_t Number(std::string_view name) {
    int64_t value = 0;
    Note(element_[name].get(value), name);
    return value;
  }
  absl::Time Instant(std::string_view name) {
    const std::string text = Text(name);
    absl::Time time;
    std::string ignored;
    if (!absl::ParseTime("%Y-%m-%dT%H:%M:%E*SZ", text, &time, &ignored)) Note(simdjson::INCORRECT_TYPE, name);
    return time;
  }
  absl::Status status() const { return status_; }
  void Note(simdjson::error_code error, std::string_view name) {
    if (error == simdjson::SUCCESS || !status_.ok()) return;
    status_ = absl::FailedPreconditionError(absl::StrCat("the manifest has no good ", std::string(name)));
  }

 private:
  simdjson::dom::element element_;
  absl::Status status_;
};

absl::StatusOr<Manifest> Parse(std::string_view line) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (parser.parse(simdjson::padded_string(line)).get(root) != simdjson::SUCCESS) {
    return absl::FailedPreconditionError("the manifest is no JSON");
  }
  Reader reader(root);
  if (const int64_t form = reader.Number("form"); reader.status().ok() && form != kForm) {
    return absl::FailedPreconditionError(
        absl::StrCat("the manifest has form ", form, ", this program knows form ", kForm));
  }
  Manifest manifest;
  manifest.id = reader.Text("id");
  manifest.backup_id = reader.Text("backup_id");
  manifest.key_id = reader.Text("key_id");
  manifest.program = reader.Text("program");
  manifest.started_at = reader.Instant("started_at");
  manifest.finished_at = reader.Instant("finished_at");
  simdjson::dom::array databases;
  reader.Note(root["databases"].get(databases), "databases");
  PGA_RETURN_IF_ERROR(reader.status());
  for (const simdjson::dom::element element : databases) {
    Reader one(element);
    ManifestDatabase database;
    database.kind = one.Text("kind");
    database.file = one.Text("file");
    database.name = one.Text("name");
    database.server_version = one.Text("server_version");
    database.pg_dump_version = one.Text("pg_dump_version");
    database.system_identifier = one.Text("system_identifier");
    database.database_oid = one.Number("database_oid");
    database.encoding = one.Text("encoding");
    database.collate = one.Text("collate");
    database.ctype = one.Text("ctype");
    database.layout = one.Text("layout");
    database.timescaledb_version = one.Text("timescaledb_version");
    database.migration = one.Number("migration");
    database.started_at = one.Instant("started_at");
    database.finished_at = one.Instant("finished_at");
    database.database_bytes = one.Number("database_bytes");
    database.dump_bytes = one.Number("dump_bytes");
    database.sealed_bytes = one.Number("sealed_bytes");
    database.chunks = one.Number("chunks");
    database.salt = one.Text("salt");
    simdjson::dom::object counts;
    one.Note(element["counts"].get(counts), "counts");
    PGA_RETURN_IF_ERROR(one.status());
    for (const auto field : counts) {
      int64_t count = 0;
      one.Note(field.value.get(count), field.key);
      database.counts[std::string(field.key)] = count;
    }
    PGA_RETURN_IF_ERROR(one.status());
    // It becomes a path.
    if (database.file.empty() || database.file.find('/') != std::string::npos || database.file.front() == '.' ||
        (database.kind != "metadata" && database.kind != "metrics") || manifest.Find(database.kind) != nullptr) {
      return absl::FailedPreconditionError("the manifest names a file or database that cannot be");
    }
    manifest.databases.push_back(std::move(database));
  }
  if (manifest.databases.empty()) return absl::FailedPreconditionError("the manifest names no database");
  return manifest;
}

}  // namespace

const ManifestDatabase* Manifest::Find(std::string_view kind) const {
  const auto found =
      std::find_if(databases.begin(), databases.end(), [&](const auto& one) { return one.kind == kind; });
  return found == databases.end() ? nullptr : &*found;
}

int64_t Manifest::sealed_bytes() const {
  int64_t sum = 0;
  for (const ManifestDatabase& database : databases) sum += database.sealed_bytes;
  return sum;
}

absl::StatusOr<std::string> FormatManifest(const Manifest& manifest, const BackupKey& key) {
  std::string line = Line(manifest);
  PGA_ASSIGN_OR_RETURN(const std::string mac, key.Authenticate(kPurpose, line));
  return absl::StrCat(line, "\n", absl::BytesToHexString(mac), "\n");
}

absl::StatusOr<Manifest> ParseManifest(std::string_view text, const BackupKey* key) {
  const size_t end = text.find('\n');
  if (text.size() > kMostBytes || end == std::string_view::npos) {
    return absl::FailedPreconditionError("the manifest is cut");
  }
  const std::string_view line = text.substr(0, end);
  PGA_ASSIGN_OR_RETURN(Manifest manifest, Parse(line));
  if (key == nullptr) return manifest;
  if (const std::string id = absl::BytesToHexString(key->id()); manifest.key_id != id) {
    return absl::PermissionDeniedError(
        absl::StrCat("it was made with the key of id ", manifest.key_id.substr(0, 40), ", BACKUP_KEY has id ", id));
  }
  PGA_ASSIGN_OR_RETURN(const std::string mac, key->Authenticate(kPurpose, line));
  if (!token::SameBytes(text.substr(end + 1), absl::BytesToHexString(mac) + "\n")) {
    return absl::FailedPreconditionError("the manifest was changed after it was written");
  }
  manifest.authenticated = true;
  return manifest;
}

}  // namespace pga::backup
