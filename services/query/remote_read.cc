#include "services/query/remote_read.h"

#include <re2/re2.h>
#include <snappy.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "libs/status/status.h"
#include "libs/storage/read/names.h"
#include "services/query/prometheus_rows.h"

namespace pga::query {
namespace {

constexpr char kName[] = "__name__";
constexpr char kUp[] = "pg_up";
constexpr size_t kMaxRequestBytes = size_t{1} << 20;
// Memory of one expression, for its program and its states.
constexpr int64_t kPatternBytes = 4 << 20;
constexpr int kMaxMatchers = 64;
// Series by name that one selector may choose.
constexpr size_t kMaxNames = 300;
// An instant selector looks five minutes back.
constexpr int64_t kRepeatEveryMs = 4 * 60 * 1000;

// One label of every series of a source.
std::string_view OfSource(const storage::SourceRef& source, std::string_view label) {
  if (label == catalog::kSourceLabel || label == catalog::kServerLabel) return source.name;
  if (label == catalog::kGroupLabel) return source.group;
  return {};
}

bool IsOfSource(std::string_view label) {
  return label == catalog::kSourceLabel || label == catalog::kServerLabel || label == catalog::kGroupLabel;
}

storage::BucketValue BucketValueOf(const std::string& function) {
  if (function == "min_over_time") return storage::BucketValue::kLeast;
  if (function == "max_over_time") return storage::BucketValue::kGreatest;
  if (function == "avg_over_time") return storage::BucketValue::kAverage;
  return storage::BucketValue::kLast;
}

}  // namespace

struct Matcher::Pattern {
  explicit Pattern(const std::string& text, const RE2::Options& options) : expression(text, options) {}
  const RE2 expression;
};

absl::StatusOr<Matcher> Matcher::Make(const prometheus::LabelMatcher& matcher) {
  Matcher made;
  made.type_ = matcher.type();
  made.label_ = matcher.name();
  made.value_ = matcher.value();
  if (made.value_.size() > storage::kMaxFilterBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the value of the matcher of ", made.label_.substr(0, 64),
                                                   " is longer than ", storage::kMaxFilterBytes));
  }
  if (made.type_ == prometheus::LabelMatcher::MATCHES || made.type_ == prometheus::LabelMatcher::NOT_MATCHES) {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(kPatternBytes);
    made.pattern_ = std::make_shared<const Pattern>(made.value_, options);
    if (!made.pattern_->expression.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("the regular expression of ", made.label_.substr(0, 64),
                                                     " is not understood: ", made.pattern_->expression.error()));
    }
  } else if (made.type_ != prometheus::LabelMatcher::EQUAL && made.type_ != prometheus::LabelMatcher::NOT_EQUAL) {
    return absl::InvalidArgumentError("a matcher is of an unknown kind");
  }
  return made;
}

bool Matcher::Matches(std::string_view value) const {
  switch (type_) {
    case prometheus::LabelMatcher::EQUAL:
      return value == value_;
    case prometheus::LabelMatcher::NOT_EQUAL:
      return value != value_;
    case prometheus::LabelMatcher::MATCHES:
      return RE2::FullMatch(re2::StringPiece(value.data(), value.size()), pattern_->expression);
    default:
      return !RE2::FullMatch(re2::StringPiece(value.data(), value.size()), pattern_->expression);
  }
}

const std::string* Matcher::OnlyValue() const {
  return type_ == prometheus::LabelMatcher::EQUAL && !value_.empty() ? &value_ : nullptr;
}

bool Matcher::MayMatchBeginning(const std::string& beginning) const {
  if (const std::string* const only = OnlyValue()) return absl::StartsWith(*only, beginning);
  if (type_ != prometheus::LabelMatcher::MATCHES) return type_ != prometheus::LabelMatcher::EQUAL;
  std::string least, greatest;
  constexpr int kLength = 64;
  if (!pattern_->expression.PossibleMatchRange(&least, &greatest, kLength)) return true;
  return greatest >= beginning && least.substr(0, beginning.size()) <= beginning;
}

absl::StatusOr<prometheus::ReadRequest> ParseReadRequest(std::string_view body) {
  size_t size = 0;
  if (!snappy::GetUncompressedLength(body.data(), body.size(), &size) || size > kMaxRequestBytes) {
    return absl::InvalidArgumentError("the body is not snappy-compressed, or unpacks to more than 1 MiB");
  }
  std::string bytes;
  prometheus::ReadRequest request;
  if (!snappy::Uncompress(body.data(), body.size(), &bytes) || !request.ParseFromString(bytes)) {
    return absl::InvalidArgumentError("the body is no snappy-compressed prometheus.ReadRequest");
  }
  return request;
}

absl::StatusOr<std::vector<MetricQuestion>> QuestionsOf(const prometheus::Query& query,
                                                        const catalog::PrometheusNames& names,
                                                        const std::vector<storage::SourceRef>& sources) {
  if (query.matchers_size() > kMaxMatchers) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxMatchers, " matchers; join them"));
  }
  std::vector<Matcher> of_name, of_source, of_labels;
  for (const prometheus::LabelMatcher& from : query.matchers()) {
    PGA_ASSIGN_OR_RETURN(Matcher matcher, Matcher::Make(from));
    (matcher.label() == kName      ? of_name
     : IsOfSource(matcher.label()) ? of_source
                                   : of_labels)
        .push_back(std::move(matcher));
  }
  const auto named = [&](std::string_view name) {
    return std::all_of(of_name.begin(), of_name.end(), [&](const Matcher& m) { return m.Matches(name); });
  };
  std::vector<storage::SourceRef> chosen;
  for (const storage::SourceRef& source : sources) {
    const bool wanted = std::all_of(of_source.begin(), of_source.end(),
                                    [&](const Matcher& m) { return m.Matches(OfSource(source, m.label())); });
    if (wanted) chosen.push_back(source);
  }

  std::vector<MetricQuestion> questions;
  size_t count = 0;
  const auto add = [&](const catalog::PrometheusMetric& metric, std::vector<const catalog::PrometheusSeries*> series,
                       bool up) {
    MetricQuestion question;
    question.metric = &metric;
    question.up = up;
    storage::SampleQuery& to = question.query;
    to.metric = metric.metric;
    // pg_up is of the server, whatever rows there are.
    if (!up) to.labels = TextColumnsOf(metric);
    const size_t labels = up || metric.by_row ? 0 : metric.labels.size();
    std::vector<std::pair<size_t, Matcher>> matchers;
    for (const Matcher& matcher : of_labels) {
      size_t index = 0;
      while (index < labels && metric.labels[index].name != matcher.label()) ++index;
      if (index == labels) {
        if (!matcher.Matches("")) return;
        continue;
      }
      const auto& column = metric.metric->columns(to.labels[index]);
      if (column.name() == metric.metric->locate_by() && matcher.OnlyValue() != nullptr) {
        to.located = *matcher.OnlyValue();
      }
      matchers.emplace_back(index, matcher);
    }
    to.keep = [&metric, matchers = std::move(matchers)](const std::vector<std::string>& values) {
      return std::all_of(matchers.begin(), matchers.end(), [&](const auto& pair) {
        return pair.second.Matches(ShownLabel(metric.labels[pair.first], values[pair.first]));
      });
    };
    if (!up && metric.by_row) {
      to.keep = [&metric, of_name](const std::vector<std::string>& texts) {
        const std::optional<RowSeries> row = RowSeriesOf(*metric.by_row, texts);
        return row &&
               std::all_of(of_name.begin(), of_name.end(), [&](const Matcher& m) { return m.Matches(row->name); });
      };
      to.value_of = [&metric](const std::vector<std::string>& texts) -> std::optional<double> {
        const std::optional<RowSeries> row = RowSeriesOf(*metric.by_row, texts);
        if (!row) return std::nullopt;
        return row->value;
      };
    }
    to.values = ValueColumnsOf(series);
    count += std::max<size_t>(series.size(), 1);
    question.series = std::move(series);
    to.sources = chosen;
    to.start_ms = query.start_timestamp_ms();
    to.end_ms = query.end_timestamp_ms();
    to.window_ms = query.hints().range_ms();
    to.repeat_every_ms = query.hints().range_ms() > 0 ? 0 : kRepeatEveryMs;
    to.bucket_value = BucketValueOf(query.hints().func());
    questions.push_back(std::move(question));
  };
  if (named(kUp)) add(names.up(), {}, true);
  for (const catalog::PrometheusMetric& metric : names.metrics()) {
    if (metric.by_row) {
      const bool possible = std::all_of(of_name.begin(), of_name.end(),
                                        [&](const Matcher& m) { return m.MayMatchBeginning(metric.by_row->prefix); });
      if (possible) add(metric, {}, false);
      continue;
    }
    std::vector<const catalog::PrometheusSeries*> series;
    for (const catalog::PrometheusSeries& one : metric.series) {
      if (named(one.name)) series.push_back(&one);
    }
    if (!series.empty()) add(metric, std::move(series), false);
  }
  if (count > kMaxNames) {
    return absl::InvalidArgumentError(absl::StrCat("the selector chooses ", count, " metrics by name; at most ",
                                                   kMaxNames, " are read at once: name one by __name__"));
  }
  return questions;
}

namespace {

// Labels as they are shown, and the name.
std::map<std::string, std::string> LabelsOf(const MetricQuestion& question, const storage::SourceRef& source,
                                            const std::vector<std::string>& texts) {
  std::map<std::string, std::string> labels = {{std::string(catalog::kSourceLabel), source.name},
                                               {std::string(catalog::kServerLabel), source.name},
                                               {std::string(catalog::kGroupLabel), source.group}};
  if (question.up) {
    labels[kName] = kUp;
  } else if (question.metric->by_row) {
    const std::optional<RowSeries> row = RowSeriesOf(*question.metric->by_row, texts);
    labels[kName] = row ? row->name : std::string();
  } else {
    for (size_t i = 0; i < question.metric->labels.size(); ++i) {
      const catalog::PrometheusLabel& label = question.metric->labels[i];
      if (!texts[i].empty()) labels[label.name] = ShownLabel(label, texts[i]);
    }
  }
  return labels;
}

void AddOne(const std::map<std::string, std::string>& labels, double divisor,
            const std::vector<storage::Sample>& samples, prometheus::QueryResult* result) {
  prometheus::TimeSeries* const to = result->add_timeseries();
  for (const auto& [name, text] : labels) {
    prometheus::Label* const label = to->add_labels();
    label->set_name(name);
    label->set_value(text);
  }
  to->mutable_samples()->Reserve(static_cast<int>(samples.size()));
  for (const storage::Sample& sample : samples) {
    prometheus::Sample* const added = to->add_samples();
    added->set_timestamp(sample.time_ms);
    // Dividing would not keep the bits that mark an end.
    added->set_value(std::isnan(sample.value) ? sample.value : sample.value / divisor);
  }
}

// Series of rows that have the same labels become one.
std::vector<storage::SampleSeries> Join(const MetricQuestion& question, std::vector<storage::SampleSeries> found) {
  std::map<std::pair<int32_t, std::vector<std::string>>, std::vector<const storage::SampleSeries*>> parts;
  for (storage::SampleSeries& one : found) {
    one.labels.resize(question.metric->labels.size());
    parts[{one.source_id, one.labels}].push_back(&one);
  }
  std::vector<storage::SampleSeries> joined;
  for (const auto& [key, of_key] : parts) {
    storage::SampleSeries series{key.first, key.second, {}};
    for (size_t value = 0; value < of_key[0]->samples.size(); ++value) {
      std::vector<const std::vector<storage::Sample>*> samples;
      for (const storage::SampleSeries* const part : of_key) samples.push_back(&part->samples[value]);
      series.samples.push_back(JoinedSamples(question.metric->join, samples));
    }
    joined.push_back(std::move(series));
  }
  return joined;
}

}  // namespace

void AddSeries(const MetricQuestion& question, const std::vector<storage::SourceRef>& sources,
               std::vector<storage::SampleSeries> found, prometheus::QueryResult* result) {
  std::map<int32_t, const storage::SourceRef*> by_id;
  for (const storage::SourceRef& source : sources) by_id[source.id] = &source;
  if (question.metric->join != catalog::PrometheusJoin::kNone) found = Join(question, std::move(found));
  for (storage::SampleSeries& one : found) {
    std::map<std::string, std::string> labels = LabelsOf(question, *by_id.at(one.source_id), one.labels);
    for (size_t value = 0; value < one.samples.size(); ++value) {
      if (one.samples[value].empty()) continue;
      const catalog::PrometheusSeries* const series = question.series.empty() ? nullptr : question.series[value];
      if (series != nullptr) labels[kName] = series->name;
      AddOne(labels, series == nullptr ? 1 : series->divisor, one.samples[value], result);
      std::vector<storage::Sample>().swap(one.samples[value]);
    }
  }
}

std::string PackReadResponse(const prometheus::ReadResponse& response) {
  const std::string bytes = response.SerializeAsString();
  std::string packed;
  snappy::Compress(bytes.data(), bytes.size(), &packed);
  return packed;
}

}  // namespace pga::query
