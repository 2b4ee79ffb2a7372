#include "services/gateway/path_matcher.h"

#include <algorithm>
#include <utility>

namespace pga::gateway {

// Methods registered for one shape of path and verb.
struct PathMatcher::Leaf {
  struct Target {
    int target;
    HttpTemplate path_template;
  };
  // Literals after `**`, empty for shapes without it.
  std::vector<std::string> suffix;
  std::string verb;
  std::map<std::string, Target, std::less<>> methods;
};

struct PathMatcher::Node {
  std::map<std::string, std::unique_ptr<Node>, std::less<>> literals;
  std::unique_ptr<Node> any;
  std::vector<Leaf> ends;
  // Shapes whose `**` begins here; longest suffix first.
  std::vector<Leaf> rests;
};

struct PathMatcher::Search {
  std::string_view method;
  std::vector<std::string_view> parts;
  std::string_view verb;
  const Leaf::Target* found = nullptr;
  std::set<std::string> allowed;
};

PathMatcher::PathMatcher(Unescape multi_segment_policy)
    : multi_segment_policy_(multi_segment_policy), root_(std::make_unique<Node>()) {}
PathMatcher::~PathMatcher() = default;

absl::Status PathMatcher::Add(std::string_view http_method, HttpTemplate path_template, int target) {
  Node* node = root_.get();
  std::vector<Leaf>* leaves = nullptr;
  std::vector<std::string> suffix;
  for (size_t i = 0; i < path_template.segments.size(); ++i) {
    const std::string& segment = path_template.segments[i];
    if (segment == "**") {
      suffix.assign(path_template.segments.begin() + static_cast<std::ptrdiff_t>(i) + 1, path_template.segments.end());
      leaves = &node->rests;
      break;
    }
    std::unique_ptr<Node>& next = segment == "*" ? node->any : node->literals[segment];
    if (next == nullptr) next = std::make_unique<Node>();
    node = next.get();
  }
  if (leaves == nullptr) leaves = &node->ends;

  auto leaf = std::find_if(leaves->begin(), leaves->end(), [&](const Leaf& candidate) {
    return candidate.suffix == suffix && candidate.verb == path_template.verb;
  });
  if (leaf == leaves->end()) {
    leaf = std::find_if(leaves->begin(), leaves->end(),
                        [&](const Leaf& other) { return other.suffix.size() < suffix.size(); });
    leaf = leaves->insert(leaf, Leaf{std::move(suffix), path_template.verb, {}});
  }
  if (!path_template.verb.empty()) verbs_.insert(path_template.verb);
  const auto [position, inserted] =
      leaf->methods.try_emplace(std::string(http_method), Leaf::Target{target, std::move(path_template)});
  if (!inserted) {
    return absl::AlreadyExistsError(std::string(http_method) + " with this path is registered twice");
  }
  return absl::OkStatus();
}

PathMatcher::Match PathMatcher::Find(std::string_view http_method, std::string_view path) const {
  Match match;
  if (path.empty() || path[0] != '/') return match;
  Search search;
  search.method = http_method;

  // The text after the last ':' of the last part is a verb only if some template has that verb.
  const size_t last_slash = path.rfind('/');
  const size_t colon = path.rfind(':');
  if (colon != std::string_view::npos && colon > last_slash) {
    const std::string_view verb = path.substr(colon + 1);
    if (verbs_.find(verb) != verbs_.end()) {
      search.verb = verb;
      path = path.substr(0, colon);
    }
  }
  for (size_t begin = 1; begin <= path.size();) {
    const size_t slash = std::min(path.find('/', begin), path.size());
    search.parts.push_back(path.substr(begin, slash - begin));
    begin = slash + 1;
  }
  while (!search.parts.empty() && search.parts.back().empty()) search.parts.pop_back();

  Visit(*root_, 0, search);
  if (search.found != nullptr) {
    match.target = search.found->target;
    Bind(search.found->path_template, search.parts, match.bindings);
  } else {
    match.allowed_methods.assign(search.allowed.begin(), search.allowed.end());
  }
  return match;
}

// Depth is that of the deepest template, never that of the path: `**` takes the rest without recursion.
void PathMatcher::Visit(const Node& node, size_t depth, Search& search) const {
  if (depth == search.parts.size()) {
    for (const Leaf& leaf : node.ends) {
      if (leaf.verb == search.verb) Accept(leaf, search);
    }
  } else {
    const auto literal = node.literals.find(search.parts[depth]);
    if (literal != node.literals.end()) Visit(*literal->second, depth + 1, search);
    if (search.found == nullptr && node.any != nullptr) Visit(*node.any, depth + 1, search);
  }
  for (const Leaf& leaf : node.rests) {
    if (search.found != nullptr) return;
    const size_t rest = search.parts.size() - depth;
    if (leaf.verb != search.verb || leaf.suffix.size() > rest) continue;
    const auto tail = search.parts.end() - static_cast<std::ptrdiff_t>(leaf.suffix.size());
    if (std::equal(leaf.suffix.begin(), leaf.suffix.end(), tail)) Accept(leaf, search);
  }
}

void PathMatcher::Accept(const Leaf& leaf, Search& search) const {
  const auto method = leaf.methods.find(search.method);
  if (method != leaf.methods.end()) {
    search.found = &method->second;
  } else {
    for (const auto& [name, target] : leaf.methods) search.allowed.insert(name);
  }
}

void PathMatcher::Bind(const HttpTemplate& path_template, const std::vector<std::string_view>& parts,
                       std::vector<Binding>& out) const {
  const auto& segments = path_template.segments;
  const auto wildcard = std::find(segments.begin(), segments.end(), "**") - segments.begin();
  // What `**` took beyond one part moves everything behind it; it may also have taken nothing (-1).
  const auto stretch = static_cast<std::ptrdiff_t>(parts.size()) - static_cast<std::ptrdiff_t>(segments.size());
  for (const auto& variable : path_template.variables) {
    const std::ptrdiff_t start = variable.start > wildcard ? variable.start + stretch : variable.start;
    const std::ptrdiff_t end = variable.end > wildcard ? variable.end + stretch : variable.end;
    const Unescape policy = variable.multi_segment ? multi_segment_policy_ : Unescape::kAll;
    Binding binding{variable.field_path, {}};
    for (std::ptrdiff_t i = start; i < end; ++i) {
      if (i > start) binding.value += '/';
      binding.value += PercentDecode(parts[static_cast<size_t>(i)], policy);
    }
    out.push_back(std::move(binding));
  }
}

}  // namespace pga::gateway
