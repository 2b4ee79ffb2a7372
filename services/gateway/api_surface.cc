#include "services/gateway/api_surface.h"

#include <utility>

#include "absl/status/status.h"
#include "google/api/annotations.pb.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/util/type_resolver_util.h"
#include "libs/openapi/descriptor_files.h"
#include "libs/status/status.h"

namespace pga::gateway {
namespace {

using google::protobuf::FieldDescriptor;

std::vector<std::string> SplitDots(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::pair<std::string, std::string> MethodAndPath(const google::api::HttpRule& rule) {
  switch (rule.pattern_case()) {
    case google::api::HttpRule::kGet:
      return {"GET", rule.get()};
    case google::api::HttpRule::kPut:
      return {"PUT", rule.put()};
    case google::api::HttpRule::kPost:
      return {"POST", rule.post()};
    case google::api::HttpRule::kDelete:
      return {"DELETE", rule.delete_()};
    case google::api::HttpRule::kPatch:
      return {"PATCH", rule.patch()};
    case google::api::HttpRule::kCustom:
      return {rule.custom().kind(), rule.custom().path()};
    case google::api::HttpRule::PATTERN_NOT_SET:
      break;
  }
  return {};
}

absl::StatusOr<ApiRoute> MakeRoute(const google::protobuf::MethodDescriptor& descriptor,
                                   const google::api::HttpRule& rule, HttpTemplate& path_template) {
  ApiRoute route;
  std::tie(route.http_method, route.path_template) = MethodAndPath(rule);
  if (route.http_method.empty()) return absl::InvalidArgumentError("the http rule has no pattern");
  PGA_ASSIGN_OR_RETURN(path_template, ParseHttpTemplate(route.path_template));
  for (const auto& variable : path_template.variables) {
    PGA_ASSIGN_OR_RETURN(const FieldPath path, ResolveFieldPath(*descriptor.input_type(), variable.field_path));
    if (path.back()->is_repeated() || !IsBindable(path)) {
      return absl::InvalidArgumentError("path variable " + ToText(path) + " is not a single plain value");
    }
  }
  if (rule.body() == "*") {
    route.body = ApiRoute::Body::kWhole;
  } else if (!rule.body().empty()) {
    route.body = ApiRoute::Body::kField;
    PGA_ASSIGN_OR_RETURN(route.body_field, ResolveFieldPath(*descriptor.input_type(), SplitDots(rule.body())));
  }
  route.response_type = descriptor.output_type();
  if (!rule.response_body().empty()) {
    PGA_ASSIGN_OR_RETURN(route.response_field,
                         ResolveFieldPath(*descriptor.output_type(), SplitDots(rule.response_body())));
    const FieldDescriptor& last = *route.response_field.back();
    if (last.is_repeated() || last.message_type() == nullptr) {
      return absl::InvalidArgumentError("response_body " + rule.response_body() + " is not a single message");
    }
    route.response_type = last.message_type();
  }
  return route;
}

}  // namespace

ApiSurface::ApiSurface() = default;

absl::StatusOr<std::unique_ptr<ApiSurface>> ApiSurface::Create(const std::string& descriptor_set) {
  google::protobuf::FileDescriptorSet files;
  if (!files.ParseFromString(descriptor_set) || files.file_size() == 0) {
    return absl::InvalidArgumentError("the descriptor set is empty or not a serialised FileDescriptorSet");
  }
  std::unique_ptr<ApiSurface> surface(new ApiSurface());
  PGA_ASSIGN_OR_RETURN(const auto built, openapi::BuildFiles(files, &surface->pool_));
  surface->factory_ = std::make_unique<google::protobuf::DynamicMessageFactory>(&surface->pool_);
  surface->resolver_.reset(
      google::protobuf::util::NewTypeResolverForDescriptorPool("type.googleapis.com", &surface->pool_));
  for (const auto* file : built) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const auto& method = *file->service(s)->method(m);
        if (!method.options().HasExtension(google::api::http)) continue;
        const absl::Status status = surface->AddMethod(method);
        if (!status.ok()) {
          return absl::InvalidArgumentError("method " + method.full_name() + ": " + std::string(status.message()));
        }
      }
    }
  }
  return surface;
}

absl::Status ApiSurface::AddMethod(const google::protobuf::MethodDescriptor& descriptor) {
  if (!descriptor.options().HasExtension(pganalytics::common::v1::access)) {
    return absl::InvalidArgumentError("option (pganalytics.common.v1.access) is missing; say who may call it");
  }
  if (descriptor.client_streaming()) {
    return absl::InvalidArgumentError("a client-streaming method cannot carry google.api.http");
  }
  auto method = std::make_unique<ApiMethod>();
  method->descriptor = &descriptor;
  method->full_name = descriptor.full_name();
  method->grpc_path = "/" + descriptor.service()->full_name() + "/" + descriptor.name();
  method->access = descriptor.options().GetExtension(pganalytics::common::v1::access);
  const int status = descriptor.options().GetExtension(pganalytics::common::v1::http_success).status();
  if (status != 0 && (status < 200 || status > 299)) {
    return absl::InvalidArgumentError("http_success.status must be 200 to 299");
  }
  if (status != 0) method->success_status = status;

  const auto& rule = descriptor.options().GetExtension(google::api::http);
  std::vector<const google::api::HttpRule*> rules = {&rule};
  for (const auto& additional : rule.additional_bindings()) rules.push_back(&additional);
  for (const auto* one : rules) {
    HttpTemplate path_template;
    PGA_ASSIGN_OR_RETURN(ApiRoute route, MakeRoute(descriptor, *one, path_template));
    route.method = method.get();
    PGA_RETURN_IF_ERROR(matcher_.Add(route.http_method, std::move(path_template), static_cast<int>(routes_.size())));
    routes_.push_back(std::make_unique<ApiRoute>(std::move(route)));
  }
  methods_.push_back(std::move(method));
  return absl::OkStatus();
}

ApiSurface::Match ApiSurface::Find(std::string_view http_method, std::string_view path) const {
  PathMatcher::Match found = matcher_.Find(http_method, path);
  Match match;
  match.bindings = std::move(found.bindings);
  match.allowed_methods = std::move(found.allowed_methods);
  if (found.target >= 0) match.route = routes_[static_cast<size_t>(found.target)].get();
  return match;
}

std::unique_ptr<google::protobuf::Message> ApiSurface::NewMessage(const google::protobuf::Descriptor& type) const {
  return std::unique_ptr<google::protobuf::Message>(factory_->GetPrototype(&type)->New());
}

google::protobuf::Message* ApiSurface::NewMessage(const google::protobuf::Descriptor& type,
                                                  google::protobuf::Arena* arena) const {
  return factory_->GetPrototype(&type)->New(arena);
}

}  // namespace pga::gateway
