#include "libs/rpc/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>

#include "libs/clock/steady.h"
#include "libs/rpc/deadline.h"

#include "libs/rpc/grpc_log.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/status.h"
#include "libs/rpc/tls_credentials.h"
#include "libs/status/status.h"
#include "libs/token/keys.h"

namespace pga::rpc {
namespace {

int Millis(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& address, const TlsOptions& tls,
                                                       const ChannelOptions& options) {
  if (address.empty()) return absl::InvalidArgumentError("an address host:port is needed");
  PGA_RETURN_IF_ERROR(ValidateClientTls(tls));
  RouteGrpcLog();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.max_receive_bytes);
  arguments.SetMaxSendMessageSize(options.max_send_bytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Millis(options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Millis(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, Millis(options.first_backoff));
  // This argument is also the time one connection attempt may take.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, Millis(options.connect_timeout));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, Millis(options.max_backoff));
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, options.use_http_proxy ? 1 : 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  // Each channel has its own connection: two identities must not share one by accident.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (options.all_addresses) arguments.SetLoadBalancingPolicyName("round_robin");
  arguments.SetUserAgentPrefix("pganalytics/" PGA_VERSION);
  if (tls.enabled && !tls.server_name.empty()) arguments.SetSslTargetNameOverride(tls.server_name);
  return grpc::CreateCustomChannel(address, MakeChannelCredentials(tls), arguments);
}

CallOptions OnBehalfOf(const CallContext& call, absl::Duration limit, ServiceIdentity* identity) {
  CallOptions options;
  options.deadline = DeadlineWithin(call, limit);
  options.identity = identity;
  options.request_id = call.request_id;
  return options;
}

CallOptions PassedOn(const CallContext& call, absl::Duration limit) {
  CallOptions options;
  options.deadline = DeadlineWithin(call, limit);
  options.bearer = call.bearer;
  options.request_id = call.request_id;
  return options;
}

CallOptions OwnWork(absl::Duration limit, ServiceIdentity* identity) {
  CallOptions options;
  options.deadline = clock::SteadyNow() + limit;
  options.identity = identity;
  return options;
}

void Canceller::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  if (context_ != nullptr) context_->TryCancel();
}

bool Canceller::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

bool Canceller::Attach(grpc::ClientContext* context) {
  absl::MutexLock lock(&mutex_);
  if (cancelled_) return false;
  context_ = context;
  return true;
}

void Canceller::Detach() {
  absl::MutexLock lock(&mutex_);
  context_ = nullptr;
}

absl::Status CallUnary(const CallOptions& options, const std::function<grpc::Status(grpc::ClientContext*)>& call) {
  if (options.deadline == clock::SteadyTime::InfiniteFuture())
    return absl::InvalidArgumentError("a call needs a deadline");
  grpc::ClientContext context;
  context.set_deadline(GrpcDeadline(options.deadline));
  context.set_wait_for_ready(options.wait_for_ready);
  std::string bearer = options.bearer;
  const bool own = bearer.empty() && options.identity != nullptr;
  if (own) {
    bearer = options.identity->Token();
    if (bearer.empty()) {
      return status::WithReason(absl::UnavailableError("this service has no token from auth yet"), "NO_SERVICE_TOKEN");
    }
  }
  if (!bearer.empty()) context.AddMetadata(kAuthorization, "Bearer " + bearer);
  context.AddMetadata(kRequestId, options.request_id.empty() ? token::RandomHex(16) : options.request_id);
  for (const auto& [key, value] : options.metadata) context.AddMetadata(key, value);

  if (options.canceller != nullptr && !options.canceller->Attach(&context)) return absl::CancelledError("ended");
  absl::Status status = FromGrpc(call(&context));
  if (options.canceller != nullptr) options.canceller->Detach();
  if (options.response_metadata != nullptr) {
    for (const auto& [key, value] : context.GetServerInitialMetadata()) {
      options.response_metadata->emplace_back(std::string(key.data(), key.size()),
                                              std::string(value.data(), value.size()));
    }
  }
  // Our own token being refused is no fault of whoever we work for, and must not look like one.
  if (own && absl::IsUnauthenticated(status) && status::ReasonOf(status).starts_with("TOKEN_")) {
    return status::WithReason(absl::UnavailableError("the service's own token was refused"), "SERVICE_TOKEN_REFUSED");
  }
  return status;
}

}  // namespace pga::rpc
