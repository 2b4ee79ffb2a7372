#include "libs/storage/read/activity_reader.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "libs/status/status.h"
#include "libs/storage/read/fetch.h"
#include "libs/storage/read/load.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using catalog_pb::Metric;
using columns::Column;
using columns::RowSet;
using internal::Cat;

// An interval is looked for this far before and after the instant.
constexpr absl::Duration kNearby = absl::Hours(1);
// A tree holds until the next frame. Collectors say it at every change, every 15 minutes and, even if nobody is
// blocked, when they start: what is older than this holds no longer.
constexpr absl::Duration kTreeHolds = absl::Minutes(20);
// Kinds of activity that are added up at most.
constexpr size_t kMaxKinds = 500'000;

// Source and instant of a frame, microseconds.
using FrameKey = std::pair<int32_t, int64_t>;

// Values of a row of one metric, by the names of its columns.
class RowReader {
 public:
  RowReader(const Metric& metric, const RowSet& rows) : metric_(metric), rows_(rows) {}
  std::string Text(size_t row, std::string_view name) const {
    const auto [column, at] = Find(row, name);
    return column == nullptr || column->IsNull(at) ? std::string() : column->Text(at);
  }
  std::optional<int64_t> Int(size_t row, std::string_view name) const {
    const auto [column, at] = Find(row, name);
    if (column == nullptr || column->IsNull(at)) return std::nullopt;
    return column->ints[at];
  }
  double Number(size_t row, std::string_view name) const {
    const auto [column, at] = Find(row, name);
    return column == nullptr || column->IsNull(at) ? 0 : column->Number(at);
  }

 private:
  std::pair<const Column*, size_t> Find(size_t row, std::string_view name) const {
    for (int i = 0; i < metric_.columns_size(); ++i) {
      if (metric_.columns(i).name() != name) continue;
      const auto id = static_cast<columns::ColumnId>(i + 1);
      if (const auto label = rows_.labels.find(id); label != rows_.labels.end()) {
        return {&label->second, rows_.row_series[row]};
      }
      if (const auto value = rows_.values.find(id); value != rows_.values.end()) return {&value->second, row};
    }
    return {nullptr, 0};
  }
  const Metric& metric_;
  const RowSet& rows_;
};

// One metric of some sources between two instants, raw.
struct RawRead {
  const Metric* metric = nullptr;
  int16_t metric_id = 0;
  std::vector<int32_t> sources;
  columns::Cells cells;

  RawRead(const Metric* of, int16_t id, std::vector<int32_t> ids, absl::Time start, absl::Time end)
      : metric(of),
        metric_id(id),
        sources(std::move(ids)),
        // (start, end], where cells are [start, end).
        cells({{absl::ToUnixMicros(start) + 1, absl::ToUnixMicros(end) + 1, 0, 0}}) {}

  FetchSpec Spec(const std::vector<std::string_view>& names) const {
    FetchSpec spec;
    spec.metric = metric;
    spec.metric_ids = {metric_id};
    spec.source_ids = sources;
    spec.cells = &cells;
    spec.frames_only = names.empty();
    for (int i = 0; i < metric->columns_size(); ++i) {
      if (std::find(names.begin(), names.end(), metric->columns(i).name()) != names.end()) {
        spec.raw.push_back(static_cast<columns::ColumnId>(i + 1));
      }
    }
    return spec;
  }

  // Instants of the frames, by source.
  absl::StatusOr<std::set<FrameKey>> Frames(pg::ReadTransaction& tx) const {
    std::set<FrameKey> frames;
    PGA_RETURN_IF_ERROR(FetchRows(tx, Spec({}), [&](Fetched& fetched) {
      for (const columns::FrameInfo& frame : fetched.rows.frames) {
        if (frame.end_us >= cells[0].start_us && frame.end_us < cells[0].end_us) {
          frames.emplace(fetched.source_id, frame.end_us);
        }
      }
      return absl::OkStatus();
    }));
    return frames;
  }
};

struct Kind {
  int32_t source = 0;
  std::string database, user, application;
  std::optional<int64_t> query_id;
  std::string state, wait_event_type, wait_event;
  auto operator<=>(const Kind&) const = default;
};
struct Seen {
  int64_t newest_us = INT64_MIN;
  double samples = 0;
  double sessions = 0;
};

}  // namespace

absl::StatusOr<ActivityAnswer> ActivityReader::Read(const ActivityQuery& query, const pg::CallLimit& limit) {
  ActivityAnswer answer;
  if (query.sources.empty()) return answer;
  const Metric* const activity = catalog_->Find("activity");
  const Metric* const blocking = catalog_->Find("blocking");
  if (activity == nullptr || blocking == nullptr) {
    return absl::FailedPreconditionError("the catalog has no metrics activity and blocking");
  }
  std::map<int32_t, std::string> uuids;
  for (const SourceRef& source : query.sources) uuids[source.id] = source.uuid;
  const std::vector<int32_t> ids = IdsOf(query.sources);
  const int64_t end_us = absl::ToUnixMicros(query.end);

  std::map<Kind, Seen> kinds;
  std::map<int32_t, int64_t> frames_of;
  std::vector<BlockingEntry> edges;
  size_t edges_found = 0;
  std::map<std::pair<int32_t, int64_t>, std::string> texts;
  std::vector<std::pair<Kind, Seen>> ranked;
  const absl::Status done = pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored_activity, FindMetric(tx, activity->name()));
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored_blocking, FindMetric(tx, blocking->name()));

    const RawRead sampled(activity, stored_activity.id, ids, query.instant ? query.end - kNearby : query.start,
                          query.instant ? query.end + kNearby - absl::Microseconds(1) : query.end);
    PGA_ASSIGN_OR_RETURN(std::set<FrameKey> frames, sampled.Frames(tx));
    if (query.instant) {
      // Per source the first at or after the instant, or the newest before it.
      std::set<FrameKey> chosen;
      for (const int32_t id : ids) {
        auto frame = frames.lower_bound({id, end_us});
        if (frame == frames.end() || frame->first != id) {
          if (frame == frames.begin()) continue;
          --frame;
          if (frame->first != id) continue;
        }
        chosen.insert(*frame);
      }
      frames = std::move(chosen);
    }
    for (const auto& [source, instant] : frames) ++frames_of[source];
    PGA_RETURN_IF_ERROR(FetchRows(tx,
                                  sampled.Spec({"datname", "usename", "application_name", "query_id", "state",
                                                "wait_event_type", "wait_event", "samples", "sessions_avg"}),
                                  [&](Fetched& fetched) -> absl::Status {
                                    const RowReader reader(*activity, fetched.rows);
                                    // Kinds stand once per series: looked up once per series.
                                    std::vector<Seen*> of_series(fetched.rows.series(), nullptr);
                                    for (size_t row = 0; row < fetched.rows.rows(); ++row) {
                                      const int64_t instant = fetched.rows.frames[fetched.rows.row_frame[row]].end_us;
                                      if (!frames.contains({fetched.source_id, instant})) continue;
                                      Seen*& seen = of_series[fetched.rows.row_series[row]];
                                      if (seen == nullptr) {
                                        Kind kind;
                                        kind.source = fetched.source_id;
                                        kind.database = reader.Text(row, "datname");
                                        kind.user = reader.Text(row, "usename");
                                        kind.application = reader.Text(row, "application_name");
                                        kind.query_id = reader.Int(row, "query_id");
                                        kind.state = reader.Text(row, "state");
                                        kind.wait_event_type = reader.Text(row, "wait_event_type");
                                        kind.wait_event = reader.Text(row, "wait_event");
                                        seen = &kinds[std::move(kind)];
                                        if (kinds.size() > kMaxKinds) {
                                          return absl::InvalidArgumentError(
                                              "the range has too many kinds of activity; shorten it");
                                        }
                                      }
                                      seen->newest_us = std::max(seen->newest_us, instant);
                                      seen->samples += reader.Number(row, "samples");
                                      seen->sessions += reader.Number(row, "sessions_avg");
                                    }
                                    return absl::OkStatus();
                                  }));
    for (auto& [kind, seen] : kinds) {
      seen.sessions /= static_cast<double>(frames_of[kind.source]);
      ranked.emplace_back(kind, seen);
    }
    std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
      return std::tie(b.second.samples, b.second.sessions) < std::tie(a.second.samples, a.second.sessions);
    });
    if (ranked.size() > static_cast<size_t>(query.limit)) ranked.resize(static_cast<size_t>(query.limit));

    // Of the tree's history an instant wants the last state only: an empty range with what is in force at its start.
    const absl::Time tree_start = query.instant ? query.end : query.start;
    const RawRead trees(blocking, stored_blocking.id, ids, tree_start - kTreeHolds, query.end);
    PGA_ASSIGN_OR_RETURN(const std::set<FrameKey> states, trees.Frames(tx));
    std::set<FrameKey> in_force;
    for (const FrameKey& state : states) {
      const auto next = states.upper_bound(state);
      const bool held =
          next == states.end() || next->first != state.first || next->second > absl::ToUnixMicros(tree_start);
      if (state.second > absl::ToUnixMicros(tree_start) || held) in_force.insert(state);
    }
    const auto before = [](const BlockingEntry& a, const BlockingEntry& b) {
      return std::tie(a.time, a.source_uuid, a.blocked_pid, a.blocking_pid) <
             std::tie(b.time, b.source_uuid, b.blocked_pid, b.blocking_pid);
    };
    PGA_RETURN_IF_ERROR(
        FetchRows(tx,
                  trees.Spec({"blocked_pid", "blocking_pid", "datname", "blocked_usename", "blocking_usename",
                              "wait_event", "waited_us", "blocked_query_id", "blocking_query_id", "blocking_state"}),
                  [&](Fetched& fetched) {
                    const RowReader reader(*blocking, fetched.rows);
                    for (size_t row = 0; row < fetched.rows.rows(); ++row) {
                      const int64_t instant = fetched.rows.frames[fetched.rows.row_frame[row]].end_us;
                      if (!in_force.contains({fetched.source_id, instant})) continue;
                      if (++edges_found > static_cast<size_t>(query.limit)) continue;
                      BlockingEntry entry;
                      entry.source_uuid = uuids[fetched.source_id];
                      entry.time = absl::FromUnixMicros(instant);
                      entry.blocked_pid = reader.Int(row, "blocked_pid").value_or(0);
                      entry.blocking_pid = reader.Int(row, "blocking_pid").value_or(0);
                      entry.blocked_user = reader.Text(row, "blocked_usename");
                      entry.blocking_user = reader.Text(row, "blocking_usename");
                      entry.database = reader.Text(row, "datname");
                      entry.wait_event = reader.Text(row, "wait_event");
                      entry.waited_us = reader.Int(row, "waited_us").value_or(0);
                      entry.blocked_query_id = reader.Int(row, "blocked_query_id").value_or(0);
                      entry.blocking_query_id = reader.Int(row, "blocking_query_id").value_or(0);
                      entry.blocking_state = reader.Text(row, "blocking_state");
                      edges.push_back(std::move(entry));
                    }
                    return absl::OkStatus();
                  }));
    if (edges_found > static_cast<size_t>(query.limit)) {
      return absl::InvalidArgumentError(Cat("the range has ", edges_found, " blocking edges, more than the limit of ",
                                            query.limit, "; raise limit (at most 1000) or shorten the range"));
    }
    std::sort(edges.begin(), edges.end(), before);
    if (!query.with_texts) return absl::OkStatus();
    std::vector<std::pair<int32_t, int64_t>> wanted;
    for (const auto& [kind, seen] : ranked) {
      if (kind.query_id) wanted.emplace_back(kind.source, *kind.query_id);
    }
    PGA_ASSIGN_OR_RETURN(texts, LoadStatementTexts(tx, wanted));
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  for (auto& [kind, seen] : ranked) {
    ActivityEntry entry;
    entry.source_uuid = uuids[kind.source];
    entry.time = absl::FromUnixMicros(seen.newest_us);
    entry.database = kind.database;
    entry.user = kind.user;
    entry.application = kind.application;
    entry.query_id = kind.query_id.value_or(0);
    entry.state = kind.state;
    entry.wait_event_type = kind.wait_event_type;
    entry.wait_event = kind.wait_event;
    entry.samples = seen.samples;
    entry.average_sessions = seen.sessions;
    if (kind.query_id) {
      if (const auto text = texts.find({kind.source, *kind.query_id}); text != texts.end()) {
        entry.query_text = text->second;
      }
    }
    answer.activity.push_back(std::move(entry));
  }
  answer.blocking = std::move(edges);
  return answer;
}

}  // namespace pga::storage
