#include <gtest/gtest.h>

#include <string>

#include "libs/text/json.h"
#include "libs/text/percent.h"
#include "libs/text/utf8.h"

namespace pga::text {
namespace {

TEST(Percent, LeavesUnreservedCharactersAlone) {
  EXPECT_EQ(PercentEncode(""), "");
  EXPECT_EQ(PercentEncode("azAZ09-._~"), "azAZ09-._~");
  EXPECT_EQ(PercentEncode("a b/c%&=+\xc3\xa9"), "a%20b%2Fc%25%26%3D%2B%C3%A9");
  EXPECT_EQ(PercentEncode(std::string_view("\0", 1)), "%00");
}

TEST(Utf8, IsChecked) {
  for (const char* good : {"", "abc", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xbf\xbf", "\xed\x9f\xbf"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  EXPECT_TRUE(IsUtf8(std::string_view("a\0b", 3)));
  for (const char* bad :
       {"\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8", "\xc3", "\xe2\x82", "a\xff"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
  }
}

TEST(Utf8, AnInvalidPartIsSkippedAsAWhole) {
  size_t skip = 0;
  EXPECT_EQ(CharacterLength("\xf0\x9f\x98x", &skip), 0U);
  EXPECT_EQ(skip, 3U);
  EXPECT_EQ(CharacterLength("\xe2\x28\xa1", &skip), 0U);
  EXPECT_EQ(skip, 1U);
  EXPECT_EQ(CharacterLength("\xed\xa0\x80", &skip), 0U);
  EXPECT_EQ(skip, 1U);
  EXPECT_EQ(CharacterLength("\xc3", &skip), 0U);
  EXPECT_EQ(skip, 1U);
}

TEST(Utf8, TheBeginningIsWholeCharacters) {
  const std::string text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
  const size_t ends[] = {0, 1, 3, 6, 10, 11, 11};
  for (size_t most = 0; most < std::size(ends); ++most) {
    EXPECT_EQ(FirstCharacters(text, most), text.substr(0, ends[most])) << most;
  }
  EXPECT_EQ(FirstCharacters("ab\xc3", 3), "ab");
  EXPECT_EQ(FirstCharacters("", 3), "");
}

TEST(Json, JsonbTakesWhatTheGrammarAllows) {
  for (const char* good :
       {"null", " true ", "-0", "1.5e+10", "\"\"", R"("\"\\\/\b\f\n\r\t\u00e9")", R"("\ud83d\ude00")", "[]", "{}",
        "[1, [2], {\"a\": [false]}]", "{\"a\":{\"b\":[]}}", "\"\xc3\xa9\"", "1e10000"}) {
    EXPECT_TRUE(IsJsonb(good, 3)) << good;
  }
  for (const char* bad : {"",
                          " ",
                          "nul",
                          "truefalse",
                          "01",
                          "-",
                          "1.",
                          ".5",
                          "1e",
                          "1e10001",
                          "+1",
                          "\"",
                          "\"\n\"",
                          R"("\x")",
                          R"("\u00")",
                          R"("\u0000")",
                          R"("\ud800")",
                          R"("\ud800\u0041")",
                          R"("\udc00")",
                          "[1,]",
                          "[1 2]",
                          "{\"a\"}",
                          "{\"a\" 1}",
                          "{1: 2}",
                          "{\"a\": 1,}",
                          "[",
                          "{\"a\": [}",
                          "[[[[]]]]",
                          "1 2",
                          "'a'"}) {
    EXPECT_FALSE(IsJsonb(bad, 3)) << bad;
  }
  EXPECT_TRUE(IsJsonb(std::string(10'000, '1'), 0));
  EXPECT_FALSE(IsJsonb(std::string(10'001, '1'), 0));
}

TEST(Json, DepthIsCountedOutsideOfStrings) {
  EXPECT_TRUE(JsonDepthWithin(R"({"a": [1, {"b": "]}]}[[[["}]})", 3));
  EXPECT_FALSE(JsonDepthWithin(R"({"a": [1, {"b": 1}]})", 2));
  EXPECT_TRUE(JsonDepthWithin(R"(["\"[[[", '[[['])", 1));
  EXPECT_TRUE(JsonDepthWithin("[][][]", 1));
  EXPECT_FALSE(JsonDepthWithin(std::string(101, '['), 100));
}

}  // namespace
}  // namespace pga::text
