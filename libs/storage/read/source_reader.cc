#include "libs/storage/read/source_reader.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_join.h"
#include "libs/clock/steady.h"
#include "libs/config/nearest.h"
#include "libs/status/status.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/sent_frames.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using internal::Cat;

constexpr char kGroupsSql[] = "SELECT DISTINCT group_name FROM metrics.source WHERE removed_at IS NULL ORDER BY 1";

constexpr char kResolveSql[] =
    "SELECT id, uuid::text, name, group_name FROM metrics.source WHERE group_name = ANY($1::text[]) AND removed_at IS "
    "NULL ORDER BY name, id";

// One row without a source for a collector that owns none of them.
constexpr char kOfCollectorSql[] =
    "SELECT s.id, s.uuid::text, s.name, s.group_name FROM metrics.collector c LEFT JOIN metrics.source s ON "
    "s.collector_id = c.id AND s.group_name = ANY($1::text[]) AND s.removed_at IS NULL WHERE c.collector_id = $2 ORDER "
    "BY s.name, s.id";

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
  PGA_ASSIGN_OR_RETURN(pg::Result result, pool_->Exec(kResolveSql, {pg::ArrayOf(groups)}, deadline));
  std::vector<SourceRef> all;
  std::vector<std::string> names;
  for (const pg::Row& row : result) {
    all.push_back({row.Int32(0), std::string(row.Text(1)), std::string(row.Text(2)), std::string(row.Text(3))});
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
      const std::vector<std::string> nearest = config::NearestNames(want, names);
      return absl::NotFoundError(Cat("source '", want.substr(0, 80), "' does not exist, or you may not see it",
                                     nearest.empty() ? "; list them with /api/v1/sources"
                                                     : "; did you mean " + absl::StrJoin(nearest, ", ") + "?"));
    }
  }
  return chosen;
}

absl::StatusOr<std::vector<SourceRef>> SourceReader::OfCollector(const std::vector<std::string>& groups,
                                                                 const std::string& collector_id,
                                                                 clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result,
                       pool_->Exec(kOfCollectorSql, {pg::ArrayOf(groups), collector_id}, deadline));
  if (result.empty()) {
    return absl::NotFoundError(Cat("collector '", collector_id.substr(0, 80),
                                   "' has delivered nothing; list collectors with /api/v1/collectors"));
  }
  std::vector<SourceRef> sources;
  for (const pg::Row& row : result) {
    if (row.IsNull(0)) continue;
    sources.push_back({row.Int32(0), std::string(row.Text(1)), std::string(row.Text(2)), std::string(row.Text(3))});
  }
  return sources;
}

absl::StatusOr<std::vector<StoredOfSource>> SourceReader::Stored(const std::vector<std::string>& groups,
                                                                 const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(const std::vector<SourceRef> all, Resolve(groups, {}, limit.deadline));
  std::map<int32_t, StoredOfSource> stored;
  for (const SourceRef& source : all) stored[source.id].source = source;
  PGA_RETURN_IF_ERROR(reads_->Read(limit, [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const SentInLastDay::Answer sent, sent_->Get(tx, limit.deadline));
    for (const SentFrames& frames : *sent) {
      const auto of_source = stored.find(frames.source_id);
      if (of_source == stored.end()) continue;
      of_source->second.frames_24h += frames.frames;
      of_source->second.rows_24h += frames.rows;
    }
    return absl::OkStatus();
  }));
  std::vector<StoredOfSource> answers;
  for (auto& [id, one] : stored) answers.push_back(std::move(one));
  return answers;
}

}  // namespace pga::storage
