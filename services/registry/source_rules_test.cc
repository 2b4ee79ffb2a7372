#include "services/registry/source_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/frame/uuid.h"
#include "libs/status/testing.h"

namespace pga::registry {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
constexpr char kId[] = "0b5a3c1e-7d34-4a0e-9d5a-2f0f9f0c1a01";

// Owned by "one" in epoch 3, with an interval of a minute, renewed just now.
Source Owned() {
  Source source;
  source.id = kId;
  source.owner = "one";
  source.owner_epoch = 3;
  source.owned_since = kNow - absl::Hours(5);
  source.renewed_at = kNow;
  source.interval = absl::Minutes(1);
  source.identifiers = {77};
  source.address = "db1:5432";
  source.up = true;
  source.since = kNow - absl::Hours(1);
  return source;
}

SourceReport Held(int64_t epoch) {
  SourceReport report;
  report.name = "db";
  report.identifier = 77;
  if (epoch > 0) {
    report.held_id = *frame::ParseUuid(kId);
    report.held_epoch = epoch;
  }
  return report;
}

// Asked all the time for `age`.
Watcher For(absl::Duration age) {
  return {kNow - age, kNow - absl::Seconds(15)};
}

TEST(Decide, OwnerKeepsItsEpoch) {
  const Decision decision = Decide(Owned(), "one", Held(3), std::nullopt, kNow);
  EXPECT_EQ(decision.kind, Standing::kOwner);
  EXPECT_EQ(decision.owner_epoch, 3);
}

TEST(Decide, OwnerWithoutBaselinesGetsALaterEpoch) {
  EXPECT_EQ(Decide(Owned(), "one", Held(0), std::nullopt, kNow).owner_epoch, 4);
}

TEST(Decide, EpochThatTheDatabaseLostIsTakenFromItsOwner) {
  EXPECT_EQ(Decide(Owned(), "one", Held(9), std::nullopt, kNow).owner_epoch, 9);
}

TEST(Decide, OtherCollectorWaitsWhileTheLeaseLasts) {
  Source source = Owned();
  source.renewed_at = kNow - absl::Seconds(59);
  EXPECT_EQ(Decide(source, "two", Held(0), For(absl::Hours(1)), kNow).kind, Standing::kStandby);
  source.renewed_at = kNow - absl::Seconds(61);
  const Decision decision = Decide(source, "two", Held(0), For(absl::Hours(1)), kNow);
  EXPECT_EQ(decision.kind, Standing::kOwner);
  EXPECT_EQ(decision.owner_epoch, 4);
}

// Registry, ingest or the network was away: owner and standby fell silent together.
TEST(Decide, LeaseDoesNotEndBecauseNobodyWasHeard) {
  Source source = Owned();
  source.renewed_at = kNow - absl::Minutes(10);
  // Its first report after the outage, and its next ones until it has asked for a whole lease.
  EXPECT_EQ(Decide(source, "two", Held(0), std::nullopt, kNow).kind, Standing::kStandby);
  EXPECT_EQ(Decide(source, "two", Held(0), Watcher{kNow - absl::Hours(2), kNow - absl::Minutes(10)}, kNow).kind,
            Standing::kStandby);
  EXPECT_EQ(Decide(source, "two", Held(0), For(absl::Seconds(45)), kNow).kind, Standing::kStandby);
  EXPECT_EQ(Decide(source, "two", Held(0), For(absl::Seconds(60)), kNow).kind, Standing::kOwner);
}

TEST(Decide, ReleasedSourcePassesOnAtOnce) {
  Source source = Owned();
  source.renewed_at = absl::InfinitePast();
  EXPECT_EQ(Decide(source, "two", Held(0), std::nullopt, kNow).owner_epoch, 4);
}

TEST(Decide, AnotherServerUnderTheNameIsRefusedWithTheFirst) {
  Source source = Owned();
  source.renewed_at = kNow - absl::Hours(1);
  SourceReport report = Held(0);
  report.identifier = 78;
  const Decision decision = Decide(source, "two", report, For(absl::Hours(1)), kNow);
  EXPECT_EQ(decision.kind, Standing::kRefused);
  EXPECT_THAT(decision.message, HasSubstr("db1:5432, which collector one watches"));
  // Its owner may have upgraded the server.
  EXPECT_EQ(Decide(source, "one", report, std::nullopt, kNow).kind, Standing::kOwner);
  // What a server says of itself is believed where nothing contradicts it.
  report.identifier = 0;
  EXPECT_EQ(Decide(source, "two", report, For(absl::Hours(1)), kNow).kind, Standing::kOwner);
}

TEST(Decide, DeletedSourceStaysDeleted) {
  Source source = Owned();
  source.removed = true;
  source.removed_by = "admin";
  const Decision decision = Decide(source, "one", Held(3), std::nullopt, kNow);
  EXPECT_EQ(decision.kind, Standing::kRefused);
  EXPECT_THAT(decision.message, HasSubstr("deleted by admin"));
}

TEST(StateOf, TellsSilenceFromHealthWithinTwoIntervals) {
  Source source = Owned();
  EXPECT_EQ(StateOf(source, kNow).word, "up");
  source.not_collected = {{"statements", "run: CREATE EXTENSION", "", absl::ToUnixMicros(kNow)}};
  EXPECT_EQ(StateOf(source, kNow).word, "incomplete");
  source.not_collected[0].off = true;
  EXPECT_EQ(StateOf(source, kNow).word, "up");
  source.not_collected[0].off = false;
  source.up = false;
  EXPECT_EQ(StateOf(source, kNow).word, "down");
  EXPECT_EQ(StateOf(source, kNow + absl::Seconds(91)).word, "silent");
  EXPECT_EQ(StateOf(source, kNow + absl::Seconds(91)).since, kNow);
}

TEST(CheckSourceName, RefusesWhatLooksLikeAnId) {
  EXPECT_THAT(CheckSourceName("orders db, Köln"), IsOk());
  EXPECT_THAT(CheckSourceName(kId), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("look like an id")));
  EXPECT_THAT(CheckSourceName(""), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CheckSourceName("a\nb"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CheckSourceName(std::string(256, 'x')), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CheckGroup("eu west"), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace pga::registry
