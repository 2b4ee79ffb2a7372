#include "libs/token/names.h"

namespace pga::token {

bool HasInvisible(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7F) return true;
    const auto next = [&](size_t ahead) {
      return i + ahead < text.size() ? static_cast<unsigned char>(text[i + ahead]) : 0U;
    };
    // U+0080 to U+009F, U+00AD.
    if (byte == 0xC2 && (next(1) < 0xA0 || next(1) == 0xAD)) return true;
    // U+200B to U+200F, U+2028 to U+202E, U+2060 to U+206F; U+FEFF.
    if (byte == 0xE2 && next(1) == 0x80 &&
        ((next(2) >= 0x8B && next(2) <= 0x8F) || (next(2) >= 0xA8 && next(2) <= 0xAE))) {
      return true;
    }
    if (byte == 0xE2 && next(1) == 0x81 && next(2) >= 0xA0 && next(2) <= 0xAF) return true;
    if (byte == 0xEF && next(1) == 0xBB && next(2) == 0xBF) return true;
  }
  return false;
}

}  // namespace pga::token
