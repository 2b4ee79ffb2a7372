#include "services/gateway/gzip.h"

#include <string>

#include "gtest/gtest.h"
#include "libs/status/testing.h"

namespace pga::gateway {
namespace {

std::string Gzip(const std::string& text) {
  return GzipWriter().Write(text, true);
}

TEST(GzipTest, RoundTripsWholeAndInPieces) {
  std::string text;
  for (int i = 0; i < 50000; ++i) text += std::to_string(i);
  EXPECT_EQ(*Gunzip(Gzip(text), text.size()), text);
  GzipWriter writer;
  std::string packed = writer.Write("[", false);
  packed += writer.Write(text, false);
  packed += writer.Write("]", true);
  EXPECT_EQ(*Gunzip(packed, text.size() + 2), "[" + text + "]");
  EXPECT_TRUE(LooksLikeGzip(packed));
  EXPECT_FALSE(LooksLikeGzip("{}"));
}

TEST(GzipTest, BombsAndBrokenInputAreRefused) {
  const std::string bomb = Gzip(std::string(8 << 20, 'a'));
  EXPECT_THAT(Gunzip(bomb, 1 << 20), status::StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
  // Within the byte limit but beyond the ratio.
  EXPECT_THAT(Gunzip(bomb, 64 << 20), status::StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
  const std::string good = Gzip("hello");
  for (const std::string& bad : {good.substr(0, good.size() - 1), good + "x", good + good, std::string("\x1f\x8b"),
                                 std::string("plain"), std::string()}) {
    EXPECT_THAT(Gunzip(bad, 1 << 20), status::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  }
}

TEST(GzipTest, AcceptEncodingIsRead) {
  for (const char* yes : {"gzip", "deflate, gzip;q=1.0, *;q=0.5", "GZIP", "*", "br, gzip;q=0.001"}) {
    EXPECT_TRUE(AcceptsGzip(yes)) << yes;
  }
  for (const char* no : {"", "br", "gzip;q=0", "gzip;q=0.000", "identity", "*;q=0"})
    EXPECT_FALSE(AcceptsGzip(no)) << no;
  for (const char* yes : {"br", "gzip, deflate, br, zstd", "gzip;q=0.5, BR;q=0.1"})
    EXPECT_TRUE(AcceptsBrotli(yes)) << yes;
  for (const char* no : {"", "gzip", "*", "br;q=0", "gzip, br;q=0.0"}) EXPECT_FALSE(AcceptsBrotli(no)) << no;
}

}  // namespace
}  // namespace pga::gateway
