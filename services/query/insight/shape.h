// What the text of a statement says about how it is written, by PostgreSQL's own grammar (libpg_query). Pure;
// thread-safe.
#pragma once

#include <string_view>

namespace pga::query {

struct StatementShape {
  // The text is in the grammar; else nothing below is known.
  bool parsed = false;
  // `x IN (a, b, c)` with three or more values.
  bool has_in_list = false;
  // `x NOT IN (SELECT …)`.
  bool has_not_in_subquery = false;
  // A subquery among the output columns of a SELECT with a FROM that names a table of the outer query.
  bool has_subquery_per_row = false;
  bool has_offset = false;
  // INSERT … VALUES with one row.
  bool inserts_one_row = false;
  // Its rows go to the client: SELECT, VALUES, RETURNING; neither COPY nor CREATE TABLE AS.
  bool gives_rows = false;
  // SELECT, UPDATE or DELETE with `column = $1` in a WHERE or ON. The server's own checks of foreign keys write the
  // operator with its schema and are none.
  bool looks_up = false;
};

StatementShape ShapeOf(std::string_view text);

}  // namespace pga::query
