#include "libs/rpc/server.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>
#include <unistd.h>

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "libs/log/log.h"
#include "libs/rpc/tls_credentials.h"
#include "libs/status/status.h"

namespace pga::rpc {
namespace {

int Millis(absl::Duration duration) {
  return duration >= absl::Hours(500) ? INT_MAX : static_cast<int>(absl::ToInt64Milliseconds(duration));
}

}  // namespace

struct Server::State {
  std::string name;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  absl::Mutex mutex;
  bool drained ABSL_GUARDED_BY(mutex) = false;
};

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Options options) {
  PGA_RETURN_IF_ERROR(status::Annotate(ValidateServerTls(options.tls), options.name));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(options.max_receive_bytes);
  builder.SetMaxSendMessageSize(options.max_send_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, options.max_metadata_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, Millis(options.handshake_timeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Millis(options.keepalive_time));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Millis(options.keepalive_timeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, Millis(options.min_ping_interval));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Millis(options.max_connection_idle));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Millis(options.max_connection_age));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, Millis(options.max_connection_age_grace));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Batches come compressed by zstd; gRPC's own compression only costs (and opens the door to bombs).
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder.SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  grpc::ResourceQuota quota(options.name.empty() ? "server" : options.name);
  quota.Resize(options.resource_quota_bytes);
  builder.SetResourceQuota(quota);

  const auto credentials = MakeServerCredentials(options.tls);
  std::vector<int> ports(options.listen.size(), 0);
  for (size_t i = 0; i < options.listen.size(); ++i) {
    builder.AddListeningPort(options.listen[i], credentials, &ports[i]);
  }
  auto state = std::make_unique<State>();
  state->name = options.name;
  if (options.external_acceptor) {
    state->acceptor = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  }
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  state->server = builder.BuildAndStart();
  for (size_t i = 0; i < options.listen.size(); ++i) {
    if (ports[i] == 0 && !options.listen[i].starts_with("unix")) {
      return absl::UnavailableError(absl::StrCat(options.name, ": cannot listen on ", options.listen[i]));
    }
  }
  if (state->server == nullptr) {
    return absl::UnavailableError(absl::StrCat(options.name, ": the gRPC server did not start"));
  }
  std::unique_ptr<Server> server(new Server(std::move(state)));
  server->ports_ = std::move(ports);
  server->SetServing(true);
  return server;
}

Server::~Server() {
  Drain(absl::Now());
}

std::shared_ptr<grpc::Channel> Server::InProcessChannel() {
  grpc::ChannelArguments arguments;
  // One process trusts itself with large answers; the server's own limits hold for requests.
  arguments.SetMaxReceiveMessageSize(64 << 20);
  return state_->server->InProcessChannel(arguments);
}

absl::Status Server::AcceptConnection(int fd, std::string already_read) {
  if (state_->acceptor == nullptr) {
    close(fd);
    return absl::FailedPreconditionError("this server takes no handed-over connections");
  }
  absl::MutexLock lock(&state_->mutex);
  if (state_->drained) {
    close(fd);
    return absl::FailedPreconditionError("the server is shutting down");
  }
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    close(fd);
    return absl::InvalidArgumentError("not a socket that can be served");
  }
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
  parameters.listener_fd = -1;
  parameters.fd = fd;
  if (!already_read.empty()) {
    grpc::Slice slice(already_read);
    parameters.read_buffer = grpc::ByteBuffer(&slice, 1);
  }
  state_->acceptor->HandleNewConnection(&parameters);
  return absl::OkStatus();
}

void Server::SetServing(bool serving) {
  if (auto* health = state_->server->GetHealthCheckService(); health != nullptr) health->SetServingStatus(serving);
}

void Server::Drain(absl::Time deadline) {
  {
    absl::MutexLock lock(&state_->mutex);
    if (state_->drained) return;
    state_->drained = true;
  }
  SetServing(false);
  state_->server->Shutdown(absl::ToChronoTime(std::max(deadline, absl::Now())));
  state_->server->Wait();
}

}  // namespace pga::rpc
