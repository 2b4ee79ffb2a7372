#include "libs/storage/frame_encoder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "libs/frame/text.h"
#include "libs/log/frame_stop.h"
#include "libs/pg/binary.h"
#include "libs/pg/value.h"

namespace pga::storage {
namespace {

using pganalytics::catalog::v1::ColumnType;
using pganalytics::ingest::v1::ColumnValues;
using pganalytics::ingest::v1::Frame;

// Raw rows of a metric that says nothing are kept for this long (catalog.proto, Retention).
constexpr int kDefaultRawDays = 30;
// A table has at most 1600 columns in PostgreSQL; the catalog's limit is far below.
constexpr size_t kMaxColumns = 1500;

template <typename T>
inline void Store(char* at, T value) {
  if constexpr (sizeof(T) == 8) {
    value = static_cast<T>(__builtin_bswap64(static_cast<uint64_t>(value)));
  } else if constexpr (sizeof(T) == 4) {
    value = static_cast<T>(__builtin_bswap32(static_cast<uint32_t>(value)));
  } else {
    value = static_cast<T>(__builtin_bswap16(static_cast<uint16_t>(value)));
  }
  std::memcpy(at, &value, sizeof value);
}

inline int64_t ToPostgresMicros(int64_t unix_micros) {
  const bool infinite = unix_micros == INT64_MIN || unix_micros == INT64_MAX;
  int64_t shifted;
  // A value that does not fit wraps here and is refused by the server as out of range, like any other bad timestamp.
  (void)__builtin_sub_overflow(unix_micros, pg::kPostgresEpochUnixMicros, &shifted);
  return infinite ? unix_micros : shifted;
}

enum class Source : uint8_t { kInts, kTimestamps, kDoubles, kBools, kTexts };
enum class Nulls : uint8_t { kNone, kSome, kAll };

// Where the values of one column lie. Pointers into the frame, valid while it is.
struct Column {
  Source source = Source::kInts;
  Nulls nulls = Nulls::kNone;
  const uint8_t* null_bits = nullptr;
  const int64_t* ints = nullptr;
  const double* doubles = nullptr;
  const bool* bools = nullptr;
  const int32_t* indexes = nullptr;
  std::vector<int64_t> text_ids;

  bool IsNull(int row) const { return (null_bits[row >> 3] >> (row & 7)) & 1; }
  int width() const { return source == Source::kBools ? 1 : 8; }
  int64_t Word(int row) const {
    switch (source) {
      case Source::kInts:
        return ints[row];
      case Source::kTimestamps:
        return ToPostgresMicros(ints[row]);
      case Source::kDoubles: {
        int64_t bits;
        std::memcpy(&bits, &doubles[row], sizeof bits);
        return bits;
      }
      case Source::kTexts:
        return text_ids[static_cast<size_t>(indexes[row])];
      case Source::kBools:
        return bools[row];
    }
    return 0;
  }
};

absl::Status Malformed(const Frame& frame, size_t column, const char* what) {
  return absl::InvalidArgumentError(absl::StrCat("frame of ", frame.metric(), ", column ", column, ": ", what));
}

absl::Status Bind(const Frame& frame, size_t index, ColumnType type, int32_t source, TextCollector* texts,
                  Column* column) {
  const ColumnValues& values = frame.columns(static_cast<int>(index));
  const int rows = frame.row_count();
  if (!values.null_bitmap().empty()) {
    const std::string& bitmap = values.null_bitmap();
    if (bitmap.size() < (static_cast<size_t>(rows) + 7) / 8) return Malformed(frame, index, "null bitmap is too short");
    column->null_bits = reinterpret_cast<const uint8_t*>(bitmap.data());
    int nulls = 0;
    for (int byte = 0; byte < rows / 8; ++byte) nulls += std::popcount(column->null_bits[byte]);
    for (int row = rows / 8 * 8; row < rows; ++row) nulls += column->IsNull(row);
    column->nulls = nulls == 0 ? Nulls::kNone : nulls == rows ? Nulls::kAll : Nulls::kSome;
  }
  switch (type) {
    case pganalytics::catalog::v1::COLUMN_TYPE_INT8:
    case pganalytics::catalog::v1::COLUMN_TYPE_INTERVAL_US:
    case pganalytics::catalog::v1::COLUMN_TYPE_PG_LSN:
    case pganalytics::catalog::v1::COLUMN_TYPE_TIMESTAMPTZ:
      if (values.ints().values_size() != rows) return Malformed(frame, index, "wrong number of integers");
      column->source = type == pganalytics::catalog::v1::COLUMN_TYPE_TIMESTAMPTZ ? Source::kTimestamps : Source::kInts;
      column->ints = values.ints().values().data();
      return absl::OkStatus();
    case pganalytics::catalog::v1::COLUMN_TYPE_FLOAT8:
      if (values.doubles().values_size() != rows) return Malformed(frame, index, "wrong number of doubles");
      column->source = Source::kDoubles;
      column->doubles = values.doubles().values().data();
      return absl::OkStatus();
    case pganalytics::catalog::v1::COLUMN_TYPE_BOOL:
      if (values.bools().values_size() != rows) return Malformed(frame, index, "wrong number of booleans");
      column->source = Source::kBools;
      column->bools = values.bools().values().data();
      return absl::OkStatus();
    case pganalytics::catalog::v1::COLUMN_TYPE_TEXT: {
      if (values.texts().indexes_size() != rows) return Malformed(frame, index, "wrong number of text indexes");
      column->source = Source::kTexts;
      column->indexes = values.texts().indexes().data();
      if (column->nulls == Nulls::kAll) return absl::OkStatus();
      const int entries = values.texts().dictionary_size();
      for (int row = 0; row < rows; ++row) {
        if (column->indexes[row] < 0 || column->indexes[row] >= std::max(entries, 1)) {
          return Malformed(frame, index, "text index outside the dictionary");
        }
      }
      column->text_ids.reserve(static_cast<size_t>(std::max(entries, 1)));
      for (const std::string& text : values.texts().dictionary()) column->text_ids.push_back(texts->Add(source, text));
      if (entries == 0) {
        // Only NULL rows may point into an empty dictionary, and then the column was all NULL.
        return rows == 0 ? absl::OkStatus() : Malformed(frame, index, "rows without a dictionary");
      }
      return absl::OkStatus();
    }
    default:
      return Malformed(frame, index, "unknown type");
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<const FrameLayout>> FrameLayout::Create(const pganalytics::catalog::v1::Metric& metric,
                                                                       int16_t metric_id, int schema_version) {
  if (schema_version < 1 || schema_version > metric.schema_version()) {
    return absl::InvalidArgumentError(absl::StrCat("metric ", metric.name(), " has schema versions 1 to ",
                                                   metric.schema_version(), ", not ", schema_version));
  }
  std::shared_ptr<FrameLayout> layout(new FrameLayout());
  layout->metric_ = metric.name();
  layout->metric_id_ = metric_id;
  layout->schema_version_ = schema_version;
  layout->has_scope_ = metric.scope() == pganalytics::catalog::v1::SCOPE_DATABASE;
  layout->raw_retention_days_ = metric.retention().raw_days() > 0 ? metric.retention().raw_days() : kDefaultRawDays;
  std::string columns = layout->has_scope_ ? "time, source_id, scope, flags" : "time, source_id, flags";
  for (const pganalytics::catalog::v1::Column& column : metric.columns()) {
    if (std::max(column.since_schema_version(), 1) > schema_version) continue;
    if (column.type() < pganalytics::catalog::v1::COLUMN_TYPE_BOOL ||
        column.type() > pganalytics::catalog::v1::COLUMN_TYPE_PG_LSN) {
      return absl::InvalidArgumentError(
          absl::StrCat("metric ", metric.name(), ", column ", column.name(), ": unknown type"));
    }
    layout->types_.push_back(column.type());
    absl::StrAppend(&columns, ", ", pg::QuoteIdentifier(column.name()));
  }
  if (layout->types_.size() > kMaxColumns) {
    return absl::InvalidArgumentError(absl::StrCat("metric ", metric.name(), " has too many columns"));
  }
  const char* schema = metric.custom() ? "custom" : "metrics";
  layout->delta_table_ = metric.name();
  layout->baseline_table_ = absl::StrCat(metric.name(), "_baseline");
  const auto sql = [&](const std::string& table) {
    return absl::StrCat("COPY ", schema, ".", pg::QuoteIdentifier(table), " (", columns, ") FROM STDIN BINARY");
  };
  layout->delta_sql_ = sql(layout->delta_table_);
  layout->baseline_sql_ = sql(layout->baseline_table_);
  return std::shared_ptr<const FrameLayout>(std::move(layout));
}

const std::string& FrameLayout::table(pganalytics::ingest::v1::FrameKind kind) const {
  return kind == pganalytics::ingest::v1::FRAME_KIND_KEYFRAME ? baseline_table_ : delta_table_;
}

const std::string& FrameLayout::copy_sql(pganalytics::ingest::v1::FrameKind kind) const {
  return kind == pganalytics::ingest::v1::FRAME_KIND_KEYFRAME ? baseline_sql_ : delta_sql_;
}

int64_t TextCollector::Add(int32_t source, std::string_view text) {
  const int64_t id = frame::TextId(text);
  if (known_ != nullptr && known_->Contains(source, id)) return id;
  if (seen_.emplace(source, id).second) values_.push_back({source, id, std::string(text)});
  return id;
}

std::vector<TextEntry> TextCollector::Take() {
  seen_.clear();
  return std::move(values_);
}

absl::Status EncodeFrame(const FrameLayout& layout, const Frame& frame, int32_t source, std::string* tuples,
                         TextCollector* texts) {
  PGA_FRAME_STOP(frame);
  const int rows = frame.row_count();
  const size_t count = layout.types().size();
  if (rows < 0 || static_cast<size_t>(frame.columns_size()) != count) {
    return absl::InvalidArgumentError(
        absl::StrCat("frame of ", frame.metric(), " has ", frame.columns_size(), " columns, not ", count));
  }
  if (!frame.row_flags().empty() && frame.row_flags().size() != static_cast<size_t>(rows)) {
    return absl::InvalidArgumentError(absl::StrCat("frame of ", frame.metric(), ": wrong number of row flags"));
  }
  std::vector<Column> columns(count);
  bool fixed = true;  // every row has the same layout: each column is NULL everywhere or nowhere
  for (size_t i = 0; i < count; ++i) {
    if (absl::Status status = Bind(frame, i, layout.types()[i], source, texts, &columns[i]); !status.ok())
      return status;
    fixed = fixed && columns[i].nulls != Nulls::kSome;
  }
  if (rows == 0) return absl::OkStatus();

  // The part that is alike in every row, up to and including the length word of the first catalog column.
  std::string row;
  pg::AppendRowHeader(&row, static_cast<int16_t>(count + (layout.has_scope() ? 4 : 3)));
  pg::AppendTimestamptz(&row, frame.collected_at_us());
  pg::AppendInt4(&row, source);
  if (layout.has_scope()) pg::AppendInt4(&row, static_cast<int32_t>(static_cast<uint32_t>(frame.scope_id())));
  const size_t flags_at = row.size() + 4;
  pg::AppendInt2(&row, static_cast<int16_t>(frame.flags() & 0xff));
  const uint8_t* row_flags =
      frame.row_flags().empty() ? nullptr : reinterpret_cast<const uint8_t*>(frame.row_flags().data());
  const int common_flags = frame.flags() & 0xff;
  const size_t base = tuples->size();

  if (fixed) {
    // One template row copied `rows` times, then every column written down its stride: no branch per value.
    std::vector<size_t> value_at(count);
    for (size_t i = 0; i < count; ++i) {
      if (columns[i].nulls == Nulls::kAll) {
        pg::AppendNull(&row);
        continue;
      }
      pg::internal::AppendBigEndian<int32_t>(&row, columns[i].width());
      value_at[i] = row.size();
      row.append(static_cast<size_t>(columns[i].width()), '\0');
    }
    const size_t stride = row.size();
    tuples->reserve(base + stride * static_cast<size_t>(rows));
    for (int r = 0; r < rows; ++r) tuples->append(row);
    char* const start = tuples->data() + base;
    if (row_flags != nullptr) {
      char* at = start + flags_at;
      for (int r = 0; r < rows; ++r, at += stride)
        Store<int16_t>(at, static_cast<int16_t>(common_flags | row_flags[r]));
    }
    for (size_t i = 0; i < count; ++i) {
      const Column& column = columns[i];
      if (column.nulls == Nulls::kAll) continue;
      char* at = start + value_at[i];
      switch (column.source) {
        case Source::kInts:
          for (int r = 0; r < rows; ++r, at += stride) Store<int64_t>(at, column.ints[r]);
          break;
        case Source::kTimestamps:
          for (int r = 0; r < rows; ++r, at += stride) Store<int64_t>(at, ToPostgresMicros(column.ints[r]));
          break;
        case Source::kDoubles:
          for (int r = 0; r < rows; ++r, at += stride) Store<int64_t>(at, std::bit_cast<int64_t>(column.doubles[r]));
          break;
        case Source::kTexts:
          for (int r = 0; r < rows; ++r, at += stride) {
            Store<int64_t>(at, column.text_ids[static_cast<size_t>(column.indexes[r])]);
          }
          break;
        case Source::kBools:
          for (int r = 0; r < rows; ++r, at += stride) *at = column.bools[r] ? '\1' : '\0';
          break;
      }
    }
    return absl::OkStatus();
  }

  const size_t prefix = row.size();
  row.resize(prefix + count * 12);
  tuples->reserve(base + row.size() * static_cast<size_t>(rows));
  for (int r = 0; r < rows; ++r) {
    if (row_flags != nullptr) {
      Store<int16_t>(row.data() + flags_at, static_cast<int16_t>(common_flags | row_flags[r]));
    }
    char* at = row.data() + prefix;
    for (const Column& column : columns) {
      if (column.nulls != Nulls::kNone && column.IsNull(r)) {
        Store<int32_t>(at, -1);
        at += 4;
      } else if (column.source == Source::kBools) {
        Store<int32_t>(at, 1);
        at[4] = column.bools[r] ? '\1' : '\0';
        at += 5;
      } else {
        Store<int32_t>(at, 8);
        Store<int64_t>(at + 4, column.Word(r));
        at += 12;
      }
    }
    tuples->append(row.data(), static_cast<size_t>(at - row.data()));
  }
  return absl::OkStatus();
}

}  // namespace pga::storage
