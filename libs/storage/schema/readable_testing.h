// Frames and blocks of any metric of the catalog, made and stored without the write path: for tests and benches of what
// reads them with SQL. Tests only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "libs/clock/steady.h"
#include "libs/columns/block.h"
#include "libs/columns/rollup.h"
#include "libs/columns/row_set.h"
#include "libs/pg/copy_connection.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

// Columns of the metric as libs/columns has them, ids from 1.
std::vector<columns::MetricColumn> ColumnsOf(const pganalytics::catalog::v1::Metric& metric);

// A frame as bytes.
struct MadeFrame {
  columns::FrameInfo info;
  // FrameKind: 1 delta, 2 keyframe.
  int kind = 1;
  int part = 0;
  std::vector<std::string> chunks;
  std::string row_flags;

  columns::FrameBytes Bytes() const;
};

// `values` has one column per column of the metric, all of one size; `flags` is empty or one per row.
MadeFrame MakeFrame(const std::vector<columns::Column>& values, const std::vector<int64_t>& flags,
                    const columns::FrameInfo& info, int kind = 1);

// Stores a row of metrics.frame, or the blocks of `frames` (of one kind and UTC day), at most `max_series` series each.
absl::Status StoreFrame(pg::CopyConnection& connection, int source_id, int metric_id, const MadeFrame& frame,
                        clock::SteadyTime deadline);
absl::Status StoreBlocks(pg::CopyConnection& connection, int source_id, int metric_id,
                         const pganalytics::catalog::v1::Metric& metric, const std::vector<MadeFrame>& frames,
                         uint32_t max_series, clock::SteadyTime deadline);

// Makes metric `metric_id` known, as the catalog job does.
absl::Status StoreMetric(pg::CopyConnection& connection, int metric_id, const pganalytics::catalog::v1::Metric& metric,
                         clock::SteadyTime deadline);

}  // namespace pga::storage
