#include "libs/storage/read/activity_reader.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
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

// An interval is looked for this far before the instant, and the end of a wait this far after it.
constexpr absl::Duration kNearby = absl::Hours(1);
// Collectors say the tree at every change and, while anybody waits, every 15 minutes: what is in force was said within
// this time.
constexpr absl::Duration kTreeSaid = absl::Minutes(20);
// Frames that follow each other leave no more than this between them.
constexpr int64_t kSlackUs = 5'000'000;
// Length of an interval where the only frame has none.
constexpr int64_t kIntervalUs = 60'000'000;
// Kinds of activity, and waits, that are distinguished at most.
constexpr size_t kMaxKinds = 500'000;
constexpr size_t kMaxWaits = 100'000;

// Beginnings of the intervals of a source by their end, microseconds.
using Intervals = std::map<int64_t, int64_t>;

// One column of a row set; NULL everywhere when it is not there.
class Field {
 public:
  Field(const Metric& metric, const RowSet& rows, std::string_view name) : rows_(rows) {
    for (int i = 0; i < metric.columns_size() && column_ == nullptr; ++i) {
      if (metric.columns(i).name() != name) continue;
      const auto id = static_cast<columns::ColumnId>(i + 1);
      const auto label = rows.labels.find(id);
      const auto value = rows.values.find(id);
      of_series_ = label != rows.labels.end();
      if (of_series_) {
        column_ = &label->second;
      } else if (value != rows.values.end()) {
        column_ = &value->second;
      }
    }
  }
  std::string Text(size_t row) const { return IsNull(row) ? std::string() : column_->Text(At(row)); }
  std::optional<int64_t> Int(size_t row) const {
    if (IsNull(row)) return std::nullopt;
    return column_->ints[At(row)];
  }
  double Number(size_t row) const { return IsNull(row) ? 0 : column_->Number(At(row)); }

 private:
  size_t At(size_t row) const { return of_series_ ? rows_.row_series[row] : row; }
  bool IsNull(size_t row) const { return column_ == nullptr || column_->IsNull(At(row)); }

  const RowSet& rows_;
  const Column* column_ = nullptr;
  bool of_series_ = false;
};

// Values of a row of one metric, by the names of its columns.
class RowReader {
 public:
  RowReader(const Metric& metric, const RowSet& rows) {
    for (const catalog_pb::Column& column : metric.columns()) {
      fields_.try_emplace(column.name(), metric, rows, column.name());
    }
  }
  std::string Text(size_t row, std::string_view name) const {
    const auto field = fields_.find(name);
    return field == fields_.end() ? std::string() : field->second.Text(row);
  }
  std::optional<int64_t> Int(size_t row, std::string_view name) const {
    const auto field = fields_.find(name);
    return field == fields_.end() ? std::nullopt : field->second.Int(row);
  }

 private:
  // Names are those of the metric, which outlives this.
  absl::flat_hash_map<std::string_view, Field> fields_;
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

  // Frames by source.
  absl::StatusOr<std::map<int32_t, Intervals>> Frames(pg::ReadTransaction& tx) const {
    std::map<int32_t, Intervals> frames;
    PGA_RETURN_IF_ERROR(FetchRows(tx, Spec({}), [&](Fetched& fetched) {
      for (const columns::FrameInfo& frame : fetched.rows.frames) {
        if (frame.end_us < cells[0].start_us || frame.end_us >= cells[0].end_us) continue;
        const auto [at, fresh] = frames[fetched.source_id].emplace(frame.end_us, frame.start_us);
        if (!fresh) at->second = std::min(at->second, frame.start_us);
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

int64_t LengthOf(const Intervals::value_type& interval) {
  return interval.first > interval.second ? interval.first - interval.second : kIntervalUs;
}

// How long after an interval its samples still stand for the present: the next one may not have arrived yet.
int64_t StandsFor(const Intervals::value_type& interval, bool newest) {
  return newest ? LengthOf(interval) * 3 / 2 + kSlackUs : LengthOf(interval);
}

// The interval that holds the instant, else the last one before it if it was not longer ago than it is long.
const Intervals::value_type* IntervalAt(const Intervals& intervals, int64_t instant) {
  const auto next = intervals.lower_bound(instant);
  if (next != intervals.end() && (next->second < instant || next->first == instant)) return &*next;
  if (next == intervals.begin()) return nullptr;
  const auto& last = *std::prev(next);
  return instant - last.first <= StandsFor(last, next == intervals.end()) ? &last : nullptr;
}

// Up to when sampling went on without a break from `instant` on.
int64_t SampledUntil(const Intervals& intervals, int64_t instant) {
  int64_t until = instant;
  for (auto next = intervals.upper_bound(instant); next != intervals.end(); ++next) {
    if (next->second > until + kSlackUs) break;
    until = next->first;
  }
  return until;
}

// A row of metric blocking.
struct TreeRow {
  int64_t blocked = 0;
  // Negative: a prepared transaction.
  int64_t blocking = 0;
  int64_t since_us = 0;
  int64_t blocked_us = 0;
  bool ended = false;
  std::optional<int64_t> root;
  int64_t database_oid = 0, relation_oid = 0;
  BlockingEntry entry;
};
using Tree = std::map<std::pair<int64_t, int64_t>, TreeRow>;

// The waits of one source, put together from its trees.
class Waits {
 public:
  Waits(const std::map<int64_t, Tree>& trees, const Intervals& sampled) {
    for (const auto& [instant, tree] : trees) {
      for (const auto& [pids, row] : tree) {
        const auto open = open_.find(pids);
        if (row.ended) {
          if (open == open_.end()) {
            open_.emplace(pids, Open{row, PartyOf(tree, row), instant});
          }
          Close(pids, row.since_us + row.blocked_us, false);
          continue;
        }
        if (open != open_.end() && open->second.row.since_us != row.since_us) {
          Close(pids, std::min(instant, SampledUntil(sampled, open->second.seen_us)), false);
        }
        open_[pids] = Open{row, PartyOf(tree, row), instant};
      }
      std::vector<std::pair<int64_t, int64_t>> over;
      for (const auto& [pids, wait] : open_) {
        if (!tree.contains(pids)) over.push_back(pids);
      }
      for (const auto& pids : over) {
        const int64_t until = SampledUntil(sampled, open_[pids].seen_us);
        Close(pids, std::min(until, instant), until < instant);
      }
    }
    while (!open_.empty()) {
      const auto& [pids, wait] = *open_.begin();
      Close(pids, std::max(wait.row.since_us + wait.row.blocked_us, SampledUntil(sampled, wait.seen_us)), true);
    }
  }
  std::vector<TreeRow>& all() { return all_; }

 private:
  struct Open {
    TreeRow row;
    std::optional<TreeRow> root;
    int64_t seen_us = 0;
  };
  // A row in which the root is the one that blocks.
  static std::optional<TreeRow> PartyOf(const Tree& tree, const TreeRow& row) {
    if (!row.root) return std::nullopt;
    if (*row.root == row.blocking) return row;
    for (const auto& [pids, other] : tree) {
      if (pids.second == *row.root) return other;
    }
    return std::nullopt;
  }
  void Close(std::pair<int64_t, int64_t> pids, int64_t until_us, bool lasts) {
    auto wait = open_.extract(pids);
    TreeRow& row = wait.mapped().row;
    row.entry.from = absl::FromUnixMicros(row.since_us);
    row.entry.until = absl::FromUnixMicros(std::max(until_us, row.since_us));
    row.entry.lasts = lasts;
    if (row.root) {
      row.entry.root.emplace();
      row.entry.root->pid = std::max<int64_t>(*row.root, 0);
      if (wait.mapped().root) row.entry.root = wait.mapped().root->entry.blocking;
    }
    all_.push_back(std::move(row));
  }

  std::map<std::pair<int64_t, int64_t>, Open> open_;
  std::vector<TreeRow> all_;
};

// Adds the samples of the chosen frames (source, end).
absl::Status AddKinds(const Metric& activity, const Fetched& fetched,
                      const std::set<std::pair<int32_t, int64_t>>& chosen, std::map<Kind, Seen>* kinds) {
  const RowSet& rows = fetched.rows;
  std::vector<uint8_t> counts(rows.frames.size());
  for (size_t frame = 0; frame < counts.size(); ++frame) {
    counts[frame] = chosen.contains({fetched.source_id, rows.frames[frame].end_us}) ? 1 : 0;
  }
  const RowReader reader(activity, rows);
  const Field samples(activity, rows, "samples"), sessions(activity, rows, "sessions_avg");
  // Kinds stand once per series: looked up once per series.
  std::vector<Seen*> of_series(rows.series(), nullptr);
  for (size_t row = 0; row < rows.rows(); ++row) {
    if (counts[rows.row_frame[row]] == 0) continue;
    Seen*& seen = of_series[rows.row_series[row]];
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
      seen = &(*kinds)[std::move(kind)];
      if (kinds->size() > kMaxKinds) {
        return absl::InvalidArgumentError("the range has too many kinds of activity; shorten it");
      }
    }
    seen->newest_us = std::max(seen->newest_us, rows.frames[rows.row_frame[row]].end_us);
    seen->samples += samples.Number(row);
    seen->sessions += sessions.Number(row);
  }
  return absl::OkStatus();
}

// Adds the rows of one source's trees.
absl::Status AddTrees(const Metric& blocking, const RawRead& read, pg::ReadTransaction& tx,
                      std::map<int32_t, std::map<int64_t, Tree>>* trees) {
  size_t rows = 0;
  std::vector<std::string_view> names;
  for (const catalog_pb::Column& column : blocking.columns()) names.push_back(column.name());
  return FetchRows(tx, read.Spec(names), [&](Fetched& fetched) -> absl::Status {
    const RowReader reader(blocking, fetched.rows);
    std::map<int64_t, Tree>& of_source = (*trees)[fetched.source_id];
    // A tree without rows says that nobody waits.
    for (const columns::FrameInfo& frame : fetched.rows.frames) of_source.try_emplace(frame.end_us);
    for (size_t row = 0; row < fetched.rows.rows(); ++row) {
      if (++rows > kMaxWaits) return absl::InvalidArgumentError("the range has too many waits; shorten it");
      const int64_t instant = fetched.rows.frames[fetched.rows.row_frame[row]].end_us;
      const auto number = [&](std::string_view name) { return reader.Int(row, name).value_or(0); };
      TreeRow wait;
      wait.blocked = number("blocked_pid");
      wait.blocking = number("blocking_pid");
      wait.since_us = reader.Int(row, "blocked_since").value_or(instant);
      wait.blocked_us = number("blocked_us");
      wait.ended = number("ended") != 0;
      wait.root = reader.Int(row, "root_pid");
      wait.database_oid = number("database_oid");
      wait.relation_oid = number("relation_oid");
      BlockingEntry& entry = wait.entry;
      entry.depth = number("depth");
      entry.cycle = number("cycle") != 0;
      entry.database = reader.Text(row, "datname");
      entry.relation = reader.Text(row, "relation");
      entry.lock_type = reader.Text(row, "lock_type");
      entry.lock_mode = reader.Text(row, "lock_mode");
      entry.wait_event = reader.Text(row, "wait_event");
      const auto party = [&](int64_t pid, const std::string& role) {
        BlockingParty session;
        session.pid = pid;
        session.user = reader.Text(row, role + "_usename");
        session.application = reader.Text(row, role + "_application_name");
        session.state = reader.Text(row, role + "_state");
        session.query_id = number(role + "_query_id");
        session.text_id = number(role + "_text_id");
        return session;
      };
      entry.blocked = party(wait.blocked, "blocked");
      entry.blocking = party(std::max<int64_t>(wait.blocking, 0), "blocking");
      entry.blocking.gid = reader.Text(row, "blocking_gid");
      if (const auto start = reader.Int(row, "blocking_xact_start")) {
        entry.blocking.transaction_start = absl::FromUnixMicros(*start);
      }
      of_source[instant][{wait.blocked, wait.blocking}] = std::move(wait);
    }
    return absl::OkStatus();
  });
}

using TableKey = std::tuple<int32_t, int64_t, int64_t>;  // source, database, relation

// Names of tables by their oids, from the tables that were read in the day before.
absl::StatusOr<std::map<TableKey, std::string>> NamesOfTables(pg::ReadTransaction& tx, const Metric* tables,
                                                              const std::set<TableKey>& wanted, absl::Time end) {
  std::map<TableKey, std::string> names;
  if (tables == nullptr || wanted.empty()) return names;
  const auto stored = FindMetric(tx, tables->name());
  if (absl::IsFailedPrecondition(stored.status())) return names;
  PGA_RETURN_IF_ERROR(stored.status());
  std::set<int32_t> sources;
  for (const TableKey& key : wanted) sources.insert(std::get<0>(key));
  const RawRead read(tables, stored->id, {sources.begin(), sources.end()}, end - kSampledBefore, end + kNearby);
  FetchSpec spec = read.Spec({"schemaname", "relname", "relid"});
  // A day's keyframe has every table; other frames only what became of those made since.
  for (const bool keyframes : {true, false}) {
    spec.keyframes = keyframes;
    spec.deltas = !keyframes;
    PGA_RETURN_IF_ERROR(FetchRows(tx, spec, [&](Fetched& fetched) {
      const RowSet& rows = fetched.rows;
      const Field schema(*tables, rows, "schemaname"), name(*tables, rows, "relname"), relid(*tables, rows, "relid");
      for (size_t row = 0; row < rows.rows(); ++row) {
        if (row > 0 && rows.row_series[row] == rows.row_series[row - 1]) continue;
        const TableKey key(fetched.source_id, rows.series_scope[rows.row_series[row]], relid.Int(row).value_or(0));
        if (wanted.contains(key) && !names.contains(key)) names[key] = schema.Text(row) + "." + name.Text(row);
      }
      return absl::OkStatus();
    }));
    if (names.size() == wanted.size()) break;
  }
  return names;
}

}  // namespace

absl::StatusOr<ActivityAnswer> ActivityReader::Read(const ActivityQuery& query, const pg::CallLimit& limit) {
  ActivityAnswer answer;
  if (query.sources.empty()) return answer;
  const Metric* const activity = catalog_->Find("activity");
  const Metric* const blocking = catalog_->Find("blocking");
  if (activity == nullptr || blocking == nullptr) {
    return absl::FailedPreconditionError("the catalog has no metrics activity and blocking");
  }
  std::map<int32_t, SourceRef> sources;
  for (const SourceRef& source : query.sources) sources[source.id] = source;
  const std::vector<int32_t> ids = IdsOf(query.sources);
  const int64_t start_us = absl::ToUnixMicros(query.start);
  const int64_t end_us = absl::ToUnixMicros(query.end);

  std::map<Kind, Seen> kinds;
  std::map<int32_t, int64_t> frames_of;
  std::map<std::pair<int32_t, int64_t>, CutText> texts;
  std::vector<std::pair<Kind, Seen>> ranked;
  std::vector<TreeRow> waits;
  const absl::Status done = pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored_activity, FindMetric(tx, activity->name()));
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored_blocking, FindMetric(tx, blocking->name()));

    const RawRead around(activity, stored_activity.id, ids, query.start - kNearby, query.end + kNearby);
    PGA_ASSIGN_OR_RETURN(auto intervals, around.Frames(tx));
    // Whose samples count, by source and end of the interval.
    std::set<std::pair<int32_t, int64_t>> chosen;
    std::map<int32_t, int64_t> last;
    std::vector<int32_t> silent;
    for (const int32_t id : ids) {
      const Intervals& own = intervals[id];
      if (query.instant) {
        if (const auto* interval = IntervalAt(own, end_us)) chosen.emplace(id, interval->first);
      } else {
        for (auto at = own.upper_bound(start_us); at != own.end() && at->first <= end_us; ++at) {
          chosen.emplace(id, at->first);
        }
      }
      if (const auto next = own.upper_bound(end_us); next != own.begin()) {
        last[id] = std::prev(next)->first;
      } else {
        silent.push_back(id);
      }
    }
    // A long range has looked there already.
    if (!silent.empty() && query.end - kSampledBefore < query.start - kNearby) {
      const RawRead before(activity, stored_activity.id, silent, query.end - kSampledBefore, query.start - kNearby);
      PGA_ASSIGN_OR_RETURN(const auto older, before.Frames(tx));
      for (const auto& [id, own] : older) last[id] = own.rbegin()->first;
    }
    for (const auto& [source, instant] : chosen) ++frames_of[source];
    for (const SourceRef& source : query.sources) {
      SampledSource entry{source, frames_of.contains(source.id), std::nullopt};
      if (const auto at = last.find(source.id); at != last.end()) entry.last = absl::FromUnixMicros(at->second);
      answer.sources.push_back(std::move(entry));
    }

    if (!chosen.empty()) {
      int64_t first = INT64_MAX;
      int64_t newest = INT64_MIN;
      for (const auto& [source, instant] : chosen) {
        first = std::min(first, instant);
        newest = std::max(newest, instant);
      }
      const RawRead sampled(activity, stored_activity.id, ids, absl::FromUnixMicros(first - 1),
                            absl::FromUnixMicros(newest));
      const FetchSpec spec = sampled.Spec({"datname", "usename", "application_name", "query_id", "state",
                                           "wait_event_type", "wait_event", "samples", "sessions_avg"});
      PGA_RETURN_IF_ERROR(
          FetchRows(tx, spec, [&](Fetched& fetched) { return AddKinds(*activity, fetched, chosen, &kinds); }));
    }
    for (auto& [kind, seen] : kinds) {
      seen.sessions /= static_cast<double>(frames_of[kind.source]);
      ranked.emplace_back(kind, seen);
    }
    std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
      return std::tie(b.second.samples, b.second.sessions) < std::tie(a.second.samples, a.second.sessions);
    });
    if (ranked.size() > static_cast<size_t>(query.limit)) ranked.resize(static_cast<size_t>(query.limit));

    const RawRead trees(blocking, stored_blocking.id, ids, query.start - kTreeSaid, query.end + kNearby);
    std::map<int32_t, std::map<int64_t, Tree>> of_source;
    PGA_RETURN_IF_ERROR(AddTrees(*blocking, trees, tx, &of_source));
    for (const auto& [id, own] : of_source) {
      Intervals& sampled = intervals[id];
      Waits found(own, sampled);
      for (TreeRow& wait : found.all()) {
        const int64_t from_us = absl::ToUnixMicros(wait.entry.from);
        int64_t until_us = absl::ToUnixMicros(wait.entry.until);
        // One that is not over stands for the present as samples do.
        if (wait.entry.lasts && (sampled.empty() || sampled.rbegin()->first <= until_us)) {
          until_us += sampled.empty() ? kIntervalUs : StandsFor(*sampled.rbegin(), true);
        }
        if (query.instant ? from_us > end_us || until_us < end_us : from_us >= end_us || until_us < start_us) continue;
        wait.entry.source = sources[id];
        waits.push_back(std::move(wait));
      }
    }
    answer.blocking_found = static_cast<int64_t>(waits.size());
    if (waits.size() > static_cast<size_t>(query.limit)) {
      std::stable_sort(waits.begin(), waits.end(), [](const TreeRow& a, const TreeRow& b) {
        return a.entry.until - a.entry.from > b.entry.until - b.entry.from;
      });
      waits.resize(static_cast<size_t>(query.limit));
    }
    std::sort(waits.begin(), waits.end(), [](const TreeRow& a, const TreeRow& b) {
      return std::tie(a.entry.from, a.entry.source.uuid, a.entry.depth, a.blocked, a.blocking) <
             std::tie(b.entry.from, b.entry.source.uuid, b.entry.depth, b.blocked, b.blocking);
    });
    std::set<TableKey> unnamed;
    for (const TreeRow& wait : waits) {
      if (wait.entry.relation.empty() && wait.relation_oid != 0) {
        unnamed.emplace(wait.entry.source.id, wait.database_oid, wait.relation_oid);
      }
    }
    PGA_ASSIGN_OR_RETURN(const auto names, NamesOfTables(tx, catalog_->Find("table_stats"), unnamed, query.end));
    for (TreeRow& wait : waits) {
      if (!wait.entry.relation.empty() || wait.relation_oid == 0) continue;
      const auto name = names.find({wait.entry.source.id, wait.database_oid, wait.relation_oid});
      wait.entry.relation = name != names.end() ? name->second : Cat("oid ", wait.relation_oid);
    }

    if (!query.with_texts) return absl::OkStatus();
    std::vector<std::pair<int32_t, int64_t>> wanted;
    for (const auto& [kind, seen] : ranked) {
      if (kind.query_id) wanted.emplace_back(kind.source, *kind.query_id);
    }
    for (const TreeRow& wait : waits) {
      for (const BlockingParty* party :
           {&wait.entry.blocked, &wait.entry.blocking, wait.entry.root ? &*wait.entry.root : &wait.entry.blocking}) {
        for (const int64_t id : {party->query_id, party->text_id}) {
          if (id != 0) wanted.emplace_back(wait.entry.source.id, id);
        }
      }
    }
    PGA_ASSIGN_OR_RETURN(texts, LoadStatementTexts(tx, wanted, query.text_length));
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  const auto text_of = [&](int32_t source, int64_t id) {
    const auto text = texts.find({source, id});
    return text == texts.end() ? CutText() : text->second;
  };
  for (auto& [kind, seen] : ranked) {
    ActivityEntry entry;
    entry.source = sources[kind.source];
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
    if (kind.query_id) entry.query_text = text_of(kind.source, *kind.query_id);
    answer.activity.push_back(std::move(entry));
  }
  for (TreeRow& wait : waits) {
    BlockingEntry& entry = wait.entry;
    const auto add_text = [&](BlockingParty& party) {
      // The whole text of pg_stat_statements is better than what the server shows of a session.
      if (party.query_id != 0) party.query_text = text_of(entry.source.id, party.query_id);
      if (party.query_text.text.empty() && party.text_id != 0)
        party.query_text = text_of(entry.source.id, party.text_id);
    };
    add_text(entry.blocked);
    add_text(entry.blocking);
    if (entry.root) add_text(*entry.root);
    answer.blocking.push_back(std::move(entry));
  }
  std::sort(answer.sources.begin(), answer.sources.end(),
            [](const SampledSource& a, const SampledSource& b) { return a.source.name < b.source.name; });
  return answer;
}

}  // namespace pga::storage
