#include "libs/storage/migrations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

using ::testing::HasSubstr;

TEST(Migrations, SecondRunChangesNothing) {
  auto url = testing::SharedPostgres()->CreateFreshDatabase("migrate");
  ASSERT_TRUE(url.ok());
  for (const Database database : {Database::kMetadata, Database::kMetrics}) {
    std::vector<std::string> lines;
    MigrateOptions options;
    options.progress = [&](const std::string& line) { lines.push_back(line); };
    ASSERT_EQ(MigrateUp(*url, database, options), absl::OkStatus());
    for (auto& line : lines) printf("%s\n", line.c_str());
    lines.clear();
    ASSERT_EQ(MigrateUp(*url, database, options), absl::OkStatus());
    for (auto& line : lines) printf("%s\n", line.c_str());
  }
}

}  // namespace
}  // namespace pga::storage
