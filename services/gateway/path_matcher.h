#pragma once

// Finds the method a request path belongs to, and the values of the template's variables. Matching is done on the raw
// path, part by part: a literal before `*` before `**`. Built once, then read by any number of threads.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "services/gateway/http_template.h"
#include "services/gateway/percent_encoding.h"

namespace pga::gateway {

class PathMatcher {
 public:
  struct Binding {
    std::vector<std::string> field_path;
    // Decoded.
    std::string value;
  };
  struct Match {
    // Number given to Add, or -1 if nothing matches path and method.
    int target = -1;
    std::vector<Binding> bindings;
    // When target is -1: methods under which the path exists, sorted; empty = unknown path.
    std::vector<std::string> allowed_methods;
  };

  explicit PathMatcher(Unescape multi_segment_policy = Unescape::kAllExceptReserved);
  ~PathMatcher();
  PathMatcher(const PathMatcher&) = delete;
  PathMatcher& operator=(const PathMatcher&) = delete;

  // Registers a template under an HTTP method; AlreadyExists if an equal shape is registered for that method.
  absl::Status Add(std::string_view http_method, HttpTemplate path_template, int target);

  // `path` without query. Cost is bounded by the number of registered templates, whatever the path.
  Match Find(std::string_view http_method, std::string_view path) const;

 private:
  struct Leaf;
  struct Node;
  struct Search;

  void Visit(const Node& node, size_t depth, Search& search) const;
  void Accept(const Leaf& leaf, Search& search) const;
  void Bind(const HttpTemplate& path_template, const std::vector<std::string_view>& parts,
            std::vector<Binding>& out) const;

  Unescape multi_segment_policy_;
  std::unique_ptr<Node> root_;
  std::set<std::string, std::less<>> verbs_;
};

}  // namespace pga::gateway
