// A row of a statement in PostgreSQL's binary form (binary.h is the other direction). A view: valid as long as the call
// that hands it over. Values of an unexpected size give INTERNAL: the statement and its reader do not fit together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pga::pg {

class BinaryRow {
 public:
  struct Field {
    std::string_view bytes;
    bool null = false;
  };
  explicit BinaryRow(const std::vector<Field>& fields) : fields_(fields) {}

  size_t columns() const { return fields_.size(); }
  bool IsNull(size_t column) const { return column >= fields_.size() || fields_[column].null; }
  // text, bytea; empty when NULL.
  std::string_view Bytes(size_t column) const { return IsNull(column) ? std::string_view() : fields_[column].bytes; }
  // int2, int4, int8 and boolean, whichever it is; 0 when NULL.
  absl::StatusOr<int64_t> Int(size_t column) const;
  // timestamptz as microseconds since 1970; INT64_MIN and INT64_MAX are -infinity and infinity.
  absl::StatusOr<int64_t> UnixMicros(size_t column) const;
  // Arrays of one dimension without NULL; the empty array when NULL.
  absl::Status Int16Array(size_t column, std::vector<int16_t>* values) const;
  absl::Status Int32Array(size_t column, std::vector<int32_t>* values) const;
  // bytea[] or text[]; the views are valid as long as the row.
  absl::Status BytesArray(size_t column, std::vector<std::string_view>* values) const;

 private:
  const std::vector<Field>& fields_;
};

}  // namespace pga::pg
