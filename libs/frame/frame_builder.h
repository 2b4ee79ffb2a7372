// Builds one frame from rows: the step from query results to columns in the collector. Also used by tests and load
// generators. Values are written cell by cell; a cell that is not set is NULL.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "libs/columns/column.h"
#include "libs/frame/limits.h"
#include "pganalytics/catalog/v1/catalog.pb.h"
#include "pganalytics/ingest/v1/frame.pb.h"

namespace pga::frame {

// Not thread-safe. Use: construct, fill every row (Set... for its cells, then EndRow), Finish.
class FrameBuilder {
 public:
  // Fills `frame`, which is cleared first and must outlive the builder, with rows of `metric` at its newest schema
  // version. `metric` is only read here. source_id, times, scope and kind are the caller's to set on `frame`, before or
  // after. `expected_rows` saves growing the columns; any number of rows may follow.
  FrameBuilder(const pganalytics::catalog::v1::Metric& metric, pganalytics::ingest::v1::Frame* frame,
               int expected_rows = 0);
  FrameBuilder(const FrameBuilder&) = delete;
  FrameBuilder& operator=(const FrameBuilder&) = delete;

  int column_count() const { return static_cast<int>(columns_.size()); }
  // Rows ended so far.
  int row_count() const { return rows_; }

  // Set a cell of the current row. `column` counts from 0 in catalog order. SetInt serves int8, timestamptz (µs since
  // the Unix epoch), interval (µs) and pg_lsn. A column out of range, of another type, or set twice in a row is
  // reported by Finish().
  void SetInt(int column, int64_t value);
  void SetDouble(int column, double value);
  void SetBool(int column, bool value);
  // Invalid UTF-8 and NUL are replaced and the row is flagged TEXT_REPLACED; beyond kMaxTextBytes the text is cut.
  void SetText(int column, std::string_view value);

  // Ends the row; `flags` are FrameFlag bits. Cells not set are NULL.
  void EndRow(int flags = 0);

  // Encodes the columns into the frame. Returns INTERNAL if a cell was set wrongly, RESOURCE_EXHAUSTED beyond
  // kMaxFrameRows; the frame must not be used then. Call once.
  absl::Status Finish();

  // Likewise, but a frame beyond the limits is cut by rows: appends it or its parts, which differ in their rows, `part`
  // and part_count, and of which the first alone has the unchanged_row_count. What else the frame shall say must be set
  // on it before. A single row beyond max_bytes is a part of its own. RESOURCE_EXHAUSTED beyond kMaxFrameParts parts.
  absl::Status FinishInParts(const PartLimits& limits, std::vector<pganalytics::ingest::v1::Frame>* frames);

 private:
  struct ColumnState {
    columns::Column column;
    // Texts of the column to their index.
    absl::flat_hash_map<std::string, int64_t> dictionary;
    bool set = false;
  };

  // What was done wrong so far.
  absl::Status Check() const;
  // Rows [first, first + count) with their flags.
  void Encode(size_t first, size_t count, pganalytics::ingest::v1::Frame* frame) const;
  // Values of a row as Limits::max_values counts them, at most.
  int64_t ValuesPerRow() const;

  // The column, if it may be set with a value of this type; otherwise notes the error and returns nullptr.
  ColumnState* Claim(int column, columns::Type type);

  pganalytics::ingest::v1::Frame* frame_;
  std::vector<ColumnState> columns_;
  int rows_ = 0;
  // Of the current row.
  int flags_ = 0;
  // Of the rows so far; shorter when the last ones have none.
  std::vector<int64_t> row_flags_;
  std::string error_;
};

}  // namespace pga::frame
