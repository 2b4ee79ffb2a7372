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
  EXPECT_EQ(RedactQuery(c.text, QueryTextMode::kNormalized), c.normalized);
  EXPECT_EQ(RedactQuery(c.text, QueryTextMode::kFull), c.full);
  EXPECT_EQ(RedactQuery(c.text, QueryTextMode::kNone), "");
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
        Case{"DollarQuote", "DO $$ BEGIN x := 'y'; END $$", "DO ?", "DO $$ BEGIN x := 'y'; END $$"},
        Case{"TaggedDollarQuote", "SELECT $a$ $$ 'b' $a$ || c", "SELECT ? || c", "SELECT $a$ $$ 'b' $a$ || c"},
        Case{"Numbers", "SELECT 1, 2.5e-3, .5, 0x1F, a1, t2.c3 LIMIT 10", "SELECT ?, ?, ?, ?, a1, t2.c3 LIMIT ?",
             "SELECT 1, 2.5e-3, .5, 0x1F, a1, t2.c3 LIMIT 10"},
        Case{"QuotedIdentifier", R"(SELECT "a'b""c" FROM "t 1")", R"(SELECT "a'b""c" FROM "t 1")",
             R"(SELECT "a'b""c" FROM "t 1")"},
        Case{"LineComment", "SELECT a -- a remark\nFROM t", "SELECT a \nFROM t", "SELECT a -- a remark\nFROM t"},
        Case{"NestedComment", "SELECT /* a /* b */ c */ x", "SELECT  x", "SELECT /* a /* b */ c */ x"},
        Case{"RolePassword", "CREATE ROLE r LOGIN PASSWORD 'hunter2' VALID UNTIL '2030'",
             "CREATE ROLE r LOGIN PASSWORD '***' VALID UNTIL ?",
             "CREATE ROLE r LOGIN PASSWORD '***' VALID UNTIL '2030'"},
        Case{"PasswordInLowerCase", "alter user u with encrypted password E'p\\'w'",
             "alter user u with encrypted password '***'", "alter user u with encrypted password '***'"},
        Case{"DollarPassword", "ALTER ROLE r PASSWORD $x$hunter2$x$", "ALTER ROLE r PASSWORD '***'",
             "ALTER ROLE r PASSWORD '***'"},
        Case{"UserMapping", "CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'u', password 'hunter2')",
             "CREATE USER MAPPING FOR u SERVER s OPTIONS (user ?, password '***')",
             "CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'u', password '***')"},
        Case{"Subscription", "CREATE SUBSCRIPTION s CONNECTION 'host=h password=hunter2' PUBLICATION p",
             "CREATE SUBSCRIPTION s CONNECTION '***' PUBLICATION p",
             "CREATE SUBSCRIPTION s CONNECTION '***' PUBLICATION p"},
        Case{"UrlWithPassword", "SELECT dblink('postgres://u:hunter2@h/d', 'SELECT 1')", "SELECT dblink('***', ?)",
             "SELECT dblink('***', 'SELECT 1')"},
        Case{"UrlWithoutPassword", "SELECT 'https://example.com/a'", "SELECT ?", "SELECT 'https://example.com/a'"},
        Case{"SecretSetting", "SET my.api_token = 'hunter2'", "SET my.api_token = '***'", "SET my.api_token = '***'"},
        Case{"SecretInComment", "SELECT 1 /* password=hunter2 */", "SELECT ?", "SELECT 1"},
        Case{"ColumnNamedPassword", "SELECT password FROM users WHERE name = 'x'",
             "SELECT password FROM users WHERE name = ?", "SELECT password FROM users WHERE name = 'x'"},
        Case{"UnterminatedLiteral", "SELECT a, 'cut in the mid", "SELECT a,", "SELECT a,"},
        Case{"UnterminatedPassword", "ALTER ROLE r PASSWORD 'hunt", "ALTER ROLE r PASSWORD", "ALTER ROLE r PASSWORD"},
        Case{"UnterminatedComment", "SELECT a /* hun", "SELECT a", "SELECT a"},
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
      EXPECT_LE(RedactQuery(text, mode).size(), text.size() * 5 + 5);
    }
  }
}

}  // namespace
}  // namespace pga::collector
