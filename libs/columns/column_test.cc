#include "libs/columns/column.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace pga::columns {
namespace {

Column RandomColumn(std::mt19937_64& random, Type type, size_t rows) {
  Column column(type);
  const uint64_t null_share = random() % 4;
  const uint64_t most = random() % 2 == 0 ? 5 : 100'000;
  if (type == Type::kText) {
    for (size_t i = 0; i < 1 + random() % 20; ++i) {
      column.texts.push_back(std::string(random() % 30, static_cast<char>('a' + random() % 26)) + std::to_string(i));
    }
  }
  for (size_t row = 0; row < rows; ++row) {
    if (random() % 4 < null_share && random() % 2 == 0) {
      column.AppendNull();
      continue;
    }
    if (!column.nulls.empty()) column.nulls.push_back(0);
    switch (type) {
      case Type::kInt:
        column.ints.push_back(static_cast<int64_t>(random() >> (random() % 64)));
        break;
      case Type::kBool:
        column.ints.push_back(static_cast<int64_t>(random() % 2));
        break;
      case Type::kDouble:
        column.doubles.push_back(static_cast<double>(random() % most) / (random() % 3 == 0 ? 7.0 : 100.0));
        break;
      case Type::kText:
        column.ints.push_back(static_cast<int64_t>(random() % column.texts.size()));
        break;
    }
  }
  return column;
}

void ExpectSame(const Column& a, const Column& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t row = 0; row < a.size(); ++row) {
    ASSERT_EQ(a.IsNull(row), b.IsNull(row)) << row;
    if (a.IsNull(row)) continue;
    if (a.type == Type::kText) {
      ASSERT_EQ(a.Text(row), b.Text(row)) << row;
    } else if (a.type == Type::kDouble) {
      ASSERT_EQ(std::bit_cast<uint64_t>(a.doubles[row]), std::bit_cast<uint64_t>(b.doubles[row])) << row;
    } else {
      ASSERT_EQ(a.ints[row], b.ints[row]) << row;
    }
  }
}

TEST(Column, GivesBackWhatWasPutIn) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    for (const Type type : {Type::kInt, Type::kBool, Type::kDouble, Type::kText}) {
      const size_t rows = random() % 100;
      const Column column = RandomColumn(random, type, rows);
      std::string bytes;
      EncodeColumn(column, &bytes);
      Column decoded;
      const absl::Status status = DecodeColumn(bytes, type, rows, &decoded);
      ASSERT_TRUE(status.ok()) << status;
      ExpectSame(column, decoded);
    }
  }
}

TEST(Column, KeepsEveryDouble) {
  Column column(Type::kDouble);
  column.doubles = {0.0, -0.0, 1e300, -1e-300, std::numeric_limits<double>::infinity(), std::nan(""), 0.1, 1.0 / 3};
  std::string bytes;
  EncodeColumn(column, &bytes);
  Column decoded;
  ASSERT_TRUE(DecodeColumn(bytes, Type::kDouble, column.size(), &decoded).ok());
  ExpectSame(column, decoded);
  // Each on its own too: what is beside it decides the form.
  for (const double value : column.doubles) {
    Column one(Type::kDouble);
    one.doubles = {value, 2.5};
    bytes.clear();
    EncodeColumn(one, &bytes);
    ASSERT_TRUE(DecodeColumn(bytes, Type::kDouble, 2, &decoded).ok());
    ExpectSame(one, decoded);
  }
}

// A chunk of `column` that is read back the same, and its kind.
std::pair<std::string, int> Chunk(const Column& column) {
  std::string bytes;
  EncodeColumn(column, &bytes);
  Column decoded;
  const absl::Status status = DecodeColumn(bytes, column.type, column.size(), &decoded);
  EXPECT_TRUE(status.ok()) << status;
  ExpectSame(column, decoded);
  return {bytes, bytes[0] & 0x0f};
}

TEST(Column, DoublesThatRepeatTakeTheBytesOfTheirIndexes) {
  std::mt19937_64 random(4);
  Column column(Type::kDouble);
  for (int row = 0; row < 3200; ++row) column.doubles.push_back(std::sqrt(static_cast<double>(random() % 16)));
  column.doubles.push_back(-0.0);
  column.doubles.push_back(std::numeric_limits<double>::infinity());
  const auto [bytes, kind] = Chunk(column);
  EXPECT_EQ(kind, 6);
  EXPECT_LE(bytes.size(), 3200U * 5 / 8 + 600);
  // An index out of range, and more different doubles than rows.
  Column decoded;
  for (const std::string& bad :
       {std::string("\x06\x01\x00\x00\x00\x01\x00\x02\x00\x01", 10), std::string("\x06\x00\x00\x00\x00\x01", 6),
        std::string("\x06\x03\x00\x00\x00\x01\x00\x00\x00\x01", 10)}) {
    EXPECT_FALSE(DecodeColumn(bad, Type::kDouble, 2, &decoded).ok());
  }
  EXPECT_TRUE(
      DecodeColumn(std::string_view("\x06\x01\x00\x00\x00\x01\x00\x00\x00\x01", 10), Type::kDouble, 2, &decoded).ok());
}

TEST(Column, AveragesOfSixtySamplesAreIntegers) {
  std::mt19937_64 random(5);
  Column column(Type::kDouble);
  for (int row = 0; row < 3200; ++row) column.doubles.push_back(static_cast<double>(random() % 512) / 60);
  const auto [bytes, kind] = Chunk(column);
  EXPECT_EQ(kind, 3);
  EXPECT_LE(bytes.size(), 3200U * 9 / 8 + 110);
}

TEST(Column, TextsThatDoNotRepeatTakeTheirBytesAlone) {
  std::mt19937_64 random(6);
  Column column(Type::kText);
  size_t bytes_of_texts = 0;
  for (int i = 0; i < 1000; ++i) {
    column.texts.push_back(std::to_string(1'000'000 + i));
    bytes_of_texts += column.texts.back().size();
    column.ints.push_back(i);
  }
  std::shuffle(column.ints.begin(), column.ints.end(), random);
  EXPECT_LE(Chunk(column).first.size(), bytes_of_texts + 20);
}

TEST(Column, LeavesOutTextsThatNoRowUses) {
  Column column(Type::kText);
  column.texts = {"unused", "b", "secret"};
  column.ints = {1, 1, 2};
  column.nulls = {0, 0, 1};
  std::string bytes;
  EncodeColumn(column, &bytes);
  EXPECT_EQ(bytes.find("unused"), std::string::npos);
  EXPECT_EQ(bytes.find("secret"), std::string::npos);
  Column decoded;
  ASSERT_TRUE(DecodeColumn(bytes, Type::kText, 3, &decoded).ok());
  ExpectSame(column, decoded);
}

TEST(Column, RefusesDamageWithoutReadingOutside) {
  std::mt19937_64 random(3);
  for (const Type type : {Type::kInt, Type::kBool, Type::kDouble, Type::kText}) {
    const Column column = RandomColumn(random, type, 77);
    std::string good;
    EncodeColumn(column, &good);
    Column decoded;
    for (const Type other : {Type::kInt, Type::kBool, Type::kDouble, Type::kText}) {
      EXPECT_EQ(DecodeColumn(good, other, 77, &decoded).ok(), other == type);
    }
    EXPECT_FALSE(DecodeColumn(good + "x", type, 77, &decoded).ok());
    for (size_t cut = 0; cut < good.size(); ++cut) {
      const std::vector<char> bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(cut));
      EXPECT_FALSE(DecodeColumn(std::string_view(bytes.data(), bytes.size()), type, 77, &decoded).ok());
    }
    for (int round = 0; round < 5000; ++round) {
      std::string bytes = good;
      bytes[random() % bytes.size()] = static_cast<char>(random());
      (void)DecodeColumn(bytes, type, 77, &decoded);
    }
  }
}

TEST(Column, WideIntegersThatRepeatAreIndexes) {
  std::mt19937_64 random(21);
  Column column(Type::kInt);
  std::vector<int64_t> values(5);
  for (int64_t& value : values) value = static_cast<int64_t>(random());
  for (int row = 0; row < 1000; ++row) column.ints.push_back(values[random() % values.size()]);
  std::string chunk;
  EncodeColumn(column, &chunk);
  EXPECT_LT(chunk.size(), 500u);
  Column read;
  ASSERT_TRUE(DecodeColumn(chunk, Type::kInt, 1000, &read).ok());
  ExpectSame(column, read);
}

TEST(Column, TextsShareWhatTheOneBeforeThemHas) {
  Column column(Type::kText);
  size_t bytes = 0;
  for (int row = 0; row < 300; ++row) {
    // More than may be shared.
    column.texts.push_back(std::string(300, 'x') + std::to_string(row / 10) + "_" + std::to_string(row % 10));
    bytes += column.texts.back().size();
    column.ints.push_back(row);
  }
  std::string chunk;
  EncodeColumn(column, &chunk);
  EXPECT_LT(chunk.size(), bytes / 4);
  Column read;
  ASSERT_TRUE(DecodeColumn(chunk, Type::kText, 300, &read).ok());
  ExpectSame(column, read);
  // Kind, number of texts (2 bytes), then what they share: transform and base, then the first group.
  for (size_t at = 3; at < 20; ++at) {
    std::string damaged = chunk;
    damaged[at] = '\x7f';
    if (DecodeColumn(damaged, Type::kText, 300, &read).ok()) {
      for (const std::string& text : read.texts) EXPECT_LE(text.size(), chunk.size() + 255);
    }
  }
}

}  // namespace
}  // namespace pga::columns
