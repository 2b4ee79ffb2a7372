#include "services/collector/log_tally.h"

namespace pga::collector {

void LogTally::Restore(const Baseline* baseline) {
  rows_.clear();
  if (baseline == nullptr) return;
  Reading reading(*shape_);
  for (size_t row = 0; row < baseline->rows(); ++row) AddBaselineRow(*baseline, row, &reading);
  for (size_t row = 0; row < reading.rows(); ++row) {
    Labels labels;
    for (const int column : shape_->labels()) labels.emplace_back(reading.Text(row, column));
    std::vector<int64_t>& values = rows_[labels];
    values.assign(static_cast<size_t>(shape_->columns()), 0);
    for (const int column : shape_->counters()) {
      if (!reading.IsNull(row, column)) values[static_cast<size_t>(column)] = reading.Int(row, column);
    }
  }
}

LogTally::Row LogTally::At(const Labels& labels, const Labels& rest) {
  auto found = rows_.find(labels);
  if (found == rows_.end()) {
    found = rows_.try_emplace(rows_.size() < most_rows_ ? labels : rest).first;
    found->second.resize(static_cast<size_t>(shape_->columns()));
  }
  return Row(&found->second);
}

void LogTally::Fill(Reading* reading) const {
  reading->Clear();
  for (const auto& [labels, values] : rows_) {
    reading->AddRow();
    for (size_t i = 0; i < labels.size(); ++i) reading->SetText(shape_->labels()[i], labels[i]);
    for (const int column : shape_->counters()) reading->SetInt(column, values[static_cast<size_t>(column)]);
  }
}

}  // namespace pga::collector
