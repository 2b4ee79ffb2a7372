// Entries of servers' logs: rows of metric `log_events`, newest first, a page at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/cut_text.h"
#include "libs/storage/read/source_reader.h"

namespace pga::storage {

struct LogEventQuery {
  std::vector<SourceRef> sources;
  // Entries that the servers wrote in [start, end).
  absl::Time start;
  absl::Time end;
  // Each: one of these, empty = any. A SQLSTATE may be its class, the first two characters.
  std::vector<std::string> severities;
  std::vector<std::string> classes;
  std::vector<std::string> sqlstates;
  std::vector<std::string> databases;
  std::vector<std::string> users;
  std::optional<int64_t> query_id;
  std::optional<int64_t> pid;
  // Part of any of the texts, in letters of any case (A to Z). Empty = any. PERMISSION_DENIED without texts.
  std::string text;
  // LogEventAnswer::next of the page before; empty = the newest ones.
  std::string page;
  int limit = 100;
  bool with_texts = true;
  // Most characters of each text.
  int64_t text_length = 500;
};
inline constexpr size_t kMostLogWords = 100;  // of each kind of filter

struct LogEvent {
  SourceRef source;
  absl::Time time;
  std::string class_name;
  std::string severity;
  std::string sqlstate;
  int64_t pid = 0;  // 0 = not known
  std::string database;
  std::string user;
  std::string application;
  std::string client;
  std::string backend_type;
  int64_t query_id = 0;  // 0 = not known
  CutText message;
  CutText detail;
  CutText hint;
  CutText context;
  CutText statement;
  std::string object;
  std::optional<int64_t> duration_us;
  std::optional<int64_t> bytes;
};

struct LogEventAnswer {
  std::vector<LogEvent> events;
  // What asks for older ones; empty at the end of the range. A page may be short, or empty, and have another behind it:
  // one call looks at so many entries at most.
  std::string next;
};

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class LogEventReader {
 public:
  // All must outlive the reader.
  LogEventReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog, clock::Clock* clock)
      : pool_(pool), catalog_(std::move(catalog)), clock_(clock) {}

  // INVALID_ARGUMENT says what to change: a page of another form, too many words, a range before what is kept.
  absl::StatusOr<LogEventAnswer> Read(const LogEventQuery& query, const pg::CallLimit& limit);

 private:
  pg::ReadPool* pool_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  clock::Clock* clock_;
};

}  // namespace pga::storage
