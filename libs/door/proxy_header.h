// The PROXY protocol: how a proxy that passes a connection on says whose it is. Gateway and ingest read versions 1 and
// 2 from the networks they are configured to trust; the gateway writes version 2 before what it splices to ingest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pga::door {

struct ProxyHeader {
  enum class Kind { kNeedMore, kHeader, kNone, kMalformed };
  Kind kind = Kind::kNeedMore;
  // kHeader: its length; what follows is the client's.
  size_t bytes = 0;
  // Address and port of the client; empty where the proxy speaks for itself (LOCAL, UNKNOWN, health checks) or the
  // family is neither IPv4 nor IPv6.
  std::string address;
  int port = 0;
};

// `bytes` = all that came so far. kNone: this is no PROXY header. Of version 1 it has 107 bytes at most, of version 2
// as many as its length says, 65,551 at most.
ProxyHeader ReadProxyHeader(std::string_view bytes);

// The header for a client at `address` (IPv4 or IPv6 in text form) and `port`; with an address that is neither, the
// header by which a proxy speaks for itself.
std::string WriteProxyHeader(const std::string& address, uint16_t port);

}  // namespace pga::door
