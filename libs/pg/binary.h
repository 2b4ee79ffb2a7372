// Appends PostgreSQL's binary COPY format to a byte buffer: signature, tuples, trailer. Each field is a 4-byte length
// and the value in network byte order (src/backend/commands/copyto.c and the types' *send functions; stable since 7.4).
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace pga::pg {

namespace internal {
template <typename T>
inline void AppendBigEndian(std::string* out, T value) {
  if constexpr (sizeof(T) == 8) {
    value = static_cast<T>(__builtin_bswap64(static_cast<uint64_t>(value)));
  } else if constexpr (sizeof(T) == 4) {
    value = static_cast<T>(__builtin_bswap32(static_cast<uint32_t>(value)));
  } else {
    static_assert(sizeof(T) == 2);
    value = static_cast<T>(__builtin_bswap16(static_cast<uint16_t>(value)));
  }
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}
}  // namespace internal

// Microseconds from 1970-01-01 to PostgreSQL's epoch 2000-01-01.
inline constexpr int64_t kPostgresEpochUnixMicros = 946'684'800'000'000;

// Once at the start of a COPY stream.
inline void AppendCopyHeader(std::string* out) {
  out->append("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
}
// Once at its end.
inline void AppendCopyTrailer(std::string* out) {
  internal::AppendBigEndian<int16_t>(out, -1);
}

// Starts a row of `fields` fields; exactly that many Append* calls follow.
inline void AppendRowHeader(std::string* out, int16_t fields) {
  internal::AppendBigEndian(out, fields);
}

inline void AppendNull(std::string* out) {
  internal::AppendBigEndian<int32_t>(out, -1);
}
inline void AppendInt2(std::string* out, int16_t value) {
  internal::AppendBigEndian<int32_t>(out, 2);
  internal::AppendBigEndian(out, value);
}
inline void AppendInt4(std::string* out, int32_t value) {
  internal::AppendBigEndian<int32_t>(out, 4);
  internal::AppendBigEndian(out, value);
}
inline void AppendInt8(std::string* out, int64_t value) {
  internal::AppendBigEndian<int32_t>(out, 8);
  internal::AppendBigEndian(out, value);
}
inline void AppendFloat8(std::string* out, double value) {
  int64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  AppendInt8(out, bits);
}
inline void AppendBool(std::string* out, bool value) {
  internal::AppendBigEndian<int32_t>(out, 1);
  out->push_back(value ? '\1' : '\0');
}
// Microseconds since 1970-01-01 UTC; INT64_MIN and INT64_MAX are -infinity and infinity.
inline void AppendTimestamptz(std::string* out, int64_t unix_micros) {
  if (unix_micros == INT64_MAX) return AppendInt8(out, INT64_MAX);
  AppendInt8(out,
             unix_micros < INT64_MIN + kPostgresEpochUnixMicros ? INT64_MIN : unix_micros - kPostgresEpochUnixMicros);
}
// text, bytea, or uuid (16 bytes): the bytes as they are. At most 1 GB.
inline void AppendBytes(std::string* out, std::string_view value) {
  internal::AppendBigEndian<int32_t>(out, static_cast<int32_t>(value.size()));
  out->append(value);
}
inline void AppendText(std::string* out, std::string_view value) {
  AppendBytes(out, value);
}

}  // namespace pga::pg
