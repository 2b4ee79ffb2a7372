// The cookie that holds a browser's session, as the gateway passes it on and auth reads it.
#pragma once

#include <string_view>

namespace pga::rpc {

// The value of kSessionCookie in a header Cookie (RFC 6265, 5.4), a part of `cookies`; empty without one.
std::string_view SessionOfCookies(std::string_view cookies);

}  // namespace pga::rpc
