#include "libs/token/verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <functional>
#include <set>
#include <thread>

#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/token/keys.h"
#include "libs/token/signer.h"

namespace pga::token {
namespace {

using status::IsOk;
using status::StatusIs;

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";
const absl::Time kNow = absl::FromUnixMicros(1'800'000'000'250'000);

std::string Hmac(const std::string& key, const std::string& text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), digest, &size);
  return {reinterpret_cast<const char*>(digest), size};
}
// A token with any header and payload, signed with HMAC-SHA-256 by this test's own hand.
std::string Handmade(const std::string& header, const std::string& payload, const std::string& key = kSecret) {
  const std::string text = Base64UrlEncode(header) + "." + Base64UrlEncode(payload);
  return text + "." + Base64UrlEncode(Hmac(key, text));
}

Claims UserClaims() {
  Claims claims;
  claims.principal.kind = Principal::kUser;
  claims.principal.user_id = 7;
  claims.principal.username = "dba";
  claims.principal.role = "user";
  claims.principal.session = "family";
  claims.principal.all_groups = true;
  claims.principal.issued_at = kNow;
  claims.principal.expires_at = kNow + absl::Minutes(15);
  claims.email = "dba@example.org";
  return claims;
}

struct Fixture {
  Fixture() {
    const auto pem = GenerateKeyPem();
    es256 = Signer::FromPrivateKeyPem(*pem).value();
    hs256 = Signer::FromSecret(kSecret).value();
    EXPECT_TRUE(verifier.SetHmacSecrets({kSecret}).ok());
    EXPECT_TRUE(verifier.SetJwks(JwksFromKeys(std::vector{*es256->public_key()})).ok());
  }
  std::unique_ptr<Signer> es256;
  std::unique_ptr<Signer> hs256;
  Verifier verifier;
};
Fixture& F() {
  static auto* fixture = new Fixture;
  return *fixture;
}

class BothAlgorithms : public ::testing::TestWithParam<bool> {
 protected:
  const Signer& signer() const { return GetParam() ? *F().es256 : *F().hs256; }
};
INSTANTIATE_TEST_SUITE_P(All, BothAlgorithms, ::testing::Bool(),
                         [](const auto& param_info) { return param_info.param ? "ES256" : "HS256"; });

TEST_P(BothAlgorithms, UserComesBackAsSigned) {
  Claims claims = UserClaims();
  const auto token = signer().Sign(claims);
  ASSERT_THAT(token.status(), IsOk());
  const auto p = F().verifier.Verify(*token, kNow);
  ASSERT_THAT(p.status(), IsOk());
  EXPECT_EQ(p->kind, Principal::kUser);
  EXPECT_EQ(p->subject, "user:7");
  EXPECT_EQ(p->user_id, 7);
  EXPECT_EQ(p->username, "dba");
  EXPECT_EQ(p->role, "user");
  EXPECT_EQ(p->session, "family");
  EXPECT_EQ(p->jti.size(), 32u);
  EXPECT_EQ(p->issued_at, kNow) << "the time of issue keeps its microseconds";
  EXPECT_EQ(p->expires_at, absl::FromUnixSeconds(1'800'000'900));
  EXPECT_TRUE(p->all_groups);
  EXPECT_TRUE(p->query_texts);
  EXPECT_EQ(F().verifier.VerifyClaims(*token, TokenType::kAccess, kNow)->email, "dba@example.org");
}

TEST_P(BothAlgorithms, GroupsAndRightsComeBack) {
  Claims claims = UserClaims();
  claims.principal.all_groups = false;
  claims.principal.groups = {"payments", "billing"};
  claims.principal.query_texts = false;
  const auto p = F().verifier.Verify(*signer().Sign(claims), kNow);
  ASSERT_THAT(p.status(), IsOk());
  EXPECT_FALSE(p->all_groups);
  EXPECT_THAT(p->groups, ::testing::ElementsAre("payments", "billing"));
  EXPECT_FALSE(p->query_texts);
}

TEST_P(BothAlgorithms, CollectorAndServiceComeBack) {
  Claims claims = UserClaims();
  claims.principal = {};
  claims.principal.kind = Principal::kCollector;
  claims.principal.collector_id = "col_prod_001";
  claims.principal.hostname = "db1";
  claims.principal.all_groups = true;
  claims.principal.issued_at = kNow;
  claims.principal.expires_at = kNow + absl::Hours(24);
  const auto collector = F().verifier.Verify(*signer().Sign(claims), kNow);
  ASSERT_THAT(collector.status(), IsOk());
  EXPECT_EQ(collector->kind, Principal::kCollector);
  EXPECT_EQ(collector->subject, "collector:col_prod_001");
  EXPECT_EQ(collector->hostname, "db1");
  claims.principal.kind = Principal::kService;
  claims.principal.service = "query";
  const auto service = F().verifier.Verify(*signer().Sign(claims), kNow);
  ASSERT_THAT(service.status(), IsOk());
  EXPECT_EQ(service->kind, Principal::kService);
  EXPECT_EQ(service->service, "query");
  EXPECT_TRUE(service->collector_id.empty());
}

TEST_P(BothAlgorithms, TimesAreCheckedWithLeeway) {
  const std::string token = *signer().Sign(UserClaims());
  const absl::Time expiry = absl::FromUnixSeconds(1'800'000'900);
  EXPECT_THAT(F().verifier.Verify(token, expiry + Verifier::kLeeway - absl::Seconds(1)).status(), IsOk());
  const auto late = F().verifier.Verify(token, expiry + Verifier::kLeeway).status();
  EXPECT_EQ(status::ReasonOf(late), "TOKEN_EXPIRED");
  EXPECT_THAT(F().verifier.Verify(token, kNow - absl::Seconds(59)).status(), IsOk());
  const auto early = F().verifier.Verify(token, kNow - absl::Seconds(62)).status();
  EXPECT_EQ(status::ReasonOf(early), "TOKEN_NOT_YET_VALID");
}

TEST_P(BothAlgorithms, AccessAndRefreshAreNotExchangeable) {
  Claims claims = UserClaims();
  claims.type = TokenType::kRefresh;
  const std::string refresh = *signer().Sign(claims);
  EXPECT_EQ(status::ReasonOf(F().verifier.Verify(refresh, kNow).status()), "TOKEN_CLAIMS");
  EXPECT_THAT(F().verifier.VerifyClaims(refresh, TokenType::kRefresh, kNow).status(), IsOk());
  const std::string access = *signer().Sign(UserClaims());
  EXPECT_FALSE(F().verifier.VerifyClaims(access, TokenType::kRefresh, kNow).ok());
}

// Every single changed character of header, payload or signature must be refused: 0 of several hundred may pass.
TEST_P(BothAlgorithms, EveryChangedCharacterIsRefused) {
  const std::string token = *signer().Sign(UserClaims());
  int refused = 0;
  for (size_t i = 0; i < token.size(); ++i) {
    for (const char c : {'A', 'b', '-', '.', '=', ' ', '\0'}) {
      if (token[i] == c) continue;
      std::string changed = token;
      changed[i] = c;
      EXPECT_FALSE(F().verifier.Verify(changed, kNow).ok()) << i << " " << c;
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST_P(BothAlgorithms, EveryTruncationAndExtensionIsRefused) {
  const std::string token = *signer().Sign(UserClaims());
  for (size_t size = 0; size < token.size(); ++size) {
    EXPECT_FALSE(F().verifier.Verify(token.substr(0, size), kNow).ok()) << size;
  }
  for (const char* tail : {"A", "=", "==", ".", " ", "\n", ".A", "AAAA"}) {
    EXPECT_FALSE(F().verifier.Verify(token + tail, kNow).ok()) << tail;
    EXPECT_FALSE(F().verifier.Verify(tail + token, kNow).ok()) << tail;
  }
}

TEST(Verifier, TokensNeverRepeat) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(seen.insert(*F().hs256->Sign(UserClaims())).second);
}

TEST(Verifier, TokenOf320IsTaken) {
  // As golang-jwt writes it: no kid, iss, aud, jti.
  const std::string payload =
      R"({"user_id":1,"username":"admin","email":"a@b","role":"admin","type":"access","sub":"user:1",)"
      R"("exp":1800000900,"nbf":1800000000,"iat":1800000000})";
  const std::string token = Handmade(R"({"alg":"HS256","typ":"JWT"})", payload);
  const auto p = F().verifier.Verify(token, kNow);
  ASSERT_THAT(p.status(), IsOk());
  EXPECT_EQ(p->role, "admin");
  Verifier without_secret;
  EXPECT_EQ(status::ReasonOf(without_secret.Verify(token, kNow).status()), "TOKEN_KEY_UNKNOWN");
}

TEST(Verifier, FormerSecretStaysGoodWhileItIsListed) {
  const std::string token = *F().hs256->Sign(UserClaims());
  Verifier verifier;
  ASSERT_THAT(verifier.SetHmacSecrets({"another secret of enough length!", kSecret}), IsOk());
  EXPECT_THAT(verifier.Verify(token, kNow).status(), IsOk());
  ASSERT_THAT(verifier.SetHmacSecrets({"another secret of enough length!"}), IsOk());
  EXPECT_EQ(status::ReasonOf(verifier.Verify(token, kNow).status()), "TOKEN_SIGNATURE");
  EXPECT_THAT(verifier.SetHmacSecrets({""}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(Verifier, KeySetIsReplacedAndUnknownKeysAreAnnounced) {
  const auto other = Signer::FromPrivateKeyPem(*GenerateKeyPem());
  const std::string token = *(*other)->Sign(UserClaims());
  Verifier verifier;
  int asked = 0;
  verifier.OnUnknownKey([&asked] { ++asked; });
  // Before the first key set nobody can say that the token is bad; what a shared secret signed can be said at once.
  const absl::Status not_read = verifier.Verify(token, kNow).status();
  EXPECT_THAT(not_read, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(status::ReasonOf(not_read), "TOKEN_KEYS_NOT_READ");
  EXPECT_EQ(status::RetryAfterOf(not_read), absl::Seconds(1));
  EXPECT_EQ(status::ReasonOf(verifier.Verify(*F().hs256->Sign(UserClaims()), kNow).status()), "TOKEN_KEY_UNKNOWN");
  EXPECT_EQ(asked, 2);
  ASSERT_THAT(verifier.SetJwks(R"({"keys":[]})"), IsOk());
  EXPECT_EQ(status::ReasonOf(verifier.Verify(token, kNow).status()), "TOKEN_KEY_UNKNOWN");
  EXPECT_EQ(asked, 3);
  EXPECT_THAT(verifier.SetJwks("{}"), StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_THAT(verifier.SetJwks(JwksFromKeys(std::vector{*(*other)->public_key()})), IsOk());
  EXPECT_THAT(verifier.Verify(token, kNow).status(), IsOk());
  ASSERT_THAT(verifier.SetJwks(R"({"keys":[]})"), IsOk());
  EXPECT_FALSE(verifier.Verify(token, kNow).ok());
  EXPECT_EQ(asked, 4);
}

TEST(Verifier, KeySetMayNotTakeTheNameOfTheSecret) {
  EcPublicKey key = *F().es256->public_key();
  key.kid = kHmacKid;
  Verifier verifier;
  EXPECT_THAT(verifier.SetJwks(JwksFromKeys(std::vector{key})), StatusIs(absl::StatusCode::kInvalidArgument));
}

constexpr char kGoodHeader[] = R"({"alg":"HS256","typ":"JWT"})";
constexpr char kGoodPayload[] =
    R"({"user_id":1,"role":"admin","type":"access","sub":"user:1","exp":1800000900,"iat":1800000000})";

// The classic attack: the public key's text as HMAC secret, with the public key's id.
TEST(Verifier, PublicKeyIsNoHmacSecret) {
  const EcPublicKey& key = *F().es256->public_key();
  for (const std::string& secret : {key.pem, key.kid, key.x, key.x + key.y}) {
    for (const std::string& header :
         {R"({"alg":"HS256","typ":"JWT","kid":")" + key.kid + "\"}", std::string(kGoodHeader),
          R"({"alg":"ES256","typ":"JWT","kid":")" + key.kid + "\"}"}) {
      EXPECT_FALSE(F().verifier.Verify(Handmade(header, kGoodPayload, secret), kNow).ok()) << header;
    }
  }
}

struct Bad {
  const char* name;
  std::string header;
  std::string payload;
  friend void PrintTo(const Bad& bad, std::ostream* os) {
    *os << bad.header.substr(0, 200) << " " << bad.payload.substr(0, 300);
  }
};
class CraftedToken : public ::testing::TestWithParam<Bad> {};
TEST_P(CraftedToken, IsRefusedAlthoughItsSignatureIsRight) {
  const auto result = F().verifier.Verify(Handmade(GetParam().header, GetParam().payload), kNow);
  EXPECT_THAT(result.status(), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_FALSE(status::ReasonOf(result.status()).empty());
}

std::vector<Bad> Crafted() {
  std::vector<Bad> cases;
  static std::vector<std::string>* names = new std::vector<std::string>;
  names->reserve(400);
  const auto add = [&cases](const std::string& name, const std::string& header, const std::string& payload) {
    names->push_back(name + "_" + std::to_string(cases.size()));
    cases.push_back({names->back().c_str(), header, payload});
  };
  // Headers by which a token would choose its own rules.
  for (const char* header : {R"({})",
                             R"([])",
                             R"("HS256")",
                             R"(null)",
                             R"({"typ":"JWT"})",
                             R"({"alg":"none"})",
                             R"({"alg":"None"})",
                             R"({"alg":"NONE","typ":"JWT"})",
                             R"({"alg":"nOnE"})",
                             R"({"alg":""})",
                             R"({"alg":null})",
                             R"({"alg":1})",
                             R"({"alg":["HS256"]})",
                             R"({"alg":"hs256"})",
                             R"({"alg":"HS256 "})",
                             R"({"alg":"HS384"})",
                             R"({"alg":"HS512"})",
                             R"({"alg":"RS256"})",
                             R"({"alg":"ES256"})",
                             R"({"alg":"ES384"})",
                             R"({"alg":"PS256"})",
                             R"({"alg":"EdDSA"})",
                             R"({"alg":"HS256","alg":"HS256"})",
                             R"({"alg":"HS256","alg":"none"})",
                             R"({"alg":"none","alg":"HS256"})",
                             R"({"alg":"HS256","typ":"JWE"})",
                             R"({"alg":"HS256","typ":"at+jwt"})",
                             R"({"alg":"HS256","typ":1})",
                             R"({"alg":"HS256","kid":""})",
                             R"({"alg":"HS256","kid":1})",
                             R"({"alg":"HS256","kid":null})",
                             R"({"alg":"HS256","kid":["hs256"]})",
                             R"({"alg":"HS256","kid":"unknown"})",
                             R"({"alg":"HS256","kid":"HS256"})",
                             R"({"alg":"HS256","kid":"hs256","kid":"hs256"})",
                             R"({"alg":"HS256","kid":"../../dev/null"})",
                             R"({"alg":"HS256","kid":"' OR 1=1 --"})",
                             R"({"alg":"ES256","kid":"hs256"})",
                             R"({"alg":"none","kid":"hs256"})",
                             R"({"alg":"HS512","kid":"hs256"})",
                             R"({"alg":"HS256","jku":"https://example.org/jwks"})",
                             R"({"alg":"HS256","x5u":"https://example.org/c"})",
                             R"({"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}})",
                             R"({"alg":"HS256","x5c":["AAAA"]})",
                             R"({"alg":"HS256","x5t":"AAAA"})",
                             R"({"alg":"HS256","x5t#S256":"AAAA"})",
                             R"({"alg":"HS256","crit":["exp"]})",
                             R"({"alg":"HS256","crit":[]})",
                             R"({"alg":"HS256","b64":false,"crit":["b64"]})",
                             R"({"alg":"HS256","zip":"DEF"})",
                             R"({"alg":"HS256","enc":"A256GCM"})",
                             R"({"alg":"HS256","cty":"JWT"})",
                             R"({"alg":"HS256","x":1})",
                             R"({"alg":"HS256"}x)",
                             R"({"alg":"HS256")",
                             R"({"alg":"HS256",})",
                             "{'alg':'HS256'}",
                             R"({"\u0061lg":"HS256","alg":"HS256"})",
                             R"({"alg":"HS256","typ":"JWT"}{})"}) {
    add("Header", header, kGoodPayload);
  }
  add("HeaderNul", std::string("{\"alg\":\"HS256\"}\0", 16), kGoodPayload);
  add("HeaderInvalidUtf8", "{\"alg\":\"HS256\",\"kid\":\"\xff\"}", kGoodPayload);
  add("HeaderLong", R"({"alg":"HS256","kid":")" + std::string(2000, 'k') + "\"}", kGoodPayload);
  add("HeaderDeep", std::string(500, '[') + std::string(500, ']'), kGoodPayload);
  // Payloads that are no claims.
  for (const char* payload : {"[]", "\"x\"", "null", "1", "{", "{}", "not json", "{\"exp\":}"}) {
    add("Payload", kGoodHeader, payload);
  }
  add("PayloadNul", kGoodHeader, std::string(kGoodPayload) + std::string("\0", 1));
  add("PayloadLong", kGoodHeader, std::string(9000, ' '));
  add("PayloadDeep", kGoodHeader, std::string(3000, '['));
  // Claims, each changed in one way. {name, replacement of the member's whole text}.
  const std::vector<std::pair<std::string, std::vector<std::string>>> members = {
      {R"("user_id":1)",
       {R"("user_id":0)", R"("user_id":-1)", R"("user_id":2)", R"("user_id":1.5)", R"("user_id":"1")",
        R"("user_id":null)", R"("user_id":true)", R"("user_id":2147483648)", R"("user_id":99999999999999999999)",
        R"("user_id":[1])", R"("other":1)", R"("user_id":1,"collector_id":"a")", R"("user_id":1,"service":"query")",
        R"("user_id":1,"collector_id":7)"}},
      {R"("role":"admin")",
       {R"("role":"")", R"("role":"ADMIN")", R"("role":"root")", R"("role":null)", R"("role":3)", R"("role":["admin"])",
        R"("other":"admin")", R"("role":"admin ")"}},
      {R"("type":"access")",
       {R"("type":"refresh")", R"("type":"")", R"("type":null)", R"("type":1)", R"("type":"Access")", R"("other":1)"}},
      {R"("sub":"user:1")",
       {R"("sub":"user:2")", R"("sub":"")", R"("sub":"admin")", R"("sub":1)", R"("sub":null)", R"("sub":"collector:1")",
        R"("sub":"service:auth")", R"("sub":"user:01")", R"("sub":"user:1 ")", R"("other":1)"}},
      {R"("exp":1800000900)",
       {R"("exp":1799999000)", R"("exp":0)", R"("exp":-1)", R"("exp":"1800000900")", R"("exp":1800000900.5)",
        R"("exp":null)", R"("exp":1e12)", R"("exp":9223372036854775807)", R"("exp":99999999999999999999)",
        R"("other":1)", R"("exp":true)", R"("exp":10000000000)"}},
      {R"("iat":1800000000)",
       {R"("iat":1800009999)",
        R"("iat":-5)",
        R"("iat":"x")",
        R"("iat":null)",
        R"("iat":1.5)",
        R"("iat":9223372036854775807)",
        R"("iat":1800000000,"nbf":1800009999)",
        R"("iat":1800000000,"nbf":"x")",
        R"("iat":1800000000,"nbf":-1)",
        R"("iat":1800000000,"nbf":null)",
        R"("iat":1800000000,"iss":"other")",
        R"("iat":1800000000,"iss":1)",
        R"("iat":1800000000,"iss":["pganalytics"])",
        R"("iat":1800000000,"aud":"pganalytics-collector")",
        R"("iat":1800000000,"aud":"pganalytics-service")",
        R"("iat":1800000000,"aud":"other")",
        R"("iat":1800000000,"aud":["pganalytics"])",
        R"("iat":1800000000,"aud":1)",
        R"("iat":1800000000,"jti":1)",
        R"("iat":1800000000,"sid":[])",
        R"("iat":1800000000,"groups":"all")",
        R"("iat":1800000000,"groups":[1])",
        R"("iat":1800000000,"groups":{})",
        R"("iat":1800000000,"groups":null)",
        R"("iat":1800000000,"query_texts":"yes")",
        R"("iat":1800000000,"username":7)"}}};
  for (const auto& [member, replacements] : members) {
    for (const std::string& replacement : replacements) {
      std::string payload = kGoodPayload;
      payload.replace(payload.find(member), member.size(), replacement);
      add("Claim", kGoodHeader, payload);
    }
  }
  // Collectors and services by the old form, or half a one.
  for (const char* payload :
       {R"({"collector_id":"a","type":"access","sub":"collector:b","exp":1800000900,"iat":1800000000})",
        R"({"collector_id":"a","type":"access","sub":"user:1","exp":1800000900,"iat":1800000000})",
        R"({"collector_id":"a","type":"refresh","sub":"collector:a","exp":1800000900,"iat":1800000000})",
        R"({"collector_id":"a","type":"access","sub":"collector:a","aud":"pganalytics","exp":1800000900})",
        R"({"collector_id":"","type":"access","sub":"collector:","exp":1800000900,"iat":1800000000})",
        R"({"service":"auth","type":"access","sub":"service:auth","exp":1800000900,"iat":1800000000})",
        R"({"service":"auth","type":"access","sub":"service:auth","aud":"pganalytics-service","iss":"pganalytics",)"
        R"("exp":1800000900,"iat":1800000000})",
        R"({"type":"access","sub":"user:1","role":"admin","exp":1800000900,"iat":1800000000})"}) {
    add("Identity", kGoodHeader, payload);
  }
  // With a key id the new claims are required.
  const std::string with_kid = R"({"alg":"HS256","typ":"JWT","kid":"hs256"})";
  add("KidWithoutIssuer", with_kid, kGoodPayload);
  std::string issuer_only = kGoodPayload;
  issuer_only.insert(1, R"("iss":"pganalytics",)");
  add("KidWithoutAudience", with_kid, issuer_only);
  std::string wrong_audience = issuer_only;
  wrong_audience.insert(1, R"("aud":"pganalytics-collector",)");
  add("KidWithWrongAudience", with_kid, wrong_audience);
  return cases;
}
INSTANTIATE_TEST_SUITE_P(All, CraftedToken, ::testing::ValuesIn(Crafted()),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(Verifier, ThereAreEnoughCraftedTokens) {
  EXPECT_GE(Crafted().size(), 150u);
}

TEST(Verifier, TheUnchangedOriginalsOfTheCraftedTokensPass) {
  EXPECT_THAT(F().verifier.Verify(Handmade(kGoodHeader, kGoodPayload), kNow).status(), IsOk());
  std::string full = kGoodPayload;
  full.insert(1, R"("iss":"pganalytics","aud":"pganalytics",)");
  EXPECT_THAT(F().verifier.Verify(Handmade(R"({"alg":"HS256","typ":"JWT","kid":"hs256"})", full), kNow).status(),
              IsOk());
}

TEST(Verifier, UnsignedAndForeignlySignedTokensAreRefused) {
  const std::string body = Base64UrlEncode(kGoodHeader) + "." + Base64UrlEncode(kGoodPayload);
  const std::string none = Base64UrlEncode(R"({"alg":"none"})") + "." + Base64UrlEncode(kGoodPayload);
  for (const std::string& token :
       {std::string(), std::string("."), std::string(".."), std::string("..."), body, body + ".", none, none + ".",
        none + "." + Base64UrlEncode(Hmac(kSecret, none)), body + "." + Base64UrlEncode(std::string(32, '\0')),
        body + "." + Base64UrlEncode(Hmac("", body)), body + "." + Base64UrlEncode(Hmac("wrong", body)),
        body + "." + Base64UrlEncode(Hmac(kSecret, body).substr(0, 16)),
        body + "." + Base64UrlEncode(Hmac(kSecret, body) + "x"), body + ".." + Base64UrlEncode(Hmac(kSecret, body)),
        "Bearer " + Handmade(kGoodHeader, kGoodPayload), std::string(8 * 1024 + 1, 'A'), std::string(100'000, '.')}) {
    EXPECT_THAT(F().verifier.Verify(token, kNow).status(), StatusIs(absl::StatusCode::kUnauthenticated))
        << token.substr(0, 200);
  }
}

TEST(Verifier, SignatureOfAnotherKeyOrMessageIsRefused) {
  const auto other = *Signer::FromPrivateKeyPem(*GenerateKeyPem());
  const std::string good = *F().es256->Sign(UserClaims());
  const std::string foreign = *other->Sign(UserClaims());
  const std::string signature = good.substr(good.rfind('.'));
  // Our kid, the other key's signature; our signature under another payload; r and s out of range.
  EXPECT_FALSE(F().verifier.Verify(good.substr(0, good.rfind('.')) + foreign.substr(foreign.rfind('.')), kNow).ok());
  Claims admin = UserClaims();
  admin.principal.role = "admin";
  const std::string wanted = *F().es256->Sign(admin);
  EXPECT_FALSE(F().verifier.Verify(wanted.substr(0, wanted.rfind('.')) + signature, kNow).ok());
  for (const std::string& rs : {std::string(64, '\0'), std::string(64, '\xff'), std::string(63, 'a'),
                                std::string(65, 'a'), std::string(32, '\0') + std::string(32, 'a')}) {
    EXPECT_FALSE(F().verifier.Verify(good.substr(0, good.rfind('.') + 1) + Base64UrlEncode(rs), kNow).ok());
  }
}

// A signature is checked once and remembered; nothing else about the token is.
TEST(Verifier, RememberedSignatureSparesNoOtherCheck) {
  Verifier verifier;
  const std::string jwks = JwksFromKeys(std::vector{*F().es256->public_key()});
  ASSERT_THAT(verifier.SetJwks(jwks), IsOk());
  const std::string token = *F().es256->Sign(UserClaims());
  for (int i = 0; i < 3; ++i) EXPECT_THAT(verifier.Verify(token, kNow).status(), IsOk());
  EXPECT_EQ(status::ReasonOf(verifier.Verify(token, kNow + absl::Hours(1)).status()), "TOKEN_EXPIRED");
  EXPECT_EQ(status::ReasonOf(verifier.Verify(token, kNow - absl::Hours(1)).status()), "TOKEN_NOT_YET_VALID");
  EXPECT_EQ(status::ReasonOf(verifier.VerifyClaims(token, TokenType::kRefresh, kNow).status()), "TOKEN_CLAIMS");
  for (size_t i = 0; i < token.size(); i += 3) {
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(verifier.Verify(changed, kNow).ok()) << i;
  }
  // Nor does it outlive its key.
  ASSERT_THAT(verifier.SetJwks(R"({"keys":[]})"), IsOk());
  EXPECT_EQ(status::ReasonOf(verifier.Verify(token, kNow).status()), "TOKEN_KEY_UNKNOWN");
  EcPublicKey other = *(*Signer::FromPrivateKeyPem(*GenerateKeyPem()))->public_key();
  other.kid = F().es256->kid();
  ASSERT_THAT(verifier.SetJwks(JwksFromKeys(std::vector{other})), IsOk());
  EXPECT_EQ(status::ReasonOf(verifier.Verify(token, kNow).status()), "TOKEN_SIGNATURE");
}

TEST(Verifier, KeysChangeWhileTokensAreChecked) {
  const auto other = *Signer::FromPrivateKeyPem(*GenerateKeyPem());
  const std::string jwks[2] = {JwksFromKeys(std::vector{*F().es256->public_key()}),
                               JwksFromKeys(std::vector{*F().es256->public_key(), *other->public_key()})};
  Verifier verifier;
  ASSERT_THAT(verifier.SetJwks(jwks[0]), IsOk());
  const std::string token = *F().es256->Sign(UserClaims());
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      for (int n = 0; n < 100; ++n) EXPECT_THAT(verifier.Verify(token, kNow).status(), IsOk());
    });
  }
  for (int n = 0; n < 50; ++n) EXPECT_THAT(verifier.SetJwks(jwks[n % 2]), IsOk());
  for (std::thread& reader : readers) reader.join();
}

TEST(Signer, RefusesClaimsWithoutIdentityOrTimes) {
  const Signer& signer = *F().hs256;
  struct Case {
    const char* name;
    std::function<void(Claims&)> change;
  };
  const Case cases[] = {
      {"anonymous", [](Claims& c) { c.principal.kind = Principal::kAnonymous; }},
      {"no expiry", [](Claims& c) { c.principal.expires_at = absl::InfinitePast(); }},
      {"endless", [](Claims& c) { c.principal.expires_at = absl::InfiniteFuture(); }},
      {"no issue", [](Claims& c) { c.principal.issued_at = absl::InfinitePast(); }},
      {"no user", [](Claims& c) { c.principal.user_id = 0; }},
      {"no role", [](Claims& c) { c.principal.role = "root"; }},
      {"NUL", [](Claims& c) { c.principal.username = std::string("a\0b", 3); }},
      {"odd group",
       [](Claims& c) {
         c.principal.all_groups = false;
         c.principal.groups = {"a\"b"};
       }},
      {"no collector", [](Claims& c) { c.principal.kind = Principal::kCollector; }},
      {"no service", [](Claims& c) { c.principal.kind = Principal::kService; }},
  };
  for (const Case& test : cases) {
    Claims claims = UserClaims();
    test.change(claims);
    EXPECT_THAT(signer.Sign(claims).status(), StatusIs(absl::StatusCode::kInvalidArgument)) << test.name;
  }
  EXPECT_FALSE(Signer::FromSecret("").ok());
  EXPECT_FALSE(Signer::FromPrivateKeyPem(F().es256->public_key()->pem).ok()) << "a public key cannot sign";
  EXPECT_FALSE(Signer::FromPrivateKeyPem("x").ok());
}

}  // namespace
}  // namespace pga::token
