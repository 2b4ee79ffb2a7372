#include "services/collector/log_plan.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace pga::collector {
namespace {

constexpr char kText[] =
    "\nQuery Text: SELECT *\n"
    "Seq Scan on decoy  (cost=1.00..2.00 rows=3 width=4)\n"
    "FROM a JOIN b USING (id) WHERE a.name = 'hunter2x' AND b.n IN (1, 2)\n"
    "Hash Join  (cost=1.09..2.33 rows=5 width=40) (actual time=0.1..0.2 rows=3 loops=1)\n"
    "  Hash Cond: (a.id = b.id)\n"
    "  ->  Index Scan using a_name on a  (cost=0.00..1.13 rows=13 width=36)\n"
    "        Index Cond: ((name)::text = 'hunter2x'::character varying(20))\n"
    "        Filter: (created_at > '2026-01-01 00:00:00'::timestamp without time zone)\n"
    "        Rows Removed by Filter: 7\n"
    "  ->  Hash  (cost=1.04..1.04 rows=4 width=4)\n"
    "        ->  Seq Scan on b x  (cost=0.00..1.04 rows=4 width=4)\n"
    "              Filter: (n = ANY ('{1,2}'::integer[]))\n"
    "JIT:\n"
    "  Functions: 3\n";

constexpr char kJson[] = R"json({
  "Query Text": "SELECT * FROM a JOIN b USING (id) WHERE a.name = 'other' AND b.n IN (3)",
  "Query Identifier": -77,
  "Plan": {
    "Node Type": "Hash Join", "Parallel Aware": false, "Async Capable": false, "Join Type": "Inner",
    "Startup Cost": 1.09, "Total Cost": 902.5, "Plan Rows": 50, "Plan Width": 40, "Hash Cond": "(a.id = b.id)",
    "Plans": [
      {"Node Type": "Index Scan", "Parent Relationship": "Outer", "Scan Direction": "Forward", "Index Name": "a_name",
       "Relation Name": "a", "Alias": "a", "Total Cost": 77.1,
       "Index Cond": "((name)::text = 'other'::character varying(20))",
       "Filter": "(created_at > $1)", "Rows Removed by Filter": 3},
      {"Node Type": "Hash", "Parent Relationship": "Inner", "Plans": [
        {"Node Type": "Seq Scan", "Relation Name": "b", "Alias": "x", "Filter": "(n = ANY ('{3,4,5}'::integer[]))"}]}
    ]
  }
})json";

TEST(LogPlan, HasNeitherValuesNorFigures) {
  const auto plan = ParseLoggedPlan(kText);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->tree,
            "Hash Join\n"
            "    Hash Cond: (a.id = b.id)\n"
            "  Index Scan using a_name on a\n"
            "      Filter: (created_at > ?)\n"
            "      Index Cond: ((name)::text = ?)\n"
            "  Hash\n"
            "    Seq Scan on b x\n"
            "        Filter: (n = ANY (?))\n");
  EXPECT_EQ(plan->cost, 2.33);
  EXPECT_EQ(plan->rows, 5);
  EXPECT_EQ(plan->query_id, 0);
  EXPECT_EQ(plan->statement.substr(0, 9), "SELECT *\n");
}

TEST(LogPlan, IsTheSameInBothFormats) {
  const auto text = ParseLoggedPlan(kText);
  const auto json = ParseLoggedPlan(kJson);
  ASSERT_TRUE(text.has_value());
  ASSERT_TRUE(json.has_value());
  EXPECT_EQ(json->tree, text->tree);
  EXPECT_EQ(json->id, text->id);
  EXPECT_EQ(json->cost, 902.5);
  EXPECT_EQ(json->query_id, -77);
}

TEST(LogPlan, AnotherIndexAnotherJoinAnotherConditionIsAnotherPlan) {
  const auto id = [](const std::string& json) {
    const auto plan = ParseLoggedPlan(json);
    return plan.has_value() ? plan->id : 0;
  };
  const int64_t same = id(kJson);
  EXPECT_NE(same, 0);
  EXPECT_EQ(id(absl::StrReplaceAll(kJson, {{"902.5", "1.5"}, {"'other'", "'what''s it'"}, {"$1", "'x'::timestamp"}})),
            same);
  for (const auto& [from, to] : {std::pair("\"a_name\"", "\"a_other\""), std::pair("\"Inner\",", "\"Left\","),
                                 std::pair("\"Forward\"", "\"Backward\""), std::pair("(a.id = b.id)", "(a.id = b.n)"),
                                 std::pair("\"Seq Scan\"", "\"Index Only Scan\"")}) {
    EXPECT_NE(id(absl::StrReplaceAll(kJson, {{from, to}})), same) << to;
  }
}

TEST(LogPlan, WhatIsNoPlanIsNone) {
  for (const char* const text :
       {"", "\n", "Query Text: SELECT 1\n", "{", "{\"Plan\": 5}", "{\"Query Text\": \"SELECT 1\"}", "<explain/>",
        "Query Text: \"SELECT 1\"\nPlan: \n  Node Type: \"Result\"\n"}) {
    EXPECT_FALSE(ParseLoggedPlan(text).has_value()) << text;
  }
  std::string deep = R"json({"Plan": )json";
  for (int i = 0; i < 1000; ++i) deep += R"json({"Node Type": "Limit", "Plans": [)json";
  for (int i = 0; i < 1000; ++i) deep += "]}";
  EXPECT_FALSE(ParseLoggedPlan(deep + "}").has_value());
}

TEST(LogPlan, LongOnesAreCut) {
  std::string text = "\nQuery Text: SELECT 1\nAppend  (cost=0.00..1.00 rows=1 width=4)\n";
  for (int i = 0; i < 3000; ++i) {
    absl::StrAppend(&text, "  ->  Seq Scan on part_", i, "  (cost=0.00..1.00 rows=1 width=4)\n");
  }
  const auto plan = ParseLoggedPlan(text);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->tree.size(), kMostPlanBytes);
  const auto other = ParseLoggedPlan(text + "  ->  Seq Scan on part_last  (cost=0.00..1.00 rows=1 width=4)\n");
  ASSERT_TRUE(other.has_value());
  EXPECT_NE(other->id, plan->id);
}

}  // namespace
}  // namespace pga::collector
