#include "services/collector/log_classes.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "libs/status/status.h"
#include "libs/text/utf8.h"
#include "services/collector/log_data.h"
#include "services/collector/query_text.h"
#include "services/collector/secret_words.h"

namespace pga::collector {
namespace {

// Forms are looked for by so many first bytes of a message.
constexpr size_t kIndexed = 6;

// SQLSTATEs of logins that are refused, always with FATAL.
constexpr std::string_view kLoginStates = "28";

absl::string_view ToAbsl(std::string_view v) {
  return {v.data(), v.size()};
}

std::string_view ToStd(absl::string_view v) {
  return {v.data(), v.size()};
}

// What a function wrote itself: nothing in it can be believed or kept.
bool IsRaised(const LogEntry& entry) {
  return entry.context.find(" at RAISE") != std::string::npos;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const LogClasses>> LogClasses::Parse(std::string_view table) {
  auto classes = std::make_unique<LogClasses>();
  int number = 0;
  for (absl::string_view line : absl::StrSplit(ToAbsl(table), '\n')) {
    ++number;
    line = absl::StripLeadingAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    if (const absl::Status status = classes->ReadLine(ToStd(line)); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", status.message()));
    }
  }
  classes->BuildIndex();
  return classes;
}

const LogClasses& LogClasses::Builtin() {
  static const LogClasses* const kClasses = [] {
    auto classes = Parse(LogClassesText());
    // Its form is tested; no collector runs without it.
    if (!classes.ok()) std::abort();
    return std::move(classes).value().release();
  }();
  return *kClasses;
}

LogClass* LogClasses::Get(std::string_view name) {
  std::unique_ptr<LogClass>& found = classes_[std::string(name)];
  if (found == nullptr) {
    found = std::make_unique<LogClass>();
    found->name = std::string(name);
  }
  return found.get();
}

absl::Status LogClasses::ReadLine(std::string_view line) {
  const size_t blank = line.find(' ');
  if (blank == std::string_view::npos) return absl::InvalidArgumentError("a word and what it says are expected");
  const std::string_view word = line.substr(0, blank);
  const std::string_view rest = line.substr(blank + 1);
  if (word == "state" || word == "category") {
    const std::vector<std::string> parts = absl::StrSplit(ToAbsl(rest), ' ');
    const size_t size = word == "state" ? 5 : 2;
    if (parts.size() != 2 || parts[0].size() != size) {
      return absl::InvalidArgumentError(absl::StrCat("expected ", size, " characters of an SQLSTATE and a name"));
    }
    LogClass* const named = Get(parts[1]);
    if (word == "state") named->state = parts[0];
    if (!(word == "state" ? states_ : categories_).emplace(parts[0], named).second) {
      return absl::InvalidArgumentError(absl::StrCat(parts[0], " has a class already"));
    }
    return absl::OkStatus();
  }
  if (word == "class") {
    absl::string_view name = ToAbsl(rest);
    const bool counted = absl::ConsumeSuffix(&name, " counted");
    current_parts_ = nullptr;
    current_ = Get(ToStd(name));
    current_means_ = current_->state;
    current_->kept = !counted;
    if (!current_->patterns.empty()) return absl::InvalidArgumentError("the class is there already");
    order_.push_back(current_);
    return absl::OkStatus();
  }
  if (word == "parts") {
    current_ = nullptr;
    current_parts_ = &parts_[std::string(rest)];
    return absl::OkStatus();
  }
  if (word == "uses") {
    const auto found = parts_.find(std::string(rest));
    if (current_ == nullptr || found == parts_.end()) return absl::InvalidArgumentError("there are no such parts");
    current_->parts = &found->second;
    return absl::OkStatus();
  }
  if (word == "means") {
    if (current_ == nullptr || !current_->state.empty()) {
      return absl::InvalidArgumentError("only a class that no state is named like has messages that mean one");
    }
    if (rest != "none" && rest.size() != 5) return absl::InvalidArgumentError("expected an SQLSTATE or none");
    current_means_ = rest == "none" ? "" : std::string(rest);
    return absl::OkStatus();
  }
  PGA_ASSIGN_OR_RETURN(LogPattern pattern, LogPattern::Compile(rest));
  if (word == "says" && current_ != nullptr) {
    current_->patterns.push_back(std::move(pattern));
    current_->means.push_back(current_means_);
  } else if (word == "part" && current_parts_ != nullptr) {
    current_parts_->push_back(std::move(pattern));
  } else if (word == "line") {
    lines_.push_back(std::move(pattern));
  } else {
    return absl::InvalidArgumentError(absl::StrCat("\"", ToAbsl(word), "\" has no place here"));
  }
  return absl::OkStatus();
}

void LogClasses::BuildIndex() {
  for (const LogClass* const each : order_) {
    for (const LogPattern& pattern : each->patterns) {
      const std::string_view begins = pattern.begins();
      if (begins.size() < kIndexed) {
        others_.push_back({each, &pattern});
      } else {
        by_beginning_[std::string(begins.substr(0, kIndexed))].push_back({each, &pattern});
      }
    }
  }
  for (int s = 0; s <= static_cast<int>(LogSeverity::kPanic); ++s) {
    const auto severity = static_cast<LogSeverity>(s);
    LogClass& other = by_severity_[severity];
    other.name = absl::StrCat("other_", absl::AsciiStrToLower(SeverityName(severity)));
    other.kept = severity >= LogSeverity::kWarning || severity == LogSeverity::kUnknown;
  }
  foreign_.name = "foreign_line";
}

bool LogClasses::MatchForms(const std::vector<Form>& forms, const LogEntry& entry, LogVerdict* verdict) const {
  for (const Form& form : forms) {
    const std::string& state = form.log_class->state;
    if (!state.empty() && !entry.sqlstate.empty() && state != entry.sqlstate) continue;
    // The same words of a statement are about something else.
    if (entry.sqlstate.empty() && state.substr(0, 2) == kLoginStates && entry.severity != LogSeverity::kFatal) continue;
    LogFindings findings;
    if (!form.pattern->Match(entry.message, QueryTextMode::kNone, &findings, nullptr)) continue;
    verdict->log_class = form.log_class;
    verdict->pattern = form.pattern;
    verdict->findings = std::move(findings);
    return true;
  }
  return false;
}

const LogClass* LogClasses::ByState(const LogEntry& entry) const {
  if (entry.sqlstate.size() != 5 || entry.sqlstate == "00000") return nullptr;
  const auto state = states_.find(entry.sqlstate);
  if (state != states_.end()) return state->second;
  const auto category = categories_.find(entry.sqlstate.substr(0, 2));
  return category == categories_.end() ? nullptr : category->second;
}

std::string LogClasses::StateOf(const LogEntry& entry, const LogVerdict& verdict) const {
  if (!entry.sqlstate.empty() || entry.severity < LogSeverity::kError || verdict.pattern == nullptr) {
    return entry.sqlstate;
  }
  const std::string& state =
      verdict.log_class->means[static_cast<size_t>(verdict.pattern - verdict.log_class->patterns.data())];
  // The same words of a statement are about something else.
  return state.starts_with(kLoginStates) && entry.severity != LogSeverity::kFatal ? std::string() : state;
}

LogVerdict LogClasses::Classify(const LogEntry& entry) const {
  LogVerdict verdict;
  if (entry.foreign) {
    verdict.log_class = &foreign_;
    return verdict;
  }
  if (!IsRaised(entry)) {
    const auto found = by_beginning_.find(entry.message.substr(0, kIndexed));
    const bool matched = (found != by_beginning_.end() && MatchForms(found->second, entry, &verdict)) ||
                         MatchForms(others_, entry, &verdict);
    if (matched) {
      if (verdict.log_class->parts != nullptr) {
        for (const LogPattern& part : *verdict.log_class->parts) part.Find(entry.message, &verdict.findings);
      }
      return verdict;
    }
  }
  verdict.log_class = ByState(entry);
  if (verdict.log_class == nullptr) verdict.log_class = &by_severity_.at(entry.severity);
  return verdict;
}

const LogPattern* LogClasses::LineOf(std::string_view line) const {
  for (const LogPattern& pattern : lines_) {
    LogFindings findings;
    if (pattern.Match(line, QueryTextMode::kNone, &findings, nullptr)) return &pattern;
  }
  return nullptr;
}

std::string LogClasses::RedactText(std::string_view text, QueryTextMode mode) const {
  if (mode == QueryTextMode::kFull && !SpeaksOfSecret(text)) return std::string(text);
  return OnlyKnownWords(text);
}

// Texts of several lines: each in its own form; lines after a statement or a value belong to it.
std::string LogClasses::RedactLines(std::string_view text, QueryTextMode mode) const {
  if (mode == QueryTextMode::kFull && !SpeaksOfSecret(text)) return std::string(text);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    const LogPattern* const pattern = LineOf(text.substr(at, end - at));
    while (end < text.size()) {
      const size_t next = std::min(text.find('\n', end + 1), text.size());
      if (pattern != nullptr && !pattern->open_ended()) break;
      if (LineOf(text.substr(end + 1, next - end - 1)) != nullptr) break;
      end = next;
    }
    const std::string_view piece = text.substr(at, end - at);
    std::string kept;
    LogFindings findings;
    if (pattern == nullptr || !pattern->Match(piece, mode, &findings, &kept)) kept = OnlyKnownWords(piece);
    absl::StrAppend(&out, out.empty() ? "" : "\n", kept);
    at = end + 1;
  }
  return out;
}

LogTexts LogClasses::Redact(const LogEntry& entry, const LogVerdict& verdict, QueryTextMode mode) const {
  LogTexts texts;
  LogFindings findings;
  if (verdict.pattern == nullptr || !verdict.pattern->Match(entry.message, mode, &findings, &texts.message)) {
    texts.message = RedactText(entry.message, mode);
  }
  texts.detail = RedactLines(entry.detail, mode);
  texts.hint = RedactLines(entry.hint, mode);
  texts.context = RedactLines(entry.context, mode);
  texts.statement = RedactQuery(entry.statement.empty() ? entry.internal_query : entry.statement, mode).text;
  return texts;
}

void MakeUtf8(LogEntry* entry) {
  for (std::string* const field :
       {&entry->user, &entry->database, &entry->application, &entry->client, &entry->backend_type, &entry->command_tag,
        &entry->message, &entry->detail, &entry->hint, &entry->internal_query, &entry->context, &entry->statement,
        &entry->location}) {
    if (text::IsUtf8(*field) && field->find('\0') == std::string::npos) continue;
    std::string out;
    std::string_view rest = *field;
    while (!rest.empty()) {
      size_t size = 1;
      const size_t length = text::CharacterLength(rest, &size);
      if (length == 0 || rest[0] == '\0') {
        out.append("\xEF\xBF\xBD");
      } else {
        out.append(rest.substr(0, length));
        size = length;
      }
      rest.remove_prefix(size);
    }
    *field = std::move(out);
  }
}

}  // namespace pga::collector
