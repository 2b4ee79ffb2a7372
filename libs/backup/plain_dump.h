// A plain dump (SQL text of pg_dump) on its way to psql: what it is of, whether it is whole, and the text without what
// would lead out of the database that it is restored into or needs rights that its owner lacks. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace pga::backup {

struct PlainDumpFacts {
  // Holds the schemas of the metadata database, of the metrics database.
  bool metadata = false;
  bool metrics = false;
  bool timescaledb = false;
  // Of the server it was made of; 0 when it does not say.
  int server_major = 0;
  // Lines up to the last \connect before the first object: DROP and CREATE DATABASE of `pg_dump --create`.
  int64_t prolog_lines = 0;
  bool complete = false;
};

// Two passes over the same bytes: the first without a sink gathers the facts, the second gives psql its text. Lines
// that change owners, rights on a database, or a database are left out; the restoring login owns everything. Not
// thread-safe.
class PlainDumpFilter {
 public:
  using Sink = std::function<absl::Status(std::string_view)>;
  // First pass.
  PlainDumpFilter() = default;
  // Second pass. `no_privileges`: all rights are left out, as by pg_restore's option.
  PlainDumpFilter(const PlainDumpFacts& facts, bool no_privileges, Sink sink)
      : skip_lines_(facts.prolog_lines), no_privileges_(no_privileges), sink_(std::move(sink)) {}

  // The next bytes. FAILED_PRECONDITION, naming the line, when the text cannot be of pg_dump or would have psql do
  // something else than fill one database (a backslash command, a \connect after the first object). Errors of the sink
  // are passed on.
  absl::Status Feed(std::string_view bytes);
  // FAILED_PRECONDITION when the dump is cut.
  absl::Status Finish();
  const PlainDumpFacts& facts() const { return facts_; }

 private:
  absl::Status Emit(std::string_view text);
  absl::Status Line(std::string_view line);
  absl::Status Outside(std::string_view line, bool* keep);
  void Scan(std::string_view line);

  const int64_t skip_lines_ = 0;
  const bool no_privileges_ = false;
  const Sink sink_;
  PlainDumpFacts facts_;
  int64_t lines_ = 0;
  std::string pending_;
  bool in_copy_ = false;
  // Inside of a long line of COPY data whose beginning was handed on.
  bool mid_line_ = false;
  bool objects_seen_ = false;
  bool creates_database_ = false;
  // What the text is inside of at a line's start: ' or " or $ (then `dollar_` is the tag), 0 = nothing.
  char quote_ = 0;
  std::string dollar_;
  // A statement has begun and not ended.
  bool statement_open_ = false;
};

}  // namespace pga::backup
