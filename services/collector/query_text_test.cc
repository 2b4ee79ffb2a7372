#include "services/collector/query_text.h"

#include <gtest/gtest.h>

#include <random>

namespace pga::collector {
namespace {

struct Case {
  const char* name;
  const char* text;
  const char* normalized;
  const char* full;
};

class RedactQueryTest : public ::testing::TestWithParam<Case> {};

TEST_P(RedactQueryTest, ReplacesWhatMustNotLeaveTheServer) {
  const Case& c = GetParam();
  EXPECT_EQ(RedactQuery(c.text, QueryTextMode::kNormalized).text, c.normalized);
  EXPECT_EQ(RedactQuery(c.text, QueryTextMode::kFull).text, c.full);
  EXPECT_EQ(RedactQuery(c.text, QueryTextMode::kNone).text, "");
}

INSTANTIATE_TEST_SUITE_P(
    All, RedactQueryTest,
    ::testing::Values(
        Case{"Placeholders", "SELECT a FROM t WHERE b = $1", "SELECT a FROM t WHERE b = $1",
             "SELECT a FROM t WHERE b = $1"},
        Case{"StringLiteral", "SELECT 'it''s', x", "SELECT ?, x", "SELECT 'it''s', x"},
        Case{"EscapeString", R"(SELECT E'a\'b', 2)", "SELECT ?, ?", R"(SELECT E'a\'b', 2)"},
        Case{"UnicodeString", R"(SELECT U&'d\0061t' x)", "SELECT ? x", R"(SELECT U&'d\0061t' x)"},
        Case{"BitStrings", "SELECT B'101', X'1f'", "SELECT ?, ?", "SELECT B'101', X'1f'"},
        Case{"DollarQuote", "DO $$ BEGIN x := 'y'; END $$", "DO ?", "DO ?"},
        Case{"TaggedDollarQuote", "SELECT $a$ $$ 'b' $a$ || c", "SELECT ? || c", "SELECT $a$ $$ 'b' $a$ || c"},
        Case{"Numbers", "SELECT 1, 2.5e-3, .5, 0x1F, a1, t2.c3 LIMIT 10", "SELECT ?, ?, ?, ?, a1, t2.c3 LIMIT ?",
             "SELECT 1, 2.5e-3, .5, 0x1F, a1, t2.c3 LIMIT 10"},
        Case{"QuotedIdentifier", R"(SELECT "a'b""c" FROM "t 1")", R"(SELECT "a'b""c" FROM "t 1")",
             R"(SELECT "a'b""c" FROM "t 1")"},
        Case{"LineComment", "SELECT a -- a remark\nFROM t", "SELECT a \nFROM t", "SELECT a -- a remark\nFROM t"},
        Case{"NestedComment", "SELECT /* a /* b */ c */ x", "SELECT  x", "SELECT /* a /* b */ c */ x"},
        Case{"RolePassword", "CREATE ROLE r LOGIN PASSWORD 'hunter2' VALID UNTIL '2030'",
             "CREATE ROLE r LOGIN PASSWORD ? VALID UNTIL ?", "CREATE ROLE r LOGIN PASSWORD ? VALID UNTIL ?"},
        Case{"ColumnNamedPassword", "SELECT password FROM users WHERE name = 'x' -- why",
             "SELECT password FROM users WHERE name = ?", "SELECT password FROM users WHERE name = ?"},
        Case{"ParameterBeforeAWord", "SELECT $1OR a = 1", "SELECT $1OR a = ?", "SELECT $1OR a = 1"},
        Case{"NumbersOfLaterVersions", "SELECT 0x1F, 1_000, 1e1_0, 1OR a", "SELECT ?, ?, ?, ?OR a",
             "SELECT 0x1F, 1_000, 1e1_0, 1OR a"},
        Case{"Setting", "SET search_path TO a, b", "SET search_path TO ?", "SET search_path TO a, b"},
        Case{"SettingOfAnApplication", "SET app.name TO a", "SET app.name TO ?", "SET app.name TO ?"},
        Case{"SettingBack", "SET search_path TO DEFAULT", "SET search_path TO DEFAULT", "SET search_path TO DEFAULT"},
        Case{"Transaction", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
             "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"},
        Case{"Role", "SET SESSION AUTHORIZATION bob; SET ROLE bob", "SET SESSION AUTHORIZATION bob; SET ROLE bob",
             "SET SESSION AUTHORIZATION bob; SET ROLE bob"},
        Case{"UpdateIsNoSetting", "UPDATE t SET a = b, c = d FROM u", "UPDATE t SET a = b, c = d FROM u",
             "UPDATE t SET a = b, c = d FROM u"},
        Case{"TableOptions", "ALTER TABLE t SET (fillfactor = 70)", "ALTER TABLE t SET (fillfactor = ?)",
             "ALTER TABLE t SET (fillfactor = 70)"},
        Case{"EitherReading", R"(SELECT 'a\' b', 'c\' d' FROM t)", "SELECT ? FROM t",
             R"(SELECT 'a\' b', 'c\' d' FROM t)"},
        Case{"UnterminatedLiteral", "SELECT a, 'cut in the mid", "SELECT a,", "SELECT a,"},
        Case{"UnterminatedComment", "SELECT a /* hun", "SELECT a", "SELECT a"},
        Case{"UnterminatedIdentifier", "SELECT \"hun", "SELECT", "SELECT"},
        Case{"UnterminatedDollarQuote", "DO $x$ hunter2", "DO", "DO"}, Case{"Empty", "", "", ""},
        Case{"Utf8", "SELECT größe FROM \"läden\" WHERE stadt = 'Köln'", "SELECT größe FROM \"läden\" WHERE stadt = ?",
             "SELECT größe FROM \"läden\" WHERE stadt = 'Köln'"}),
    [](const auto& each) { return each.param.name; });

TEST(RedactQuery, AnyBytesAreTaken) {
  std::mt19937 random(3);
  const std::string alphabet = "a1'\"$-/*\\;eE&uU(),. \n\x80\xff";
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t k = random() % 30; k > 0; --k) text.push_back(alphabet[random() % alphabet.size()]);
    for (const QueryTextMode mode : {QueryTextMode::kNormalized, QueryTextMode::kFull}) {
      EXPECT_LE(RedactQuery(text, mode).text.size(), text.size());
    }
  }
}

TEST(RedactQuery, TheCarefulWayIsTold) {
  for (const char* text : {"SELECT 'a'", R"(SELECT E'a\'b')", "DO $$ 'x' $$", R"(SELECT 'a\\')", "SELECT $1"}) {
    EXPECT_FALSE(RedactQuery(text, QueryTextMode::kNormalized).careful) << text;
  }
  for (const char* text : {"SELECT 'a", "SELECT 1_0", "SELECT $1OR a", R"(SELECT 'a\' b', '\'')", R"(SELECT E'\u1')"}) {
    EXPECT_TRUE(RedactQuery(text, QueryTextMode::kNormalized).careful) << text;
  }
}

}  // namespace
}  // namespace pga::collector
