// Statements that spill, return far more rows than anybody reads, are run once a row of another one, or scan large
// tables for few rows; and the index that would serve the last ones.
#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "services/query/insight/advice.h"
#include "services/query/insight/advice_words.h"

namespace pga::query {
namespace {

constexpr double kLeastSpillBytes = 1024.0 * 1024;
constexpr double kManyRows = 10'000;
constexpr double kManyRowsCalls = 5;
constexpr double kLeastRepeats = 10;
constexpr double kLeastRepeatedCalls = 100;
constexpr double kSameCount = 0.02;
// Beyond this share of its rows a scan of the whole table is as good as an index.
constexpr double kMostShareOfRows = 0.05;
constexpr double kLeastTableRows = 10'000;
constexpr double kLeastTableBytes = 1024.0 * 1024;
// Most of each kind in one answer, the ones that cost most.
constexpr size_t kMostStatements = 20;
// Most texts that are asked for.
constexpr size_t kMostTexts = 500;
// As a collector names its connections.
constexpr char kCollectorName[] = "pganalytics-collector";

struct Statement {
  int64_t query_id = 0;
  std::string database;
  std::string user;
  double calls = 0;
  double time_us = 0;
  double rows = 0;
  double temp_written = 0;
  double wal_records = 0;
};

std::optional<int64_t> IdOf(const std::string& text) {
  if (text.empty()) return std::nullopt;
  return std::strtoll(text.c_str(), nullptr, 10);
}

class Statements {
 public:
  // Every statement, or the one with this id.
  Statements(const SourceFacts& facts, std::optional<int64_t> only, Findings* findings)
      : facts_(facts), only_(only), findings_(findings) {
    fact_ = Known(facts, "statements", "statement_temp_spill statement_many_rows statement_n_plus_one", findings);
    if (fact_ == nullptr) return;
    const std::set<std::string> collectors = CollectorLogins(facts);
    std::map<std::tuple<int64_t, std::string, std::string>, Statement> joined;
    for (const FactRow& row : fact_->rows) {
      const std::optional<int64_t> id = IdOf(row.Text("queryid"));
      if (!id || *id == 0) continue;
      Statement& one = joined[{*id, row.Text("datname"), row.Text("username")}];
      one.query_id = *id;
      one.database = row.Text("datname");
      one.user = row.Text("username");
      one.calls += row.Amount("calls");
      one.time_us += row.Amount("total_exec_time_us");
      one.rows += row.Amount("rows");
      one.temp_written += row.Amount("temp_blks_written") * 8192;
      one.wal_records += row.Amount("wal_records");
      total_us_ += row.Amount("total_exec_time_us");
      total_calls_ += row.Amount("calls");
    }
    std::set<int64_t> of_others;
    for (auto& [key, one] : joined) {
      if (one.calls <= 0) continue;
      if (collectors.contains(one.user)) {
        of_collectors_.insert(one.query_id);
        continue;
      }
      of_others.insert(one.query_id);
      all_.push_back(std::move(one));
    }
    for (const int64_t id : of_others) of_collectors_.erase(id);
    std::sort(all_.begin(), all_.end(), [](const Statement& a, const Statement& b) {
      return std::tie(b.time_us, a.query_id, a.user) < std::tie(a.time_us, b.query_id, b.user);
    });
  }

  void Spills() {
    size_t said = 0;
    for (const Statement& one : all_) {
      if (only_ && one.query_id != *only_) continue;
      if (one.temp_written / one.calls < kLeastSpillBytes || said == kMostStatements) continue;
      ++said;
      Advice advice = About("statement_temp_spill", one);
      const double wanted = RoundedUp(2 * one.temp_written / one.calls);
      advice.what = absl::StrCat("Statement ", one.query_id, " sorts or hashes on disk.");
      advice.why.push_back(absl::StrCat(BytesText(one.temp_written), " of temporary files in ", CountText(one.calls),
                                        " calls, ", BytesText(one.temp_written / one.calls), " each, ",
                                        IntervalText(facts_, *fact_), "."));
      advice.command = absl::StrCat("SET work_mem = ", Literal(SizeSetting(wanted)), ";");
      advice.instruction = absl::StrCat("In the session before the statement; for all of its user: ALTER ROLE ",
                                        Identifier(one.user), " IN DATABASE ", Identifier(one.database),
                                        " SET work_mem. An index in the order of the sort "
                                        "makes it needless.");
      advice.certainty = Certainty::kPossible;
      advice.certainty_reason = "The mean of all calls; a sort takes more memory than its file.";
      advice.figures["temp_bytes_per_call"] = one.temp_written / one.calls;
      advice.figures["proposed"] = wanted;
      findings_->advice.push_back(std::move(advice));
    }
  }

  void ManyRows() {
    size_t said = 0;
    for (const Statement& one : all_) {
      if (only_ && one.query_id != *only_) continue;
      if (one.calls < kManyRowsCalls || one.rows / one.calls < kManyRows || said == kMostStatements) continue;
      // It writes them: a load is no page of a list.
      if (one.wal_records >= one.rows / 2) continue;
      const TextFact* const text = TextOf(one);
      if (text != nullptr && !text->gives_rows) continue;
      ++said;
      Advice advice = About("statement_many_rows", one);
      advice.what = absl::StrCat("Statement ", one.query_id, " returns very many rows in each call.");
      advice.why.push_back(absl::StrCat(CountText(one.rows), " rows in ", CountText(one.calls), " calls, ",
                                        CountText(one.rows / one.calls), " each, ", IntervalText(facts_, *fact_), "."));
      advice.instruction =
          "Where a page of them is shown, add LIMIT with an order by a key; where they are added up, let the server do "
          "it; an export belongs into COPY.";
      advice.certainty = Certainty::kPossible;
      advice.certainty_reason = absl::StrCat("What the application does with the rows is not seen",
                                             text == nullptr ? ", and its text is not known." : ".");
      advice.figures["rows_per_call"] = one.rows / one.calls;
      findings_->advice.push_back(std::move(advice));
    }
  }

  // A statement that looks something up by a key as often as another one returns rows, in the same database by the same
  // user.
  void OncePerRow() {
    constexpr char kKind[] = "statement_n_plus_one";
    size_t said = 0;
    std::map<std::string, size_t> unknown;
    for (const Statement& one : all_) {
      if (only_ && one.query_id != *only_) continue;
      if (!MayBeLookup(one) || said == kMostStatements) continue;
      const TextFact* const text = TextOf(one);
      if (text != nullptr && !text->looks_up) continue;
      const Statement* parent = nullptr;
      double nearest = kSameCount;
      bool has_unknown = false;
      for (const Statement& other : all_) {
        const std::optional<double> off = OffBy(one, other);
        if (!off || *off > nearest) continue;
        const TextFact* const of_other = TextOf(other);
        has_unknown = has_unknown || of_other == nullptr;
        if (of_other == nullptr || !of_other->gives_rows) continue;
        nearest = *off;
        parent = &other;
      }
      if (text == nullptr || parent == nullptr) {
        if (has_unknown || parent != nullptr) ++unknown[one.database];
        continue;
      }
      ++said;
      Advice advice = About(kKind, one);
      advice.query_ids.push_back(parent->query_id);
      advice.what =
          absl::StrCat("Statement ", one.query_id, " runs once for each row of statement ", parent->query_id, ".");
      advice.why.push_back(absl::StrCat("It was called ", CountText(one.calls), " times; the other one returned ",
                                        CountText(parent->rows), " rows in ", CountText(parent->calls), " calls, ",
                                        IntervalText(facts_, *fact_), "."));
      advice.instruction =
          "Join the two, or ask for all keys at once: WHERE key = ANY ($1). Most mappers have "
          "eager loading for it.";
      advice.certainty = Certainty::kPossible;
      advice.certainty_reason =
          "Equal counts, same user and database, and it asks by a key; that one follows the other is not seen.";
      advice.figures["calls"] = one.calls;
      advice.figures["rows_of_other"] = parent->rows;
      findings_->advice.push_back(std::move(advice));
    }
    for (const auto& [database, count] : unknown) {
      findings_->not_judged.push_back(
          {kKind, database, "",
           absl::StrCat(count, count == 1 ? " statement runs" : " statements run",
                        " as often as another one returns rows, but the texts are not known: whether they ask by a key "
                        "is not seen (QUERY_TEXT of the collector)")});
    }
  }

  void MissingIndexes();

  // Statements of a login that applications use, too, cannot be distinguished from the collector's.
  void SharedLogins() {
    if (fact_ == nullptr) return;
    std::set<std::string> shared;
    const std::set<std::string> collectors = CollectorLogins(facts_);
    for (const FactRow& row : RowsOf(facts_, "connections")) {
      if (row.Text("application_name") == kCollectorName) continue;
      if (collectors.contains(row.Text("usename"))) shared.insert(row.Text("usename"));
    }
    for (const std::string& login : shared) {
      for (const char* const kind : {"statement_temp_spill", "statement_many_rows", "statement_n_plus_one"}) {
        findings_->not_judged.push_back(
            {kind, "", login,
             absl::StrCat("statements of ", login,
                          " are left out, for the collector signs in as it; give the collector a login of its own")});
      }
    }
  }

  std::vector<int64_t> Needed() const {
    std::vector<int64_t> ids;
    std::set<int64_t> seen;
    const auto add = [&](const Statement& one) {
      if (ids.size() < kMostTexts && seen.insert(one.query_id).second) ids.push_back(one.query_id);
    };
    for (const Statement& one : all_) {
      if (one.calls >= kManyRowsCalls && one.rows / one.calls >= kManyRows) add(one);
      if (!MayBeLookup(one)) continue;
      for (const Statement& other : all_) {
        const std::optional<double> off = OffBy(one, other);
        if (!off || *off > kSameCount) continue;
        add(one);
        add(other);
      }
    }
    return ids;
  }

 private:
  struct Scan {
    std::string table;
    std::vector<std::string> columns;
  };
  struct Wanted {
    std::string database;
    std::string schema;
    std::string table;
    std::vector<std::string> columns;
    std::set<int64_t> query_ids;
    double logged = 0;
  };

  Advice About(const char* kind, const Statement& one) const {
    Advice advice;
    advice.kind = kind;
    advice.database = one.database;
    // A statement of two users is two objects.
    advice.object = absl::StrCat(one.query_id, " of ", one.user);
    advice.query_ids = {one.query_id};
    advice.completeness = fact_->completeness;
    advice.figures["calls"] = one.calls;
    advice.figures["total_time_ms"] = one.time_us / 1000;
    if (total_us_ > 0) advice.time_share = one.time_us / total_us_;
    return advice;
  }
  // A lookup finds about one row; BEGIN and SET have none.
  static bool MayBeLookup(const Statement& one) {
    const double found = one.rows / one.calls;
    return one.calls >= kLeastRepeatedCalls && found >= 0.5 && found <= 2;
  }
  // By what share the calls of `one` are not the rows of `other`; nothing where it cannot be its parent.
  static std::optional<double> OffBy(const Statement& one, const Statement& other) {
    if (other.query_id == one.query_id || other.database != one.database || other.user != one.user ||
        other.rows / other.calls < kLeastRepeats) {
      return std::nullopt;
    }
    return std::abs(one.calls - other.rows) / one.calls;
  }
  const TextFact* TextOf(const Statement& one) const {
    const auto found = facts_.texts.find(one.query_id);
    return found == facts_.texts.end() ? nullptr : &found->second;
  }
  static std::vector<Scan> ScansOf(const std::string& tree);
  void Say(const Wanted& wanted, const FactRow& table);

  const SourceFacts& facts_;
  const std::optional<int64_t> only_;
  Findings* const findings_;
  const Fact* fact_ = nullptr;
  // Of everybody but collectors; what runs by them alone.
  std::vector<Statement> all_;
  std::set<int64_t> of_collectors_;
  double total_us_ = 0;
  double total_calls_ = 0;
};

// Columns that a condition compares with a value by =, where all parts are joined by AND: "((a = ?) AND ((b)::text =
// ?))". Others are left out: what remains still narrows the scan. Empty where parts are joined by OR.
std::vector<std::string> EqualColumns(std::string_view condition) {
  std::vector<std::string> columns;
  if (condition.find(" OR ") != std::string_view::npos) return columns;
  for (const std::string& piece : std::vector<std::string>(absl::StrSplit(std::string(condition), " AND "))) {
    std::string_view part = piece;
    while (!part.empty() && (part.front() == '(' || part.front() == ' ')) part.remove_prefix(1);
    while (!part.empty() && (part.back() == ')' || part.back() == ' ')) part.remove_suffix(1);
    const size_t equals = part.find(" = ");
    if (equals == std::string_view::npos || part.substr(equals + 3) != "?") continue;
    std::string_view column = part.substr(0, equals);
    // "(b)::text" of a varchar.
    if (const size_t cast = column.find(")::"); cast != std::string_view::npos) column = column.substr(0, cast);
    if (column.find_first_of("() ") != std::string_view::npos || column.empty()) continue;
    // "t.a" of an alias.
    if (const size_t dot = column.rfind('.'); dot != std::string_view::npos) column = column.substr(dot + 1);
    std::string name(column);
    if (name.size() > 2 && name.front() == '"' && name.back() == '"') name = name.substr(1, name.size() - 2);
    if (std::find(columns.begin(), columns.end(), name) == columns.end()) columns.push_back(std::move(name));
  }
  return columns;
}

std::vector<Statements::Scan> Statements::ScansOf(const std::string& tree) {
  std::vector<Scan> scans;
  bool in_scan = false;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(tree, '\n'))) {
    const std::string_view text = std::string_view(line).substr(std::min(line.find_first_not_of(' '), line.size()));
    constexpr std::string_view kFilter = "Filter: ";
    size_t at = text.find("Seq Scan on ");
    if (at != std::string_view::npos && (at == 0 || text.starts_with("Parallel "))) {
      std::string_view name = text.substr(at + 12);
      // Behind a blank the alias, or costs.
      name = name.substr(0, name.find(' '));
      if (const size_t dot = name.rfind('.'); dot != std::string_view::npos) name = name.substr(dot + 1);
      if (name.size() > 2 && name.front() == '"' && name.back() == '"') name = name.substr(1, name.size() - 2);
      scans.push_back({std::string(name), {}});
      in_scan = true;
    } else if (in_scan && text.starts_with(kFilter)) {
      scans.back().columns = EqualColumns(text.substr(kFilter.size()));
    } else if (!text.empty() && text.find(": ") == std::string_view::npos) {
      in_scan = false;
    }
  }
  return scans;
}

// The first column of an index, by its definition: "CREATE INDEX i ON s.t USING btree (a, b)".
std::string FirstColumn(const std::string& definition) {
  const size_t using_at = definition.find(" USING ");
  const size_t open = using_at == std::string::npos ? using_at : definition.find('(', using_at);
  if (open == std::string::npos) return "";
  std::string column = definition.substr(open + 1, definition.find_first_of(",) ", open + 1) - open - 1);
  if (column.size() > 2 && column.front() == '"' && column.back() == '"') column = column.substr(1, column.size() - 2);
  return column;
}

void Statements::MissingIndexes() {
  constexpr char kKind[] = "index_missing";
  if (!facts_.plans_unknown.empty()) {
    findings_->not_judged.push_back({kKind, "", "", absl::StrCat("plans: ", facts_.plans_unknown)});
    return;
  }
  const Fact* const sizes = Known(facts_, "table_size", kKind, findings_);
  const Fact* const stats = Known(facts_, "table_stats", kKind, findings_);
  const Fact* const definitions = Known(facts_, "index_definitions", kKind, findings_);
  if (sizes == nullptr || stats == nullptr || definitions == nullptr) return;
  std::map<std::string, Wanted> wanted;
  std::map<std::string, const FactRow*> tables;
  for (const PlanFact& plan : facts_.plans) {
    if (of_collectors_.contains(plan.query_id)) continue;
    for (const Scan& scan : ScansOf(plan.tree)) {
      std::vector<const FactRow*> found;
      for (const FactRow& row : stats->rows) {
        if (row.Text("relname") == scan.table && row.Text("datname") == plan.database) found.push_back(&row);
      }
      if (found.empty()) continue;
      if (found.size() > 1) {
        findings_->not_judged.push_back(
            {kKind, plan.database, scan.table, "several schemas have a table of that name"});
        continue;
      }
      const FactRow& row = *found[0];
      double bytes = 0;
      for (const FactRow& size : sizes->rows) {
        if (size.Text("relname") == scan.table && size.Text("datname") == plan.database &&
            size.Text("schemaname") == row.Text("schemaname")) {
          bytes = size.Amount("table_bytes");
        }
      }
      if (row.Amount("n_live_tup") < kLeastTableRows || bytes < kLeastTableBytes) continue;
      const std::string object = Qualified(row.Text("schemaname"), scan.table);
      if (scan.columns.empty()) continue;
      std::vector<std::string> columns = scan.columns;
      std::sort(columns.begin(), columns.end());
      const std::string key = absl::StrCat(plan.database, ".", object, "(", absl::StrJoin(columns, ", "), ")");
      Wanted& one = wanted[key];
      one.database = plan.database;
      one.schema = row.Text("schemaname");
      one.table = scan.table;
      one.columns = columns;
      one.query_ids.insert(plan.query_id);
      one.logged += plan.logged;
      tables[key] = &row;
    }
  }
  for (const auto& [key, one] : wanted) Say(one, *tables.at(key));
}

void Statements::Say(const Wanted& wanted, const FactRow& table) {
  constexpr char kKind[] = "index_missing";
  const std::string object = Qualified(wanted.schema, wanted.table);
  std::vector<std::string> quoted;
  for (const std::string& column : wanted.columns) quoted.push_back(Identifier(column));
  const std::string of = absl::StrCat(object, " (", absl::StrJoin(quoted, ", "), ")");
  for (const FactRow& row : RowsOf(facts_, "index_definitions")) {
    if (row.Text("datname") != wanted.database || row.Text("schemaname") != wanted.schema ||
        row.Text("relname") != wanted.table || row.Is("is_partial")) {
      continue;
    }
    const std::string first = FirstColumn(row.Text("definition"));
    if (std::find(wanted.columns.begin(), wanted.columns.end(), first) != wanted.columns.end()) {
      findings_->not_judged.push_back(
          {kKind, wanted.database, of,
           absl::StrCat(
               "index ", row.Text("indexrelname"), " begins with ", first,
               " and the planner chose a scan of the table: ANALYZE it, or compare with enable_seqscan = off")});
      return;
    }
  }
  const double live = table.Amount("n_live_tup");
  double calls = 0;
  double rows = 0;
  double time_us = 0;
  bool known = false;
  for (const Statement& one : all_) {
    if (wanted.query_ids.count(one.query_id) == 0 || one.database != wanted.database) continue;
    known = true;
    calls += one.calls;
    rows += one.rows;
    time_us += one.time_us;
  }
  if (known && rows / calls > kMostShareOfRows * live) {
    findings_->not_judged.push_back({kKind, wanted.database, of,
                                     absl::StrCat("the statements return ", CountText(rows / calls), " rows a call of ",
                                                  CountText(live), ": an index hardly helps")});
    return;
  }
  Advice advice;
  advice.kind = kKind;
  advice.database = wanted.database;
  advice.schema = wanted.schema;
  advice.table = wanted.table;
  advice.object = of;
  advice.columns = wanted.columns;
  advice.query_ids.assign(wanted.query_ids.begin(), wanted.query_ids.end());
  advice.what = absl::StrCat("Statements scan all of table ", object, " for rows with given ",
                             absl::StrJoin(wanted.columns, ", "), ".");
  advice.why.push_back(absl::StrCat(
      wanted.logged > 0 ? absl::StrCat("A plan with Seq Scan and this condition was logged ", CountText(wanted.logged),
                                       " times; the table has ")
                        : std::string("EXPLAIN gives a plan with Seq Scan and this condition; the table has "),
      CountText(live), " rows and no index that begins with one of the columns."));
  if (known) {
    advice.why.push_back(absl::StrCat(wanted.query_ids.size(), " statements, ", CountText(calls), " calls, ",
                                      CountText(rows / calls), " rows and ", TimeText(time_us / 1e6 / calls),
                                      " a call, ", IntervalText(facts_, *fact_), "."));
    advice.figures = {{"calls", calls}, {"rows_per_call", rows / calls}, {"total_time_ms", time_us / 1000}};
    if (total_us_ > 0) advice.time_share = time_us / total_us_;
    if (total_calls_ > 0) advice.figures["calls_share"] = calls / total_calls_;
    advice.completeness = fact_->completeness;
  } else {
    advice.why.push_back("How many rows they return is not known: pg_stat_statements does not have them by these ids.");
  }
  advice.figures["table_rows"] = live;
  advice.command = absl::StrCat("CREATE INDEX CONCURRENTLY ON ", of, ";");
  bool hypopg = false;
  for (const FactRow& row : RowsOf(facts_, "extensions")) {
    hypopg = hypopg || (row.Text("datname") == wanted.database && row.Text("extension_name") == "hypopg");
  }
  advice.instruction = absl::StrCat(
      hypopg ? "hypopg is installed: prove it first with SELECT hypopg_create_index("
             : "Where hypopg can be installed, prove it first with SELECT hypopg_create_index(",
      Literal(absl::StrCat("CREATE INDEX ON ", of)), "); and EXPLAIN of the statement in the same session.");
  advice.certainty = Certainty::kPossible;
  advice.certainty_reason = "Not proven: the planner was not asked with the index.";
  findings_->advice.push_back(std::move(advice));
}

}  // namespace

std::set<std::string> CollectorLogins(const SourceFacts& facts) {
  std::set<std::string> logins;
  for (const FactRow& row : RowsOf(facts, "connections")) {
    if (row.Text("application_name") == kCollectorName) logins.insert(row.Text("usename"));
  }
  return logins;
}

std::vector<int64_t> TextsNeeded(const SourceFacts& facts) {
  Findings nothing;
  return Statements(facts, std::nullopt, &nothing).Needed();
}

void JudgeStatements(const SourceFacts& facts, std::optional<int64_t> only, Findings* findings) {
  Statements statements(facts, only, findings);
  statements.Spills();
  statements.ManyRows();
  statements.OncePerRow();
  statements.SharedLogins();
  statements.MissingIndexes();
}

}  // namespace pga::query
