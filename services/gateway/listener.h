#pragma once

// The port: accepts connections, finds out by their first bytes who is calling, and serves them (HTTP), or passes them
// on untouched (gRPC of collectors). Owns the event loop and its few threads.

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/door/networks.h"
#include "libs/metrics/registry.h"
#include "services/gateway/http_session.h"

namespace pga::gateway {

class TlsContext;

class Listener {
 public:
  struct Options {
    std::string address;
    int port = 0;
    int threads = 2;
    int max_connections = 2000;
    int max_connections_per_address = 500;
    // Whose connections are not counted by address; may be null. Outlives the listener.
    const door::TrustedProxies* proxies = nullptr;
    // Whose connections begin with a PROXY header that says whose they are; may be null. Outlives the listener.
    const door::TrustedProxies* proxy_from = nullptr;
    // Spliced connections begin with a PROXY header that names the client.
    bool proxy_protocol = false;
    // Null = plain HTTP.
    TlsContext* tls = nullptr;
    // Takes over a connected, non-blocking socket with the bytes already read from it.
    std::function<absl::Status(int fd, std::string already_read)> hand_over;
    // Without hand_over: "host:port" that gRPC connections are spliced to; empty = they are closed.
    std::string splice_to;
    metrics::Registry* metrics = nullptr;
    // Outlives the listener.
    SessionShared* shared = nullptr;
  };

  // INVALID_ARGUMENT for an address that is none, UNAVAILABLE (with what to do) when the port is taken. Serves when it
  // returns.
  static absl::StatusOr<std::unique_ptr<Listener>> Start(Options options);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const;

  // Accepts no more, closes idle connections, lets requests finish until the deadline, then closes everything and ends
  // the threads. Spliced connections end with the last request. Repeating is safe.
  void Drain(clock::SteadyTime deadline);

 private:
  class Impl;
  explicit Listener(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pga::gateway
