#include "libs/testing/subprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "libs/clock/steady.h"
#include "libs/testing/temp_dir.h"

namespace pga::testing {
namespace {

using ::testing::HasSubstr;

TEST(Subprocess, ReportsExitCodeAndOutput) {
  const auto outcome = RunCommand({.argv = {"sh", "-c", "echo out; echo err >&2; exit 3"}});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->exit_code, 3);
  EXPECT_EQ(outcome->output, "out\nerr\n");
}

TEST(Subprocess, PassesEnvironment) {
  const auto outcome = RunCommand({.argv = {"sh", "-c", "echo $COLOUR"}, .env = {{"COLOUR", "blue"}}});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->output, "blue\n");
}

TEST(Subprocess, MissingProgramIsAnError) {
  EXPECT_FALSE(RunCommand({.argv = {"/nonexistent/program"}}).ok());
}

TEST(Subprocess, WaitHasALimitAndDestructorKills) {
  pid_t pid = 0;
  {
    auto process = Subprocess::Start({.argv = {"sleep", "1000"}});
    ASSERT_TRUE(process.ok()) << process.status();
    pid = (*process)->pid();
    EXPECT_EQ((*process)->Wait(clock::SteadyNow() + absl::Milliseconds(10)).status().code(),
              absl::StatusCode::kDeadlineExceeded);
  }
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST(Subprocess, WaitForOutputNoticesAnEarlyEnd) {
  ScopedTempDir dir;
  auto process = Subprocess::Start({.argv = {"sh", "-c", "echo gone"}, .output_path = dir / "out"});
  ASSERT_TRUE(process.ok()) << process.status();
  const auto status = (*process)->WaitForOutput("ready", clock::SteadyNow() + absl::Seconds(10));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("gone"));
}

}  // namespace
}  // namespace pga::testing
