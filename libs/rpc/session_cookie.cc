#include "libs/rpc/session_cookie.h"

#include <algorithm>

#include "libs/rpc/http_metadata.h"

namespace pga::rpc {

std::string_view SessionOfCookies(std::string_view cookies) {
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
