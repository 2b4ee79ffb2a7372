// What the readings of each metric other than statements look like: how many series there are, how much happens to
// them, and how each column follows from it. A column that is not named here is 0 when it is a counter or gauge and
// NULL when it is an info. Metrics that have no rows on such a server are named with the reason.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pga::fleetsim {

enum class Behaviour : uint8_t {
  kNull,
  // Counter: `scale` per unit of work, spread by `spread` (log-normal); with `chance` at all.
  kCount,
  // Gauge that stays what it is for the series: about `scale`.
  kConstant,
  // Gauge that moves slowly about `scale`, by the share `spread`; 0 for the series that do not have `chance`.
  kWalk,
  // About `scale`, drawn anew within the share `spread` every `every` seconds.
  kStep,
  // Bytes: about `scale` per series, growing by the share `spread` a day in pages of 8 kB.
  kSize,
  // Grows by `scale` a second and falls back to 0 every `spread` days.
  kAge,
  // kAge of 400 a second, as a share of `scale`, with four decimals.
  kAgeShare,
  // Instant of the last event of those that come every `scale` seconds; microseconds since 1970.
  kEvent,
  // Instant of the newest of what counter `of` counts, as PostgreSQL shows it: it moves only in frames in which the
  // counter does (pgstat_relation_flush_cb sets lastscan where numscans grows).
  kNewest,
  // Total that grows by `scale` per unit of work at the mean rate of `work` = 1 a minute.
  kTotal,
  // Position that grows by `scale` bytes a second.
  kPosition,
  // One of the texts in `texts`, by series.
  kText,
  // A text of the series alone (OwnText).
  kOwnText,
  // Name of the WAL file written then, `scale` files a minute; for metrics of one series.
  kChangingText,
  // True for the share `scale` of the series.
  kFlag,
  // Random up to `scale`, drawn for each reading.
  kUniform,
  // `samples` of the row, 1 to 60, and what follows from it.
  kSamples,
  kSampleShare,
};

struct ColumnModel {
  std::string_view name;
  Behaviour behaviour = Behaviour::kNull;
  double scale = 0;
  double spread = 0;
  double chance = 1;
  std::vector<std::string_view> texts = {};
  std::string_view of = {};
  // Numbers come in multiples of it: pages, ticks of a clock, whole millions.
  double unit = 1;
  double every = 0;
};
inline ColumnModel In(double unit, ColumnModel model) {
  model.unit = unit;
  return model;
}

inline constexpr double kMb = 1024.0 * 1024.0;
inline constexpr double kGb = 1024.0 * kMb;

// Who has the metric.
enum class Holder : uint8_t { kAll, kPrimary, kStandby, kSince16 };

struct MetricModel {
  std::string_view metric;
  Holder holder = Holder::kAll;
  // Series per scope; 0 = FleetOptions::tables, -1 = three for each table, -2 = FleetOptions::databases.
  int series = 1;
  // Series besides for each table, as a share.
  double per_table = 0;
  // Units of work a minute over all series of a scope at mean load, shared among them by rank^-exponent.
  double work = 1;
  double exponent = 1;
  // Times a minute that a row changes though nothing is done with it, as ages do.
  double idle = 0;
  // Rows there are at an instant, on average, for metrics whose series come and go; 0 = all series.
  double present = 0;
  // Share of the readings that have rows at all, for metrics that are mostly empty.
  double sometimes = 1;
  std::vector<ColumnModel> columns;
};

// Null when there is no model.
const MetricModel* FindModel(std::string_view metric);

// Why the metric has no rows on any server of the fleet; empty for the others.
std::string_view WhyEmpty(std::string_view metric);

// The models by what they are about.
std::vector<MetricModel> ServerModels();
std::vector<MetricModel> ObjectModels();
std::vector<MetricModel> StateModels();
std::vector<MetricModel> HostModels();
std::vector<MetricModel> LogModels();

// A label of a series, as text. `scope` and `series` count from 0.
std::string LabelText(std::string_view metric, std::string_view column, uint64_t source_hash, int scope, int series);
int64_t LabelInt(std::string_view metric, std::string_view column, uint64_t source_hash, int scope, int series);

// The text of a kOwnText column.
std::string OwnText(std::string_view metric, std::string_view column, uint64_t source_hash, int scope, int series);

std::string DatabaseName(int scope);

}  // namespace pga::fleetsim
