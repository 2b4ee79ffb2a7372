#include "services/ingest/push_reader.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "libs/frame/digest.h"

namespace pga::ingest {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace dom = simdjson::dom;

constexpr double kMostInt = 9.2e18;
constexpr int64_t kSecondUs = 1'000'000;
// PostgreSQL's names have 63 bytes; devices and mount points have more.
constexpr size_t kMostLabelBytes = 1024;

// Number of a part of a source's rows: above what servers number their databases by, as far as anybody has seen.
int64_t ScopeOf(std::string_view name) {
  return name.empty() ? 0 : static_cast<int64_t>(0x80000000U | (frame::Crc32c(name) & 0x7fffffffU));
}

std::optional<dom::element> Field(const dom::element& from, const std::vector<std::string>& fields) {
  dom::element at = from;
  for (const std::string& field : fields) {
    dom::object object;
    dom::element next;
    if (at.get(object) != simdjson::SUCCESS || object[field].get(next) != simdjson::SUCCESS) return std::nullopt;
    at = next;
  }
  if (at.is_null()) return std::nullopt;
  return at;
}

std::optional<double> Number(const dom::element& value) {
  double number = 0;
  std::string_view text;
  if (value.get(number) == simdjson::SUCCESS) return std::isfinite(number) ? std::optional(number) : std::nullopt;
  if (value.get(text) == simdjson::SUCCESS && absl::SimpleAtod(absl::string_view(text.data(), text.size()), &number) &&
      std::isfinite(number)) {
    return number;
  }
  return std::nullopt;
}

PushCell Whole(const dom::element& value, double times) {
  int64_t whole = 0;
  std::string_view text;
  if (times == 1) {
    if (value.get(whole) == simdjson::SUCCESS) return whole;
    if (value.get(text) == simdjson::SUCCESS && absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &whole)) {
      return whole;
    }
  }
  const std::optional<double> number = Number(value);
  if (!number) return {};
  const double scaled = std::round(*number * times);
  if (std::abs(scaled) > kMostInt || (times == 1 && scaled != *number)) return {};
  return static_cast<int64_t>(scaled);
}

// Some senders read a hash as unsigned.
PushCell Hash(const dom::element& value) {
  uint64_t large = 0;
  if (value.get(large) == simdjson::SUCCESS) return static_cast<int64_t>(large);
  return Whole(value, 1);
}

// RFC 3339, PostgreSQL's text of a timestamptz in ISO style, or seconds since 1970.
PushCell Instant(const dom::element& value) {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) {
    const std::optional<double> seconds = Number(value);
    if (!seconds || std::abs(*seconds) > 1e11) return {};
    return static_cast<int64_t>(std::round(*seconds * 1e6));
  }
  for (const char* format : {"%Y-%m-%dT%H:%M:%E*S%Ez", "%Y-%m-%d %H:%M:%E*S%Ez", "%Y-%m-%d %H:%M:%E*S"}) {
    absl::Time time;
    std::string error;
    std::string whole(text);
    // PostgreSQL writes whole hours of an offset as +00.
    if (whole.size() > 3 && (whole[whole.size() - 3] == '+' || whole[whole.size() - 3] == '-') &&
        whole.find(':') != std::string::npos) {
      whole += ":00";
    }
    if (absl::ParseTime(format, whole, &time, &error)) return absl::ToUnixMicros(time);
  }
  return {};
}

// "0/16B3748" as the number of the byte.
PushCell Position(const dom::element& value) {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) return Whole(value, 1);
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash > 8 || text.size() - slash - 1 > 8) return {};
  uint64_t high = 0, low = 0;
  const auto hex = [](std::string_view digits, uint64_t* number) {
    return absl::SimpleHexAtoi(absl::string_view(digits.data(), digits.size()), number);
  };
  if (!hex(text.substr(0, slash), &high) || !hex(text.substr(slash + 1), &low)) return {};
  return static_cast<int64_t>((high << 32) | low);
}

PushCell Convert(const dom::element& value, const catalog_v1::Column& column, double times) {
  const bool label = column.kind() == catalog_v1::COLUMN_KIND_LABEL;
  switch (column.type()) {
    case catalog_v1::COLUMN_TYPE_BOOL: {
      bool truth = false;
      if (value.get(truth) == simdjson::SUCCESS) return truth;
      return {};
    }
    case catalog_v1::COLUMN_TYPE_FLOAT8: {
      const std::optional<double> number = Number(value);
      return number ? PushCell(*number * times) : PushCell();
    }
    case catalog_v1::COLUMN_TYPE_TEXT: {
      std::string_view text;
      std::string words(value.get(text) == simdjson::SUCCESS ? text : "");
      if (!value.is_string()) words = simdjson::minify(value);
      if (label && words.size() > kMostLabelBytes) return {};
      return words;
    }
    case catalog_v1::COLUMN_TYPE_TIMESTAMPTZ:
      return Instant(value);
    case catalog_v1::COLUMN_TYPE_PG_LSN:
      return Position(value);
    default: {
      if (label && times == 1) return Hash(value);
      PushCell whole = Whole(value, times);
      const auto* counter = std::get_if<int64_t>(&whole);
      if (counter != nullptr && *counter < 0 && column.kind() == catalog_v1::COLUMN_KIND_COUNTER) return {};
      return whole;
    }
  }
}

// Labels of a row as bytes that differ from those of every other row.
std::string KeyOf(const catalog_v1::Metric& metric, const PushRow& row) {
  std::string key;
  for (int i = 0; i < metric.columns_size(); ++i) {
    if (metric.columns(i).kind() != catalog_v1::COLUMN_KIND_LABEL) continue;
    const PushCell& cell = row.cells[static_cast<size_t>(i)];
    if (const auto* text = std::get_if<std::string>(&cell)) {
      absl::StrAppend(&key, "t", text->size(), ":", *text);
    } else if (const auto* whole = std::get_if<int64_t>(&cell)) {
      absl::StrAppend(&key, "i", *whole, ";");
    } else if (const auto* truth = std::get_if<bool>(&cell)) {
      key += *truth ? 'y' : 'f';
    } else {
      key += '-';
    }
  }
  return key;
}

// Adds a row of the same labels: counters and gauges add up, what else differs is not known.
void Merge(const catalog_v1::Metric& metric, const PushRow& from, PushRow* to) {
  to->merged += from.merged;
  for (int i = 0; i < metric.columns_size(); ++i) {
    const catalog_v1::ColumnKind kind = metric.columns(i).kind();
    const PushCell& added = from.cells[static_cast<size_t>(i)];
    PushCell& sum = to->cells[static_cast<size_t>(i)];
    if (kind == catalog_v1::COLUMN_KIND_COUNTER || kind == catalog_v1::COLUMN_KIND_GAUGE) {
      if (const auto* whole = std::get_if<int64_t>(&added); whole != nullptr && std::holds_alternative<int64_t>(sum)) {
        int64_t both = 0;
        const bool fits = !__builtin_add_overflow(std::get<int64_t>(sum), *whole, &both);
        sum = fits ? PushCell(both) : PushCell();
        continue;
      }
      if (const auto* real = std::get_if<double>(&added); real != nullptr && std::holds_alternative<double>(sum)) {
        std::get<double>(sum) += *real;
        continue;
      }
    }
    if (sum != added) sum = {};
  }
}

// One element, or one database of it.
struct Part {
  dom::element inner;
  dom::element outer;
  // Of an object whose fields are databases.
  std::string database;
};

std::vector<Part> PartsOf(const dom::element& element) {
  std::vector<Part> parts;
  const std::optional<dom::element> databases = Field(element, {"databases"});
  dom::array list;
  dom::object by_name;
  if (databases && databases->get(list) == simdjson::SUCCESS) {
    for (const dom::element& one : list) {
      if (one.is_object()) parts.push_back({one, element, ""});
    }
  } else if (databases && databases->get(by_name) == simdjson::SUCCESS) {
    for (const auto& [name, one] : by_name) {
      if (one.is_object()) parts.push_back({one, element, std::string(name)});
    }
  } else {
    parts.push_back({element, element, ""});
  }
  return parts;
}

std::optional<dom::element> Of(const Part& part, const std::vector<std::string>& fields) {
  if (auto found = Field(part.inner, fields)) return found;
  return Field(part.outer, fields);
}

class Reader {
 public:
  Reader(const PushedElement& element, const PushReadingRule& rule, const Part& part, PushReading* reading)
      : element_(element), rule_(rule), part_(part), reading_(reading), metric_(reading->metric->metric) {}

  void Read() {
    reading_->mapped.assign(static_cast<size_t>(metric_.columns_size()), 0);
    if (!rule_.values.empty()) {
      ReadValues();
    } else if (rule_.rows.empty()) {
      AddRow(part_.inner, 0);
    } else if (const auto rows = Field(part_.inner, rule_.rows)) {
      dom::array list;
      if (rows->get(list) != simdjson::SUCCESS) return;
      // An empty list says that there is nothing.
      listed_ = true;
      int64_t place = 0;
      for (const dom::element& row : list) AddRow(row, place++);
    }
    reading_->sent = static_cast<int>(sent_);
  }
  // There is something to be stored.
  bool any() const { return listed_ || !reading_->rows.empty(); }

 private:
  int ColumnOf(std::string_view name) const {
    for (int i = 0; i < metric_.columns_size(); ++i) {
      if (metric_.columns(i).name() == name) return i;
    }
    return -1;
  }

  PushCell CellOf(const PushColumnRule& rule, int column, const dom::element& row, int64_t place) {
    const auto converted = [&](const std::optional<dom::element>& value) {
      if (!value) return PushCell();
      PushCell cell = Convert(*value, metric_.columns(column), rule.times);
      if (std::holds_alternative<std::monostate>(cell)) ++reading_->unreadable;
      return cell;
    };
    switch (rule.path.from) {
      case PushPath::From::kTime:
        return element_.time_us;
      case PushPath::From::kPlace:
        return place;
      case PushPath::From::kElement:
        if (!part_.database.empty() && rule.path.fields.front() == "database") {
          if (part_.database.size() <= kMostLabelBytes) return part_.database;
          ++reading_->unreadable;
          return {};
        }
        return converted(Of(part_, rule.path.fields));
      default:
        return converted(Field(row, rule.path.fields));
    }
  }

  void AddRow(const dom::element& from, int64_t place) {
    if (!from.is_object()) return;
    PushRow row;
    row.cells.resize(static_cast<size_t>(metric_.columns_size()));
    bool says = false;
    for (const PushColumnRule& rule : rule_.columns) {
      const int column = ColumnOf(rule.column);
      if (column < 0) continue;
      const int unreadable = reading_->unreadable;
      PushCell cell = CellOf(rule, column, from, place);
      // Of what it speaks is not known.
      if (reading_->unreadable > unreadable && metric_.columns(column).kind() == catalog_v1::COLUMN_KIND_LABEL) return;
      if (std::holds_alternative<std::monostate>(cell)) continue;
      reading_->mapped[static_cast<size_t>(column)] = 1;
      says = says || rule.path.from == PushPath::From::kRow;
      row.cells[static_cast<size_t>(column)] = std::move(cell);
    }
    if (!says) return;
    if (!rule_.text.empty()) AddText(from);
    Add(std::move(row));
  }

  void AddText(const dom::element& from) {
    const auto id = Field(from, {rule_.text_id});
    const auto text = Field(from, {rule_.text});
    std::string_view words;
    if (!id || !text || text->get(words) != simdjson::SUCCESS || words.empty()) return;
    const PushCell number = Hash(*id);
    if (const auto* whole = std::get_if<int64_t>(&number)) reading_->texts.emplace_back(*whole, words);
  }

  void ReadValues() {
    const int name = ColumnOf("name"), labels = ColumnOf("labels"), value = ColumnOf("value");
    if (name < 0 || labels < 0 || value < 0) return;
    for (const auto& [what, path] : rule_.values) {
      const auto found = Field(part_.inner, path.fields);
      const std::optional<double> number = found ? Number(*found) : std::nullopt;
      if (found && !number) ++reading_->unreadable;
      if (!number) continue;
      PushRow row;
      row.cells.resize(static_cast<size_t>(metric_.columns_size()));
      row.cells[static_cast<size_t>(name)] = what;
      row.cells[static_cast<size_t>(labels)] = std::string();
      row.cells[static_cast<size_t>(value)] = *number;
      Add(std::move(row));
    }
  }

  void Add(PushRow row) {
    ++sent_;
    const auto [place, made] = places_.try_emplace(KeyOf(metric_, row), reading_->rows.size());
    if (made) {
      reading_->rows.push_back(std::move(row));
    } else {
      Merge(metric_, row, &reading_->rows[place->second]);
    }
  }

  const PushedElement& element_;
  const PushReadingRule& rule_;
  const Part& part_;
  PushReading* const reading_;
  const catalog_v1::Metric& metric_;
  std::map<std::string, size_t> places_;
  int64_t sent_ = 0;
  bool listed_ = false;
};

const PushElementRule* RuleOf(const PushMap& map, const PushedElement& element, const dom::element& json) {
  if (Field(json, {"type"})) return map.OfType(element.type);
  for (const PushElementRule* rule : map.WithoutType()) {
    const bool fits = std::all_of(rule->without_type.begin(), rule->without_type.end(),
                                  [&](const std::string& field) { return Field(json, {field}).has_value(); });
    if (fits) return rule;
  }
  return nullptr;
}

}  // namespace

std::vector<PushReading> ReadPushed(const PushMap& map, const PushedElement& element,
                                    const std::function<std::shared_ptr<const CatalogEntry>(std::string_view)>& find) {
  std::vector<PushReading> readings;
  dom::parser parser;
  dom::element json;
  if (parser.parse(element.json.data(), element.json.size()).get(json) != simdjson::SUCCESS) return readings;
  const PushElementRule* const rule = RuleOf(map, element, json);
  if (rule == nullptr) return readings;
  for (const Part& part : PartsOf(json)) {
    std::string database = part.database;
    if (const auto named = Of(part, {"database"}); database.empty() && named) {
      std::string_view text;
      if (named->get(text) == simdjson::SUCCESS) database = std::string(text);
    }
    for (const PushReadingRule& of : rule->readings) {
      PushReading reading;
      reading.metric = find(of.metric);
      if (reading.metric == nullptr) continue;
      const bool per_database = reading.metric->metric.scope() == catalog_v1::SCOPE_DATABASE;
      if (per_database && database.empty()) continue;
      reading.host = of.host;
      reading.time_us = element.time_us;
      reading.limit = of.limit;
      reading.tail = of.tail;
      // Numbers without a column of their own come in several kinds of elements, each with some of them.
      reading.scope = ScopeOf(of.metric == kPushedValues ? rule->type : of.host ? std::string() : database);
      Reader reader(element, of, part, &reading);
      reader.Read();
      if (reader.any()) readings.push_back(std::move(reading));
    }
  }
  return readings;
}

void JoinValues(std::vector<PushReading>* readings) {
  struct Open {
    size_t place = 0;
    std::set<std::string> keys;
  };
  std::map<std::pair<bool, int64_t>, Open> open;
  std::vector<PushReading> joined;
  for (PushReading& reading : *readings) {
    const catalog_v1::Metric& metric = reading.metric->metric;
    if (metric.name() != kPushedValues) {
      joined.push_back(std::move(reading));
      continue;
    }
    std::set<std::string> keys;
    for (const PushRow& row : reading.rows) keys.insert(KeyOf(metric, row));
    const auto [found, made] = open.try_emplace({reading.host, reading.scope});
    const bool fits = !made && std::abs(joined[found->second.place].time_us - reading.time_us) <= kSecondUs &&
                      std::none_of(keys.begin(), keys.end(), [&taken = found->second.keys](const std::string& key) {
                        return taken.contains(key);
                      });
    if (!fits) {
      found->second = {joined.size(), std::move(keys)};
      joined.push_back(std::move(reading));
      continue;
    }
    found->second.keys.merge(keys);
    PushReading& into = joined[found->second.place];
    into.sent += reading.sent;
    into.unreadable += reading.unreadable;
    into.elements.insert(into.elements.end(), reading.elements.begin(), reading.elements.end());
    std::move(reading.rows.begin(), reading.rows.end(), std::back_inserter(into.rows));
  }
  *readings = std::move(joined);
}

}  // namespace pga::ingest
