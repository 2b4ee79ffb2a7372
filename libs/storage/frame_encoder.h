// Turns the columns of a frame into the tuples of a binary COPY, without row objects in between: stop 7 of a frame's
// walk, done on a decoding thread so that a writer only concatenates. Texts become 64-bit content ids (frame::TextId);
// the texts themselves are collected for the dictionary table. Byte layout: libs/pg/binary.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/storage/known_texts.h"
#include "pganalytics/catalog/v1/catalog.pb.h"
#include "pganalytics/ingest/v1/frame.pb.h"

namespace pga::storage {

// The table of one metric as frames of one schema version fill it: standard columns time, source_id, [scope], flags,
// then the catalog's columns with since_schema_version <= the version, in catalog order. Immutable, any thread.
class FrameLayout {
 public:
  // InvalidArgument if the version is not one of the metric's, or a column's type is not known.
  static absl::StatusOr<std::shared_ptr<const FrameLayout>> Create(const pganalytics::catalog::v1::Metric& metric,
                                                                   int16_t metric_id, int schema_version);

  const std::string& metric() const { return metric_; }
  int16_t metric_id() const { return metric_id_; }
  int schema_version() const { return schema_version_; }
  bool has_scope() const { return has_scope_; }
  const std::vector<pganalytics::catalog::v1::ColumnType>& types() const { return types_; }
  // Days that raw rows are kept.
  int raw_retention_days() const { return raw_retention_days_; }
  // Unquoted name of the table that takes frames of `kind`: <metric> or <metric>_baseline.
  const std::string& table(pganalytics::ingest::v1::FrameKind kind) const;
  // COPY <table> (<every column>) FROM STDIN BINARY
  const std::string& copy_sql(pganalytics::ingest::v1::FrameKind kind) const;

 private:
  FrameLayout() = default;
  std::string metric_;
  int16_t metric_id_ = 0;
  int schema_version_ = 0;
  bool has_scope_ = false;
  int raw_retention_days_ = 0;
  std::vector<pganalytics::catalog::v1::ColumnType> types_;
  std::string delta_table_, baseline_table_;
  std::string delta_sql_, baseline_sql_;
};

// A text of a source, on its way to the dictionary.
struct TextEntry {
  int32_t source = 0;
  int64_t id = 0;
  std::string value;
};

// The texts of one batch that may be new: each (source, id) once, without those that `known` has. Not thread-safe.
class TextCollector {
 public:
  // `known` may be null and must outlive the collector.
  explicit TextCollector(const KnownTexts* known = nullptr) : known_(known) {}
  // The id of `text`, remembered for `source`.
  int64_t Add(int32_t source, std::string_view text);
  const std::vector<TextEntry>& values() const { return values_; }
  std::vector<TextEntry> Take();

 private:
  const KnownTexts* known_;
  absl::flat_hash_set<std::pair<int32_t, int64_t>> seen_;
  std::vector<TextEntry> values_;
};

// Appends row_count tuples (no COPY header, no trailer) to `tuples`. The frame must have passed
// frame::ValidateFrame against the metric; shapes are checked again as far as memory safety needs them, and
// InvalidArgument leaves `tuples` as it was. `source` is the integer id of the frame's source.
absl::Status EncodeFrame(const FrameLayout& layout, const pganalytics::ingest::v1::Frame& frame, int32_t source,
                         std::string* tuples, TextCollector* texts);

}  // namespace pga::storage
