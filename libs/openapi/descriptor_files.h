// Descriptors out of a serialised set, for all who are driven by them.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"

namespace pga::openapi {

// Builds every file into `pool`, which owns what is returned, in the order of the set. InvalidArgument with the first
// complaint for a set that is not complete.
absl::StatusOr<std::vector<const google::protobuf::FileDescriptor*>> BuildFiles(
    const google::protobuf::FileDescriptorSet& files, google::protobuf::DescriptorPool* pool);

}  // namespace pga::openapi
