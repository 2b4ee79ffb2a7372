// PostgreSQL's own lexer: libpg_query, made of the sources of PostgreSQL 15, with standard_conforming_strings on.
// Thread-safe.
#pragma once

#include <optional>
#include <string>

#include "services/collector/sql_scanner.h"

namespace pga::collector {

// The tokens of `text`, which is valid UTF-8 without NUL. Nothing if the lexer refuses it: a literal or comment without
// an end, numbers as later versions write them, bad escapes. Nothing either where libpg_query differs from PostgreSQL:
// at a comment inside a literal that continues on the next line.
std::optional<SqlReading> ScanWithPostgres(const std::string& text);

}  // namespace pga::collector
