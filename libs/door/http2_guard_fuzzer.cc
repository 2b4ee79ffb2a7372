// Whatever a peer sends, a guard ends up in the same place and passes the same on whether the bytes come at once or one
// by one, and so does who reads a PROXY header.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/door/http2_guard.h"
#include "libs/door/proxy_header.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  pga::door::Http2Guard whole({}), pieces({});
  std::string passed, passed_in_pieces;
  const auto look = [](pga::door::Http2Guard& guard, std::string_view part, std::string* out) {
    pga::door::Http2Guard::Pieces views;
    const bool violated = guard.Look(part, 1, &views).has_value();
    for (const std::string_view view : views) out->append(view);
    return violated;
  };
  const bool stopped = look(whole, bytes, &passed);
  bool stopped_in_pieces = false;
  for (size_t i = 0; i < size && !stopped_in_pieces; ++i) {
    stopped_in_pieces = look(pieces, bytes.substr(i, 1), &passed_in_pieces);
  }
  if (stopped != stopped_in_pieces || (!stopped && passed != passed_in_pieces)) std::abort();
  const pga::door::ProxyHeader header = pga::door::ReadProxyHeader(bytes);
  if (header.kind == pga::door::ProxyHeader::Kind::kHeader) {
    if (header.bytes == 0 || header.bytes > size || header.port < 0 || header.port > 65'535) std::abort();
    for (size_t i = 0; i < header.bytes; ++i) {
      if (pga::door::ReadProxyHeader(bytes.substr(0, i)).kind != pga::door::ProxyHeader::Kind::kNeedMore) std::abort();
    }
    if (pga::door::ReadProxyHeader(bytes.substr(0, header.bytes)).address != header.address) std::abort();
  }
  return 0;
}
