#include <array>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "services/collector/log_parser.h"

namespace pga::collector {
namespace {

// Columns of csvlog in their order; 13 ends with backend_type.
enum Column {
  kLogTime,
  kUser,
  kDatabase,
  kPid,
  kConnectionFrom,
  kSessionId,
  kSessionLine,
  kCommandTag,
  kSessionStart,
  kVirtualTransaction,
  kTransaction,
  kSeverity,
  kState,
  kMessage,
  kDetail,
  kHint,
  kInternalQuery,
  kInternalPosition,
  kContext,
  kQuery,
  kQueryPosition,
  kLocation,
  kApplication,
  kBackendType,
  kLeaderPid,
  kQueryId,
  kMostColumns
};
constexpr size_t kLeastColumns = kBackendType + 1;
constexpr size_t kStateSize = 5;

using Fields = std::array<std::string, kMostColumns>;

// Where the record that begins at `at` ends, behind its newline; npos if it has no end. Columns beyond those known are
// left out.
size_t ReadRecord(std::string_view bytes, size_t at, Fields* fields, size_t* count) {
  *count = 0;
  for (std::string& field : *fields) field.clear();
  while (true) {
    std::string* const field = *count < kMostColumns ? &(*fields)[*count] : nullptr;
    ++*count;
    if (at < bytes.size() && bytes[at] == '"') {
      ++at;
      while (true) {
        const size_t quote = bytes.find('"', at);
        if (quote == std::string_view::npos) return quote;
        if (field != nullptr) field->append(bytes.substr(at, quote - at));
        at = quote + 1;
        if (at >= bytes.size() || bytes[at] != '"') break;
        if (field != nullptr) field->push_back('"');
        ++at;
      }
    } else {
      const size_t end = bytes.find_first_of(",\n", at);
      if (end == std::string_view::npos) return end;
      if (field != nullptr) field->append(bytes.substr(at, end - at));
      at = end;
    }
    if (at >= bytes.size()) return std::string_view::npos;
    if (bytes[at] == '\r' && at + 1 < bytes.size() && bytes[at + 1] == '\n') ++at;
    if (bytes[at] == '\n') return at + 1;
    if (bytes[at] != ',') return at + 1;  // not CSV; the caller sees too few columns
    ++at;
  }
}

class CsvParser final : public LogParser {
 public:
  explicit CsvParser(LogClock clock) : clock_(std::move(clock)) {}

  size_t Parse(std::string_view bytes, LogEnd end, const Sink& sink, LogParseCounts* counts) const override;

 private:
  bool BeginsRecord(std::string_view bytes) const {
    int64_t at_us = 0;
    const size_t size = clock_.Read(bytes.substr(0, 64), &at_us);
    return size != 0 && size < bytes.size() && bytes[size] == ',';
  }
  // Where the next line begins that may be a record, npos if it is not there yet.
  size_t NextRecord(std::string_view bytes, size_t at) const {
    while (true) {
      at = bytes.find('\n', at);
      if (at == std::string_view::npos) return at;
      ++at;
      if (at + 64 > bytes.size() && bytes.find('\n', at) == std::string_view::npos) return std::string_view::npos;
      if (BeginsRecord(bytes.substr(at))) return at;
    }
  }

  const LogClock clock_;
};

void Fill(Fields* fields, const LogClock& clock, LogEntry* entry) {
  const auto take = [fields](Column column) { return std::move((*fields)[column]); };
  const auto number = [fields](Column column, int64_t* value) { ReadDecimal((*fields)[column], value); };
  clock.Read((*fields)[kLogTime], &entry->at_us);
  number(kPid, &entry->pid);
  number(kSessionLine, &entry->session_line);
  number(kLeaderPid, &entry->leader_pid);
  number(kQueryId, &entry->query_id);
  entry->user = take(kUser);
  entry->database = take(kDatabase);
  // host:port, of a socket "[local]".
  const std::string& from = (*fields)[kConnectionFrom];
  entry->client = from.substr(0, from.rfind(':'));
  entry->session_id = take(kSessionId);
  entry->command_tag = take(kCommandTag);
  entry->transaction_id = take(kTransaction);
  entry->severity = SeverityOf((*fields)[kSeverity]);
  entry->sqlstate = take(kState);
  entry->message = take(kMessage);
  entry->detail = take(kDetail);
  entry->hint = take(kHint);
  entry->internal_query = take(kInternalQuery);
  entry->context = take(kContext);
  entry->statement = take(kQuery);
  entry->location = take(kLocation);
  entry->application = take(kApplication);
  entry->backend_type = take(kBackendType);
}

}  // namespace

size_t CsvParser::Parse(std::string_view bytes, LogEnd end, const Sink& sink, LogParseCounts* counts) const {
  size_t done = 0;
  Fields fields;
  while (done < bytes.size()) {
    size_t count = 0;
    const bool begins = BeginsRecord(bytes.substr(done));
    const size_t next = begins ? ReadRecord(bytes, done, &fields, &count) : std::string_view::npos;
    if (next != std::string_view::npos && count >= kLeastColumns && fields[kState].size() == kStateSize) {
      LogEntry entry;
      Fill(&fields, clock_, &entry);
      ++counts->entries;
      sink(entry);
      done = next;
      continue;
    }
    // What a process wrote that was killed while it did, or a record without its end yet.
    const bool whole = bytes.find('\n', done) != std::string_view::npos;
    if (begins && next == std::string_view::npos && (end != LogEnd::kFull || done > 0)) break;
    if (!begins && !whole && end != LogEnd::kFull) break;
    const size_t again = NextRecord(bytes, done);
    if (again == std::string_view::npos) {
      if (end != LogEnd::kFull || done > 0) break;
      ++counts->unreadable_lines;
      return bytes.size();
    }
    ++counts->unreadable_lines;
    done = again;
  }
  return done;
}

std::unique_ptr<LogParser> MakeCsvParser(LogClock clock) {
  return std::make_unique<CsvParser>(std::move(clock));
}

}  // namespace pga::collector
