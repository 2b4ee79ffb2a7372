// The values of one column, and their form as bytes (a chunk). Frames on the wire, stored frames and blocks hold
// chunks.
//
//   chunk  := kind:u8  [nulls]  values
//     kind: bits 0-3 as below; bit 7: `nulls` follows, ints of 0 and 1, 1 = the row is NULL
//     0 all rows are NULL; nothing follows
//     1 integers: ints                            int8, timestamptz (us since 1970), interval (us), pg_lsn
//     2 booleans: ints of 0 and 1
//     3 decimals: scale:u8, ints                  value = integer / 10^scale, as IEEE 754 divides; scale 10: / 60, for
//                                                 averages of a minute's samples
//     4 doubles: ints of their bit patterns
//     5 texts: count:varint, ints of the `count` lengths, the bytes, ints of one index per row
//     6 doubles or integers that repeat: count:varint, ints of the `count` different bit patterns or values, ints of
//     one
//       index per row
//     7 texts like 5 of which each begins as the one before it: count:varint, ints of how many bytes it shares with
//       that, at most 255, ints of the lengths of the rests, the bytes of the rests, ints of one index per row
//   ints: int_codec.h
//
// Decoding trusts nothing: sizes are checked before anything is allocated, and a chunk takes no more memory than 24
// bytes a row while it is decoded, 8 of them for good, and the bytes of its texts with 255 more for each. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace pga::columns {

enum class Type : uint8_t { kInt, kBool, kDouble, kText };

struct Column {
  Type type = Type::kInt;
  // One per row: integers, booleans as 0 and 1, indexes into `texts`. NULL rows hold any value that exists, or 0.
  std::vector<int64_t> ints;
  // One per row of kDouble.
  std::vector<double> doubles;
  // Distinct values of kText.
  std::vector<std::string> texts;
  // Empty = no NULL; else one per row, 1 = NULL.
  std::vector<uint8_t> nulls;

  Column() = default;
  explicit Column(Type of) : type(of) {}
  size_t size() const { return type == Type::kDouble ? doubles.size() : ints.size(); }
  bool IsNull(size_t row) const { return !nulls.empty() && nulls[row] != 0; }
  // A NULL at the end.
  void AppendNull();
  // `other`'s row at the end; of kText by its index, so both must have the same `texts`.
  void AppendFrom(const Column& other, size_t row);
  void Reserve(size_t rows);
  // Numbers as double, booleans as 0 and 1; not for texts or NULL.
  double Number(size_t row) const { return type == Type::kDouble ? doubles[row] : static_cast<double>(ints[row]); }
  // Only for rows that are not NULL.
  const std::string& Text(size_t row) const { return texts[static_cast<size_t>(ints[row])]; }
};

// Appends the chunk. Texts that no row uses are left out; the others stand in order of their first row.
void EncodeColumn(const Column& column, std::string* out);

// The whole of `chunk` as `rows` values of `type`; what `column` held goes, and its memory is used again.
// INVALID_ARGUMENT says what is wrong.
absl::Status DecodeColumn(std::string_view chunk, Type type, size_t rows, Column* column);

}  // namespace pga::columns
