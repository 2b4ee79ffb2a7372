// What a statement is, whatever its constants and wherever it runs: its fingerprint and the relations it names, by
// libpg_query (PostgreSQL 15's grammar). Pure; thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace pga::query {

// Longer texts are not parsed: the grammar's recursion grows with them. Texts are read up to so many characters.
inline constexpr size_t kMostFingerprintBytes = 65'536;
inline constexpr int kMostFingerprintCharacters = 20'000;

// 16 hexadecimal digits; empty for a text that is empty, too long, or not in the grammar.
std::string FingerprintOf(std::string_view text);

// A relation as a statement names it; the schema is empty where it names none.
struct NamedRelation {
  std::string schema;
  std::string name;
  friend auto operator<=>(const NamedRelation&, const NamedRelation&) = default;
};

struct StatementParts {
  // Without names of WITH queries, each once, by name.
  std::vector<NamedRelation> relations;
  // The statement changes rows: INSERT, UPDATE, DELETE, MERGE, COPY FROM.
  bool writes = false;
};
// Nothing for a text that FingerprintOf does not take.
StatementParts PartsOf(std::string_view text);

}  // namespace pga::query
