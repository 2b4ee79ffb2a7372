#include "libs/frame/frame_reader.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "libs/catalog/metric.h"
#include "libs/frame/limits.h"
#include "libs/frame/text.h"
#include "libs/frame/uuid.h"

namespace pga::frame {
namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

namespace {

using ingest_v1::ColumnValues;

constexpr int kKnownFlags = ingest_v1::FRAME_FLAG_LOWER_BOUND | ingest_v1::FRAME_FLAG_UNKNOWN |
                            ingest_v1::FRAME_FLAG_GONE | ingest_v1::FRAME_FLAG_TEXT_REPLACED;
constexpr int64_t kMaxOid = 0xFFFFFFFF;

ColumnValues::ValuesCase CaseOf(catalog_v1::ColumnType type) {
  switch (type) {
    case catalog_v1::COLUMN_TYPE_BOOL:
      return ColumnValues::kBools;
    case catalog_v1::COLUMN_TYPE_FLOAT8:
      return ColumnValues::kDoubles;
    case catalog_v1::COLUMN_TYPE_TEXT:
      return ColumnValues::kTexts;
    default:
      return ColumnValues::kInts;
  }
}

int ValueCount(const ColumnValues& values) {
  switch (values.values_case()) {
    case ColumnValues::kInts:
      return values.ints().values_size();
    case ColumnValues::kDoubles:
      return values.doubles().values_size();
    case ColumnValues::kBools:
      return values.bools().values_size();
    case ColumnValues::kTexts:
      return values.texts().indexes_size();
    default:
      return 0;
  }
}

// What is wrong with the column, or empty.
std::string ColumnProblem(const catalog_v1::Column& column, const ColumnValues& values, int rows) {
  if (values.values_case() != CaseOf(column.type())) {
    return absl::StrCat("holds values of another type than ", std::string(catalog::TypeWord(column.type())));
  }
  if (ValueCount(values) != rows) return absl::StrCat("has ", ValueCount(values), " values for ", rows, " rows");
  const std::string& nulls = values.null_bitmap();
  if (!nulls.empty()) {
    if (nulls.size() != (static_cast<size_t>(rows) + 7) / 8) return "has a null bitmap of the wrong size";
    if (rows % 8 != 0 && (static_cast<unsigned char>(nulls.back()) >> (rows % 8)) != 0) {
      return "has null bits beyond the last row";
    }
  }
  if (values.values_case() != ColumnValues::kTexts) return "";
  const ingest_v1::TextValues& texts = values.texts();
  if (texts.dictionary_size() > rows) return "has more texts than rows";
  for (const std::string& text : texts.dictionary()) {
    if (text.size() > kMaxTextBytes) return absl::StrCat("has a text of more than ", kMaxTextBytes, " bytes");
    if (!IsValidText(text)) return "has a text that is not valid UTF-8 or holds NUL";
  }
  const auto size = static_cast<uint32_t>(texts.dictionary_size());
  for (int row = 0; row < rows; ++row) {
    const int32_t index = texts.indexes(row);
    if (static_cast<uint32_t>(index) < size) continue;
    const bool null =
        !nulls.empty() && ((static_cast<unsigned char>(nulls[static_cast<size_t>(row / 8)]) >> (row % 8)) & 1u) != 0;
    if (!null || index != 0) return absl::StrCat("has dictionary index ", index, " of ", size);
  }
  return "";
}

std::string HeaderProblem(const ingest_v1::Frame& frame, const catalog_v1::Metric& metric) {
  if (frame.metric() != metric.name()) return absl::StrCat("is not of metric ", metric.name());
  if (frame.schema_version() < 1) return "has no schema version";
  if (frame.source_id().size() != kUuidBytes) return "has a source_id that is not 16 bytes";
  if (frame.kind() != ingest_v1::FRAME_KIND_DELTA && frame.kind() != ingest_v1::FRAME_KIND_KEYFRAME) {
    return "has an unknown kind";
  }
  if (frame.kind() == ingest_v1::FRAME_KIND_KEYFRAME && !catalog::HasCounters(metric)) {
    return "is a keyframe of a metric without counters";
  }
  if (frame.collected_at_us() <= 0) return "has no collected_at";
  if (frame.interval_start_us() <= 0 || frame.interval_start_us() > frame.collected_at_us()) {
    return "has an interval that ends before it starts";
  }
  if (frame.kind() == ingest_v1::FRAME_KIND_KEYFRAME && frame.interval_start_us() != frame.collected_at_us()) {
    return "is a keyframe with an interval";
  }
  if (metric.scope() == catalog_v1::SCOPE_DATABASE) {
    if (frame.scope_id() < 1 || frame.scope_id() > kMaxOid) return "has a scope_id that is no pg_database.oid";
  } else if (frame.scope_id() != 0) {
    return "has a scope_id although the metric is not per database";
  }
  if (frame.row_count() < 0 || frame.row_count() > kMaxFrameRows) {
    return absl::StrCat("has row_count ", frame.row_count(), "; allowed are 0 to ", kMaxFrameRows);
  }
  if (frame.unchanged_row_count() < 0) return "has a negative unchanged_row_count";
  if ((frame.flags() & ~kKnownFlags) != 0) return "has unknown flags";
  if (!frame.row_flags().empty() && frame.row_flags().size() != static_cast<size_t>(frame.row_count())) {
    return "has row_flags of the wrong size";
  }
  return "";
}

// Rows flagged gone carry labels only; rows flagged unknown carry no counters.
std::string RowFlagProblem(const FrameReader& reader) {
  if (reader.frame().row_flags().empty() && reader.frame().flags() == 0) return "";
  for (int row = 0; row < reader.row_count(); ++row) {
    const int flags = reader.RowFlags(row);
    if ((flags & ~kKnownFlags) != 0) return "has unknown row flags";
    if ((flags & (ingest_v1::FRAME_FLAG_GONE | ingest_v1::FRAME_FLAG_UNKNOWN)) == 0) continue;
    for (const ColumnView& view : reader.columns()) {
      const catalog_v1::ColumnKind kind = view.column().kind();
      if (kind == catalog_v1::COLUMN_KIND_LABEL || view.IsNull(row)) continue;
      if ((flags & ingest_v1::FRAME_FLAG_GONE) != 0) return "has a gone row with more than labels";
      if (kind == catalog_v1::COLUMN_KIND_COUNTER) return "has a row of unknown increase with counters";
    }
  }
  return "";
}

}  // namespace

absl::Status ValidateFrame(const ingest_v1::Frame& frame, const catalog_v1::Metric& metric) {
  const auto refuse = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("frame of metric ", metric.name(), " ", what));
  };
  if (std::string problem = HeaderProblem(frame, metric); !problem.empty()) return refuse(problem);
  if (frame.schema_version() > metric.schema_version()) {
    return absl::UnavailableError(absl::StrCat("frame of metric ", metric.name(), " has schema version ",
                                               frame.schema_version(), "; applied is ", metric.schema_version()));
  }
  const auto columns = catalog::ColumnsAt(metric, frame.schema_version());
  if (static_cast<size_t>(frame.columns_size()) != columns.size()) {
    return refuse(absl::StrCat("has ", frame.columns_size(), " columns; schema version ", frame.schema_version(),
                               " has ", columns.size()));
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    if (std::string problem = ColumnProblem(*columns[i], frame.columns(static_cast<int>(i)), frame.row_count());
        !problem.empty()) {
      return refuse(absl::StrCat("column ", columns[i]->name(), " ", problem));
    }
  }
  if (std::string problem = RowFlagProblem(FrameReader(frame, metric)); !problem.empty()) return refuse(problem);
  return absl::OkStatus();
}

FrameReader::FrameReader(const ingest_v1::Frame& frame, const catalog_v1::Metric& metric) : frame_(&frame) {
  const auto columns = catalog::ColumnsAt(metric, frame.schema_version());
  columns_.reserve(columns.size());
  for (size_t i = 0; i < columns.size(); ++i) columns_.emplace_back(*columns[i], frame.columns(static_cast<int>(i)));
}

int FrameReader::FindColumn(std::string_view name) const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].column().name() == name) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace pga::frame
