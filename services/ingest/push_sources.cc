#include "services/ingest/push_sources.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/frame/uuid.h"
#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::ingest {
namespace {

// Reports renew the lease of a source, which is as long as the interval.
constexpr absl::Duration kShortestInterval = absl::Seconds(60);
constexpr absl::Duration kLongestInterval = absl::Hours(1);
constexpr absl::Duration kFirstInterval = absl::Seconds(120);
constexpr absl::Duration kReportEvery = absl::Seconds(15);
constexpr size_t kMostEntries = 100'000;

constexpr char kHeld[] =
    "SELECT name, uuid, owner_epoch FROM metrics.push_source WHERE collector_id = $1 AND name = ANY ($2::text[])";
constexpr char kHold[] =
    "INSERT INTO metrics.push_source AS h (collector_id, name, uuid, owner_epoch) VALUES ($1, $2, $3::uuid, $4::int8) "
    "ON CONFLICT (collector_id, name) DO UPDATE SET uuid = excluded.uuid, owner_epoch = excluded.owner_epoch WHERE "
    "(h.uuid, h.owner_epoch) IS DISTINCT FROM (excluded.uuid, excluded.owner_epoch)";

}  // namespace

absl::StatusOr<PushTargets> PushSources::Resolve(int32_t collector, std::string_view collector_id,
                                                 std::string_view hostname, clock::SteadyTime deadline) {
  const Key key(collector, std::string(hostname));
  const clock::SteadyTime now = clock::SteadyNow();
  absl::Duration interval = kFirstInterval;
  absl::Time since = clock_->Now();
  {
    absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(key);
    if (found != entries_.end()) {
      if (now - found->second.reported < kReportEvery) return found->second.targets;
      since = found->second.since;
      interval = std::clamp(now - found->second.reported, kShortestInterval, kLongestInterval);
    }
  }
  std::vector<PushedSource> asked(2);
  asked[0].name = std::string(hostname);
  // As collectors that stream call it.
  asked[1].name = absl::StrCat("host:", asked[0].name);
  asked[1].host = true;
  PGA_ASSIGN_OR_RETURN(const pg::Result held,
                       pool_->Exec(kHeld, {collector, pg::ArrayOf({asked[0].name, asked[1].name})}, deadline));
  for (PushedSource& source : asked) {
    source.interval = interval;
    source.since = since;
    for (const pg::Row row : held) {
      if (row.Text(0) != source.name) continue;
      PGA_ASSIGN_OR_RETURN(source.held_uuid, frame::ParseUuid(row.Text(1)));
      source.held_epoch = row.Int64(2);
    }
  }
  absl::StatusOr<std::vector<SourceDescription>> said = authority_->Report(collector_id, asked, deadline);
  if (absl::IsNotFound(said.status())) {
    said = std::vector<SourceDescription>(asked.size());
  } else if (!said.ok()) {
    if (held.empty()) return said.status();
    // An outage of registry stops nobody who owned something: the writer's transaction looks at the epoch once more.
    PGA_LOG(warn, "registry took no report of a push", {{"collector_id", collector_id}, {"reason", said.status()}});
    said = std::vector<SourceDescription>();
    for (const PushedSource& source : asked) said->push_back({source.held_uuid, source.name, source.held_epoch});
  }
  std::vector<SourceDescription> owned;
  for (const SourceDescription& one : *said) {
    if (one.uuid.empty()) continue;
    owned.push_back(one);
    PGA_RETURN_IF_ERROR(
        pool_->Exec(kHold, {collector, one.name, frame::FormatUuid(one.uuid), one.owner_epoch}, deadline).status());
  }
  PGA_ASSIGN_OR_RETURN(const std::vector<ResolvedSource> resolved,
                       directory_->Resolve(collector, collector_id, owned, deadline));
  Entry entry{.targets = {}, .reported = now, .interval = interval, .since = since};
  for (size_t i = 0; i < owned.size(); ++i) {
    if (!resolved[i].refusal.empty() || resolved[i].former) continue;
    (owned[i].name == asked[1].name ? entry.targets.host : entry.targets.server) = {
        resolved[i].id, resolved[i].owner_epoch, owned[i].uuid};
  }
  absl::MutexLock lock(&mutex_);
  if (entries_.size() >= kMostEntries) entries_.clear();
  entries_[key] = entry;
  return entry.targets;
}

void PushSources::Forget(int32_t collector) {
  directory_->Forget(collector);
  absl::MutexLock lock(&mutex_);
  absl::erase_if(entries_, [&](const auto& entry) { return entry.first.first == collector; });
}

}  // namespace pga::ingest
