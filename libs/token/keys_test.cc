#include "libs/token/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/status/testing.h"

namespace pga::token {
namespace {

using status::IsOk;
using status::StatusIs;

TEST(Base64Url, DecodesTheCanonicalSpellingOnly) {
  EXPECT_EQ(Base64UrlEncode("\xfb\xff"), "-_8");
  EXPECT_EQ(Base64UrlDecode("-_8"), "\xfb\xff");
  EXPECT_EQ(Base64UrlDecode(""), "");
  for (const char* bad : {"-_8=", "-_9", "+/8", "-_8 ", " -_8", "-_8\n", "A", "AA=", "AAA.", "\xc3\xa9"}) {
    EXPECT_FALSE(Base64UrlDecode(bad).has_value()) << bad;
  }
}

TEST(Keys, SurviveTheKeySetUnchanged) {
  const auto pem = GenerateKeyPem();
  ASSERT_THAT(pem.status(), IsOk());
  const auto key = PublicKeyFromPem(*pem);
  ASSERT_THAT(key.status(), IsOk());
  EXPECT_EQ(key->kid.size(), 43u);
  const auto again = PublicKeyFromPem(key->pem);
  ASSERT_THAT(again.status(), IsOk());
  EXPECT_EQ(again->kid, key->kid);
  const std::string jwks = JwksFromKeys(std::vector{*key});
  EXPECT_EQ(jwks.find("\"d\""), std::string::npos) << "a key set must hold no private member";
  const auto read = KeysFromJwks(jwks);
  ASSERT_THAT(read.status(), IsOk());
  ASSERT_EQ(read->size(), 1u);
  EXPECT_EQ(read->front().pem, key->pem);
  EXPECT_EQ(read->front().kid, key->kid);
}

// RFC 7517 appendix A.1's key with RFC 7638's rule for the thumbprint, computed independently.
TEST(Keys, ReadTheKeyOfTheRfc) {
  const auto keys = KeysFromJwks(R"({"keys":[{"kty":"EC","crv":"P-256",
      "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
      "use":"sig","kid":"1"},
      {"kty":"RSA","n":"AQAB","e":"AQAB","kid":"rsa"},
      {"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
       "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"2"}]})");
  ASSERT_THAT(keys.status(), IsOk());
  ASSERT_EQ(keys->size(), 1u);
  EXPECT_EQ(keys->front().kid, "1");
  EXPECT_THAT(keys->front().pem, ::testing::HasSubstr("BEGIN PUBLIC KEY"));
}

struct BadSet {
  const char* name;
  std::string json;
};
class BadKeySet : public ::testing::TestWithParam<BadSet> {};
TEST_P(BadKeySet, IsRefusedWhole) {
  EXPECT_THAT(KeysFromJwks(GetParam().json).status(), StatusIs(absl::StatusCode::kInvalidArgument));
}
constexpr char kX[] = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
constexpr char kY[] = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
std::string One(const std::string& kid, const std::string& x, const std::string& y) {
  return R"({"kty":"EC","crv":"P-256","kid":")" + kid + R"(","x":")" + x + R"(","y":")" + y + R"("})";
}
INSTANTIATE_TEST_SUITE_P(
    All, BadKeySet,
    ::testing::Values(BadSet{"Empty", ""}, BadSet{"NotJson", "keys"}, BadSet{"NoKeys", "{}"},
                      BadSet{"KeysIsNoArray", R"({"keys":{}})"}, BadSet{"KeyIsNoObject", R"({"keys":[1]})"},
                      BadSet{"NoKid", R"({"keys":[{"kty":"EC","crv":"P-256","x":"a","y":"b"}]})"},
                      BadSet{"EmptyKid", "{\"keys\":[" + One("", kX, kY) + "]}"},
                      BadSet{"OddKid", "{\"keys\":[" + One("a\\\"b", kX, kY) + "]}"},
                      BadSet{"SameKidTwice", "{\"keys\":[" + One("1", kX, kY) + "," + One("1", kX, kY) + "]}"},
                      BadSet{"PointOffTheCurve", "{\"keys\":[" + One("1", kX, kX) + "]}"},
                      BadSet{"ShortCoordinate", "{\"keys\":[" + One("1", "AAAA", kY) + "]}"},
                      BadSet{"PaddedCoordinate", "{\"keys\":[" + One("1", std::string(kX) + "=", kY) + "]}"},
                      BadSet{"TooLong", std::string(70'000, ' ')}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(Keys, RefuseEverythingThatIsNotP256) {
  for (const char* pem : {"", "hello", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}) {
    EXPECT_THAT(PublicKeyFromPem(pem).status(), StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(Random, IsLongAndDiffers) {
  EXPECT_EQ(RandomHex(16).size(), 32u);
  EXPECT_NE(RandomHex(16), RandomHex(16));
}

}  // namespace
}  // namespace pga::token
