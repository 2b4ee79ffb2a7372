// HostResolver for coroutines of Boost.Asio.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/net/host_resolver.h"

namespace pga::net {

// As HostResolver::Resolve, on the coroutine's executor; the loop goes on meanwhile, and may end before the look-up
// does. `resolver` outlives the call.
boost::asio::awaitable<absl::StatusOr<HostResolver::Addresses>> ResolveAsync(HostResolver* resolver, std::string host,
                                                                             absl::Duration timeout);

}  // namespace pga::net
