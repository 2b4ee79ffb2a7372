#include "services/collector/log_line_prefix.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace pga::collector {
namespace {

// Names are at most 63 bytes; an application's may be converted, a client's is a host name.
constexpr size_t kLongestField = 512;
// Ways to split a line that are tried.
constexpr int kMostSteps = 4000;

bool IsDigit(char c) {
  return absl::ascii_isdigit(static_cast<unsigned char>(c));
}

size_t CountWhile(std::string_view text, bool (*is)(char)) {
  return static_cast<size_t>(std::find_if_not(text.begin(), text.end(), is) - text.begin());
}

bool IsStateCharacter(char c) {
  return IsDigit(c) || (c >= 'A' && c <= 'Z');
}

bool IsHexOrDot(char c) {
  return c == '.' || absl::ascii_isxdigit(static_cast<unsigned char>(c));
}

// Fields whose end only what follows tells.
bool IsFree(char field) {
  return field == 'a' || field == 'u' || field == 'd' || field == 'r' || field == 'h' || field == 'L' || field == 'b' ||
         field == 'i';
}

// The server that brought an escape.
int VersionOf(char field) {
  if (field == 'L') return 180000;
  return field == 'P' || field == 'Q' ? 140000 : 0;
}

std::string_view Stripped(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Bytes of a field that has a form of its own, or npos.
size_t ReadStrict(char field, std::string_view text, const LogClock& clock, LogEntry* entry) {
  int64_t number = 0;
  int64_t ignored = 0;
  size_t size = 0;
  switch (field) {
    case 't':
    case 'm':
      size = clock.Read(text, &entry->at_us);
      return size == 0 ? std::string_view::npos : size;
    case 's':
      size = clock.Read(text, &ignored);
      return size == 0 ? std::string_view::npos : size;
    case 'n': {
      size = ReadDecimal(text, &number);
      if (size == 0) return std::string_view::npos;
      entry->at_us = number * 1'000'000;
      if (size < text.size() && text[size] == '.') {
        const size_t more = ReadDecimal(text.substr(size + 1, 3), &number);
        if (more != 3) return std::string_view::npos;
        entry->at_us += number * 1000;
        size += 4;
      }
      return size;
    }
    case 'p':
      size = ReadDecimal(text, &entry->pid);
      return size == 0 ? std::string_view::npos : size;
    case 'l':
      size = ReadDecimal(text, &entry->session_line);
      return size == 0 ? std::string_view::npos : size;
    case 'P':
      return ReadDecimal(text, &entry->leader_pid);
    case 'Q':
      size = ReadDecimal(text, &entry->query_id);
      return size == 0 ? std::string_view::npos : size;
    case 'x':
      size = CountWhile(text, IsDigit);
      if (size == 0) return std::string_view::npos;
      entry->transaction_id = text.substr(0, size);
      return size;
    case 'e':
      if (text.size() < 5 || CountWhile(text.substr(0, 5), IsStateCharacter) != 5) return std::string_view::npos;
      entry->sqlstate = text.substr(0, 5);
      return 5;
    case 'c':
      size = CountWhile(text, IsHexOrDot);
      if (size == 0) return std::string_view::npos;
      entry->session_id = text.substr(0, size);
      return size;
    case 'v':
      // Processes without a transaction of their own write nothing.
      size = ReadDecimal(text, &ignored);
      if (size == 0 || size >= text.size() || text[size] != '/') return 0;
      return size + 1 + CountWhile(text.substr(size + 1), IsDigit);
    default:
      return std::string_view::npos;
  }
}

void SetFree(char field, std::string_view value, LogEntry* entry) {
  switch (field) {
    case 'a':
      entry->application = value == "[unknown]" ? std::string_view() : value;
      break;
    case 'u':
      entry->user = value == "[unknown]" ? std::string_view() : value;
      break;
    case 'd':
      entry->database = value == "[unknown]" ? std::string_view() : value;
      break;
    case 'r':
      entry->client = value.substr(0, value.find('('));
      break;
    case 'h':
      entry->client = value;
      break;
    case 'b':
      entry->backend_type = value;
      break;
    case 'i':
      entry->command_tag = value;
      break;
    default:  // the server's own address
      break;
  }
}

}  // namespace

struct LogLinePrefix::Attempt {
  const LogClock& clock;
  LogEntry* entry;
  Head head;
  int steps = 0;
};

LogLinePrefix::LogLinePrefix(std::string_view setting, int server_version_num) {
  std::string literal;
  bool sessions_alone = false;
  const auto end_literal = [&] {
    if (!literal.empty()) items_.push_back({0, false, literal});
    literal.clear();
  };
  for (size_t i = 0; i < setting.size(); ++i) {
    if (setting[i] != '%') {
      literal.push_back(setting[i]);
      continue;
    }
    if (++i == setting.size()) break;
    if (setting[i] == '%') {
      literal.push_back('%');
      continue;
    }
    const size_t begin = i;
    if (setting[i] == '-') ++i;
    while (i < setting.size() && IsDigit(setting[i])) ++i;
    if (i == setting.size()) break;
    static constexpr std::string_view kFields = "audrhLbpPtmnsicelQvxq";
    const char field = setting[i];
    if (kFields.find(field) == std::string_view::npos || server_version_num < VersionOf(field)) continue;
    end_literal();
    items_.push_back({field, i > begin && field != 'q', {}});
    if (field == 't' || field == 'm' || field == 'n' || field == 's' || field == 'c') tells_time_ = true;
    if (field == 'q') sessions_alone = true;
    if (field == 'e' && !sessions_alone) tells_state_ = true;
  }
  end_literal();
}

bool LogLinePrefix::MatchFree(size_t item, std::string_view rest, Attempt* attempt) const {
  const size_t most = std::min(rest.size(), kLongestField);
  const std::string_view literal = item + 1 < items_.size() ? std::string_view(items_[item + 1].literal) : "";
  for (size_t end = 0; end <= most; ++end) {
    if (!literal.empty()) {
      end = rest.find(literal, end);
      if (end == std::string_view::npos || end > most) return false;
    }
    if (!MatchFrom(item + 1, rest.substr(end), attempt)) {
      if (attempt->steps > kMostSteps) return false;
      continue;
    }
    // Blanks at its ends are padding, or nobody's loss.
    SetFree(items_[item].field, Stripped(rest.substr(0, end)), attempt->entry);
    return true;
  }
  return false;
}

bool LogLinePrefix::MatchFrom(size_t item, std::string_view rest, Attempt* attempt) const {
  if (++attempt->steps > kMostSteps) return false;
  for (; item < items_.size(); ++item) {
    const Item& now = items_[item];
    if (now.field == 0) {
      if (rest.substr(0, now.literal.size()) != now.literal) return false;
      rest.remove_prefix(now.literal.size());
    } else if (now.field == 'q') {
      // Processes without a session end the prefix here.
      LogWord word;
      if (ReadLogWord(rest, &word) != 0) break;
    } else if (IsFree(now.field)) {
      return MatchFree(item, rest, attempt);
    } else {
      if (now.padded) rest.remove_prefix(CountWhile(rest, [](char c) { return c == ' '; }));
      const size_t size = ReadStrict(now.field, rest, attempt->clock, attempt->entry);
      if (size == std::string_view::npos) return false;
      rest.remove_prefix(size);
      if (now.padded && item + 1 < items_.size()) {
        // Blanks up to those of the literal that follows.
        const size_t blanks = CountWhile(rest, [](char c) { return c == ' '; });
        const size_t own = CountWhile(items_[item + 1].literal, [](char c) { return c == ' '; });
        if (blanks > own) rest.remove_prefix(blanks - own);
      }
    }
  }
  Head& head = attempt->head;
  const size_t size = ReadLogWord(rest, &head.word);
  if (size == 0) return false;
  head.text = rest.substr(size);
  head.sqlstate = {};
  if (head.word.part == LogPart::kMessage && head.text.size() >= 7 &&
      CountWhile(head.text.substr(0, 5), IsStateCharacter) == 5 && head.text.substr(5, 2) == ": " &&
      std::any_of(head.text.begin(), head.text.begin() + 5, IsDigit)) {
    head.sqlstate = head.text.substr(0, 5);
    head.text.remove_prefix(7);
  }
  return true;
}

std::optional<LogLinePrefix::Head> LogLinePrefix::Match(std::string_view line, const LogClock& clock,
                                                        LogEntry* entry) const {
  Attempt attempt{clock, entry, {}};
  if (!MatchFrom(0, line, &attempt)) return std::nullopt;
  if (!attempt.head.sqlstate.empty()) entry->sqlstate = attempt.head.sqlstate;
  return attempt.head;
}

}  // namespace pga::collector
