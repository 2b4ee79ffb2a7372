#include "services/query/insight/shape.h"

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "services/query/insight/parse_tree.h"

namespace pga::query {
namespace {

namespace dom = simdjson::dom;

constexpr size_t kLeastListItems = 3;

size_t SizeOf(const dom::element& object, const char* key) {
  dom::array items;
  return object[key].get(items) == simdjson::SUCCESS ? items.size() : 0;
}

// Every object below, with the name it has in the object above it; an element of an array has none. `take` says whether
// to go deeper.
using Take = std::function<bool(std::string_view name, const dom::element& object)>;
void Walk(const dom::element& at, std::string_view name, const Take& take) {
  if (at.is_array()) {
    for (const dom::element element : dom::array(at)) Walk(element, "", take);
    return;
  }
  if (!at.is_object() || !take(name, at)) return;
  for (const auto& [key, value] : dom::object(at)) Walk(value, key, take);
}

// Names by which a FROM clause knows its tables: the alias, else the table.
std::set<std::string, std::less<>> NamesOf(const dom::element& select) {
  std::set<std::string, std::less<>> names;
  dom::element from;
  if (select["fromClause"].get(from) != simdjson::SUCCESS) return names;
  Walk(from, "", [&](std::string_view name, const dom::element& object) {
    if (name == "SelectStmt") return false;
    if (name == "RangeVar") {
      dom::element alias;
      const bool has = object["alias"].get(alias) == simdjson::SUCCESS;
      names.emplace(has ? FieldText(alias, "aliasname") : FieldText(object, "relname"));
    }
    return true;
  });
  return names;
}

// A subquery names a table of `outer` that is not one of its own.
bool IsCorrelated(const dom::element& subquery, const std::set<std::string, std::less<>>& outer) {
  std::set<std::string, std::less<>> own;
  Walk(subquery, "", [&](std::string_view name, const dom::element& object) {
    if (name == "SelectStmt") own.merge(NamesOf(object));
    return true;
  });
  bool found = false;
  Walk(subquery, "", [&](std::string_view name, const dom::element& object) {
    if (name != "ColumnRef" || SizeOf(object, "fields") < 2) return true;
    dom::element first;
    if (object["fields"].at(0)["String"].get(first) != simdjson::SUCCESS) return true;
    const std::string_view table = FieldText(first, "sval");
    found |= outer.contains(table) && !own.contains(table);
    return true;
  });
  return found;
}

void OfSelect(const dom::element& select, StatementShape* shape) {
  dom::element part;
  shape->has_offset |= select["limitOffset"].get(part) == simdjson::SUCCESS;
  dom::element targets;
  if (select["targetList"].get(targets) != simdjson::SUCCESS) return;
  const auto outer = NamesOf(select);
  if (outer.empty()) return;
  Walk(targets, "", [&](std::string_view name, const dom::element& object) {
    if (name != "SubLink") return true;
    shape->has_subquery_per_row |= IsCorrelated(object, outer);
    return false;
  });
}

void OfNot(const dom::element& expression, StatementShape* shape) {
  if (FieldText(expression, "boolop") != "NOT_EXPR") return;
  dom::element sublink;
  if (expression["args"].at(0)["SubLink"].get(sublink) != simdjson::SUCCESS) return;
  shape->has_not_in_subquery |= FieldText(sublink, "subLinkType") == "ANY_SUBLINK";
}

void OfInsert(const dom::element& insert, StatementShape* shape) {
  dom::element select;
  if (insert["selectStmt"]["SelectStmt"].get(select) != simdjson::SUCCESS) return;
  shape->inserts_one_row |= SizeOf(select, "valuesLists") == 1;
}

// A column, or a parameter, under casts.
bool IsUnderCasts(dom::element at, const char* what) {
  dom::element inner;
  while (at["TypeCast"]["arg"].get(inner) == simdjson::SUCCESS) at = inner;
  return at[what].get(inner) == simdjson::SUCCESS;
}

// `column = $1`, either way round.
bool IsLookup(const dom::element& comparison) {
  dom::element left;
  dom::element right;
  if (FieldText(comparison, "kind") != "AEXPR_OP" || SizeOf(comparison, "name") != 1) return false;
  dom::element op;
  if (comparison["name"].at(0)["String"].get(op) != simdjson::SUCCESS || FieldText(op, "sval") != "=") return false;
  if (comparison["lexpr"].get(left) != simdjson::SUCCESS || comparison["rexpr"].get(right) != simdjson::SUCCESS) {
    return false;
  }
  return (IsUnderCasts(left, "ColumnRef") && IsUnderCasts(right, "ParamRef")) ||
         (IsUnderCasts(left, "ParamRef") && IsUnderCasts(right, "ColumnRef"));
}

bool HasLookup(const dom::element& tree) {
  bool found = false;
  Walk(tree, "", [&](std::string_view name, const dom::element& object) {
    if (found) return false;
    if (name != "whereClause" && name != "quals") return true;
    Walk(object, "", [&](std::string_view below, const dom::element& part) {
      found = found || (below == "A_Expr" && IsLookup(part));
      return !found && FieldText(part, "boolop") != "NOT_EXPR";
    });
    return !found;
  });
  return found;
}

// The statement as a whole, not what it is made of.
void OfStatement(const dom::element& tree, StatementShape* shape) {
  dom::element statement;
  if (SizeOf(tree, "stmts") != 1 || tree["stmts"].at(0)["stmt"].get(statement) != simdjson::SUCCESS) return;
  dom::element part;
  dom::element into;
  if (statement["SelectStmt"].get(part) == simdjson::SUCCESS) {
    shape->gives_rows = part["intoClause"].get(into) != simdjson::SUCCESS;
    shape->looks_up = HasLookup(part);
    return;
  }
  for (const char* const kind : {"UpdateStmt", "DeleteStmt", "InsertStmt"}) {
    if (statement[kind].get(part) != simdjson::SUCCESS) continue;
    shape->gives_rows = SizeOf(part, "returningList") > 0;
    shape->looks_up = std::string_view(kind) != "InsertStmt" && HasLookup(part);
  }
}

}  // namespace

StatementShape ShapeOf(std::string_view text) {
  StatementShape shape;
  dom::parser parser;
  dom::element tree;
  if (!ParseTreeOf(text, &parser, &tree)) return shape;
  shape.parsed = true;
  OfStatement(tree, &shape);
  Walk(tree, "", [&](std::string_view name, const dom::element& object) {
    if (name == "SelectStmt") OfSelect(object, &shape);
    if (name == "BoolExpr") OfNot(object, &shape);
    if (name == "InsertStmt") OfInsert(object, &shape);
    if (name == "A_Expr" && FieldText(object, "kind") == "AEXPR_IN") {
      dom::element list;
      shape.has_in_list |=
          object["rexpr"]["List"].get(list) == simdjson::SUCCESS && SizeOf(list, "items") >= kLeastListItems;
    }
    return true;
  });
  return shape;
}

}  // namespace pga::query
