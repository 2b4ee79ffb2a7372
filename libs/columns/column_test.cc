#include "libs/columns/column.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace pga::columns {
namespace {

Column RandomColumn(std::mt19937_64& random, Type type, size_t rows) {
  Column column(type);
  const uint64_t null_share = random() % 4;
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
        column.doubles.push_back(static_cast<double>(random() % 100000) / (random() % 3 == 0 ? 7.0 : 100.0));
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

}  // namespace
}  // namespace pga::columns
