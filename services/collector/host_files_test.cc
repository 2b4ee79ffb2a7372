// Trees of testdata/host: v1 was recorded on a machine with cgroup version 1, its groups as in a container without a
// namespace of its own; v2 is a service of systemd; v2-container a container with a namespace.
#include "services/collector/host_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "libs/catalog/catalog.h"
#include "libs/status/testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;

// The tests look at trees as if they were the machine's own /proc/self: a process in them is number 1.
class HostTree : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* source = std::getenv("PGA_SOURCE_DIR");
    if (source == nullptr) GTEST_SKIP() << "PGA_SOURCE_DIR is not set; ctest sets it";
    copy_ = std::filesystem::path(::testing::TempDir()) / ("host-" + std::to_string(getpid()));
    std::filesystem::remove_all(copy_);
    std::filesystem::copy(std::filesystem::path(source) / "services/collector/testdata/host", copy_,
                          std::filesystem::copy_options::recursive);
    for (const auto& tree : std::filesystem::directory_iterator(copy_)) {
      const auto proc = tree.path() / "proc";
      std::filesystem::rename(proc / "self", proc / "1");
      if (std::filesystem::exists(proc / "net")) std::filesystem::rename(proc / "net", proc / "1" / "net");
    }
  }
  void TearDown() override { std::filesystem::remove_all(copy_); }

  HostFiles Tree(const char* name) const { return HostFiles((copy_ / name).string() + "/"); }

  // A reading of `metric`, kept until the next one.
  Reading* Of(const char* metric) {
    shape_ = std::make_unique<MetricShape>(*(*catalog::Catalog::Builtin())->Find(metric));
    reading_ = std::make_unique<Reading>(*shape_);
    return reading_.get();
  }
  int64_t Int(const char* column, size_t row = 0) const { return reading_->Int(row, shape_->Find(column)); }
  double Double(const char* column, size_t row = 0) const { return reading_->Double(row, shape_->Find(column)); }
  bool IsNull(const char* column, size_t row = 0) const { return reading_->IsNull(row, shape_->Find(column)); }
  std::string Text(const char* column, size_t row = 0) const {
    return std::string(reading_->Text(row, shape_->Find(column)));
  }

  std::filesystem::path copy_;
  std::unique_ptr<MetricShape> shape_;
  std::unique_ptr<Reading> reading_;
};

TEST_F(HostTree, Processors) {
  ASSERT_THAT(FillHostCpu(Tree("v1"), 100, Of("host_cpu")), IsOk());
  EXPECT_EQ(Int("user_us"), 34514790000);
  EXPECT_EQ(Int("steal_us"), 271710000);
  EXPECT_EQ(Int("guest_us"), 0);
  EXPECT_EQ(Int("context_switches"), 110105888);
  EXPECT_EQ(Int("processes_created"), 1118995);
  EXPECT_EQ(Int("processes_running"), 21);
  EXPECT_EQ(Int("cpus"), 2);
  EXPECT_DOUBLE_EQ(Double("load_5m"), 12.36);
  ASSERT_THAT(FillHostCpuCores(Tree("v1"), 100, Of("host_cpu_core")), IsOk());
  ASSERT_EQ(reading_->rows(), 2u);
  EXPECT_EQ(Int("cpu", 1), 1);
  EXPECT_EQ(Int("system_us", 1), 4370830000);
  EXPECT_THAT(FillHostCpu(Tree("v2"), 100, Of("host_cpu")), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(HostTree, MemoryAndPressure) {
  ASSERT_THAT(FillHostMemory(Tree("v1"), Of("host_memory")), IsOk());
  EXPECT_EQ(Int("total_bytes"), 24684084LL * 1024);
  EXPECT_EQ(Int("active_bytes"), 5934012LL * 1024);
  EXPECT_EQ(Int("page_faults"), 1341819411);
  EXPECT_EQ(Int("scanned_pages"), 2320180 + 15104);
  EXPECT_EQ(Int("oom_kills"), 0);
  ASSERT_THAT(FillHostPressure(Tree("v1"), Of("host_pressure")), IsOk());
  ASSERT_EQ(reading_->rows(), 6u);
  EXPECT_EQ(Text("resource"), "cpu");
  EXPECT_EQ(Text("degree"), "some");
  EXPECT_EQ(Int("stalled_us"), 24466425200);
  EXPECT_DOUBLE_EQ(Double("avg_300s"), 93.34);
  EXPECT_THAT(FillHostPressure(Tree("v2"), Of("host_pressure")), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(HostTree, DisksAndNetwork) {
  ASSERT_THAT(FillHostDisks(Tree("v1"), Of("host_disk")), IsOk());
  ASSERT_EQ(reading_->rows(), 1u);
  EXPECT_EQ(Text("device"), "vda");
  EXPECT_EQ(Int("reads"), 2603541);
  EXPECT_EQ(Int("write_bytes"), 844670776LL * 512);
  EXPECT_EQ(Int("busy_time_us"), 861788000);
  EXPECT_EQ(Int("discards"), 1679573);
  EXPECT_EQ(Int("discard_bytes"), 446291232LL * 512);
  EXPECT_EQ(Int("flush_time_us"), 83937000);
  ASSERT_THAT(FillHostNetwork(Tree("v1"), Of("host_network")), IsOk());
  ASSERT_EQ(reading_->rows(), 2u) << "an interface without traffic is left out";
  EXPECT_EQ(Text("interface", 1), "eth0");
  EXPECT_EQ(Int("sent_packets", 1), 38197);
  ASSERT_THAT(FillHostTcp(Tree("v1"), Of("host_tcp")), IsOk());
  EXPECT_EQ(Int("established"), 499);
  EXPECT_EQ(Int("segments_retransmitted"), 46740);
  EXPECT_FALSE(IsNull("listen_overflows"));
}

TEST_F(HostTree, GroupOfVersionOneInAContainerWithoutANamespace) {
  ASSERT_THAT(FillHostCgroup(Tree("v1"), Of("host_cgroup")), IsOk());
  EXPECT_EQ(Int("cgroup_version"), 1);
  EXPECT_EQ(Text("cgroup_path"), "/");
  EXPECT_DOUBLE_EQ(Double("cpu_limit"), 1.5);
  EXPECT_EQ(Int("cpus_allowed"), 3);
  EXPECT_EQ(Int("cpu_throttled_periods"), 37);
  EXPECT_EQ(Int("cpu_throttled_us"), 4200000);
  EXPECT_EQ(Int("cpu_usage_us"), 123456789);
  EXPECT_EQ(Int("memory_limit_bytes"), 536870912);
  EXPECT_EQ(Int("memory_working_bytes"), 200000000);
  EXPECT_EQ(Int("swap_limit_bytes"), 268435456);
  EXPECT_EQ(Int("oom_kills"), 2);
  EXPECT_EQ(Int("pids_limit"), 200);
}

TEST_F(HostTree, GroupOfVersionTwoHasTheLeastLimitAboveIt) {
  ASSERT_THAT(FillHostCgroup(Tree("v2"), Of("host_cgroup")), IsOk());
  EXPECT_EQ(Int("cgroup_version"), 2);
  EXPECT_EQ(Text("cgroup_path"), "/system.slice/pganalytics-collector.service");
  EXPECT_DOUBLE_EQ(Double("cpu_limit"), 2.0);
  EXPECT_EQ(Int("cpus_allowed"), 8);
  EXPECT_EQ(Int("cpu_throttled_us"), 70000);
  EXPECT_EQ(Int("memory_limit_bytes"), 268435456);
  EXPECT_EQ(Int("memory_high_bytes"), 402653184);
  EXPECT_EQ(Int("memory_working_bytes"), 110000000);
  EXPECT_EQ(Int("swap_limit_bytes"), 0);
  EXPECT_EQ(Int("memory_limit_hits"), 3);
  EXPECT_EQ(Int("pids"), 12);
  EXPECT_EQ(Int("cpu_stalled_us"), 90000);
  EXPECT_EQ(Int("io_stalled_us"), 600);
}

TEST_F(HostTree, AContainerSeesItsOwnLimits) {
  ASSERT_THAT(FillHostCgroup(Tree("v2-container"), Of("host_cgroup")), IsOk());
  EXPECT_EQ(Text("cgroup_path"), "/");
  EXPECT_DOUBLE_EQ(Double("cpu_limit"), 0.5);
  EXPECT_EQ(Int("memory_limit_bytes"), 134217728);
  EXPECT_EQ(Int("memory_working_bytes"), 0) << "never below nothing";
  EXPECT_TRUE(IsNull("pids_limit"));
  EXPECT_TRUE(IsNull("memory_peak_bytes"));
}

TEST_F(HostTree, ThisMachineIsRead) {
  const HostFiles own("/");
  EXPECT_TRUE(own.is_own());
  EXPECT_THAT(FillHostCpu(own, sysconf(_SC_CLK_TCK), Of("host_cpu")), IsOk());
  EXPECT_GT(Int("idle_us"), 0);
  EXPECT_THAT(FillHostMemory(own, Of("host_memory")), IsOk());
  EXPECT_GT(Int("total_bytes"), 0);
  EXPECT_THAT(FillHostNetwork(own, Of("host_network")), IsOk());
}

}  // namespace
}  // namespace pga::collector
