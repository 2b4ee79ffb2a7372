#pragma once

// What happens to a request before its body is read, in one place and in this order: request id, security headers,
// CORS, client address, identity, rate limit, route, permission. No sockets: a request head goes in, a decision comes
// out. Thread-safe.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/clock/clock.h"
#include "libs/door/networks.h"
#include "libs/metrics/registry.h"
#include "libs/retry/rate_limiter.h"
#include "libs/token/principal.h"
#include "libs/token/revocation_set.h"
#include "libs/token/verifier.h"
#include "services/gateway/api_surface.h"
#include "services/gateway/config.h"
#include "services/gateway/console_files.h"
#include "services/gateway/http_error.h"
#include "services/gateway/request_head.h"

namespace pga::gateway {

struct Admission {
  std::string request_id;
  std::string client_address;
  // "http" or "https", as the client sees it.
  std::string scheme;
  // What the caller's limits are counted by: its subject, or its address.
  std::string caller;
  // Go with every answer to this request, refusals included.
  HeaderList headers;
  // Set: answer this at once, without reading the body.
  std::optional<HttpError> refusal;
  // Answer 204 at once (CORS preflight, OPTIONS).
  bool options = false;
  // Answer with this file of the console.
  const ConsoleFile* console_file = nullptr;
  // A message of MCP by somebody who may read; its tools are judged one by one.
  bool mcp = false;
  // Set when admitted; also set for refusals of a known route.
  const ApiRoute* route = nullptr;
  std::vector<PathMatcher::Binding> bindings;
  token::Principal principal;
};

class Pipeline {
 public:
  struct Deps {
    const ApiSurface* api = nullptr;
    const token::Verifier* verifier = nullptr;
    const token::RevocationSet* revocations = nullptr;
    clock::Clock* clock = nullptr;
    metrics::Registry* metrics = nullptr;
    // Counts by the minute, shared with the gRPC door of the process; null = the gateway has one of its own.
    retry::RateLimiter* rates = nullptr;
  };

  // INVALID_ARGUMENT for settings that cannot be read. What `deps` points to outlives the pipeline.
  static absl::StatusOr<std::unique_ptr<Pipeline>> Create(const GatewayConfig& config, Deps deps);

  // `peer` = address of the connection's other end.
  Admission Admit(const RequestHead& head, std::string_view peer);

  // Headers of every answer, those to requests that could not even be read included.
  const HeaderList& security_headers() const { return security_headers_; }

  // Metadata that goes to the service: an allow-list, so that hop-by-hop and grpc-* headers never pass.
  std::vector<std::pair<std::string, std::string>> UpstreamMetadata(const RequestHead& head,
                                                                    const Admission& admission) const;

  // Counts a 401 of a service (wrong password, wrong registration secret).
  void CountCredentialFailure() { auth_credentials_->Increment(); }

 private:
  Pipeline(const GatewayConfig& config, Deps deps, door::TrustedProxies proxies);
  bool ApplyCors(const RequestHead& head, Admission& admission) const;
  void Identify(const RequestHead& head, Admission& admission, std::optional<HttpError>& bad_token) const;
  // Whether the token may be verified: a stranger's costs half a millisecond, and its address is asked first.
  bool MayVerify(const RequestHead& head, Admission& admission);
  bool ApplyRateLimit(Admission& admission);
  void Refuse(const retry::RateLimiter::Decision& decision, Admission& admission);
  // True when the request is for a file of the console: it needs no token and is counted apart.
  bool AdmitConsole(const RequestHead& head, Admission& admission);
  void AdmitMcp(const RequestHead& head, const std::optional<HttpError>& bad_token, Admission& admission) const;
  void Authorize(const RequestHead& head, const std::optional<HttpError>& bad_token, Admission& admission);

  const GatewayConfig config_;
  const Deps deps_;
  const door::TrustedProxies proxies_;
  HeaderList security_headers_;
  std::optional<retry::RateLimiter> own_rates_;
  retry::RateLimiter* const rates_;
  metrics::Counter* too_many_;
  metrics::Counter* auth_missing_;
  metrics::Counter* auth_invalid_;
  metrics::Counter* auth_forbidden_;
  metrics::Counter* auth_credentials_;
};

// 32 random hexadecimal digits.
std::string NewRequestId();

}  // namespace pga::gateway
