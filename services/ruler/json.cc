#include "services/ruler/json.h"

#include <simdjson.h>

#include "absl/strings/str_cat.h"
#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::ruler {
namespace {

absl::Status Malformed(std::string_view what) {
  return absl::InternalError(absl::StrCat("not the JSON that was expected: ", std::string(what)));
}

std::string TextOf(simdjson::dom::element element, const char* key) {
  std::string_view text;
  return element[key].get_string().get(text) == simdjson::SUCCESS ? std::string(text) : std::string();
}

bool FlagOf(simdjson::dom::element element, const char* key, bool otherwise) {
  bool flag = otherwise;
  return element[key].get_bool().get(flag) == simdjson::SUCCESS ? flag : otherwise;
}

absl::StatusOr<absl::Time> TimeOf(simdjson::dom::element element, const char* key) {
  absl::Time time;
  std::string problem;
  if (!absl::ParseTime(absl::RFC3339_full, TextOf(element, key), &time, &problem)) return Malformed(key);
  return time;
}

}  // namespace

std::string Rfc3339(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
}

std::string Quoted(std::string_view text) {
  std::string out;
  log::AppendJsonString(text, &out);
  return out;
}

std::string ToJson(const Labels& labels) {
  std::string out = "{";
  for (const auto& [name, value] : labels) {
    absl::StrAppend(&out, out.size() > 1 ? "," : "", Quoted(name), ":", Quoted(value));
  }
  return out + "}";
}

absl::StatusOr<Labels> LabelsFromJson(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (parser.parse(json.data(), json.size()).get_object().get(object) != simdjson::SUCCESS) return Malformed("labels");
  Labels labels;
  for (const auto field : object) {
    std::string_view value;
    if (field.value.get_string().get(value) != simdjson::SUCCESS) return Malformed("a label");
    labels[std::string(field.key)] = std::string(value);
  }
  return labels;
}

std::string ToJson(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts) absl::StrAppend(&out, out.size() > 1 ? "," : "", Quoted(text));
  return out + "]";
}

absl::StatusOr<std::vector<std::string>> TextsFromJson(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::array array;
  if (parser.parse(json.data(), json.size()).get_array().get(array) != simdjson::SUCCESS) return Malformed("a list");
  std::vector<std::string> texts;
  for (const simdjson::dom::element entry : array) {
    std::string_view text;
    if (entry.get_string().get(text) != simdjson::SUCCESS) return Malformed("a text");
    texts.emplace_back(text);
  }
  return texts;
}

std::string ToJson(const std::vector<Matcher>& matchers) {
  std::string out = "[";
  for (const Matcher& matcher : matchers) {
    absl::StrAppend(&out, out.size() > 1 ? "," : "", "{\"name\":", Quoted(matcher.name),
                    ",\"value\":", Quoted(matcher.value), ",\"is_regex\":", matcher.is_regex ? "true" : "false",
                    ",\"is_negative\":", matcher.is_negative ? "true" : "false", "}");
  }
  return out + "]";
}

absl::StatusOr<std::vector<Matcher>> MatchersFromJson(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::array array;
  if (parser.parse(json.data(), json.size()).get_array().get(array) != simdjson::SUCCESS) return Malformed("matchers");
  std::vector<Matcher> matchers;
  for (const simdjson::dom::element entry : array) {
    matchers.push_back({TextOf(entry, "name"), TextOf(entry, "value"), FlagOf(entry, "is_regex", false),
                        FlagOf(entry, "is_negative", false)});
  }
  return matchers;
}

std::string AlertmanagerSilence(const Silence& silence) {
  std::string out = "{\"matchers\":[";
  bool first = true;
  for (const Matcher& matcher : silence.matchers) {
    absl::StrAppend(&out, first ? "" : ",", "{\"name\":", Quoted(matcher.name), ",\"value\":", Quoted(matcher.value),
                    ",\"isRegex\":", matcher.is_regex ? "true" : "false",
                    ",\"isEqual\":", matcher.is_negative ? "false" : "true", "}");
    first = false;
  }
  return absl::StrCat(out, "],\"startsAt\":", Quoted(Rfc3339(silence.starts_at)),
                      ",\"endsAt\":", Quoted(Rfc3339(silence.ends_at)), ",\"createdBy\":", Quoted(silence.created_by),
                      ",\"comment\":", Quoted(silence.comment), "}");
}

absl::StatusOr<std::string> SilenceIdFromAlertmanager(const std::string& json) {
  simdjson::dom::parser parser;
  simdjson::dom::element answer;
  if (parser.parse(json).get(answer) != simdjson::SUCCESS) return Malformed("a silence's id");
  const std::string id = TextOf(answer, "silenceID");
  if (id.empty()) return Malformed("a silence's id");
  return id;
}

absl::StatusOr<std::vector<Silence>> SilencesFromAlertmanager(const std::string& json) {
  simdjson::dom::parser parser;
  simdjson::dom::array array;
  if (parser.parse(json).get_array().get(array) != simdjson::SUCCESS) return Malformed("silences");
  std::vector<Silence> silences;
  for (const simdjson::dom::element entry : array) {
    std::string_view state;
    if (entry["status"]["state"].get_string().get(state) == simdjson::SUCCESS && state == "expired") continue;
    Silence silence;
    silence.id = TextOf(entry, "id");
    silence.created_by = TextOf(entry, "createdBy");
    silence.comment = TextOf(entry, "comment");
    PGA_ASSIGN_OR_RETURN(silence.starts_at, TimeOf(entry, "startsAt"));
    PGA_ASSIGN_OR_RETURN(silence.ends_at, TimeOf(entry, "endsAt"));
    simdjson::dom::array matchers;
    if (entry["matchers"].get_array().get(matchers) != simdjson::SUCCESS) return Malformed("matchers");
    for (const simdjson::dom::element matcher : matchers) {
      silence.matchers.push_back({TextOf(matcher, "name"), TextOf(matcher, "value"), FlagOf(matcher, "isRegex", false),
                                  !FlagOf(matcher, "isEqual", true)});
    }
    silences.push_back(std::move(silence));
  }
  return silences;
}

}  // namespace pga::ruler
