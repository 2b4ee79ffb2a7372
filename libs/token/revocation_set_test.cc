#include "libs/token/revocation_set.h"

#include <gtest/gtest.h>

namespace pga::token {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
constexpr int64_t kHeard = 5'000'000'000'000;
constexpr int64_t kSecond = 1'000'000'000;

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
  set.Apply(std::vector<Revocation>{{.number = 3, .subject = "collector:a", .issued_before = kNow, .jti = ""}}, kHeard);
  EXPECT_TRUE(set.IsRevoked(Collector(kNow - absl::Microseconds(1))));
  EXPECT_FALSE(set.IsRevoked(Collector(kNow)));
  EXPECT_EQ(set.last_number(), 3);
  // An older revocation of the same subject takes nothing back.
  set.Apply(
      std::vector<Revocation>{
          {.number = 2, .subject = "collector:a", .issued_before = kNow - absl::Hours(1), .jti = ""}},
      kHeard);
  EXPECT_TRUE(set.IsRevoked(Collector(kNow - absl::Microseconds(1))));
  EXPECT_EQ(set.last_number(), 3);
  EXPECT_EQ(set.size(), 1u);
}

TEST(RevocationSet, TokenAndFamilyAreRevokedById) {
  RevocationSet set;
  EXPECT_FALSE(set.IsRevoked(Collector(kNow)));
  set.Apply(std::vector<Revocation>{{.number = 1, .subject = "", .jti = "s1"}}, kHeard);
  EXPECT_TRUE(set.IsRevoked(Collector(kNow)));
  set.Forget(kHeard + kSecond);
  EXPECT_FALSE(set.IsRevoked(Collector(kNow)));
  set.Apply(std::vector<Revocation>{{.number = 2, .subject = "", .jti = "j1"}}, kHeard);
  EXPECT_TRUE(set.IsRevoked(Collector(kNow)));
}

TEST(RevocationSet, NewsAges) {
  RevocationSet set;
  EXPECT_FALSE(set.HasNews(kHeard));
  set.Apply({}, kHeard);
  EXPECT_TRUE(set.HasNews(kHeard + absl::ToInt64Nanoseconds(RevocationSet::kNewsWithin) - 1));
  EXPECT_FALSE(set.HasNews(kHeard + absl::ToInt64Nanoseconds(RevocationSet::kNewsWithin)));
  set.LoseNews();
  EXPECT_FALSE(set.HasNews(kHeard));
}

TEST(RevocationSet, FullSetSaysItIsIncomplete) {
  RevocationSet set(2);
  for (int i = 0; i < 3; ++i) {
    set.Apply(std::vector<Revocation>{{.number = i, .subject = "", .jti = "t" + std::to_string(i)}}, kHeard);
  }
  EXPECT_EQ(set.size(), 2u);
  EXPECT_FALSE(set.HasNews(kHeard));
}

TEST(RevocationSet, ServicesAreNotTouched) {
  RevocationSet set;
  Principal p;
  p.kind = Principal::kService;
  p.subject = "service:query";
  p.issued_at = kNow - absl::Hours(1);
  set.Apply(std::vector<Revocation>{{.number = 1, .subject = "service:query", .issued_before = kNow, .jti = ""}},
            kHeard);
  EXPECT_FALSE(set.IsRevoked(p));
}

}  // namespace
}  // namespace pga::token
