#include "services/gateway/percent_encoding.h"

#include <cstddef>

namespace pga::gateway {
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool Keeps(Unescape policy, char c) {
  constexpr std::string_view kReserved = "!#$&'()*+,/:;=?@[]";
  switch (policy) {
    case Unescape::kAll:
      return false;
    case Unescape::kAllExceptSlash:
      return c == '/';
    case Unescape::kAllExceptReserved:
      return kReserved.find(c) != std::string_view::npos;
  }
  return true;
}

}  // namespace

std::string PercentDecode(std::string_view text, Unescape policy) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const int high = HexValue(text[i + 1]);
      const int low = HexValue(text[i + 2]);
      if (high >= 0 && low >= 0) {
        const char decoded = static_cast<char>(high * 16 + low);
        if (!Keeps(policy, decoded)) {
          out.push_back(decoded);
          i += 2;
          continue;
        }
      }
    }
    out.push_back(text[i]);
  }
  return out;
}

}  // namespace pga::gateway
