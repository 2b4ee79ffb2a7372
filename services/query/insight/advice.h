// Advice: what should be done about one server, found by rules over what is stored of it. Pure functions: no clock, no
// database, no network.
//
// A rule is a function from facts to findings. It names one object in each finding, says what is so, gives the figures
// with the interval they come from, and what to run. What it cannot know it says as well: NotJudged. Thresholds stand
// at the top of each file with their reason; docs/advice.md lists them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace pga::query {

// A row of a metric: labels and info columns as PostgreSQL writes them, gauges as last read, counters added up over
// the interval. What is not known is not there.
struct FactRow {
  std::map<std::string, std::string> texts;
  std::map<std::string, double> numbers;

  // Empty where it is not known.
  const std::string& Text(const std::string& name) const;
  std::optional<double> Number(const std::string& name) const;
  // 0 where it is not known.
  double Amount(const std::string& name) const { return Number(name).value_or(0); }
  // Of a bool: known and true.
  bool Is(const std::string& name) const { return Text(name) == "true"; }
};

// What is known of one metric.
struct Fact {
  // Why nothing is; empty = it is known.
  std::string unknown;
  std::vector<FactRow> rows;
  // Share of the interval that frames cover, and that time.
  double completeness = 0;
  double covered_hours = 0;
};

// A plan that was logged for a statement in the interval, or given by EXPLAIN: then `logged` may be 0.
struct PlanFact {
  int64_t query_id = 0;
  std::string database;
  // A line a node, two blanks deeper than the one above it; conditions four blanks deeper than their node; values are
  // ?.
  std::string tree;
  double logged = 0;
  double duration_us = 0;
};

// What the text of a statement says (shape.h has the meanings).
struct TextFact {
  bool gives_rows = false;
  bool looks_up = false;
};

struct SourceFacts {
  std::string source_id;
  std::string source_name;
  absl::Time start;
  absl::Time end;
  // By metric.
  std::map<std::string, Fact> metrics;
  // Scans of indexes on other members of the cluster, by "database.schema.index"; what of them is not known.
  std::map<std::string, double> scans_elsewhere;
  std::vector<std::string> members_unknown;
  // The member that is the primary, where this one is a standby of it and it is watched.
  std::string primary;
  // When an index came, by the same name: only those that came within the interval. Whether that is known.
  std::map<std::string, absl::Time> index_since;
  std::string index_since_unknown;
  // When a setting was changed last within the interval, by its name.
  std::map<std::string, absl::Time> setting_changed;
  std::vector<PlanFact> plans;
  // Why plans are not known; empty = they are.
  std::string plans_unknown;
  // By query id: of the statements that TextsNeeded names; one that is not there is not known.
  std::map<int64_t, TextFact> texts;
};

enum class Certainty {
  kCertain,   // follows from the server's catalogs
  kLikely,    // by figures observed over the interval
  kPossible,  // to be tried before
};
std::string_view NameOf(Certainty certainty);

struct Advice {
  std::string id = {};
  std::string kind = {};
  std::string database = {};
  std::string schema = {};
  std::string table = {};
  std::string object = {};
  std::string what = {};
  std::vector<std::string> why = {};
  std::string command = {};
  std::string instruction = {};
  Certainty certainty = Certainty::kPossible;
  std::string certainty_reason = {};
  double completeness = 1;
  std::map<std::string, double> figures = {};
  std::vector<int64_t> query_ids = {};
  std::vector<std::string> columns = {};
  std::optional<double> time_share = {};
};

struct NotJudged {
  std::string kind;
  std::string database;
  std::string object;
  std::string why;
};

struct Findings {
  std::vector<Advice> advice;
  std::vector<NotJudged> not_judged;
};

struct AdviceLimits {
  // History without which use is not judged: a week has every job of a week in it.
  double least_hours = 168;
};

// Every rule; findings in a fixed order, with their ids.
Findings Judge(const SourceFacts& facts, const AdviceLimits& limits);

// The groups of rules.
void JudgeIndexes(const SourceFacts& facts, const AdviceLimits& limits, Findings* findings);
void JudgeVacuum(const SourceFacts& facts, Findings* findings);
void JudgeSettings(const SourceFacts& facts, Findings* findings);
// The statements whose texts JudgeStatements asks for, by what the figures say; the ones that cost most first.
std::vector<int64_t> TextsNeeded(const SourceFacts& facts);
// The logins that collectors use, by their open connections: what they run is the suite's own.
std::set<std::string> CollectorLogins(const SourceFacts& facts);
// Those of every statement, or of one alone.
void JudgeStatements(const SourceFacts& facts, std::optional<int64_t> only, Findings* findings);
void JudgeObjects(const SourceFacts& facts, Findings* findings);
void JudgeSecurity(const SourceFacts& facts, Findings* findings);

// Stable hash of kind, source, database and object, 16 hexadecimal digits.
std::string AdviceId(std::string_view kind, std::string_view source_id, std::string_view database,
                     std::string_view object);

// A metric and what of it the rules read.
struct FactNeed {
  std::string metric;
  std::vector<std::string> columns;
};
const std::vector<FactNeed>& FactNeeds();
// Those that JudgeStatements reads.
std::vector<FactNeed> StatementNeeds();
// What is read of other members of the cluster.
inline constexpr char kIndexUse[] = "index_stats";

}  // namespace pga::query
