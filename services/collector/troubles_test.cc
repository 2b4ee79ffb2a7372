#include "services/collector/troubles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/cord.h"
#include "libs/status/payloads.h"

namespace pga::collector {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kIntervalNs = 60 * kSecondNs;

absl::Status Refused(absl::StatusCode code, const char* sqlstate) {
  absl::Status status(code, "refused");
  if (*sqlstate != '\0') status.SetPayload(status::kSqlStateUrl, absl::Cord(sqlstate));
  return status;
}

// Seconds of rest after each of five failures in a row.
std::vector<int64_t> RestsOf(const absl::Status& status) {
  Troubles troubles(kIntervalNs);
  std::vector<int64_t> rests;
  int64_t now = 1;
  for (int i = 0; i < 5; ++i) {
    troubles.Report("wal", status, "", now, "facts");
    rests.push_back((troubles.all().at("wal").rest_until_ns - now) / kSecondNs);
    now = troubles.all().at("wal").rest_until_ns + 1;
  }
  return rests;
}

TEST(Troubles, RestsGrowByKindOfFailure) {
  EXPECT_THAT(RestsOf(Refused(absl::StatusCode::kPermissionDenied, "42501")), ElementsAre(600, 1200, 2400, 3600, 3600));
  // Aurora's answer to functions it lacks.
  EXPECT_THAT(RestsOf(Refused(absl::StatusCode::kInternal, "0A000")), ElementsAre(600, 1200, 2400, 3600, 3600));
  EXPECT_THAT(RestsOf(Refused(absl::StatusCode::kInternal, "XX000")), ElementsAre(600, 1200, 2400, 3600, 3600));
  EXPECT_THAT(RestsOf(Refused(absl::StatusCode::kDeadlineExceeded, "57014")), ElementsAre(300, 600, 1200, 2400, 3600));
  EXPECT_THAT(RestsOf(Refused(absl::StatusCode::kDeadlineExceeded, "")), ElementsAre(300, 600, 1200, 2400, 3600));
  EXPECT_THAT(RestsOf(Refused(absl::StatusCode::kAborted, "55P03")), ElementsAre(0, 120, 240, 480, 960));
  EXPECT_THAT(RestsOf(Refused(absl::StatusCode::kNotFound, "")), ElementsAre(0, 0, 0, 0, 0));
}

TEST(Troubles, ARestEndsWhenRightsOrExtensionsChange) {
  Troubles troubles(kIntervalNs);
  troubles.Report("wal", Refused(absl::StatusCode::kPermissionDenied, "42501"), "", 1, "before");
  EXPECT_TRUE(troubles.Rests("wal", kIntervalNs, "before"));
  EXPECT_FALSE(troubles.Rests("wal", kIntervalNs, "after"));
  EXPECT_FALSE(troubles.Rests("wal", 601 * kSecondNs, "before"));
  EXPECT_FALSE(troubles.Rests("io", kIntervalNs, "before"));
  troubles.EndRests();
  EXPECT_FALSE(troubles.Rests("wal", kIntervalNs, "before"));
}

TEST(Troubles, NewsAreSaidOnce) {
  Troubles troubles(kIntervalNs);
  const absl::Status denied = Refused(absl::StatusCode::kPermissionDenied, "42501");
  EXPECT_FALSE(troubles.Report("wal", absl::OkStatus(), "", 1, ""));
  EXPECT_TRUE(troubles.Report("wal", denied, "", 2, ""));
  EXPECT_FALSE(troubles.Report("wal", denied, "", 3, ""));
  EXPECT_EQ(troubles.all().at("wal").since_ns, 2);
  EXPECT_TRUE(troubles.Report("wal", Refused(absl::StatusCode::kAborted, "55P03"), "", 4, ""));
  EXPECT_TRUE(troubles.Report("wal", absl::OkStatus(), "", 5, ""));
  EXPECT_TRUE(troubles.all().empty());
}

TEST(Troubles, DroppedDatabasesAreForgotten) {
  Troubles troubles(kIntervalNs);
  const absl::Status denied = Refused(absl::StatusCode::kPermissionDenied, "42501");
  troubles.Report("table_stats of a", denied, "a", 1, "");
  troubles.Report("table_stats of b", denied, "b", 1, "");
  troubles.Report("wal", denied, "", 1, "");
  EXPECT_THAT(troubles.ForgetDatabasesBut({"b"}), ElementsAre("table_stats of a"));
  EXPECT_EQ(troubles.all().size(), 2u);
}

}  // namespace
}  // namespace pga::collector
