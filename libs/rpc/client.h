// Calls to other services: channels, and synchronous calls with a deadline, an identity and a request id. For pool
// threads and threads of one's own; never for gRPC's callback threads, which must not wait.
//
//   auto stub = IdentityService::NewStub(channel);
//   auto answer = rpc::Call(*stub, &IdentityService::Stub::Ping, request, rpc::OnBehalfOf(call, absl::Seconds(2),
//   identity));
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/rpc/context.h"
#include "libs/rpc/service_identity.h"
#include "libs/rpc/tls.h"

namespace pga::rpc {

struct ChannelOptions {
  int max_receive_bytes = 64 << 20;
  int max_send_bytes = 64 << 20;
  // The other side is asked whether it lives after this silence, and given this long; servers of ours allow 10 s.
  absl::Duration keepalive_time = absl::Seconds(30);
  absl::Duration keepalive_timeout = absl::Seconds(10);
  // Pause before connecting again: first, then growing up to the most.
  absl::Duration first_backoff = absl::Milliseconds(200);
  absl::Duration max_backoff = absl::Seconds(10);
  // How long one attempt may take (TCP and TLS together).
  absl::Duration connect_timeout = absl::Seconds(10);
  // Whether calls go in turn to all addresses of the name, each with a connection of its own, or all to one of them.
  bool all_addresses = false;
  // Whether the environment's http_proxy is used.
  bool use_http_proxy = false;
};

// A channel to "host:port" or "unix:/path"; connects when first used. INVALID_ARGUMENT for an empty address or TLS
// options that do not fit. Never blocks.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& address, const TlsOptions& tls,
                                                       const ChannelOptions& options = {});

// Lets another thread end a call. Thread-safe; one call at a time.
class Canceller {
 public:
  // Ends the running call and every later one.
  void Cancel();
  bool cancelled() const;

  // Used by the call helpers.
  bool Attach(grpc::ClientContext* context);
  void Detach();

 private:
  mutable absl::Mutex mutex_;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

struct CallOptions {
  // Required and finite.
  clock::SteadyTime deadline = clock::SteadyTime::InfiniteFuture();
  // Whose token goes along: this service's ...
  ServiceIdentity* identity = nullptr;
  // ... or, when set, this one (a person's own token that is passed on).
  std::string bearer;
  // Made where empty.
  std::string request_id;
  // Further request metadata; keys lower case.
  Metadata metadata;
  // Wait for the connection until the deadline instead of failing at once.
  bool wait_for_ready = false;
  // Where the answer's initial metadata goes, if wanted.
  Metadata* response_metadata = nullptr;
  // Ends the call when it is cancelled.
  Canceller* canceller = nullptr;
};

// Options of a step of `call`: its request id, this service's identity, and min(its deadline, now + limit).
CallOptions OnBehalfOf(const CallContext& call, absl::Duration limit, ServiceIdentity* identity);
// The same with the caller's own token passed on.
CallOptions PassedOn(const CallContext& call, absl::Duration limit);
// Options of work without a call.
CallOptions OwnWork(absl::Duration limit, ServiceIdentity* identity);

// Sets the context up, makes the call, and turns the outcome into a Status with reason and retry delay.
// INVALID_ARGUMENT without a finite deadline; UNAVAILABLE when this service has no token yet or its token was refused.
absl::Status CallUnary(const CallOptions& options, const std::function<grpc::Status(grpc::ClientContext*)>& call);

// One unary call; blocks until the answer, the deadline, or CANCELLED.
template <typename Stub, typename Req, typename Resp>
absl::StatusOr<Resp> Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Req&, Resp*),
                          const Req& request, const CallOptions& options) {
  Resp response;
  const absl::Status status =
      CallUnary(options, [&](grpc::ClientContext* context) { return (stub.*method)(context, request, &response); });
  if (!status.ok()) return status;
  return response;
}

// One server-streaming call: `on_message` gets every message; its failure ends the call and is returned. Blocks until
// the stream ends, the deadline passes or the call is cancelled.
template <typename Stub, typename Req, typename Resp>
absl::Status CallStream(Stub& stub,
                        std::unique_ptr<grpc::ClientReader<Resp>> (Stub::*method)(grpc::ClientContext*, const Req&),
                        const Req& request, const CallOptions& options,
                        const std::function<absl::Status(Resp&)>& on_message) {
  absl::Status stopped;
  const absl::Status status = CallUnary(options, [&](grpc::ClientContext* context) {
    auto reader = (stub.*method)(context, request);
    Resp message;
    while (stopped.ok() && reader->Read(&message)) stopped = on_message(message);
    if (!stopped.ok()) {
      context->TryCancel();
      while (reader->Read(&message)) {
      }
    }
    return reader->Finish();
  });
  return stopped.ok() ? status : stopped;
}

}  // namespace pga::rpc
