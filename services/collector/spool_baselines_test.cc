#include "services/collector/spool_baselines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/status/testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;

// Successive readings of one metric and what they change.
class SpoolBaselinesTest : public ::testing::Test {
 protected:
  SpoolBaselinesTest() {
    metric_.set_name("m");
    metric_.set_schema_version(1);
    for (const char* name : {"id", "n"}) {
      auto* column = metric_.add_columns();
      column->set_name(name);
      column->set_type(catalogpb::COLUMN_TYPE_INT8);
      column->set_kind(name[0] == 'i' ? catalogpb::COLUMN_KIND_LABEL : catalogpb::COLUMN_KIND_COUNTER);
      column->set_since_schema_version(1);
    }
  }

  // The update that a reading of `value` makes of `before`, which may be null.
  BaselineUpdate Read(const Baseline* before, int64_t value) {
    const MetricShape shape(metric_);
    Reading reading(shape);
    reading.AddRow();
    reading.SetInt(0, 1);
    reading.SetInt(1, value);
    Observation observation;
    observation.collected_at_us = value * 1000000;
    observation.epoch = {1, 1, 1, 1};
    auto step = Advance(before, reading, observation);
    EXPECT_THAT(step, IsOk());
    if (!step.ok()) return {};
    return {"tracker", step->patch, step->next};
  }

  catalogpb::Metric metric_;
};

TEST_F(SpoolBaselinesTest, PatchesAreAppliedInTheirOrder) {
  const BaselineUpdate first = Read(nullptr, 5);
  const BaselineUpdate second = Read(first.next.get(), 8);
  BaselineUpdate other = first;
  other.tracker = "other";
  BaselineStore store;
  int64_t dropped = 0;
  ASSERT_THAT(ApplyPatches(EncodePatches({first, other, second}), &store, &dropped), IsOk());
  EXPECT_EQ(dropped, 0);
  ASSERT_EQ(store.all().size(), 2u);
  EXPECT_EQ(store.Find("tracker")->Serialize(), second.next->Serialize());
  EXPECT_EQ(store.Find("other")->Serialize(), first.next->Serialize());
}

TEST_F(SpoolBaselinesTest, NoPatchesTakeNoBytes) {
  EXPECT_EQ(EncodePatches({}), "");
}

TEST_F(SpoolBaselinesTest, APatchThatDoesNotFitDropsItsBaseline) {
  const BaselineUpdate first = Read(nullptr, 5);
  const BaselineUpdate second = Read(first.next.get(), 8);
  const BaselineUpdate third = Read(second.next.get(), 9);
  BaselineUpdate other = first;
  other.tracker = "other";
  BaselineStore store;
  int64_t dropped = 0;
  ASSERT_THAT(ApplyPatches(EncodePatches({first, third, other}), &store, &dropped), IsOk());
  EXPECT_EQ(dropped, 1);
  EXPECT_EQ(store.Find("tracker"), nullptr);
  EXPECT_NE(store.Find("other"), nullptr);
}

TEST_F(SpoolBaselinesTest, DamagedPatchesChangeNothing) {
  const std::string patches = EncodePatches({Read(nullptr, 5)});
  BaselineStore store;
  int64_t dropped = 0;
  for (size_t size = 0; size < patches.size(); ++size) {
    EXPECT_THAT(ApplyPatches(patches.substr(0, size), &store, &dropped), StatusIs(absl::StatusCode::kDataLoss))
        << "cut at " << size;
  }
  EXPECT_TRUE(store.all().empty());
  EXPECT_EQ(dropped, 0);
}

TEST_F(SpoolBaselinesTest, SnapshotsComeBackAndNoDamageGoesUnnoticed) {
  const BaselineUpdate update = Read(nullptr, 5);
  BaselineStore store;
  store.Set("tracker", update.next);
  const LogPosition position{0x1122334455667788, 0x99aa};
  const std::string bytes = EncodeSnapshot(store, position);
  EXPECT_EQ(bytes.substr(0, 8), "PGASNAP1");
  EXPECT_EQ(bytes.substr(12, 16), std::string("\x88\x77\x66\x55\x44\x33\x22\x11\xaa\x99\0\0\0\0\0\0", 16));
  int64_t dropped = 0;
  auto snapshot = DecodeSnapshot(bytes, &dropped);
  ASSERT_THAT(snapshot, IsOk());
  EXPECT_EQ(snapshot->position, position);
  EXPECT_EQ(snapshot->baselines.Serialize(), store.Serialize());
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    EXPECT_THAT(DecodeSnapshot(damaged, &dropped), StatusIs(absl::StatusCode::kDataLoss)) << "flip at " << at;
    EXPECT_THAT(DecodeSnapshot(bytes.substr(0, at), &dropped), StatusIs(absl::StatusCode::kDataLoss))
        << "cut at " << at;
  }
  EXPECT_EQ(dropped, 0);
}

}  // namespace
}  // namespace pga::collector
