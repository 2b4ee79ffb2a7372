#include "libs/storage/read/names.h"
#include "libs/frame/column_type.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using catalog_pb::Column;
using catalog_pb::Metric;
using internal::AppendTo;
using internal::Cat;

// Memory of one expression, for its program and its states.
constexpr int64_t kPatternBytes = 4 << 20;

RE2::Options Quiet() {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kPatternBytes);
  return options;
}

template <typename T, typename Format>
std::string Array(const std::vector<T>& values, Format format) {
  std::string out = "{";
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    format(out, values[i]);
  }
  return out + "}";
}

}  // namespace

std::string ArrayOf(const std::vector<int32_t>& values) {
  return Array(values, [](std::string& out, int32_t value) { AppendTo(&out, value); });
}

std::string ArrayOf(const std::vector<int64_t>& values) {
  return Array(values, [](std::string& out, int64_t value) { AppendTo(&out, value); });
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%E6S+00", time, absl::UTCTimeZone());
}

std::vector<const Column*> LabelsOf(const Metric& metric) {
  std::vector<const Column*> labels;
  for (const Column& column : metric.columns()) {
    if (column.kind() == catalog_pb::COLUMN_KIND_LABEL) labels.push_back(&column);
  }
  return labels;
}

std::vector<const Column*> DimensionsOf(const Metric& metric) {
  std::vector<const Column*> dimensions = LabelsOf(metric);
  for (const Column& column : metric.columns()) {
    if (column.kind() == catalog_pb::COLUMN_KIND_INFO && column.type() == catalog_pb::COLUMN_TYPE_TEXT &&
        !column.restricted()) {
      dimensions.push_back(&column);
    }
  }
  return dimensions;
}

absl::StatusOr<const Column*> FindValueColumn(const Metric& metric, std::string_view name) {
  std::vector<std::string> names;
  for (const Column& column : metric.columns()) {
    const bool value =
        column.kind() == catalog_pb::COLUMN_KIND_COUNTER ||
        (column.kind() == catalog_pb::COLUMN_KIND_GAUGE && column.type() != catalog_pb::COLUMN_TYPE_TEXT);
    if (!value) continue;
    if (column.name() == name) return &column;
    names.push_back(column.name());
  }
  return absl::InvalidArgumentError(Cat(name.empty() ? "column is missing" : "column is not known", "; metric ",
                                        metric.name(), " has: ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<LabelFilter> ParseLabelFilter(const Metric& metric, std::string_view text) {
  const size_t at = text.find_first_of("=!~");
  if (at == std::string_view::npos || at == 0 || (text[at] == '!' && (at + 1 >= text.size() || text[at + 1] != '='))) {
    return absl::InvalidArgumentError(
        Cat("filter '", std::string(text.substr(0, 80)),
            "' is not understood; write label=value, label!=value or label~regular expression"));
  }
  LabelFilter filter;
  filter.op = text[at] == '='   ? LabelFilter::Op::kEquals
              : text[at] == '~' ? LabelFilter::Op::kMatches
                                : LabelFilter::Op::kNotEquals;
  filter.value = std::string(text.substr(at + (filter.op == LabelFilter::Op::kNotEquals ? 2 : 1)));
  if (filter.value.size() > kMaxFilterBytes) {
    return absl::InvalidArgumentError(
        Cat("the value of a filter is longer than ", kMaxFilterBytes, " bytes; shorten it, or ask twice"));
  }
  const std::string_view name = text.substr(0, at);
  std::vector<std::string> names;
  for (const Column* label : DimensionsOf(metric)) {
    if (label->name() == name) filter.label = label;
    names.push_back(label->name());
  }
  if (filter.label == nullptr) {
    return absl::InvalidArgumentError(
        Cat("'", std::string(name.substr(0, 64)), "' is no label of metric ", metric.name(),
            names.empty() ? "; it has none" : Cat("; it has: ", absl::StrJoin(names, ", "))));
  }
  const catalog_pb::ColumnType type = filter.label->type();
  if (filter.op != LabelFilter::Op::kMatches) {
    if (type == catalog_pb::COLUMN_TYPE_INT8 || type == catalog_pb::COLUMN_TYPE_PG_LSN ||
        type == catalog_pb::COLUMN_TYPE_INTERVAL_US) {
      int64_t number = 0;
      const char* end = filter.value.data() + filter.value.size();
      const auto [rest, error] = std::from_chars(filter.value.data(), end, number);
      if (error != std::errc() || rest != end) {
        return absl::InvalidArgumentError(Cat("label ", filter.label->name(), " is a whole number"));
      }
    } else if (type == catalog_pb::COLUMN_TYPE_BOOL && filter.value != "true" && filter.value != "false") {
      return absl::InvalidArgumentError(Cat("label ", filter.label->name(), " is true or false"));
    }
  } else if (const RE2 pattern(filter.value, Quiet()); !pattern.ok()) {
    return absl::InvalidArgumentError(
        Cat("the regular expression for ", filter.label->name(), " is not understood: ", pattern.error()));
  }
  return filter;
}

columns::RowFilter RowFilterOf(const Metric& metric, const LabelFilter& filter) {
  columns::RowFilter row;
  row.column = IdOf(metric, *filter.label);
  const catalog_pb::ColumnType type = filter.label->type();
  if (filter.op == LabelFilter::Op::kMatches) {
    const auto pattern = std::make_shared<const RE2>(filter.value, Quiet());
    row.text = [pattern](std::optional<std::string_view> value) {
      return value && RE2::PartialMatch(re2::StringPiece(value->data(), value->size()), *pattern);
    };
    row.number = [pattern, type](std::optional<int64_t> value) {
      return value && RE2::PartialMatch(TextOf(*value, type), *pattern);
    };
    return row;
  }
  if (filter.op == LabelFilter::Op::kAmong) {
    row.text = [](std::optional<std::string_view>) { return false; };
    row.number = [numbers = filter.numbers](std::optional<int64_t> value) { return value && numbers.contains(*value); };
    return row;
  }
  const bool wanted = filter.op == LabelFilter::Op::kEquals;
  row.text = [text = filter.value, wanted](std::optional<std::string_view> value) {
    return (value && *value == text) == wanted;
  };
  row.number = [text = filter.value, wanted, type](std::optional<int64_t> value) {
    return (value && TextOf(*value, type) == text) == wanted;
  };
  int64_t number = 0;
  const char* const end = filter.value.data() + filter.value.size();
  if (std::from_chars(filter.value.data(), end, number).ptr == end && !filter.value.empty()) {
    row.number = [number, wanted](std::optional<int64_t> value) { return (value && *value == number) == wanted; };
  }
  return row;
}

ReadRetention RetentionOf(const Metric& metric) {
  ReadRetention days;
  const catalog_pb::Retention& own = metric.retention();
  if (own.raw_days() > 0) days.raw = own.raw_days();
  if (own.daily_days() > 0) days.days = own.daily_days();
  return days;
}

columns::ColumnId IdOf(const Metric& metric, const Column& column) {
  for (int i = 0; i < metric.columns_size(); ++i) {
    if (metric.columns(i).name() == column.name()) return static_cast<columns::ColumnId>(i + 1);
  }
  return 0;
}

std::vector<columns::MetricColumn> ColumnsOf(const Metric& metric) {
  std::vector<columns::MetricColumn> all;
  for (const Column& column : metric.columns()) {
    all.push_back(
        {static_cast<columns::ColumnId>(all.size() + 1), frame::TypeOf(column.type()), frame::KindOf(column.kind())});
  }
  return all;
}

columns::ColumnId LocateBy(const Metric& metric) {
  for (const Column& column : metric.columns()) {
    if (!metric.locate_by().empty() && column.name() == metric.locate_by()) return IdOf(metric, column);
  }
  return 0;
}

std::string TextOf(const columns::Value& value, catalog_pb::ColumnType type) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* real = std::get_if<double>(&value)) {
    char buffer[32];
    return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, *real).ptr);
  }
  const auto* number = std::get_if<int64_t>(&value);
  if (number == nullptr) return "";
  if (type == catalog_pb::COLUMN_TYPE_BOOL) return *number != 0 ? "true" : "false";
  if (type == catalog_pb::COLUMN_TYPE_PG_LSN) {
    const auto position = static_cast<uint64_t>(*number);
    return absl::AsciiStrToUpper(absl::StrCat(absl::Hex(position >> 32), "/", absl::Hex(position & 0xFFFFFFFF)));
  }
  if (type == catalog_pb::COLUMN_TYPE_TIMESTAMPTZ) {
    const char* const format = *number % 1'000'000 == 0 ? "%Y-%m-%d %H:%M:%S+00" : "%Y-%m-%d %H:%M:%E*S+00";
    return absl::FormatTime(format, absl::FromUnixMicros(*number), absl::UTCTimeZone());
  }
  return std::to_string(*number);
}

}  // namespace pga::storage
