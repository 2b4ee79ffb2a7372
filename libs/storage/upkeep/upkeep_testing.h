// Test support of upkeep: a metrics database with frames of known content, and a reader that adds up what is stored at
// every level in one snapshot. Tests only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/columns/row_set.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/schema/schema_testing.h"
#include "libs/storage/upkeep/metric_table.h"

namespace pga::storage {

// Metric `name`: labels name (text) and key (int8), counter calls, gauge size.
pganalytics::catalog::v1::Metric UpkeepMetric(const std::string& name);

// One frame of that metric: rows of keys first_key, first_key + 1, .., each with its calls.
struct TestFrame {
  int32_t source = 0;
  int16_t metric = 0;
  int64_t scope = 0;
  int16_t kind = 1;
  int16_t part = 0;
  absl::Time start;
  absl::Time end;
  int64_t first_key = 0;
  std::vector<int64_t> calls;
  int64_t unchanged_rows = 0;

  int64_t Sum() const;
};

// What one snapshot holds. Levels count frames of the queue and blocks of that level; kind 1 alone.
struct StoredSums {
  std::array<int64_t, kLevels> calls = {};
  // Of level 0, both kinds.
  int64_t frames = 0;
  int64_t rows = 0;
  int64_t queued_frames = 0;
  int64_t blocks = 0;
  // What the writer of the frames says of them in the same snapshot (table test_expected).
  int64_t expected_calls = 0;
  int64_t expected_frames = 0;
};

class UpkeepDatabase {
 public:
  // With metrics of UpkeepMetric; null after a reported failure.
  static std::unique_ptr<UpkeepDatabase> Create(const std::vector<std::string>& metrics);

  MetricsDatabase& db() { return *db_; }
  const std::string& url() const { return db_->url(); }
  int32_t Source(const std::string& name);
  int16_t Metric(const std::string& name);
  // In one transaction, which also counts them in test_expected.
  void Store(const std::vector<TestFrame>& frames);
  // One try of the same over a connection of the caller's; for servers that are killed meanwhile.
  static absl::Status Store(pg::CopyConnection& connection, const std::vector<TestFrame>& frames);
  StoredSums Sums();
  // One statement, of all sources or of one. In the layout citus only what is of one source is of one instant.
  static absl::StatusOr<StoredSums> Sums(pg::CopyConnection& connection, std::optional<int32_t> source = std::nullopt);
  // Blocks of a level, opened, as one row set.
  columns::RowSet Blocks(int16_t metric, int level, int kind = 1);
  int64_t Number(const std::string& sql);

 private:
  std::unique_ptr<MetricsDatabase> db_;
};

}  // namespace pga::storage
