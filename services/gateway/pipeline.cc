#include "services/gateway/pipeline.h"

#include <openssl/rand.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "libs/rpc/access.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/session_cookie.h"
#include "libs/status/status.h"
#include "services/gateway/mcp.h"

namespace pga::gateway {
namespace {

constexpr size_t kMaxAuthorizationBytes = 8 * 1024;
constexpr std::string_view kBearer = "Bearer ";

bool IsRequestId(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' || c == ':';
  });
}

// Of several Authorization headers it would depend on the reader which one counts.
bool HasSeveral(const RequestHead& head) {
  return std::count_if(head.headers.begin(), head.headers.end(),
                       [](const auto& header) { return header.first == "authorization"; }) > 1;
}

// gRPC aborts on metadata values outside printable ASCII.
bool IsMetadataValue(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

std::string Seconds(absl::Duration duration) {
  return std::to_string(static_cast<int64_t>(std::ceil(absl::ToDoubleSeconds(duration))));
}

HttpError Refusal(int code, std::string reason, std::string message) {
  HttpError error;
  error.code = code;
  error.reason = std::move(reason);
  error.message = std::move(message);
  return error;
}

std::string WhoMay(const token::Access& access) {
  std::string text;
  const auto add = [&](const std::string& who) { text += (text.empty() ? "" : ", ") + who; };
  if (access.user != token::Role::kNone)
    add("users of role " + std::string(token::RoleName(access.user)) + " or higher");
  if (access.collector) add("collectors");
  if (access.registration_secret) add("callers with a registration secret");
  return text.empty() ? "services of pgAnalytics" : text;
}

}  // namespace

std::string NewRequestId() {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return "unavailable";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

absl::StatusOr<std::unique_ptr<Pipeline>> Pipeline::Create(const GatewayConfig& config, Deps deps) {
  PGA_RETURN_IF_ERROR(config.Validate());
  PGA_ASSIGN_OR_RETURN(door::TrustedProxies proxies, door::TrustedProxies::Parse(config.trusted_proxies));
  return std::unique_ptr<Pipeline>(new Pipeline(config, deps, std::move(proxies)));
}

Pipeline::Pipeline(const GatewayConfig& config, Deps deps, door::TrustedProxies proxies)
    : config_(config),
      deps_(deps),
      proxies_(std::move(proxies)),
      rates_(deps.rates != nullptr ? deps.rates : &own_rates_.emplace(deps.clock)) {
  security_headers_ = {
      {"X-Frame-Options", "DENY"},
      {"X-Content-Type-Options", "nosniff"},
      {"X-XSS-Protection", "1; mode=block"},
      {"Referrer-Policy", "strict-origin-when-cross-origin"},
      {"Content-Security-Policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"},
      {"Permissions-Policy", "geolocation=(), microphone=(), camera=()"},
      {"Cache-Control", "no-store"},
  };
  if (config_.environment == "production") {
    security_headers_.emplace_back("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload");
  }
  const auto failures = [&](const char* reason) {
    return &deps_.metrics->AddCounter("pganalytics_auth_failures_total",
                                      "Requests refused for their credentials, by reason", {{"reason", reason}});
  };
  too_many_ = &deps_.metrics->AddCounter("pganalytics_http_429_total", "Requests refused by a rate limit");
  auth_missing_ = failures("missing");
  auth_invalid_ = failures("invalid_token");
  auth_forbidden_ = failures("forbidden");
  auth_credentials_ = failures("credentials");
}

Admission Pipeline::Admit(const RequestHead& head, std::string_view peer) {
  Admission admission;
  const std::string* given_id = head.Find("x-request-id");
  admission.request_id = given_id != nullptr && IsRequestId(*given_id) ? *given_id : NewRequestId();
  admission.headers = security_headers_;
  admission.headers.emplace_back("X-Request-Id", admission.request_id);
  if (ApplyCors(head, admission)) return admission;

  std::string forwarded_for;
  for (const auto& [name, value] : head.headers) {
    if (name == "x-forwarded-for") forwarded_for += (forwarded_for.empty() ? "" : ",") + value;
  }
  admission.client_address = proxies_.ClientOf(peer, forwarded_for);

  const std::string* const forwarded_proto = proxies_.Contains(peer) ? head.Find(rpc::kForwardedProto) : nullptr;
  const bool https = config_.tls_enabled || (forwarded_proto != nullptr && *forwarded_proto == "https");
  admission.scheme = https ? "https" : "http";

  admission.caller = "address:" + door::RateLimitKeyOf(admission.client_address);
  if (AdmitConsole(head, admission) || !MayVerify(head, admission)) return admission;
  for (const char* name : {"authorization", "x-registration-secret"}) {
    // What would not reach the service must not count as nothing: a logout would say success and end no session.
    const std::string* value = head.Find(name);
    if (value == nullptr || (value->size() <= kMaxAuthorizationBytes && IsMetadataValue(*value))) continue;
    if (!ApplyRateLimit(admission)) return admission;
    admission.refusal =
        Refusal(400, "HEADER_MALFORMED",
                std::string("The header ") + name + " is longer than 8 KiB or holds other bytes than printable ASCII.");
    return admission;
  }
  std::optional<HttpError> bad_token;
  Identify(head, admission, bad_token);
  if (!ApplyRateLimit(admission)) return admission;

  if (head.path == kMcpPath) {
    AdmitMcp(head, bad_token, admission);
    return admission;
  }

  // HEAD is GET without a body.
  const std::string_view method = head.method == "HEAD" ? std::string_view("GET") : std::string_view(head.method);
  ApiSurface::Match match = deps_.api->Find(method, head.path);
  if (match.route == nullptr) {
    if (match.allowed_methods.empty()) {
      admission.refusal = Refusal(404, "UNKNOWN_PATH",
                                  "Could not resolve " + Excerpt(head.path, 256) +
                                      " to a method. Check the path; the API begins with /api/v1/.");
      return admission;
    }
    std::string allowed;
    for (const auto& name : match.allowed_methods) {
      allowed += (allowed.empty() ? "" : ", ") + name + (name == "GET" ? ", HEAD" : "");
    }
    allowed += ", OPTIONS";
    if (head.method == "OPTIONS") {
      admission.options = true;
      admission.headers.emplace_back("Allow", allowed);
      return admission;
    }
    admission.refusal = Refusal(405, "METHOD_NOT_ALLOWED",
                                "Method " + Excerpt(head.method, 32) + " is not offered here; use " + allowed + ".");
    admission.refusal->headers.emplace_back("Allow", allowed);
    return admission;
  }
  admission.route = match.route;
  admission.bindings = std::move(match.bindings);
  Authorize(head, bad_token, admission);
  return admission;
}

// True when the request was a preflight and is answered.
bool Pipeline::ApplyCors(const RequestHead& head, Admission& admission) const {
  const std::string* origin = head.Find("origin");
  if (!config_.cors_allowed_origins.empty()) admission.headers.emplace_back("Vary", "Origin");
  if (origin == nullptr) return false;
  const bool allowed = std::find(config_.cors_allowed_origins.begin(), config_.cors_allowed_origins.end(), *origin) !=
                       config_.cors_allowed_origins.end();
  const bool preflight = head.method == "OPTIONS" && head.Find("access-control-request-method") != nullptr;
  if (allowed) {
    admission.headers.emplace_back("Access-Control-Allow-Origin", *origin);
    admission.headers.emplace_back("Access-Control-Allow-Credentials", "true");
    if (!preflight) {
      admission.headers.emplace_back(
          "Access-Control-Expose-Headers",
          "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, X-Config-Version");
    }
  }
  if (!preflight) return false;
  if (!allowed) {
    admission.refusal =
        Refusal(403, "ORIGIN_NOT_ALLOWED",
                "Origin " + Excerpt(*origin, 128) + " may not call this API; add it to CORS_ALLOWED_ORIGINS.");
    return true;
  }
  admission.headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, PATCH, OPTIONS");
  admission.headers.emplace_back("Access-Control-Allow-Headers",
                                 "Content-Type, Authorization, X-Registration-Secret, X-Request-Id");
  admission.headers.emplace_back("Access-Control-Max-Age", "3600");
  admission.options = true;
  return true;
}

void Pipeline::Identify(const RequestHead& head, Admission& admission, std::optional<HttpError>& bad_token) const {
  const std::string* authorization = head.Find("authorization");
  if (authorization == nullptr) return;
  if (!authorization->starts_with(kBearer) || authorization->size() > kMaxAuthorizationBytes || HasSeveral(head)) {
    bad_token =
        Refusal(401, "TOKEN_MALFORMED", "There must be one Authorization header: \"Bearer \" followed by a token.");
    return;
  }
  const auto principal =
      deps_.verifier->Verify(std::string_view(*authorization).substr(kBearer.size()), deps_.clock->Now());
  if (absl::IsUnavailable(principal.status())) {
    bad_token = Refusal(503, pga::status::ReasonOf(principal.status()), std::string(principal.status().message()));
    bad_token->retry_after = pga::status::RetryAfterOf(principal.status());
    return;
  }
  if (!principal.ok()) {
    bad_token = Refusal(401, pga::status::ReasonOf(principal.status()),
                        std::string(principal.status().message()) + ". Sign in again to get a fresh token.");
    return;
  }
  if (deps_.revocations->IsRevoked(*principal)) {
    bad_token = Refusal(401, "TOKEN_REVOKED", "The token was revoked. Sign in again to get a fresh token.");
    return;
  }
  admission.principal = *principal;
}

bool Pipeline::MayVerify(const RequestHead& head, Admission& admission) {
  const std::string* authorization = head.Find("authorization");
  if (authorization == nullptr || !authorization->starts_with(kBearer) || HasSeveral(head) ||
      deps_.verifier->VerifiesCheaply(std::string_view(*authorization).substr(kBearer.size())) ||
      rates_->Wait(admission.caller, config_.rate_limit_per_minute) <= absl::ZeroDuration()) {
    return true;
  }
  return ApplyRateLimit(admission);
}

// False when the allowance is used up.
bool Pipeline::ApplyRateLimit(Admission& admission) {
  int limit = 0;
  switch (admission.principal.kind) {
    case token::Principal::kAnonymous:
      limit = config_.rate_limit_per_minute;
      break;
    case token::Principal::kUser:
      admission.caller = admission.principal.subject;
      limit = config_.rate_limit_user_per_minute;
      break;
    case token::Principal::kCollector:
      admission.caller = admission.principal.subject;
      limit = config_.rate_limit_collector_per_minute;
      break;
    case token::Principal::kService:
      admission.caller = admission.principal.subject;
      return true;
  }
  const retry::RateLimiter::Decision decision = rates_->Take(admission.caller, limit);
  if (decision.limit == 0) return true;
  admission.headers.emplace_back("X-RateLimit-Limit", std::to_string(decision.limit));
  admission.headers.emplace_back("X-RateLimit-Remaining", std::to_string(decision.remaining));
  admission.headers.emplace_back("X-RateLimit-Reset", Seconds(decision.reset));
  if (decision.allowed) return true;
  Refuse(decision, admission);
  return false;
}

void Pipeline::Refuse(const retry::RateLimiter::Decision& decision, Admission& admission) {
  too_many_->Increment();
  admission.refusal = Refusal(429, "RATE_LIMITED",
                              "More than " + std::to_string(decision.limit) + " requests a minute; try again in " +
                                  Seconds(decision.retry_after) + " s.");
  admission.refusal->retry_after = decision.retry_after;
}

bool Pipeline::AdmitConsole(const RequestHead& head, Admission& admission) {
  if (head.method != "GET" && head.method != "HEAD") return false;
  const ConsoleFile* const file = FindConsoleFile(head.path);
  if (file == nullptr) return false;
  const retry::RateLimiter::Decision decision =
      rates_->Take("console:" + admission.caller, config_.rate_limit_console_per_minute);
  if (decision.limit != 0 && !decision.allowed) {
    Refuse(decision, admission);
    return true;
  }
  admission.console_file = file;
  std::erase_if(admission.headers, [](const auto& header) { return header.first == "Cache-Control"; });
  return true;
}

void Pipeline::AdmitMcp(const RequestHead& head, const std::optional<HttpError>& bad_token,
                        Admission& admission) const {
  constexpr char kAllowed[] = "POST, OPTIONS";
  if (head.method != "POST") {
    admission.options = head.method == "OPTIONS";
    if (admission.options) {
      admission.headers.emplace_back("Allow", kAllowed);
    } else {
      // No stream of the server's own, and no session to end.
      admission.refusal = Refusal(405, "METHOD_NOT_ALLOWED", "Messages of MCP are sent with POST.");
      admission.refusal->headers.emplace_back("Allow", kAllowed);
    }
    return;
  }
  const std::string* const origin = head.Find("origin");
  const std::string* const host = head.Find("host");
  if (origin != nullptr && (host == nullptr || *origin != admission.scheme + "://" + *host) &&
      std::ranges::find(config_.cors_allowed_origins, *origin) == config_.cors_allowed_origins.end()) {
    admission.refusal =
        Refusal(403, "ORIGIN_NOT_ALLOWED",
                "Origin " + Excerpt(*origin, 128) + " may not call this; add it to CORS_ALLOWED_ORIGINS.");
    return;
  }
  const std::string* const version = head.Find("mcp-protocol-version");
  if (version != nullptr && !Mcp::Speaks(*version)) {
    admission.refusal =
        Refusal(400, "MCP_VERSION", "This revision of MCP is not spoken here: " + Excerpt(*version, 32) + ".");
    return;
  }
  token::Access readers;
  readers.user = token::Role::kViewer;
  if (token::Allow(admission.principal, readers)) {
    admission.mcp = true;
    return;
  }
  if (admission.principal.kind != token::Principal::kAnonymous) {
    auth_forbidden_->Increment();
    admission.refusal = Refusal(403, "NOT_ALLOWED", "MCP is for " + WhoMay(readers) + ".");
    return;
  }
  if (bad_token && bad_token->code != 401) {
    admission.refusal = bad_token;
    return;
  }
  (bad_token ? auth_invalid_ : auth_missing_)->Increment();
  admission.refusal =
      bad_token ? *bad_token
                : Refusal(401, "TOKEN_MISSING",
                          "A token is needed; `pgactl tokens create NAME --role viewer` makes one that lasts.");
  admission.refusal->headers.emplace_back("WWW-Authenticate", "Bearer realm=\"pganalytics\"");
}

void Pipeline::Authorize(const RequestHead& head, const std::optional<HttpError>& bad_token, Admission& admission) {
  const token::Access access = rpc::ToAccess(admission.route->method->access);
  if (access.anonymous) return;
  if (access.registration_secret && head.Find("x-registration-secret") != nullptr) return;
  if (admission.principal.kind == token::Principal::kAnonymous) {
    const bool secret_only = access.registration_secret && access.user == token::Role::kNone && !access.collector;
    if (bad_token && !secret_only) {
      admission.refusal = bad_token;
      if (bad_token->code != 401) return;
      auth_invalid_->Increment();
      admission.refusal->headers.emplace_back("WWW-Authenticate",
                                              "Bearer realm=\"pganalytics\", error=\"invalid_token\"");
      return;
    }
    auth_missing_->Increment();
    admission.refusal =
        secret_only ? Refusal(401, "REGISTRATION_SECRET_MISSING",
                              "A registration secret is needed; send it in the header X-Registration-Secret.")
                    : Refusal(401, "TOKEN_MISSING",
                              "A token is needed; get one at POST /api/v1/auth/login and send it as \"Authorization: "
                              "Bearer <token>\".");
    admission.refusal->headers.emplace_back("WWW-Authenticate", "Bearer realm=\"pganalytics\"");
    return;
  }
  if (!token::Allow(admission.principal, access)) {
    auth_forbidden_->Increment();
    admission.refusal = Refusal(403, "NOT_ALLOWED", "This method is for " + WhoMay(access) + ".");
  }
}

std::vector<std::pair<std::string, std::string>> Pipeline::UpstreamMetadata(const RequestHead& head,
                                                                            const Admission& admission) const {
  std::vector<std::pair<std::string, std::string>> out;
  const auto pass = [&](const char* header, const char* key) {
    const std::string* value = head.Find(header);
    if (value != nullptr && value->size() <= kMaxAuthorizationBytes && IsMetadataValue(*value)) {
      out.emplace_back(key, *value);
    }
  };
  if (!HasSeveral(head)) pass("authorization", rpc::kAuthorization);
  pass("x-registration-secret", rpc::kRegistrationSecret);
  pass(rpc::kSession, rpc::kSession);
  pass(rpc::kOrigin, rpc::kOrigin);
  pass(rpc::kAccept, rpc::kAccept);
  pass("host", rpc::kForwardedHost);
  out.emplace_back(rpc::kForwardedProto, admission.scheme);
  for (const auto& [name, value] : head.headers) {
    if (name != "cookie") continue;
    // Other cookies of the host are nobody's business here.
    const std::string session(rpc::SessionOfCookies(value));
    if (!session.empty() && session.size() <= kMaxAuthorizationBytes && IsMetadataValue(session)) {
      out.emplace_back(rpc::kCookie, std::string(rpc::kSessionCookie) + "=" + session);
    }
  }
  out.emplace_back(rpc::kRequestId, admission.request_id);
  if (IsMetadataValue(admission.client_address)) out.emplace_back(rpc::kForwardedFor, admission.client_address);
  return out;
}

}  // namespace pga::gateway
