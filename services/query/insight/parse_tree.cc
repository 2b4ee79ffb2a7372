#include "services/query/insight/parse_tree.h"

#include <pg_query.h>

#include <memory>
#include <string>

#include "services/query/insight/fingerprint.h"

namespace pga::query {

namespace dom = simdjson::dom;

bool Parsable(std::string_view text) {
  return text.size() <= kMostFingerprintBytes && text.find_first_not_of(" \t\r\n;") != std::string_view::npos &&
         text.find('\0') == std::string_view::npos;
}

bool ParseTreeOf(std::string_view text, dom::parser* parser, dom::element* tree) {
  if (!Parsable(text)) return false;
  PgQueryParseResult result = pg_query_parse(std::string(text).c_str());
  const std::unique_ptr<PgQueryParseResult, void (*)(PgQueryParseResult*)> owned(
      &result, [](PgQueryParseResult* r) { pg_query_free_parse_result(*r); });
  if (result.error != nullptr || result.parse_tree == nullptr) return false;
  return parser->parse(std::string_view(result.parse_tree)).get(*tree) == simdjson::SUCCESS;
}

std::string_view FieldText(const dom::element& object, const char* key) {
  std::string_view text;
  if (object[key].get(text) != simdjson::SUCCESS) return {};
  return text;
}

}  // namespace pga::query
