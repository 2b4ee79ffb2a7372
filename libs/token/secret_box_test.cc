#include "libs/token/secret_box.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/status/testing.h"

namespace pga::token {
namespace {

using ::pga::status::IsOk;
using ::pga::status::IsOkAndHolds;
using ::pga::status::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(SecretBox, SealsAndOpens) {
  const auto box = SecretBox::FromText("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
  ASSERT_THAT(box, IsOk());
  const auto sealed = box->Seal("the key", "ca");
  ASSERT_THAT(sealed, IsOk());
  EXPECT_THAT(*sealed, Not(HasSubstr("the key")));
  EXPECT_THAT(box->Open(*sealed, "ca"), IsOkAndHolds(std::string("the key")));
  EXPECT_THAT(box->Open(*sealed, "other"), StatusIs(absl::StatusCode::kFailedPrecondition));
  for (size_t i = 0; i < sealed->size(); ++i) {
    std::string bent = *sealed;
    bent[i] = static_cast<char>(bent[i] ^ 1);
    EXPECT_THAT(box->Open(bent, "ca"), Not(IsOk())) << i;
  }
  EXPECT_THAT(box->Open("", "ca"), Not(IsOk()));
  const auto same = SecretBox::FromText("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
  ASSERT_THAT(same, IsOk());
  EXPECT_THAT(same->Open(*sealed, "ca"), IsOkAndHolds(std::string("the key")));
  EXPECT_THAT(SecretBox::FromText("short"), StatusIs(kInvalid));
  EXPECT_THAT(SecretBox::FromText(""), StatusIs(kInvalid));
}

}  // namespace
}  // namespace pga::token
