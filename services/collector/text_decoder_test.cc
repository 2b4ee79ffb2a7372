#include "services/collector/text_decoder.h"

#include <gtest/gtest.h>

namespace pga::collector {
namespace {

std::string Decode(std::string_view encoding, std::string_view bytes, bool* replaced, size_t max_bytes = 100) {
  *replaced = false;
  return TextDecoder(encoding).Decode(bytes, max_bytes, replaced);
}

TEST(TextDecoder, TextsAreConvertedFromTheDatabasesEncoding) {
  bool replaced = false;
  EXPECT_EQ(Decode("LATIN1", "caf\xe9", &replaced), "café");
  EXPECT_FALSE(replaced);
  EXPECT_EQ(Decode("EUC_JP", "\xc6\xfc\xcb\xdc", &replaced), "日本");
  EXPECT_EQ(Decode("WIN1251", "\xef\xf0", &replaced), "пр");
  EXPECT_EQ(Decode("UTF8", "café", &replaced), "café");
  EXPECT_FALSE(replaced);
  EXPECT_EQ(Decode("LATIN1", std::string(5000, '\xe9'), &replaced, 10), "ééééé");
}

TEST(TextDecoder, WhatIsNoCharacterIsReplacedAndMarked) {
  bool replaced = false;
  EXPECT_EQ(Decode("SQL_ASCII", "a\xe9'b", &replaced), "a\xef\xbf\xbd'b");
  EXPECT_TRUE(replaced);
  EXPECT_EQ(Decode("UTF8", std::string_view("a\0b", 3), &replaced),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_TRUE(replaced);
  EXPECT_EQ(Decode("LATIN1", std::string_view("\xe9\0", 2), &replaced), "é\xef\xbf\xbd");
  EXPECT_TRUE(replaced);
  EXPECT_EQ(Decode("EUC_JP", "\xc6\xfc\xcb", &replaced), "日\xef\xbf\xbd");
  EXPECT_TRUE(replaced);
  EXPECT_EQ(Decode("WIN1252", "a\x81z", &replaced), "a\xef\xbf\xbdz");
  EXPECT_TRUE(replaced);
}

TEST(TextDecoder, SharedNamesAreReadAlikeWhateverTheSession) {
  bool replaced = false;
  TextDecoder latin("LATIN1");
  TextDecoder utf("UTF8");
  EXPECT_EQ(latin.DecodeShared("café", 100, &replaced), "café");
  EXPECT_EQ(utf.DecodeShared("café", 100, &replaced), "café");
  EXPECT_FALSE(replaced);
  EXPECT_EQ(latin.DecodeShared("caf\xe9", 100, &replaced), "café");
  EXPECT_FALSE(replaced);
  EXPECT_EQ(utf.DecodeShared("caf\xe9", 100, &replaced), "caf\xef\xbf\xbd");
  EXPECT_TRUE(replaced);
}

TEST(TextDecoder, Moves) {
  bool replaced = false;
  TextDecoder a("LATIN1");
  TextDecoder b;
  b = std::move(a);
  EXPECT_EQ(b.Decode("\xe9", 10, &replaced), "é");
  TextDecoder c(std::move(b));
  EXPECT_EQ(c.Decode("\xe9", 10, &replaced), "é");
}

}  // namespace
}  // namespace pga::collector
