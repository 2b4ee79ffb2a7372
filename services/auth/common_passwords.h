#pragma once

// The most common passwords of published breaches: the list of Debian's package john-data, built in.

#include <span>
#include <string_view>

namespace pga::auth {

// 3,000 or more, in lower case, sorted by bytes.
std::span<const std::string_view> CommonPasswords();

}  // namespace pga::auth
