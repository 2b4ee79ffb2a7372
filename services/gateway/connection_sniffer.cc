#include "services/gateway/connection_sniffer.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pga::gateway {
namespace {

constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr uint8_t kHandshakeRecord = 22;
constexpr uint8_t kClientHello = 1;
constexpr uint16_t kAlpnExtension = 16;

// Reads big-endian numbers and length-prefixed vectors; after a failure everything reads as empty.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  uint32_t Number(size_t width) {
    uint32_t value = 0;
    for (const char c : Bytes(width)) value = (value << 8) | static_cast<uint8_t>(c);
    return value;
  }
  std::string_view Bytes(size_t count) {
    if (count > bytes_.size()) {
      ok_ = false;
      bytes_ = {};
      return {};
    }
    const std::string_view out = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return out;
  }
  std::string_view Vector(size_t length_width) { return Bytes(Number(length_width)); }
  bool ok() const { return ok_; }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

// The protocol list of the ALPN extension (empty without it), or nullopt if the hello is broken.
std::optional<std::vector<std::string_view>> AlpnOf(std::string_view hello) {
  Reader body(hello);
  body.Bytes(2 + 32);  // legacy_version, random
  if (body.Vector(1).size() > 32) return std::nullopt;
  const std::string_view suites = body.Vector(2);
  if (suites.size() < 2 || suites.size() % 2 != 0) return std::nullopt;
  if (body.Vector(1).empty()) return std::nullopt;  // compression methods
  std::vector<std::string_view> protocols;
  if (!body.ok()) return std::nullopt;
  if (body.empty()) return protocols;  // extensions are optional before TLS 1.3
  Reader extensions(body.Vector(2));
  if (!body.ok() || !body.empty()) return std::nullopt;
  bool seen = false;
  while (!extensions.empty()) {
    const uint32_t type = extensions.Number(2);
    const std::string_view data = extensions.Vector(2);
    if (!extensions.ok()) return std::nullopt;
    if (type != kAlpnExtension) continue;
    if (seen) return std::nullopt;
    seen = true;
    Reader outer(data);
    Reader list(outer.Vector(2));
    if (!outer.ok() || !outer.empty() || list.empty()) return std::nullopt;
    while (!list.empty()) {
      const std::string_view protocol = list.Vector(1);
      if (!list.ok() || protocol.empty()) return std::nullopt;
      protocols.push_back(protocol);
    }
  }
  return protocols;
}

ConnectionKind ClassifyTls(std::string_view bytes) {
  std::string handshake;
  while (true) {
    if (bytes.size() < 5) return ConnectionKind::kNeedMore;
    const size_t length = static_cast<size_t>(static_cast<uint8_t>(bytes[3]) << 8 | static_cast<uint8_t>(bytes[4]));
    if (static_cast<uint8_t>(bytes[0]) != kHandshakeRecord || bytes[1] != 3 || length == 0 || length > 16384) {
      return ConnectionKind::kMalformed;
    }
    handshake.append(bytes.substr(5, std::min(length, bytes.size() - 5)));
    if (handshake.empty()) return ConnectionKind::kNeedMore;
    if (static_cast<uint8_t>(handshake[0]) != kClientHello) return ConnectionKind::kMalformed;
    if (handshake.size() >= 4) {
      Reader header(std::string_view(handshake).substr(1));
      const size_t size = header.Number(3);
      if (size > kMaxSniffBytes) return ConnectionKind::kMalformed;
      if (handshake.size() >= 4 + size) {
        const auto protocols = AlpnOf(std::string_view(handshake).substr(4, size));
        if (!protocols) return ConnectionKind::kMalformed;
        using List = std::vector<std::string_view>;
        const bool grpc = *protocols == List{"h2"} || *protocols == List{"grpc-exp", "h2"};
        return grpc ? ConnectionKind::kGrpcTls : ConnectionKind::kTls;
      }
    }
    if (bytes.size() < 5 + length) return ConnectionKind::kNeedMore;
    bytes.remove_prefix(5 + length);
  }
}

}  // namespace

ConnectionKind ClassifyConnection(std::string_view bytes) {
  if (bytes.empty()) return ConnectionKind::kNeedMore;
  ConnectionKind kind = ConnectionKind::kHttp;
  if (static_cast<uint8_t>(bytes[0]) == kHandshakeRecord) {
    kind = ClassifyTls(bytes);
  } else {
    const size_t compared = std::min(bytes.size(), kHttp2Preface.size());
    if (bytes.substr(0, compared) == kHttp2Preface.substr(0, compared)) {
      kind = compared == kHttp2Preface.size() ? ConnectionKind::kGrpcPlaintext : ConnectionKind::kNeedMore;
    }
  }
  if (kind == ConnectionKind::kNeedMore && bytes.size() >= kMaxSniffBytes) return ConnectionKind::kMalformed;
  return kind;
}

}  // namespace pga::gateway
