// Puts frames into a metrics database and merges them into blocks, for tests of what reads them. Tests only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/columns/kernels.h"
#include "libs/pg/pool.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

struct StoredRow {
  // By column; what is not named is NULL.
  std::map<std::string, columns::Value> values;
  int flags = 0;
};

struct StoredFrame {
  int32_t source = 1;
  int32_t collector = 1;
  int64_t scope = 0;
  absl::Time start = {};
  absl::Time end = {};
  bool keyframe = false;
  int flags = 0;
  int part = 0;
  int64_t unchanged_rows = 0;
  std::vector<StoredRow> rows = {};
};

class FrameStore {
 public:
  // The database must have the metric. Failures are failures of the test.
  FrameStore(pg::Pool* pool, const ::pganalytics::catalog::v1::Metric& metric);

  void Store(const std::vector<StoredFrame>& frames);
  // Moves the frames that were collected before `until` into blocks of every level, as a merge of closed hours does:
  // those there are now make pieces of their own. Level 3 holds days of `zone`.
  void Merge(absl::Time until, const std::string& zone = "Europe/Zurich");

 private:
  void Exec(const std::string& sql, const pg::Params& params);

  pg::Pool* const pool_;
  const ::pganalytics::catalog::v1::Metric& metric_;
  int32_t metric_id_ = 0;
};

}  // namespace pga::storage
