// Causes that hit many at once: alerts of one rule that come together are one alert with its members. Pure.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "services/ruler/alerts.h"

namespace pga::ruler {

// What begins so near to each other comes together; longer where the rule waits longer before it fires.
inline constexpr absl::Duration kTogether = absl::Minutes(10);
// An alert for many that has too few members for so long ends, and the members that are left go on as their own.
inline constexpr absl::Duration kApart = absl::Minutes(5);

// Of a rule with `together`, after its alerts in `book` were brought to `now`: begins, changes and ends the alert that
// stands for many, of each group of sources, and marks its members. `changes` are those of this round; what is added
// or done to them is in it.
void Gather(const Rule& rule, const Sources& sources, absl::Time now, AlertBook* book, std::vector<Change>* changes);

}  // namespace pga::ruler
