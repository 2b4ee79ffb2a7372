#include "libs/catalog/prometheus.h"

#include <yaml-cpp/yaml.h>

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/catalog/builtin_metrics.h"
#include "libs/status/status.h"

namespace pga::catalog {
namespace {

namespace v1 = pganalytics::catalog::v1;

// What a series may not use: labels of Prometheus and those of every series.
const std::set<std::string>& TakenLabels() {
  static const auto* const taken = new std::set<std::string>{
      "__name__", "job", "instance", std::string(kSourceLabel), std::string(kGroupLabel), std::string(kServerLabel)};
  return *taken;
}

absl::Status Refuse(const YAML::Node& node, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("prometheus.yaml:", node.Mark().line + 1, ": ", what));
}

std::optional<int> ColumnOf(const v1::Metric& metric, const std::string& name) {
  for (int i = 0; i < metric.columns_size(); ++i) {
    if (metric.columns(i).name() == name) return i;
  }
  return std::nullopt;
}

bool HasSeries(const v1::Column& column) {
  const bool value = column.kind() == v1::COLUMN_KIND_COUNTER || column.kind() == v1::COLUMN_KIND_GAUGE;
  return value && column.type() != v1::COLUMN_TYPE_TEXT;
}

// What a stored value is divided by to be in base units.
double BaseDivisor(const v1::Column& column) {
  if (column.unit() == "us" || column.type() == v1::COLUMN_TYPE_TIMESTAMPTZ) return 1e6;
  return column.unit() == "ms" ? 1e3 : 1;
}

// One metric, with the entry that the file has of it.
class Entry {
 public:
  Entry(const v1::Metric& metric, const YAML::Node& node) : metric_(metric), node_(node) {}

  absl::StatusOr<PrometheusMetric> Make() {
    for (const auto& pair : node_) {
      const auto key = pair.first.as<std::string>();
      static const std::set<std::string> kKnown = {"metric", "scrape", "labels", "rename", "columns"};
      if (!kKnown.contains(key)) return Refuse(pair.first, absl::StrCat("unknown key ", key));
    }
    if (const YAML::Node scrape = node_["scrape"]) made_.scraped = scrape.as<bool>();
    made_.metric = &metric_;
    PGA_RETURN_IF_ERROR(AddLabels());
    PGA_RETURN_IF_ERROR(AddSeries());
    return std::move(made_);
  }

 private:
  absl::Status AddLabels() {
    std::map<std::string, std::string> renamed;
    for (const auto& pair : node_["rename"]) {
      const auto column = pair.first.as<std::string>();
      const std::optional<int> found = ColumnOf(metric_, column);
      if (!found || metric_.columns(*found).kind() != v1::COLUMN_KIND_LABEL) {
        return Refuse(pair.first, absl::StrCat("metric ", metric_.name(), " has no label ", column));
      }
      renamed[column] = pair.second.as<std::string>();
    }
    for (int i = 0; i < metric_.columns_size(); ++i) {
      const v1::Column& column = metric_.columns(i);
      if (column.kind() != v1::COLUMN_KIND_LABEL) continue;
      const auto name = renamed.find(column.name());
      made_.labels.push_back({i, name == renamed.end() ? column.name() : name->second});
    }
    for (const auto& pair : node_["labels"]) {
      const auto column = pair.second.as<std::string>();
      const std::optional<int> found = ColumnOf(metric_, column);
      if (!found || metric_.columns(*found).kind() != v1::COLUMN_KIND_INFO) {
        return Refuse(pair.second, absl::StrCat("metric ", metric_.name(), " has no info column ", column));
      }
      if (metric_.columns(*found).restricted()) {
        return Refuse(pair.second, absl::StrCat("column ", metric_.name(), ".", column, " is restricted"));
      }
      made_.labels.push_back({*found, pair.first.as<std::string>()});
    }
    std::set<std::string> names = TakenLabels();
    for (const PrometheusLabel& label : made_.labels) {
      if (!names.insert(label.name).second) {
        return absl::InvalidArgumentError(absl::StrCat("metric ", metric_.name(), ": the label ", label.name,
                                                       " is there twice, or belongs to every series"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status AddNamed(int index, const YAML::Node& named) {
    const v1::Column& column = metric_.columns(index);
    PrometheusSeries series;
    series.column = index;
    series.counter = column.kind() == v1::COLUMN_KIND_COUNTER;
    series.of_exporter = true;
    series.divisor = BaseDivisor(column);
    if (named.IsScalar()) {
      series.name = named.as<std::string>();
    } else {
      series.name = named["name"].as<std::string>();
      if (named["unit"].as<std::string>() != "ms" || series.divisor != 1e6) {
        return Refuse(named, absl::StrCat("column ", column.name(), ": the only other unit is ms, of times in us"));
      }
      series.divisor = 1e3;
    }
    made_.series.push_back(std::move(series));
    return absl::OkStatus();
  }

  absl::Status AddSeries() {
    const YAML::Node columns = node_["columns"];
    for (const auto& pair : columns) {
      const auto name = pair.first.as<std::string>();
      const std::optional<int> found = ColumnOf(metric_, name);
      if (!found || !HasSeries(metric_.columns(*found))) {
        return Refuse(pair.first, absl::StrCat("metric ", metric_.name(), " has no counter or gauge ", name));
      }
    }
    for (int i = 0; i < metric_.columns_size(); ++i) {
      const v1::Column& column = metric_.columns(i);
      if (!HasSeries(column)) continue;
      const YAML::Node named = columns.IsDefined() ? columns[column.name()] : YAML::Node(YAML::NodeType::Undefined);
      if (!named.IsDefined() || named.IsNull()) {
        made_.series.push_back(
            {i, PrometheusName(metric_, column), BaseDivisor(column), column.kind() == v1::COLUMN_KIND_COUNTER, false});
      } else if (named.IsSequence()) {
        for (const YAML::Node& one : named) PGA_RETURN_IF_ERROR(AddNamed(i, one));
      } else {
        PGA_RETURN_IF_ERROR(AddNamed(i, named));
      }
    }
    return absl::OkStatus();
  }

  const v1::Metric& metric_;
  const YAML::Node node_;
  PrometheusMetric made_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const PrometheusNames>> PrometheusNames::Create(std::shared_ptr<const Catalog> catalog) {
  return Parse(std::move(catalog), BuiltinPrometheusNames());
}

absl::StatusOr<std::shared_ptr<const PrometheusNames>> PrometheusNames::Parse(std::shared_ptr<const Catalog> catalog,
                                                                              std::string_view yaml) {
  auto made = std::shared_ptr<PrometheusNames>(new PrometheusNames());
  made->catalog_ = std::move(catalog);
  std::set<std::string> metrics;
  std::string up;
  const auto add = [&](const v1::Metric& metric, const YAML::Node& node) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(PrometheusMetric entry, Entry(metric, node).Make());
    metrics.insert(metric.name());
    if (!entry.series.empty()) made->metrics_.push_back(std::move(entry));
    return absl::OkStatus();
  };
  try {
    const YAML::Node file = YAML::Load(std::string(yaml));
    up = file["up"].as<std::string>();
    for (const YAML::Node& node : file["metrics"]) {
      const auto name = node["metric"].as<std::string>();
      const v1::Metric* const metric = made->catalog_->Find(name);
      if (metric == nullptr) return Refuse(node, absl::StrCat("the catalog has no metric ", name));
      if (metrics.contains(name)) return Refuse(node, absl::StrCat("metric ", name, " is there twice"));
      PGA_RETURN_IF_ERROR(add(*metric, node));
    }
    for (const v1::Metric& metric : made->catalog_->metrics()) {
      if (!metrics.contains(metric.name())) PGA_RETURN_IF_ERROR(add(metric, YAML::Node(YAML::NodeType::Map)));
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("prometheus.yaml: ", error.what()));
  }
  std::set<std::string> names;
  bool found = false;
  for (size_t i = 0; i < made->metrics_.size(); ++i) {
    if (made->metrics_[i].metric->name() == up) {
      made->up_ = i;
      found = true;
    }
    for (const PrometheusSeries& series : made->metrics_[i].series) {
      if (!names.insert(series.name).second) {
        return absl::InvalidArgumentError(absl::StrCat("the Prometheus name ", series.name, " is there twice"));
      }
    }
  }
  if (!found) return absl::InvalidArgumentError(absl::StrCat("prometheus.yaml: the catalog has no metric ", up));
  return made;
}

const PrometheusMetric* PrometheusNames::Find(std::string_view metric) const {
  for (const PrometheusMetric& entry : metrics_) {
    if (entry.metric->name() == metric) return &entry;
  }
  return nullptr;
}

}  // namespace pga::catalog
