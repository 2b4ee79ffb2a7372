#include "services/collector/activity.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "services/collector/statement_texts.h"

namespace pga::collector {
namespace {

SampledSession Session(const std::string& database, const std::string& state) {
  SampledSession session;
  session.datname = database;
  session.state = state;
  session.backend_type = "client backend";
  return session;
}

class ActivityTest : public ::testing::Test {
 protected:
  int64_t Value(const Reading& reading, const std::string& database, const std::string& column) {
    for (size_t row = 0; row < reading.rows(); ++row) {
      if (reading.Text(row, shape_.Find("datname")) == database) return reading.Int(row, shape_.Find(column));
    }
    return -1;
  }

  std::shared_ptr<const catalog::Catalog> catalog_ = *catalog::Catalog::Builtin();
  MetricShape shape_{*catalog_->Find("activity")};
};

TEST_F(ActivityTest, CountsSamplesAndTheMostInOne) {
  ActivityCounts counts;
  counts.BeginSample();
  counts.Add(Session("a", "active"));
  counts.Add(Session("a", "active"));
  counts.Add(Session("b", "idle"));
  counts.BeginSample();
  counts.Add(Session("a", "active"));
  Reading reading(shape_);
  counts.Fill(&reading);
  EXPECT_EQ(reading.rows(), 2u);
  EXPECT_EQ(Value(reading, "a", "samples"), 3);
  EXPECT_EQ(Value(reading, "a", "sessions_max"), 2);
  EXPECT_EQ(Value(reading, "b", "samples"), 1);
  EXPECT_DOUBLE_EQ(reading.Double(0, shape_.Find("sessions_avg")), 1.5);
}

TEST_F(ActivityTest, RefusedCountsComeBack) {
  ActivityCounts first;
  first.BeginSample();
  first.Add(Session("a", "active"));
  ActivityCounts second;
  second.BeginSample();
  second.Add(Session("a", "active"));
  second.Add(Session("a", "active"));
  second.Merge(first);
  Reading reading(shape_);
  second.Fill(&reading);
  EXPECT_EQ(Value(reading, "a", "samples"), 3);
  EXPECT_EQ(Value(reading, "a", "sessions_max"), 2);
  EXPECT_EQ(second.samples(), 2);
}

TEST_F(ActivityTest, ManyKindsAreBounded) {
  ActivityCounts counts;
  counts.BeginSample();
  for (int i = 0; i < 20000; ++i) {
    SampledSession session = Session("a", "active");
    session.application_name = absl::StrCat("app-", i);
    counts.Add(session);
  }
  EXPECT_LE(counts.rows(), 5001u);
  Reading reading(shape_);
  counts.Fill(&reading);
  int64_t samples = 0;
  for (size_t row = 0; row < reading.rows(); ++row) samples += reading.Int(row, shape_.Find("samples"));
  EXPECT_EQ(samples, 20000);
}

TEST(StatementTexts, CountAsSentOnlyWhenAcknowledged) {
  constexpr int64_t kHour = int64_t{3600} * 1000000000;
  StatementTexts texts;
  const std::vector<StatementTexts::Id> in_use = {{1, 10}, {1, 11}};
  EXPECT_EQ(texts.Due(in_use, 1).size(), 2u);
  EXPECT_EQ(texts.Due(in_use, 2).size(), 2u);  // not in the spool yet
  texts.Spooled(in_use, BatchId{"s", 5}, 3);
  EXPECT_TRUE(texts.Due(in_use, 4).empty());
  texts.Acked("s", 4);
  texts.Acked("other", 9);
  EXPECT_TRUE(texts.Due(in_use, 30 * kHour).empty());  // still on its way
  texts.Acked("s", 5);
  EXPECT_EQ(texts.Due(in_use, 25 * kHour).size(), 2u);  // daily
  texts.ForgetAll();
  EXPECT_EQ(texts.Due(in_use, 5).size(), 2u);
  EXPECT_EQ(texts.Due({{1, 10}}, 6).size(), 1u);
  EXPECT_EQ(texts.size(), 1u);  // what is not in use is forgotten
}

}  // namespace
}  // namespace pga::collector
