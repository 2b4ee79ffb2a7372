// What libs/columns writes, PostgreSQL's own languages read back, on the oldest, the usual and the newest server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/columns/column.h"
#include "libs/columns/int_codec.h"
#include "libs/storage/schema/readable_fixture_testing.h"

namespace pga::storage {
namespace {

using columns::Column;
using columns::Type;

INSTANTIATE_TEST_SUITE_P(PostgreSql, ReadableTest, ::testing::Values("13", "15", "18"),
                         [](const auto& version) { return version.param; });

TEST_P(ReadableTest, IntegersAreReadBack) {
  std::mt19937_64 random(1);
  std::array<int, 7> transforms{};
  for (int round = 0; round < 400; ++round) {
    const std::vector<int64_t> values = RandomInts(random, 1 + random() % (round % 10 == 0 ? 2000 : 100));
    std::string bytes = "head";
    columns::EncodeInts(values.data(), values.size(), &bytes, random() % 5 == 0);
    ++transforms.at(static_cast<size_t>(bytes[4]));
    const size_t end = bytes.size();
    bytes += "tail";
    const auto count = static_cast<int32_t>(values.size());
    const pg::Result read =
        Exec("SELECT metrics.decode_ints($1::bytea, 4, $2::int4), metrics.ints_end($1::bytea, 4, $2::int4)",
             {pg::Bytes{bytes}, count});
    ASSERT_EQ(read.rows(), 1U);
    ASSERT_EQ(read[0].Text(0), absl::StrCat("{", absl::StrJoin(values, ","), "}")) << "transform " << int{bytes[4]};
    ASSERT_EQ(static_cast<size_t>(read[0].Int64(1)), end);
  }
  for (const int times : transforms) EXPECT_GT(times, 5);
}

TEST_P(ReadableTest, DamagedIntegersAreAnError) {
  std::mt19937_64 random(2);
  int refused = 0;
  for (int round = 0; round < 200; ++round) {
    const std::vector<int64_t> values = RandomInts(random, 200);
    std::string bytes;
    columns::EncodeInts(values.data(), values.size(), &bytes);
    if (round % 2 == 0) {
      bytes.resize(random() % bytes.size());
    } else {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const auto read =
        connection_->Exec("SELECT cardinality(metrics.decode_ints($1::bytea, 0, 200))", {pg::Bytes{bytes}}, Soon());
    if (read.ok()) {
      EXPECT_EQ((*read)[0].Int64(0), 200);
    } else {
      ++refused;
    }
    EXPECT_FALSE(round % 2 == 0 && read.ok()) << "cut off";
  }
  EXPECT_GE(refused, 100);
}

TEST_P(ReadableTest, ColumnsAreReadBack) {
  std::mt19937_64 random(3);
  std::array<int, 8> kinds{};
  int repeated = 0;
  for (int round = 0; round < 300; ++round) {
    const Type type = static_cast<Type>(round % 4);
    const size_t rows = 1 + random() % 200;
    std::string chunk;
    columns::EncodeColumn(RandomColumn(random, type, rows), &chunk);
    ++kinds.at(static_cast<size_t>(chunk[0] & 15));
    if (type == Type::kInt && (chunk[0] & 15) == 6) ++repeated;
    Column column;
    ASSERT_TRUE(columns::DecodeColumn(chunk, type, rows, &column).ok());
    std::vector<std::string> expected;
    for (size_t row = 0; row < rows; ++row) expected.push_back(Shown(column, row));
    const std::string value =
        type == Type::kDouble ? "encode(float8send((metrics.chunk_floats($1::bytea, $2::int4))[i]), 'hex')"
        : type == Type::kText ? "encode(convert_to((metrics.chunk_texts($1::bytea, $2::int4))"
                                "[(metrics.chunk_text_indexes($1::bytea, $2::int4))[i] + 1], 'UTF8'), 'hex')"
                              : "(metrics.chunk_ints($1::bytea, $2::int4))[i]::text";
    ASSERT_EQ(Value(absl::StrCat("SELECT string_agg(coalesce(", value,
                                 ", 'NULL'), ',' ORDER BY i) FROM generate_series(1, "
                                 "$2::int4) i"),
                    {pg::Bytes{chunk}, static_cast<int32_t>(rows)}),
              absl::StrJoin(expected, ","))
        << "type " << round % 4 << " head " << int{chunk[0]};
  }
  for (const int times : kinds) EXPECT_GT(times, 3);
  EXPECT_GT(repeated, 3);
}

TEST_P(ReadableTest, InstantsAreExact) {
  for (const char* instant :
       {"2026-11-27 21:30:04.123457+00", "1969-12-31 23:59:59.999999+00", "1999-12-31 23:59:59.000001+00",
        "294246-12-31 23:59:59.999999+00", "infinity", "-infinity", "0001-01-01 00:00:00+00 BC"}) {
    EXPECT_EQ(Value("SELECT metrics.time_of(metrics.us_of($1::timestamptz)) = $1::timestamptz", {instant}), "t")
        << instant;
  }
  EXPECT_EQ(Value("SELECT metrics.us_of('1970-01-01 00:00:01.000002+00')"), "1000002");
}

}  // namespace
}  // namespace pga::storage
