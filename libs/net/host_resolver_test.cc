#include "libs/net/host_resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"

namespace pga::net {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(20);
}

// Answers "quick" with an address, and every other name when it is let go.
struct Held {
  HostResolver::LookUp LookUp() {
    return [state = state](const std::string& host) -> absl::StatusOr<HostResolver::Addresses> {
      ++state->calls;
      if (host != "quick") state->go.WaitForNotification();
      if (host == "nowhere") return absl::NotFoundError("nowhere");
      return HostResolver::Addresses{"192.0.2.1"};
    };
  }
  ~Held() { Go(); }
  void Go() {
    if (!state->go.HasBeenNotified()) state->go.Notify();
  }
  struct State {
    absl::Notification go;
    std::atomic<int> calls{0};
  };
  // Threads of a resolver may outlive it.
  std::shared_ptr<State> state = std::make_shared<State>();
};

TEST(HostResolver, AddressesAreTheirOwnAnswer) {
  Held held;
  HostResolver resolver(1, 1, held.LookUp());
  for (const char* address : {"192.0.2.7", "2001:db8::1", "::1", "fe80::1%lo"}) {
    const auto addresses = resolver.Resolve(address, clock::SteadyTime::InfinitePast());
    ASSERT_TRUE(addresses.ok()) << addresses.status();
    EXPECT_THAT(*addresses, ElementsAre(address));
  }
  EXPECT_EQ(held.state->calls, 0);
}

TEST(HostResolver, TheSystemKnowsLocalhost) {
  const auto addresses = HostResolver::System().Resolve("localhost", Soon());
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  EXPECT_THAT(*addresses, Contains(AnyOf("127.0.0.1", "::1")));
}

// A look-up that never ends: whoever waits leaves at the deadline, and the resolver goes without it.
TEST(HostResolver, LookUpThatDoesNotEndHoldsNobody) {
  Held held;
  {
    HostResolver resolver(2, 16, held.LookUp());
    const auto silent = resolver.Resolve("silent", clock::SteadyNow() + absl::Milliseconds(20));
    EXPECT_EQ(silent.status().code(), absl::StatusCode::kDeadlineExceeded) << silent.status();
    // The name takes one thread, however many ask for it.
    for (int i = 0; i < 3; ++i) {
      EXPECT_FALSE(resolver.Resolve("silent", clock::SteadyNow() + absl::Milliseconds(1)).ok());
    }
    const auto quick = resolver.Resolve("quick", Soon());
    EXPECT_TRUE(quick.ok()) << quick.status();
    EXPECT_EQ(held.state->calls, 2);
  }
  EXPECT_FALSE(held.state->go.HasBeenNotified());
}

TEST(HostResolver, CallersOfANameShareItsAnswer) {
  Held held;
  HostResolver resolver(1, 16, held.LookUp());
  std::atomic<int> answers{0};
  absl::Notification last;
  for (int i = 0; i < 4; ++i) {
    resolver.Begin("silent", [&](const absl::StatusOr<HostResolver::Addresses>& addresses) {
      EXPECT_TRUE(addresses.ok());
      if (++answers == 4) last.Notify();
    });
  }
  held.Go();
  last.WaitForNotification();
  EXPECT_EQ(held.state->calls, 1);
}

TEST(HostResolver, WaitingIsBounded) {
  Held held;
  HostResolver resolver(1, 2, held.LookUp());
  const auto never = [](const absl::StatusOr<HostResolver::Addresses>&) { ADD_FAILURE() << "forgotten"; };
  const uint64_t first = resolver.Begin("silent", never);
  const uint64_t second = resolver.Begin("other", never);
  const auto third = resolver.Resolve("third", Soon());
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted) << third.status();
  resolver.Forget(first);
  resolver.Forget(second);
  resolver.Forget(second);
  held.Go();
  const auto nowhere = resolver.Resolve("nowhere", Soon());
  EXPECT_EQ(nowhere.status().code(), absl::StatusCode::kNotFound) << nowhere.status();
  EXPECT_LE(held.state->calls, 2) << "what nobody waits for is not looked up";
}

}  // namespace
}  // namespace pga::net
