#pragma once

// Percent decoding of request paths and query strings (RFC 3986 2.1), with the two policies of the transcoding rules:
// everything in single-segment variables and query values, everything but reserved characters in multi-segment ones.
// Pure functions, thread-safe, never fail: an incomplete or non-hexadecimal sequence stays as it is.

#include <string>
#include <string_view>

namespace pga::gateway {

enum class Unescape {
  // Every %XX.
  kAll,
  // Every %XX but those of ! # $ & ' ( ) * + , / : ; = ? @ [ ].
  kAllExceptReserved,
  // Every %XX but %2F.
  kAllExceptSlash,
};

std::string PercentDecode(std::string_view text, Unescape policy);

}  // namespace pga::gateway
