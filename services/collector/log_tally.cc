#include "services/collector/log_tally.h"

#include <charconv>

namespace pga::collector {

void LogTally::Restore(const Baseline* baseline) {
  rows_.clear();
  if (baseline == nullptr) return;
  Reading reading(*shape_);
  for (size_t row = 0; row < baseline->rows(); ++row) AddBaselineRow(*baseline, row, &reading);
  for (size_t row = 0; row < reading.rows(); ++row) {
    Labels labels;
    for (const int column : shape_->labels()) {
      labels.push_back(shape_->type(column) == catalogpb::COLUMN_TYPE_INT8 ? std::to_string(reading.Int(row, column))
                                                                           : std::string(reading.Text(row, column)));
    }
    std::vector<int64_t>& values = rows_[labels];
    values.assign(static_cast<size_t>(shape_->columns()), 0);
    for (const int column : shape_->counters()) {
      if (!reading.IsNull(row, column)) values[static_cast<size_t>(column)] = reading.Int(row, column);
    }
  }
}

LogTally::Row LogTally::At(const Labels& labels, const Labels& rest) {
  auto found = rows_.find(labels);
  if (evicts_) {
    if (found == rows_.end() && rows_.size() >= most_rows_ && touched_.size() < most_rows_) {
      std::erase_if(rows_, [this](const auto& row) { return !touched_.contains(row.first); });
    }
    if (touched_.size() < most_rows_) touched_.insert(labels);
  }
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
    for (size_t i = 0; i < labels.size(); ++i) {
      const int column = shape_->labels()[i];
      if (shape_->type(column) == catalogpb::COLUMN_TYPE_INT8) {
        int64_t number = 0;
        std::from_chars(labels[i].data(), labels[i].data() + labels[i].size(), number);
        reading->SetInt(column, number);
      } else {
        reading->SetText(column, labels[i]);
      }
    }
    for (const int column : shape_->counters()) reading->SetInt(column, values[static_cast<size_t>(column)]);
  }
}

}  // namespace pga::collector
