// Hand-made metrics for reader tests: tables in the shape of the storage schema, rows and frames put in one by one,
// rollups computed in C++ by the written rules, so that a test's expectation owes nothing to the SQL under test.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/pg/pool.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

// One stored row of the test metric.
struct TestRow {
  std::string label;
  int64_t number = 0;
  std::optional<int64_t> calls;
  std::optional<int64_t> blocks;
  std::optional<double> size;
  int flags = 0;
};

// One frame: what a collector sent at `time` about `scope` of `source`, covering (start, time].
struct TestFrame {
  int32_t source = 1;
  int32_t scope = 0;
  absl::Time start;
  absl::Time time;
  int flags = 0;  // ledger bits
  std::vector<TestRow> rows;
};

class ReaderDatabase {
 public:
  // A metric named `probe_m` of scope database: labels name (text) and number (int8), counters calls and blocks, gauge
  // size; unchanged rows are skipped.
  static pganalytics::catalog::v1::Metric TestMetric();

  // A fresh database with the tables of TestMetric. Fails the test on error.
  static std::unique_ptr<ReaderDatabase> Create();

  pg::Pool* pool() { return pool_.get(); }
  const std::string& url() const { return url_; }

  void AddSource(int32_t id, const std::string& name, const std::string& group = "default",
                 int64_t system_identifier = 0);
  void Insert(const std::vector<TestFrame>& frames);
  // Fills the three rollup tables for every hour of `frames` that is not in `dirty` (source, hour), and marks those
  // that are, which get wrong rollup rows instead, to be noticed if they are read.
  void RollUp(const std::vector<TestFrame>& frames, const std::set<std::pair<int32_t, absl::Time>>& dirty);
  void Exec(const std::string& sql, const pg::Params& params = {});

 private:
  std::string url_;
  std::unique_ptr<pg::Pool> pool_;
};

}  // namespace pga::storage
