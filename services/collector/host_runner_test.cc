#include "services/collector/host_runner.h"

#include <gtest/gtest.h>

#include "libs/status/testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;

TEST(HostCpu, ReadsProcStat) {
  const auto catalog = *catalog::Catalog::Builtin();
  const MetricShape shape(*catalog->Find("host_cpu"));
  Reading reading(shape);
  ASSERT_THAT(FillHostCpu("cpu  100 2 30 4000 5 6 7 8 0 0\ncpu0 50 1 15 2000 2 3 3 4\ncpu1 50 1 15 2000 3 3 4 4\nctxt "
                          "777\nbtime 1700000000\n",
                          "0.50 0.25 0.10 1/100 4242\n", 100, &reading),
              IsOk());
  EXPECT_EQ(reading.Int(0, shape.Find("user_us")), 1000000);
  EXPECT_EQ(reading.Int(0, shape.Find("idle_us")), 40000000);
  EXPECT_EQ(reading.Int(0, shape.Find("steal_us")), 80000);
  EXPECT_EQ(reading.Int(0, shape.Find("context_switches")), 777);
  EXPECT_EQ(reading.Int(0, shape.Find("cpus")), 2);
  EXPECT_DOUBLE_EQ(reading.Double(0, shape.Find("load_5m")), 0.25);
  reading.Clear();
  EXPECT_THAT(FillHostCpu("", "", 100, &reading), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(HostMemory, ReadsMeminfo) {
  const auto catalog = *catalog::Catalog::Builtin();
  const MetricShape shape(*catalog->Find("host_memory"));
  Reading reading(shape);
  ASSERT_THAT(FillHostMemory("MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable: 20 kB\nSwapTotal: 0 kB\n",
                             "pswpin 5\npswpout 6\n", &reading),
              IsOk());
  EXPECT_EQ(reading.Int(0, shape.Find("total_bytes")), 1024000);
  EXPECT_EQ(reading.Int(0, shape.Find("available_bytes")), 20480);
  EXPECT_EQ(reading.Int(0, shape.Find("swap_out_pages")), 6);
  EXPECT_TRUE(reading.IsNull(0, shape.Find("cached_bytes")));
}

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
