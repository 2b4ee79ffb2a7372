#include "services/collector/explain_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pga::collector {
namespace {

using ::testing::ElementsAre;

TEST(ExplainableText, WritesConstantsThatTheGrammarTakesAloneOtherwise) {
  struct Case {
    const char* text;
    const char* want;
  };
  for (const Case& c : {
           Case{"SELECT a FROM t WHERE id = $1", "SELECT a FROM t WHERE id = $1"},
           {"d < date $1", "d < CAST($1 AS date)"},
           {"d < Date  $1 - interval $2 day", "d < CAST($1 AS Date) - CAST($2 AS interval day)"},
           {"interval $1", "CAST($1 AS interval)"},
           {"INTERVAL $1 year to month, 1", "CAST($1 AS INTERVAL year to month), 1"},
           {"timestamp $1", "CAST($1 AS timestamp)"},
           {"timestamp with time zone $12", "CAST($12 AS timestamp with time zone)"},
           {"timestamp(3) without time zone $1", "CAST($1 AS timestamp(3) without time zone)"},
           {"double precision $1", "CAST($1 AS double precision)"},
           {"x AT TIME ZONE $1", "x AT TIME ZONE $1"},
           {"extract($1 FROM d)", "pg_catalog.\"extract\"($1, d)"},
           {"extract(year FROM d)", "extract(year FROM d)"},
           {"a IN ($1 /*, ... */)", "a = ANY ($1)"},
           {"a NOT IN ($1 /*, ... */) AND b", "a <> ALL ($1) AND b"},
           {"a IN ($1, $2)", "a IN ($1, $2)"},
           {"a IN ($1 /* one */)", "a IN ($1 /* one */)"},
           {"SELECT \"date\" , 'date $1' -- date $1", "SELECT \"date\" , 'date $1' -- date $1"},
           {"SELECT t.date LIMIT $1", "SELECT t.date LIMIT $1"},
           {"", ""},
       }) {
    EXPECT_EQ(ExplainableText(c.text, 160000), c.want);
  }
  EXPECT_EQ(ExplainableText("extract ( $1 from d)", 130000), "pg_catalog.date_part($1, d)");
}

TEST(MayHavePlan, BySecondThoughts) {
  for (const char* yes : {"SELECT 1", "/* x */ -- y\n(select 1)", "with a AS (SELECT 1) SELECT 1", "MERGE INTO t"}) {
    EXPECT_TRUE(MayHavePlan(yes)) << yes;
  }
  for (const char* no : {"", "EXPLAIN SELECT 1", "/* SELECT */ BEGIN", "selects", "\"select\"", "CALL f()", "((("}) {
    EXPECT_FALSE(MayHavePlan(no)) << no;
  }
}

TEST(NamesIn, AreFoldedAndOnce) {
  EXPECT_THAT(NamesIn("SELECT Id, \"Big\" FROM orders o, ORDERS -- x\nWHERE 'y' = $1"),
              ElementsAre("Big", "from", "id", "o", "orders", "select", "where"));
}

}  // namespace
}  // namespace pga::collector
