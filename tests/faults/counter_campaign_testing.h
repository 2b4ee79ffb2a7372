// What counter_campaign_test notes of stored readings, and how it joins them. Tests only.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pga {

// A counter of one object: metric, object, column.
using Key = std::array<std::string, 3>;

inline std::string Named(const Key& key) {
  return absl::StrJoin(key, " ");
}

// What a frame, or the parts of one, said of the time between two readings.
struct Interval {
  int64_t end_us = 0;
  bool flagged = false;  // all of it
  std::map<Key, int64_t> increase;
  std::set<Key> flagged_keys;
};

// The stored readings of one metric since the last check.
struct Tracker {
  std::map<int64_t, Interval> by_start;
  std::set<int64_t> keyframes;
  int64_t checked_until_us = 0;
  int64_t rows = 0;
  int64_t flagged_rows = 0;
};

struct Summary {
  std::string version;
  std::string missing;
  std::map<std::string, int> events;
  int steps = 0;
  int64_t compared = 0;
  int64_t equal = 0;
  int64_t flagged = 0;
  int64_t unseen = 0;
  int64_t done = 0;
  int64_t stored = 0;
  int64_t rows = 0;
  int64_t flagged_rows = 0;
  std::vector<std::string> failures;

  // Of another server of the same version.
  void Add(const Summary& other) {
    version = other.version;
    if (!other.missing.empty()) missing = other.missing;
    for (const auto& [name, times] : other.events) events[name] += times;
    steps += other.steps;
    compared += other.compared;
    equal += other.equal;
    flagged += other.flagged;
    unseen += other.unseen;
    done += other.done;
    stored += other.stored;
    rows += other.rows;
    flagged_rows += other.flagged_rows;
    failures.insert(failures.end(), other.failures.begin(), other.failures.end());
  }
};

// The table, a line for each version.
inline void Print(const std::vector<Summary>& summaries) {
  std::printf("%-8s %6s %9s %7s %9s %8s %10s %10s %8s %9s\n", "version", "steps", "compared", "equal", "flagged",
              "unseen", "done", "stored", "rows", "flagged");
  for (const Summary& summary : summaries) {
    if (!summary.missing.empty()) {
      std::printf("%-8s left out: %s\n", summary.version.c_str(), summary.missing.c_str());
      continue;
    }
    const auto share = [](int64_t part, int64_t all) {
      return 100.0 * static_cast<double>(part) / static_cast<double>(std::max<int64_t>(all, 1));
    };
    std::printf("%-8s %6d %9ld %7ld %7.1f %% %8ld %10ld %10ld %8ld %7.1f %%\n", summary.version.c_str(), summary.steps,
                static_cast<long>(summary.compared), static_cast<long>(summary.equal),
                share(summary.flagged, summary.compared), static_cast<long>(summary.unseen),
                static_cast<long>(summary.done), static_cast<long>(summary.stored), static_cast<long>(summary.rows),
                share(summary.flagged_rows, summary.rows));
    std::string events;
    for (const auto& [name, times] : summary.events) absl::StrAppend(&events, " ", name, " ", times, ",");
    std::printf("        %s\n", events.c_str());
  }
  std::fflush(stdout);
}

// Takes the unbroken row of readings from the last check up to one that was begun after `since_us`. False while it is
// not there. Several may be in the spool of a killed collector, and come later than those after them.
inline bool Join(Tracker* tracker, int64_t since_us, Interval* joined) {
  Interval all;
  int64_t at_us = tracker->checked_until_us;
  while (at_us < since_us) {
    const auto next = tracker->by_start.find(at_us);
    if (next != tracker->by_start.end() && next->second.end_us > at_us) {
      all.flagged = all.flagged || next->second.flagged;
      for (const auto& [key, increase] : next->second.increase) all.increase[key] += increase;
      all.flagged_keys.insert(next->second.flagged_keys.begin(), next->second.flagged_keys.end());
      at_us = next->second.end_us;
      continue;
    }
    // A key frame without an increase up to it: counters begin anew, and nothing is claimed of the time before.
    const auto opening = std::find_if(tracker->keyframes.upper_bound(at_us), tracker->keyframes.end(), [&](int64_t t) {
      return std::none_of(tracker->by_start.begin(), tracker->by_start.end(),
                          [&](const auto& entry) { return entry.second.end_us == t; });
    });
    if (opening == tracker->keyframes.end()) return false;
    all.flagged = true;
    at_us = *opening;
  }
  tracker->checked_until_us = at_us;
  tracker->by_start.erase(tracker->by_start.begin(), tracker->by_start.lower_bound(at_us));
  *joined = std::move(all);
  return true;
}

}  // namespace pga
