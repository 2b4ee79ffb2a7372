// Checks a frame against its metric and opens its columns. Rules: the comments of frame.proto.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "libs/columns/column.h"
#include "pganalytics/catalog/v1/catalog.pb.h"
#include "pganalytics/ingest/v1/frame.pb.h"

namespace pga::frame {

// Values of one column of an open frame. Cheap to copy; points into the reader.
class ColumnView {
 public:
  ColumnView(const pganalytics::catalog::v1::Column& column, const columns::Column& values)
      : column_(&column), values_(&values) {}

  const pganalytics::catalog::v1::Column& column() const { return *column_; }
  const columns::Column& values() const { return *values_; }
  bool has_nulls() const { return !values_->nulls.empty(); }
  bool IsNull(int row) const { return values_->IsNull(static_cast<size_t>(row)); }
  // Of int8, timestamptz, interval and pg_lsn columns.
  int64_t Int(int row) const { return values_->ints[static_cast<size_t>(row)]; }
  // Of float8 columns.
  double Double(int row) const { return values_->doubles[static_cast<size_t>(row)]; }
  // Of bool columns.
  bool Bool(int row) const { return Int(row) != 0; }
  // Of text columns: the row's index in the dictionary, and the texts.
  int TextIndex(int row) const { return static_cast<int>(Int(row)); }
  int dictionary_size() const { return static_cast<int>(values_->texts.size()); }
  std::string_view DictionaryText(int index) const { return values_->texts[static_cast<size_t>(index)]; }
  // Only for rows that are not NULL: a NULL row's index need not exist.
  std::string_view Text(int row) const { return DictionaryText(TextIndex(row)); }

 private:
  const pganalytics::catalog::v1::Column* column_;
  const columns::Column* values_;
};

// One open frame at a time; the memory of its columns serves the next one. Not thread-safe.
class FrameReader {
 public:
  FrameReader() = default;
  FrameReader(FrameReader&&) = default;
  FrameReader& operator=(FrameReader&&) = default;

  // Checks the whole frame and decodes every column, once. `frame` and `metric` must stay as long as this one is open.
  // OK if the frame is whole: known kind and flags, 16-byte source, sane times, scope and part, the columns of its
  // schema version with one value per row, row flags of one per row, texts valid UTF-8 without NUL, `gone` rows with
  // labels only, `unknown` rows without counters. INVALID_ARGUMENT names what is wrong; UNAVAILABLE means the frame has
  // a newer schema version than `metric` (repeat after the schema is applied). After an error nothing is open.
  // Allocates nothing for frames beyond kMaxFrameRows or with more than Limits().max_values values; others take 8 bytes
  // a value and their texts.
  absl::Status Open(const pganalytics::ingest::v1::Frame& frame, const pganalytics::catalog::v1::Metric& metric);

  const pganalytics::ingest::v1::Frame& frame() const { return *frame_; }
  int row_count() const { return frame_ == nullptr ? 0 : frame_->row_count(); }
  int column_count() const { return static_cast<int>(views_.size()); }
  // Columns of the frame's schema version in catalog order.
  const ColumnView& column(int index) const { return views_[static_cast<size_t>(index)]; }
  const std::vector<ColumnView>& columns() const { return views_; }
  // FrameFlag bits of the row, the frame's own included.
  int RowFlags(int row) const {
    return frame_->flags() | (row_flags_.empty() ? 0 : static_cast<int>(row_flags_[static_cast<size_t>(row)]));
  }
  // FrameFlag bits of each row without the frame's own; empty if no row has any.
  const std::vector<int64_t>& row_flags() const { return row_flags_; }
  // Index of the named column, or -1.
  int FindColumn(std::string_view name) const;

 private:
  void Close();

  const pganalytics::ingest::v1::Frame* frame_ = nullptr;
  std::vector<columns::Column> columns_;
  std::vector<ColumnView> views_;
  std::vector<int64_t> row_flags_;
};

// FrameReader::Open for callers that want no values. Thread-safe.
absl::Status ValidateFrame(const pganalytics::ingest::v1::Frame& frame, const pganalytics::catalog::v1::Metric& metric);

}  // namespace pga::frame
