// What becomes of answers: readings of a rule, and alerts that begin, fire and end by them. Pure: no clock, no
// database, no network. A missing answer changes nothing and says so; it never ends an alert and never begins one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/ruler/missing.h"
#include "services/ruler/rule.h"

namespace pga::ruler {

// A watched source as the rules need it.
struct SourceInfo {
  std::string id;  // UUID
  std::string name;
  std::string group;
  // Readings of the source have come lately. What it lacks then is not there; else it is not known.
  bool fresh = false;
  MissingMetrics missing;
};
using Sources = std::map<std::string, SourceInfo>;  // by id

// One value of an answer.
struct Sample {
  // Empty for what belongs to no source.
  std::string source_id;
  // Values of the term's group_by.
  Labels labels;
  // Empty: the row is there, its value is not known.
  std::optional<double> value;
};

// Hours of earlier weeks: those of the same hour of the week as `hour` and as the one before it.
inline constexpr int kWeeksOfHistory = 4;
struct History {
  // Hours since 1970 (UTC) of the present.
  int64_t hour = 0;
  // By source id and labels, by hour.
  std::map<std::pair<std::string, Labels>, std::map<int64_t, double>> rows;
  // Hours in which the source was read, by source id: what has no row then was not there. Of terms with `absent`.
  std::map<std::string, std::set<int64_t>> covered;
};

struct Answer {
  absl::Status status;
  std::vector<Sample> samples;
  // Of terms with `history`.
  std::shared_ptr<const History> history;
};

// What a rule says of one thing at one time.
struct Reading {
  std::string source_id;
  // `source` and the labels of the rule's terms.
  Labels labels;
  bool known = false;
  // With `known`: empty where there is nothing to judge (a share of nothing).
  std::optional<double> value;
  // Why it is not known.
  std::string reason;
};

struct Outcome {
  // Not OK: nothing is known, with the reason.
  absl::Status status;
  std::vector<Reading> readings;
  // Readings that have too little history for usual() and spread().
  int without_baseline = 0;
};

// Joins the answers to the rule's terms, in their order.
Outcome Join(const Rule& rule, const std::vector<const Answer*>& answers, const Sources& sources);

enum class Phase {
  kPending,  // holds, not yet for as long as the rule says
  kFiring,
  kClosed,  // a person ended it, and what it says still holds
};

// An alert that has not ended.
struct Alert {
  // Of the database; 0 = not stored yet.
  int64_t id = 0;
  std::string rule;
  Labels labels;
  std::string source_id;
  std::string source_group;
  Phase phase = Phase::kPending;
  // When what it says began to hold, and when it began to fire.
  absl::Time began = absl::InfinitePast();
  absl::Time fired = absl::InfinitePast();
  // Last reading and its time.
  std::optional<double> value;
  absl::Time seen = absl::InfinitePast();
  // Since when it is not known whether it still holds.
  std::optional<absl::Time> unknown_since;
  std::string unknown_reason;
  std::string summary;
  // It stands for many of its rule (fleet.h): their names.
  bool fleet = false;
  std::vector<std::string> members;
  // It is a member of such an alert, and receivers hear of that one.
  bool joined = false;
};

// By rule, source id and labels: names of sources are unique in their group alone.
using AlertKey = std::pair<std::string, std::pair<std::string, Labels>>;
using AlertBook = std::map<AlertKey, Alert>;
AlertKey KeyOf(const Alert& alert);

struct Change {
  enum class Kind {
    kBegan,     // pending
    kFired,     // pending or nothing before
    kUpdated,   // value, known or not
    kDropped,   // pending, and holds no more
    kResolved,  // fired, and holds no more
  };
  Kind kind = Kind::kUpdated;
  Alert alert;
  // Of kResolved and kDropped: why, in words.
  std::string reason;
};

// Brings the rule's alerts in `book` to `now`, and says what changed. An alert is in the book until it ends.
std::vector<Change> Advance(const Rule& rule, const Outcome& outcome, const Sources& sources, absl::Time now,
                            AlertBook* book);

// Alerts whose rule is there no more.
std::vector<Change> EndRule(const std::string& rule, AlertBook* book);

// Runs the tests of the rule's file. Empty = all hold, else a line for each that does not.
std::vector<std::string> RunTests(const Rule& rule);

}  // namespace pga::ruler
