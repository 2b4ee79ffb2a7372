// The protos that define the suite's services.
#pragma once

#include <vector>

#include "google/protobuf/descriptor.h"

namespace pga {

// All of them, linked into the program. Thread-safe.
const std::vector<const google::protobuf::FileDescriptor*>& ServiceFiles();

}  // namespace pga
