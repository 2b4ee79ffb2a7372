#include "services/gateway/builtin_descriptor_set.h"

#include <cstddef>

namespace pga::gateway {

extern const unsigned char kDescriptorSetBytes[];
extern const std::size_t kDescriptorSetSize;

std::string BuiltinDescriptorSet() {
  return {reinterpret_cast<const char*>(kDescriptorSetBytes), kDescriptorSetSize};
}

}  // namespace pga::gateway
