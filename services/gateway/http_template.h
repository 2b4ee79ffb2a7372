#pragma once

// The path templates of google.api.http (grammar in google/api/http.proto):
//   Template = "/" Segment { "/" Segment } [ ":" LITERAL ]      Segment = "*" | "**" | LITERAL | Variable
//   Variable = "{" IDENT { "." IDENT } [ "=" Segments ] "}"     nothing but literals after "**"
// Parsing is strict: what Envoy's transcoder would refuse, or take in a surprising sense, is refused at start.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::gateway {

struct HttpTemplate {
  struct Variable {
    // Names of the bound field, outermost first; never empty.
    std::vector<std::string> field_path;
    // Half-open range of `segments` it stands for. With `**` among them, what `**` took stretches the range.
    int start = 0;
    int end = 0;
    // The value may hold slashes: more than one segment, or `**`.
    bool multi_segment = false;
  };

  // Literals, "*" and "**" in order.
  std::vector<std::string> segments;
  // Custom verb after ':', or empty.
  std::string verb;
  std::vector<Variable> variables;
};

// InvalidArgument with the position for anything outside the grammar. At most 64 segments. Thread-safe.
absl::StatusOr<HttpTemplate> ParseHttpTemplate(std::string_view text);

}  // namespace pga::gateway
