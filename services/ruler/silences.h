// Silences: which alerts are kept from people for a while. Pure, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/ruler/alerts.h"
#include "services/ruler/rule.h"

namespace pga::ruler {

struct Matcher {
  std::string name;
  std::string value;
  bool is_regex = false;
  bool is_negative = false;
};

struct Silence {
  std::string id;
  std::vector<Matcher> matchers;
  absl::Time starts_at;
  absl::Time ends_at;
  std::string created_by;
  std::string comment;
};

// INVALID_ARGUMENT says what to change: number of matchers, names, expressions, range, comment.
absl::Status CheckSilence(const Silence& silence, absl::Time now);

// The labels by which others know an alert: its own, alertname, severity and source_group.
Labels OutsideLabels(const std::string& rule, std::string_view severity, const std::string& source_group,
                     const Labels& labels);

// Silences against many alerts: their expressions are read once.
class Silencer {
 public:
  explicit Silencer(const std::vector<Silence>& silences);
  ~Silencer();

  // Ids of the silences that hold at `now` for these labels.
  std::vector<std::string> SilencedBy(const Labels& labels, absl::Time now) const;

 private:
  struct Compiled;
  std::vector<Compiled> silences_;
};

}  // namespace pga::ruler
