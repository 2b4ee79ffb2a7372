// Checks a frame against its metric and reads its columns without making rows: the step from the wire to COPY bytes in
// ingest. Rules: the comments of frame.proto.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "pganalytics/catalog/v1/catalog.pb.h"
#include "pganalytics/ingest/v1/frame.pb.h"

namespace pga::frame {

// OK if the frame is whole: known kind and flags, 16-byte source, sane times and scope, the columns of its schema
// version with one value per row, null bitmaps and row flags of the right size, dictionary indexes in range, texts
// valid UTF-8 without NUL, `gone` rows with labels only, `unknown` rows without counters. INVALID_ARGUMENT names what
// is wrong; UNAVAILABLE means the frame has a newer schema version than `metric` (repeat after the schema is applied).
// Thread-safe.
absl::Status ValidateFrame(const pganalytics::ingest::v1::Frame& frame, const pganalytics::catalog::v1::Metric& metric);

// Values of one column. Cheap to copy; points into the frame.
class ColumnView {
 public:
  ColumnView(const pganalytics::catalog::v1::Column& column, const pganalytics::ingest::v1::ColumnValues& values)
      : column_(&column),
        values_(&values),
        nulls_(values.null_bitmap().empty() ? nullptr : values.null_bitmap().data()) {}

  const pganalytics::catalog::v1::Column& column() const { return *column_; }
  bool has_nulls() const { return nulls_ != nullptr; }
  bool IsNull(int row) const {
    return nulls_ != nullptr && ((static_cast<unsigned char>(nulls_[row >> 3]) >> (row & 7)) & 1u) != 0;
  }
  // Of int8, timestamptz, interval and pg_lsn columns.
  int64_t Int(int row) const { return values_->ints().values(row); }
  const int64_t* ints() const { return values_->ints().values().data(); }
  // Of float8 columns.
  double Double(int row) const { return values_->doubles().values(row); }
  const double* doubles() const { return values_->doubles().values().data(); }
  // Of bool columns.
  bool Bool(int row) const { return values_->bools().values(row); }
  // Of text columns: the row's index in the dictionary, and the texts.
  int TextIndex(int row) const { return values_->texts().indexes(row); }
  int dictionary_size() const { return values_->texts().dictionary_size(); }
  std::string_view DictionaryText(int index) const { return values_->texts().dictionary(index); }
  // Only for rows that are not NULL: a NULL row's index need not exist.
  std::string_view Text(int row) const { return DictionaryText(TextIndex(row)); }

 private:
  const pganalytics::catalog::v1::Column* column_;
  const pganalytics::ingest::v1::ColumnValues* values_;
  const char* nulls_;
};

// View of a frame that ValidateFrame accepted for the same metric; frame and metric must outlive it.
class FrameReader {
 public:
  FrameReader(const pganalytics::ingest::v1::Frame& frame, const pganalytics::catalog::v1::Metric& metric);

  const pganalytics::ingest::v1::Frame& frame() const { return *frame_; }
  int row_count() const { return frame_->row_count(); }
  int column_count() const { return static_cast<int>(columns_.size()); }
  // Columns of the frame's schema version in catalog order.
  const ColumnView& column(int index) const { return columns_[static_cast<size_t>(index)]; }
  const std::vector<ColumnView>& columns() const { return columns_; }
  // FrameFlag bits of the row, the frame's own included.
  int RowFlags(int row) const {
    return frame_->flags() |
           (frame_->row_flags().empty() ? 0
                                        : static_cast<unsigned char>(frame_->row_flags()[static_cast<size_t>(row)]));
  }
  // Index of the named column, or -1.
  int FindColumn(std::string_view name) const;

 private:
  const pganalytics::ingest::v1::Frame* frame_;
  std::vector<ColumnView> columns_;
};

}  // namespace pga::frame
