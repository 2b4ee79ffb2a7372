#include "services/query/exposition.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "libs/status/status.h"
#include "services/query/prometheus_rows.h"

namespace pga::query {
namespace {

constexpr size_t kPieceBytes = size_t{128} << 10;
constexpr int64_t kMinuteUs = 60'000'000;
constexpr std::string_view kTotal = "_total";

// Quality of a media range in an Accept header; nullopt = not named.
std::optional<double> QualityOf(absl::string_view accept, absl::string_view type) {
  std::optional<double> best;
  for (const absl::string_view range : absl::StrSplit(accept, ',')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(range, ';');
    if (!absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(parts[0]), type)) continue;
    double quality = 1;
    for (size_t i = 1; i < parts.size(); ++i) {
      const std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(parts[i], absl::MaxSplits('=', 1));
      double value = 0;
      if (absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(pair.first), "q") &&
          absl::SimpleAtod(absl::StripAsciiWhitespace(pair.second), &value)) {
        quality = value;
      }
    }
    best = std::max(best.value_or(0), quality);
  }
  return best;
}

void AppendEscaped(std::string_view text, bool quotes, std::string* out) {
  for (const char c : text) {
    if (c == '\\') {
      out->append("\\\\");
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '"' && quotes) {
      out->append("\\\"");
    } else {
      out->push_back(c);
    }
  }
}

void AppendNumber(double value, std::string* out) {
  if (std::isinf(value)) {
    out->append(value > 0 ? "+Inf" : "-Inf");
    return;
  }
  char buffer[32];
  out->append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

void AppendLabel(std::string_view name, std::string_view value, std::string* out) {
  out->push_back(out->empty() ? '{' : ',');
  out->append(name);
  out->append("=\"");
  AppendEscaped(value, true, out);
  out->push_back('"');
}

// Labels of every series of a source, without the closing brace.
std::string LabelsOf(const storage::SourceRef& source) {
  std::string labels;
  AppendLabel(catalog::kSourceLabel, source.name, &labels);
  AppendLabel(catalog::kGroupLabel, source.group, &labels);
  AppendLabel(catalog::kServerLabel, source.name, &labels);
  return labels;
}

class Writer {
 public:
  Writer(ExpositionFormat format, const std::function<absl::Status(std::string)>& sink)
      : open_metrics_(format == ExpositionFormat::kOpenMetrics), sink_(sink) {}

  void Family(std::string_view name, std::string_view help, bool counter) {
    name_ = name;
    // OpenMetrics knows a counter by its name: one without _total has no type there.
    const bool total = name.ends_with(kTotal);
    const std::string_view family =
        open_metrics_ && counter && total ? name.substr(0, name.size() - kTotal.size()) : name;
    out_.append("# HELP ").append(family).push_back(' ');
    AppendEscaped(help, open_metrics_, &out_);
    out_.append("\n# TYPE ").append(family);
    out_.append(!counter ? " gauge\n" : open_metrics_ && !total ? " unknown\n" : " counter\n");
  }
  absl::Status Sample(std::string_view labels, double value) {
    out_.append(name_).append(labels).append("} ");
    AppendNumber(value, &out_);
    out_.push_back('\n');
    if (out_.size() < kPieceBytes) return absl::OkStatus();
    return sink_(std::exchange(out_, std::string()));
  }
  absl::Status Finish() {
    if (open_metrics_) out_.append("# EOF\n");
    return sink_(std::exchange(out_, std::string()));
  }

 private:
  const bool open_metrics_;
  const std::function<absl::Status(std::string)>& sink_;
  std::string name_;
  std::string out_;
};

// What is written of one row, or of several that are joined.
struct Chosen {
  std::string labels;
  // Per series of the entry; of a row whose name is its own the only one.
  std::vector<double> values;
  // Such a row's name.
  std::string name;
};

struct Count {
  int64_t series = 0;
  int64_t left_out = 0;
};

std::string LabelsOf(const catalog::PrometheusMetric& entry, const storage::LastRow& row, std::string labels) {
  for (size_t i = 0; i < entry.labels.size(); ++i) {
    const catalog::PrometheusLabel& label = entry.labels[i];
    if (!row.labels[i].empty()) AppendLabel(label.name, ShownLabel(label, row.labels[i]), &labels);
  }
  return labels;
}

// The rows of a metric, within what each source may still have.
std::vector<Chosen> Choose(const Exposition& exposition, size_t metric, const std::vector<std::string>& of_source,
                           std::vector<Count>* counts) {
  const catalog::PrometheusMetric& entry = *exposition.metrics[metric];
  const bool presence = !entry.series.empty() && entry.series[0].column == catalog::PrometheusSeries::kPresence;
  std::vector<Chosen> chosen;
  for (size_t i = 0; i < exposition.sources.size(); ++i) {
    Count& count = (*counts)[i];
    const auto add = [&](Chosen one) {
      const auto known =
          std::count_if(one.values.begin(), one.values.end(), [](double value) { return !std::isnan(value); });
      if (known == 0) return;
      const bool fits = count.series + known <= exposition.max_series;
      (fits ? count.series : count.left_out) += known;
      if (fits) chosen.push_back(std::move(one));
    };
    std::map<std::string, std::vector<double>> joined;
    for (const auto& scope : (*exposition.values)[metric][i]) {
      if (!IsFresh(*entry.metric, *scope, exposition.now_us)) continue;
      count.left_out += static_cast<int64_t>(scope->beyond.size() * std::max<size_t>(entry.series.size(), 1));
      // Where rows are counted, none is 0.
      if (presence && entry.labels.empty()) joined.emplace(of_source[i], std::vector<double>{0});
      for (const auto& [key, row] : scope->rows) {
        if (entry.by_row) {
          std::optional<RowSeries> own = RowSeriesOf(*entry.by_row, row.labels);
          if (own) add({of_source[i], {own->value}, std::move(own->name)});
          continue;
        }
        std::string labels = LabelsOf(entry, row, of_source[i]);
        std::vector<double> values = presence ? std::vector<double>{1} : row.values;
        if (entry.join == catalog::PrometheusJoin::kNone) {
          add({std::move(labels), std::move(values), {}});
          continue;
        }
        const auto [place, made] = joined.emplace(std::move(labels), values);
        for (size_t value = 0; !made && value < values.size(); ++value) {
          place->second[value] = Joined(entry.join, place->second[value], values[value]);
        }
      }
    }
    for (auto& [labels, values] : joined) add({labels, std::move(values), {}});
  }
  return chosen;
}

// Rows that have names of their own: a family each.
absl::Status WriteByRow(const catalog::PrometheusMetric& entry, std::vector<Chosen> rows, Writer* writer) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Chosen& one, const Chosen& other) { return one.name < other.name; });
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || rows[i].name != rows[i - 1].name) writer->Family(rows[i].name, entry.metric->description(), false);
    PGA_RETURN_IF_ERROR(writer->Sample(rows[i].labels, rows[i].values[0]));
  }
  return absl::OkStatus();
}

absl::Status WriteMetric(const catalog::PrometheusMetric& entry, const std::vector<Chosen>& rows, Writer* writer) {
  for (size_t series = 0; series < entry.series.size(); ++series) {
    const catalog::PrometheusSeries& of = entry.series[series];
    bool begun = false;
    for (const Chosen& one : rows) {
      const double value = one.values[series];
      if (std::isnan(value)) continue;
      if (!std::exchange(begun, true)) {
        const bool presence = of.column == catalog::PrometheusSeries::kPresence;
        writer->Family(of.name, presence ? entry.metric->description() : entry.metric->columns(of.column).description(),
                       of.counter);
      }
      PGA_RETURN_IF_ERROR(writer->Sample(one.labels, value / of.divisor));
    }
  }
  return absl::OkStatus();
}

}  // namespace

ExpositionFormat FormatFor(std::string_view accept) {
  const absl::string_view header(accept.data(), accept.size());
  const std::optional<double> open_metrics = QualityOf(header, "application/openmetrics-text");
  if (!open_metrics || *open_metrics <= 0) return ExpositionFormat::kText;
  return *open_metrics >= QualityOf(header, "text/plain").value_or(0) ? ExpositionFormat::kOpenMetrics
                                                                      : ExpositionFormat::kText;
}

std::string_view ContentTypeOf(ExpositionFormat format) {
  return format == ExpositionFormat::kOpenMetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                                  : "text/plain; version=0.0.4; charset=utf-8";
}

bool IsFresh(const pganalytics::catalog::v1::Metric& metric, const storage::LastScope& scope, int64_t now_us) {
  if (scope.newest_us == 0) return false;
  const int64_t known_us = scope.interval_us();
  const int64_t interval_us = known_us > 0 ? known_us : kMinuteUs * std::max<int64_t>(metric.interval_factor(), 1);
  return now_us - scope.newest_us <= 2 * interval_us + kMinuteUs;
}

absl::Status WriteExposition(const Exposition& exposition, const std::function<absl::Status(std::string)>& sink) {
  Writer writer(exposition.format, sink);
  std::vector<std::string> of_source;
  for (const storage::SourceRef& source : exposition.sources) of_source.push_back(LabelsOf(source));
  std::vector<Count> counts(exposition.sources.size());

  writer.Family("pg_up", "Whether readings of the server arrive: 1 while they are fresh.", false);
  for (size_t i = 0; i < exposition.sources.size(); ++i) {
    const storage::LastSource& scopes = (*exposition.up)[i];
    const bool up = std::any_of(scopes.begin(), scopes.end(), [&](const auto& scope) {
      return IsFresh(*exposition.names->up().metric, *scope, exposition.now_us);
    });
    PGA_RETURN_IF_ERROR(writer.Sample(of_source[i], up ? 1 : 0));
  }
  for (size_t metric = 0; metric < exposition.metrics.size(); ++metric) {
    const catalog::PrometheusMetric& entry = *exposition.metrics[metric];
    std::vector<Chosen> rows = Choose(exposition, metric, of_source, &counts);
    PGA_RETURN_IF_ERROR(entry.by_row ? WriteByRow(entry, std::move(rows), &writer) : WriteMetric(entry, rows, &writer));
  }
  writer.Family("pganalytics_export_series", "Series of the source in this scrape.", false);
  for (size_t i = 0; i < counts.size(); ++i) {
    PGA_RETURN_IF_ERROR(writer.Sample(of_source[i], static_cast<double>(counts[i].series)));
  }
  writer.Family("pganalytics_export_series_left_out",
                "Series of the source that are not in this scrape, because it has more than PROMETHEUS_MAX_SERIES.",
                false);
  for (size_t i = 0; i < counts.size(); ++i) {
    PGA_RETURN_IF_ERROR(writer.Sample(of_source[i], static_cast<double>(counts[i].left_out)));
  }
  return writer.Finish();
}

}  // namespace pga::query
