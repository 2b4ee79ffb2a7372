#include "services/gateway/request_head.h"

#include <algorithm>
#include <cctype>

namespace pga::gateway {
namespace {

bool IsTokenChar(char c) {
  constexpr std::string_view kOther = "!#$%&'*+-.^_`|~";
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || kOther.find(c) != std::string_view::npos;
}

bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenChar);
}

// Those registered for HTTP; names are case-sensitive.
bool IsMethod(std::string_view text) {
  static constexpr std::string_view kMethods[] = {
      "GET",       "HEAD",       "POST",   "PUT",      "DELETE",      "PATCH",  "OPTIONS", "TRACE",  "CONNECT",
      "ACL",       "BIND",       "COPY",   "CHECKOUT", "LINK",        "LOCK",   "MERGE",   "MKCOL",  "MKACTIVITY",
      "MOVE",      "MKCALENDAR", "PURGE",  "PROPFIND", "PROPPATCH",   "REBIND", "REPORT",  "SEARCH", "SOURCE",
      "SUBSCRIBE", "UNBIND",     "UNLINK", "UNLOCK",   "UNSUBSCRIBE", "NOTIFY", "M-SEARCH"};
  return std::ranges::find(kMethods, text) != std::end(kMethods);
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

HttpError Refuse(int code, std::string message) {
  HttpError error;
  error.code = code;
  error.message = std::move(message);
  error.reason = "MALFORMED_REQUEST";
  error.close = true;
  return error;
}

// Decimal digits only: no sign, no "0x", no list, no blank.
std::optional<uint64_t> ParseLength(std::string_view text) {
  if (text.empty() || text.size() > 18) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

bool IsHost(std::string_view text) {
  constexpr std::string_view kOther = "-._~%!$&'()*+,;=:[]";
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || kOther.find(c) != std::string_view::npos;
  });
}

}  // namespace

const std::string* RequestHead::Find(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::optional<size_t> EndOfHead(std::string_view bytes, size_t from) {
  const size_t end = bytes.find("\r\n\r\n", from < 3 ? 0 : from - 3);
  if (end == std::string_view::npos) return std::nullopt;
  return end + 4;
}

bool HasBareLineFeed(std::string_view bytes, size_t from) {
  for (size_t at = bytes.find('\n', from); at != std::string_view::npos; at = bytes.find('\n', at + 1)) {
    if (at == 0 || bytes[at - 1] != '\r') return true;
  }
  return false;
}

std::variant<RequestHead, HttpError> ParseRequestHead(std::string_view head, const HeadLimits& limits) {
  if (head.size() > limits.head_bytes) {
    return Refuse(431, "The request head is larger than " + std::to_string(limits.head_bytes) + " bytes.");
  }
  RequestHead out;
  const size_t line_end = head.find("\r\n");
  if (line_end == std::string_view::npos) return Refuse(400, "The request line does not end with CR LF.");

  // Request line: method SP target SP version, single spaces.
  const std::string_view line = head.substr(0, line_end);
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return Refuse(400, "The request line is malformed.");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!IsMethod(method)) return Refuse(400, "The request method is none that HTTP knows.");
  if (version.size() != 8 || version.substr(0, 5) != "HTTP/" ||
      std::isdigit(static_cast<unsigned char>(version[5])) == 0 || version[6] != '.' ||
      std::isdigit(static_cast<unsigned char>(version[7])) == 0) {
    return Refuse(400, "The HTTP version is malformed.");
  }
  if (version[5] != '1' || version[7] > '1') return Refuse(505, "Only HTTP/1.0 and HTTP/1.1 are served here.");
  if (target.size() > limits.target_bytes) {
    return Refuse(414, "The URL is longer than " + std::to_string(limits.target_bytes) + " bytes.");
  }
  if (target.empty() || target[0] != '/') return Refuse(400, "The request target must be a path that starts with '/'.");
  for (const char c : target) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7F || c == '#') {
      return Refuse(400, "The request target holds a character that must be percent-encoded.");
    }
  }
  out.method = std::string(method);
  out.minor_version = version[7] - '0';
  const size_t question = target.find('?');
  out.path = std::string(target.substr(0, question));
  if (question != std::string_view::npos) out.query = std::string(target.substr(question + 1));

  // Header lines.
  int hosts = 0;
  int lengths = 0;
  int encodings = 0;
  bool close = false;
  bool keep_alive = false;
  std::string_view rest = head.substr(line_end + 2);
  while (true) {
    const size_t end = rest.find("\r\n");
    if (end == std::string_view::npos) return Refuse(400, "A header line does not end with CR LF.");
    const std::string_view field = rest.substr(0, end);
    rest.remove_prefix(end + 2);
    if (field.empty()) break;
    if (out.headers.size() >= limits.header_count) {
      return Refuse(431, "The request has more than " + std::to_string(limits.header_count) + " headers.");
    }
    const size_t colon = field.find(':');
    if (colon == std::string_view::npos || !IsToken(field.substr(0, colon))) {
      return Refuse(400, "A header line is malformed: a name, a colon and a value are expected.");
    }
    const std::string_view value = Trim(field.substr(colon + 1));
    for (const char c : value) {
      const auto byte = static_cast<unsigned char>(c);
      if ((byte < 0x20 && c != '\t') || byte == 0x7F) return Refuse(400, "A header value holds a control character.");
    }
    const std::string name = Lower(field.substr(0, colon));
    if (name == "host") {
      if (++hosts > 1 || !IsHost(value)) return Refuse(400, "The request must have one well-formed Host header.");
    } else if (name == "content-length") {
      const auto length = ParseLength(value);
      if (++lengths > 1 || !length) return Refuse(400, "The request must have at most one Content-Length, in digits.");
      out.content_length = *length;
    } else if (name == "transfer-encoding") {
      if (++encodings > 1 || Lower(value) != "chunked" || out.minor_version == 0) {
        return Refuse(400, "The only Transfer-Encoding understood is a single \"chunked\", over HTTP/1.1.");
      }
    } else if (name == "connection") {
      std::string_view options = value;
      while (!options.empty()) {
        const size_t comma = std::min(options.find(','), options.size());
        const std::string option = Lower(Trim(options.substr(0, comma)));
        close = close || option == "close";
        keep_alive = keep_alive || option == "keep-alive";
        options.remove_prefix(std::min(comma + 1, options.size()));
      }
    } else if (name == "expect") {
      if (Lower(value) != "100-continue") return Refuse(417, "The only expectation understood is 100-continue.");
      out.expect_continue = out.minor_version == 1;
    }
    out.headers.emplace_back(name, value);
  }
  if (!rest.empty()) return Refuse(400, "The request head is malformed.");
  if (hosts == 0 && out.minor_version == 1) return Refuse(400, "The request must have one well-formed Host header.");
  if (lengths > 0 && encodings > 0) {
    return Refuse(400, "The request has both Content-Length and Transfer-Encoding; send one of them.");
  }
  if (encodings > 0) out.framing = RequestHead::Framing::kChunked;
  if (lengths > 0) out.framing = RequestHead::Framing::kLength;
  out.keep_alive = !close && (out.minor_version == 1 || keep_alive);
  return out;
}

}  // namespace pga::gateway
