#include "libs/rpc/context.h"

#include <grpcpp/server_context.h>

#include <algorithm>

#include "libs/clock/steady.h"

namespace pga::rpc {

std::optional<std::string_view> CallContext::Find(std::string_view key) const {
  for (const auto& [name, value] : request_metadata) {
    if (name == key) return value;
  }
  return std::nullopt;
}

void CallContext::SetResponseMetadata(std::string_view key, std::string_view value) {
  response_metadata.emplace_back(key, value);
  if (transport != nullptr) transport->AddInitialMetadata(std::string(key), std::string(value));
}

bool CallContext::cancelled() const {
  return transport != nullptr && transport->IsCancelled();
}

clock::SteadyTime DeadlineWithin(const CallContext& call, absl::Duration limit) {
  return std::min(call.deadline, clock::SteadyNow() + limit);
}

}  // namespace pga::rpc
