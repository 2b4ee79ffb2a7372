#include "libs/rpc/runtime.h"

#include <gtest/gtest.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/status/testing.h"
#include "libs/testing/loopback_listener.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"

namespace pga::rpc {
namespace {

namespace querypb = pganalytics::query::v1;

// A stopped process: its connections are open, and it says nothing.
TEST(Runtime, ASilentPeerDoesNotHoldTheEndUp) {
  const testing::LoopbackListener silent;
  clock::SteadyTime begun;
  {
    const Runtime runtime;
    auto channel = Connect(absl::StrCat("127.0.0.1:", silent.port()), {});
    ASSERT_THAT(channel, status::IsOk());
    CallOptions options = OwnWork(absl::Milliseconds(300), nullptr);
    options.wait_for_ready = true;
    EXPECT_THAT(Call(*querypb::SystemService::NewStub(*channel), &querypb::SystemService::Stub::GetVersion,
                     querypb::GetVersionRequest(), options),
                status::StatusIs(absl::StatusCode::kDeadlineExceeded));
    channel->reset();
    begun = clock::SteadyNow();
  }
  // The attempt to connect goes on for ten seconds.
  EXPECT_LT(clock::SteadyNow() - begun, absl::Seconds(1));
}

// Handlers run in the reverse order of their registration: this one behind OpenSSL's own, if there were one.
TEST(Runtime, ThreadsThatOutliveMainHaveOpenSslStill) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto end = [] {
    std::atexit([] {
      unsigned char byte = 0;
      _exit(RAND_bytes(&byte, 1) == 1 ? 0 : 1);
    });
    { const Runtime runtime; }
    unsigned char byte = 0;
    std::exit(RAND_bytes(&byte, 1) == 1 ? 2 : 3);
  };
  EXPECT_EXIT(end(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace pga::rpc
