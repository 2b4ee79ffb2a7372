#include "libs/storage/read/reading_order.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace pga::storage {

void ReadingOrder::Add(Fetched* fetched, int64_t from_us) {
  from_us_ = from_us;
  size_ += fetched->rows.rows();
  sets_.push_back({std::move(fetched->rows), fetched->keyframes, fetched->level});
  fetched->rows = columns::RowSet();
}

void ReadingOrder::Clear() {
  sets_.clear();
  places_.clear();
  size_ = 0;
}

std::vector<ReadingOrder::Reading> ReadingOrder::Readings() {
  struct Frame {
    uint32_t set, frame;
  };
  std::vector<Frame> frames;
  // Rows by frame, of each set.
  std::vector<std::vector<std::vector<uint32_t>>> rows_of(sets_.size());
  for (uint32_t set = 0; set < sets_.size(); ++set) {
    const columns::RowSet& rows = sets_[set].rows;
    rows_of[set].resize(rows.frames.size());
    for (uint32_t row = 0; row < rows.rows(); ++row) rows_of[set][rows.row_frame[row]].push_back(row);
    for (uint32_t frame = 0; frame < rows.frames.size(); ++frame) {
      if (rows.frames[frame].end_us >= from_us_) frames.push_back({set, frame});
    }
  }
  const auto key = [&](const Frame& frame) {
    const columns::FrameInfo& info = sets_[frame.set].rows.frames[frame.frame];
    return std::tuple(info.scope, info.end_us, sets_[frame.set].keyframes, sets_[frame.set].level > 0);
  };
  std::stable_sort(frames.begin(), frames.end(), [&](const Frame& a, const Frame& b) { return key(a) < key(b); });

  places_.clear();
  std::vector<Reading> readings;
  for (size_t i = 0; i < frames.size();) {
    Reading reading;
    const columns::FrameInfo& info = sets_[frames[i].set].rows.frames[frames[i].frame];
    reading.scope = info.scope;
    reading.start_us = info.start_us;
    reading.end_us = info.end_us;
    reading.keyframe = sets_[frames[i].set].keyframes;
    reading.level = sets_[frames[i].set].level;
    reading.first = places_.size();
    const auto of_reading = key(frames[i]);
    for (; i < frames.size() && key(frames[i]) == of_reading; ++i) {
      const columns::RowSet& rows = sets_[frames[i].set].rows;
      reading.start_us = std::min(reading.start_us, rows.frames[frames[i].frame].start_us);
      for (const uint32_t row : rows_of[frames[i].set][frames[i].frame]) {
        places_.push_back({frames[i].set, row, (rows.FlagsOf(row) & columns::kGoneFlag) != 0});
      }
    }
    reading.last = places_.size();
    // A name may have passed on to another row of the same instant.
    std::stable_partition(places_.begin() + static_cast<std::ptrdiff_t>(reading.first), places_.end(),
                          [](const Place& place) { return !place.gone; });
    readings.push_back(reading);
  }
  return readings;
}

CellOfRow CellOf(const columns::RowSet& rows, columns::ColumnId id, size_t row) {
  if (const auto label = rows.labels.find(id); label != rows.labels.end()) {
    return {&label->second, rows.row_series[row]};
  }
  const auto value = rows.values.find(id);
  return {value == rows.values.end() ? nullptr : &value->second, row};
}

}  // namespace pga::storage
