#include "libs/frame/text.h"

#include <cstring>

#include "libs/text/utf8.h"

namespace pga::frame {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// As text::CharacterLength, but NUL is no character.
size_t CharacterLength(std::string_view text, size_t* skip) {
  if (text[0] != 0) return text::CharacterLength(text, skip);
  *skip = 1;
  return 0;
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
    const size_t length = CharacterLength(text.substr(at), &skip);
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
    const size_t length = CharacterLength(text.substr(at), &skip);
    const std::string_view piece = length > 0 ? text.substr(at, length) : kReplacement;
    if (out.size() + piece.size() > max_bytes) break;
    if (length == 0) *replaced = true;
    out.append(piece);
    at += length > 0 ? length : skip;
  }
  return out;
}

}  // namespace pga::frame
