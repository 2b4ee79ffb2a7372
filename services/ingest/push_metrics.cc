#include "services/ingest/push_metrics.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "libs/frame/text.h"
#include "libs/status/status.h"
#include "libs/text/json.h"

namespace pga::ingest {
namespace {

namespace ondemand = simdjson::ondemand;

constexpr size_t kMaxIdBytes = 255;
constexpr size_t kMaxTypeBytes = 255;
constexpr absl::Duration kMaxPast = absl::Hours(720);
constexpr absl::Duration kMaxAhead = absl::Minutes(10);
constexpr char kQueryStats[] = "pg_query_stats";
constexpr size_t kLargeBytes = size_t{1} << 20;

absl::Status Wrong(absl::string_view what) {
  return status::WithReason(absl::InvalidArgumentError(what), "INVALID_PUSH");
}

// RFC 3339, or seconds since 1970; nullopt for anything else.
std::optional<absl::Time> ReadTime(ondemand::value value) {
  ondemand::json_type type;
  if (value.type().get(type) != simdjson::SUCCESS) return std::nullopt;
  if (type == ondemand::json_type::string) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) return std::nullopt;
    absl::Time time;
    std::string error;
    if (!absl::ParseTime(absl::RFC3339_full, absl::string_view(text.data(), text.size()), &time, &error)) {
      return std::nullopt;
    }
    return time;
  }
  if (type != ondemand::json_type::number) return std::nullopt;
  double seconds = 0;
  if (value.get_double().get(seconds) != simdjson::SUCCESS || !std::isfinite(seconds) || std::abs(seconds) > 1e11) {
    return std::nullopt;
  }
  return absl::UnixEpoch() + absl::Seconds(seconds);
}

absl::StatusOr<std::string> ReadText(ondemand::value value, const char* name) {
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) return Wrong(absl::StrCat(name, " must be a string"));
  if (text.size() > kMaxIdBytes || !frame::IsValidText(text)) {
    return Wrong(absl::StrCat(name, " must be at most ", kMaxIdBytes, " bytes without NUL"));
  }
  return std::string(text);
}

struct Element {
  PushedElement pushed;
  std::optional<absl::Time> time;
};

// Entries of an array; 0 of anything else.
int32_t Statements(ondemand::value queries) {
  ondemand::array array;
  size_t count = 0;
  if (queries.get_array().get(array) != simdjson::SUCCESS || array.count_elements().get(count) != simdjson::SUCCESS) {
    return 0;
  }
  return static_cast<int32_t>(count);
}
int32_t StatementsOfDatabases(ondemand::value databases) {
  int32_t count = 0;
  ondemand::array array;
  if (databases.get_array().get(array) != simdjson::SUCCESS) return 0;
  for (auto item : array) {
    ondemand::value database, queries;
    if (item.get(database) != simdjson::SUCCESS) return count;
    if (database["queries"].get(queries) == simdjson::SUCCESS) count += Statements(queries);
  }
  return count;
}

// Of an object that jsonb takes. `raw` has simdjson's padding behind it; the element keeps `json`, the same bytes.
Element ReadElement(ondemand::parser* parser, std::string_view raw, std::string_view json) {
  Element element;
  element.pushed.json = json;
  ondemand::document document;
  ondemand::object object;
  const simdjson::padded_string_view padded(raw.data(), raw.size(), raw.size() + simdjson::SIMDJSON_PADDING);
  if (parser->iterate(padded).get(document) != simdjson::SUCCESS ||
      document.get_object().get(object) != simdjson::SUCCESS) {
    return element;
  }
  std::optional<int32_t> statements;
  for (auto field : object) {
    std::string_view key;
    ondemand::value inner;
    if (field.unescaped_key().get(key) != simdjson::SUCCESS || field.value().get(inner) != simdjson::SUCCESS) break;
    std::string_view text;
    if (key == "timestamp") {
      element.time = ReadTime(inner);
    } else if (key == "queries") {
      statements = statements.value_or(0) + Statements(inner);
    } else if (key == "databases") {
      statements = statements.value_or(0) + StatementsOfDatabases(inner);
    } else if (key == "type" || (key == "name" && element.pushed.type.empty())) {
      if (inner.get_string().get(text) == simdjson::SUCCESS && text.size() <= kMaxTypeBytes &&
          frame::IsValidText(text)) {
        element.pushed.type = std::string(text);
      }
    }
  }
  if (element.pushed.type == kQueryStats) element.pushed.rows = statements.value_or(0);
  return element;
}

// The object at the beginning of `text`, by its brackets alone: its end is where the parser's own is, whatever is wrong
// within. Empty when there is none.
std::string_view ObjectAt(std::string_view text) {
  if (!text.starts_with('{')) return {};
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      return text.substr(0, i + 1);
    }
  }
  return {};
}

}  // namespace

int64_t Push::rows() const {
  return std::accumulate(elements.begin(), elements.end(), int64_t{0},
                         [](int64_t sum, const PushedElement& element) { return sum + element.rows; });
}

absl::StatusOr<Push> ParsePush(std::string_view json, absl::Time now, const PushLimits& limits) {
  if (json.size() > limits.max_bytes) {
    return status::WithReason(
        absl::ResourceExhaustedError(absl::StrCat("the body has more than ", limits.max_bytes, " bytes")),
        "BODY_TOO_LARGE");
  }
  // Depth is bounded before parsing, whatever a parser or the database would do with more.
  if (!text::JsonDepthWithin(json, limits.max_depth)) {
    return Wrong(absl::StrCat("the body is nested deeper than ", limits.max_depth));
  }
  // The parser may take several times the size of the body: large ones take turns.
  static auto* const large = new absl::Mutex;
  std::optional<absl::MutexLock> turn;
  if (json.size() > kLargeBytes) turn.emplace(large);
  const simdjson::padded_string padded(json);
  ondemand::parser parser, element_parser;
  ondemand::document document;
  ondemand::object object;
  if (parser.iterate(padded).get(document) != simdjson::SUCCESS ||
      document.get_object().get(object) != simdjson::SUCCESS) {
    return Wrong("the body must be a JSON object");
  }
  Push push;
  std::vector<Element> elements;
  for (auto field : object) {
    std::string_view key;
    ondemand::value value;
    if (field.unescaped_key().get(key) != simdjson::SUCCESS || field.value().get(value) != simdjson::SUCCESS) {
      return Wrong("the body is not valid JSON");
    }
    if (key == "collector_id") {
      PGA_ASSIGN_OR_RETURN(push.collector_id, ReadText(value, "collector_id"));
    } else if (key == "hostname") {
      PGA_ASSIGN_OR_RETURN(push.hostname, ReadText(value, "hostname"));
    } else if (key == "version") {
      // Nobody's push is refused for it.
      if (auto version = ReadText(value, "version"); version.ok()) push.version = *std::move(version);
    } else if (key == "timestamp") {
      push.timestamp = ReadTime(value);
      if (!push.timestamp) return Wrong("timestamp must be RFC 3339 (2026-03-01T12:00:00Z) or seconds since 1970");
    } else if (key == "metrics") {
      ondemand::json_type type;
      if (value.type().get(type) != simdjson::SUCCESS) return Wrong("the body is not valid JSON");
      if (type == ondemand::json_type::null) continue;
      ondemand::array array;
      if (value.get_array().get(array) != simdjson::SUCCESS) return Wrong("metrics must be an array");
      for (auto item : array) {
        ondemand::value one;
        if (item.get(one) != simdjson::SUCCESS) return Wrong("metrics is not valid JSON");
        if (elements.size() + static_cast<size_t>(push.refused) >= limits.max_elements) {
          return Wrong(absl::StrCat("metrics has more than ", limits.max_elements, " elements"));
        }
        const auto at = static_cast<size_t>(one.raw_json_token().data() - padded.data());
        const std::string_view raw = ObjectAt(std::string_view(padded.data(), padded.size()).substr(at));
        if (!text::IsJsonb(raw, limits.max_depth)) {
          if (push.refused++ == 0) {
            push.first_refusal =
                absl::StrCat("metrics[", elements.size(), "] is no JSON object whose texts and numbers can be stored");
          }
          continue;
        }
        elements.push_back(ReadElement(&element_parser, raw, json.substr(at, raw.size())));
      }
    }
  }
  if (document.current_location().error() == simdjson::SUCCESS)
    return Wrong("the body has something behind the JSON object");
  if (push.collector_id.empty()) return Wrong("collector_id is missing");
  const auto accepted = [&](const std::optional<absl::Time>& time) {
    return time && *time >= now - kMaxPast && *time <= now + kMaxAhead;
  };
  for (Element& element : elements) {
    const absl::Time time = accepted(element.time) ? *element.time : accepted(push.timestamp) ? *push.timestamp : now;
    element.pushed.time_us = absl::ToUnixMicros(time);
    push.elements.push_back(std::move(element.pushed));
  }
  return push;
}

}  // namespace pga::ingest
