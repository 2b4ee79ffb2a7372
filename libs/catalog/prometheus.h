// Names of the catalog's figures in Prometheus: which series a metric gives, under which labels, in which unit. The
// names that other tools know (postgres_exporter's) stand in a reviewed file, prometheus.yaml, which is compiled in;
// all others follow from the catalog (PrometheusName). Scrapes, remote read and the documentation take them from here.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/catalog/catalog.h"

namespace pga::catalog {

// A column under one name, or what the rows themselves say.
struct PrometheusSeries {
  // The series says that a row is there, by the value 1.
  static constexpr int kPresence = -1;

  // Index into Metric::columns, or kPresence.
  int column = 0;
  std::string name;
  // A stored value is divided by it.
  double divisor = 1;
  bool counter = false;
};

struct PrometheusLabel {
  // Index into Metric::columns: a label, or an info column.
  int column = 0;
  std::string name;
  // The value in small letters.
  bool lower_case = false;
};

// How rows that have the same labels become one series.
enum class PrometheusJoin { kNone, kSum, kLargest };

// Columns of a metric whose rows have names of their own: settings.
struct PrometheusByRow {
  std::string prefix;
  int name = 0;
  int value = 0;
  int unit = 0;
  int type = 0;
};

struct PrometheusMetric {
  const pganalytics::catalog::v1::Metric* metric = nullptr;
  // Part of a scrape that names no metric.
  bool scraped = true;
  // The metric's labels first.
  std::vector<PrometheusLabel> labels;
  // Several columns, or a single one that is kPresence; none of a metric whose names are by row.
  std::vector<PrometheusSeries> series;
  // Rows that differ in other labels are one series.
  PrometheusJoin join = PrometheusJoin::kNone;
  std::optional<PrometheusByRow> by_row;
};

// Labels of every series, beside those of its metric: name and group of the source, and its name once more under the
// label by which postgres_exporter's rules and dashboards group.
inline constexpr std::string_view kSourceLabel = "source";
inline constexpr std::string_view kGroupLabel = "source_group";
inline constexpr std::string_view kServerLabel = "server";

// Immutable, thread-safe.
class PrometheusNames {
 public:
  // The names by the compiled-in file. INVALID_ARGUMENT for a metric, column or label that the catalog does not have,
  // and for a name that is there twice; custom metrics come after those of the file.
  static absl::StatusOr<std::shared_ptr<const PrometheusNames>> Create(std::shared_ptr<const Catalog> catalog);
  // The same by the text of another file.
  static absl::StatusOr<std::shared_ptr<const PrometheusNames>> Parse(std::shared_ptr<const Catalog> catalog,
                                                                      std::string_view yaml);

  // Every metric with series, in the order of a scrape; what is joined of a metric is an entry of its own. Pointers
  // live as long as this.
  const std::vector<PrometheusMetric>& metrics() const { return metrics_; }
  // Its entry with all its labels, or the first one that it has; nullptr for a metric without series.
  const PrometheusMetric* Find(std::string_view metric) const;
  // The metric whose fresh readings say that a server is up.
  const PrometheusMetric& up() const { return metrics_[up_]; }

 private:
  PrometheusNames() = default;

  std::shared_ptr<const Catalog> catalog_;
  std::vector<PrometheusMetric> metrics_;
  size_t up_ = 0;
};

}  // namespace pga::catalog
