#pragma once

// A browser's session: the refresh token in a cookie that scripts cannot read and that other sites' pages do not send.
// Pure functions.

#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace pga::auth {

// Value of Set-Cookie: HttpOnly, SameSite=Strict, for /api/v1/auth alone; Secure where the client speaks https.
std::string SessionCookie(std::string_view refresh_token, absl::Duration lifetime, bool secure);
// The same that makes a browser forget it.
std::string EndedSessionCookie(bool secure);

// Whether a page of `origin` ("https://host:port", the header of that name) belongs to the host and scheme that were
// asked. False without an origin: browsers name one with every request that changes something.
bool IsSameOrigin(std::string_view origin, std::string_view scheme, std::string_view host);

}  // namespace pga::auth
