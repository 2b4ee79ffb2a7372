#include "services/collector/mounts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/mutex.h"
#include "libs/testing/wait_until.h"

namespace pga::collector {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

TEST(Mounts, RealFilesystemsOnce) {
  const auto mounts = ParseMounts(
      "proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw 0 0\n/dev/sda1 /var/lib/docker ext4 rw 0 0\n"
      "tmpfs /run tmpfs rw 0 0\nnas:/a /mnt/with\\040blank nfs4 rw 0 0\n");
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_EQ(mounts[0].path, "/");
  EXPECT_EQ(mounts[1].path, "/mnt/with blank");
  EXPECT_EQ(ParseMounts("overlay / overlay rw 0 0\n").size(), 1u);
}

// statvfs that waits for a word where a path hangs.
struct Server {
  absl::Mutex mutex;
  bool away ABSL_GUARDED_BY(mutex) = true;

  bool Answer(const std::string& path) {
    absl::MutexLock lock(&mutex);
    if (path == "/host/slow")
      mutex.Await(absl::Condition(
          +[](bool* value) { return !*value; }, &away));
    return path != "/host/broken";
  }
  void Return() {
    absl::MutexLock lock(&mutex);
    away = false;
  }
};

std::vector<std::string> Paths(const MountProbe::Round& round) {
  std::vector<std::string> paths;
  for (const MountAnswer& answer : round.answers()) paths.push_back(answer.mount.path);
  return paths;
}

TEST(MountProbe, AMountThatAnswersLateBelongsToItsOwnReading) {
  auto server = std::make_shared<Server>();
  MountProbe probe([server](const std::string& path, struct statvfs*) { return server->Answer(path); });
  const std::vector<Mount> mounts = {
      {"a", "/fast", "ext4"}, {"b", "/broken", "ext4"}, {"c", "/slow", "nfs4"}, {"d", "/last", "ext4"}};
  const auto first = probe.Ask(mounts, "/host");
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return Paths(**first).size() == 1; }));
  EXPECT_FALSE((*first)->finished());
  // The one that hangs is left out; those behind it are asked.
  const auto second = probe.Ask(mounts, "/host");
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return (*second)->finished(); }));
  EXPECT_THAT(Paths(**second), ElementsAre("/fast", "/last"));
  server->Return();
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return (*first)->finished(); }));
  EXPECT_THAT(Paths(**second), ElementsAre("/fast", "/last"));
  const auto third = probe.Ask(mounts, "/host");
  ASSERT_TRUE(third.ok()) << third.status();
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return (*third)->finished(); }));
  EXPECT_THAT(Paths(**third), UnorderedElementsAre("/fast", "/slow", "/last"));
}

TEST(MountProbe, GivesUpWhileManyMountsHang) {
  auto server = std::make_shared<Server>();
  MountProbe probe([server](const std::string&, struct statvfs*) { return server->Answer("/host/slow"); });
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(probe.Ask({{"a", std::to_string(i), "nfs4"}}, "").ok());
  }
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return !probe.Ask({}, "").ok(); }));
  EXPECT_EQ(probe.Ask({}, "").status().code(), absl::StatusCode::kDeadlineExceeded);
  server->Return();
  EXPECT_TRUE(pga::testing::WaitUntil([&] { return probe.Ask({}, "").ok(); }));
}

}  // namespace
}  // namespace pga::collector
