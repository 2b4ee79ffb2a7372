#include "libs/rpc/server.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/grpc_log.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"

namespace pga::rpc {
namespace {

// How long the end waits for calls in the process, whose users have stopped before.
constexpr absl::Duration kEnd = absl::Seconds(1);

}  // namespace

// One gRPC server without a listener, and doors before it: one for the services among themselves, one for callers from
// outside. In gRPC 1.51 a call that starts on an in-process channel after its server's shutdown crashes the process, so
// that the server is shut down only at the very end, when no user is left.
struct Server::State {
  Options options;
  std::unique_ptr<grpc::Server> server;
  // Null without addresses of that kind.
  std::unique_ptr<Door> inside;
  std::unique_ptr<Door> outside;
  absl::Mutex mutex;
  bool drained ABSL_GUARDED_BY(mutex) = false;
};

namespace {

absl::StatusOr<std::unique_ptr<Door>> OpenDoor(const Server::Options& options, bool outside,
                                               std::shared_ptr<grpc::Channel> channel) {
  const std::vector<std::string>& addresses = outside ? options.outside_listen : options.listen;
  if (addresses.empty() && (outside || !options.external_acceptor)) return nullptr;
  Door::Options door;
  door.name = options.name;
  for (const std::string& address : addresses) {
    door.listeners.push_back({.address = address,
                              .tls = outside ? options.outside_tls : options.tls,
                              .proxies = outside ? options.outside_proxies : options.proxies});
  }
  if (!outside && options.external_acceptor) door.handed_over_tls = options.tls;
  door.limits = outside ? options.outside_limits : options.limits;
  door.limits.receive_bytes = options.max_receive_bytes;
  door.threads = options.door_threads;
  door.channel = std::move(channel);
  door.authenticator = options.authenticator;
  door.rates = options.rates;
  door.metrics = options.metrics;
  return Door::Start(std::move(door));
}

}  // namespace

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Options options) {
  PGA_RETURN_IF_ERROR(status::Annotate(ValidateServerTls(options.tls), options.name));
  PGA_RETURN_IF_ERROR(status::Annotate(ValidateServerTls(options.outside_tls), options.name));
  RouteGrpcLog();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(options.max_receive_bytes);
  builder.SetMaxSendMessageSize(options.max_send_bytes);
  // Batches come compressed by zstd; gRPC's own compression only costs (and opens the door to bombs).
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder.SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  auto state = std::make_unique<State>();
  state->server = builder.BuildAndStart();
  if (state->server == nullptr) {
    return absl::UnavailableError(absl::StrCat(options.name, ": the gRPC server did not start"));
  }
  state->options = std::move(options);
  std::unique_ptr<Server> server(new Server(std::move(state)));
  State& made = *server->state_;
  PGA_ASSIGN_OR_RETURN(made.inside, OpenDoor(made.options, /*outside=*/false, server->InProcessChannel()));
  PGA_ASSIGN_OR_RETURN(made.outside, OpenDoor(made.options, /*outside=*/true, server->InProcessChannel()));
  for (const Door* door : {made.inside.get(), made.outside.get()}) {
    if (door != nullptr) server->ports_.insert(server->ports_.end(), door->ports().begin(), door->ports().end());
  }
  server->SetServing(true);
  return server;
}

Server::~Server() {
  Drain(clock::SteadyNow());
  state_->inside.reset();
  state_->outside.reset();
  state_->server->Shutdown(GrpcDeadline(clock::SteadyNow() + kEnd));
  state_->server->Wait();
}

std::shared_ptr<grpc::Channel> Server::InProcessChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(state_->options.max_send_bytes);
  return state_->server->InProcessChannel(arguments);
}

absl::Status Server::AcceptConnection(int fd, std::string already_read) {
  if (!state_->options.external_acceptor) {
    close(fd);
    return absl::FailedPreconditionError("this server takes no handed-over connections");
  }
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    close(fd);
    return absl::InvalidArgumentError("not a socket that can be served");
  }
  return state_->inside->Accept(fd, std::move(already_read));
}

int64_t Server::held_bytes() const {
  int64_t bytes = 0;
  for (const Door* door : {state_->inside.get(), state_->outside.get()}) bytes += door == nullptr ? 0 : door->bytes();
  return bytes;
}

int Server::connections() const {
  int count = 0;
  for (const Door* door : {state_->inside.get(), state_->outside.get()}) {
    count += door == nullptr ? 0 : door->connections();
  }
  return count;
}

void Server::SetServing(bool serving) {
  if (auto* health = state_->server->GetHealthCheckService()) health->SetServingStatus(serving);
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
  for (Door* door : {state_->outside.get(), state_->inside.get()}) {
    if (door != nullptr) door->Drain(deadline);
  }
  if (dispatcher != nullptr) dispatcher->AwaitIdle(deadline);
}

}  // namespace pga::rpc
