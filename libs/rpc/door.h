// Where HTTP/2 from outside a process ends: listeners and handed-over connections, TLS, client certificates, frames,
// streams and messages, all within bounds (docs/adr/2026-11-28-outside-http2.md). Each call goes on as a call on an
// in-process channel, with the address and the certificate of its caller as metadata that nobody else can set
// (door_metadata.h). libs/rpc/server.h owns one; nothing else uses it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/door/byte_budget.h"
#include "libs/door/connection_table.h"
#include "libs/door/http2_guard.h"
#include "libs/metrics/registry.h"
#include "libs/retry/rate_limiter.h"
#include "libs/rpc/tls.h"

namespace grpc {
class Channel;
}

namespace pga::rpc {

class Authenticator;

// How much a caller may take. Times are measured on a clock that nobody sets.
struct DoorLimits {
  door::ConnectionTable::Limits connections;
  door::FrameLimits frames;

  // ---- Before the caller is known
  // TLS handshake and HTTP/2 preface, together.
  absl::Duration handshake = absl::Seconds(10);
  // Our SETTINGS acknowledged, counted from the preface.
  absl::Duration settings_ack = absl::Seconds(10);
  // A connection whose caller is not known, without a call.
  absl::Duration unknown_idle = absl::Seconds(30);
  // Calls under way without a known caller: on one connection, from one address, in all.
  int unknown_calls = 4;
  int unknown_calls_per_address = 64;
  int unknown_calls_total = 512;
  // Largest message of a caller that is not known.
  int unknown_message_bytes = 64 << 10;
  door::ByteBudget::Limits unknown_bytes{4 << 20, 8 << 20, 256 << 10, 1 << 20};

  // ---- Afterwards
  absl::Duration idle = absl::Minutes(15);
  // Calls under way on one connection, cancelled ones included until their handler has returned; of one caller; in all.
  int calls = 100;
  int calls_per_caller = 64;
  int calls_total = 12'000;
  door::ByteBudget::Limits bytes{48 << 20, 64 << 20, 24 << 20, 32 << 20};
  // Flow-control windows of a stream and of a connection.
  int stream_window = 256 << 10;
  int connection_window = 1 << 20;

  // ---- At all times
  int metadata_bytes = 16 << 10;
  int metadata_entries = 100;
  int receive_bytes = 1 << 20;
  // What one connection may hold in the HTTP/2 library: streams, header tables, frames to be sent.
  size_t session_bytes = size_t{2} << 20;
  // Connections that take or give nothing of what they began: a message may take `stall` and a second for every
  // slowest_bytes_per_second of it.
  absl::Duration stall = absl::Seconds(30);
  int slowest_bytes_per_second = 16 << 10;
  absl::Duration keepalive_time = absl::Seconds(60);
  absl::Duration keepalive_timeout = absl::Seconds(20);
  absl::Duration max_age = absl::InfiniteDuration();
  absl::Duration max_age_grace = absl::Seconds(30);

  // Calls a minute: of an address without a good credential, of a person, of a collector; 0 = not limited. Services are
  // never limited.
  int address_per_minute = 0;
  int user_per_minute = 0;
  int collector_per_minute = 0;

  // For ports that only services and probes reach: many calls, from few addresses, and none counted by the minute.
  static DoorLimits Inside();
  // For ports that anybody may reach.
  static DoorLimits Outside();
};

// Thread-safe after Start.
class Door {
 public:
  struct Listener {
    // "host:port" (port 0 takes a free one), "[::1]:port", "unix:/path".
    std::string address;
    TlsOptions tls;
    // Networks from which the PROXY protocol, version 2, is expected and believed ("10.0.0.0/8"); empty = from none.
    std::vector<std::string> proxies;
  };
  struct Options {
    // For logs and metrics: "ingest".
    std::string name;
    std::vector<Listener> listeners;
    // TLS of handed-over connections.
    TlsOptions handed_over_tls;
    DoorLimits limits;
    int threads = 1;
    // Where calls go on: a channel inside the process, which must outlive the door.
    std::shared_ptr<grpc::Channel> channel;
    // Distinguishes callers, for the limits; what a caller may do the services decide. Null = no caller is known, and
    // every connection counts as known from its first call on.
    const Authenticator* authenticator = nullptr;
    // Counts of calls by the minute, shared with other doors of the process; outlives the door. Null = one of its own.
    retry::RateLimiter* rates = nullptr;
    // May be null.
    metrics::Registry* metrics = nullptr;
    clock::Clock* clock = clock::Clock::Real();
  };

  // INVALID_ARGUMENT for TLS settings and networks that cannot be read, UNAVAILABLE when an address cannot be bound.
  // Serves when it returns.
  static absl::StatusOr<std::unique_ptr<Door>> Start(Options options);
  // Ends everything at once, and waits for the calls' handlers to return.
  ~Door();
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  // Bound ports in the order of the listeners (0 for unix sockets).
  const std::vector<int>& ports() const;

  // Serves a connected socket together with the bytes already read from it. Takes over `fd` in every case.
  // FAILED_PRECONDITION after Drain.
  absl::Status Accept(int fd, std::string already_read);

  // Closes the listeners, asks clients to begin nothing more (GOAWAY), lets calls finish until the deadline, then
  // cancels them and waits for their handlers to return. Repeating is safe.
  void Drain(clock::SteadyTime deadline);

  // Bytes of messages that are held now, and connections open now.
  int64_t bytes() const;
  int connections() const;

 private:
  class Impl;
  explicit Door(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pga::rpc
