#include "services/collector/log_pattern.h"

#include <gtest/gtest.h>

namespace pga::collector {
namespace {

LogPattern Pattern(std::string_view text) {
  auto pattern = LogPattern::Compile(text);
  EXPECT_TRUE(pattern.ok()) << pattern.status();
  return *std::move(pattern);
}

TEST(LogPattern, FiguresInTheirUnits) {
  const LogPattern pattern = Pattern("a {n:int} b {t:ms} ms c {s:s} s d {k:kb} kB {f:float} {w:word}, \"{x:name}\"");
  LogFindings findings;
  std::string kept;
  ASSERT_TRUE(pattern.Match("a -5 b 12.345 ms c 1.5 s d 3 kB 9.75 ShareLock, \"my table\"", QueryTextMode::kNormalized,
                            &findings, &kept));
  EXPECT_EQ(findings.Figure("n"), -5);
  EXPECT_EQ(findings.Figure("t"), 12345);
  EXPECT_EQ(findings.Figure("s"), 1500000);
  EXPECT_EQ(findings.Figure("k"), 3072);
  EXPECT_EQ(findings.Figure("absent", 7), 7);
  EXPECT_EQ(findings.Text("w"), "ShareLock");
  EXPECT_EQ(findings.Text("x"), "my table");
  EXPECT_EQ(kept, "a -5 b 12.345 ms c 1.5 s d 3 kB 9.75 ShareLock, \"my table\"");
}

TEST(LogPattern, WhatMustNotBeKeptIsTakenOut) {
  LogFindings findings;
  std::string kept;
  ASSERT_TRUE(Pattern("Key ({_:name})=({_:text}) already exists.")
                  .Match("Key (email)=(a) already (b)) already exists.", QueryTextMode::kNormalized, &findings, &kept));
  EXPECT_EQ(kept, "Key (email)=(?) already exists.");
  ASSERT_TRUE(Pattern("statement: {s:sql}")
                  .Match("statement: SELECT 'x' FROM t", QueryTextMode::kNormalized, &findings, &kept));
  EXPECT_EQ(kept, "statement: SELECT ? FROM t");
  EXPECT_FALSE(Pattern("a {_:int}").Match("a 5 b", QueryTextMode::kNormalized, &findings, &kept));
  EXPECT_FALSE(Pattern("a {_:name}").Match("a b\nc", QueryTextMode::kNormalized, &findings, &kept));
}

TEST(LogPattern, PartsAnywhere) {
  LogFindings findings;
  // What is found is named by the pattern's own words.
  const LogPattern removed = Pattern("tuples: {r:int} removed");
  EXPECT_TRUE(removed.Find("x tuples: none\ntuples: 12 removed, 4 remain", &findings));
  EXPECT_EQ(findings.Figure("r"), 12);
  EXPECT_FALSE(Pattern("{r:int} removed").Find("12 removed", &findings));
}

TEST(LogPattern, MistakesAreTold) {
  for (const char* text : {"", "{a}", "{a:no}", "{a:int}{b:int}", "x {a:int"}) {
    EXPECT_FALSE(LogPattern::Compile(text).ok()) << text;
  }
}

TEST(OnlyKnownWords, QuotesNumbersAndStrangers) {
  EXPECT_EQ(OnlyKnownWords("relation \"orders\" does not exist"), "relation ? does not exist");
  EXPECT_EQ(OnlyKnownWords("number 4111 of hunter2x refused by geheimnis, can't go on"),
            "number ? of ? refused by ?, can't go on");
  EXPECT_EQ(OnlyKnownWords("value 'a\nb' and \"never ended"), "value ? and ?");
  EXPECT_EQ(OnlyKnownWords("größe"), "?");
  EXPECT_EQ(OnlyKnownWords("at 0/1A2B relation 16384", true), "at 0/1A2B relation 16384");
  EXPECT_EQ(OnlyKnownWords("at DEAD hunter2x", true), "at ?");
}

}  // namespace
}  // namespace pga::collector
