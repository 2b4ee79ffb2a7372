// Integers as bytes: a transform that makes them small, then groups of 32 packed at one width, with runs of zero groups
// and with exceptions for the few values that are wider. The same form stands on the wire, in stored frames and in
// blocks.
//
//   ints   := plain | 0x06 unit:varint plain             the second: each value is that of `plain` times the unit, 2 to
//                                                       2^63 - 1
//   plain  := list | 0x05 list list                     the second: zeros apart
//   list   := transform:u8  base:zigzag  [step:zigzag]  group*
//   transform 0  u[i] = v[i] - base                       base = least value
//             1  u[i] = zigzag(v[i])                      base is not written
//             2  u[i] = zigzag(v[i] - v[i-1])             v[-1] = base = v[0]
//             3  u[i] = v[i] - v[i-1] - step, u[0] = 0    base = v[0], step = least difference
//             4  u[i] = v[i] xor v[i-1]                   v[-1] = base = v[0]
//   group  := 0x00 run:varint                             run x 32 values are 0
//           | token:u8 [head:u8] packed [exceptions]
//     token: bits 0-6 the width w, 0 to 64; bit 7: exceptions follow. `packed` holds w bits per value, most significant
//     bit first, padded to whole bytes
//     head: bits 0-4 the number of exceptions less 1; bits 5-7 their form. Each adds high << w to the value at its
//     position; high is at least 1.
//       form 0 to 6: all positions in 5 bits each, then all highs less 1 in 0, 1, 2, 3, 4, 6 or 9 bits each, packed and
//                    padded as above
//       form 7: position:u8 high:varint for each
//
// Zeros apart: a list of one 0 or 1 per value, 1 = the value is not 0, and a list of the values that are not 0, in
// order (nothing when there are none). For columns whose zeros stand between others: a zero takes a bit in place of a
// width. A unit is for what comes in pages, milliseconds or ticks of a clock.
//
// The last group holds the values that are left. Arithmetic is modulo 2^64; varint is LEB128, zigzag is that of
// protobuf's sint64. The number of values is known from the context and not written. Pure functions; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pga::columns {

inline constexpr size_t kGroupValues = 32;

// Appends the smallest form of `count` values. `bits` says that they are bit patterns of doubles, for which differences
// mean nothing, or 0 and 1: only transforms 0 and 4 are tried, and no unit. Zeros apart and a unit are chosen when they
// save at least 2 %.
void EncodeInts(const int64_t* values, size_t count, std::string* out, bool bits = false);

// Reads `count` values off the front of `in`, which is moved behind them. False if the bytes are not such a form;
// `values` then holds anything. Never reads outside of `in`, nor writes more than `count` values; takes no more memory
// than 8 bytes a value.
bool DecodeInts(std::string_view* in, size_t count, int64_t* values);

// The same for values that are all 0 or 1; false too when one is not.
bool DecodeBits(std::string_view* in, size_t count, uint8_t* bits);

// LEB128, at most 10 bytes.
void AppendVarint(uint64_t value, std::string* out);
bool ReadVarint(std::string_view* in, uint64_t* value);

inline uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
inline int64_t UnZigZag(uint64_t value) {
  return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

}  // namespace pga::columns
