// Rows of PostgreSQL's binary COPY: reading what COPY ... TO STDOUT sends, and the arrays that libs/pg/binary.h has no
// function for. Reading trusts nothing: a field that is not there or has another size makes the row bad, and every
// further read yields zero values.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/binary.h"
#include "libs/pg/copy_connection.h"

namespace pga::storage {

// The fields of one row in their order.
class CopyRow {
 public:
  explicit CopyRow(std::string_view bytes) : bytes_(bytes) {}

  int16_t Int2() { return Number<int16_t>(); }
  int32_t Int4() { return Number<int32_t>(); }
  int64_t Int8() { return Number<int64_t>(); }
  bool Bool() { return Number<int8_t>() != 0; }
  // Microseconds since 1970.
  int64_t Timestamptz() { return Number<int64_t>() + pg::kPostgresEpochUnixMicros; }
  // Days since 1970.
  int32_t Date() { return Number<int32_t>() + static_cast<int32_t>(pg::kPostgresEpochUnixMicros / 86'400'000'000); }
  // text, bytea; empty for NULL. Valid as long as the row's bytes.
  std::string_view Bytes() { return Field(); }
  std::vector<int16_t> Int2Array() { return Array<int16_t>(); }
  std::vector<int32_t> Int4Array() { return Array<int32_t>(); }
  // False after a read that did not fit.
  bool ok() const { return ok_; }

 private:
  template <typename T>
  static T Decode(const char* from) {
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value = value << 8 | static_cast<uint8_t>(from[i]);
    return static_cast<T>(value);
  }
  template <typename T>
  T Take() {
    if (bytes_.size() < sizeof(T)) {
      ok_ = false;
      bytes_ = {};
      return 0;
    }
    const T value = Decode<T>(bytes_.data());
    bytes_.remove_prefix(sizeof(T));
    return value;
  }
  std::string_view Field() {
    const int32_t size = Take<int32_t>();
    if (size < 0) return {};
    if (static_cast<size_t>(size) > bytes_.size()) {
      ok_ = false;
      bytes_ = {};
      return {};
    }
    const std::string_view field = bytes_.substr(0, static_cast<size_t>(size));
    bytes_.remove_prefix(field.size());
    return field;
  }
  template <typename T>
  T Number() {
    const std::string_view field = Field();
    if (field.size() != sizeof(T)) {
      ok_ = false;
      return 0;
    }
    return Decode<T>(field.data());
  }
  template <typename T>
  std::vector<T> Array() {
    CopyRow inner(Field());
    const int32_t dimensions = inner.Take<int32_t>();
    inner.Take<int32_t>();
    inner.Take<int32_t>();
    std::vector<T> values;
    if (dimensions == 1) {
      const int32_t count = inner.Take<int32_t>();
      inner.Take<int32_t>();
      for (int32_t i = 0; i < count && inner.ok(); ++i) values.push_back(inner.Number<T>());
    }
    ok_ = ok_ && inner.ok() && (dimensions == 0 || dimensions == 1) && inner.bytes_.empty();
    return values;
  }

  std::string_view bytes_;
  bool ok_ = true;
};

// Runs COPY (`query`) TO STDOUT in binary form; `query` may be DELETE ... RETURNING. `sink` gets each row, whose bytes
// go when it returns; a failure of it closes the connection.
inline absl::Status CopyOutRows(pg::CopyConnection& connection, const std::string& query,
                                const std::function<absl::Status(CopyRow&)>& sink, clock::SteadyTime deadline) {
  constexpr size_t kHeader = 19;
  bool first = true;
  return connection.CopyOut(
      "COPY (" + query + ") TO STDOUT (FORMAT binary)",
      [&](std::string_view chunk) -> absl::Status {
        if (first) {
          first = false;
          if (chunk.size() < kHeader) return absl::InternalError("COPY sent a short header");
          chunk.remove_prefix(kHeader);
          if (chunk.empty()) return absl::OkStatus();
        }
        if (chunk.size() < 2) return absl::InternalError("COPY sent a short row");
        // The number of fields; -1 ends the stream.
        if (chunk[0] == '\377' && chunk[1] == '\377') return absl::OkStatus();
        CopyRow row(chunk.substr(2));
        return sink(row);
      },
      deadline);
}

namespace internal {
template <typename T>
void AppendArray(std::string* out, const std::vector<T>& values, int32_t element_oid) {
  const auto count = static_cast<int32_t>(values.size());
  const auto element = static_cast<int32_t>(sizeof(T));
  pg::internal::AppendBigEndian<int32_t>(out, 20 + count * (4 + element));
  pg::internal::AppendBigEndian<int32_t>(out, 1);
  pg::internal::AppendBigEndian<int32_t>(out, 0);
  pg::internal::AppendBigEndian<int32_t>(out, element_oid);
  pg::internal::AppendBigEndian<int32_t>(out, count);
  pg::internal::AppendBigEndian<int32_t>(out, 1);
  for (const T value : values) {
    pg::internal::AppendBigEndian<int32_t>(out, element);
    pg::internal::AppendBigEndian<T>(out, value);
  }
}
}  // namespace internal

inline void AppendInt2Array(std::string* out, const std::vector<int16_t>& values) {
  internal::AppendArray<int16_t>(out, values, 21);
}
inline void AppendInt4Array(std::string* out, const std::vector<int32_t>& values) {
  internal::AppendArray<int32_t>(out, values, 23);
}
// Days since 1970.
inline void AppendDate(std::string* out, int32_t days) {
  pg::AppendInt4(out, days - static_cast<int32_t>(pg::kPostgresEpochUnixMicros / 86'400'000'000));
}

}  // namespace pga::storage
