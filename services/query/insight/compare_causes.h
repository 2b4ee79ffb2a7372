// Why a statement got slower or faster: causes named from evidence, in the order of docs/adr/2026-11-28-insight.md.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace pga::query {

// What is known of a statement in one window. Sums over the window.
struct WindowSums {
  double calls = 0;
  double time_ms = 0;
  double rows = 0;
  double blocks_hit = 0;
  double blocks_read = 0;
  double temp_blocks = 0;
  double wal_bytes = 0;
  double io_ms = 0;
  double covered_s = 0;
  // Average sessions that sampling saw at work on it: all, those that waited for locks, and the others by class of
  // wait. Absent where nothing was sampled.
  struct Waits {
    double active = 0;
    double locks = 0;
    double io = 0;
    // Of the other classes the largest, and its name.
    double other = 0;
    std::string other_class = {};
  };
  std::optional<Waits> waits = {};
};

// Something that happened between two readings.
enum class EventKind {
  kPlan,
  kIndexGone,
  kIndexThere,
  kIndexInvalid,
  kIndexValid,
  kTable,
  kStatistics,
  kSetting,
  kRestart,
  kUpgrade,
};
struct ChangeEvent {
  EventKind kind = EventKind::kPlan;
  // Index, table, setting: as answers name it. Of a plan its id.
  std::string object;
  // Table that an index is of, "schema.name".
  std::string table;
  // Values as text; absent = it was not there.
  std::optional<std::string> before;
  std::optional<std::string> after;
  absl::Time seen_before;
  absl::Time seen_after;
};

// A table that the statement names, in both windows.
struct TableFigures {
  std::string name;
  std::optional<double> rows_before;
  std::optional<double> rows_after;
  // Sequential scans in a second.
  std::optional<double> scans_before;
  std::optional<double> scans_after;
};

// Sessions at work on the source, on average; absent where nothing was sampled.
struct ServerFigures {
  std::optional<double> active_before;
  std::optional<double> active_after;
};

struct ChangeFacts {
  WindowSums before;
  WindowSums after;
  // The statement changes rows.
  bool writes = false;
  // Of the statement, its tables and its source; in any order.
  std::vector<ChangeEvent> events;
  std::vector<TableFigures> tables;
  ServerFigures server;
  // Who held the locks that it waited for most after the change, in words; empty when not known.
  std::string lock_holder;
  // Trees of the plans before and after; empty when not known.
  std::string plan_before;
  std::string plan_after;
};

struct CauseFigure {
  std::string what;
  std::string object;
  double before = 0;
  double after = 0;
  std::string unit;
};
struct NamedCause {
  std::string kind;
  std::string summary;
  // Of the change of the mean time, 0 to 1.
  std::optional<double> share;
  std::vector<ChangeEvent> events;
  std::vector<CauseFigure> figures;
};

// Causes of a change of the mean time, the likeliest first; empty when no evidence explains it. The windows have calls.
std::vector<NamedCause> CausesOf(const ChangeFacts& facts);

// Of a change of the load by more or fewer calls alone: calls in a second.
NamedCause CallsCause(const WindowSums& before, const WindowSums& after);

// What a setting can do to a statement.
enum class SettingEffect { kNone, kPlanner, kMemory, kCache, kDurability };
SettingEffect EffectOf(const std::string& setting);

std::string NameOfEvent(EventKind kind);

}  // namespace pga::query
