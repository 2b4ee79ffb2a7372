#pragma once

// The address of a caller, as limits and failures are counted by it. Pure.

#include <string>
#include <string_view>

namespace pga::auth {

// Without the port that a peer of the gRPC door has ("192.0.2.1:4711", "[2001:db8::1]:4711"); of IPv6 the /64.
std::string AddressOf(std::string_view peer);

}  // namespace pga::auth
