// The cookie that holds a browser's session, as the gateway passes it on and auth reads it. Pure.
#pragma once

#include <algorithm>
#include <string_view>

#include "libs/rpc/http_metadata.h"

namespace pga::rpc {

// The value of kSessionCookie in a header Cookie (RFC 6265, 5.4), a part of `cookies`; empty without one.
inline std::string_view SessionOfCookies(std::string_view cookies) {
  constexpr std::string_view kName = kSessionCookie;
  while (!cookies.empty()) {
    const size_t end = std::min(cookies.find(';'), cookies.size());
    std::string_view one = cookies.substr(0, end);
    cookies.remove_prefix(std::min(end + 1, cookies.size()));
    one.remove_prefix(std::min(one.find_first_not_of(' '), one.size()));
    if (one.starts_with(kName) && one.substr(kName.size()).starts_with('=')) return one.substr(kName.size() + 1);
  }
  return {};
}

}  // namespace pga::rpc
