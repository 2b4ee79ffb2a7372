#include "libs/frame/frame_builder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/catalog/metric.h"
#include "libs/columns/int_codec.h"
#include "libs/frame/column_type.h"
#include "libs/frame/text.h"

namespace pga::frame {
namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

namespace {

void AppendInt(columns::Column* column, int64_t value) {
  if (!column->nulls.empty()) column->nulls.push_back(0);
  column->ints.push_back(value);
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
    ColumnState& state = columns_.emplace_back();
    state.column.type = TypeOf(column->type());
    state.column.Reserve(static_cast<size_t>(expected_rows));
  }
}

FrameBuilder::ColumnState* FrameBuilder::Claim(int column, columns::Type type) {
  if (column < 0 || column >= column_count()) {
    if (error_.empty()) error_ = absl::StrCat("column ", column, " of ", column_count(), " set");
    return nullptr;
  }
  ColumnState* state = &columns_[static_cast<size_t>(column)];
  if (state->column.type != type || state->set) {
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
  if (ColumnState* state = Claim(column, columns::Type::kInt)) AppendInt(&state->column, value);
}

void FrameBuilder::SetDouble(int column, double value) {
  ColumnState* state = Claim(column, columns::Type::kDouble);
  if (state == nullptr) return;
  if (!state->column.nulls.empty()) state->column.nulls.push_back(0);
  state->column.doubles.push_back(value);
}

void FrameBuilder::SetBool(int column, bool value) {
  if (ColumnState* state = Claim(column, columns::Type::kBool)) AppendInt(&state->column, value ? 1 : 0);
}

void FrameBuilder::SetText(int column, std::string_view value) {
  ColumnState* state = Claim(column, columns::Type::kText);
  if (state == nullptr) return;
  std::string cleaned;
  if (value.size() > kMaxTextBytes || !IsValidText(value)) {
    bool replaced = false;
    cleaned = SanitizeText(value, kMaxTextBytes, &replaced);
    if (replaced) flags_ |= ingest_v1::FRAME_FLAG_TEXT_REPLACED;
    value = cleaned;
  }
  std::vector<std::string>& texts = state->column.texts;
  const auto [entry, is_new] =
      state->dictionary.try_emplace(absl::string_view(value.data(), value.size()), static_cast<int64_t>(texts.size()));
  if (is_new) texts.emplace_back(value);
  AppendInt(&state->column, entry->second);
}

void FrameBuilder::EndRow(int flags) {
  for (ColumnState& state : columns_) {
    if (!state.set) state.column.AppendNull();
    state.set = false;
  }
  flags |= flags_;
  flags_ = 0;
  if (flags != 0) {
    row_flags_.resize(static_cast<size_t>(rows_), 0);
    row_flags_.push_back(flags);
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
  for (const ColumnState& state : columns_) columns::EncodeColumn(state.column, frame_->add_columns());
  if (!row_flags_.empty()) {
    row_flags_.resize(static_cast<size_t>(rows_), 0);
    columns::EncodeInts(row_flags_.data(), row_flags_.size(), frame_->mutable_row_flags());
  }
  frame_->set_row_count(rows_);
  return absl::OkStatus();
}

}  // namespace pga::frame
