#include <simdjson.h>

#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "libs/text/utf8.h"
#include "services/collector/log_parser.h"

namespace pga::collector {
namespace {

struct TextKey {
  const char* key;
  std::string LogEntry::*field;
};
constexpr TextKey kTexts[] = {
    {"user", &LogEntry::user},
    {"dbname", &LogEntry::database},
    {"remote_host", &LogEntry::client},
    {"session_id", &LogEntry::session_id},
    {"ps", &LogEntry::command_tag},
    {"state_code", &LogEntry::sqlstate},
    {"message", &LogEntry::message},
    {"detail", &LogEntry::detail},
    {"hint", &LogEntry::hint},
    {"internal_query", &LogEntry::internal_query},
    {"context", &LogEntry::context},
    {"statement", &LogEntry::statement},
    {"application_name", &LogEntry::application},
    {"backend_type", &LogEntry::backend_type},
};
struct NumberKey {
  const char* key;
  int64_t LogEntry::*field;
};
constexpr NumberKey kNumbers[] = {{"pid", &LogEntry::pid},
                                  {"line_num", &LogEntry::session_line},
                                  {"leader_pid", &LogEntry::leader_pid},
                                  {"query_id", &LogEntry::query_id}};

// Databases in SQL_ASCII write what they were given; JSON is UTF-8.
std::string Repaired(std::string_view line) {
  std::string out;
  while (!line.empty()) {
    size_t skip = 1;
    const size_t size = text::CharacterLength(line, &skip);
    if (size == 0) {
      out.push_back('?');
      line.remove_prefix(skip);
    } else {
      out.append(line.substr(0, size));
      line.remove_prefix(size);
    }
  }
  return out;
}

class JsonParser final : public LogParser {
 public:
  explicit JsonParser(LogClock clock) : clock_(std::move(clock)) {}

  size_t Parse(std::string_view bytes, LogEnd end, const Sink& sink, LogParseCounts* counts) const override {
    simdjson::dom::parser parser;
    size_t done = 0;
    while (done < bytes.size()) {
      const size_t newline = bytes.find('\n', done);
      if (newline == std::string_view::npos) {
        if (end != LogEnd::kFull || done > 0) break;
        ++counts->unreadable_lines;
        return bytes.size();
      }
      const std::string_view line = bytes.substr(done, newline - done);
      done = newline + 1;
      if (line.empty()) continue;
      LogEntry entry;
      if (!ReadLine(&parser, line, &entry)) {
        ++counts->unreadable_lines;
        continue;
      }
      ++counts->entries;
      sink(entry);
    }
    return done;
  }

 private:
  bool ReadLine(simdjson::dom::parser* parser, std::string_view line, LogEntry* entry) const {
    simdjson::dom::object object;
    if (parser->parse(text::IsUtf8(line) ? std::string(line) : Repaired(line)).get(object) != simdjson::SUCCESS) {
      return false;
    }
    std::string_view text;
    if (object["timestamp"].get(text) != simdjson::SUCCESS || clock_.Read(text, &entry->at_us) == 0) return false;
    for (const TextKey& key : kTexts) {
      if (object[key.key].get(text) == simdjson::SUCCESS) entry->*key.field = std::string(text);
    }
    for (const NumberKey& key : kNumbers) {
      int64_t number = 0;
      if (object[key.key].get(number) == simdjson::SUCCESS) entry->*key.field = number;
    }
    int64_t transaction = 0;
    if (object["txid"].get(transaction) == simdjson::SUCCESS) entry->transaction_id = std::to_string(transaction);
    if (object["error_severity"].get(text) == simdjson::SUCCESS) entry->severity = SeverityOf(text);
    return true;
  }

  const LogClock clock_;
};

}  // namespace

std::unique_ptr<LogParser> MakeJsonParser(LogClock clock) {
  return std::make_unique<JsonParser>(std::move(clock));
}

}  // namespace pga::collector
