// Which statement a plan in the log belongs to. The server writes a plan when the portal ends, which with the extended
// protocol is often while the next statement of the transaction begins, and then names that one's query id; plans of
// statements in functions come with the id of the outer one. Texts decide: those of pg_stat_statements have ids.
// Not thread-safe; used on the event loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace pga::collector {

// Hash of a statement without its literals, numbers, parameters, comments and blanks, not 0: the same for a text of
// pg_stat_statements and for one of its executions.
int64_t StatementForm(std::string_view text);

class StatementForms {
 public:
  static constexpr size_t kMostStatements = 50'000;

  // A text of pg_stat_statements. With too many all others are forgotten.
  void Set(std::string_view database, int64_t query_id, std::string_view text);

  // The query id of `statement` in `database`: `logged_id`, 0 = none, if its text has the same form; otherwise that of
  // the one statement whose text has; otherwise `logged_id` if texts are known, but not its own; otherwise the form,
  // which is the same for all executions.
  int64_t IdOf(std::string_view database, std::string_view statement, int64_t logged_id) const;

  // Whether other statements of `database` have a text of the same form: tables of the same name, or other types.
  bool Shared(std::string_view database, int64_t query_id) const;

 private:
  // Hash of a database and an id or a form.
  using Key = uint64_t;
  static Key KeyOf(std::string_view database, int64_t number);

  absl::flat_hash_map<Key, int64_t> forms_;  // of query ids
  absl::flat_hash_map<Key, int64_t> ids_;    // of forms; 0 = several statements have it
};

}  // namespace pga::collector
