#include "libs/door/proxy_header.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace pga::door {
namespace {

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::string_view kTextSignature = "PROXY ";
// Of version 1, line end included.
constexpr size_t kMaxTextBytes = 107;
constexpr char kVersionLocal = 0x20;
constexpr char kVersionProxy = 0x21;
constexpr char kTcp4 = 0x11;
constexpr char kTcp6 = 0x21;

int Big16(const char* at) {
  return static_cast<unsigned char>(at[0]) << 8 | static_cast<unsigned char>(at[1]);
}
std::string Big16Of(int value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 255)};
}

// Decimal, no sign, no leading zero.
bool IsPort(std::string_view text, int* port) {
  if (text.empty() || text.size() > 5 || (text.size() > 1 && text[0] == '0')) return false;
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + (c - '0');
  }
  *port = value;
  return value <= 65'535;
}

// "TCP4 client proxy port port", the part of a line of version 1 between signature and line end.
bool ReadClient(std::string_view line, ProxyHeader* header) {
  std::string_view words[5];
  for (std::string_view& word : words) {
    const size_t blank = std::min(line.find(' '), line.size());
    word = line.substr(0, blank);
    const bool last = &word == &words[4];
    if (word.empty() || last != (blank == line.size())) return false;
    line.remove_prefix(last ? blank : blank + 1);
  }
  const int family = words[0] == "TCP4" ? AF_INET : words[0] == "TCP6" ? AF_INET6 : AF_UNSPEC;
  if (family == AF_UNSPEC) return false;
  char binary[16] = {};
  char text[INET6_ADDRSTRLEN] = {};
  int port = 0;
  if (inet_pton(family, std::string(words[2]).c_str(), binary) != 1 || !IsPort(words[4], &port)) return false;
  if (inet_pton(family, std::string(words[1]).c_str(), binary) != 1 || !IsPort(words[3], &header->port)) return false;
  inet_ntop(family, binary, text, sizeof text);
  header->address = text;
  return true;
}

ProxyHeader ReadTextHeader(std::string_view bytes) {
  ProxyHeader header;
  const size_t end = bytes.substr(0, kMaxTextBytes).find("\r\n");
  if (end == std::string_view::npos) {
    if (bytes.size() >= kMaxTextBytes) header.kind = ProxyHeader::Kind::kMalformed;
    return header;
  }
  const std::string_view line = bytes.substr(kTextSignature.size(), end - kTextSignature.size());
  header.bytes = end + 2;
  // What follows UNKNOWN is to be ignored.
  const bool good = line == "UNKNOWN" || line.starts_with("UNKNOWN ") || ReadClient(line, &header);
  header.kind = good ? ProxyHeader::Kind::kHeader : ProxyHeader::Kind::kMalformed;
  return header;
}

}  // namespace

ProxyHeader ReadProxyHeader(std::string_view bytes) {
  ProxyHeader header;
  const size_t text_compared = std::min(bytes.size(), kTextSignature.size());
  if (!bytes.empty() && bytes.substr(0, text_compared) == kTextSignature.substr(0, text_compared)) {
    return text_compared < kTextSignature.size() ? header : ReadTextHeader(bytes);
  }
  const size_t compared = std::min(bytes.size(), kSignature.size());
  if (bytes.substr(0, compared) != kSignature.substr(0, compared)) {
    header.kind = ProxyHeader::Kind::kNone;
    return header;
  }
  if (bytes.size() < 16) return header;
  const size_t length = static_cast<size_t>(Big16(bytes.data() + 14));
  if (bytes[12] != kVersionLocal && bytes[12] != kVersionProxy) {
    header.kind = ProxyHeader::Kind::kMalformed;
    return header;
  }
  if (bytes.size() < 16 + length) return header;
  header.kind = ProxyHeader::Kind::kHeader;
  header.bytes = 16 + length;
  if (bytes[12] == kVersionLocal) return header;
  const bool v4 = bytes[13] == kTcp4;
  if (!v4 && bytes[13] != kTcp6) return header;
  const size_t address_bytes = v4 ? 4 : 16;
  if (length < 2 * address_bytes + 4) {
    header.kind = ProxyHeader::Kind::kMalformed;
    return header;
  }
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(v4 ? AF_INET : AF_INET6, bytes.data() + 16, text, sizeof text);
  header.address = text;
  header.port = Big16(bytes.data() + 16 + 2 * address_bytes);
  return header;
}

std::string WriteProxyHeader(const std::string& address, uint16_t port) {
  std::string out(kSignature);
  char binary[16] = {};
  const bool v4 = inet_pton(AF_INET, address.c_str(), binary) == 1;
  if (!v4 && inet_pton(AF_INET6, address.c_str(), binary) != 1) {
    return out + kVersionLocal + '\0' + Big16Of(0);
  }
  const size_t size = v4 ? 4 : 16;
  out += kVersionProxy;
  out += v4 ? kTcp4 : kTcp6;
  out += Big16Of(static_cast<int>(2 * size + 4));
  out.append(binary, size);
  // The address the client connected to: of no use to us.
  out.append(size, '\0');
  return out + Big16Of(port) + Big16Of(0);
}

}  // namespace pga::door
