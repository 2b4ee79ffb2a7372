// A fuzzer of several parsers: each input names its parser by its first byte.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace pga::frame {

// The parser of an input of at least one byte: its first byte, or that of PGA_FUZZ_KIND, with which tools/check.sh
// gives each parser a time of its own.
inline char FuzzKindOf(const uint8_t* data) {
  static const char* const kOnly = std::getenv("PGA_FUZZ_KIND");
  return kOnly != nullptr ? *kOnly : static_cast<char>(data[0]);
}

}  // namespace pga::frame
