#include "services/query/insight/fingerprint.h"

#include <pg_query.h>

#include <algorithm>
#include <memory>
#include <set>

#include "services/query/insight/parse_tree.h"

namespace pga::query {
namespace {

namespace dom = simdjson::dom;

std::string Raw(const std::string& text) {
  PgQueryFingerprintResult result = pg_query_fingerprint(text.c_str());
  const std::unique_ptr<PgQueryFingerprintResult, void (*)(PgQueryFingerprintResult*)> owned(
      &result, [](PgQueryFingerprintResult* r) { pg_query_free_fingerprint_result(*r); });
  if (result.error != nullptr || result.fingerprint_str == nullptr) return {};
  return result.fingerprint_str;
}

struct Walk {
  std::set<NamedRelation> relations;
  std::set<std::string, std::less<>> queries;
  bool writes = false;

  void Take(const dom::element& at, bool names_relation) {
    if (at.is_array()) {
      for (const dom::element element : dom::array(at)) Take(element, false);
      return;
    }
    if (!at.is_object()) return;
    if (names_relation) {
      const std::string_view name = FieldText(at, "relname");
      if (!name.empty()) relations.insert({std::string(FieldText(at, "schemaname")), std::string(name)});
    }
    for (const auto& [key, value] : dom::object(at)) {
      if (key == "CommonTableExpr") queries.emplace(FieldText(value, "ctename"));
      if (key == "InsertStmt" || key == "UpdateStmt" || key == "DeleteStmt" || key == "MergeStmt") writes = true;
      if (key == "CopyStmt") {
        bool from = false;
        writes |= value["is_from"].get(from) == simdjson::SUCCESS && from;
      }
      // The target of a statement stands there without its type.
      Take(value, key == "RangeVar" || key == "relation");
    }
  }
};

}  // namespace

std::string FingerprintOf(std::string_view text) {
  if (!Parsable(text)) return {};
  // Of no statement at all, as in a text of comments.
  static const auto* const kOfNothing = new std::string(Raw(""));
  std::string found = Raw(std::string(text));
  if (found == *kOfNothing) found.clear();
  return found;
}

StatementParts PartsOf(std::string_view text) {
  StatementParts parts;
  dom::parser parser;
  dom::element tree;
  if (!ParseTreeOf(text, &parser, &tree)) return parts;
  Walk walk;
  walk.Take(tree, false);
  parts.writes = walk.writes;
  for (const NamedRelation& relation : walk.relations) {
    if (!relation.schema.empty() || !walk.queries.contains(relation.name)) parts.relations.push_back(relation);
  }
  return parts;
}

}  // namespace pga::query
