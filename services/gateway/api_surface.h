#pragma once

// Everything the gateway knows of the API, read from a descriptor set: methods with google.api.http, who may call them,
// how their success is written. A method added to the protos is reachable without a line of gateway code. Immutable
// after Create, thread-safe.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/type_resolver.h"
#include "pganalytics/common/v1/common.pb.h"
#include "services/gateway/field_binding.h"
#include "services/gateway/path_matcher.h"

namespace pga::gateway {

struct ApiMethod {
  const google::protobuf::MethodDescriptor* descriptor = nullptr;
  // package.Service.Method
  std::string full_name;
  // /package.Service/Method
  std::string grpc_path;
  pganalytics::common::v1::Access access;
  // HTTP status of success; 204 has no body.
  int success_status = 200;
};

// One HTTP binding of a method.
struct ApiRoute {
  enum class Body { kNone, kWhole, kField };

  const ApiMethod* method = nullptr;
  std::string http_method;
  std::string path_template;
  Body body = Body::kNone;
  // With kField: where the body goes.
  FieldPath body_field;
  // Non-empty: this part of the answer alone is written.
  FieldPath response_field;
  // Message that is written: the method's output or the type of response_field.
  const google::protobuf::Descriptor* response_type = nullptr;
};

class ApiSurface {
 public:
  struct Match {
    // Null when nothing matches.
    const ApiRoute* route = nullptr;
    std::vector<PathMatcher::Binding> bindings;
    // See PathMatcher::Match.
    std::vector<std::string> allowed_methods;
  };

  // `descriptor_set` = serialised google.protobuf.FileDescriptorSet with imports. InvalidArgument names the method and
  // what is wrong with it: a template outside the grammar, an unknown field, a path registered twice, no access rule,
  // client streaming.
  static absl::StatusOr<std::unique_ptr<ApiSurface>> Create(const std::string& descriptor_set);

  Match Find(std::string_view http_method, std::string_view path) const;

  // Methods with at least one route, in order of the set.
  const std::vector<std::unique_ptr<ApiMethod>>& methods() const { return methods_; }
  const std::vector<std::unique_ptr<ApiRoute>>& routes() const { return routes_; }

  // An empty message of that type.
  std::unique_ptr<google::protobuf::Message> NewMessage(const google::protobuf::Descriptor& type) const;
  // The same, owned by `arena`.
  google::protobuf::Message* NewMessage(const google::protobuf::Descriptor& type, google::protobuf::Arena* arena) const;
  // Thread-safe.
  google::protobuf::util::TypeResolver& resolver() const { return *resolver_; }

 private:
  ApiSurface();
  absl::Status AddMethod(const google::protobuf::MethodDescriptor& descriptor);

  google::protobuf::DescriptorPool pool_;
  std::unique_ptr<google::protobuf::MessageFactory> factory_;
  std::unique_ptr<google::protobuf::util::TypeResolver> resolver_;
  std::vector<std::unique_ptr<ApiMethod>> methods_;
  std::vector<std::unique_ptr<ApiRoute>> routes_;
  PathMatcher matcher_;
};

}  // namespace pga::gateway
