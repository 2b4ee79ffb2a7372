#include "services/query/insight/compare_causes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace pga::query {
namespace {

// Growth from which a figure counts as another one, and part of the added time that explains it.
constexpr double kGrew = 1.5;
constexpr double kGrewLittle = 1.2;
constexpr double kMostOfTime = 0.5;
constexpr double kThirdOfTime = 1.0 / 3;
// Instead of a division by zero.
constexpr double kTiny = 1e-9;

double PerCall(double sum, const WindowSums& window) {
  return window.calls > 0 ? sum / window.calls : 0;
}

// How many times more; from nothing it is as if there had been one.
double Growth(double before, double after) {
  return after / std::max(before, 1.0);
}

std::string Figure(double value) {
  if (value != 0 && std::abs(value) < 10) return absl::StrFormat("%.2g", value);
  return absl::StrFormat("%.0f", value);
}

std::string When(absl::Time seen_before, absl::Time seen_after) {
  const absl::TimeZone utc = absl::UTCTimeZone();
  return absl::StrCat("between ", absl::FormatTime("%Y-%m-%d %H:%M:%S", seen_before, utc), " and ",
                      absl::FormatTime("%Y-%m-%d %H:%M:%S", seen_after, utc), " UTC");
}

std::string What(const ChangeEvent& event) {
  const auto value = [](const std::optional<std::string>& text) { return text ? *text : std::string("nothing"); };
  switch (event.kind) {
    case EventKind::kPlan:
      return absl::StrCat("the plan changed to ", event.object);
    case EventKind::kIndexGone:
      return absl::StrCat("index ", event.object, " of ", event.table, " was dropped");
    case EventKind::kIndexThere:
      return absl::StrCat("index ", event.object, " of ", event.table, " was created");
    case EventKind::kIndexInvalid:
      return absl::StrCat("index ", event.object, " of ", event.table, " became invalid");
    case EventKind::kIndexValid:
      return absl::StrCat("index ", event.object, " of ", event.table, " became valid");
    case EventKind::kTable:
      return absl::StrCat("table ", event.object, " was changed");
    case EventKind::kStatistics:
      return absl::StrCat("table ", event.object, " was analyzed");
    case EventKind::kSetting:
      return absl::StrCat("setting ", event.object, " changed from ", value(event.before), " to ", value(event.after));
    case EventKind::kRestart:
      return "the server was restarted";
    case EventKind::kUpgrade:
      return absl::StrCat("the server went from version ", value(event.before), " to ", value(event.after));
  }
  return {};
}

// Name of an index or table without its schema.
std::string_view Bare(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

bool Holds(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const auto part = [](char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$'; };
    const bool begins = at == 0 || !part(text[at - 1]);
    const bool ends = at + word.size() >= text.size() || !part(text[at + word.size()]);
    if (begins && ends) return true;
  }
  return false;
}

// The figures of a change that made a statement slower; for one that got faster the windows have changed places.
class Search {
 public:
  explicit Search(const ChangeFacts& facts)
      : facts_(facts),
        slower_(PerCall(facts.after.time_ms, facts.after) >= PerCall(facts.before.time_ms, facts.before)),
        less_(slower_ ? facts.before : facts.after),
        more_(slower_ ? facts.after : facts.before) {
    const double less = PerCall(less_.time_ms, less_);
    added_ms_ = std::max(PerCall(more_.time_ms, more_) - less, kTiny);
    time_growth_ = PerCall(more_.time_ms, more_) / std::max(less, kTiny);
    std::stable_sort(events_.begin(), events_.end(), [](const ChangeEvent& a, const ChangeEvent& b) {
      return a.seen_after - a.seen_before < b.seen_after - b.seen_before;
    });
  }

  std::vector<NamedCause> Run() {
    Locks();
    Rows();
    Plan();
    Definitions();
    Settings();
    Spills();
    Cache();
    Tables();
    Io();
    OtherWaits();
    Server();
    return std::move(found_);
  }

 private:
  const char* Grew() const { return slower_ ? "grew" : "fell"; }

  double BlocksOf(const WindowSums& window) const { return PerCall(window.blocks_hit + window.blocks_read, window); }
  double BlockGrowth() const { return Growth(BlocksOf(less_), BlocksOf(more_)); }

  CauseFigure PerCallFigure(const char* what, double WindowSums::*sum, const char* unit) const {
    return {what, "", PerCall(facts_.before.*sum, facts_.before), PerCall(facts_.after.*sum, facts_.after), unit};
  }
  CauseFigure BlocksFigure() const {
    return {"blocks_per_call", "", BlocksOf(facts_.before), BlocksOf(facts_.after), "blocks"};
  }

  NamedCause& Add(std::string kind, std::string summary) {
    NamedCause& cause = found_.emplace_back();
    cause.kind = std::move(kind);
    cause.summary = std::move(summary);
    return cause;
  }
  bool Has(std::string_view kind) const {
    return std::any_of(found_.begin(), found_.end(), [&](const NamedCause& cause) { return cause.kind == kind; });
  }

  // Milliseconds a call that sessions of a kind stand for.
  static double WaitMs(double sessions, const WindowSums& window) {
    return window.calls > 0 ? sessions * window.covered_s * 1000 / window.calls : 0;
  }

  void Locks() {
    if (!less_.waits || !more_.waits) return;
    const double less = WaitMs(less_.waits->locks, less_);
    const double more = WaitMs(more_.waits->locks, more_);
    const double share = (more - less) / added_ms_;
    if (share < kMostOfTime) return;
    std::string summary =
        slower_ ? absl::StrCat("it waits for locks: ", Figure(more - less), " ms more of each call")
                : absl::StrCat("it stopped waiting for locks: ", Figure(more - less), " ms less of each call");
    if (slower_ && !facts_.lock_holder.empty()) absl::StrAppend(&summary, "; held by ", facts_.lock_holder);
    NamedCause& cause = Add("lock_waits", std::move(summary));
    cause.share = std::min(share, 1.0);
    cause.figures.push_back({"lock_waits", "", WaitMs(facts_.before.waits->locks, facts_.before),
                             WaitMs(facts_.after.waits->locks, facts_.after), "ms"});
  }

  void Rows() {
    const double less = PerCall(less_.rows, less_);
    const double more = PerCall(more_.rows, more_);
    const double growth = Growth(less, more);
    if (more < 2 || growth < kGrew) return;
    // Rows that grew as much as the blocks are why more blocks are read, however long each of them takes on a busy
    // server.
    const bool of_blocks = BlockGrowth() >= kGrew && growth >= BlockGrowth();
    if (!of_blocks && growth - 1 < kMostOfTime * (time_growth_ - 1)) return;
    NamedCause& cause =
        Add(slower_ ? "more_rows" : "fewer_rows",
            absl::StrCat("rows of each call ", Grew(), " from ", Figure(PerCall(facts_.before.rows, facts_.before)),
                         " to ", Figure(PerCall(facts_.after.rows, facts_.after))));
    cause.figures.push_back(PerCallFigure("rows_per_call", &WindowSums::rows, "rows"));
  }

  // What lies behind another plan; null when nothing does.
  const ChangeEvent* Behind() const {
    const auto first = [&](const auto& wanted) -> const ChangeEvent* {
      const auto found = std::find_if(events_.begin(), events_.end(), wanted);
      return found == events_.end() ? nullptr : &*found;
    };
    const EventKind index = slower_ ? EventKind::kIndexGone : EventKind::kIndexThere;
    const std::string& better = slower_ ? facts_.plan_before : facts_.plan_after;
    const auto of_plan = [&](const ChangeEvent& event) {
      return event.kind == index && Holds(better, Bare(event.object));
    };
    if (const ChangeEvent* found = first(of_plan)) return found;
    for (const EventKind kind : {index, slower_ ? EventKind::kIndexInvalid : EventKind::kIndexValid,
                                 slower_ ? EventKind::kIndexThere : EventKind::kIndexGone, EventKind::kTable}) {
      if (const ChangeEvent* found = first([&](const ChangeEvent& event) { return event.kind == kind; })) return found;
    }
    const auto planner = [](const ChangeEvent& event) {
      if (event.kind != EventKind::kSetting) return false;
      const SettingEffect effect = EffectOf(event.object);
      return effect == SettingEffect::kPlanner || effect == SettingEffect::kMemory;
    };
    if (const ChangeEvent* found = first(planner)) return found;
    for (const EventKind kind : {EventKind::kUpgrade, EventKind::kStatistics}) {
      if (const ChangeEvent* found = first([&](const ChangeEvent& event) { return event.kind == kind; })) return found;
    }
    return nullptr;
  }

  void Plan() {
    const auto plan = std::find_if(events_.begin(), events_.end(),
                                   [](const ChangeEvent& event) { return event.kind == EventKind::kPlan; });
    if (plan == events_.end()) return;
    std::string summary = absl::StrCat(What(*plan), " ", When(plan->seen_before, plan->seen_after));
    const ChangeEvent* const behind = Behind();
    if (behind != nullptr)
      absl::StrAppend(&summary, "; ", What(*behind), " ", When(behind->seen_before, behind->seen_after));
    NamedCause& cause = Add("plan_changed", std::move(summary));
    cause.events.push_back(*plan);
    if (behind != nullptr) cause.events.push_back(*behind);
    cause.figures.push_back(BlocksFigure());
  }

  // Sequential scans of a table of the statement became more than they were.
  const TableFigures* Scanned(const std::string& table) const {
    for (const TableFigures& figures : facts_.tables) {
      if (!table.empty() && figures.name != table) continue;
      if (!figures.scans_before || !figures.scans_after) continue;
      const double less = slower_ ? *figures.scans_before : *figures.scans_after;
      const double more = slower_ ? *figures.scans_after : *figures.scans_before;
      if (more > 0 && more >= kGrew * less) return &figures;
    }
    return nullptr;
  }

  void Definitions() {
    const bool more_written =
        facts_.writes && Growth(PerCall(less_.wal_bytes, less_), PerCall(more_.wal_bytes, more_)) >= kGrewLittle;
    const bool more_blocks = BlockGrowth() >= kGrewLittle;
    for (const ChangeEvent& event : events_) {
      const char* kind = nullptr;
      bool symptom = more_blocks;
      switch (event.kind) {
        case EventKind::kIndexGone:
          kind = "index_dropped";
          symptom |= slower_ ? Scanned(event.table) != nullptr : more_written;
          break;
        case EventKind::kIndexInvalid:
          kind = "index_invalid";
          symptom |= slower_ && Scanned(event.table) != nullptr;
          break;
        case EventKind::kIndexThere:
        case EventKind::kIndexValid:
          kind = "index_created";
          symptom |= slower_ ? more_written : Scanned(event.table) != nullptr;
          // It makes reading cheaper and writing dearer.
          if (slower_ && !facts_.writes) symptom = false;
          break;
        case EventKind::kTable:
          kind = "table_changed";
          symptom |= more_written || Scanned(event.object) != nullptr;
          break;
        default:
          continue;
      }
      if (!symptom || Has(kind)) continue;
      NamedCause& cause = Add(kind, absl::StrCat(What(event), " ", When(event.seen_before, event.seen_after)));
      cause.events.push_back(event);
      cause.figures.push_back(BlocksFigure());
      if (const TableFigures* scanned = Scanned(event.table)) {
        cause.figures.push_back(
            {"sequential_scans", scanned->name, *scanned->scans_before, *scanned->scans_after, "1/s"});
      }
      if (more_written) cause.figures.push_back(PerCallFigure("wal_per_call", &WindowSums::wal_bytes, "bytes"));
    }
  }

  bool Spilled() const {
    const double more = PerCall(more_.temp_blocks, more_);
    return more >= 1 && Growth(PerCall(less_.temp_blocks, less_), more) >= kGrew;
  }
  // Another part of the blocks was read from outside.
  bool Missed() const {
    const double blocks = BlocksOf(more_);
    const double more = PerCall(more_.blocks_read, more_);
    const double less = PerCall(less_.blocks_read, less_);
    return more >= 1 && more >= kGrew * less && more - less >= 0.1 * blocks;
  }

  void Settings() {
    for (const ChangeEvent& event : events_) {
      if (event.kind != EventKind::kSetting) continue;
      CauseFigure figure;
      bool symptom = false;
      switch (EffectOf(event.object)) {
        case SettingEffect::kNone:
          break;
        case SettingEffect::kPlanner:
          // Another plan shows in its blocks, or, as with parallel workers, in its time alone.
          symptom = BlockGrowth() >= kGrewLittle || (!Missed() && !Spilled());
          figure = BlocksFigure();
          break;
        case SettingEffect::kMemory:
          symptom = Spilled();
          figure = PerCallFigure("temp_blocks_per_call", &WindowSums::temp_blocks, "blocks");
          break;
        case SettingEffect::kCache:
          symptom = Missed();
          figure = PerCallFigure("blocks_read_per_call", &WindowSums::blocks_read, "blocks");
          break;
        case SettingEffect::kDurability:
          symptom = facts_.writes;
          figure = PerCallFigure("wal_per_call", &WindowSums::wal_bytes, "bytes");
          break;
      }
      if (!symptom) continue;
      NamedCause& cause =
          Add("setting_changed", absl::StrCat(What(event), " ", When(event.seen_before, event.seen_after)));
      cause.events.push_back(event);
      cause.figures.push_back(std::move(figure));
    }
  }

  void Spills() {
    if (!Spilled()) return;
    NamedCause& cause = Add(slower_ ? "spills" : "fewer_spills",
                            absl::StrCat("temporary blocks of each call ", Grew(), " from ",
                                         Figure(PerCall(facts_.before.temp_blocks, facts_.before)), " to ",
                                         Figure(PerCall(facts_.after.temp_blocks, facts_.after))));
    cause.figures.push_back(PerCallFigure("temp_blocks_per_call", &WindowSums::temp_blocks, "blocks"));
  }

  // Misses count as such when the number of blocks is much the same: more blocks bring more misses.
  void Cache() {
    if (!Missed() || BlockGrowth() >= kGrew) return;
    const auto restart = std::find_if(events_.begin(), events_.end(), [](const ChangeEvent& event) {
      return event.kind == EventKind::kRestart || event.kind == EventKind::kUpgrade;
    });
    const CauseFigure read = PerCallFigure("blocks_read_per_call", &WindowSums::blocks_read, "blocks");
    const std::string misses = absl::StrCat("blocks of each call that were not in shared buffers ", Grew(), " from ",
                                            Figure(read.before), " to ", Figure(read.after));
    if (slower_ && restart != events_.end()) {
      NamedCause& cause = Add(
          "restart", absl::StrCat(What(*restart), " ", When(restart->seen_before, restart->seen_after), "; ", misses));
      cause.events.push_back(*restart);
      cause.figures.push_back(read);
      return;
    }
    Add(slower_ ? "cache_misses" : "fewer_cache_misses", misses).figures.push_back(read);
  }

  void Tables() {
    if (BlockGrowth() < kGrew) return;
    for (const TableFigures& table : facts_.tables) {
      if (!table.rows_before || !table.rows_after) continue;
      const double less = slower_ ? *table.rows_before : *table.rows_after;
      const double more = slower_ ? *table.rows_after : *table.rows_before;
      if (more < 100 || Growth(less, more) < kGrew) continue;
      NamedCause& cause = Add(slower_ ? "table_grew" : "table_shrank",
                              absl::StrCat("rows of ", table.name, " ", Grew(), " from ", Figure(*table.rows_before),
                                           " to ", Figure(*table.rows_after)));
      cause.figures.push_back({"rows", table.name, *table.rows_before, *table.rows_after, "rows"});
      cause.figures.push_back(BlocksFigure());
    }
    NamedCause& cause = Add(slower_ ? "more_blocks" : "fewer_blocks",
                            absl::StrCat("blocks of each call ", Grew(), " from ", Figure(BlocksOf(facts_.before)),
                                         " to ", Figure(BlocksOf(facts_.after))));
    cause.figures.push_back(BlocksFigure());
    if (const TableFigures* scanned = Scanned("")) {
      cause.figures.push_back(
          {"sequential_scans", scanned->name, *scanned->scans_before, *scanned->scans_after, "1/s"});
    }
  }

  void Io() {
    if (less_.blocks_read <= 0 || more_.blocks_read <= 0 || less_.io_ms <= 0) return;
    const double share = (PerCall(more_.io_ms, more_) - PerCall(less_.io_ms, less_)) / added_ms_;
    const double less = less_.io_ms / less_.blocks_read;
    const double more = more_.io_ms / more_.blocks_read;
    if (share < kThirdOfTime || more < kGrew * less) return;
    const double before = slower_ ? less : more;
    const double after = slower_ ? more : less;
    NamedCause& cause = Add(slower_ ? "io_slower" : "io_faster", absl::StrCat("reading a block took ", Figure(before),
                                                                              " ms and takes ", Figure(after), " ms"));
    cause.share = std::min(share, 1.0);
    cause.figures.push_back({"io_per_block", "", before, after, "ms"});
  }

  void OtherWaits() {
    if (!less_.waits || !more_.waits) return;
    const auto add = [&](const std::string& name, double less, double more) {
      const double share = (WaitMs(more, more_) - WaitMs(less, less_)) / added_ms_;
      if (share < kMostOfTime) return;
      const double before = slower_ ? WaitMs(less, less_) : WaitMs(more, more_);
      const double after = slower_ ? WaitMs(more, more_) : WaitMs(less, less_);
      NamedCause& cause = Add(slower_ ? "waits" : "fewer_waits",
                              absl::StrCat("waits of class ", name, " ", Grew(), " from ", Figure(before), " to ",
                                           Figure(after), " ms of each call"));
      cause.share = std::min(share, 1.0);
      cause.figures.push_back({"waits", name, before, after, "ms"});
    };
    add("IO", less_.waits->io, more_.waits->io);
    if (!more_.waits->other_class.empty()) {
      const bool same = less_.waits->other_class == more_.waits->other_class;
      add(more_.waits->other_class, same ? less_.waits->other : 0, more_.waits->other);
    }
  }

  void Server() {
    if (!found_.empty() || BlockGrowth() >= kGrewLittle) return;
    const ServerFigures& server = facts_.server;
    if (!server.active_before || !server.active_after) return;
    const double less = slower_ ? *server.active_before : *server.active_after;
    const double more = slower_ ? *server.active_after : *server.active_before;
    if (more < 2 || Growth(less, more) < kGrew) return;
    NamedCause& cause =
        Add(slower_ ? "server_busier" : "server_idler",
            absl::StrCat("the same work of each call, and active sessions of the server ", Grew(), " from ",
                         Figure(*server.active_before), " to ", Figure(*server.active_after)));
    cause.figures.push_back({"active_sessions", "", *server.active_before, *server.active_after, "1"});
  }

  const ChangeFacts& facts_;
  const bool slower_;
  const WindowSums& less_;
  const WindowSums& more_;
  double added_ms_ = 0;
  double time_growth_ = 1;
  // Those that are known most exactly first.
  std::vector<ChangeEvent> events_ = facts_.events;
  std::vector<NamedCause> found_;
};

}  // namespace

SettingEffect EffectOf(const std::string& setting) {
  constexpr std::array<std::string_view, 5> kMemory = {"work_mem", "hash_mem_multiplier", "temp_buffers",
                                                       "maintenance_work_mem", "logical_decoding_work_mem"};
  constexpr std::array<std::string_view, 10> kDurability = {
      "synchronous_commit", "fsync",        "synchronous_standby_names", "wal_sync_method", "full_page_writes",
      "wal_compression",    "commit_delay", "commit_siblings",           "wal_level",       "wal_buffers"};
  constexpr std::array<std::string_view, 19> kPlanner = {"effective_cache_size",
                                                         "random_page_cost",
                                                         "seq_page_cost",
                                                         "cpu_tuple_cost",
                                                         "cpu_index_tuple_cost",
                                                         "cpu_operator_cost",
                                                         "parallel_setup_cost",
                                                         "parallel_tuple_cost",
                                                         "min_parallel_table_scan_size",
                                                         "min_parallel_index_scan_size",
                                                         "max_parallel_workers",
                                                         "max_parallel_workers_per_gather",
                                                         "plan_cache_mode",
                                                         "default_statistics_target",
                                                         "constraint_exclusion",
                                                         "cursor_tuple_fraction",
                                                         "from_collapse_limit",
                                                         "join_collapse_limit",
                                                         "recursive_worktable_factor"};
  const auto among = [&](const auto& names) { return std::find(names.begin(), names.end(), setting) != names.end(); };
  if (among(kMemory)) return SettingEffect::kMemory;
  if (among(kDurability)) return SettingEffect::kDurability;
  if (setting == "shared_buffers") return SettingEffect::kCache;
  if (among(kPlanner) || absl::StartsWith(setting, "enable_") || absl::StartsWith(setting, "geqo") ||
      absl::StartsWith(setting, "jit")) {
    return SettingEffect::kPlanner;
  }
  return SettingEffect::kNone;
}

std::string NameOfEvent(EventKind kind) {
  switch (kind) {
    case EventKind::kPlan:
      return "plan";
    case EventKind::kIndexGone:
    case EventKind::kIndexThere:
    case EventKind::kIndexInvalid:
    case EventKind::kIndexValid:
      return "index";
    case EventKind::kTable:
      return "table";
    case EventKind::kStatistics:
      return "statistics";
    case EventKind::kSetting:
      return "setting";
    case EventKind::kRestart:
      return "restart";
    case EventKind::kUpgrade:
      return "version";
  }
  return {};
}

std::vector<NamedCause> CausesOf(const ChangeFacts& facts) {
  return Search(facts).Run();
}

NamedCause CallsCause(const WindowSums& before, const WindowSums& after) {
  const double then = before.covered_s > 0 ? before.calls / before.covered_s : 0;
  const double now = after.covered_s > 0 ? after.calls / after.covered_s : 0;
  NamedCause cause;
  cause.kind = now > then ? "more_calls" : "fewer_calls";
  cause.summary =
      absl::StrCat("calls in a second ", now > then ? "grew" : "fell", " from ", Figure(then), " to ", Figure(now));
  cause.figures.push_back({"calls", "", then, now, "1/s"});
  return cause;
}

}  // namespace pga::query
