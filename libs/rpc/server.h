// A gRPC server with the limits, TLS, health service and shutdown that every service of ours has. It may listen on TCP
// or unix addresses, take connections that somebody else accepted, and always offers an in-process channel. What comes
// from the network comes in through a Door (door.h), never through gRPC's own listener.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/door.h"
#include "libs/rpc/tls.h"

namespace grpc {
class Channel;
class Service;
}  // namespace grpc

namespace pga::rpc {

class Authenticator;
class Dispatcher;

// Thread-safe after Start.
class Server {
 public:
  struct Options {
    // For logs: "ingest".
    std::string name;
    // "host:port" (port 0 takes a free one), "[::1]:port", "unix:/path". Empty = in-process and handed-over only.
    std::vector<std::string> listen;
    TlsOptions tls;
    // Limits of those addresses, and of handed-over connections.
    DoorLimits limits = DoorLimits::Inside();
    // Networks from which connections to those addresses begin with a PROXY header that is believed (Door::Listener).
    std::vector<std::string> proxies = {};
    // Further addresses, with settings of their own: for callers from outside, where the services among themselves
    // speak otherwise.
    std::vector<std::string> outside_listen = {};
    TlsOptions outside_tls = {};
    DoorLimits outside_limits = DoorLimits::Outside();
    std::vector<std::string> outside_proxies = {};
    // Callback services; they must outlive the server.
    std::vector<grpc::Service*> services;
    // The dispatcher of these services, where they have one: Drain makes it refuse new calls and waits for its running
    // ones. It must outlive the server.
    Dispatcher* dispatcher = nullptr;
    // Largest message taken and sent.
    int max_receive_bytes = 1 << 20;
    int max_send_bytes = 64 << 20;
    // Distinguishes callers from outside (Door::Options); may be null.
    const Authenticator* authenticator = nullptr;
    // Counts of calls by the minute, shared with whatever else of the process counts by them; outlives the server. Null
    // = the server's own.
    retry::RateLimiter* rates = nullptr;
    metrics::Registry* metrics = nullptr;
    int door_threads = 1;
    // Whether AcceptConnection is used. Handed-over connections speak TLS if `tls` is enabled.
    bool external_acceptor = false;
  };

  // INVALID_ARGUMENT for TLS options that do not fit, UNAVAILABLE when an address cannot be bound. The server serves
  // when this returns, and health says SERVING.
  static absl::StatusOr<std::unique_ptr<Server>> Start(Options options);

  // Drains at once if Drain was not called.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // A channel to this server inside the process. It carries neither TLS identity nor call credentials: identity goes
  // as metadata. After Drain its calls are answered UNAVAILABLE (by the dispatcher); it must not be used once the
  // server is destroyed, so every user is drained or stopped before that.
  std::shared_ptr<grpc::Channel> InProcessChannel();

  // Bound ports in the order of `listen`, then `outside_listen` (0 for unix sockets).
  const std::vector<int>& ports() const { return ports_; }

  // Serves a connected socket together with the bytes already read from it. Takes over `fd` in every case.
  // FAILED_PRECONDITION without Options::external_acceptor or after Drain.
  absl::Status AcceptConnection(int fd, std::string already_read);

  // Bytes of messages from the network that are held now, and connections open now.
  int64_t held_bytes() const;
  int connections() const;

  // What the health service (grpc.health.v1) answers, for "" and every service.
  void SetServing(bool serving);

  // Says NOT_SERVING, closes the listeners, refuses new calls, lets running ones finish until the deadline, then
  // cancels those of the network and waits for their handlers to return (they end by their own deadlines and see
  // cancelled()). Repeating is safe.
  void Drain(clock::SteadyTime deadline);

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
  std::vector<int> ports_;
};

}  // namespace pga::rpc
