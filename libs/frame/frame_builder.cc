#include "libs/frame/frame_builder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/catalog/metric.h"
#include "libs/frame/text.h"

namespace pga::frame {
namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

namespace {

// Families of the value lists: all that travels as sint64 counts as int8.
catalog_v1::ColumnType FamilyOf(catalog_v1::ColumnType type) {
  switch (type) {
    case catalog_v1::COLUMN_TYPE_TIMESTAMPTZ:
    case catalog_v1::COLUMN_TYPE_INTERVAL_US:
    case catalog_v1::COLUMN_TYPE_PG_LSN:
      return catalog_v1::COLUMN_TYPE_INT8;
    default:
      return type;
  }
}

}  // namespace

FrameBuilder::FrameBuilder(const catalog_v1::Metric& metric, ingest_v1::Frame* frame, int expected_rows)
    : frame_(frame) {
  expected_rows = std::clamp(expected_rows, 0, kMaxFrameRows);
  frame_->Clear();
  frame_->set_metric(metric.name());
  frame_->set_schema_version(metric.schema_version());
  const auto columns = catalog::ColumnsAt(metric, metric.schema_version());
  columns_.reserve(columns.size());
  for (const catalog_v1::Column* column : columns) {
    ingest_v1::ColumnValues* values = frame_->add_columns();
    const catalog_v1::ColumnType family = FamilyOf(column->type());
    switch (family) {
      case catalog_v1::COLUMN_TYPE_FLOAT8:
        values->mutable_doubles()->mutable_values()->Reserve(expected_rows);
        break;
      case catalog_v1::COLUMN_TYPE_BOOL:
        values->mutable_bools()->mutable_values()->Reserve(expected_rows);
        break;
      case catalog_v1::COLUMN_TYPE_TEXT:
        values->mutable_texts()->mutable_indexes()->Reserve(expected_rows);
        break;
      default:
        values->mutable_ints()->mutable_values()->Reserve(expected_rows);
        break;
    }
    columns_.push_back({family, values, {}, false, false});
  }
}

FrameBuilder::ColumnState* FrameBuilder::Claim(int column, catalog_v1::ColumnType family) {
  if (column < 0 || column >= column_count()) {
    if (error_.empty()) error_ = absl::StrCat("column ", column, " of ", column_count(), " set");
    return nullptr;
  }
  ColumnState* state = &columns_[static_cast<size_t>(column)];
  if (state->type != family || state->set) {
    if (error_.empty()) {
      error_ =
          absl::StrCat("column ", column, state->set ? " set twice in a row" : " set with a value of another type");
    }
    return nullptr;
  }
  state->set = true;
  return state;
}

void FrameBuilder::SetInt(int column, int64_t value) {
  ColumnState* state = Claim(column, catalog_v1::COLUMN_TYPE_INT8);
  if (state == nullptr) return;
  state->values->mutable_ints()->add_values(value);
  const auto magnitude = static_cast<uint64_t>(value < 0 ? ~value : value) << 1;
  estimated_bytes_ += 1u + (magnitude < 128 ? 0u : (63u - static_cast<unsigned>(__builtin_clzll(magnitude))) / 7u);
}

void FrameBuilder::SetDouble(int column, double value) {
  ColumnState* state = Claim(column, catalog_v1::COLUMN_TYPE_FLOAT8);
  if (state == nullptr) return;
  state->values->mutable_doubles()->add_values(value);
  estimated_bytes_ += 8;
}

void FrameBuilder::SetBool(int column, bool value) {
  ColumnState* state = Claim(column, catalog_v1::COLUMN_TYPE_BOOL);
  if (state == nullptr) return;
  state->values->mutable_bools()->add_values(value);
  estimated_bytes_ += 1;
}

void FrameBuilder::SetText(int column, std::string_view value) {
  ColumnState* state = Claim(column, catalog_v1::COLUMN_TYPE_TEXT);
  if (state == nullptr) return;
  std::string cleaned;
  if (value.size() > kMaxTextBytes || !IsValidText(value)) {
    bool replaced = false;
    cleaned = SanitizeText(value, kMaxTextBytes, &replaced);
    if (replaced) row_flags_ |= ingest_v1::FRAME_FLAG_TEXT_REPLACED;
    value = cleaned;
  }
  ingest_v1::TextValues* texts = state->values->mutable_texts();
  int index = 0;
  if (const auto found = state->dictionary.find(absl::string_view(value.data(), value.size()));
      found != state->dictionary.end()) {
    index = found->second;
  } else {
    index = texts->dictionary_size();
    texts->add_dictionary(value.data(), value.size());
    state->dictionary.emplace(texts->dictionary(index), index);
    estimated_bytes_ += value.size() + 2;
  }
  texts->add_indexes(index);
  estimated_bytes_ += index < 128 ? 1 : 2;
}

void FrameBuilder::MarkNull(ColumnState* column) {
  std::string* bitmap = column->values->mutable_null_bitmap();
  const auto row = static_cast<size_t>(rows_);
  if (bitmap->size() <= row / 8) bitmap->resize(row / 8 + 1, '\0');
  (*bitmap)[row / 8] = static_cast<char>(static_cast<unsigned char>((*bitmap)[row / 8]) | (1u << (row % 8)));
  column->has_null = true;
  switch (column->type) {
    case catalog_v1::COLUMN_TYPE_FLOAT8:
      column->values->mutable_doubles()->add_values(0);
      estimated_bytes_ += 8;
      break;
    case catalog_v1::COLUMN_TYPE_BOOL:
      column->values->mutable_bools()->add_values(false);
      break;
    case catalog_v1::COLUMN_TYPE_TEXT:
      column->values->mutable_texts()->add_indexes(0);
      break;
    default:
      column->values->mutable_ints()->add_values(0);
      break;
  }
  estimated_bytes_ += 1;
}

void FrameBuilder::EndRow(int flags) {
  for (ColumnState& column : columns_) {
    if (!column.set) MarkNull(&column);
    column.set = false;
  }
  flags |= row_flags_;
  row_flags_ = 0;
  if (flags != 0) {
    std::string* row_flags = frame_->mutable_row_flags();
    row_flags->resize(static_cast<size_t>(rows_), '\0');
    row_flags->push_back(static_cast<char>(flags));
  }
  ++rows_;
}

absl::Status FrameBuilder::Finish() {
  if (!error_.empty()) {
    return absl::InternalError(absl::StrCat("frame of metric ", frame_->metric(), ": ", error_));
  }
  if (rows_ > kMaxFrameRows) {
    return absl::ResourceExhaustedError(
        absl::StrCat("frame of metric ", frame_->metric(), ": ", rows_, " rows; a frame takes ", kMaxFrameRows));
  }
  const auto bitmap_bytes = (static_cast<size_t>(rows_) + 7) / 8;
  for (ColumnState& column : columns_) {
    if (column.has_null) column.values->mutable_null_bitmap()->resize(bitmap_bytes, '\0');
  }
  if (!frame_->row_flags().empty()) frame_->mutable_row_flags()->resize(static_cast<size_t>(rows_), '\0');
  frame_->set_row_count(rows_);
  return absl::OkStatus();
}

}  // namespace pga::frame
