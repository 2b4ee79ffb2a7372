#include "services/query/insight/load_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/status/status.h"

namespace pga::query {
namespace {

constexpr int kMostParts = 1000;
constexpr int64_t kTextLength = 500;
constexpr int kMostWaits = 10'000;
constexpr size_t kMostRelations = 5;

struct Slice {
  const char* by;
  std::vector<std::string> labels;
};
const std::vector<Slice>& Slices() {
  static const auto* const slices =
      new std::vector<Slice>{{"wait", {"wait_event_type"}},         {"wait_event", {"wait_event_type", "wait_event"}},
                             {"statement", {"query_id"}},           {"user", {"usename"}},
                             {"application", {"application_name"}}, {"database", {"datname"}},
                             {"backend_type", {"backend_type"}},    {"client", {"client_addr"}}};
  return *slices;
}

const Slice& SliceOf(const std::string& by) {
  return *std::find_if(Slices().begin(), Slices().end(), [&](const Slice& one) { return one.by == by; });
}

std::string KeyOf(const Slice& slice, const std::map<std::string, std::string>& labels) {
  const auto value = [&](const std::string& label) {
    const auto found = labels.find(label);
    return found == labels.end() ? std::string() : found->second;
  };
  const std::string first = value(slice.labels[0]);
  if (slice.labels[0] != "wait_event_type") return first;
  if (first.empty()) return "CPU";
  return slice.labels.size() == 1 ? first : absl::StrCat(first, ": ", value(slice.labels[1]));
}

// A figure of a window and where it comes from: counters as rates, added up.
struct Counted {
  const char* name;
  const char* unit;
  const char* metric;
  std::array<const char*, 2> columns;
};
constexpr Counted kCounted[] = {
    {"transactions", "/s", "database", {"xact_commit", "xact_rollback"}},
    {"rows_returned", "rows/s", "database", {"tup_returned", nullptr}},
    {"blocks_read", "blocks/s", "database", {"blks_read", nullptr}},
    {"temp_bytes", "bytes/s", "database", {"temp_bytes", nullptr}},
    {"wal_bytes", "bytes/s", "wal", {"wal_bytes", nullptr}},
    {"deadlocks", "/s", "database", {"deadlocks", nullptr}},
};

// What of the metric is not known here: it is not collected, or the database has not got it yet.
bool IsOpen(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsFailedPrecondition(status);
}

// The mean of a series over the time that is covered, each bucket by what is known of it.
std::optional<double> MeanOf(const storage::SeriesAnswer& answer) {
  double sum = 0;
  double covered = 0;
  for (const storage::SeriesData& data : answer.series) {
    for (const storage::SeriesPoint& point : data.points) {
      if (!point.value || point.covered_ms <= 0) continue;
      sum += *point.value * point.covered_ms;
      covered += point.covered_ms;
    }
  }
  if (covered <= 0) return std::nullopt;
  return sum / covered;
}

std::string PartyName(const storage::BlockingParty& party) {
  return party.pid == 0 ? party.gid : std::to_string(party.pid);
}

}  // namespace

absl::StatusOr<std::string> ParseLoadSlice(const std::string& by) {
  if (by.empty()) return std::string(Slices().front().by);
  std::vector<std::string> names;
  for (const Slice& slice : Slices()) {
    if (by == slice.by) return by;
    names.emplace_back(slice.by);
  }
  return absl::InvalidArgumentError(absl::StrCat("by is none of ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<LoadAnswer> ReadLoad(const Readers& readers, const LoadQuery& query, const pg::CallLimit& limit) {
  const Slice& slice = SliceOf(query.by);
  const bool clients = query.by == "client";
  LoadAnswer load;
  load.metric = clients ? "connections" : "activity";
  load.counts = clients ? "connected" : "active";
  storage::SeriesQuery series;
  series.metric = load.metric;
  series.column = clients ? "sessions" : "sessions_avg";
  series.sources = query.sources;
  series.filters = query.filters;
  if (!clients) {
    series.filters.emplace_back("state=active");
    // A process that waits for work in its main loop, as a walsender without WAL to send does, whose state is active.
    series.filters.emplace_back("wait_event_type!=Activity");
  }
  series.range = {query.start, query.end, 0, ""};
  series.group_by = slice.labels;
  series.limit = kMostParts;
  PGA_ASSIGN_OR_RETURN(const storage::SeriesAnswer found, readers.series->Read(series, limit));
  load.step_s = found.step_seconds;
  load.start = query.start;
  load.end = query.end;
  // A series without a value in a bucket that others are known in was absent there: no session of the kind.
  std::map<absl::Time, double> covered;
  for (const storage::SeriesData& data : found.series) {
    for (const storage::SeriesPoint& point : data.points) {
      if (point.value) covered[point.time] = std::max(covered[point.time], point.covered_ms);
    }
    if (data.points.empty()) continue;
    load.start = data.points.front().time;
    load.end = data.points.back().time + absl::Seconds(found.step_seconds);
  }
  double covered_ms = 0;
  for (const auto& [time, ms] : covered) covered_ms += ms;
  for (const storage::SeriesData& data : found.series) {
    LoadPart part;
    part.key = KeyOf(slice, data.labels);
    double sum = 0;
    for (const storage::SeriesPoint& point : data.points) {
      if (!point.value) continue;
      sum += *point.value * covered[point.time];
      if (*point.value <= part.peak) continue;
      part.peak = *point.value;
      part.peak_at = point.time;
    }
    if (sum <= 0) continue;
    part.average = sum / covered_ms;
    load.total += part.average;
    load.parts.push_back(std::move(part));
  }
  std::stable_sort(load.parts.begin(), load.parts.end(),
                   [](const LoadPart& a, const LoadPart& b) { return a.average > b.average; });
  PGA_ASSIGN_OR_RETURN(load.completeness,
                       readers.freshness->Completeness(load.metric, query.sources, query.start, query.end, limit));
  return load;
}

absl::Status FillTexts(const Readers& readers, const LoadQuery& query, std::vector<LoadPart>* parts,
                       const pg::CallLimit& limit) {
  if (query.by != "statement" || !query.with_texts) return absl::OkStatus();
  std::vector<std::pair<int32_t, int64_t>> wanted;
  for (const LoadPart& part : *parts) {
    if (part.key.empty()) continue;
    for (const storage::SourceRef& source : query.sources) {
      wanted.emplace_back(source.id, std::strtoll(part.key.c_str(), nullptr, 10));
    }
  }
  if (wanted.empty()) return absl::OkStatus();
  PGA_ASSIGN_OR_RETURN(const auto texts, readers.statements->Texts(wanted, kTextLength, limit));
  for (LoadPart& part : *parts) {
    for (const auto& [key, text] : texts) {
      if (std::to_string(key.second) != part.key) continue;
      part.text = text;
      break;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<WindowFigure>> ReadFigures(const Readers& readers,
                                                      const std::vector<storage::SourceRef>& sources, absl::Time start,
                                                      absl::Time end, const pg::CallLimit& limit) {
  std::vector<WindowFigure> figures;
  for (const Counted& counted : kCounted) {
    WindowFigure& figure = figures.emplace_back();
    figure.name = counted.name;
    figure.unit = counted.unit;
    for (const char* const column : counted.columns) {
      if (column == nullptr) continue;
      storage::SeriesQuery series;
      series.metric = counted.metric;
      series.column = column;
      series.sources = sources;
      series.range = {start, end, 0, ""};
      series.rate = true;
      series.group_by = {"none"};
      const auto found = readers.series->Read(series, limit);
      if (!found.ok() && IsOpen(found.status())) continue;
      PGA_RETURN_IF_ERROR(found.status());
      if (const auto value = MeanOf(*found)) figure.value = figure.value.value_or(0) + *value;
    }
  }
  return figures;
}

absl::StatusOr<BlockerAnswer> ReadBlockers(const Readers& readers, const BlockerQuery& query,
                                           const pg::CallLimit& limit) {
  if (query.by != "session" && query.by != "user" && query.by != "application" && query.by != "statement") {
    return absl::InvalidArgumentError("by is none of session, user, application, statement");
  }
  storage::ActivityQuery activity;
  activity.sources = query.sources;
  activity.start = query.start;
  activity.end = query.end;
  activity.limit = kMostWaits;
  activity.text_length = kTextLength;
  activity.with_texts = query.with_texts;
  PGA_ASSIGN_OR_RETURN(const storage::ActivityAnswer found, readers.activity->Read(activity, limit));
  BlockerAnswer answer;
  answer.left_out = static_cast<int>(found.blocking_found - static_cast<int64_t>(found.blocking.size()));
  struct Joined {
    BlockerPart part;
    std::set<std::string> sessions;
    std::set<std::string> relations;
    std::set<std::string> parties;
    std::set<int64_t> statements;
    std::set<std::string> users;
    std::set<std::string> applications;
  };
  std::map<std::tuple<int32_t, std::string, std::string>, Joined> joined;
  for (const storage::BlockingEntry& wait : found.blocking) {
    const storage::BlockingParty& party = wait.root ? *wait.root : wait.blocking;
    const double seconds = absl::ToDoubleSeconds(std::min(wait.until, query.end) - std::max(wait.from, query.start));
    if (seconds < 0) continue;
    std::string key;
    std::string since;
    if (query.by == "user") key = party.user;
    if (query.by == "application") key = party.application;
    if (query.by == "statement") {
      key = party.query_id != 0 ? std::to_string(party.query_id) : absl::StrCat("text ", party.text_id);
    }
    if (query.by == "session") {
      key = PartyName(party);
      // A process id is given again.
      since = absl::StrCat(party.user, " ", party.application);
    }
    Joined& one = joined[{wait.source.id, key, since}];
    BlockerPart& part = one.part;
    if (part.waits == 0 || wait.until >= part.last) {
      part.source = wait.source;
      part.party = party;
      part.last = wait.until;
    }
    if (part.waits == 0 || wait.from < part.first) part.first = wait.from;
    part.blocked_s += seconds;
    part.longest_s = std::max(part.longest_s, seconds);
    part.lasts = part.lasts || wait.lasts;
    ++part.waits;
    one.sessions.insert(PartyName(wait.blocked));
    one.parties.insert(PartyName(party));
    one.statements.insert(party.query_id);
    one.users.insert(party.user);
    one.applications.insert(party.application);
    if (!wait.relation.empty()) one.relations.insert(wait.relation);
  }
  for (auto& [key, one] : joined) {
    BlockerPart& part = one.part;
    part.sessions = static_cast<int>(one.sessions.size());
    for (const std::string& relation : one.relations) {
      if (part.relations.size() == kMostRelations) break;
      part.relations.push_back(relation);
    }
    if (one.parties.size() > 1) {
      part.party.pid = 0;
      part.party.gid.clear();
    }
    if (one.users.size() > 1) part.party.user.clear();
    if (one.applications.size() > 1) part.party.application.clear();
    if (one.statements.size() > 1) {
      part.party.query_id = 0;
      part.party.query_text = {};
    }
    answer.blocked_s += part.blocked_s;
    answer.waits += part.waits;
    answer.blockers.push_back(std::move(part));
  }
  std::stable_sort(answer.blockers.begin(), answer.blockers.end(),
                   [](const BlockerPart& a, const BlockerPart& b) { return a.blocked_s > b.blocked_s; });
  PGA_ASSIGN_OR_RETURN(answer.completeness,
                       readers.freshness->Completeness("activity", query.sources, query.start, query.end, limit));
  return answer;
}

}  // namespace pga::query
