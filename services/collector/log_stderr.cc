#include <string>
#include <utility>

#include "services/collector/log_parser.h"

namespace pga::collector {
namespace {

class StderrParser final : public LogParser {
 public:
  StderrParser(LogLinePrefix prefix, LogClock clock) : prefix_(std::move(prefix)), clock_(std::move(clock)) {}

  size_t Parse(std::string_view bytes, LogEnd end, const Sink& sink, LogParseCounts* counts) const override;

 private:
  const LogLinePrefix prefix_;
  const LogClock clock_;
};

std::string* TextOfPart(LogPart part, LogEntry* entry) {
  switch (part) {
    case LogPart::kMessage:
      return &entry->message;
    case LogPart::kDetail:
      return &entry->detail;
    case LogPart::kHint:
      return &entry->hint;
    case LogPart::kQuery:
      return &entry->internal_query;
    case LogPart::kContext:
      return &entry->context;
    case LogPart::kLocation:
      return &entry->location;
    case LogPart::kStatement:
      return &entry->statement;
    case LogPart::kBacktrace:
      return nullptr;
  }
  return nullptr;
}

// "... at character 16", which the other forms have in a column of its own.
void CutPosition(std::string* message) {
  static constexpr std::string_view kWords = " at character ";
  const size_t at = message->rfind(kWords);
  if (at == std::string::npos) return;
  int64_t position = 0;
  if (at + kWords.size() + ReadDecimal(std::string_view(*message).substr(at + kWords.size()), &position) ==
          message->size() &&
      position > 0) {
    message->resize(at);
  }
}

// An entry whose lines are being gathered.
struct Gathered {
  bool open = false;
  LogEntry entry;
  // The text that a line with a tab continues; null if nobody wants it.
  std::string* text = nullptr;
};

}  // namespace

size_t StderrParser::Parse(std::string_view bytes, LogEnd end, const Sink& sink, LogParseCounts* counts) const {
  size_t done = 0;
  Gathered now;
  const auto emit = [&] {
    if (!now.open) return;
    ++counts->entries;
    CutPosition(&now.entry.message);
    sink(now.entry);
    now.open = false;
  };
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t newline = bytes.find('\n', at);
    const bool whole = newline != std::string_view::npos;
    // A line without its end is looked at again when it has it.
    if (!whole && (end != LogEnd::kFull || (at > 0 && done > 0))) break;
    const size_t line_begin = at;
    std::string_view line = bytes.substr(at, whole ? newline - at : std::string_view::npos);
    at = whole ? newline + 1 : bytes.size();
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.empty() && line.front() == '\t') {
      if (!now.open) {
        ++counts->unreadable_lines;
        done = at;
      } else if (now.text != nullptr) {
        now.text->push_back('\n');
        now.text->append(line.substr(1));
      }
      continue;
    }
    LogEntry entry;
    const std::optional<LogLinePrefix::Head> head = prefix_.Match(line, clock_, &entry);
    if (head.has_value() && head->word.part != LogPart::kMessage) {
      const bool belongs = now.open && entry.pid == now.entry.pid;
      if (!belongs) {
        emit();
        ++counts->unreadable_lines;
        done = at;
        continue;
      }
      now.text = TextOfPart(head->word.part, &now.entry);
      if (now.text != nullptr) *now.text = std::string(head->text);
      continue;
    }
    emit();
    done = line_begin;
    if (!head.has_value()) {
      done = at;
      if (line.empty()) continue;
      ++counts->foreign_lines;
      LogEntry foreign;
      foreign.message = std::string(line);
      foreign.foreign = true;
      foreign.cut = !whole;
      sink(foreign);
      continue;
    }
    now.open = true;
    now.entry = std::move(entry);
    now.entry.severity = head->word.severity;
    now.entry.message = std::string(head->text);
    now.text = &now.entry.message;
  }
  if (now.open && (end == LogEnd::kQuiet || (end == LogEnd::kFull && done == 0))) {
    now.entry.cut = end == LogEnd::kFull;
    emit();
    done = at;
  }
  return done;
}

std::unique_ptr<LogParser> MakeStderrParser(LogLinePrefix prefix, LogClock clock) {
  return std::make_unique<StderrParser>(std::move(prefix), std::move(clock));
}

}  // namespace pga::collector
