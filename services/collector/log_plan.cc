#include "services/collector/log_plan.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/collector/bytes.h"
#include "services/collector/query_text.h"

namespace pga::collector {
namespace {

using simdjson::dom::element;

constexpr size_t kMostNodes = 5000;
constexpr int kMostDepth = 200;

// What tells plans apart besides nodes and their order; everything else is a figure of the run or of the planner.
constexpr std::array<std::string_view, 18> kKept = {"Cache Key",
                                                    "Cache Mode",
                                                    "Conflict Arbiter Indexes",
                                                    "Conflict Filter",
                                                    "Conflict Resolution",
                                                    "Filter",
                                                    "Group Key",
                                                    "Hash Cond",
                                                    "Hash Key",
                                                    "Index Cond",
                                                    "Join Filter",
                                                    "Merge Cond",
                                                    "Order By",
                                                    "Presorted Key",
                                                    "Recheck Cond",
                                                    "Run Condition",
                                                    "Sort Key",
                                                    "TID Cond"};

struct Node {
  // InitPlan 1, SubPlan 1, CTE name; empty for other children.
  std::string label;
  std::string name;
  std::vector<std::pair<std::string, std::string>> details;
  std::vector<std::unique_ptr<Node>> children;
};

absl::string_view ToAbsl(std::string_view v) {
  return {v.data(), v.size()};
}

bool IsKept(std::string_view key) {
  return std::find(kKept.begin(), kKept.end(), key) != kKept.end() || key == "One-Time Filter";
}

bool IsWord(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || (c & 0x80) != 0;
}

// The end of a cast that begins at `at` with "::", or `at`.
size_t EndOfCast(std::string_view text, size_t at) {
  static constexpr std::array<std::string_view, 7> kOfWords = {
      "double precision", "character varying",      "timestamp without time zone", "timestamp with time zone",
      "bit varying",      "time without time zone", "time with time zone"};
  size_t end = at + 2;
  bool words = false;
  for (const std::string_view name : kOfWords) {
    // timestamp(3) without time zone has its length in between.
    if (text.substr(end, name.size()) == name) {
      end += name.size();
      words = true;
      break;
    }
  }
  if (!words) {
    while (end < text.size()) {
      if (text[end] == '"') {
        const size_t close = text.find('"', end + 1);
        if (close == std::string_view::npos) return at;
        end = close + 1;
      } else if (IsWord(text[end]) || text[end] == '.') {
        ++end;
      } else {
        break;
      }
    }
  }
  if (end == at + 2) return at;
  if (end < text.size() && text[end] == '(') {
    const size_t close = text.find(')', end);
    if (close != std::string_view::npos) end = close + 1;
    for (const std::string_view zone : {std::string_view(" without time zone"), std::string_view(" with time zone")}) {
      if (text.substr(end, zone.size()) == zone) end += zone.size();
    }
  }
  while (text.substr(end, 2) == "[]") end += 2;
  return end;
}

// An expression without values: literals and parameters are ?, and so is a value with the type that it was cast to.
std::string WithoutValues(std::string_view expression) {
  const std::string text = RedactQuery(expression, QueryTextMode::kNormalized).text;
  std::string out;
  bool value = false;
  for (size_t i = 0; i < text.size();) {
    const bool begins = i == 0 || !IsWord(text[i - 1]);
    if (text[i] == '$' && begins && i + 1 < text.size() &&
        absl::ascii_isdigit(static_cast<unsigned char>(text[i + 1]))) {
      out.push_back('?');
      ++i;
      while (i < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[i]))) ++i;
      value = true;
      continue;
    }
    if (value && text.compare(i, 2, "::") == 0) {
      const size_t end = EndOfCast(text, i);
      if (end > i) {
        i = end;
        continue;
      }
    }
    value = text[i] == '?';
    out.push_back(text[i++]);
  }
  return out;
}

void AddDetail(std::string_view key, std::string_view value, Node* node) {
  if (IsKept(key)) node->details.emplace_back(std::string(key), WithoutValues(value));
}

// A name as the server writes it in the format text.
std::string Quoted(std::string_view name) {
  const bool plain = !name.empty() && !absl::ascii_isdigit(static_cast<unsigned char>(name[0])) &&
                     std::all_of(name.begin(), name.end(), [](char c) {
                       return IsWord(c) && !absl::ascii_isupper(static_cast<unsigned char>(c));
                     });
  if (plain) return std::string(name);
  std::string quoted = "\"";
  for (const char c : name) {
    if (c == '"') quoted.push_back('"');
    quoted.push_back(c);
  }
  return quoted + "\"";
}

std::string StringOf(const element& object, const char* key) {
  std::string_view value;
  if (object[key].get(value) != simdjson::SUCCESS) return {};
  return std::string(value);
}

// The line of a node, as the server makes it of these properties (ExplainNode).
std::string NameOf(const element& node) {
  std::string type = StringOf(node, "Node Type");
  const std::string strategy = StringOf(node, "Strategy");
  const std::string join = StringOf(node, "Join Type");
  if (type == "Aggregate") {
    if (strategy == "Sorted") type = "GroupAggregate";
    if (strategy == "Hashed") type = "HashAggregate";
    if (strategy == "Mixed") type = "MixedAggregate";
    const std::string partial = StringOf(node, "Partial Mode");
    if (partial == "Partial" || partial == "Finalize") type = partial + " " + type;
  } else if (type == "SetOp") {
    type = absl::StrCat(strategy == "Hashed" ? "HashSetOp" : "SetOp", " ", StringOf(node, "Command"));
  } else if (type == "ModifyTable") {
    type = StringOf(node, "Operation");
  } else if (!join.empty() && join != "Inner") {
    if (type == "Nested Loop") {
      type = absl::StrCat(type, " ", join, " Join");
    } else if (absl::EndsWith(type, " Join")) {
      type = absl::StrCat(type.substr(0, type.size() - 5), " ", join, " Join");
    }
  }
  bool flag = false;
  if (node["Parallel Aware"].get(flag) == simdjson::SUCCESS && flag) type = "Parallel " + type;
  if (node["Async Capable"].get(flag) == simdjson::SUCCESS && flag) type = "Async " + type;
  if (StringOf(node, "Scan Direction") == "Backward") type += " Backward";
  const std::string index = StringOf(node, "Index Name");
  if (absl::StartsWith(type, "Bitmap Index Scan")) return absl::StrCat(type, " on ", Quoted(index));
  if (!index.empty()) absl::StrAppend(&type, " using ", Quoted(index));
  std::string object;
  for (const char* const key :
       {"Relation Name", "Function Name", "Table Function Name", "CTE Name", "Tuplestore Name"}) {
    if (object.empty()) object = StringOf(node, key);
  }
  const std::string alias = StringOf(node, "Alias");
  if (!object.empty()) absl::StrAppend(&type, " on ", Quoted(object));
  if (!alias.empty() && alias != object) absl::StrAppend(&type, object.empty() ? " on " : " ", Quoted(alias));
  return type;
}

bool ReadJsonNode(const element& json, int depth, size_t* nodes, Node* node) {
  if (depth > kMostDepth || ++*nodes > kMostNodes) return false;
  simdjson::dom::object properties;
  if (json.get(properties) != simdjson::SUCCESS) return false;
  node->name = NameOf(json);
  if (node->name.empty()) return false;
  node->label = StringOf(json, "Subplan Name");
  for (const auto& [key, value] : properties) {
    std::string_view text;
    simdjson::dom::array list;
    if (key == "Plans") {
      if (value.get(list) != simdjson::SUCCESS) return false;
      for (const element child : list) {
        node->children.push_back(std::make_unique<Node>());
        if (!ReadJsonNode(child, depth + 1, nodes, node->children.back().get())) return false;
      }
    } else if (value.get(text) == simdjson::SUCCESS) {
      AddDetail(key, text, node);
    } else if (IsKept(key) && value.get(list) == simdjson::SUCCESS) {
      std::vector<std::string_view> parts;
      for (const element part : list) {
        if (part.get(text) == simdjson::SUCCESS) parts.push_back(text);
      }
      std::string joined;
      for (const std::string_view part : parts) {
        absl::StrAppend(&joined, joined.empty() ? "" : ", ", ToAbsl(part));
      }
      AddDetail(key, joined, node);
    }
  }
  return true;
}

std::optional<LoggedPlan> ParseJson(std::string_view text, Node* root) {
  simdjson::dom::parser parser;
  element document;
  if (parser.parse(text.data(), text.size()).get(document) != simdjson::SUCCESS) return std::nullopt;
  element plan;
  if (document["Plan"].get(plan) != simdjson::SUCCESS) return std::nullopt;
  size_t nodes = 0;
  if (!ReadJsonNode(plan, 0, &nodes, root)) return std::nullopt;
  LoggedPlan found;
  found.statement = StringOf(document, "Query Text");
  if (document["Query Identifier"].get(found.query_id) != simdjson::SUCCESS) found.query_id = 0;
  if (plan["Total Cost"].get(found.cost) != simdjson::SUCCESS) found.cost = 0;
  if (plan["Plan Rows"].get(found.rows) != simdjson::SUCCESS) found.rows = 0;
  return found;
}

constexpr std::string_view kCost = "  (cost=";

// "  (cost=0.29..8.31 rows=1 width=4)"
void ReadCosts(std::string_view line, LoggedPlan* plan) {
  const size_t at = line.find(kCost);
  const size_t dots = line.find("..", at);
  const size_t rows = line.find(" rows=", at);
  if (dots == std::string_view::npos || rows == std::string_view::npos) return;
  std::from_chars(line.data() + dots + 2, line.data() + rows, plan->cost);
  std::from_chars(line.data() + rows + 6, line.data() + line.size(), plan->rows);
}

std::optional<LoggedPlan> ParseText(std::string_view text, Node* root) {
  const std::vector<std::string_view> lines = [&] {
    std::vector<std::string_view> all;
    for (const absl::string_view line : absl::StrSplit(ToAbsl(text), '\n')) all.emplace_back(line.data(), line.size());
    return all;
  }();
  // The statement before it may look like anything.
  size_t first = lines.size();
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!lines[i].empty() && lines[i][0] != ' ' && lines[i].find(kCost) != std::string_view::npos) first = i;
  }
  if (first == lines.size()) return std::nullopt;
  LoggedPlan found;
  constexpr std::string_view kStatement = "Query Text: ";
  if (lines[0].starts_with(kStatement)) {
    found.statement = std::string(lines[0].substr(kStatement.size()));
    for (size_t i = 1; i < first && !lines[i].starts_with("Query Parameters: "); ++i) {
      absl::StrAppend(&found.statement, "\n", ToAbsl(lines[i]));
    }
  }
  ReadCosts(lines[first], &found);
  struct Open {
    int64_t indent;
    Node* node;
  };
  std::vector<Open> open = {{-1, root}};
  root->name = std::string(lines[first].substr(0, lines[first].find(kCost)));
  std::string label;
  size_t nodes = 1;
  for (size_t i = first + 1; i < lines.size(); ++i) {
    std::string_view line = lines[i];
    const size_t indent = line.find_first_not_of(' ');
    if (indent == std::string_view::npos) continue;
    line.remove_prefix(indent);
    if (indent == 0) {
      constexpr std::string_view kIdentifier = "Query Identifier: ";
      if (line.starts_with(kIdentifier)) {
        std::from_chars(line.data() + kIdentifier.size(), line.data() + line.size(), found.query_id);
      }
      // What stands behind the tree, settings, triggers, JIT, says nothing of the plan.
      continue;
    }
    while (open.size() > 1 && open.back().indent >= static_cast<int64_t>(indent)) open.pop_back();
    Node* const owner = open.back().node;
    if (line.starts_with("->  ")) {
      if (++nodes > kMostNodes || open.size() > kMostDepth) return std::nullopt;
      owner->children.push_back(std::make_unique<Node>());
      Node* const node = owner->children.back().get();
      node->label = std::exchange(label, {});
      node->name = std::string(line.substr(4, line.find(kCost) - 4));
      open.push_back({static_cast<int64_t>(indent), node});
      continue;
    }
    if (line.starts_with("InitPlan ") || line.starts_with("SubPlan ") || line.starts_with("CTE ")) {
      label = std::string(line);
      continue;
    }
    const size_t colon = line.find(": ");
    if (colon != std::string_view::npos) AddDetail(line.substr(0, colon), line.substr(colon + 2), owner);
  }
  return found;
}

void Write(Node* node, int depth, std::string* out) {
  const std::string indent(static_cast<size_t>(2 * depth), ' ');
  if (!node->label.empty()) absl::StrAppend(out, indent, WithoutValues(node->label), "\n");
  absl::StrAppend(out, indent, node->name, "\n");
  // Formats have them in different orders.
  std::sort(node->details.begin(), node->details.end());
  for (const auto& [key, value] : node->details) absl::StrAppend(out, indent, "    ", key, ": ", value, "\n");
  for (const auto& child : node->children) Write(child.get(), depth + 1, out);
}

}  // namespace

std::optional<LoggedPlan> ParseLoggedPlan(std::string_view text) {
  while (!text.empty() && (text[0] == '\n' || text[0] == ' ')) text.remove_prefix(1);
  Node root;
  std::optional<LoggedPlan> plan = text.starts_with('{') ? ParseJson(text, &root) : ParseText(text, &root);
  if (!plan) return std::nullopt;
  Write(&root, 0, &plan->tree);
  plan->id = static_cast<int64_t>(StableHash(plan->tree));
  if (plan->id == 0) plan->id = 1;
  if (plan->tree.size() > kMostPlanBytes) {
    size_t size = kMostPlanBytes;
    while (size > 0 && (static_cast<unsigned char>(plan->tree[size]) & 0xC0) == 0x80) --size;
    plan->tree.resize(size);
  }
  return plan;
}

}  // namespace pga::collector
