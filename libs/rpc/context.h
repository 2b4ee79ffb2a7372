// What a handler knows about the call it serves: who calls, until when, under which request id.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/token/principal.h"

namespace grpc {
class CallbackServerContext;
}

namespace pga::rpc {

using Metadata = std::vector<std::pair<std::string, std::string>>;

// Used by one thread at a time; not copied. A context made by hand (tests, work without a call) has no transport:
// response metadata is then only kept in response_metadata, and the call is never cancelled.
struct CallContext {
  CallContext() = default;
  CallContext(CallContext&&) = default;
  CallContext& operator=(CallContext&&) = default;

  // Who calls, as verified and allowed to call this method. Anonymous where the method is open to anybody or the caller
  // presented a registration secret.
  token::Principal principal;
  // When the caller stops waiting, or the service's own limit, whichever is earlier. Every wait and every statement of
  // the handler ends by then.
  clock::SteadyTime deadline = clock::SteadyTime::InfinitePast();
  std::string request_id;
  // Address of the client ("203.0.113.7:41000", "unix", "in-process"), as forwarded by the gateway where it did.
  std::string peer;
  // Collector named by the verified client certificate of the connection; empty without one.
  std::string peer_certificate_collector_id;
  // "/pganalytics.query.v1.SystemService/GetHealth".
  std::string method;
  // The caller's own token, to be passed on where a further service acts for the same caller; empty without one. Never
  // logged.
  std::string bearer;
  Metadata request_metadata;
  Metadata response_metadata;
  grpc::CallbackServerContext* transport = nullptr;

  // First value of a request's metadata key (lower case), if it is there.
  std::optional<std::string_view> Find(std::string_view key) const;

  // Sends metadata with the answer (see http_metadata.h). To be called before the first message of a stream goes out.
  void SetResponseMetadata(std::string_view key, std::string_view value);

  // Whether the caller has gone. Long work asks now and then.
  bool cancelled() const;
};

// min(call.deadline, now + limit): the time a step of the call may take.
clock::SteadyTime DeadlineWithin(const CallContext& call, absl::Duration limit);

}  // namespace pga::rpc
