// Command lines of pgactl: words and options in any order. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::pgactl {

// What a command understands besides words.
struct OptionSpec {
  // Without dashes: "hours".
  std::string name;
  // Placeholder of the value ("N"); empty for a switch.
  std::string value;
  std::string help;
  // May be given more than once.
  bool repeated = false;
};

// INVALID_ARGUMENT that means: the command line is wrong (exit code 2).
absl::Status UsageError(const std::string& message);
bool IsUsageError(const absl::Status& status);

class Arguments {
 public:
  // `--name value`, `--name=value`, `-o value`, `--` ends options. A usage error for an unknown option (naming what
  // resembles it), a missing value, or a repeated single option.
  static absl::StatusOr<Arguments> Parse(const std::vector<std::string>& words, const std::vector<OptionSpec>& specs);

  const std::vector<std::string>& words() const { return words_; }
  bool Has(std::string_view name) const { return options_.find(std::string(name)) != options_.end(); }
  // The last value, or `fallback`.
  std::string Get(std::string_view name, std::string_view fallback = "") const;
  std::vector<std::string> All(std::string_view name) const;
  // A usage error unless a whole number between the bounds; `fallback` when absent.
  absl::StatusOr<int> Int(std::string_view name, int fallback, int min, int max) const;

 private:
  std::vector<std::string> words_;
  std::map<std::string, std::vector<std::string>> options_;
};

}  // namespace pga::pgactl
