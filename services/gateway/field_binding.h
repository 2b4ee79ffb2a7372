#pragma once

// Puts text from a path or a query string into fields of a request message, by reflection: nested fields, repeated
// fields, enums by name or number, bytes as base64, and the well-known types that JSON writes as text (Timestamp as
// RFC 3339, Duration, FieldMask, wrappers). Pure, thread-safe.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/type_resolver.h"

namespace pga::gateway {

// A field inside a message, outermost first; never empty.
using FieldPath = std::vector<const google::protobuf::FieldDescriptor*>;

// Names may be proto or JSON names. NotFound names the first one that is unknown; InvalidArgument if it leads through
// a repeated field, a map or a scalar.
absl::StatusOr<FieldPath> ResolveFieldPath(const google::protobuf::Descriptor& message,
                                           const std::vector<std::string>& names);

// Proto names joined by dots.
std::string ToText(const FieldPath& path);

// Whether text can be bound to the path's last field.
bool IsBindable(const FieldPath& path);

// Sets (or, for a repeated field, appends) the value. InvalidArgument names the field and what it
// must be.
absl::Status SetField(google::protobuf::Message& message, const FieldPath& path, std::string_view value,
                      google::protobuf::util::TypeResolver& resolver);

// Whether the (singular) field is present; for fields without presence, whether it differs from its default.
bool IsSet(const google::protobuf::Message& message, const FieldPath& path);

// Whether both messages hold the same value at the path.
bool SameValue(const google::protobuf::Message& a, const google::protobuf::Message& b, const FieldPath& path);

// The message that holds the path's last field, created on the way.
google::protobuf::Message* MutableParent(google::protobuf::Message& message, const FieldPath& path);

// name=value pairs in order. Names are split on '.', values fully decoded ('+' is a space), parameters without '=' are
// left out. InvalidArgument for more than `max_parameters` (all counted) or for text that is not UTF-8 or holds NUL.
struct QueryParameter {
  std::vector<std::string> field_path;
  std::string name;
  std::string value;
};
absl::StatusOr<std::vector<QueryParameter>> ParseQuery(std::string_view query, size_t max_parameters);

}  // namespace pga::gateway
