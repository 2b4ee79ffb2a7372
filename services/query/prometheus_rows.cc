#include "services/query/prometheus_rows.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace pga::query {
namespace {

struct Unit {
  std::string_view suffix;
  double factor = 1;
};

// Units of pg_settings; multiples of a block have its size in front.
std::optional<Unit> UnitOf(std::string_view text) {
  static const auto* const kUnits = new std::map<std::string_view, Unit>{{"", {"", 1}},
                                                                         {"us", {"_seconds", 1e-6}},
                                                                         {"ms", {"_seconds", 1e-3}},
                                                                         {"s", {"_seconds", 1}},
                                                                         {"min", {"_seconds", 60}},
                                                                         {"h", {"_seconds", 3600}},
                                                                         {"d", {"_seconds", 86'400}},
                                                                         {"B", {"_bytes", 1}},
                                                                         {"kB", {"_bytes", 1024}},
                                                                         {"MB", {"_bytes", 1048576}},
                                                                         {"GB", {"_bytes", 1073741824}},
                                                                         {"TB", {"_bytes", 1099511627776}}};
  size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) ++digits;
  const auto found = kUnits->find(text.substr(digits));
  if (found == kUnits->end()) return std::nullopt;
  Unit unit = found->second;
  double multiple = 1;
  if (digits > 0 && !absl::SimpleAtod(absl::string_view(text.data(), digits), &multiple)) return std::nullopt;
  unit.factor *= multiple;
  return unit;
}

}  // namespace

std::vector<int> TextColumnsOf(const catalog::PrometheusMetric& metric) {
  if (metric.by_row) return {metric.by_row->name, metric.by_row->value, metric.by_row->unit, metric.by_row->type};
  std::vector<int> columns;
  for (const catalog::PrometheusLabel& label : metric.labels) columns.push_back(label.column);
  // Rows that are joined differ until then in their other labels.
  for (int i = 0; metric.join != catalog::PrometheusJoin::kNone && i < metric.metric->columns_size(); ++i) {
    const bool label = metric.metric->columns(i).kind() == pganalytics::catalog::v1::COLUMN_KIND_LABEL;
    if (label && std::find(columns.begin(), columns.end(), i) == columns.end()) columns.push_back(i);
  }
  return columns;
}

std::vector<int> ValueColumnsOf(const std::vector<const catalog::PrometheusSeries*>& series) {
  std::vector<int> columns;
  for (const catalog::PrometheusSeries* const one : series) {
    if (one->column != catalog::PrometheusSeries::kPresence) columns.push_back(one->column);
  }
  return columns;
}

storage::LastWanted WantedOf(const catalog::PrometheusMetric& metric) {
  std::vector<const catalog::PrometheusSeries*> series;
  for (const catalog::PrometheusSeries& one : metric.series) series.push_back(&one);
  return {metric.metric, TextColumnsOf(metric), ValueColumnsOf(series)};
}

std::optional<RowSeries> RowSeriesOf(const catalog::PrometheusByRow& by_row, const std::vector<std::string>& texts) {
  const std::string& value = texts[1];
  const std::string& type = texts[3];
  RowSeries row;
  row.name = absl::StrCat(by_row.prefix, texts[0]);
  for (char& c : row.name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  if (type == "bool") {
    if (value != "on" && value != "off") return std::nullopt;
    row.value = value == "on" ? 1 : 0;
    return row;
  }
  const std::optional<Unit> unit = UnitOf(texts[2]);
  if ((type != "integer" && type != "real") || !unit || !absl::SimpleAtod(value, &row.value)) return std::nullopt;
  row.name.append(unit->suffix);
  // -1 is no amount: it says that there is none.
  if (row.value != -1) row.value *= unit->factor;
  return row;
}

std::string ShownLabel(const catalog::PrometheusLabel& label, std::string text) {
  if (label.lower_case) absl::AsciiStrToLower(&text);
  return text;
}

double Joined(catalog::PrometheusJoin how, double one, double other) {
  if (std::isnan(one)) return other;
  if (std::isnan(other)) return one;
  return how == catalog::PrometheusJoin::kSum ? one + other : std::max(one, other);
}

std::vector<storage::Sample> JoinedSamples(catalog::PrometheusJoin how,
                                           const std::vector<const std::vector<storage::Sample>*>& parts) {
  std::map<int64_t, double> by_time;
  for (const std::vector<storage::Sample>* const part : parts) {
    for (const storage::Sample& sample : *part) {
      const auto [place, made] = by_time.emplace(sample.time_ms, sample.value);
      if (!made) place->second = Joined(how, place->second, sample.value);
    }
  }
  std::vector<storage::Sample> joined;
  joined.reserve(by_time.size());
  for (const auto& [time_ms, value] : by_time) joined.push_back({time_ms, value});
  return joined;
}

}  // namespace pga::query
