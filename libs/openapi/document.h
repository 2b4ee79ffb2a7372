// The REST API as an OpenAPI 3.1.0 document, made from the descriptors: each google.api.http rule is an operation, each
// comment a description, common.v1.Access the security, and JSON is described as the gateway and Envoy's
// grpc_json_transcoder write it (proto names, 64-bit integers as text, enums by name). Pure.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.pb.h"

namespace pga::openapi {

struct Info {
  std::string title;
  std::string version;
  // Markdown (CommonMark), for people.
  std::string description;
};

// `files` with imports and source information, as protoc --include_imports --include_source_info writes them.
// InvalidArgument when the set is not complete, a path template has a form that OpenAPI has not (a variable of several
// segments), or a method with a rule of HTTP has no rule of access.
absl::StatusOr<std::string> Document(const google::protobuf::FileDescriptorSet& files, const Info& info);

}  // namespace pga::openapi
