#include "services/collector/host_runner.h"

#include <gtest/gtest.h>

namespace pga::collector {
namespace {

TEST(Mounts, RealFilesystemsOnce) {
  const auto mounts = ParseMounts(
      "proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw 0 0\n/dev/sda1 /var/lib/docker ext4 rw 0 0\n"
      "tmpfs /run tmpfs rw 0 0\nnas:/a /mnt/with\\040blank nfs4 rw 0 0\n");
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_EQ(mounts[0].path, "/");
  EXPECT_EQ(mounts[1].path, "/mnt/with blank");
  EXPECT_EQ(ParseMounts("overlay / overlay rw 0 0\n").size(), 1u);
}

}  // namespace
}  // namespace pga::collector
