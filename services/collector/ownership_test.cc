#include "services/collector/ownership.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "libs/frame/uuid.h"

namespace pga::collector {
namespace {

class GrantFileTest : public ::testing::Test {
 protected:
  GrantFileTest() {
    std::string path = ::testing::TempDir() + "/pga_grants_XXXXXX";
    directory_ = mkdtemp(path.data());
  }
  ~GrantFileTest() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
};

// A collector that waits for a source and is started again while registry is away does not take it for its own.
TEST_F(GrantFileTest, KeepsWhetherTheSourceIsToBeRead) {
  const GrantFile file(directory_);
  std::map<std::string, Grant> grants;
  grants["db1"] = {.source_id = frame::RandomUuid(), .owner_epoch = 3, .owned = true};
  grants["a standby of db1: 5432"] = {.source_id = frame::RandomUuid(), .owner_epoch = 7, .owned = false};
  ASSERT_TRUE(file.Store(grants).ok());
  EXPECT_EQ(GrantFile(directory_).Load(), grants);
}

TEST_F(GrantFileTest, LinesThatCannotBeReadAreNoGrants) {
  const GrantFile file(directory_);
  ASSERT_TRUE(file.Store({{"db1", {.source_id = frame::RandomUuid(), .owner_epoch = 1, .owned = true}}}).ok());
  const std::string id = frame::FormatUuid(frame::RandomUuid());
  std::ofstream(directory_ + "/sources", std::ios::app) << "no-uuid 1 owned db2\n"
                                                        << id << " one owned db3\n"
                                                        << id << " 1 owned\n"
                                                        << id << " 1 perhaps db4\n"
                                                        << id;
  const auto grants = file.Load();
  ASSERT_EQ(grants.size(), 1U);
  EXPECT_EQ(grants.begin()->first, "db1");
}

}  // namespace
}  // namespace pga::collector
