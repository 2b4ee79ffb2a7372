// Who owns a source, and what state it is in. Pure; docs/adr/2026-11-28-sources.md has the reasons.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/registry/source.h"

namespace pga::registry {

inline constexpr int kMaxReportedSources = 10'000;
inline constexpr size_t kMaxMissingParts = 64;
inline constexpr size_t kMaxMessageBytes = 1'000;

// How long an owner is waited for, and how often reports come: four in a lease.
absl::Duration LeaseOf(absl::Duration interval);
absl::Duration ReportEvery(absl::Duration interval);

// INVALID_ARGUMENT, fit for whoever chose the name: 1 to 255 characters of valid UTF-8 without control characters, not
// a UUID.
absl::Status CheckSourceName(std::string_view name);
// [A-Za-z0-9_][A-Za-z0-9_.-]{0,62}.
absl::Status CheckGroup(std::string_view group);

// What a report means for a source that is there. `watcher` is what is known of the collector as one that waits for it.
struct Decision {
  Standing::Kind kind = Standing::kRefused;
  // kOwner: the epoch it owns from now on; greater than the source's when it is granted anew.
  int64_t owner_epoch = 0;
  std::string message;
};
Decision Decide(const Source& source, const std::string& collector_id, const SourceReport& report,
                const std::optional<Watcher>& watcher, absl::Time now);

// up, incomplete, down, silent; and since when.
struct State {
  std::string_view word;
  absl::Time since;
};
State StateOf(const Source& source, absl::Time now);

}  // namespace pga::registry
