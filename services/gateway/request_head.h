#pragma once

// The strict reading of an HTTP/1.1 request head (RFC 9112). What two parsers could understand differently is refused
// with 400 and the connection is closed: bare LF or CR, obsolete folding, blanks before a colon, two or odd lengths,
// Content-Length with Transfer-Encoding, more than one Host. Pure; fuzzed.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "services/gateway/http_error.h"

namespace pga::gateway {

struct HeadLimits {
  // Whole head in bytes.
  size_t head_bytes = 64 * 1024;
  // Request target in bytes.
  size_t target_bytes = 8 * 1024;
  size_t header_count = 100;
};

struct RequestHead {
  enum class Framing { kNone, kLength, kChunked };

  std::string method;
  // Origin form, without query; as sent.
  std::string path;
  // After '?'; as sent.
  std::string query;
  // 0 or 1 of HTTP/1.x.
  int minor_version = 1;
  // Names in lower case, values without surrounding blanks; printable ASCII, blanks and bytes above 0x7F only.
  HeaderList headers;
  Framing framing = Framing::kNone;
  uint64_t content_length = 0;
  bool keep_alive = true;
  bool expect_continue = false;

  // The first header of that (lower case) name, or null.
  const std::string* Find(std::string_view name) const;
};

// Position after the blank line that ends the head, or nullopt while it is incomplete. Only CRLF CRLF ends a head.
// `from` = bytes that an earlier call has seen, so that input in small pieces costs no more than in one.
std::optional<size_t> EndOfHead(std::string_view bytes, size_t from = 0);

// Whether some line feed lacks its carriage return: such a request is refused at once, not waited for.
bool HasBareLineFeed(std::string_view bytes, size_t from = 0);

// `head` ends with the blank line. Every HttpError has close = true.
std::variant<RequestHead, HttpError> ParseRequestHead(std::string_view head, const HeadLimits& limits);

}  // namespace pga::gateway
