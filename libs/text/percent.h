// Percent encoding (RFC 3986 2.1). Pure, thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace pga::text {

// Every byte but the unreserved characters (letters of ASCII, digits, - . _ ~) as %XX.
std::string PercentEncode(std::string_view text);

}  // namespace pga::text
