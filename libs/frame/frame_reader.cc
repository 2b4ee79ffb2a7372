#include "libs/frame/frame_reader.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/catalog/metric.h"
#include "libs/columns/int_codec.h"
#include "libs/frame/column_type.h"
#include "libs/frame/limits.h"
#include "libs/frame/text.h"
#include "libs/frame/uuid.h"

namespace pga::frame {
namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

namespace {

constexpr int kKnownFlags = ingest_v1::FRAME_FLAG_LOWER_BOUND | ingest_v1::FRAME_FLAG_UNKNOWN |
                            ingest_v1::FRAME_FLAG_GONE | ingest_v1::FRAME_FLAG_TEXT_REPLACED;
constexpr int64_t kMaxOid = 0xFFFFFFFF;

// What is wrong with the texts of a column, or empty.
std::string TextProblem(const columns::Column& values) {
  for (const std::string& text : values.texts) {
    if (text.size() > kMaxTextBytes) return absl::StrCat("has a text of more than ", kMaxTextBytes, " bytes");
    if (!IsValidText(text)) return "has a text that is not valid UTF-8 or holds NUL";
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
  if (frame.part_count() < 0 || frame.part_count() == 1 || frame.part_count() > kMaxFrameParts) {
    return absl::StrCat("has part_count ", frame.part_count(), "; allowed are 0 and 2 to ", kMaxFrameParts);
  }
  if (frame.part() < 0 || frame.part() > std::max(frame.part_count() - 1, 0)) return "has a part beyond its part_count";
  if (frame.part() > 0 && frame.unchanged_row_count() != 0) return "has unchanged rows in a further part";
  return "";
}

// Rows flagged gone carry labels only; rows flagged unknown carry no counters.
std::string RowFlagProblem(const FrameReader& reader) {
  if (reader.row_flags().empty() && reader.frame().flags() == 0) return "";
  for (int row = 0; row < reader.row_count(); ++row) {
    const int64_t own = reader.row_flags().empty() ? 0 : reader.row_flags()[static_cast<size_t>(row)];
    if ((own & ~int64_t{kKnownFlags}) != 0) return "has unknown row flags";
    const int flags = reader.RowFlags(row);
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

absl::Status FrameReader::Open(const ingest_v1::Frame& frame, const catalog_v1::Metric& metric) {
  Close();
  const auto refuse = [&](const std::string& what) {
    Close();
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
  const auto rows = static_cast<size_t>(frame.row_count());
  if (static_cast<int64_t>(rows * columns.size()) > Limits().max_values) {
    return refuse(absl::StrCat("has more than ", Limits().max_values, " values"));
  }
  if (columns_.size() < columns.size()) columns_.resize(columns.size());
  frame_ = &frame;
  for (size_t i = 0; i < columns.size(); ++i) {
    const absl::Status decoded =
        columns::DecodeColumn(frame.columns(static_cast<int>(i)), TypeOf(columns[i]->type()), rows, &columns_[i]);
    std::string problem =
        decoded.ok() ? TextProblem(columns_[i]) : absl::StrCat("is malformed: ", std::string(decoded.message()));
    if (!problem.empty()) return refuse(absl::StrCat("column ", columns[i]->name(), " ", problem));
    views_.emplace_back(*columns[i], columns_[i]);
  }
  if (!frame.row_flags().empty()) {
    row_flags_.resize(rows);
    std::string_view bytes = frame.row_flags();
    if (!columns::DecodeInts(&bytes, rows, row_flags_.data()) || !bytes.empty()) {
      return refuse("has row_flags that are malformed");
    }
  }
  if (std::string problem = RowFlagProblem(*this); !problem.empty()) return refuse(problem);
  return absl::OkStatus();
}

void FrameReader::Close() {
  frame_ = nullptr;
  views_.clear();
  row_flags_.clear();
}

int FrameReader::FindColumn(std::string_view name) const {
  for (size_t i = 0; i < views_.size(); ++i) {
    if (views_[i].column().name() == name) return static_cast<int>(i);
  }
  return -1;
}

absl::Status ValidateFrame(const ingest_v1::Frame& frame, const catalog_v1::Metric& metric) {
  return FrameReader().Open(frame, metric);
}

}  // namespace pga::frame
