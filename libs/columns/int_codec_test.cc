#include "libs/columns/int_codec.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace pga::columns {
namespace {

std::string Encoded(const std::vector<int64_t>& values, bool bits = false) {
  std::string bytes;
  EncodeInts(values.data(), values.size(), &bytes, bits);
  return bytes;
}

void ExpectRoundTrip(const std::vector<int64_t>& values, bool bits = false) {
  const std::string bytes = Encoded(values, bits);
  std::string_view in = bytes;
  std::vector<int64_t> decoded(values.size());
  ASSERT_TRUE(DecodeInts(&in, values.size(), decoded.data()));
  EXPECT_TRUE(in.empty());
  EXPECT_EQ(decoded, values);
}

TEST(IntCodec, GivesBackWhatWasPutIn) {
  const std::vector<std::vector<int64_t>> cases = {
      {},
      {0},
      {-1},
      {INT64_MIN, INT64_MAX, 0, -1, 1},
      {INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN},
      std::vector<int64_t>(31, 7),
      std::vector<int64_t>(32, 7),
      std::vector<int64_t>(33, -7),
      std::vector<int64_t>(10000, 0),
  };
  for (const auto& values : cases) {
    ExpectRoundTrip(values);
    ExpectRoundTrip(values, true);
  }
}

TEST(IntCodec, MultiplesOfAUnitTakeWhatTheirFactorsTake) {
  std::mt19937_64 random(5);
  for (const int64_t unit : {int64_t{3}, int64_t{1000}, int64_t{4096}, int64_t{10'000'000}}) {
    std::vector<int64_t> factors(4000), values(4000);
    for (size_t i = 0; i < values.size(); ++i) {
      factors[i] = static_cast<int64_t>(random() % 3 == 0 ? 0 : random() % 5000) - 700;
      values[i] = factors[i] * unit;
    }
    ExpectRoundTrip(values);
    EXPECT_LE(Encoded(values).size(), Encoded(factors).size() + 6);
    EXPECT_EQ(Encoded(values)[0], 6);
  }
  ExpectRoundTrip({INT64_MIN, INT64_MIN, 0});
  ExpectRoundTrip({INT64_MIN, INT64_MIN / 2, 0});
  std::vector<int64_t> widest(40);
  for (size_t i = 0; i < widest.size(); ++i)
    widest[i] = i % 2 == 0 ? INT64_MIN : INT64_MIN / 4 * static_cast<int64_t>(i % 3);
  ExpectRoundTrip(widest);
  // Where nothing is won the shorter form stands.
  EXPECT_NE(Encoded(std::vector<int64_t>(100, 8192))[0], 6);
}

TEST(IntCodec, UnitsAreChecked) {
  std::vector<int64_t> values(4);
  for (const std::string& bytes :
       {std::string("\x06"), std::string("\x06\x01\x00\x02\x00\x01", 6), std::string("\x06\x00\x00\x02\x00\x01", 6),
        // Units of units, and units in what says which are 0.
        std::string("\x06\x02\x06\x02\x00\x02\x00\x01", 8), std::string("\x05\x06\x02\x00\x02\x00\x01\x00\x02", 9),
        std::string("\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x02\x00\x01", 15)}) {
    std::string_view in = bytes;
    EXPECT_FALSE(DecodeInts(&in, values.size(), values.data()));
  }
  const std::string good("\x06\x05\x00\x02\x00\x01", 6);
  std::string_view in = good;
  ASSERT_TRUE(DecodeInts(&in, values.size(), values.data()));
  EXPECT_EQ(values, std::vector<int64_t>(4, 5));
}

TEST(IntCodec, GivesBackRandomValuesOfEveryWidth) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 3000; ++round) {
    const size_t count = random() % 200;
    const int width = static_cast<int>(random() % 65);
    const uint64_t zeros = random() % 10;
    const uint64_t wide = 1 + random() % 50;
    std::vector<int64_t> values(count);
    int64_t sum = static_cast<int64_t>(random());
    const bool growing = random() % 3 == 0;
    for (int64_t& value : values) {
      uint64_t u = width == 0 ? 0 : random() >> (64 - width);
      if (random() % 10 < zeros) u = 0;
      if (random() % wide == 0) u = random();
      value = static_cast<int64_t>(random() % 2 == 0 || growing ? u : ~u);
      if (growing) value = sum = static_cast<int64_t>(static_cast<uint64_t>(sum) + u);
    }
    ExpectRoundTrip(values, round % 5 == 0);
  }
}

TEST(IntCodec, TakesFewBytesForWhatRepeats) {
  EXPECT_LE(Encoded(std::vector<int64_t>(100000, 0)).size(), 6u);
  EXPECT_LE(Encoded(std::vector<int64_t>(100000, 123456789)).size(), 12u);
  std::vector<int64_t> steps;
  for (int64_t i = 0; i < 1440; ++i) steps.push_back(1767139200000000 + i * 60000000);
  EXPECT_LE(Encoded(steps).size(), 24u);
  std::vector<int64_t> sparse(3200, 0);
  for (size_t i = 0; i < sparse.size(); i += 64) sparse[i] = 1000;
  EXPECT_LE(Encoded(sparse).size(), 50u * 8);
}

TEST(IntCodec, PutsZerosApartWhereThatIsSmaller) {
  std::mt19937_64 random(3);
  int apart = 0;
  for (int round = 0; round < 500; ++round) {
    std::vector<int64_t> values(1 + random() % 700);
    const uint64_t zeros = random() % 100;
    const int64_t least = round % 3 == 0 ? -2000 : round % 3 == 1 ? 1000 : static_cast<int64_t>(random());
    for (int64_t& value : values) value = random() % 100 < zeros ? 0 : least + static_cast<int64_t>(random() % 4096);
    const bool bits = random() % 4 == 0;
    ExpectRoundTrip(values, bits);
    if (Encoded(values, bits)[0] == 5) ++apart;
  }
  EXPECT_GT(apart, 200);
  // 12 bits for half of the values, one for all.
  std::vector<int64_t> half(6400);
  for (int64_t& value : half) value = random() % 2 == 0 ? 0 : 1 + static_cast<int64_t>(random() % 4096);
  EXPECT_EQ(Encoded(half)[0], 5);
  EXPECT_LT(Encoded(half).size(), 6400U * 15 / 16);
  // Where zeros stand in groups of their own it would save nothing.
  std::vector<int64_t> blocks(6400);
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = i / 640 % 2 == 0 ? 0 : static_cast<int64_t>(random() % 4096);
  EXPECT_NE(Encoded(blocks)[0], 5);
}

TEST(IntCodec, RefusesMalformedZerosApart) {
  std::vector<int64_t> decoded(3);
  const auto decodes = [&](std::string_view in) { return DecodeInts(&in, 3, decoded.data()) && in.empty(); };
  // Values 0, 7, 0: which are not 0 (width 1: 010), and the one.
  EXPECT_TRUE(decodes(std::string_view("\x05\x00\x00\x01\x40\x00\x0e\x00\x01", 9)));
  EXPECT_EQ(decoded, (std::vector<int64_t>{0, 7, 0}));
  // All 0: nothing behind it.
  EXPECT_TRUE(decodes(std::string_view("\x05\x00\x00\x00\x01", 5)));
  EXPECT_EQ(decoded, (std::vector<int64_t>{0, 0, 0}));
  // Neither 0 nor 1; zeros apart inside of zeros apart, in either list; the second list cut off.
  EXPECT_FALSE(decodes(std::string_view("\x05\x00\x04\x01\x40\x00\x0e\x00\x01", 9)));
  EXPECT_FALSE(decodes(std::string_view("\x05\x05\x00\x00\x01\x40\x00\x0e\x00\x01", 10)));
  EXPECT_FALSE(decodes(std::string_view("\x05\x00\x00\x01\x40\x05\x00\x00\x00\x01", 10)));
  EXPECT_FALSE(decodes(std::string_view("\x05\x00\x00\x01\x40\x00\x0e\x00", 8)));
}

TEST(IntCodec, RefusesWhatIsNoSuchForm) {
  std::mt19937_64 random(2);
  std::vector<int64_t> values(100);
  for (int64_t& value : values) value = static_cast<int64_t>(random() % 100000);
  const std::string good = Encoded(values);
  std::vector<int64_t> decoded(100);
  for (size_t cut = 0; cut < good.size(); ++cut) {
    // At its exact size, so that a read behind it is noticed by the address sanitizer.
    const std::vector<char> bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(cut));
    std::string_view in(bytes.data(), bytes.size());
    EXPECT_FALSE(DecodeInts(&in, values.size(), decoded.data())) << cut;
  }
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    bytes[random() % bytes.size()] = static_cast<char>(random());
    std::string_view in = bytes;
    (void)DecodeInts(&in, values.size(), decoded.data());
  }
  for (const std::string& bad : {std::string("\x06", 1), std::string("\x00\x00\x00\x00", 4),
                                 std::string("\x00\x00\x00\x05", 4), std::string("\x00\x00\x41", 3)}) {
    std::string_view in = bad;
    EXPECT_FALSE(DecodeInts(&in, 100, decoded.data()));
  }
}

TEST(Varint, RefusesMoreThan64Bits) {
  std::string_view in("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);
  uint64_t value = 0;
  EXPECT_FALSE(ReadVarint(&in, &value));
  std::string bytes;
  AppendVarint(UINT64_MAX, &bytes);
  in = bytes;
  ASSERT_TRUE(ReadVarint(&in, &value));
  EXPECT_EQ(value, UINT64_MAX);
}

TEST(DecodeBits, AreTheIntsThatWereEncoded) {
  std::mt19937_64 random(7);
  for (const size_t count : {1, 31, 32, 33, 100, 5000}) {
    for (const int rare : {1, 2, 40, 1000}) {
      for (const bool inverted : {false, true}) {
        std::vector<int64_t> values;
        for (size_t i = 0; i < count; ++i) values.push_back((random() % static_cast<uint64_t>(rare) == 0) != inverted);
        for (const bool bits : {false, true}) {
          std::string bytes;
          EncodeInts(values.data(), count, &bytes, bits);
          bytes += "behind";
          std::string_view in = bytes;
          std::vector<uint8_t> decoded(count);
          ASSERT_TRUE(DecodeBits(&in, count, decoded.data()));
          EXPECT_EQ(in, "behind");
          EXPECT_EQ(std::vector<int64_t>(decoded.begin(), decoded.end()), values);
        }
      }
    }
  }
}

TEST(DecodeBits, RefusesOtherValuesAndWhatIsCutOff) {
  std::vector<int64_t> values(100, 1);
  values[50] = 2;
  std::string bytes;
  EncodeInts(values.data(), values.size(), &bytes, true);
  std::vector<uint8_t> decoded(values.size());
  std::string_view in = bytes;
  EXPECT_FALSE(DecodeBits(&in, values.size(), decoded.data()));
  values[50] = 0;
  bytes.clear();
  EncodeInts(values.data(), values.size(), &bytes, true);
  for (size_t length = 0; length < bytes.size(); ++length) {
    in = std::string_view(bytes).substr(0, length);
    EXPECT_FALSE(DecodeBits(&in, values.size(), decoded.data())) << length;
  }
}

}  // namespace
}  // namespace pga::columns
