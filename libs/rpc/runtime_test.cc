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

// The end of a program that was connecting to a port: how long it takes.
absl::Duration EndWhileConnecting(int port, const ChannelOptions& options) {
  clock::SteadyTime begun;
  {
    const Runtime runtime;
    auto channel = Connect(absl::StrCat("127.0.0.1:", port), {}, options);
    EXPECT_THAT(channel, status::IsOk());
    CallOptions call = OwnWork(absl::Milliseconds(300), nullptr);
    call.wait_for_ready = true;
    EXPECT_THAT(Call(*querypb::SystemService::NewStub(*channel), &querypb::SystemService::Stub::GetVersion,
                     querypb::GetVersionRequest(), call),
                status::StatusIs(absl::StatusCode::kDeadlineExceeded));
    channel->reset();
    begun = clock::SteadyNow();
  }
  return clock::SteadyNow() - begun;
}

// A stopped process: its connections are open, and it says nothing.
TEST(Runtime, ASilentPeerDoesNotHoldTheEndUp) {
  const testing::LoopbackListener silent;
  EXPECT_LT(EndWhileConnecting(silent.port(), {.connect_timeout = absl::Seconds(10)}), absl::Seconds(1));
}

TEST(Runtime, ThePauseBeforeTheNextAttemptDoesNotHoldTheEndUp) {
  int nobody = 0;
  {
    const testing::LoopbackListener gone;
    nobody = gone.port();
  }
  EXPECT_LT(EndWhileConnecting(nobody, {.first_backoff = absl::Seconds(10)}), absl::Seconds(1));
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
