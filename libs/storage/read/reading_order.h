// The stored rows of one source and metric in the order in which they were read, whatever blocks and frames they came
// in. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libs/columns/row_set.h"
#include "libs/storage/read/fetch.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

class ReadingOrder {
 public:
  // A row of a reading.
  struct Place {
    uint32_t set = 0;
    uint32_t row = 0;
    // It says of its labels that they are gone, and nothing else.
    bool gone = false;
  };
  // All rows of one scope and instant: of a frame in all its parts, or of a bucket.
  struct Reading {
    int64_t scope = 0;
    // Microseconds; the time covered is (start, end].
    int64_t start_us = 0;
    int64_t end_us = 0;
    // Absolute readings of counters.
    bool keyframe = false;
    int8_t level = 0;
    // Indexes into places(): rows that are gone come last.
    size_t first = 0;
    size_t last = 0;
  };

  // Takes the rows of `fetched`. Frames that end before `from_us` are left out.
  void Add(Fetched* fetched, int64_t from_us);
  // By scope and instant; what covers an interval before the absolute readings at its end. What is added afterwards
  // needs another call.
  std::vector<Reading> Readings();
  void Clear();

  const std::vector<Place>& places() const { return places_; }
  const columns::RowSet& rows(const Place& place) const { return sets_[place.set].rows; }
  size_t sets() const { return sets_.size(); }
  // Rows added so far.
  size_t size() const { return size_; }

 private:
  struct Set {
    columns::RowSet rows;
    bool keyframes = false;
    int8_t level = 0;
  };
  std::vector<Set> sets_;
  std::vector<Place> places_;
  int64_t from_us_ = INT64_MIN;
  size_t size_ = 0;
};

// A column of a row set for one row: labels stand once per series. Null where the row set does not have it.
struct CellOfRow {
  const columns::Column* column = nullptr;
  size_t row = 0;
  bool known() const { return column != nullptr && !column->IsNull(row); }
};
CellOfRow CellOf(const columns::RowSet& rows, columns::ColumnId id, size_t row);

}  // namespace pga::storage
