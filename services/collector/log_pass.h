// What one reading of a server's log says: counts of all entries, figures of checkpoints and vacuums, and the entries
// that are kept, without what must not be. Pure code; not thread-safe.
//
// A pass begins with what is durable of the one before (baselines) and gives readings whose counters are whole: it can
// be thrown away and made again from the same bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "services/collector/log_classes.h"
#include "services/collector/log_entry.h"
#include "services/collector/log_follower.h"
#include "services/collector/log_tally.h"
#include "services/collector/reading.h"
#include "services/collector/statement_forms.h"

namespace pga::collector {

struct LogKeepLimits {
  // Entries that are kept, and bytes of their texts. Half of either is for errors alone.
  size_t entries = 1000;
  size_t bytes = 1 << 20;
  // Of entries that differ in figures and values alone, and name the same object.
  int of_one_form = 20;
  // One text.
  size_t text_bytes = 8 << 10;
  // Rows of each kind of counts.
  size_t rows = 2000;
  // Plans that are looked at.
  size_t plans = 2000;
};

// The metrics of a log; null where one is off. They outlive the pass.
struct LogShapes {
  const MetricShape* events = nullptr;
  const MetricShape* counts = nullptr;
  const MetricShape* files = nullptr;
  const MetricShape* checkpoints = nullptr;
  const MetricShape* vacuums = nullptr;
  const MetricShape* plans = nullptr;
};

class LogPass {
 public:
  using BaselineOf = std::function<const Baseline*(const MetricShape& shape)>;

  // `baseline_of` gives what is durable of a metric, or null. `read_us` stands for the time of entries that tell none,
  // `cause` is what the pass before ended with. `forms`, if any are known, outlive the pass.
  LogPass(const LogClasses* classes, const LogShapes& shapes, QueryTextMode mode, const BaselineOf& baseline_of,
          int64_t read_us, std::string cause = {}, LogKeepLimits limits = LogKeepLimits(),
          const StatementForms* forms = nullptr);
  LogPass(const LogPass&) = delete;
  LogPass& operator=(const LogPass&) = delete;

  void Add(LogEntry entry);

  size_t kept() const { return events_.size(); }
  // When the first of the entries that are kept was written; 0 = none is.
  int64_t oldest_us() const;

  // What began the checkpoint that is under way; empty if none is.
  const std::string& cause() const { return cause_; }

  // Replace the content of a reading of the metric.
  void FillEvents(Reading* reading) const;
  void FillCounts(Reading* reading) const { counts_.Fill(reading); }
  void FillCheckpoints(Reading* reading) const { checkpoints_.Fill(reading); }
  void FillVacuums(Reading* reading) const { vacuums_.Fill(reading); }
  void FillPlans(Reading* reading) const { plans_.Fill(reading); }
  // Trees of the plans that were counted, by their ids.
  const std::map<int64_t, std::string>& plan_trees() const { return plan_trees_; }
  // Statements that they are of: database and query id.
  const std::set<std::pair<std::string, int64_t>>& planned() const { return planned_; }

 private:
  struct Event {
    LogEntry entry;
    LogTexts texts;
    std::string class_name;
    std::string object;
    int64_t duration_us = -1;
    int64_t bytes = -1;
  };

  void CountFigures(const LogVerdict& verdict);
  void CountPlan(const LogEntry& entry, int64_t duration_us);
  // Whether there is room for an entry of this form, which then counts.
  bool Keep(const LogEntry& entry, const LogVerdict& verdict, LogTexts* texts);

  const LogClasses* const classes_;
  const LogShapes shapes_;
  const QueryTextMode mode_;
  const int64_t read_us_;
  const LogKeepLimits limits_;
  const StatementForms* const statements_;
  LogTally counts_;
  LogTally checkpoints_;
  LogTally vacuums_;
  LogTally plans_;
  std::map<int64_t, std::string> plan_trees_;
  std::set<std::pair<std::string, int64_t>> planned_;
  size_t plans_seen_ = 0;
  std::vector<Event> events_;
  size_t others_ = 0;  // of events_ that are no errors
  size_t bytes_ = 0;
  size_t other_bytes_ = 0;
  std::map<std::string, int> forms_;
  std::string cause_;  // of the checkpoint that is under way
};

// Positions as the baseline of log_files tells them, and as a reading of it.
LogFilePositions LogFilePositionsOf(const MetricShape& files, const Baseline& baseline);
void FillLogFiles(const LogFilePositions& positions, Reading* reading);

}  // namespace pga::collector
