// Plans that auto_explain writes to the log, in the formats text and json: without literals, costs and figures of the
// run, so that executions of a statement that are planned alike have one plan. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pga::collector {

struct LoggedPlan {
  // The tree, a line a node and below it the conditions that tell plans apart; values in them are ?. At most
  // kMostPlanBytes.
  std::string tree;
  // Hash of the whole tree, not 0: the same for both formats. Parameters and literals are alike.
  int64_t id = 0;
  // Of the root, as the planner thought.
  double cost = 0;
  double rows = 0;
  // As the log has it, literals included.
  std::string statement;
  // Statement as in statements.queryid, where the plan tells it (log_verbose); 0 = it does not.
  int64_t query_id = 0;
};
inline constexpr size_t kMostPlanBytes = 32 << 10;

// `text` is what follows "plan:" in the message, UTF-8 without NUL. Nothing for other formats, and for a plan that was
// cut.
std::optional<LoggedPlan> ParseLoggedPlan(std::string_view text);

}  // namespace pga::collector
