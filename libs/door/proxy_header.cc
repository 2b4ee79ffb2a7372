#include "libs/door/proxy_header.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace pga::door {
namespace {

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
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

}  // namespace

ProxyHeader ReadProxyHeader(std::string_view bytes) {
  ProxyHeader header;
  const size_t compared = std::min(bytes.size(), kSignature.size());
  if (bytes.substr(0, compared) != kSignature.substr(0, compared)) {
    header.kind = ProxyHeader::Kind::kNone;
    return header;
  }
  if (bytes.size() < 16) return header;
  const size_t length = static_cast<size_t>(Big16(bytes.data() + 14));
  if ((bytes[12] != kVersionLocal && bytes[12] != kVersionProxy) || 16 + length > kMaxProxyHeaderBytes) {
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
