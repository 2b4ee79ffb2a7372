#include "services/registry/source_rules.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/frame/text.h"
#include "libs/frame/uuid.h"
#include "libs/token/principal.h"

namespace pga::registry {
namespace {

constexpr absl::Duration kShortestLease = absl::Seconds(2);
constexpr size_t kMaxNameCharacters = 255;

size_t Characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

absl::Duration LeaseOf(absl::Duration interval) {
  return std::max(interval, kShortestLease);
}

absl::Duration ReportEvery(absl::Duration interval) {
  return LeaseOf(interval) / 4;
}

absl::Status CheckSourceName(std::string_view name) {
  const auto refuse = [](std::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("the name of a source ", std::string(why)));
  };
  if (name.empty() || Characters(name) > kMaxNameCharacters) return refuse("has 1 to 255 characters");
  if (!frame::IsValidText(name)) return refuse("is UTF-8");
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return refuse("has no control characters");
  }
  if (frame::ParseUuid(name).ok()) return refuse("must not look like an id; choose a word, such as orders-db");
  return absl::OkStatus();
}

absl::Status CheckGroup(std::string_view group) {
  // The same characters as a collector's id.
  if (token::IsCollectorId(group)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a group has ", token::kCollectorIdRule));
}

Decision Decide(const Source& source, const std::string& collector_id, const SourceReport& report,
                const std::optional<Watcher>& watcher, absl::Time now) {
  const auto parsed = frame::ParseUuid(source.id);
  const bool holds = parsed.ok() && *parsed == report.held_id;
  if (source.removed) {
    return {Standing::kRefused, 0,
            absl::StrCat("the source ", report.name, " was deleted by ", source.removed_by,
                         "; take it out of this collector's configuration, or give it another name there")};
  }
  const bool owner = source.owner == collector_id;
  const bool known =
      report.identifier == 0 || source.identifiers.empty() ||
      std::find(source.identifiers.begin(), source.identifiers.end(), report.identifier) != source.identifiers.end();
  if (source.host != report.host || (!known && !owner)) {
    return {Standing::kRefused, 0,
            absl::StrCat("the name ", report.name, " belongs to another ", source.host ? "host" : "server", ", ",
                         source.address.empty() ? "" : absl::StrCat(source.address, ", "), "which collector ",
                         source.owner, " watches; give this one another name")};
  }
  if (owner) {
    // What registry's own database may have lost.
    const int64_t epoch = holds ? std::max(source.owner_epoch, report.held_epoch) : source.owner_epoch + 1;
    // A collector that held an earlier epoch begins with the present one.
    return {Standing::kOwner, epoch, ""};
  }
  const absl::Duration lease = LeaseOf(source.interval);
  const bool over = now - source.renewed_at > lease;
  const bool released = source.renewed_at == absl::InfinitePast();
  // Whoever has asked all that time shows that the way was open.
  const bool waited = watcher.has_value() && now - watcher->polled_at <= lease / 2 && now - watcher->since >= lease;
  if (released || (over && waited)) {
    return {Standing::kOwner, std::max(source.owner_epoch, holds ? report.held_epoch : 0) + 1, ""};
  }
  return {Standing::kStandby, source.owner_epoch, ""};
}

State StateOf(const Source& source, absl::Time now) {
  // A release is silence, too: nobody looks.
  const absl::Duration patience = LeaseOf(source.interval) * 3 / 2;
  if (now - source.renewed_at > patience) {
    return {"silent", source.renewed_at == absl::InfinitePast() ? source.owned_since : source.renewed_at};
  }
  if (!source.up) return {"down", source.since};
  int64_t since = INT64_MAX;
  for (const MissingPart& part : source.not_collected) {
    if (!part.off) since = std::min(since, part.since_us);
  }
  if (since != INT64_MAX) return {"incomplete", absl::FromUnixMicros(since)};
  return {"up", source.since};
}

}  // namespace pga::registry
