#include "services/ingest/refusal_limit.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "libs/clock/fake_clock.h"

namespace pga::ingest {
namespace {

TEST(RefusalLimit, HearsACallerAgainAsTimePasses) {
  clock::FakeClock clock;
  RefusalLimit limit(&clock, 3, 6);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(limit.Wait("a"), absl::ZeroDuration());
    limit.Refused("a");
  }
  EXPECT_EQ(limit.Wait("a"), absl::Seconds(10));
  EXPECT_EQ(limit.Wait("b"), absl::ZeroDuration());
  clock.Advance(absl::Seconds(11));
  EXPECT_EQ(limit.Wait("a"), absl::ZeroDuration());
  limit.Refused("a");
  EXPECT_GT(limit.Wait("a"), absl::ZeroDuration());
  clock.Advance(absl::Hours(1));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(limit.Wait("a"), absl::ZeroDuration());
    limit.Refused("a");
  }
  EXPECT_GT(limit.Wait("a"), absl::ZeroDuration());
}

TEST(RefusalLimit, KeepsABoundedNumberOfCallers) {
  clock::FakeClock clock;
  RefusalLimit limit(&clock, 1, 1, 100);
  for (int i = 0; i < 1000; ++i) limit.Refused(absl::StrCat("caller ", i));
  EXPECT_EQ(limit.Wait("caller 0"), absl::ZeroDuration());
  EXPECT_GT(limit.Wait("caller 999"), absl::ZeroDuration());
}

}  // namespace
}  // namespace pga::ingest
