#include "libs/status/status.h"

#include <gtest/gtest.h>

#include <memory>

#include "libs/status/testing.h"

namespace pga::status {
namespace {

using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<int> Half(int value) {
  if (value % 2 != 0) return absl::InvalidArgumentError("odd");
  return value / 2;
}

absl::StatusOr<int> Quarter(int value) {
  PGA_ASSIGN_OR_RETURN(const int half, Half(value));
  PGA_ASSIGN_OR_RETURN(int quarter, Half(half));
  return quarter;
}

absl::Status CheckTwice(int value) {
  PGA_RETURN_IF_ERROR(Half(value));
  PGA_RETURN_IF_ERROR(Half(value / 2).status());
  return absl::OkStatus();
}

TEST(Macros, PropagateTheFirstFailure) {
  EXPECT_THAT(Quarter(8), IsOkAndHolds(2));
  EXPECT_THAT(Quarter(8), IsOkAndHolds(Gt(1)));
  EXPECT_THAT(Quarter(6), StatusIs(absl::StatusCode::kInvalidArgument, "odd"));
  EXPECT_THAT(CheckTwice(4), IsOk());
  EXPECT_THAT(CheckTwice(3), Not(IsOk()));
  EXPECT_THAT(CheckTwice(6), Not(IsOk()));
}

TEST(Macros, MoveOnlyValues) {
  const auto get = []() -> absl::StatusOr<std::unique_ptr<int>> { return std::make_unique<int>(3); };
  const auto use = [&]() -> absl::StatusOr<int> {
    PGA_ASSIGN_OR_RETURN(std::unique_ptr<int> pointer, get());
    return *pointer;
  };
  EXPECT_THAT(use(), IsOkAndHolds(3));
}

TEST(Annotate, PrefixesMessageAndKeepsDetails) {
  absl::Status status = WithRetryAfter(WithReason(absl::UnavailableError("gone"), "GONE"), absl::Milliseconds(1500));
  status = Annotate(status, "reading users");
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, "reading users: gone"));
  EXPECT_EQ(ReasonOf(status), "GONE");
  EXPECT_EQ(RetryAfterOf(status), absl::Milliseconds(1500));
  EXPECT_THAT(Annotate(absl::OkStatus(), "x"), IsOk());
}

TEST(Details, AbsentOnPlainStatusAndOnOk) {
  EXPECT_EQ(ReasonOf(absl::InternalError("x")), "");
  EXPECT_EQ(RetryAfterOf(absl::InternalError("x")), absl::ZeroDuration());
  EXPECT_EQ(ReasonOf(WithReason(absl::OkStatus(), "R")), "");
  EXPECT_EQ(RetryAfterOf(WithRetryAfter(absl::InternalError("x"), -absl::Seconds(1))), absl::ZeroDuration());
}

}  // namespace
}  // namespace pga::status
