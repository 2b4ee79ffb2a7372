#include "services/ruler/silences.h"

#include <re2/re2.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"

namespace pga::ruler {
namespace {

constexpr size_t kMostMatchers = 20;
constexpr size_t kMostValueBytes = 1000;
constexpr absl::Duration kLeast = absl::Minutes(1);
constexpr absl::Duration kMost = absl::Hours(24 * 366);

re2::RE2::Options Quiet() {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(1 << 20);
  return options;
}

bool IsLabelName(const std::string& name) {
  static const auto* const form = new re2::RE2("[a-zA-Z_][a-zA-Z0-9_]{0,62}");
  return re2::RE2::FullMatch(name, *form);
}

// A matcher with its expression read.
class CompiledMatcher {
 public:
  explicit CompiledMatcher(const Matcher& matcher)
      : matcher_(matcher),
        expression_(matcher.is_regex ? std::make_unique<re2::RE2>(matcher.value, Quiet()) : nullptr) {}

  bool Matches(const Labels& labels) const {
    const auto found = labels.find(matcher_.name);
    const std::string value = found == labels.end() ? "" : found->second;
    if (expression_ == nullptr) return (value == matcher_.value) != matcher_.is_negative;
    return expression_->ok() && re2::RE2::FullMatch(value, *expression_) != matcher_.is_negative;
  }

 private:
  Matcher matcher_;
  std::unique_ptr<const re2::RE2> expression_;
};

}  // namespace

absl::Status CheckSilence(const Silence& silence, absl::Time now) {
  if (silence.matchers.empty() || silence.matchers.size() > kMostMatchers) {
    return absl::InvalidArgumentError(
        absl::StrCat("a silence has 1 to ", kMostMatchers, " matchers, as {\"name\": \"source\", \"value\": \"db1\"}"));
  }
  for (const Matcher& matcher : silence.matchers) {
    if (!IsLabelName(matcher.name)) return absl::InvalidArgumentError("a matcher's name is the name of a label");
    if (matcher.value.size() > kMostValueBytes) {
      return absl::InvalidArgumentError(absl::StrCat("a matcher's value has at most ", kMostValueBytes, " bytes"));
    }
    if (!matcher.is_regex) continue;
    if (const re2::RE2 expression(matcher.value, Quiet()); !expression.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("label ", matcher.name, ": ", expression.error()));
    }
  }
  if (std::ranges::all_of(silence.matchers, [](const Matcher& m) { return CompiledMatcher(m).Matches({}); })) {
    return absl::InvalidArgumentError("these matchers fit every alert; name at least one label with a value");
  }
  if (silence.ends_at <= now) return absl::InvalidArgumentError("the silence would be over; move ends_at");
  if (silence.ends_at - silence.starts_at < kLeast || silence.ends_at - silence.starts_at > kMost) {
    return absl::InvalidArgumentError("a silence lasts from a minute to a year: give ends_at or duration_seconds");
  }
  if (silence.comment.empty() || silence.comment.size() > kMostValueBytes) {
    return absl::InvalidArgumentError("comment says why there is silence: 1 to 1000 bytes");
  }
  return absl::OkStatus();
}

Labels OutsideLabels(const std::string& rule, std::string_view severity, const std::string& source_group,
                     const Labels& labels) {
  Labels outside = labels;
  outside["alertname"] = rule;
  outside["severity"] = std::string(severity);
  if (!source_group.empty()) outside["source_group"] = source_group;
  return outside;
}

struct Silencer::Compiled {
  std::string id;
  absl::Time starts_at;
  absl::Time ends_at;
  std::vector<CompiledMatcher> matchers;
};

Silencer::Silencer(const std::vector<Silence>& silences) {
  for (const Silence& silence : silences) {
    Compiled& compiled = silences_.emplace_back(Compiled{silence.id, silence.starts_at, silence.ends_at, {}});
    compiled.matchers.reserve(silence.matchers.size());
    for (const Matcher& matcher : silence.matchers) compiled.matchers.emplace_back(matcher);
  }
}

Silencer::~Silencer() = default;

std::vector<std::string> Silencer::SilencedBy(const Labels& labels, absl::Time now) const {
  std::vector<std::string> ids;
  for (const Compiled& silence : silences_) {
    if (now < silence.starts_at || now >= silence.ends_at) continue;
    if (std::ranges::all_of(silence.matchers, [&](const CompiledMatcher& m) { return m.Matches(labels); })) {
      ids.push_back(silence.id);
    }
  }
  return ids;
}

}  // namespace pga::ruler
