#include "services/gateway/envoy_sources.h"

#include <cstddef>

namespace pga::gateway {

#define PGA_ENVOY_SOURCE(Name)                 \
  extern const unsigned char k##Name##Bytes[]; \
  extern const std::size_t k##Name##Size;
PGA_ENVOY_SOURCE(EnvoyYaml)
PGA_ENVOY_SOURCE(CertificateYaml)
PGA_ENVOY_SOURCE(DoorLua)
PGA_ENVOY_SOURCE(RequestLua)
#undef PGA_ENVOY_SOURCE

std::vector<EnvoySource> EnvoySources() {
  const auto text = [](const unsigned char* bytes, std::size_t size) {
    return std::string_view(reinterpret_cast<const char*>(bytes), size);
  };
  return {
      {"envoy.yaml", text(kEnvoyYamlBytes, kEnvoyYamlSize)},
      {"certificate.yaml", text(kCertificateYamlBytes, kCertificateYamlSize)},
      {"door.lua", text(kDoorLuaBytes, kDoorLuaSize)},
      {"request.lua", text(kRequestLuaBytes, kRequestLuaSize)},
  };
}

}  // namespace pga::gateway
