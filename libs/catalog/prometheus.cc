#include "libs/catalog/prometheus.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
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

// Whether the file may give it a name: instants, numbers and truths that describe a row, too.
bool MayHaveName(const v1::Column& column) {
  return HasSeries(column) || (column.kind() == v1::COLUMN_KIND_INFO && column.type() != v1::COLUMN_TYPE_TEXT &&
                               column.type() != v1::COLUMN_TYPE_PG_LSN);
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
      static const std::set<std::string> kKnown = {"metric", "scrape", "labels",  "rename",  "lower",
                                                   "by",     "join",   "columns", "present", "rows"};
      if (!kKnown.contains(key)) return Refuse(pair.first, absl::StrCat("unknown key ", key));
    }
    if (const YAML::Node scrape = node_["scrape"]) made_.scraped = scrape.as<bool>();
    made_.metric = &metric_;
    if (const YAML::Node rows = node_["rows"]) {
      PGA_RETURN_IF_ERROR(AddByRow(rows));
      return std::move(made_);
    }
    PGA_RETURN_IF_ERROR(AddLabels());
    if (const YAML::Node present = node_["present"]) {
      made_.series.push_back({.column = PrometheusSeries::kPresence, .name = present.as<std::string>()});
    } else {
      PGA_RETURN_IF_ERROR(AddSeries());
    }
    PGA_RETURN_IF_ERROR(SetJoin());
    return std::move(made_);
  }

  // An entry beside the one with all labels.
  bool joined() const { return node_["by"].IsDefined(); }

 private:
  absl::StatusOr<int> Column(const YAML::Node& node, v1::ColumnKind kind, const char* what) const {
    const auto name = node.as<std::string>();
    const std::optional<int> found = ColumnOf(metric_, name);
    if (found && metric_.columns(*found).kind() == kind) {
      if (!metric_.columns(*found).restricted()) return *found;
      return Refuse(node, absl::StrCat("column ", metric_.name(), ".", name, " is restricted"));
    }
    return Refuse(node, absl::StrCat("metric ", metric_.name(), " has no ", what, " ", name));
  }
  absl::StatusOr<int> Label(const YAML::Node& node) const { return Column(node, v1::COLUMN_KIND_LABEL, "label"); }
  absl::StatusOr<int> Info(const YAML::Node& node) const { return Column(node, v1::COLUMN_KIND_INFO, "info column"); }

  absl::Status AddByRow(const YAML::Node& rows) {
    PrometheusByRow by_row;
    by_row.prefix = rows["prefix"].as<std::string>();
    PGA_ASSIGN_OR_RETURN(by_row.name, Label(rows["name"]));
    PGA_ASSIGN_OR_RETURN(by_row.value, Info(rows["value"]));
    PGA_ASSIGN_OR_RETURN(by_row.unit, Info(rows["unit"]));
    PGA_ASSIGN_OR_RETURN(by_row.type, Info(rows["type"]));
    made_.by_row = std::move(by_row);
    return absl::OkStatus();
  }

  absl::Status AddLabels() {
    std::map<int, std::string> renamed;
    for (const auto& pair : node_["rename"]) {
      PGA_ASSIGN_OR_RETURN(const int column, Label(pair.first));
      renamed[column] = pair.second.as<std::string>();
    }
    std::set<int> lower, by;
    for (const YAML::Node& one : node_["lower"]) {
      PGA_ASSIGN_OR_RETURN(const int column, Label(one));
      lower.insert(column);
    }
    for (const YAML::Node& one : node_["by"]) {
      PGA_ASSIGN_OR_RETURN(const int column, Label(one));
      by.insert(column);
    }
    for (int i = 0; i < metric_.columns_size(); ++i) {
      const v1::Column& column = metric_.columns(i);
      if (column.kind() != v1::COLUMN_KIND_LABEL || (joined() && !by.contains(i))) continue;
      const auto name = renamed.find(i);
      made_.labels.push_back({i, name == renamed.end() ? column.name() : name->second, lower.contains(i)});
    }
    for (const auto& pair : node_["labels"]) {
      PGA_ASSIGN_OR_RETURN(const int column, Info(pair.second));
      made_.labels.push_back({column, pair.first.as<std::string>()});
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

  // Readings are joined: a sum of totals would fall where one of them ends.
  absl::Status SetJoin() {
    if (!joined()) {
      if (node_["join"].IsDefined() || node_["present"].IsDefined()) {
        return Refuse(node_, "join and present go with by");
      }
      return absl::OkStatus();
    }
    // A row that is left out because it did not change, or that is gone, is known by all its labels.
    const auto all = std::count_if(metric_.columns().begin(), metric_.columns().end(),
                                   [](const v1::Column& column) { return column.kind() == v1::COLUMN_KIND_LABEL; });
    const auto by = std::count_if(made_.labels.begin(), made_.labels.end(), [this](const PrometheusLabel& label) {
      return metric_.columns(label.column).kind() == v1::COLUMN_KIND_LABEL;
    });
    if (metric_.skip_unchanged() && by < all) {
      return Refuse(
          node_, absl::StrCat("rows of ", metric_.name(), " are left out while they do not change: name all labels"));
    }
    for (const PrometheusSeries& series : made_.series) {
      if (series.counter) return Refuse(node_, absl::StrCat("a counter cannot be joined: ", series.name));
    }
    const YAML::Node join = node_["join"];
    const std::string how = join.IsDefined() ? join.as<std::string>() : "sum";
    if (how != "sum" && how != "largest") return Refuse(join, "join is sum or largest");
    made_.join = how == "sum" ? PrometheusJoin::kSum : PrometheusJoin::kLargest;
    return absl::OkStatus();
  }

  absl::Status AddNamed(int index, const YAML::Node& named) {
    const v1::Column& column = metric_.columns(index);
    PrometheusSeries series;
    series.column = index;
    series.counter = column.kind() == v1::COLUMN_KIND_COUNTER;
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
      if (!found || !MayHaveName(metric_.columns(*found))) {
        return Refuse(pair.first, absl::StrCat("metric ", metric_.name(), " has no counter, gauge or number ", name));
      }
    }
    for (int i = 0; i < metric_.columns_size(); ++i) {
      const v1::Column& column = metric_.columns(i);
      const YAML::Node named = columns.IsDefined() ? columns[column.name()] : YAML::Node(YAML::NodeType::Undefined);
      if (!named.IsDefined() || named.IsNull()) {
        if (!HasSeries(column) || joined()) continue;
        made_.series.push_back(
            {i, PrometheusName(metric_, column), BaseDivisor(column), column.kind() == v1::COLUMN_KIND_COUNTER});
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
  // Those with an entry that has all their labels.
  std::set<std::string> metrics;
  std::string up;
  const auto add = [&](const v1::Metric& metric, const YAML::Node& node) -> absl::Status {
    Entry entry(metric, node);
    if (!entry.joined() && !metrics.insert(metric.name()).second) {
      return Refuse(node, absl::StrCat("metric ", metric.name(), " is there twice"));
    }
    PGA_ASSIGN_OR_RETURN(PrometheusMetric of, entry.Make());
    if (!of.series.empty() || of.by_row) made->metrics_.push_back(std::move(of));
    return absl::OkStatus();
  };
  try {
    const YAML::Node file = YAML::Load(std::string(yaml));
    up = file["up"].as<std::string>();
    for (const YAML::Node& node : file["metrics"]) {
      const auto name = node["metric"].as<std::string>();
      const v1::Metric* const metric = made->catalog_->Find(name);
      if (metric == nullptr) return Refuse(node, absl::StrCat("the catalog has no metric ", name));
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
    if (made->metrics_[i].metric->name() == up && made->metrics_[i].join == PrometheusJoin::kNone) {
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
  const PrometheusMetric* found = nullptr;
  for (const PrometheusMetric& entry : metrics_) {
    if (entry.metric->name() != metric) continue;
    if (entry.join == PrometheusJoin::kNone) return &entry;
    if (found == nullptr) found = &entry;
  }
  return found;
}

}  // namespace pga::catalog
