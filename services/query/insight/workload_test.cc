// Patterns of load, predictions, shapes of statements and suggestions, against history that is made up for each case.
#include "libs/columns/baseline.h"
#include "services/query/insight/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "services/query/insight/predict.h"
#include "services/query/insight/quantiles.h"
#include "services/query/insight/shape.h"
#include "services/query/insight/suggestions.h"

namespace pga::query {
namespace {

using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A Monday, 00:00 UTC.
constexpr int64_t kMonday = 1767571200 / 3600;

// `days` days from Monday on, with the load of each hour.
template <typename Load>
std::map<int64_t, LoadHour> Hours(int days, Load load) {
  std::map<int64_t, LoadHour> hours;
  for (int hour = 0; hour < days * 24; ++hour) hours[kMonday + hour] = {load(hour / 24, hour % 24), 3600};
  return hours;
}

std::vector<std::string> Said(const PatternVerdict& verdict) {
  std::vector<std::string> said;
  for (const Pattern& pattern : verdict.patterns) said.push_back(pattern.type + " " + pattern.when);
  return said;
}

TEST(FindPatterns, OfHoursAndDays) {
  struct Case {
    const char* name;
    std::map<int64_t, LoadHour> hours;
    std::vector<std::string> said;
    bool too_few;
  };
  const auto even = [](int, int) { return 1.0; };
  const auto ripple = [](int, int hour) { return 1 + 0.05 * (hour % 2); };
  const auto nightly = [](int, int hour) { return hour == 2 || hour == 3 ? 5.0 : 1.0; };
  const auto midnight = [](int, int hour) { return hour == 23 || hour == 0 ? 5.0 : 1.0; };
  const auto once = [](int day, int hour) { return day == 3 && hour == 10 ? 50.0 : 1.0; };
  const auto office = [](int, int hour) { return hour >= 9 && hour < 17 ? 3.0 : 1.0; };
  const auto sundays = [](int day, int) { return day % 7 == 6 ? 0.2 : 1.0; };
  const std::vector<Case> cases = {
      {"even", Hours(14, even), {}, false},
      {"a ripple is no pattern", Hours(14, ripple), {}, false},
      {"a job at night", Hours(14, nightly), {"hourly_peak 02:00–04:00"}, false},
      {"over midnight", Hours(14, midnight), {"hourly_peak 23:00–01:00"}, false},
      {"one day alone", Hours(14, once), {}, false},
      {"office hours", Hours(10, office), {"hourly_peak 09:00–17:00"}, false},
      {"a quiet day", Hours(28, sundays), {"weekday_quiet Sunday"}, false},
      {"two weeks tell nothing of days", Hours(14, sundays), {}, false},
      {"six days", Hours(6, nightly), {}, true},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    const PatternVerdict verdict = FindPatterns(one.hours, absl::UTCTimeZone());
    EXPECT_EQ(Said(verdict), one.said);
    EXPECT_EQ(verdict.too_few_days, one.too_few);
  }
}

TEST(FindPatterns, FiguresAreThoseOfTheMedians) {
  const auto hours = Hours(10, [](int day, int hour) { return hour == 9 ? 4.0 + (day == 5 ? -4 : 0) : 1.0; });
  const PatternVerdict verdict = FindPatterns(hours, absl::UTCTimeZone());
  ASSERT_THAT(verdict.patterns, SizeIs(1));
  const Pattern& peak = verdict.patterns[0];
  // 23 hours of 1 and one of 4: mean 1.125, deviation sqrt(23 * 0.125^2 + 2.875^2) / sqrt(24).
  EXPECT_THAT(peak.load, DoubleEq(4));
  EXPECT_THAT(peak.mean, DoubleEq(1.125));
  EXPECT_THAT(peak.z, DoubleNear(2.875 / std::sqrt((23 * 0.125 * 0.125 + 2.875 * 2.875) / 24), 1e-9));
  EXPECT_EQ(peak.start_hour, 9);
  EXPECT_EQ(peak.end_hour, 10);
  EXPECT_EQ(peak.days, 10);
  EXPECT_EQ(peak.days_seen, 9);
  EXPECT_EQ(peak.method, "median_by_hour_of_day");
}

TEST(FindPatterns, HoursAreThoseOfTheZone) {
  absl::TimeZone zone;
  ASSERT_TRUE(absl::LoadTimeZone("Asia/Tokyo", &zone));
  const auto hours = Hours(14, [](int, int hour) { return hour == 2 ? 5.0 : 1.0; });
  EXPECT_THAT(Said(FindPatterns(hours, zone)), ElementsAre("hourly_peak 11:00–12:00"));
}

TEST(FindPatterns, HardlyCoveredHoursDoNotCount) {
  auto hours = Hours(14, [](int, int hour) { return hour == 2 ? 5.0 : 1.0; });
  for (auto& [hour, figures] : hours) {
    if (hour % 24 == 2) figures.covered_s = 1700;
  }
  EXPECT_THAT(Said(FindPatterns(hours, absl::UTCTimeZone())), IsEmpty());
}

// `hours` hours from Monday on with a hundred calls each.
template <typename Mean, typename Rows>
CallHours Calls(int hours, Mean mean, Rows rows) {
  CallHours calls;
  for (int hour = 0; hour < hours; ++hour) calls[kMonday + hour] = {100, 100 * mean(hour), 100 * rows(hour)};
  return calls;
}
double One(int) {
  return 1;
}

TEST(Predict, TakesTheMethodThatErredLeast) {
  struct Case {
    const char* name;
    CallHours history;
    int64_t hour;
    std::optional<double> rows;
    const char* method;
    double ms;
  };
  const auto flat = [](int hour) { return hour % 2 == 0 ? 9.0 : 11.0; };
  const auto daily = [](int hour) { return hour % 24 == 3 ? 50.0 : 5.0 + hour % 24; };
  const auto rows = [](int hour) { return 10.0 + 7 * (hour % 13); };
  const auto by_rows = [&](int hour) { return 2 + 0.5 * rows(hour); };
  const std::vector<Case> cases = {
      {"too little for hours of the day", Calls(60, flat, One), kMonday + 60, std::nullopt, "all_hours", 10},
      {"hours of the day", Calls(12 * 24, daily, One), kMonday + 12 * 24 + 3, std::nullopt, "hour_of_day", 50},
      {"hours of the week", Calls(28 * 24, daily, One), kMonday + 28 * 24 + 3, std::nullopt, "hour_of_week", 50},
      {"rows", Calls(60, by_rows, rows), kMonday + 60, 200, "by_rows", 102},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    const Prediction prediction = Predict(one.history, one.hour, one.rows);
    EXPECT_EQ(prediction.refused, "");
    EXPECT_EQ(NameOf(prediction.method), one.method);
    EXPECT_THAT(prediction.ms, DoubleNear(one.ms, 1e-6));
    EXPECT_LE(prediction.low_ms, prediction.ms * 1.0001);
    EXPECT_GE(prediction.high_ms, prediction.ms * 0.9999);
  }
}

TEST(Predict, ConfidenceIsTheShareOfOtherHoursWithinTheRange) {
  // The tested hours alternate between 9 and 11 around 10, the last quarter of them is 30.
  const CallHours history = Calls(
      60, [](int hour) { return hour >= 48      ? 30.0
                                : hour % 2 == 0 ? 9.0
                                                : 11.0; }, One);
  const Prediction prediction = Predict(history, kMonday + 60, std::nullopt);
  EXPECT_EQ(prediction.tested, 48);
  EXPECT_EQ(prediction.hours, 60);
  // Of the 24 newest ones 12 lie within the range of the 24 before.
  ASSERT_TRUE(prediction.confidence);
  EXPECT_THAT(*prediction.confidence, DoubleEq(0.5));
}

TEST(Predict, SaysWhatItDoesNotKnow) {
  const Prediction none = Predict(Calls(11, One, One), kMonday + 11, std::nullopt);
  EXPECT_THAT(none.refused, HasSubstr("fewer than 12 hours"));
  // Twelve hours give a range, and nothing to test it with.
  const Prediction untested = Predict(Calls(
                                          12, [](int hour) { return 1.0 + hour; }, One),
                                      kMonday + 12, std::nullopt);
  EXPECT_EQ(untested.refused, "");
  EXPECT_FALSE(untested.confidence);
  EXPECT_FALSE(untested.median_error);
  EXPECT_THAT(untested.ms, DoubleEq(6.5));
  EXPECT_THAT(untested.low_ms, DoubleEq(2));
  EXPECT_THAT(untested.high_ms, DoubleEq(11));
  // What is later than the hour that is asked about is not used.
  EXPECT_THAT(Predict(Calls(30, One, One), kMonday + 5, std::nullopt).refused, HasSubstr("12 hours"));
}

TEST(Quantiles, OfFewValues) {
  EXPECT_EQ(columns::MedianOf({3, 1, 2}), 2);
  EXPECT_EQ(columns::MedianOf({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(QuantileOf({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0.1), 1);
  EXPECT_EQ(QuantileOf({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0.9), 9);
  EXPECT_EQ(QuantileOf({7}, 0.5), 7);
}

TEST(ShapeOf, Texts) {
  struct Case {
    const char* text;
    const char* shape;
  };
  const auto words = [](const StatementShape& shape) {
    std::string said;
    const auto add = [&](bool is, const char* word) {
      if (is) said += (said.empty() ? "" : " ") + std::string(word);
    };
    add(shape.has_in_list, "list");
    add(shape.has_not_in_subquery, "not_in");
    add(shape.has_subquery_per_row, "per_row");
    add(shape.has_offset, "offset");
    add(shape.inserts_one_row, "one_row");
    add(shape.gives_rows, "rows");
    add(shape.looks_up, "key");
    return shape.parsed ? said : "unknown";
  };
  const std::vector<Case> cases = {
      {"SELECT 1", "rows"},
      {"not a statement", "unknown"},
      {"", "unknown"},
      {"SELECT * FROM t WHERE a IN ($1, $2, $3)", "list rows"},
      {"SELECT * FROM t WHERE a IN ($1, $2)", "rows"},
      {"SELECT * FROM t WHERE a = ANY ($1)", "rows"},
      {"SELECT * FROM t WHERE a IN (SELECT b FROM u)", "rows"},
      {"SELECT * FROM t WHERE a NOT IN (SELECT b FROM u)", "not_in rows"},
      {"SELECT * FROM t WHERE NOT EXISTS (SELECT FROM u WHERE u.b = t.a)", "rows"},
      {"SELECT * FROM t WHERE NOT (a = $1)", "rows"},
      {"SELECT o.id, (SELECT count(*) FROM items i WHERE i.o = o.id) FROM orders o", "per_row rows"},
      {"SELECT orders.id, (SELECT max(items.at) FROM items WHERE items.o = orders.id) FROM orders", "per_row rows"},
      {"SELECT o.id, (SELECT count(*) FROM items i WHERE i.o = $1) FROM orders o", "rows key"},
      {"SELECT o.id, (SELECT count(*) FROM orders o WHERE o.id = $1) FROM orders o", "rows key"},
      {"SELECT (SELECT 1)", "rows"},
      {"SELECT * FROM t ORDER BY a LIMIT $1 OFFSET $2", "offset rows"},
      {"INSERT INTO t VALUES ($1, $2)", "one_row"},
      {"INSERT INTO t VALUES ($1), ($2)", ""},
      {"INSERT INTO t SELECT * FROM u", ""},
      {"WITH x AS (SELECT * FROM t WHERE a NOT IN (SELECT b FROM u)) SELECT * FROM x OFFSET 5", "not_in offset rows"},
      // What goes to the client.
      {"VALUES ($1, $2)", "rows"},
      {"INSERT INTO t VALUES ($1), ($2) RETURNING a", "rows"},
      {"COPY t TO STDOUT", ""},
      {"COPY (SELECT * FROM t WHERE a = 1) TO STDOUT", ""},
      {"CREATE TABLE u AS SELECT * FROM t WHERE a = 1", ""},
      {"SELECT * INTO u FROM t", ""},
      {"BEGIN", ""},
      // What is asked for by a key.
      {"SELECT a FROM t WHERE id = $1", "rows key"},
      {"SELECT a FROM t WHERE $1::uuid = t.id::uuid AND b > $2", "rows key"},
      {"SELECT a FROM t JOIN u ON u.id = t.u AND t.a = $1", "rows key"},
      {"WITH x AS (SELECT a FROM t WHERE id = $1) SELECT * FROM x", "rows key"},
      {"UPDATE t SET a = $1 WHERE id = $2", "key"},
      {"UPDATE t SET a = $1", ""},
      {"DELETE FROM t WHERE id = $1 RETURNING a", "rows key"},
      {"INSERT INTO t SELECT $1 FROM u WHERE id = $2", ""},
      {"SELECT a FROM t WHERE id > $1 AND b <> $2", "rows"},
      {"SELECT a FROM t WHERE length(a) = $1", "rows"},
      {"SELECT a = $1 FROM t", "rows"},
      {"SELECT pg_sleep($1)", "rows"},
      // A check of a foreign key.
      {"SELECT $2 FROM ONLY \"public\".\"t\" x WHERE \"id\" OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF x", "rows"},
  };
  for (const Case& one : cases) EXPECT_EQ(words(ShapeOf(one.text)), one.shape) << one.text;
}

// Statement 7 of database shop with 2,000 calls of 5 ms and `rows` rows each, and its plan.
SourceFacts Facts(double rows, const std::string& plan = "") {
  SourceFacts facts;
  facts.source_id = "source";
  facts.start = absl::FromUnixSeconds(kMonday * 3600);
  facts.end = facts.start + absl::Hours(168);
  Fact& statements = facts.metrics["statements"];
  statements.completeness = 1;
  statements.covered_hours = 168;
  const auto row = [](const char* id, double calls, double row_count) {
    FactRow one;
    one.texts = {{"queryid", id}, {"datname", "shop"}, {"username", "app"}};
    one.numbers = {{"calls", calls}, {"total_exec_time_us", calls * 5000}, {"rows", row_count}};
    return one;
  };
  statements.rows = {row("7", 2000, 2000 * rows), row("8", 6000, 0)};
  if (!plan.empty()) facts.plans.push_back({7, "shop", plan, 3, 15'000});
  return facts;
}

std::vector<std::string> Types(const Suggestions& suggestions, bool rewrites) {
  std::vector<std::string> types;
  for (const Suggestion& one : suggestions.found) {
    if (one.rewrite == rewrites) types.push_back(one.type);
  }
  return types;
}

TEST(SuggestFor, EachRuleWithItsEdges) {
  struct Case {
    const char* name;
    double rows;
    const char* text;
    int variants;
    const char* plan;
    std::vector<std::string> rewrites;
    std::vector<std::string> parameters;
  };
  const char* const kList = "SELECT * FROM t WHERE a IN ($1, $2, $3)";
  const char* const kPerRow = "SELECT o.id, (SELECT count(*) FROM items i WHERE i.o = o.id) FROM orders o";
  const char* const kLoop = "Nested Loop\n  Index Scan using p on o\n    Index Cond: (id = ?)\n  Seq Scan on items\n";
  const char* const kOuterScan = "Nested Loop\n  Seq Scan on items\n    Filter: (x = ?)\n  Index Scan using p on o\n";
  const char* const kDeeper =
      "Nested Loop\n  Hash Join\n    Seq Scan on a\n    Hash\n      Seq Scan on b\n  Parallel Seq Scan on c c_1\n";
  const std::vector<Case> cases = {
      {"nothing to say", 1, "SELECT 1 FROM t", 1, "", {}, {}},
      {"a list of three lengths", 1, kList, 3, "", {"in_list"}, {}},
      {"of two", 1, kList, 2, "", {}, {}},
      {"NOT IN", 1, "SELECT * FROM t WHERE a NOT IN (SELECT b FROM u)", 1, "", {"not_in_subquery"}, {}},
      {"a subquery of many rows", 10, kPerRow, 1, "", {"subquery_per_row"}, {}},
      {"of few", 9, kPerRow, 1, "", {}, {}},
      {"pages", 20, "SELECT * FROM t OFFSET $1 LIMIT $2", 1, "", {"offset"}, {}},
      {"rows one by one", 1, "INSERT INTO t VALUES ($1)", 1, "", {}, {"batch_size"}},
      {"a trigger that adds some", 2, "INSERT INTO t VALUES ($1)", 1, "", {}, {}},
      {"a scan for each row", 1, "SELECT 1", 1, kLoop, {"inefficient_join"}, {}},
      {"a scan once", 1, "SELECT 1", 1, kOuterScan, {}, {}},
      {"children of other nodes", 1, "SELECT 1", 1, kDeeper, {"inefficient_join"}, {}},
      {"very many rows", 20'000, "SELECT * FROM t", 1, "", {}, {"limit"}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    const Suggestions found = SuggestFor(Facts(one.rows, one.plan), {7, "shop", ShapeOf(one.text), one.variants});
    EXPECT_EQ(Types(found, true), one.rewrites);
    EXPECT_EQ(Types(found, false), one.parameters);
    for (const Suggestion& suggestion : found.found) {
      EXPECT_THAT(suggestion.advice.id, SizeIs(16));
      EXPECT_THAT(suggestion.advice.query_ids, ElementsAre(7));
      EXPECT_FALSE(suggestion.advice.why.empty());
      EXPECT_FALSE(suggestion.advice.instruction.empty());
      // 2,000 of 8,000 calls of the same length.
      EXPECT_THAT(suggestion.advice.time_share.value_or(0), DoubleNear(0.25, 1e-9));
    }
  }
}

TEST(SuggestFor, NamesTheTableThatIsScanned) {
  const Suggestions found = SuggestFor(
      Facts(1, "Nested Loop\n  Hash Join\n    Seq Scan on a\n    Hash\n      Seq Scan on b\n  Seq Scan on c c_1\n"),
      {7, "shop", ShapeOf("SELECT 1"), 1});
  ASSERT_THAT(found.found, SizeIs(1));
  EXPECT_THAT(found.found[0].advice.what, HasSubstr("scans c for each row"));
  EXPECT_THAT(found.found[0].advice.figures.at("logged"), DoubleEq(3));
}

TEST(SuggestFor, NothingOfTheCollectorsOwnStatements) {
  SourceFacts facts = Facts(20'000, "Nested Loop\n  Index Scan using p on o\n  Seq Scan on items\n");
  facts.metrics["connections"].rows.push_back(
      {{{"usename", "app"}, {"application_name", "pganalytics-collector"}}, {{"sessions", 1}}});
  const Suggestions found = SuggestFor(facts, {7, "shop", ShapeOf("SELECT * FROM t OFFSET $1"), 1});
  EXPECT_THAT(found.found, IsEmpty());
  ASSERT_FALSE(found.not_judged.empty());
  EXPECT_THAT(found.not_judged.back().why, HasSubstr("only the login that the collector uses"));
}

TEST(SuggestFor, OfAnUnknownTextOnlyWhatFiguresSay) {
  const Suggestions found = SuggestFor(Facts(20'000), {7, "shop", ShapeOf(""), 0});
  EXPECT_THAT(Types(found, false), ElementsAre("limit"));
  bool said = false;
  for (const NotJudged& one : found.not_judged) said = said || one.kind == "statement_text";
  EXPECT_TRUE(said);
}

}  // namespace
}  // namespace pga::query
