#include "libs/frame/text.h"

#include <cstring>

namespace pga::frame {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Length of the valid character at `p`, or 0 with `*skip` = length of the maximal invalid part (Unicode 3.9, table
// 3-8).
size_t CharacterLength(const unsigned char* p, size_t left, size_t* skip) {
  const unsigned char lead = p[0];
  *skip = 1;
  if (lead == 0) return 0;
  if (lead < 0x80) return 1;
  size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;   // overlong
    if (lead == 0xED) high = 0x9F;  // surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;   // overlong
    if (lead == 0xF4) high = 0x8F;  // beyond U+10FFFF
  } else {
    return 0;
  }
  for (size_t i = 1; i < length; ++i) {
    if (i >= left || p[i] < low || p[i] > high) {
      *skip = i;
      return 0;
    }
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

// Bytes at the start of `text` that are plain ASCII without NUL, in steps of eight.
size_t AsciiPrefix(std::string_view text) {
  size_t at = 0;
  while (at + 8 <= text.size()) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    // A byte with its high bit set, or a zero byte (the classic borrow test; a false alarm only ends the fast path).
    if (((word | (word - 0x0101010101010101u)) & 0x8080808080808080u) != 0) break;
    at += 8;
  }
  return at;
}

}  // namespace

bool IsValidText(std::string_view text) {
  size_t at = AsciiPrefix(text);
  size_t skip = 0;
  while (at < text.size()) {
    const size_t length =
        CharacterLength(reinterpret_cast<const unsigned char*>(text.data()) + at, text.size() - at, &skip);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string SanitizeText(std::string_view text, size_t max_bytes, bool* replaced) {
  std::string out;
  size_t at = AsciiPrefix(text.substr(0, max_bytes));
  out.assign(text, 0, at);
  while (at < text.size()) {
    size_t skip = 0;
    const size_t length =
        CharacterLength(reinterpret_cast<const unsigned char*>(text.data()) + at, text.size() - at, &skip);
    const std::string_view piece = length > 0 ? text.substr(at, length) : kReplacement;
    if (out.size() + piece.size() > max_bytes) break;
    if (length == 0) *replaced = true;
    out.append(piece);
    at += length > 0 ? length : skip;
  }
  return out;
}

}  // namespace pga::frame
