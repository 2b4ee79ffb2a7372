#include "libs/token/revocation_set.h"

#include <gtest/gtest.h>

namespace pga::token {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

Principal Collector(absl::Time issued_at) {
  Principal p;
  p.kind = Principal::kCollector;
  p.subject = "collector:a";
  p.issued_at = issued_at;
  p.jti = "j1";
  p.session = "s1";
  return p;
}

TEST(RevocationSet, SubjectIsRevokedUpToAnInstant) {
  RevocationSet set;
  set.Apply(std::vector<Revocation>{{.number = 3, .subject = "collector:a", .issued_before = kNow, .jti = ""}}, kNow);
  EXPECT_TRUE(set.IsRevoked(Collector(kNow - absl::Microseconds(1))));
  EXPECT_FALSE(set.IsRevoked(Collector(kNow)));
  EXPECT_EQ(set.last_number(), 3);
  // An older revocation of the same subject takes nothing back.
  set.Apply(
      std::vector<Revocation>{
          {.number = 2, .subject = "collector:a", .issued_before = kNow - absl::Hours(1), .jti = ""}},
      kNow);
  EXPECT_TRUE(set.IsRevoked(Collector(kNow - absl::Microseconds(1))));
  EXPECT_EQ(set.last_number(), 3);
  EXPECT_EQ(set.size(), 1u);
}

TEST(RevocationSet, TokenAndFamilyAreRevokedById) {
  RevocationSet set;
  EXPECT_FALSE(set.IsRevoked(Collector(kNow)));
  set.Apply(std::vector<Revocation>{{.number = 1, .subject = "", .jti = "s1"}}, kNow);
  EXPECT_TRUE(set.IsRevoked(Collector(kNow)));
  set.Forget(kNow + absl::Seconds(1));
  EXPECT_FALSE(set.IsRevoked(Collector(kNow)));
  set.Apply(std::vector<Revocation>{{.number = 2, .subject = "", .jti = "j1"}}, kNow);
  EXPECT_TRUE(set.IsRevoked(Collector(kNow)));
}

TEST(RevocationSet, NewsAges) {
  RevocationSet set;
  EXPECT_FALSE(set.HasNews(kNow));
  set.Apply({}, kNow);
  EXPECT_TRUE(set.HasNews(kNow + RevocationSet::kNewsWithin - absl::Milliseconds(1)));
  EXPECT_FALSE(set.HasNews(kNow + RevocationSet::kNewsWithin));
  set.LoseNews();
  EXPECT_FALSE(set.HasNews(kNow));
}

TEST(RevocationSet, FullSetSaysItIsIncomplete) {
  RevocationSet set(2);
  for (int i = 0; i < 3; ++i) {
    set.Apply(std::vector<Revocation>{{.number = i, .subject = "", .jti = "t" + std::to_string(i)}}, kNow);
  }
  EXPECT_EQ(set.size(), 2u);
  EXPECT_FALSE(set.HasNews(kNow));
}

TEST(RevocationSet, ServicesAreNotTouched) {
  RevocationSet set;
  Principal p;
  p.kind = Principal::kService;
  p.subject = "service:query";
  p.issued_at = kNow - absl::Hours(1);
  set.Apply(std::vector<Revocation>{{.number = 1, .subject = "service:query", .issued_before = kNow, .jti = ""}}, kNow);
  EXPECT_FALSE(set.IsRevoked(p));
}

}  // namespace
}  // namespace pga::token
