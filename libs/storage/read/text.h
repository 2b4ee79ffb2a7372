// Joining of pieces of SQL and messages from std::string_view (which absl::StrCat of Debian 12 does not take), strings
// and integers.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

namespace pga::storage::internal {

inline void AppendPiece(std::string& out, std::string_view piece) {
  out.append(piece);
}
template <std::integral T>
void AppendPiece(std::string& out, T number) {
  out += std::to_string(number);
}

template <typename... Pieces>
void AppendTo(std::string* out, const Pieces&... pieces) {
  (AppendPiece(*out, pieces), ...);
}

template <typename... Pieces>
std::string Cat(const Pieces&... pieces) {
  std::string out;
  (AppendPiece(out, pieces), ...);
  return out;
}

}  // namespace pga::storage::internal
