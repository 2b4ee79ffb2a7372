#include "libs/frame/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"

namespace pga::frame {
namespace {

struct TextCase {
  const char* name;
  std::string input;
  std::string output;
};

class SanitizeTextTable : public ::testing::TestWithParam<TextCase> {};

TEST_P(SanitizeTextTable, ReplacesExactlyWhatIsInvalid) {
  const TextCase& c = GetParam();
  bool replaced = false;
  EXPECT_EQ(SanitizeText(c.input, 1'000, &replaced), c.output);
  EXPECT_EQ(replaced, c.input != c.output);
  EXPECT_EQ(IsValidText(c.input), c.input == c.output);
  EXPECT_TRUE(IsValidText(c.output));
}

#define PGA_FFFD "\xEF\xBF\xBD"
INSTANTIATE_TEST_SUITE_P(
    Table, SanitizeTextTable,
    ::testing::Values(
        TextCase{"Empty", "", ""}, TextCase{"Ascii", "select 1 from pg_class", "select 1 from pg_class"},
        TextCase{"TwoThreeFourBytes", "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x90\x98", "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x90\x98"},
        TextCase{"Nul", std::string("a\0b", 3), "a" PGA_FFFD "b"},
        TextCase{"NulAfterEightBytes", std::string("12345678\0", 9), "12345678" PGA_FFFD},
        TextCase{"Latin1", "na\xEFve caf\xE9", "na" PGA_FFFD "ve caf" PGA_FFFD},
        TextCase{"LoneContinuation", "a\x80z", "a" PGA_FFFD "z"}, TextCase{"Overlong2", "\xC0\xAF", PGA_FFFD PGA_FFFD},
        TextCase{"Overlong3", "\xE0\x80\xAF", PGA_FFFD PGA_FFFD PGA_FFFD},
        TextCase{"Surrogate", "\xED\xA0\x80", PGA_FFFD PGA_FFFD PGA_FFFD},
        TextCase{"BeyondUnicode", "\xF4\x90\x80\x80", PGA_FFFD PGA_FFFD PGA_FFFD PGA_FFFD},
        TextCase{"CutAtEnd", "abc\xE2\x82", "abc" PGA_FFFD}, TextCase{"CutInside", "\xE2\x82q", PGA_FFFD "q"}),
    [](const auto& param_info) { return param_info.param.name; });

TEST(SanitizeText, CutsAtACharactersEdge) {
  bool replaced = false;
  EXPECT_EQ(SanitizeText("a\xE2\x82\xAC\xE2\x82\xAC", 4, &replaced), "a\xE2\x82\xAC");
  EXPECT_EQ(SanitizeText("a\xE2\x82\xAC\xE2\x82\xAC", 3, &replaced), "a");
  EXPECT_EQ(SanitizeText("0123456789abcdef0123", 17, &replaced), "0123456789abcdef0");
  EXPECT_FALSE(replaced);
}

TEST(Crc32c, MatchesKnownValuesOnBothPaths) {
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(internal::Crc32cTable("123456789", 0), 0xE3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  std::string data;
  for (int i = 0; i < 1'000; ++i) data.push_back(static_cast<char>(i * 7));
  for (size_t cut : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{501}}) {
    EXPECT_EQ(Crc32c(data.substr(cut), Crc32c(data.substr(0, cut))), internal::Crc32cTable(data, 0)) << cut;
  }
}

TEST(ChainHash, CoversEveryPart) {
  const std::string base = ChainHash(ZeroHash(), std::string(16, 's'), 1, "payload");
  EXPECT_EQ(base.size(), kHashBytes);
  EXPECT_EQ(base, ChainHash(ZeroHash(), std::string(16, 's'), 1, "payload"));
  EXPECT_NE(base, ChainHash(std::string(32, 'x'), std::string(16, 's'), 1, "payload"));
  EXPECT_NE(base, ChainHash(ZeroHash(), std::string(16, 't'), 1, "payload"));
  EXPECT_NE(base, ChainHash(ZeroHash(), std::string(16, 's'), 2, "payload"));
  EXPECT_NE(base, ChainHash(ZeroHash(), std::string(16, 's'), 1, "payloae"));
}

TEST(Uuid, V5MatchesTheStandardsExample) {
  // RFC 9562 A.4: UUIDv5 of www.example.com in the DNS namespace.
  const auto dns = ParseUuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
  ASSERT_TRUE(dns.ok());
  EXPECT_EQ(FormatUuid(UuidV5(*dns, "www.example.com")), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

TEST(Uuid, SourceIsStable) {
  EXPECT_EQ(SourceUuid("c1", "db"), SourceUuid("c1", "db"));
  EXPECT_NE(SourceUuid("c1", "db"), SourceUuid("c2", "db"));
  EXPECT_NE(SourceUuid("c1", "db"), SourceUuid("c1", "db2"));
  EXPECT_EQ(FormatUuid(SourceUuid("collector-1", "db-1")), FormatUuid(SourceUuid("collector-1", "db-1")));
  EXPECT_EQ(FormatUuid(SourceUuid("collector-1", "db-1"))[14], '5');
}

TEST(Uuid, RandomIsVersion4AndNew) {
  const std::string a = RandomUuid();
  EXPECT_EQ(FormatUuid(a)[14], '4');
  EXPECT_NE(a, RandomUuid());
}

TEST(Uuid, ParseRefusesWhatIsNoUuid) {
  for (const char* text : {"", "6ba7b810-9dad-11d1-80b4-00c04fd430c", "6ba7b810-9dad-11d1-80b4-00c04fd430c88",
                           "6ba7b8109dad-11d1-80b4-00c04fd430c8-", "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
                           "6ba7b810+9dad-11d1-80b4-00c04fd430c8"}) {
    EXPECT_EQ(ParseUuid(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(FormatUuid(*ParseUuid("6BA7B810-9DAD-11D1-80B4-00C04FD430C8")), "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
  EXPECT_EQ(FormatUuid("short"), "invalid");
}

}  // namespace
}  // namespace pga::frame
