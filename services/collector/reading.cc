#include "services/collector/reading.h"

#include <bit>

#include "libs/frame/limits.h"
#include "libs/frame/text.h"

namespace pga::collector {

namespace {

// Above this the buffers of a reading are worth giving back between readings.
constexpr size_t kLargeRows = 256;

}  // namespace

MetricShape::MetricShape(const catalogpb::Metric& metric) : metric_(&metric) {
  for (int i = 0; i < metric.columns_size(); ++i) {
    const catalogpb::Column& column = metric.columns(i);
    switch (column.kind()) {
      case catalogpb::COLUMN_KIND_LABEL:
        labels_.push_back(i);
        break;
      case catalogpb::COLUMN_KIND_COUNTER:
        counters_.push_back(i);
        break;
      default:
        others_.push_back(i);
    }
    if (!metric.reset_column().empty() && column.name() == metric.reset_column()) reset_column_ = i;
  }
  // pg_stat_statements (17 and later) says per entry since when it counts.
  if (reset_column_ < 0 && metric.reset_column().empty()) reset_column_ = Find("stats_since");
  for (const std::string& column : metric.identity()) {
    if (const int i = Find(column); i >= 0) identity_.push_back(i);
  }
}

int MetricShape::Find(std::string_view column) const {
  for (int i = 0; i < metric_->columns_size(); ++i) {
    if (metric_->columns(i).name() == column) return i;
  }
  return -1;
}

Reading::Reading(const MetricShape& shape) : shape_(&shape), columns_(static_cast<size_t>(shape.columns())) {}

void Reading::Clear() {
  const bool large = rows_ > kLargeRows;
  if (rows_ > 0) expected_rows_ = rows_ + rows_ / 16;
  rows_ = 0;
  for (Column& column : columns_) {
    if (large) {
      column = Column();
    } else {
      column.values.clear();
      column.nulls.clear();
    }
  }
  replaced_.clear();
  texts_.clear();
  if (large) {
    replaced_.shrink_to_fit();
    texts_.shrink_to_fit();
  }
}

void Reading::AddRow() {
  if (rows_++ == 0) {
    for (Column& column : columns_) {
      column.values.reserve(expected_rows_);
      column.nulls.reserve(expected_rows_);
    }
  }
  for (Column& column : columns_) {
    column.values.push_back(0);
    column.nulls.push_back(1);
  }
  replaced_.push_back(0);
}

void Reading::SetInt(int column, int64_t value) {
  if (column < 0) return;
  Column& c = columns_[static_cast<size_t>(column)];
  c.values[rows_ - 1] = value;
  c.nulls[rows_ - 1] = 0;
}

void Reading::SetDouble(int column, double value) {
  SetInt(column, std::bit_cast<int64_t>(value));
}

void Reading::SetText(int column, std::string_view value, bool replaced) {
  if (column < 0) return;
  bool plain = value.size() <= frame::kMaxTextBytes;
  for (size_t i = 0; plain && i < value.size(); ++i) {
    plain = static_cast<signed char>(value[i]) > 0;
  }
  const size_t offset = texts_.size();
  if (plain) {
    texts_.append(value);
  } else {
    texts_.append(frame::SanitizeText(value, frame::kMaxTextBytes, &replaced));
  }
  const size_t length = texts_.size() - offset;
  SetInt(column, static_cast<int64_t>((offset << 32) | length));
  if (replaced) replaced_[rows_ - 1] = 1;
}

double Reading::Double(size_t row, int column) const {
  return std::bit_cast<double>(Int(row, column));
}

std::string_view Reading::Text(size_t row, int column) const {
  const auto packed = static_cast<uint64_t>(Int(row, column));
  return std::string_view(texts_).substr(packed >> 32, packed & 0xffffffffu);
}

}  // namespace pga::collector
