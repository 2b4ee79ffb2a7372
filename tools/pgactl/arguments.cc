#include "tools/pgactl/arguments.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/str_join.h"
#include "libs/config/nearest.h"
#include "libs/status/status.h"

namespace pga::pgactl {
namespace {
constexpr char kUsageReason[] = "USAGE";
}  // namespace

absl::Status UsageError(const std::string& message) {
  return status::WithReason(absl::InvalidArgumentError(message), kUsageReason);
}

bool IsUsageError(const absl::Status& status) {
  return status::ReasonOf(status) == kUsageReason;
}

absl::StatusOr<Arguments> Arguments::Parse(const std::vector<std::string>& words,
                                           const std::vector<OptionSpec>& specs) {
  Arguments arguments;
  bool options = true;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!options || word.size() < 2 || word[0] != '-') {
      arguments.words_.push_back(word);
      continue;
    }
    if (word == "--") {
      options = false;
      continue;
    }
    const size_t dashes = word[1] == '-' ? 2 : 1;
    const size_t equals = word.find('=');
    const std::string name = word.substr(dashes, equals == std::string::npos ? equals : equals - dashes);
    const auto spec = std::find_if(specs.begin(), specs.end(), [&](const OptionSpec& s) { return s.name == name; });
    if (spec == specs.end()) {
      std::vector<std::string> names;
      for (const OptionSpec& known : specs) names.push_back(known.name);
      const std::vector<std::string> nearest = config::NearestNames(name, names);
      std::string message = "option " + word.substr(0, 60) + " is not known";
      if (!nearest.empty()) message += "; did you mean --" + absl::StrJoin(nearest, ", --") + "?";
      return UsageError(message);
    }
    std::vector<std::string>& values = arguments.options_[name];
    if (!values.empty() && !spec->repeated) {
      return UsageError("option --" + name + " is given twice");
    }
    if (spec->value.empty()) {
      if (equals != std::string::npos) return UsageError("option --" + name + " takes no value");
      values.emplace_back();
    } else if (equals != std::string::npos) {
      values.push_back(word.substr(equals + 1));
    } else if (i + 1 < words.size()) {
      values.push_back(words[++i]);
    } else {
      return UsageError("option --" + name + " needs a value: " + spec->value);
    }
  }
  return arguments;
}

std::string Arguments::Get(std::string_view name, std::string_view fallback) const {
  const auto found = options_.find(std::string(name));
  return found == options_.end() ? std::string(fallback) : found->second.back();
}

std::vector<std::string> Arguments::All(std::string_view name) const {
  const auto found = options_.find(std::string(name));
  return found == options_.end() ? std::vector<std::string>() : found->second;
}

absl::StatusOr<int> Arguments::Int(std::string_view name, int fallback, int min, int max) const {
  if (!Has(name)) return fallback;
  const std::string text = Get(name);
  int value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size() || value < min || value > max) {
    return UsageError("option --" + std::string(name) + " must be a whole number from " + std::to_string(min) + " to " +
                      std::to_string(max));
  }
  return value;
}

}  // namespace pga::pgactl
