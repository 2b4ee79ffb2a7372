#include "libs/pg/binary_row.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "libs/pg/binary.h"

namespace pga::pg {
namespace {

// Most significant byte first; `bytes` has 1, 2, 4 or 8 of them.
int64_t SignedBigEndian(std::string_view bytes) {
  uint64_t value = (static_cast<unsigned char>(bytes[0]) & 0x80) != 0 ? ~uint64_t{0} : 0;
  for (const char byte : bytes) value = (value << 8) | static_cast<unsigned char>(byte);
  return static_cast<int64_t>(value);
}

absl::Status Unexpected(size_t column, std::string_view what) {
  return absl::InternalError(absl::StrCat("column ", column, " of the answer is no ", std::string(what)));
}

bool TakeInt32(std::string_view* bytes, int32_t* value) {
  if (bytes->size() < 4) return false;
  *value = static_cast<int32_t>(SignedBigEndian(bytes->substr(0, 4)));
  bytes->remove_prefix(4);
  return true;
}

// array: dimensions, has nulls, type, then per dimension length and lower bound, then per element length and bytes.
template <typename Take>
absl::Status ReadArray(size_t column, std::string_view bytes, const Take& take) {
  int32_t dimensions = 0;
  int32_t nulls = 0;
  int32_t type = 0;
  if (!TakeInt32(&bytes, &dimensions) || !TakeInt32(&bytes, &nulls) || !TakeInt32(&bytes, &type)) {
    return Unexpected(column, "array");
  }
  if (dimensions == 0) return absl::OkStatus();
  int32_t count = 0;
  int32_t lower = 0;
  if (dimensions != 1 || !TakeInt32(&bytes, &count) || !TakeInt32(&bytes, &lower) || count < 0) {
    return Unexpected(column, "array of one dimension");
  }
  for (int32_t i = 0; i < count; ++i) {
    int32_t size = 0;
    if (!TakeInt32(&bytes, &size) || size < 0 || static_cast<size_t>(size) > bytes.size() ||
        !take(bytes.substr(0, static_cast<size_t>(size)))) {
      return Unexpected(column, "array of the expected type");
    }
    bytes.remove_prefix(static_cast<size_t>(size));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status ReadIntArray(size_t column, std::string_view bytes, std::vector<T>* values) {
  return ReadArray(column, bytes, [&](std::string_view element) {
    if (element.size() != sizeof(T)) return false;
    values->push_back(static_cast<T>(SignedBigEndian(element)));
    return true;
  });
}

}  // namespace

absl::StatusOr<int64_t> BinaryRow::Int(size_t column) const {
  const std::string_view bytes = Bytes(column);
  if (IsNull(column)) return 0;
  if (bytes.size() != 1 && bytes.size() != 2 && bytes.size() != 4 && bytes.size() != 8) {
    return Unexpected(column, "integer");
  }
  return SignedBigEndian(bytes);
}

absl::StatusOr<int64_t> BinaryRow::UnixMicros(size_t column) const {
  const std::string_view bytes = Bytes(column);
  if (IsNull(column)) return 0;
  if (bytes.size() != 8) return Unexpected(column, "timestamptz");
  const int64_t value = SignedBigEndian(bytes);
  if (value == INT64_MIN || value > INT64_MAX - kPostgresEpochUnixMicros) return value == INT64_MIN ? value : INT64_MAX;
  return value + kPostgresEpochUnixMicros;
}

absl::Status BinaryRow::Int16Array(size_t column, std::vector<int16_t>* values) const {
  values->clear();
  return IsNull(column) ? absl::OkStatus() : ReadIntArray(column, Bytes(column), values);
}

absl::Status BinaryRow::Int32Array(size_t column, std::vector<int32_t>* values) const {
  values->clear();
  return IsNull(column) ? absl::OkStatus() : ReadIntArray(column, Bytes(column), values);
}

absl::Status BinaryRow::BytesArray(size_t column, std::vector<std::string_view>* values) const {
  values->clear();
  if (IsNull(column)) return absl::OkStatus();
  return ReadArray(column, Bytes(column), [&](std::string_view element) {
    values->push_back(element);
    return true;
  });
}

}  // namespace pga::pg
