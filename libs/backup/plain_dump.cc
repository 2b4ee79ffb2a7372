#include "libs/backup/plain_dump.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/status/status.h"

namespace pga::backup {
namespace {

// A line outside of COPY data; functions and views are far below.
constexpr size_t kMostLine = 16 << 20;
constexpr std::string_view kEndMark = "-- PostgreSQL database dump complete";

bool IsTagChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<uint8_t>(c) >= 0x80;
}

// "$tag$" at the front, or empty.
std::string_view DollarTag(std::string_view text) {
  size_t end = 1;
  while (end < text.size() && IsTagChar(text[end])) ++end;
  if (end >= text.size() || text[end] != '$' || (end > 1 && text[1] >= '0' && text[1] <= '9')) return {};
  return text.substr(0, end + 1);
}

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

absl::Status PlainDumpFilter::Emit(std::string_view text) {
  if (!sink_ || lines_ <= skip_lines_) return absl::OkStatus();
  return sink_(text);
}

absl::Status PlainDumpFilter::Feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const bool whole = end != std::string_view::npos;
    const std::string_view part = bytes.substr(0, whole ? end + 1 : bytes.size());
    bytes.remove_prefix(part.size());
    if (mid_line_) {
      mid_line_ = !whole;
      PGA_RETURN_IF_ERROR(Emit(part));
      continue;
    }
    pending_.append(part);
    if (whole) {
      ++lines_;
      const std::string line = std::move(pending_);
      pending_.clear();
      PGA_RETURN_IF_ERROR(Line(line));
    } else if (in_copy_ && pending_.size() > 4) {
      // No end of the data: that is a line of two characters.
      ++lines_;
      mid_line_ = true;
      const std::string begun = std::move(pending_);
      pending_.clear();
      PGA_RETURN_IF_ERROR(Emit(begun));
    } else if (pending_.size() > kMostLine) {
      return absl::FailedPreconditionError(absl::StrCat("line ", lines_ + 1, " is too long for a dump of pg_dump"));
    }
  }
  return absl::OkStatus();
}

absl::Status PlainDumpFilter::Line(std::string_view line) {
  std::string_view text = line;
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  if (in_copy_) {
    if (text == "\\.") in_copy_ = false;
    return Emit(line);
  }
  bool keep = true;
  if (quote_ == 0 && !statement_open_) PGA_RETURN_IF_ERROR(Outside(text, &keep));
  Scan(text);
  return keep ? Emit(line) : absl::OkStatus();
}

// A line at which a statement may begin.
absl::Status PlainDumpFilter::Outside(std::string_view line, bool* keep) {
  const auto refuse = [&](std::string_view why) {
    return absl::FailedPreconditionError(absl::StrCat("line ", lines_, " ", std::string(why)));
  };
  if (facts_.complete && !line.empty() && !line.starts_with("--") && !line.starts_with("\\unrestrict ")) {
    return refuse("stands behind the end of the dump");
  }
  if (line.starts_with("-- Dumped from database version ")) {
    const std::string version(line.substr(32));
    (void)absl::SimpleAtoi(version.substr(0, version.find_first_not_of("0123456789")), &facts_.server_major);
  } else if (line == kEndMark) {
    facts_.complete = true;
  } else if (line.starts_with("-- PostgreSQL database cluster dump")) {
    return refuse("is of pg_dumpall, which holds all databases; restore a dump of one");
  }
  if (line.starts_with("\\")) {
    if (line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ")) return absl::OkStatus();
    if (line.starts_with("\\connect ") && !objects_seen_) {
      facts_.prolog_lines = lines_;
      return absl::OkStatus();
    }
    return refuse("has a command of psql that a dump of one database does not have");
  }
  if (line.starts_with("CREATE DATABASE ")) creates_database_ = true;
  if (line.starts_with("COPY ") && line.ends_with(" FROM stdin;")) in_copy_ = true;
  if (in_copy_ || line.starts_with("CREATE ")) objects_seen_ = objects_seen_ || !line.starts_with("CREATE DATABASE ");
  facts_.metadata = facts_.metadata || line == "CREATE SCHEMA pganalytics;";
  facts_.metrics = facts_.metrics || line == "CREATE SCHEMA metrics;";
  facts_.timescaledb = facts_.timescaledb || line.starts_with("CREATE EXTENSION IF NOT EXISTS timescaledb ");
  if (!line.ends_with(";")) return absl::OkStatus();
  *keep = !(
      (line.starts_with("ALTER ") && Has(line, " OWNER TO ")) || line.starts_with("ALTER DATABASE ") ||
      line.starts_with("COMMENT ON DATABASE ") || line.starts_with("ALTER DEFAULT PRIVILEGES ") ||
      ((line.starts_with("GRANT ") || line.starts_with("REVOKE ")) && (no_privileges_ || Has(line, " ON DATABASE "))) ||
      // Rights that another role gave.
      (no_privileges_ && (line.starts_with("SET SESSION AUTHORIZATION ") || line == "RESET SESSION AUTHORIZATION;")));
  return absl::OkStatus();
}

void PlainDumpFilter::Scan(std::string_view line) {
  if (quote_ == 0 && !statement_open_ && line.starts_with("\\")) return;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote_ == '$') {
      if (c == '$' && line.substr(i).starts_with(dollar_)) {
        i += dollar_.size() - 1;
        quote_ = 0;
      }
      continue;
    }
    if (quote_ != 0) {
      // A doubled quote ends and begins again.
      if (c == quote_) quote_ = 0;
      continue;
    }
    if (c == '-' && line.substr(i).starts_with("--")) return;
    if (c == ';') {
      statement_open_ = false;
      continue;
    }
    if (c == ' ' || c == '\t') continue;
    statement_open_ = true;
    if (c == '\'' || c == '"') quote_ = c;
    if (c == '$' && (i == 0 || !IsTagChar(line[i - 1]))) {
      if (const std::string_view tag = DollarTag(line.substr(i)); !tag.empty()) {
        quote_ = '$';
        dollar_ = tag;
        i += tag.size() - 1;
      }
    }
  }
}

absl::Status PlainDumpFilter::Finish() {
  if (!pending_.empty()) {
    ++lines_;
    const std::string line = std::move(pending_);
    pending_.clear();
    PGA_RETURN_IF_ERROR(Line(line));
  }
  if (in_copy_ || mid_line_ || quote_ != 0 || !facts_.complete) {
    return absl::FailedPreconditionError(
        "the dump is cut: its last line, `-- PostgreSQL database dump complete`, is missing");
  }
  if (creates_database_ && facts_.prolog_lines == 0) {
    return absl::FailedPreconditionError("the dump creates a database and does not connect to it");
  }
  return absl::OkStatus();
}

}  // namespace pga::backup
