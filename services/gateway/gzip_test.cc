#include "services/gateway/gzip.h"

#include <zlib.h>

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
  EXPECT_EQ(*Unpack(Gzip(text), text.size()), text);
  GzipWriter writer;
  std::string packed = writer.Write("[", false);
  packed += writer.Write(text, false);
  packed += writer.Write("]", true);
  EXPECT_EQ(*Unpack(packed, text.size() + 2), "[" + text + "]");
  EXPECT_TRUE(LooksPacked(packed));
  EXPECT_FALSE(LooksPacked("{}"));
}

// What compress() of zlib yields; the collector of 3.2.0 sends it under the name of gzip.
TEST(GzipTest, ZlibsOwnFormIsUnpacked) {
  const std::string text(100'000, 'x');
  for (const int level : {0, 1, 6, 9}) {
    uLongf size = compressBound(text.size());
    std::string packed(size, '\0');
    ASSERT_EQ(compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(text.data()),
                        text.size(), level),
              Z_OK);
    packed.resize(size);
    EXPECT_TRUE(LooksPacked(packed));
    EXPECT_EQ(*Unpack(packed, text.size()), text);
    EXPECT_THAT(Unpack(packed.substr(0, size - 1), text.size()),
                status::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  }
  for (const char* plain : {"{}", "[x]", "x = 1", "x", ""}) EXPECT_FALSE(LooksPacked(plain)) << plain;
}

TEST(GzipTest, BombsAndBrokenInputAreRefused) {
  const std::string bomb = Gzip(std::string(8 << 20, 'a'));
  EXPECT_THAT(Unpack(bomb, 1 << 20), status::StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
  // Within the byte limit but beyond the ratio.
  EXPECT_THAT(Unpack(bomb, 64 << 20), status::StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
  const std::string good = Gzip("hello");
  for (const std::string& bad : {good.substr(0, good.size() - 1), good + "x", good + good, std::string("\x1f\x8b"),
                                 std::string("plain"), std::string()}) {
    EXPECT_THAT(Unpack(bad, 1 << 20), status::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
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
