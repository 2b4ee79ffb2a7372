#pragma once

// The descriptor set of the whole API as it was when the program was built: the same bytes that the shipped Envoy
// configuration uses.

#include <string>

namespace pga::gateway {

// Serialised google.protobuf.FileDescriptorSet with imports.
std::string BuiltinDescriptorSet();

}  // namespace pga::gateway
