#include "services/collector/statement_forms.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "services/collector/log_pass.h"

namespace pga::collector {
namespace {

// As pg_stat_statements of 13 to 18 shows them, and executions.
TEST(StatementForm, TextAndExecutionsAreAlike) {
  struct Case {
    const char* text;
    const char* execution;
    bool same;
  };
  for (const Case& c : {
           Case{"SELECT * FROM t WHERE a = $1 AND b = $2", "SELECT * FROM t WHERE a = 42 AND b = 'it''s'", true},
           Case{"SELECT * FROM t WHERE a = $1", "SELECT *\n  FROM t -- of today\n WHERE a = $1;", true},
           Case{"SELECT $1 + $2", "SELECT -5 + - 7.5e3", true},
           Case{"SELECT * FROM t WHERE a IN ($1, $2, $3)", "SELECT * FROM t WHERE a IN (1,2,3)", true},
           Case{"SELECT * FROM t WHERE a IN ($1 /*, ... */)", "SELECT * FROM t WHERE a IN (1, 2, 3, 4)", true},
           Case{"UPDATE t SET a = $1, b = $2", "UPDATE t SET a = NULL, b = true", true},
           Case{"SELECT $1::text", "SELECT $$a 'b' $$::text", true},
           Case{"SELECT * FROM \"T\" WHERE a = $1", "SELECT * FROM t WHERE a = 1", false},
           Case{"COMMIT", "SELECT 1", false},
           Case{"SELECT a FROM t", "SELECT b FROM t", false},
       }) {
    EXPECT_EQ(StatementForm(c.text) == StatementForm(c.execution), c.same) << c.text << " / " << c.execution;
  }
}

TEST(StatementForms, TheTextDecidesNotTheIdOfTheEntry) {
  StatementForms forms;
  forms.Set("shop", 10, "SELECT * FROM orders WHERE id = $1");
  forms.Set("shop", 11, "COMMIT");
  forms.Set("shop", 12, "SELECT $1");
  forms.Set("shop", 13, "SELECT $1");
  forms.Set("other", 20, "SELECT * FROM orders WHERE id = $1");
  const std::string order = "SELECT * FROM orders WHERE id = 7";
  EXPECT_EQ(forms.IdOf("shop", order, 10), 10);
  EXPECT_EQ(forms.IdOf("shop", order, 11), 10) << "the next statement of the transaction";
  EXPECT_EQ(forms.IdOf("shop", order, 0), 10);
  EXPECT_EQ(forms.IdOf("other", order, 10), 20);
  EXPECT_EQ(forms.IdOf("shop", "SELECT 1", 13), 13);
  EXPECT_EQ(forms.IdOf("shop", "SELECT 1", 11), StatementForm("SELECT 2")) << "two statements have the form";
  EXPECT_EQ(forms.IdOf("shop", "SELECT 1, 2", 99), 99) << "a new statement";
  EXPECT_EQ(forms.IdOf("shop", "SELECT a, 2", 11), StatementForm("SELECT a, 4"))
      << "of another text, and of no known one";
  EXPECT_EQ(StatementForms().IdOf("shop", order, 10), StatementForm(order)) << "no text is known";
}

TEST(StatementForms, AreBounded) {
  StatementForms forms;
  for (size_t i = 1; i <= StatementForms::kMostStatements + 1; ++i) {
    forms.Set("shop", static_cast<int64_t>(i), absl::StrCat("SELECT a", i));
  }
  EXPECT_EQ(forms.IdOf("shop", "SELECT a1", 0), StatementForm("SELECT a1")) << "the others are forgotten";
  const auto last = static_cast<int64_t>(StatementForms::kMostStatements + 1);
  EXPECT_EQ(forms.IdOf("shop", absl::StrCat("SELECT a", last), 0), last);
}

// With the extended protocol a plan is written while the transaction's next statement begins, with that one's id.
TEST(LogPass, APlanIsOfTheStatementThatItNames) {
  const auto catalog = catalog::Catalog::Builtin();
  const catalogpb::Metric* plans = nullptr;
  for (const catalogpb::Metric& metric : (*catalog)->metrics()) {
    if (metric.name() == "plans") plans = &metric;
  }
  ASSERT_NE(plans, nullptr);
  const MetricShape shape(*plans);
  LogShapes shapes;
  shapes.plans = &shape;
  StatementForms forms;
  forms.Set("shop", 10, "SELECT * FROM t WHERE a = $1");
  forms.Set("shop", 11, "COMMIT");
  LogPass pass(
      &LogClasses::Builtin(), shapes, QueryTextMode::kNormalized, [](const MetricShape&) { return nullptr; }, 5, {},
      LogKeepLimits(), &forms);
  LogEntry entry;
  entry.at_us = 1'000'000;
  entry.severity = LogSeverity::kLog;
  entry.sqlstate = "00000";
  entry.database = "shop";
  entry.query_id = 11;
  entry.message =
      "duration: 250.000 ms  plan:\nQuery Text: SELECT * FROM t WHERE a = 5\nSeq Scan on t  (cost=0.00..1.01 rows=1 "
      "width=4)\n  Filter: (a = 5)";
  pass.Add(std::move(entry));
  Reading reading(shape);
  pass.FillPlans(&reading);
  bool found = false;
  for (size_t row = 0; row < reading.rows(); ++row) {
    if (reading.Int(row, shape.Find("logged")) == 0) continue;
    found = true;
    EXPECT_EQ(reading.Int(row, shape.Find("query_id")), 10);
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace pga::collector
