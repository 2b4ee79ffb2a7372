#include "libs/rpc/server.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/grpc_log.h"
#include "libs/rpc/tls_credentials.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"

namespace pga::rpc {
namespace {

int Millis(absl::Duration duration) {
  return duration >= absl::Hours(500) ? INT_MAX : static_cast<int>(absl::ToInt64Milliseconds(duration));
}

}  // namespace

// Two gRPC servers behind one face: one for the network, and one for in-process channels, made when the first is asked
// for. In gRPC 1.51 a call that starts on an in-process channel after the server's shutdown crashes the process, so
// that one is shut down only at the very end, when no user is left.
struct Server::State {
  Options options;
  std::unique_ptr<grpc::Server> network;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  absl::Mutex mutex;
  std::unique_ptr<grpc::Server> in_process ABSL_GUARDED_BY(mutex);
  bool serving ABSL_GUARDED_BY(mutex) = false;
  bool drained ABSL_GUARDED_BY(mutex) = false;
};

namespace {

// Limits that hold for every connection of the server.
void Limit(const Server::Options& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(options.max_receive_bytes);
  builder->SetMaxSendMessageSize(options.max_send_bytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, options.max_metadata_bytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, Millis(options.handshake_timeout));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Millis(options.keepalive_time));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Millis(options.keepalive_timeout));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, Millis(options.min_ping_interval));
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Millis(options.max_connection_idle));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Millis(options.max_connection_age));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, Millis(options.max_connection_age_grace));
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Batches come compressed by zstd; gRPC's own compression only costs (and opens the door to bombs).
  builder->SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder->SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  grpc::ResourceQuota quota(options.name.empty() ? "server" : options.name);
  quota.Resize(options.resource_quota_bytes);
  builder->SetResourceQuota(quota);
}

}  // namespace

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Options options) {
  PGA_RETURN_IF_ERROR(status::Annotate(ValidateServerTls(options.tls), options.name));
  PGA_RETURN_IF_ERROR(status::Annotate(ValidateServerTls(options.outside_tls), options.name));
  RouteGrpcLog();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  Limit(options, &builder);
  const auto credentials = MakeServerCredentials(options.tls);
  std::vector<std::string> addresses = options.listen;
  addresses.insert(addresses.end(), options.outside_listen.begin(), options.outside_listen.end());
  const auto outside_credentials = MakeServerCredentials(options.outside_tls);
  std::vector<int> ports(addresses.size(), 0);
  for (size_t i = 0; i < addresses.size(); ++i) {
    builder.AddListeningPort(addresses[i], i < options.listen.size() ? credentials : outside_credentials, &ports[i]);
  }
  auto state = std::make_unique<State>();
  if (options.external_acceptor) {
    state->acceptor = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  }
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  state->network = builder.BuildAndStart();
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (ports[i] == 0 && !addresses[i].starts_with("unix")) {
      return absl::UnavailableError(absl::StrCat(options.name, ": cannot listen on ", addresses[i]));
    }
  }
  if (state->network == nullptr) {
    return absl::UnavailableError(absl::StrCat(options.name, ": the gRPC server did not start"));
  }
  state->options = std::move(options);
  std::unique_ptr<Server> server(new Server(std::move(state)));
  server->ports_ = std::move(ports);
  server->SetServing(true);
  return server;
}

Server::~Server() {
  Drain(clock::SteadyNow());
  absl::MutexLock lock(&state_->mutex);
  if (state_->in_process == nullptr) return;
  state_->in_process->Shutdown(GrpcDeadline(clock::SteadyNow()));
  state_->in_process->Wait();
}

std::shared_ptr<grpc::Channel> Server::InProcessChannel() {
  absl::MutexLock lock(&state_->mutex);
  if (state_->in_process == nullptr) {
    grpc::ServerBuilder builder;
    Limit(state_->options, &builder);
    for (grpc::Service* service : state_->options.services) builder.RegisterService(service);
    state_->in_process = builder.BuildAndStart();
    if (auto* health = state_->in_process->GetHealthCheckService()) health->SetServingStatus(state_->serving);
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(state_->options.max_send_bytes);
  return state_->in_process->InProcessChannel(arguments);
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
  absl::MutexLock lock(&state_->mutex);
  state_->serving = serving;
  for (grpc::Server* server : {state_->network.get(), state_->in_process.get()}) {
    if (server == nullptr) continue;
    if (auto* health = server->GetHealthCheckService()) health->SetServingStatus(serving);
  }
}

void Server::Drain(clock::SteadyTime deadline) {
  {
    absl::MutexLock lock(&state_->mutex);
    if (state_->drained) return;
    state_->drained = true;
  }
  SetServing(false);
  Dispatcher* const dispatcher = state_->options.dispatcher;
  if (dispatcher != nullptr) dispatcher->RefuseNewCalls();
  state_->network->Shutdown(GrpcDeadline(std::max(deadline, clock::SteadyNow())));
  state_->network->Wait();
  if (dispatcher != nullptr) dispatcher->AwaitIdle(deadline);
}

}  // namespace pga::rpc
