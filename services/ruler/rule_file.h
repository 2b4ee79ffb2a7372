// Parses and checks one rule file. Every problem names the file, the line and what to change. Pure, thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/catalog/catalog.h"
#include "services/ruler/rule.h"

namespace pga::ruler {

// Longest rule file, bytes.
inline constexpr size_t kMaxRuleFileBytes = size_t{64} << 10;
// Least number of tests in a built-in rule's file.
inline constexpr size_t kLeastTests = 3;

struct RuleFileOptions {
  // Name of the file for messages; its stem must be the rule's name.
  std::string file_name;
  // True for a user's folder: tests are not required.
  bool custom = false;
};

// The rule in `yaml`, or INVALID_ARGUMENT with one line per problem, at most 20: "disk_full.yaml:7: above: ...". The
// metrics, columns and labels that it names are looked up in `catalog` and in SuiteMetrics().
absl::StatusOr<Rule> ParseRuleFile(std::string_view yaml, const catalog::Catalog& catalog,
                                   const RuleFileOptions& options);

}  // namespace pga::ruler
