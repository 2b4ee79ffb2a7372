#include "services/auth/address.h"

#include "libs/door/networks.h"

namespace pga::auth {

std::string AddressOf(std::string_view peer) {
  if (peer.starts_with('[')) {
    peer = peer.substr(1, peer.find(']') - 1);
  } else if (const size_t colon = peer.find(':');
             colon != std::string_view::npos && peer.find(':', colon + 1) == std::string_view::npos) {
    peer = peer.substr(0, colon);
  }
  return door::RateLimitKeyOf(peer);
}

}  // namespace pga::auth
