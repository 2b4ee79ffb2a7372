// Writes the history of simulated sources into a metrics database: blocks of every level as ingest and compactor would
// have left them after their folds, made by the same code (libs/columns, libs/storage/upkeep), without frames going
// through the queue. A test compares both ways.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/upkeep/block_rows.h"
#include "libs/storage/upkeep/metric_table.h"
#include "libs/storage/write/records.h"
#include "pganalytics/ingest/v1/frame.pb.h"
#include "tools/fleetsim/model.h"

namespace pga::fleetsim {

struct LoadOutcome {
  int64_t frames = 0;
  int64_t rows = 0;
  int64_t blocks = 0;
  int64_t bytes = 0;
  int64_t texts = 0;
  // Readings of a metric's increases and gauges, keyframes apart: rows, values that are not NULL, and those that are
  // not 0 either.
  struct Values {
    int64_t rows = 0;
    int64_t stored = 0;
    int64_t moving = 0;
  };
  std::map<std::string, Values> values;
  // Seconds of this thread.
  double simulate_s = 0;
  double encode_s = 0;
  double write_s = 0;
};

// Appends frames of one source's metric to `records` as ingest stores them in metrics.frame. What they were received at
// is when they were collected.
void AppendFrames(const std::vector<pganalytics::ingest::v1::Frame>& frames, int32_t source_id, int16_t metric_id,
                  int32_t collector, storage::RecordSets* records);

// Writes the frames of `records` by one COPY, within the transaction that is open, if one is. Returns their number.
absl::StatusOr<int64_t> CopyFrames(pg::CopyConnection& connection, const storage::RecordSets& records,
                                   clock::SteadyTime deadline);

// Adds the values of `rows` to `values`.
void CountValues(const columns::RowSet& rows, LoadOutcome::Values* values);

// One connection. Not thread-safe; several may load different sources at once.
class Loader {
 public:
  // `url` is a migrated metrics database to which the catalog was applied. `catalog` must outlive the loader.
  static absl::StatusOr<std::unique_ptr<Loader>> Connect(const std::string& url, const catalog::Catalog& catalog,
                                                         clock::SteadyTime deadline);

  // The source with all metrics from `from_us` to `to_us`, both on midnight UTC. Days that are kept no longer are left
  // out. ALREADY_EXISTS when the source has blocks. Adds to `outcome`.
  absl::Status LoadSource(const SourceModel& source, int64_t from_us, int64_t to_us, clock::SteadyTime deadline,
                          LoadOutcome* outcome);

  // The source's number, made if there is none, with its collector.
  static absl::StatusOr<int32_t> Register(pg::CopyConnection& connection, const SourceModel& source, int32_t* collector,
                                          clock::SteadyTime deadline);

 private:
  Loader(const catalog::Catalog& catalog, std::unique_ptr<pg::CopyConnection> connection)
      : catalog_(catalog), connection_(std::move(connection)) {}

  absl::Status LoadMetric(const SourceModel& source, int32_t source_id, int32_t collector,
                          const pganalytics::catalog::v1::Metric& metric, const storage::MetricShape& shape,
                          const storage::MetricShapes& shapes, int64_t from_us, int64_t to_us,
                          clock::SteadyTime deadline, LoadOutcome* outcome);
  absl::Status Write(storage::BlockCopy* copy, clock::SteadyTime deadline, LoadOutcome* outcome);
  absl::Status WriteTexts(const SourceModel& source, int32_t source_id, int64_t from_us, int64_t to_us,
                          clock::SteadyTime deadline, LoadOutcome* outcome);

  const catalog::Catalog& catalog_;
  const std::unique_ptr<pg::CopyConnection> connection_;
};

}  // namespace pga::fleetsim
