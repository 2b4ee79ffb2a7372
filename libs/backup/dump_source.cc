#include "libs/backup/dump_source.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/backup/child.h"
#include "libs/backup/database_facts.h"
#include "libs/backup/plain_dump.h"
#include "libs/backup/sealed_stream.h"
#include "libs/backup/vault.h"
#include "libs/status/status.h"

namespace pga::backup {
namespace {

using storage::Database;

constexpr size_t kPiece = 1 << 18;
constexpr size_t kMostListing = 64 << 20;

absl::StatusOr<Database> KindOf(bool metadata, bool metrics) {
  if (metadata && metrics) {
    return absl::FailedPreconditionError(
        "it holds the tables of both databases: it is of a database into which both were restored");
  }
  if (!metadata && !metrics) {
    return absl::FailedPreconditionError("it holds neither the metadata nor the metrics tables of the suite");
  }
  return metadata ? Database::kMetadata : Database::kMetrics;
}

// What `pg_restore --list` says: "215; 1259 16403 TABLE metrics frame owner", "6; 2615 16390 SCHEMA - metrics owner".
class Listing {
 public:
  absl::Status Add(std::string_view text) {
    if (text_.size() + text.size() > kMostListing)
      return absl::FailedPreconditionError("its table of contents has no end");
    text_.append(text);
    return absl::OkStatus();
  }
  absl::StatusOr<DumpContents> Contents() const {
    bool metadata = false, metrics = false;
    DumpContents contents;
    for (const auto& line : absl::StrSplit(text_, '\n')) {
      const std::string_view entry(line.data(), line.size());
      const std::string_view dumped = ";     Dumped from database version: ";
      if (entry.starts_with(dumped)) {
        const std::string version(entry.substr(dumped.size()));
        (void)absl::SimpleAtoi(version.substr(0, version.find_first_not_of("0123456789")), &contents.server_major);
      }
      if (entry.starts_with(";")) continue;
      metadata = metadata || entry.find(" SCHEMA - pganalytics ") != std::string_view::npos;
      metrics = metrics || entry.find(" SCHEMA - metrics ") != std::string_view::npos;
      contents.timescaledb = contents.timescaledb || entry.find(" EXTENSION - timescaledb") != std::string_view::npos;
    }
    PGA_ASSIGN_OR_RETURN(contents.kind, KindOf(metadata, metrics));
    return contents;
  }

 private:
  std::string text_;
};

// Common to both forms that pg_restore reads.
class Archive : public DumpSource {
 public:
  absl::StatusOr<DumpContents> Check(const PostgresPrograms& programs, const OnProgress& progress,
                                     clock::SteadyTime deadline) override {
    PGA_RETURN_IF_ERROR(Start());
    Listing listing;
    int64_t done = 0;
    const auto next = [&]() -> absl::StatusOr<std::string_view> {
      if (clock::SteadyNow() > deadline) return absl::DeadlineExceededError("reading it took too long");
      auto piece = Read();
      if (piece.ok()) {
        done += static_cast<int64_t>(piece->size());
        if (progress) progress({"checking " + name(), done, size(), ""});
      }
      return piece;
    };
    ChildOptions list;
    list.argv = {programs.Path("pg_restore"), "--list"};
    list.env = {{"LC_ALL", "C"}};
    list.input = next;
    list.output = [&listing](std::string_view text) { return listing.Add(text); };
    PGA_ASSIGN_OR_RETURN(const ChildOutcome outcome, RunChild(list, deadline));
    // It needs the beginning alone; the rest is read all the same.
    while (true) {
      PGA_ASSIGN_OR_RETURN(const std::string_view piece, next());
      if (piece.empty()) break;
    }
    PGA_RETURN_IF_ERROR(CheckOutcome("pg_restore --list", outcome));
    PGA_RETURN_IF_ERROR(CheckWhole());
    return listing.Contents();
  }

 private:
  // After the end was read.
  virtual absl::Status CheckWhole() const { return absl::OkStatus(); }
};

class SealedDump : public Archive {
 public:
  SealedDump(std::string path, std::string backup_id, ManifestDatabase about, const BackupKey& key)
      : path_(std::move(path)), backup_id_(std::move(backup_id)), about_(std::move(about)), key_(key) {}

  const std::string& name() const override { return path_; }
  const ManifestDatabase* about() const override { return &about_; }
  int64_t size() const override { return about_.dump_bytes; }

  absl::Status Start() override {
    PGA_ASSIGN_OR_RETURN(file_, OldFile::Open(path_));
    auto opened = SealedReader::Open(key_, [this](char* to, size_t bytes) { return file_->Read(to, bytes); });
    if (!opened.ok()) return status::Annotate(opened.status(), path_);
    reader_ = *std::move(opened);
    const SealedHeader& header = reader_->header();
    // The key fits and the file is whole, yet it is of another backup.
    if (absl::BytesToHexString(header.backup_id) != backup_id_ || absl::BytesToHexString(header.salt) != about_.salt) {
      return absl::FailedPreconditionError(path_ + " is of another backup than the manifest beside it, or damaged");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string_view> Read() override {
    auto piece = reader_->Next();
    if (!piece.ok()) return status::Annotate(piece.status(), path_);
    return piece;
  }

  absl::StatusOr<DumpContents> Check(const PostgresPrograms& programs, const OnProgress& progress,
                                     clock::SteadyTime deadline) override {
    PGA_ASSIGN_OR_RETURN(const DumpContents contents, Archive::Check(programs, progress, deadline));
    if (KindName(contents.kind) != about_.kind) {
      return absl::FailedPreconditionError(
          absl::StrCat(path_, " holds the ", KindName(contents.kind), " database, the manifest says ", about_.kind));
    }
    return contents;
  }

 private:
  absl::Status CheckWhole() const override {
    if (reader_->plain_bytes() != about_.dump_bytes || reader_->sealed_bytes() != about_.sealed_bytes ||
        reader_->chunks() != about_.chunks) {
      return absl::FailedPreconditionError(path_ + " has another size than the manifest says");
    }
    return absl::OkStatus();
  }

  const std::string path_;
  const std::string backup_id_;
  const ManifestDatabase about_;
  const BackupKey& key_;
  std::unique_ptr<OldFile> file_;
  std::unique_ptr<SealedReader> reader_;
};

// Bytes of a file, a piece at a time.
class Pieces {
 public:
  explicit Pieces(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }
  absl::Status Start() {
    PGA_ASSIGN_OR_RETURN(file_, OldFile::Open(path_));
    return absl::OkStatus();
  }
  absl::StatusOr<std::string_view> Read() {
    buffer_.resize(kPiece);
    PGA_ASSIGN_OR_RETURN(const size_t got, file_->Read(buffer_.data(), buffer_.size()));
    return std::string_view(buffer_).substr(0, got);
  }
  int64_t size() const { return file_ == nullptr ? 0 : file_->size(); }

 private:
  const std::string path_;
  std::unique_ptr<OldFile> file_;
  std::string buffer_;
};

class ArchiveFile : public Archive {
 public:
  explicit ArchiveFile(std::string path) : pieces_(std::move(path)) {}
  const std::string& name() const override { return pieces_.path(); }
  int64_t size() const override { return pieces_.size(); }
  absl::Status Start() override { return pieces_.Start(); }
  absl::StatusOr<std::string_view> Read() override { return pieces_.Read(); }

 private:
  Pieces pieces_;
};

class PlainFile : public DumpSource {
 public:
  PlainFile(std::string path, bool no_privileges) : no_privileges_(no_privileges), pieces_(std::move(path)) {}
  const std::string& name() const override { return pieces_.path(); }
  bool plain() const override { return true; }
  int64_t size() const override { return pieces_.size(); }

  absl::StatusOr<DumpContents> Check(const PostgresPrograms&, const OnProgress& progress,
                                     clock::SteadyTime deadline) override {
    PGA_RETURN_IF_ERROR(pieces_.Start());
    PlainDumpFilter filter;
    int64_t done = 0;
    while (true) {
      if (clock::SteadyNow() > deadline) return absl::DeadlineExceededError("reading it took too long");
      PGA_ASSIGN_OR_RETURN(const std::string_view piece, pieces_.Read());
      if (piece.empty()) break;
      if (const absl::Status fed = filter.Feed(piece); !fed.ok()) return status::Annotate(fed, name());
      done += static_cast<int64_t>(piece.size());
      if (progress) progress({"checking " + name(), done, size(), ""});
    }
    if (const absl::Status whole = filter.Finish(); !whole.ok()) return status::Annotate(whole, name());
    facts_ = filter.facts();
    DumpContents contents;
    contents.timescaledb = facts_.timescaledb;
    contents.server_major = facts_.server_major;
    const auto kind = KindOf(facts_.metadata, facts_.metrics);
    if (!kind.ok()) return status::Annotate(kind.status(), name());
    contents.kind = *kind;
    return contents;
  }

  absl::Status Start() override {
    PGA_RETURN_IF_ERROR(pieces_.Start());
    ended_ = false;
    filter_ = std::make_unique<PlainDumpFilter>(facts_, no_privileges_, [this](std::string_view text) {
      text_.append(text);
      return absl::OkStatus();
    });
    return absl::OkStatus();
  }

  absl::StatusOr<std::string_view> Read() override {
    text_.clear();
    while (text_.empty() && !ended_) {
      PGA_ASSIGN_OR_RETURN(const std::string_view piece, pieces_.Read());
      ended_ = piece.empty();
      PGA_RETURN_IF_ERROR(ended_ ? filter_->Finish() : filter_->Feed(piece));
    }
    return std::string_view(text_);
  }

 private:
  const bool no_privileges_;
  Pieces pieces_;
  PlainDumpFacts facts_;
  std::unique_ptr<PlainDumpFilter> filter_;
  std::string text_;
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DumpSource>> OpenSealed(const std::string& folder, const Manifest& manifest,
                                                       const ManifestDatabase& database, const BackupKey& key) {
  return std::make_unique<SealedDump>(absl::StrCat(folder, "/", database.file), manifest.backup_id, database, key);
}

absl::StatusOr<std::unique_ptr<DumpSource>> OpenDump(const std::string& path, bool no_privileges) {
  PGA_ASSIGN_OR_RETURN(const auto file, OldFile::Open(path));
  std::string begin(256, '\0');
  PGA_ASSIGN_OR_RETURN(const size_t got, file->Read(begin.data(), begin.size()));
  begin.resize(got);
  if (begin.starts_with("PGDMP")) return std::make_unique<ArchiveFile>(path);
  if (begin.starts_with(std::string(kSealedMagic))) {
    return absl::FailedPreconditionError(path + " is a part of a backup; name the backup, which is its folder");
  }
  if (begin.find("-- PostgreSQL database dump") != std::string::npos) {
    return std::make_unique<PlainFile>(path, no_privileges);
  }
  return absl::FailedPreconditionError(path + " is neither an archive (-Fc) nor a plain dump of pg_dump");
}

}  // namespace pga::backup
