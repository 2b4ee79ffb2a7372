#include "services/query/insight/suggestions.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/query/insight/advice_words.h"

namespace pga::query {
namespace {

constexpr int kLeastVariants = 3;
constexpr double kLeastOuterRows = 10;
constexpr double kLeastInserts = 1000;
constexpr double kMostRowsOfOne = 1.5;

struct Figures {
  double calls = 0;
  double rows = 0;
  double time_us = 0;
  double all_us = 0;
};

// Of its runs by others than collectors; `*of_collector`: there are none but theirs.
std::optional<Figures> FiguresOf(const SourceFacts& facts, const Fact& fact, const SuggestedStatement& statement,
                                 bool* of_collector) {
  Figures figures;
  const std::set<std::string> collectors = CollectorLogins(facts);
  *of_collector = false;
  for (const FactRow& row : fact.rows) {
    const double time_us = row.Amount("total_exec_time_us");
    figures.all_us += time_us;
    if (row.Text("datname") != statement.database ||
        std::strtoll(row.Text("queryid").c_str(), nullptr, 10) != statement.query_id) {
      continue;
    }
    if (collectors.contains(row.Text("username"))) {
      *of_collector = true;
      continue;
    }
    figures.calls += row.Amount("calls");
    figures.rows += row.Amount("rows");
    figures.time_us += time_us;
  }
  if (figures.calls <= 0) return std::nullopt;
  *of_collector = false;
  return figures;
}

// The tables that a nested loop scans whole for each row of its other side: its second child is a scan. A node's
// children stand two blanks deeper, conditions four.
std::vector<std::string> ScannedPerRow(const std::string& tree) {
  struct Open {
    size_t depth = 0;
    int children = 0;
  };
  std::vector<std::string> tables;
  std::vector<Open> loops;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(tree, '\n'))) {
    const size_t depth = line.find_first_not_of(' ');
    if (depth == std::string::npos) continue;
    std::string_view node = std::string_view(line).substr(depth);
    while (!loops.empty() && loops.back().depth >= depth) loops.pop_back();
    if (node.find(": ") != std::string_view::npos) continue;
    constexpr std::string_view kParallel = "Parallel ";
    if (node.starts_with(kParallel)) node.remove_prefix(kParallel.size());
    if (!loops.empty() && depth == loops.back().depth + 2) {
      ++loops.back().children;
      constexpr std::string_view kScan = "Seq Scan on ";
      if (loops.back().children == 2 && node.starts_with(kScan)) {
        node.remove_prefix(kScan.size());
        std::string table(node.substr(0, node.find(' ')));
        if (std::find(tables.begin(), tables.end(), table) == tables.end()) tables.push_back(std::move(table));
      }
    }
    if (node.starts_with("Nested Loop")) loops.push_back({depth, 0});
  }
  return tables;
}

class Rules {
 public:
  Rules(const SourceFacts& facts, const SuggestedStatement& statement, const Fact& fact, const Figures& figures,
        Suggestions* suggestions)
      : facts_(facts), statement_(statement), fact_(fact), figures_(figures), suggestions_(suggestions) {}

  void All() {
    Variants();
    NotIn();
    PerRow();
    Offset();
    Inserts();
    Loops();
  }

 private:
  std::string CallsText() const {
    return absl::StrCat(CountText(figures_.calls), " calls of ", TimeText(figures_.time_us / 1e6 / figures_.calls),
                        ", ", CountText(figures_.rows / figures_.calls), " rows each, ", IntervalText(facts_, fact_),
                        ".");
  }

  Suggestion& Add(const char* type, bool rewrite, std::string what, Certainty certainty, std::string reason) {
    Suggestion& one = suggestions_->found.emplace_back();
    one.type = type;
    one.rewrite = rewrite;
    Advice& advice = one.advice;
    advice.kind = absl::StrCat("statement_", type);
    advice.database = statement_.database;
    advice.object = absl::StrCat(statement_.query_id);
    advice.id = AdviceId(advice.kind, facts_.source_id, advice.database, advice.object);
    advice.what = std::move(what);
    advice.why.push_back(CallsText());
    advice.certainty = certainty;
    advice.certainty_reason = std::move(reason);
    advice.completeness = fact_.completeness;
    advice.figures = {{"calls", figures_.calls},
                      {"rows_per_call", figures_.rows / figures_.calls},
                      {"total_time_ms", figures_.time_us / 1000}};
    advice.query_ids = {statement_.query_id};
    if (figures_.all_us > 0) advice.time_share = figures_.time_us / figures_.all_us;
    return one;
  }

  void Variants() {
    if (!statement_.shape.has_in_list || statement_.variants < kLeastVariants) return;
    Advice& advice = Add("in_list", true, "Each length of the list makes another statement.", Certainty::kLikely,
                         "Their texts differ in nothing but lists, by PostgreSQL's own grammar.")
                         .advice;
    advice.why.push_back(absl::StrCat(statement_.variants, " query ids of this fingerprint ran in the interval."));
    advice.instruction =
        "Give the values as one array: = ANY ($1). Then it is one statement with one prepared plan and one row in "
        "pg_stat_statements.";
    advice.figures["variants"] = statement_.variants;
  }

  void NotIn() {
    if (!statement_.shape.has_not_in_subquery) return;
    Add("not_in_subquery", true, "NOT IN with a subquery keeps the planner from an anti join.", Certainty::kLikely,
        "One NULL in the subquery makes NOT IN true for no row: no join answers that.")
        .advice.instruction =
        "Write NOT EXISTS (SELECT … WHERE key = outer.key). Where the subquery can return NULL the two differ: NOT "
        "EXISTS is most often what was meant.";
  }

  void PerRow() {
    const double rows = figures_.rows / figures_.calls;
    if (!statement_.shape.has_subquery_per_row || rows < kLeastOuterRows) return;
    Add("subquery_per_row", true, "A subquery among the output columns runs once for each row.", Certainty::kPossible,
        "With few rows and an index on its key it may be the faster form.")
        .advice.instruction =
        "Join the table, grouped by the key: LEFT JOIN (SELECT key, count(*) … GROUP BY key) s USING (key), or LEFT "
        "JOIN LATERAL where LIMIT is needed.";
  }

  void Offset() {
    if (!statement_.shape.has_offset) return;
    Add("offset", true, "Rows before OFFSET are read and thrown away: later pages take longer.", Certainty::kPossible,
        "How large the offsets are is not seen.")
        .advice.instruction =
        "Ask for what follows the last key that was shown: WHERE key > $1 ORDER BY key LIMIT $2, with an index on the "
        "key.";
  }

  void Inserts() {
    if (!statement_.shape.inserts_one_row || figures_.calls < kLeastInserts ||
        figures_.rows / figures_.calls > kMostRowsOfOne) {
      return;
    }
    Advice& advice = Add("batch_size", false, "Rows are inserted one by one.", Certainty::kPossible,
                         "Whether they come together is not seen: a row a request cannot be batched.")
                         .advice;
    advice.why.push_back(
        absl::StrCat(CountText(figures_.calls / (fact_.covered_hours * 60)), " calls a minute on average."));
    advice.instruction =
        "Insert many rows at once: INSERT … SELECT * FROM unnest($1, $2), or COPY for loads. Each statement then is "
        "parsed, planned and answered once.";
    advice.figures["rows_per_call_now"] = figures_.rows / figures_.calls;
  }

  void Loops() {
    std::vector<std::string> tables;
    double logged = 0;
    for (const PlanFact& plan : facts_.plans) {
      if (plan.query_id != statement_.query_id || plan.database != statement_.database) continue;
      const std::vector<std::string> found = ScannedPerRow(plan.tree);
      if (found.empty()) continue;
      logged += plan.logged;
      for (const std::string& table : found) {
        if (std::find(tables.begin(), tables.end(), table) == tables.end()) tables.push_back(table);
      }
    }
    for (const std::string& table : tables) {
      Suggestion& one =
          Add("inefficient_join", true, absl::StrCat("A nested loop scans ", table, " for each row of its other side."),
              Certainty::kLikely,
              absl::StrCat(logged > 0 ? "Logged by auto_explain" : "Given by EXPLAIN",
                           "; of a table of some pages it is the right plan."));
      one.advice.object = absl::StrCat(statement_.query_id, " ", table);
      one.advice.id = AdviceId(one.advice.kind, facts_.source_id, one.advice.database, absl::StrCat(one.advice.object));
      one.advice.why.push_back(logged > 0 ? absl::StrCat("Such a plan was logged ", CountText(logged), " times.")
                                          : std::string("EXPLAIN gives such a plan."));
      one.advice.instruction = absl::StrCat(
          "Index the columns of ", table,
          " that it is joined by, join by = on columns of one type, and ANALYZE both tables: a hash join needs all "
          "three.");
      one.advice.figures["logged"] = logged;
    }
  }

  const SourceFacts& facts_;
  const SuggestedStatement& statement_;
  const Fact& fact_;
  const Figures& figures_;
  Suggestions* const suggestions_;
};

// What the rules of advice call it, and what it is here.
struct KnownKind {
  const char* kind;
  const char* type;
  bool rewrite;
};
constexpr KnownKind kKnown[] = {{"statement_n_plus_one", "n_plus_one", true},
                                {"index_missing", "missing_index", true},
                                {"statement_temp_spill", "work_mem", false},
                                {"statement_many_rows", "limit", false}};

}  // namespace

Suggestions SuggestFor(const SourceFacts& facts, const SuggestedStatement& statement) {
  Suggestions suggestions;
  Findings findings;
  JudgeStatements(facts, statement.query_id, &findings);
  for (Advice& advice : findings.advice) {
    if (advice.database != statement.database ||
        std::find(advice.query_ids.begin(), advice.query_ids.end(), statement.query_id) == advice.query_ids.end()) {
      continue;
    }
    for (const KnownKind& known : kKnown) {
      if (advice.kind != known.kind) continue;
      advice.id = AdviceId(advice.kind, facts.source_id, advice.database, advice.object);
      suggestions.found.push_back({known.type, known.rewrite, std::move(advice)});
      break;
    }
  }
  suggestions.not_judged = std::move(findings.not_judged);
  const Fact* const fact = Find(facts, "statements");
  if (fact != nullptr && fact->unknown.empty()) {
    bool of_collector = false;
    if (const std::optional<Figures> figures = FiguresOf(facts, *fact, statement, &of_collector)) {
      Rules(facts, statement, *fact, *figures, &suggestions).All();
    } else if (of_collector) {
      suggestions.not_judged.push_back({"statement", statement.database, absl::StrCat(statement.query_id),
                                        "only the login that the collector uses runs it"});
    }
  }
  if (!statement.shape.parsed) {
    suggestions.not_judged.push_back({"statement_text", statement.database, absl::StrCat(statement.query_id),
                                      "its text is not known, too long, or not in the grammar of PostgreSQL 15"});
  }
  std::stable_sort(suggestions.found.begin(), suggestions.found.end(),
                   [](const Suggestion& a, const Suggestion& b) { return a.advice.certainty < b.advice.certainty; });
  return suggestions;
}

}  // namespace pga::query
