// A metric as it was read at one instant: typed columns in catalog order, and the shape they follow. Stop 2 of a
// frame's walk: probes and SQL fill a Reading, the delta engine turns it into frames.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::collector {

namespace catalogpb = ::pganalytics::catalog::v1;

// A metric's columns sorted by what the delta engine needs to know. Immutable; the metric must outlive it.
class MetricShape {
 public:
  explicit MetricShape(const catalogpb::Metric& metric);

  const catalogpb::Metric& metric() const { return *metric_; }
  const std::string& name() const { return metric_->name(); }
  int columns() const { return metric_->columns_size(); }
  catalogpb::ColumnType type(int column) const { return metric_->columns(column).type(); }
  // Indexes of columns by kind, in catalog order.
  const std::vector<int>& labels() const { return labels_; }
  const std::vector<int>& counters() const { return counters_; }
  // Gauges and infos.
  const std::vector<int>& others() const { return others_; }
  // Columns that identify the object whatever its name (OIDs); empty where the labels are the identity.
  const std::vector<int>& identity() const { return identity_; }
  // Index of the column whose change tells of a reset, or -1.
  int reset_column() const { return reset_column_; }
  // Whether that may be the reset of a part: the row's counters may go on.
  bool partial_resets() const { return metric_->partial_resets(); }
  // Whether a lower reading of the counter is no reset: the baseline keeps the highest one.
  bool KeepsHighest(int column) const {
    return metric_->scope() == catalogpb::SCOPE_HOST || metric_->columns(column).position();
  }
  bool has_counters() const { return !counters_.empty(); }
  bool skip_unchanged() const { return metric_->skip_unchanged(); }
  // Whether rows must be remembered from reading to reading.
  bool keeps_rows() const { return has_counters() || skip_unchanged(); }
  // Index of a column by name, or -1.
  int Find(std::string_view column) const;

 private:
  const catalogpb::Metric* metric_;
  std::vector<int> labels_;
  std::vector<int> counters_;
  std::vector<int> others_;
  std::vector<int> identity_;
  int reset_column_ = -1;
};

// Rows are added one by one, every cell NULL until set. Clear() keeps small buffers and gives large ones back, and
// remembers how many rows there were, so that the next reading allocates each column once. Not thread-safe.
class Reading {
 public:
  explicit Reading(const MetricShape& shape);

  void Clear();
  // Starts a row; the setters below act on the newest one. Columns < 0 are ignored, so that a probe may offer a column
  // that this version of the catalog lacks.
  void AddRow();
  void SetInt(int column, int64_t value);
  void SetBool(int column, bool value) { SetInt(column, value ? 1 : 0); }
  void SetDouble(int column, double value);
  // Invalid UTF-8 and NUL are replaced (U+FFFD) and the row is marked; `replaced` marks it for what was replaced
  // before.
  void SetText(int column, std::string_view value, bool replaced = false);

  const MetricShape& shape() const { return *shape_; }
  size_t rows() const { return rows_; }
  bool IsNull(size_t row, int column) const { return columns_[static_cast<size_t>(column)].nulls[row] != 0; }
  int64_t Int(size_t row, int column) const { return columns_[static_cast<size_t>(column)].values[row]; }
  double Double(size_t row, int column) const;
  std::string_view Text(size_t row, int column) const;
  bool text_replaced(size_t row) const { return replaced_[row] != 0; }

 private:
  struct Column {
    // Integers as they are, doubles bit-cast, texts as offset << 32 | length into texts_.
    std::vector<int64_t> values;
    std::vector<uint8_t> nulls;
  };

  const MetricShape* shape_;
  size_t rows_ = 0;
  size_t expected_rows_ = 0;
  std::vector<Column> columns_;
  std::vector<uint8_t> replaced_;
  std::string texts_;
};

}  // namespace pga::collector
