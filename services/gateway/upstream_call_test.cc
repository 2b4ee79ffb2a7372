// Calls to services end, whatever meets whatever.

#include "services/gateway/upstream_call.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "libs/clock/steady.h"
#include "services/gateway/gateway_testing.h"

namespace pga::gateway {
namespace {

UpstreamRequest Health() {
  UpstreamRequest request;
  request.grpc_path = "/pganalytics.query.v1.SystemService/GetHealth";
  request.deadline = clock::SteadyNow() + absl::Seconds(60);
  return request;
}

// A client that hangs up, a deadline or a stop of the process may meet the answer at any of its steps, also between its
// arrival and the word of it.
TEST(UpstreamCall, EndsWhenItsAnswerMeetsItsCancellation) {
  StandIns stand_ins;
  const auto channel = stand_ins.server->InProcessChannel();
  UpstreamCalls calls;
  for (int i = 0; i < 4'000; ++i) {
    UpstreamRequest request = Health();
    request.streaming = i % 2 == 0;
    const auto call = UpstreamCall::Start(channel, std::move(request), &calls, [] {});
    const clock::SteadyTime meets = clock::SteadyNow() + absl::Microseconds(i / 2 % 300);
    while (clock::SteadyNow() < meets) {
    }
    call->Cancel();
  }
  EXPECT_TRUE(calls.AwaitIdle(clock::SteadyNow() + absl::Seconds(20))) << calls.running() << " calls never end";
}

}  // namespace
}  // namespace pga::gateway
