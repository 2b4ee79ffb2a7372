// Names of gRPC metadata that have a meaning between our own parts. Metadata keys are lower case.
#pragma once

namespace pga::rpc {

// ---- Requests ----
// "Bearer <token>": whose call it is. The gateway forwards a person's own token; a service presents its service token.
inline constexpr char kAuthorization[] = "authorization";
// A registration secret, instead of a token, where the method allows it.
inline constexpr char kRegistrationSecret[] = "x-registration-secret";
// Follows a request through all services and their logs; made where it is absent. At most 128 printable characters.
inline constexpr char kRequestId[] = "x-request-id";
// "Bearer <service token>" of the gateway or of ingest, beside the caller's own token or instead of one. Only with it
// is kForwardedFor believed.
inline constexpr char kServiceAuthorization[] = "x-service-authorization";
// Address of the client behind the gateway.
inline constexpr char kForwardedFor[] = "x-forwarded-for";
// The collector that ingest speaks for (its relay to registry). Only believed of a service that the table lets speak
// for collectors, and only with its token as the caller's identity.
inline constexpr char kCollectorId[] = "x-collector-id";
// "cookie" at a sign-in: the refresh token goes into a cookie instead of the body.
inline constexpr char kSession[] = "x-session";
// Which media types the client takes, for methods that have a choice.
inline constexpr char kAccept[] = "accept";
// Of a browser: the page that asks, and the cookies; of these the gateway passes on the session's alone.
inline constexpr char kOrigin[] = "origin";
inline constexpr char kCookie[] = "cookie";
// What the client asked: host and port, http or https. With them auth distinguishes its own pages from others'.
inline constexpr char kForwardedHost[] = "x-forwarded-host";
inline constexpr char kForwardedProto[] = "x-forwarded-proto";
// Name of the cookie that holds a browser's refresh token.
inline constexpr char kSessionCookie[] = "pganalytics_session";
// A service's own secret at auth's IssueServiceToken.
inline constexpr char kServiceSecret[] = "x-service-secret";

// ---- Answers: initial metadata that the gateway (or Envoy's Lua filter) turns into HTTP ----
// Three digits: the HTTP status of a success, instead of the one the method's option or the transcoder gives.
inline constexpr char kHttpCode[] = "x-http-code";
// Version of the caller's configuration; passed through as the header X-Config-Version.
inline constexpr char kConfigVersion[] = "x-config-version";
// A cookie for the client; passed through as Set-Cookie.
inline constexpr char kSetCookie[] = "set-cookie";
// How the bytes of a google.api.HttpBody are packed; passed through as Content-Encoding.
inline constexpr char kContentEncoding[] = "x-content-encoding";
// Seconds after which repeating makes sense; passed through as Retry-After.
inline constexpr char kRetryAfter[] = "retry-after";

}  // namespace pga::rpc
