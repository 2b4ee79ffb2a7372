#include "libs/storage/read/source_reader.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_join.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/sent_frames.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using internal::Cat;

constexpr char kGroupsSql[] = "SELECT DISTINCT group_name FROM metrics.source ORDER BY 1";

constexpr char kResolveSql[] =
    "SELECT id, uuid::text, name FROM metrics.source WHERE group_name = ANY($1::text[]) ORDER BY name, id";

constexpr char kListSql[] =
    "SELECT s.id, s.uuid::text, s.name, coalesce(c.collector_id, ''), s.system_identifier, s.server_version_num, "
    "s.in_recovery, (extract(epoch FROM s.first_seen) * 1000000)::int8, (extract(epoch FROM s.last_seen) * "
    "1000000)::int8 FROM metrics.source s LEFT JOIN metrics.collector c ON c.id = s.collector_id WHERE s.group_name = "
    "ANY($1::text[]) ORDER BY s.name, s.id";

}  // namespace

std::vector<int32_t> IdsOf(const std::vector<SourceRef>& sources) {
  std::vector<int32_t> ids;
  ids.reserve(sources.size());
  for (const SourceRef& source : sources) ids.push_back(source.id);
  return ids;
}

absl::StatusOr<std::vector<std::string>> SourceReader::Groups(clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(pg::Result result, pool_->Exec(kGroupsSql, {}, deadline));
  std::vector<std::string> groups;
  for (const pg::Row& row : result) groups.emplace_back(row.Text(0));
  return groups;
}

absl::StatusOr<std::vector<SourceRef>> SourceReader::Resolve(const std::vector<std::string>& groups,
                                                             const std::vector<std::string>& wanted,
                                                             clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(pg::Result result, pool_->Exec(kResolveSql, {ArrayOf(groups)}, deadline));
  std::vector<SourceRef> all;
  std::vector<std::string> names;
  for (const pg::Row& row : result) {
    all.push_back({row.Int32(0), std::string(row.Text(1)), std::string(row.Text(2))});
    names.push_back(all.back().name);
  }
  if (wanted.empty()) return all;
  std::vector<SourceRef> chosen;
  for (const std::string& want : wanted) {
    bool found = false;
    for (const SourceRef& source : all) {
      if (source.uuid != want && source.name != want) continue;
      found = true;
      const bool repeated =
          std::any_of(chosen.begin(), chosen.end(), [&](const SourceRef& other) { return other.id == source.id; });
      if (!repeated) chosen.push_back(source);
    }
    if (!found) {
      const std::vector<std::string> nearest = NearestNames(want, names);
      return absl::NotFoundError(Cat("source '", want.substr(0, 80), "' does not exist, or you may not see it",
                                     nearest.empty() ? "; list them with /api/v1/sources"
                                                     : "; did you mean " + absl::StrJoin(nearest, ", ") + "?"));
    }
  }
  return chosen;
}

absl::StatusOr<std::vector<SourceOverview>> SourceReader::List(const std::vector<std::string>& groups, absl::Time now,
                                                               const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(pg::Result result, pool_->Exec(kListSql, {ArrayOf(groups)}, limit.deadline));
  std::vector<int32_t> ids;
  for (const pg::Row& row : result) ids.push_back(row.Int32(0));
  std::map<int32_t, SentFrames> sent;
  PGA_RETURN_IF_ERROR(reads_->Read(limit, [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const std::vector<SentFrames> all,
                         LoadSentFrames(tx, &ids, now - absl::Hours(24), absl::FromUnixSeconds(7258118400)));
    for (const SentFrames& frames : all) {
      SentFrames& of_source = sent[frames.source_id];
      of_source.frames += frames.frames;
      of_source.rows += frames.rows;
      of_source.newest_us = std::max(of_source.newest_us, frames.newest_us);
    }
    return absl::OkStatus();
  }));
  std::vector<SourceOverview> sources;
  std::map<int64_t, std::vector<std::string>> by_system;
  for (const pg::Row& row : result) {
    SourceOverview overview;
    overview.source = {row.Int32(0), std::string(row.Text(1)), std::string(row.Text(2))};
    overview.collector_id = std::string(row.Text(3));
    overview.system_identifier = row.Int64(4);
    overview.server_version_num = row.Int32(5);
    overview.in_recovery = row.Bool(6);
    overview.first_seen = absl::FromUnixMicros(row.Int64(7));
    overview.last_seen = absl::FromUnixMicros(row.Int64(8));
    if (const auto of_source = sent.find(overview.source.id); of_source != sent.end()) {
      overview.last_seen = absl::FromUnixMicros(of_source->second.newest_us);
      overview.frames_24h = of_source->second.frames;
      overview.rows_24h = of_source->second.rows;
    }
    if (overview.system_identifier != 0) by_system[overview.system_identifier].push_back(overview.source.uuid);
    sources.push_back(std::move(overview));
  }
  for (SourceOverview& overview : sources) {
    if (overview.system_identifier == 0) continue;
    for (const std::string& uuid : by_system[overview.system_identifier]) {
      if (uuid != overview.source.uuid) overview.same_server_as.push_back(uuid);
    }
  }
  return sources;
}

}  // namespace pga::storage
