// Makes a text of pg_stat_statements one that the server can plan. Where a constant was, the text has a parameter, and
// in some places PostgreSQL's grammar takes a constant alone: `date $1`, `interval $1 day`, `extract($1 FROM x)`. These
// are written otherwise, with the same meaning; what cannot be is left to the server to refuse. Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pga::collector {

// `version` is server_version_num.
std::string ExplainableText(std::string_view text, int version);

// Whether the text begins like a statement that has a plan: SELECT, INSERT, UPDATE, DELETE, MERGE, WITH, after comments
// and parentheses.
bool MayHavePlan(std::string_view text);

// Names in the text, as the server folds them, each once. Key words are among them.
std::vector<std::string> NamesIn(std::string_view text);

}  // namespace pga::collector
