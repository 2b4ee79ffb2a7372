#include "services/auth/session_cookie.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/rpc/http_metadata.h"

namespace pga::auth {
namespace {

std::string Cookie(std::string_view value, int64_t max_age, bool secure) {
  return absl::StrCat(rpc::kSessionCookie, "=", std::string(value), "; Path=/api/v1/auth; Max-Age=", max_age,
                      "; HttpOnly; SameSite=Strict", secure ? "; Secure" : "");
}

// "scheme://host:port" in lower case, without the scheme's own port.
std::string Normal(std::string_view scheme, std::string_view host) {
  std::string origin = absl::AsciiStrToLower(absl::StrCat(std::string(scheme), "://", std::string(host)));
  const std::string port = scheme == "https" ? ":443" : ":80";
  if (origin.ends_with(port)) origin.resize(origin.size() - port.size());
  return origin;
}

}  // namespace

std::string SessionCookie(std::string_view refresh_token, absl::Duration lifetime, bool secure) {
  return Cookie(refresh_token, std::max<int64_t>(0, absl::ToInt64Seconds(lifetime)), secure);
}

std::string EndedSessionCookie(bool secure) {
  return Cookie("", 0, secure);
}

bool IsSameOrigin(std::string_view origin, std::string_view scheme, std::string_view host) {
  const size_t split = origin.find("://");
  if (split == std::string_view::npos || host.empty()) return false;
  return Normal(origin.substr(0, split), origin.substr(split + 3)) == Normal(scheme, host);
}

}  // namespace pga::auth
