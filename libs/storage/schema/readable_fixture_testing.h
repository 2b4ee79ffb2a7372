// A migrated database on each of several versions of PostgreSQL, and random columns. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/clock/steady.h"
#include "libs/columns/column.h"
#include "libs/columns/int_codec.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {

inline constexpr int64_t kSecond = 1'000'000;
inline constexpr int64_t kMinute = 60 * kSecond;
inline constexpr int64_t kHour = 60 * kMinute;
inline constexpr int64_t kDay = 24 * kHour;

inline clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(60);
}

// One server per version, for all tests; null when the version is not installed.
inline testing::TempPostgres* ServerOf(const std::string& version) {
  static auto* const servers = new std::map<std::string, std::unique_ptr<testing::TempPostgres>>;
  const auto found = servers->find(version);
  if (found != servers->end()) return found->second.get();
  testing::TempPostgresOptions options;
  options.version = version;
  auto server = testing::TempPostgres::Start(options);
  EXPECT_TRUE(server.ok() || server.status().code() == absl::StatusCode::kNotFound) << server.status();
  return ((*servers)[version] = server.ok() ? *std::move(server) : nullptr).get();
}

class ReadableTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    server_ = ServerOf(GetParam());
    if (server_ == nullptr) GTEST_SKIP() << "PostgreSQL " << GetParam() << " is not installed";
    auto url = server_->CreateFreshDatabase("readable");
    ASSERT_TRUE(url.ok()) << url.status();
    url_ = *url;
    MigrateOptions options;
    options.layout = Layout::kNative;
    const absl::Status migrated = MigrateUp(url_, Database::kMetrics, options);
    ASSERT_TRUE(migrated.ok()) << migrated;
    auto connection = pg::CopyConnection::Connect({.url = url_}, Soon());
    ASSERT_TRUE(connection.ok()) << connection.status();
    connection_ = *std::move(connection);
    Exec("INSERT INTO metrics.collector (id, collector_id) VALUES (1, 'c1')");
    for (int source = 1; source <= 3; ++source) {
      Exec("INSERT INTO metrics.source (id, uuid, name, collector_id) VALUES ($1, md5($2)::uuid, $2, 1)",
           {source, absl::StrCat("db", source)});
    }
  }

  pg::Result Exec(const std::string& sql, const pg::Params& params = {}) {
    auto result = connection_->Exec(sql, params, Soon());
    EXPECT_TRUE(result.ok()) << sql << ": " << result.status();
    return result.ok() ? *std::move(result) : pg::Result();
  }
  std::string Value(const std::string& sql, const pg::Params& params = {}) {
    const pg::Result result = Exec(sql, params);
    return result.rows() == 0 ? "no row" : result[0].IsNull(0) ? "NULL" : std::string(result[0].Text(0));
  }
  std::string Lines(const std::string& sql) {
    std::vector<std::string> lines;
    for (const pg::Row row : Exec(sql)) lines.emplace_back(row.IsNull(0) ? "NULL" : row.Text(0));
    return absl::StrJoin(lines, "\n");
  }
  void MakePartitions(int64_t from_us, int64_t to_us) {
    Exec(
        "SELECT metrics.ensure_block_partitions((metrics.time_of($1) AT TIME ZONE 'UTC')::date + 31, "
        "(metrics.time_of($2) AT TIME ZONE 'UTC')::date + 31)",
        {from_us, to_us});
  }

  testing::TempPostgres* server_ = nullptr;
  std::string url_;
  std::unique_ptr<pg::CopyConnection> connection_;
};

// Lists of every form: each transform, runs, exceptions, all widths, sums that wrap.
inline std::vector<int64_t> RandomInts(std::mt19937_64& random, size_t count) {
  const uint64_t form = random() % 12;
  const int bits = static_cast<int>(random() % 64) + 1;
  const uint64_t mask = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
  std::vector<int64_t> values(count);
  auto last = static_cast<int64_t>(random() & mask);
  for (int64_t& value : values) {
    const uint64_t small = random() & mask & 0xff;
    switch (form) {
      case 0:
        value = static_cast<int64_t>(random() & mask);
        break;
      case 1:
        value = -static_cast<int64_t>(random() & mask >> 1);
        break;
      case 2:
        value = static_cast<int64_t>(random() & mask >> 1) * (random() % 2 == 0 ? 1 : -1);
        break;
      case 3:  // steps
        value = last = static_cast<int64_t>(static_cast<uint64_t>(last) + 60'000'000 + small);
        break;
      case 4:  // walk
        value = last = static_cast<int64_t>(static_cast<uint64_t>(last) + small - 128);
        break;
      case 5:  // mostly zero
        value = random() % 50 == 0 ? static_cast<int64_t>(random() & mask) : 0;
        break;
      case 6:  // few wide ones
        value = static_cast<int64_t>(random() % 20 == 0 ? random() & mask : small);
        break;
      case 7:  // both ends
        value = random() % 2 == 0 ? INT64_MIN + static_cast<int64_t>(small) : INT64_MAX - static_cast<int64_t>(small);
        break;
      case 8:
        value = last;
        break;
      case 9:  // zeros between others
        value = random() % 2 == 0 ? 0 : static_cast<int64_t>(random() & mask);
        break;
      case 10:  // multiples
        value = 1'000 * static_cast<int64_t>(random() % 4 == 0 ? 0 : random() & mask & 0xffff'ffff) - 3'000;
        break;
      default:  // wide walk
        value = last = static_cast<int64_t>(static_cast<uint64_t>(last) + (random() & mask));
        break;
    }
  }
  return values;
}

inline columns::Column RandomColumn(std::mt19937_64& random, columns::Type type, size_t rows) {
  columns::Column column(type);
  const uint64_t form = random() % 5;
  if (type == columns::Type::kDouble) {
    constexpr double kSpecial[] = {0.0,
                                   -0.0,
                                   1.0,
                                   -1.5,
                                   std::numeric_limits<double>::infinity(),
                                   -std::numeric_limits<double>::infinity(),
                                   std::numeric_limits<double>::quiet_NaN(),
                                   std::numeric_limits<double>::denorm_min(),
                                   -std::numeric_limits<double>::denorm_min(),
                                   std::numeric_limits<double>::min(),
                                   std::numeric_limits<double>::max(),
                                   2.2250738585072009e-308,
                                   1e-300,
                                   0.1};
    for (size_t i = 0; i < rows; ++i) {
      double value = static_cast<double>(random() % 100'000) / 1000;
      if (form == 1) value = kSpecial[random() % std::size(kSpecial)];
      if (form == 2) value = std::bit_cast<double>(random());
      if (form == 3) value = std::sqrt(static_cast<double>(random() % 9));
      if (form == 4) value = static_cast<double>(random() % 4000) / 60;
      column.doubles.push_back(std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value);
    }
  } else if (type == columns::Type::kText) {
    column.texts = {"", "a", "größe", "a,\"b\"\\{}", "NULL", "line\nend", "\xf0\x9f\x90\x98"};
    // What two of them share ends within a character.
    for (int i = 0; form < 2 && i < 20; ++i)
      column.texts.push_back(absl::StrCat("größe_der_größe", i % 2 ? "ö" : "ü", i));
    for (size_t i = 0; i < rows; ++i) column.ints.push_back(static_cast<int64_t>(random() % column.texts.size()));
  } else if (type == columns::Type::kBool) {
    for (size_t i = 0; i < rows; ++i) column.ints.push_back(static_cast<int64_t>(random() % 2));
  } else {
    column.ints = RandomInts(random, rows);
    const std::vector<int64_t> few = {static_cast<int64_t>(random()), static_cast<int64_t>(random()), 5, INT64_MIN};
    for (int64_t& value : column.ints) value = form < 2 ? few[random() % few.size()] : value;
  }
  const uint64_t nulls = random() % 4;
  if (nulls == 0) return column;
  column.nulls.resize(rows);
  for (uint8_t& null : column.nulls) null = nulls == 3 || random() % 5 == 0 ? 1 : 0;
  return column;
}

// What SQL shows of one value, in hexadecimal where bytes matter.
inline std::string Shown(const columns::Column& column, size_t row) {
  if (column.IsNull(row)) return "NULL";
  if (column.type == columns::Type::kText) return absl::BytesToHexString(column.Text(row));
  if (column.type == columns::Type::kDouble)
    return absl::StrCat(absl::Hex(std::bit_cast<uint64_t>(column.doubles[row]), absl::kZeroPad16));
  return absl::StrCat(column.ints[row]);
}

}  // namespace pga::storage
