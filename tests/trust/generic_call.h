// A method of a running service called by its name with an empty message, for tests that try all of them.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace pga::integration {

// "/package.Service/Method" with these metadata: how it ended, OK as soon as a message came back. Waits at most 20 s.
absl::Status CallWithEmptyMessage(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                                  const std::vector<std::pair<std::string, std::string>>& metadata);

}  // namespace pga::integration
