// A simulated fleet: the readings every catalog metric would give on a source at any time, made from a seed, the source
// and the time alone. Nothing is remembered from one call to the next, so that any hour of any day can be made on its
// own and gives the same rows each time, as row sets (history) or as frames (collectors).
//
// What it imitates: statements of zipf popularity whose times, rows and blocks follow their calls; load that follows
// the hour of the day and the day of the week; idle tables; sizes that grow; sessions, waits, and now and then
// blocking; entries that come and go; resets of statistics; collectors that were away for a while. Absolute readings of
// keyframes grow at the mean rate; they are not the sums of the increases before.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "libs/catalog/catalog.h"
#include "libs/columns/rollup.h"
#include "libs/columns/row_set.h"
#include "pganalytics/ingest/v1/frame.pb.h"

namespace pga::fleetsim {

inline constexpr int64_t kSecondUs = 1'000'000;
inline constexpr int64_t kMinuteUs = 60 * kSecondUs;
inline constexpr int64_t kHourUs = 60 * kMinuteUs;
inline constexpr int64_t kDayUs = 24 * kHourUs;

struct FleetOptions {
  uint64_t seed = 1;
  // COLLECTION_INTERVAL of all collectors.
  int64_t interval_us = kMinuteUs;
  // Entries of pg_stat_statements per source, and how many of them change in a minute, on average over a week.
  int statements = 5'000;
  double changed_per_minute = 300;
  int databases = 2;
  // Tables of a database, and the share of them that is ever used.
  int tables = 100;
  double used_tables = 0.4;
  // Share of the days on which a collector is away for 5 minutes to 2 hours.
  double away_days = 0.05;
};

// Columns of a metric as libs/columns names them.
columns::Type ColumnType(const pganalytics::catalog::v1::Column& column);
std::vector<columns::MetricColumn> MetricColumns(const pganalytics::catalog::v1::Metric& metric);
// The label by which series are sorted; 0 = none.
columns::ColumnId LocateBy(const pganalytics::catalog::v1::Metric& metric);

// One source. Holds what its statements and tables are like, about 1 MB. Not thread-safe.
class SourceModel {
 public:
  // `source` counts from 0. `catalog` must outlive the model.
  SourceModel(const catalog::Catalog& catalog, const FleetOptions& options, int source);
  ~SourceModel();
  SourceModel(const SourceModel&) = delete;
  SourceModel& operator=(const SourceModel&) = delete;

  // "db-007", and the UUID it has under collector "fleetsim-007".
  const std::string& name() const;
  const std::string& collector() const;
  const std::string& uuid() const;
  int server_version_num() const;
  bool in_recovery() const;

  // Increases and readings whose frames end in (from, to], in the form libs/columns asks of a row set: frames in order
  // of end and scope, series in order of the locate_by label. Metrics
  // without a model give frames without rows.
  columns::RowSet Deltas(const pganalytics::catalog::v1::Metric& metric, int64_t from_us, int64_t to_us) const;
  // Keyframes that end in (from, to]; none for metrics without counters.
  columns::RowSet Keyframes(const pganalytics::catalog::v1::Metric& metric, int64_t from_us, int64_t to_us) const;

  // Texts of the statements that exist at the time. Each is sent once a day.
  std::vector<pganalytics::ingest::v1::QueryText> Texts(int64_t at_us) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The frames of a row set as a collector sends them.
absl::Status ToFrames(const pganalytics::catalog::v1::Metric& metric, std::string_view source_uuid,
                      pganalytics::ingest::v1::FrameKind kind, const columns::RowSet& rows,
                      std::vector<pganalytics::ingest::v1::Frame>* frames);

}  // namespace pga::fleetsim
