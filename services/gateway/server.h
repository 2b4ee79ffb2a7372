#pragma once

// The gateway as a whole: where its parts are built and joined. Usable inside pganalytics-api (channels inside the
// process, sockets handed over to ingest) and alone (channels to other hosts, gRPC connections spliced).

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/retry/rate_limiter.h"
#include "libs/token/revocation_set.h"
#include "libs/token/verifier.h"
#include "services/gateway/config.h"

namespace grpc {
class Channel;
}

namespace pga::gateway {

class GatewayService {
 public:
  struct Deps {
    metrics::Registry* metrics = nullptr;
    clock::Clock* clock = clock::Clock::Real();
    const token::Verifier* verifier = nullptr;
    const token::RevocationSet* revocations = nullptr;
    // Prefix of a service's full name ("pganalytics.auth.") and the channel to it; the longest prefix counts. Every
    // service with HTTP methods must have one.
    std::vector<std::pair<std::string, std::shared_ptr<grpc::Channel>>> channels;
    // Counts of requests by the minute, shared with the gRPC door of the process; null = a count of the gateway's own.
    retry::RateLimiter* rates = nullptr;
    // The gateway's own token (rpc::ServiceIdentity::Token), by which services believe the forwarded client address.
    std::function<std::string()> service_token;
    // Takes gRPC connections of collectors (rpc::Server::AcceptConnection of ingest); owns `fd` from then on.
    std::function<absl::Status(int fd, std::string already_read)> hand_over;
    // Without hand_over: "host:port" of ingest; empty = gRPC connections are refused.
    std::string ingest_address;
  };

  // INVALID_ARGUMENT names what is wrong with settings, descriptor set or certificate. Nothing is served yet. What
  // `deps` points to outlives the service.
  static absl::StatusOr<std::unique_ptr<GatewayService>> Create(GatewayConfig config, Deps deps);
  ~GatewayService();
  GatewayService(const GatewayService&) = delete;
  GatewayService& operator=(const GatewayService&) = delete;

  // Opens the port; UNAVAILABLE when it is taken.
  absl::Status Start();
  // The bound port, after Start.
  int port() const;
  // Finishes running requests until the deadline, then closes everything. Repeating is safe.
  void Drain(clock::SteadyTime deadline);

 private:
  struct Parts;
  explicit GatewayService(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pga::gateway
