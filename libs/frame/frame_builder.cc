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

// Rows [first, first + count) with the texts that they use.
columns::Column Slice(const columns::Column& column, size_t first, size_t count) {
  const auto cut = [&](const auto& values, auto* out) {
    if (values.empty()) return;
    const auto begin = values.begin() + static_cast<ptrdiff_t>(first);
    out->assign(begin, begin + static_cast<ptrdiff_t>(count));
  };
  columns::Column slice(column.type);
  cut(column.ints, &slice.ints);
  cut(column.doubles, &slice.doubles);
  cut(column.nulls, &slice.nulls);
  if (column.type != columns::Type::kText) return slice;
  std::vector<int64_t> places(column.texts.size(), -1);
  for (size_t row = 0; row < count; ++row) {
    int64_t& index = slice.ints[row];
    if (slice.IsNull(row)) {
      index = 0;
      continue;
    }
    int64_t& place = places[static_cast<size_t>(index)];
    if (place < 0) {
      place = static_cast<int64_t>(slice.texts.size());
      slice.texts.push_back(column.texts[static_cast<size_t>(index)]);
    }
    index = place;
  }
  return slice;
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

absl::Status FrameBuilder::Check() const {
  return error_.empty() ? absl::OkStatus()
                        : absl::InternalError(absl::StrCat("frame of metric ", frame_->metric(), ": ", error_));
}

void FrameBuilder::Encode(size_t first, size_t count, ingest_v1::Frame* frame) const {
  frame->clear_columns();
  frame->clear_row_flags();
  const bool whole = count == static_cast<size_t>(rows_);
  for (const ColumnState& state : columns_) {
    columns::EncodeColumn(whole ? state.column : Slice(state.column, first, count), frame->add_columns());
  }
  std::vector<int64_t> flags;
  if (row_flags_.size() > first) {
    const auto begin = row_flags_.begin() + static_cast<ptrdiff_t>(first);
    flags.assign(begin, begin + static_cast<ptrdiff_t>(std::min(count, row_flags_.size() - first)));
  }
  if (std::any_of(flags.begin(), flags.end(), [](int64_t bits) { return bits != 0; })) {
    flags.resize(count, 0);
    columns::EncodeInts(flags.data(), count, frame->mutable_row_flags());
  }
  frame->set_row_count(static_cast<int32_t>(count));
}

int64_t FrameBuilder::ValuesPerRow() const {
  int64_t values = 1;  // the flags
  for (const ColumnState& state : columns_)
    values += state.column.type == columns::Type::kText ? 1 + kValuesPerNearText : 1;
  return values;
}

absl::Status FrameBuilder::Finish() {
  if (absl::Status status = Check(); !status.ok()) return status;
  if (rows_ > kMaxFrameRows) {
    return absl::ResourceExhaustedError(
        absl::StrCat("frame of metric ", frame_->metric(), ": ", rows_, " rows; a frame takes ", kMaxFrameRows));
  }
  Encode(0, static_cast<size_t>(rows_), frame_);
  return absl::OkStatus();
}

absl::Status FrameBuilder::FinishInParts(const PartLimits& limits, std::vector<ingest_v1::Frame>* frames) {
  if (absl::Status status = Check(); !status.ok()) return status;
  const auto rows = static_cast<size_t>(rows_);
  // Rows of a part. What bytes they take is known once they are encoded.
  size_t most = std::max<size_t>(rows, 1);
  most = std::min(most, static_cast<size_t>(std::max<int64_t>(limits.max_values / ValuesPerRow(), 1)));
  most = std::min(most, static_cast<size_t>(std::max(limits.max_rows, 1)));
  std::vector<ingest_v1::Frame> parts;
  for (bool fits = false; !fits;) {
    const size_t count = std::max<size_t>((rows + most - 1) / most, 1);
    if (count > static_cast<size_t>(kMaxFrameParts)) {
      return absl::ResourceExhaustedError(absl::StrCat("frame of metric ", frame_->metric(), ": ", rows_,
                                                       " rows take more than ", kMaxFrameParts, " parts"));
    }
    parts.clear();
    fits = true;
    for (size_t i = 0; i < count && fits; ++i) {
      const size_t first = rows * i / count;
      const size_t size = rows * (i + 1) / count - first;
      ingest_v1::Frame& part = parts.emplace_back(*frame_);
      Encode(first, size, &part);
      if (count > 1) {
        part.set_part(static_cast<int32_t>(i));
        part.set_part_count(static_cast<int32_t>(count));
      }
      if (i > 0) part.clear_unchanged_row_count();
      const size_t bytes = part.ByteSizeLong();
      if (bytes <= limits.max_bytes || size <= 1) continue;
      fits = false;
      most = std::max<size_t>(std::min((size + 1) / 2, size * limits.max_bytes / bytes), 1);
    }
  }
  for (ingest_v1::Frame& part : parts) frames->push_back(std::move(part));
  return absl::OkStatus();
}

}  // namespace pga::frame
