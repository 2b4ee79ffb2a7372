#pragma once

// Refusals and failures as HTTP: one value, from wherever it arose, and one JSON shape that holds the three shapes of
// the 3.2.0 API: {"error", "message", "code", "details"?} plus "reason"? and "request_id".

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace pga::gateway {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct HttpError {
  // HTTP status, 400 to 599.
  int code = 500;
  // What happened and what to change, for people. UTF-8.
  std::string message;
  // UPPER_SNAKE, for programs; may be empty.
  std::string reason;
  // More for people; may be empty.
  std::string details;
  // Zero = no Retry-After header.
  absl::Duration retry_after = absl::ZeroDuration();
  // Further response headers, such as Allow or WWW-Authenticate.
  HeaderList headers;
  // The connection cannot be used any further.
  bool close = false;
};

// The HTTP status of a gRPC code (Envoy's table); an unknown code is 500.
int HttpCodeOfGrpc(int grpc_code);

// `serialized_status` is a google.rpc.Status (trailer grpc-status-details-bin) or empty; unreadable bytes are ignored.
// ErrorInfo gives the reason, RetryInfo Retry-After, BadRequest, PreconditionFailure and QuotaFailure the details.
HttpError ErrorOfGrpc(int grpc_code, std::string_view message, std::string_view serialized_status);

// "Not Found" and so on; "Unknown" for codes without a registered phrase.
std::string_view ReasonPhrase(int http_code);

std::string ErrorBody(const HttpError& error, std::string_view request_id);

// `text` as a JSON string with quotes.
std::string JsonQuote(std::string_view text);

// At most `limit` bytes of `text`, marked when cut, control characters replaced: for echoing a request in a message.
std::string Excerpt(std::string_view text, size_t limit);

}  // namespace pga::gateway
