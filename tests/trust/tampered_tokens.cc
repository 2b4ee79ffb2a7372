#include "tests/trust/tampered_tokens.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/clock/clock.h"
#include "libs/token/keys.h"
#include "libs/token/pem.h"

namespace pga::integration {
namespace {

using token::Base64UrlEncode;

std::string Hmac(const EVP_MD* digest, const std::string& key, const std::string& text) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(digest, key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), out, &size);
  return {reinterpret_cast<const char*>(out), size};
}

// r and s, 32 bytes each, as ES256 has them; empty if OpenSSL fails.
std::string EcSignature(const std::string& key_pem, const std::string& text) {
  const token::KeyPtr key = token::ReadPrivateKey(key_pem);
  EVP_MD_CTX* const context = EVP_MD_CTX_new();
  std::string der(128, '\0');
  size_t size = der.size();
  const bool done = key != nullptr && EVP_DigestSignInit(context, nullptr, EVP_sha256(), nullptr, key.get()) == 1 &&
                    EVP_DigestSign(context, reinterpret_cast<unsigned char*>(der.data()), &size,
                                   reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1;
  EVP_MD_CTX_free(context);
  if (!done) return "";
  const auto* in = reinterpret_cast<const unsigned char*>(der.data());
  ECDSA_SIG* const parts = d2i_ECDSA_SIG(nullptr, &in, static_cast<long>(size));
  std::string out(64, '\0');
  auto* bytes = reinterpret_cast<unsigned char*>(out.data());
  BN_bn2binpad(ECDSA_SIG_get0_r(parts), bytes, 32);
  BN_bn2binpad(ECDSA_SIG_get0_s(parts), bytes + 32, 32);
  ECDSA_SIG_free(parts);
  return out;
}

std::string Unsigned(const std::string& header, const std::string& payload) {
  return Base64UrlEncode(header) + "." + Base64UrlEncode(payload);
}

struct Split {
  explicit Split(const std::string& token)
      : header(token.substr(0, token.find('.'))),
        payload(token.substr(header.size() + 1, token.rfind('.') - header.size() - 1)),
        signature(token.substr(token.rfind('.') + 1)) {}
  std::string header;
  std::string payload;
  std::string signature;
};

// Another letter of base64 there.
std::string Flipped(std::string token, size_t at) {
  token[at] = token[at] == 'A' ? 'B' : 'A';
  return token;
}

class Table {
 public:
  explicit Table(const Genuine& genuine)
      : genuine_(genuine), good_(GoodPayload()), header_(GoodHeader(genuine.signing_key)) {}

  std::vector<Tampered> Make() {
    Algorithms();
    Headers();
    Claims();
    Identities();
    Signatures();
    Spellings();
    ApiToken();
    Authorization();
    return std::move(rows_);
  }

 private:
  void Add(const std::string& name, const std::string& token) { rows_.push_back({name, {"Bearer " + token}}); }
  void Raw(const std::string& name, std::vector<std::string> values) { rows_.push_back({name, std::move(values)}); }
  std::string Sign(const std::string& header, const std::string& payload) const {
    return SignedByHand(genuine_.signing_key, header, payload);
  }
  std::string Kid() const { return token::PublicKeyFromPem(genuine_.signing_key)->kid; }
  std::string Replaced(const std::string& member, const std::string& by) const {
    std::string payload = good_;
    const size_t at = payload.find("\"" + member + "\":");
    return payload.replace(at, payload.find_first_of(",}", at) - at, by);
  }

  // No signature, or one with a key that is no secret.
  void Algorithms() {
    const token::EcPublicKey key = *token::PublicKeyFromPem(genuine_.signing_key);
    for (const char* alg : {"none", "None", "NONE", "nOnE", "", "null", "NULL", "HS256"}) {
      const std::string header = absl::StrCat(R"({"alg":")", alg, R"(","typ":"JWT"})");
      Add(absl::StrCat("unsigned, alg ", alg), Unsigned(header, good_) + ".");
      Add(absl::StrCat("alg ", alg, " with the signature of a good token"),
          Unsigned(header, good_) + "." + Split(genuine_.admin).signature);
      Add(absl::StrCat("alg ", alg, " with the kid, rightly signed"),
          Sign(absl::StrCat(R"({"alg":")", alg, R"(","typ":"JWT","kid":")", key.kid, "\"}"), good_));
    }
    const std::string jwks = token::JwksFromKeys(std::vector{key});
    const std::pair<const char*, std::string> keys[] = {
        {"the public key", key.pem},
        {"the public key without its last newline", key.pem.substr(0, key.pem.find_last_not_of('\n') + 1)},
        {"the key set", jwks},
        {"the kid", key.kid},
        {"x", key.x},
        {"x and y", key.x + key.y},
        {"x in base64", Base64UrlEncode(key.x)},
        {"nothing", ""},
        {"a common word", "secret"}};
    for (const auto& [name, secret] : keys) {
      for (const std::string& header : {absl::StrCat(R"({"alg":"HS256","typ":"JWT","kid":")", key.kid, "\"}"),
                                        std::string(R"({"alg":"HS256","typ":"JWT"})"),
                                        std::string(R"({"alg":"HS256","typ":"JWT","kid":"hs256"})")}) {
        const std::string text = Unsigned(header, good_);
        Add(absl::StrCat("HS256 with ", name, " as secret, ", header),
            text + "." + Base64UrlEncode(Hmac(EVP_sha256(), secret, text)));
      }
    }
    for (const auto& [alg, digest] : {std::pair("HS384", EVP_sha384()), std::pair("HS512", EVP_sha512())}) {
      const std::string text =
          Unsigned(absl::StrCat(R"({"alg":")", alg, R"(","typ":"JWT","kid":")", key.kid, "\"}"), good_);
      Add(absl::StrCat(alg, " with the public key as secret"),
          text + "." + Base64UrlEncode(Hmac(digest, key.pem, text)));
    }
  }

  // Rightly signed, with a header by which the token would choose its own key or rules.
  void Headers() {
    const std::string kid = absl::StrCat(R"("kid":")", Kid(), "\"");
    for (const std::string& members : {std::string(R"("alg":"ES256")"),
                                       std::string(R"("alg":"ES256","kid":"")"),
                                       std::string(R"("alg":"ES256","kid":null)"),
                                       std::string(R"("alg":"ES256","kid":0)"),
                                       std::string(R"("alg":"ES256","kid":"hs256")"),
                                       std::string(R"("alg":"ES256","kid":"../../../../dev/null")"),
                                       std::string(R"("alg":"ES256","kid":"/proc/self/environ")"),
                                       std::string(R"("alg":"ES256","kid":"' OR '1'='1")"),
                                       std::string(R"("alg":"ES256","kid":"http://127.0.0.1/key")"),
                                       absl::StrCat(R"("alg":"ES256","kid":[")", Kid(), "\"]"),
                                       absl::StrCat(R"("alg":"ES256","kid":")", Kid(), " \""),
                                       absl::StrCat(R"("alg":"ES256","kid":")", absl::AsciiStrToUpper(Kid()), "\""),
                                       absl::StrCat(R"("alg":"ES256",)", kid, ",", kid),
                                       absl::StrCat(R"("alg":"ES256",)", kid, R"(,"kid":"x")"),
                                       absl::StrCat(R"("alg":"ES256",)", kid, R"(,"\u006bid":"x")"),
                                       absl::StrCat(R"("alg":"es256",)", kid),
                                       absl::StrCat(R"("alg":"ES384",)", kid),
                                       absl::StrCat(R"("alg":"ES256K",)", kid),
                                       absl::StrCat(R"("alg":"RS256",)", kid),
                                       absl::StrCat(R"("alg":"PS256",)", kid),
                                       absl::StrCat(R"("alg":"EdDSA",)", kid),
                                       absl::StrCat(R"("alg":["ES256"],)", kid),
                                       absl::StrCat(R"("alg":"ES256","alg":"none",)", kid),
                                       absl::StrCat(R"("alg":"none","alg":"ES256",)", kid),
                                       kid,
                                       absl::StrCat(R"("alg":"ES256","typ":"JWE",)", kid),
                                       absl::StrCat(R"("alg":"ES256","typ":"at+jwt",)", kid),
                                       absl::StrCat(R"("alg":"ES256","typ":7,)", kid),
                                       absl::StrCat(R"("alg":"ES256","crit":["exp"],)", kid),
                                       absl::StrCat(R"("alg":"ES256","b64":false,"crit":["b64"],)", kid),
                                       absl::StrCat(R"("alg":"ES256","zip":"DEF",)", kid),
                                       absl::StrCat(R"("alg":"ES256","jku":"http://127.0.0.1/jwks",)", kid),
                                       absl::StrCat(R"("alg":"ES256","x5u":"http://127.0.0.1/c",)", kid),
                                       absl::StrCat(R"("alg":"ES256","x5c":["AAAA"],)", kid),
                                       absl::StrCat(R"("alg":"ES256","cty":"JWT",)", kid),
                                       absl::StrCat(R"("alg":"ES256","enc":"A256GCM",)", kid)}) {
      Add("header " + members, Sign(absl::StrCat("{", members, "}"), good_));
    }
    // A key of the attacker's own, named or carried along.
    const std::string own = *token::GenerateKeyPem();
    const token::EcPublicKey own_key = *token::PublicKeyFromPem(own);
    const std::string jwk = absl::StrCat(R"({"kty":"EC","crv":"P-256","x":")", Base64UrlEncode(own_key.x), R"(","y":")",
                                         Base64UrlEncode(own_key.y), "\"}");
    Add("another key with our kid", SignedByHand(own, header_, good_));
    Add("another key with its own kid", SignedByHand(own, GoodHeader(own), good_));
    Add("another key carried as jwk",
        SignedByHand(own, absl::StrCat(R"({"alg":"ES256","jwk":)", jwk, ",", kid, "}"), good_));
    Add("a header of 2,000 bytes",
        Sign(absl::StrCat(R"({"alg":"ES256","kid":")", std::string(2000, 'k'), "\"}"), good_));
    Add("a header that is an array", Sign("[" + header_ + "]", good_));
    Add("a header with a NUL behind it", Sign(header_ + std::string(1, '\0'), good_));
    Add("a header that ends early", Sign(header_.substr(0, header_.size() - 1), good_));
  }

  // Rightly signed, with one claim that is wrong, missing, double or of another type.
  void Claims() {
    const int64_t now = absl::ToUnixSeconds(clock::WallNow());
    for (const char* member : {"iss", "aud", "sub", "user_id", "role", "type", "exp"})
      Add(absl::StrCat("without ", member), Sign(header_, Replaced(member, R"("other":1)")));
    const std::pair<const char*, std::vector<std::string>> changes[] = {
        {"iss",
         {R"("iss":"other")", R"("iss":"")", R"("iss":"PGANALYTICS")", R"("iss":["pganalytics"])",
          R"("iss":"pganalytics","iss":"other")"}},
        {"aud",
         {R"("aud":"other")", R"("aud":"")", R"("aud":"pganalytics-collector")", R"("aud":"pganalytics-service")",
          R"("aud":["pganalytics"])"}},
        {"sub",
         {R"("sub":"user:1")", R"("sub":"user:0900001")", R"("sub":"collector:900001")", R"("sub":"service:gateway")",
          R"("sub":"token:900001")", R"("sub":"admin")", R"("sub":900001)", R"("sub":"user:900001","sub":"user:1")"}},
        {"user_id",
         {R"("user_id":1)", R"("user_id":0)", R"("user_id":-1)", R"("user_id":"900001")", R"("user_id":900001.5)",
          R"("user_id":4295867297)", R"("user_id":900001,"user_id":1)", R"("user_id":null)"}},
        {"role",
         {R"("role":"root")", R"("role":"Admin")", R"("role":"admin ")", R"("role":["admin"])", R"("role":3)",
          R"("role":"viewer","role":"admin")", R"("role":"viewer","\u0072ole":"admin")", R"("role":"admi\u0000n")",
          "\"role\":\"\xD0\xB0"
          "dmin\""}},
        {"type",
         {R"("type":"refresh")", R"("type":"Access")", R"("type":"id")", R"("type":["access"])",
          R"("type":"access","type":"refresh")"}},
        {"exp",
         {absl::StrCat("\"exp\":", now - 120), R"("exp":0)", R"("exp":-1)", absl::StrCat("\"exp\":\"", now + 600, "\""),
          R"("exp":1e300)", R"("exp":9223372036854775807)", R"("exp":99999999999999999999)", R"("exp":null)",
          absl::StrCat("\"exp\":", now + 600, ".5"), absl::StrCat("\"exp\":", now - 120, ",\"exp\":", now + 600)}},
        {"nbf",
         {absl::StrCat("\"nbf\":", now + 3600), R"("nbf":"0")", R"("nbf":-1)", R"("nbf":null)",
          R"("nbf":9223372036854775807)"}},
        {"iat", {absl::StrCat("\"iat\":", now + 3600), R"("iat":"0")", R"("iat":-1)", R"("iat":1.5)"}},
        {"jti", {R"("jti":1)", R"("jti":null)", R"("jti":["a"])", R"("jti":"a","jti":"b")"}}};
    for (const auto& [member, replacements] : changes) {
      for (const std::string& replacement : replacements)
        Add("claim " + replacement, Sign(header_, Replaced(member, replacement)));
    }
    for (const char* more : {R"("groups":"all")", R"("groups":null)", R"("groups":[7])", R"("query_texts":"yes")",
                             R"("api_token":"a")", R"("sid":1)"}) {
      Add(absl::StrCat("claim ", more), Sign(header_, absl::StrCat(good_.substr(0, good_.size() - 1), ",", more, "}")));
    }
    for (const std::string& payload :
         {std::string("{}"), std::string("[]"), std::string("null"), std::string("\"admin\""), good_ + good_,
          good_ + std::string(1, '\0'), good_.substr(0, good_.size() - 1), "\xEF\xBB\xBF" + good_,
          absl::StrReplaceAll(good_, {{"\"", "'"}}), std::string(2000, '['), good_ + std::string(9000, ' ')}) {
      Add("payload " + payload.substr(0, 40), Sign(header_, payload));
    }
  }

  // Rightly signed tokens of others than people; their own methods are not asked for.
  void Identities() {
    const int64_t now = absl::ToUnixSeconds(clock::WallNow());
    const std::string times =
        absl::StrCat(R"("iss":"pganalytics","type":"access","iat":)", now, R"(,"nbf":)", now, R"(,"exp":)", now + 600);
    for (const char* claims :
         {R"("aud":"pganalytics-collector","sub":"collector:c1","collector_id":"c1")",
          R"("aud":"pganalytics-service","sub":"service:root","service":"root")",
          R"("aud":"pganalytics-service","sub":"service:auth","service":"auth")",
          R"("aud":"pganalytics-service","sub":"service:","service":"")",
          R"("aud":"pganalytics","sub":"collector:c1","collector_id":"c1","role":"admin")",
          R"("aud":"pganalytics","sub":"service:query","service":"query")",
          R"("aud":"pganalytics","sub":"user:900001","user_id":900001,"role":"admin","collector_id":"c1")",
          R"("aud":"pganalytics","sub":"user:900001","user_id":900001,"role":"admin","service":"gateway")",
          R"("aud":"pganalytics","sub":"token:a","api_token":"a","role":"admin")",
          R"("aud":"pganalytics","role":"admin")"}) {
      Add(absl::StrCat("identity ", claims), Sign(header_, absl::StrCat("{", times, ",", claims, "}")));
    }
  }

  // Parts of good tokens put together otherwise, and signatures that are none.
  void Signatures() {
    const Split admin(genuine_.admin);
    const Split viewer(genuine_.viewer);
    const std::string text = admin.header + "." + admin.payload + ".";
    Add("an administrator's claims with a viewer's signature", text + viewer.signature);
    Add("a viewer's claims with an administrator's signature",
        viewer.header + "." + viewer.payload + "." + admin.signature);
    std::string payload = *token::Base64UrlDecode(viewer.payload);
    Add("role raised",
        absl::StrCat(viewer.header, ".",
                     Base64UrlEncode(absl::StrReplaceAll(payload, {{R"("role":"viewer")", R"("role":"admin")"}})), ".",
                     viewer.signature));
    Add("role raised and unsigned",
        absl::StrCat(viewer.header, ".",
                     Base64UrlEncode(absl::StrReplaceAll(payload, {{R"("role":"viewer")", R"("role":"admin")"}})),
                     "."));
    payload = *token::Base64UrlDecode(admin.payload);
    Add("expiry moved",
        absl::StrCat(admin.header, ".", Base64UrlEncode(absl::StrReplaceAll(payload, {{R"("exp":1)", R"("exp":2)"}})),
                     ".", admin.signature));
    Add("subject changed",
        absl::StrCat(admin.header, ".", Base64UrlEncode(absl::StrReplaceAll(payload, {{"user:", "user:1"}})), ".",
                     admin.signature));
    Add("a blank in the claims", absl::StrCat(admin.header, ".", Base64UrlEncode(payload + " "), ".", admin.signature));
    Add("parts swapped: payload, header, signature", admin.payload + "." + admin.header + "." + admin.signature);
    Add("parts swapped: signature first", admin.signature + "." + admin.payload + "." + admin.header);
    for (const std::string& rs :
         {std::string(64, '\0'), std::string(64, '\xff'), std::string(63, 'a'), std::string(65, 'a'),
          std::string(1, 'a'), std::string(31, '\0') + "\1" + std::string(31, '\0') + "\1",
          std::string(32, '\0') + std::string(32, 'a')}) {
      Add("signature of " + absl::StrCat(rs.size(), " bytes ", absl::BytesToHexString(rs.substr(0, 2))),
          text + Base64UrlEncode(rs));
    }
    const std::string raw = *token::Base64UrlDecode(admin.signature);
    Add("r and s swapped", text + Base64UrlEncode(raw.substr(32) + raw.substr(0, 32)));
    // DER with the same r and s, which other libraries make.
    Add("a signature as DER",
        text + Base64UrlEncode(absl::StrCat("\x30\x44\x02\x20", raw.substr(0, 32), "\x02\x20", raw.substr(32))));
    Add("r with the order of the curve added in front", text + Base64UrlEncode("\1" + raw));
    for (const size_t at :
         {size_t{0}, admin.header.size() / 2, admin.header.size() - 1, admin.header.size() + 1,
          admin.header.size() + admin.payload.size() / 2, genuine_.admin.size() - admin.signature.size(),
          genuine_.admin.size() - 40, genuine_.admin.size() - 2}) {
      Add(absl::StrCat("byte ", at, " changed"), Flipped(genuine_.admin, at));
    }
  }

  // The same bytes in another spelling, and what is cut or added.
  void Spellings() {
    const std::string& good = genuine_.admin;
    const Split parts(good);
    for (const size_t cut :
         {size_t{1}, size_t{2}, size_t{4}, parts.signature.size(), parts.signature.size() + 1, good.size() - 10}) {
      Add(absl::StrCat("cut by ", cut), good.substr(0, good.size() - cut));
    }
    for (const char* more : {"=", "==", "A", "AAAA", ".", ".AAAA", "%00", ",", ";", "\"", "#", "?", "/"})
      Add(absl::StrCat("with ", more, " behind"), good + more);
    Add("a dot in front", "." + good);
    Add("without dots", parts.header + parts.payload + parts.signature);
    Add("two dots", parts.header + ".." + parts.payload + "." + parts.signature);
    Add("padded parts", parts.header + "=." + parts.payload + "=." + parts.signature + "==");
    Add("five parts", parts.header + "..." + parts.payload + "." + parts.signature);
    // The last letter has bits that stand for nothing; a lax decoder drops them.
    const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const size_t letter = alphabet.find(good.back());
    for (const size_t bits : {size_t{1}, size_t{2}, size_t{3}}) {
      Add(absl::StrCat("unused bits ", bits), good.substr(0, good.size() - 1) + alphabet[letter ^ bits]);
    }
    std::string standard = good;
    std::replace(standard.begin(), standard.end(), '-', '+');
    std::replace(standard.begin(), standard.end(), '_', '/');
    if (standard != good) Add("the other alphabet of base64", standard);
    Add("in upper case", absl::AsciiStrToUpper(good));
    Add("in lower case", absl::AsciiStrToLower(good));
    Add("percent-encoded", absl::StrReplaceAll(good, {{".", "%2E"}}));
    Add("full stops of another script", absl::StrReplaceAll(good, {{".", "\xEF\xBC\x8E"}}));
    Add("a zero-width space", absl::StrCat(good.substr(0, 10), "\xE2\x80\x8B", good.substr(10)));
    Add("a letter of another script", absl::StrCat("\xD0\xB5", good.substr(1)));
    Add("a blank inside", absl::StrCat(good.substr(0, 10), " ", good.substr(10)));
    Add("a tab inside", absl::StrCat(good.substr(0, 10), "\t", good.substr(10)));
    Add("quoted", absl::StrCat("\"", good, "\""));
    Add("as JSON", absl::StrCat(R"({"token":")", good, "\"}"));
    Add("as a JSON serialisation", absl::StrCat(R"({"protected":")", parts.header, R"(","payload":")", parts.payload,
                                                R"(","signature":")", parts.signature, "\"}"));
    Add("twice in one", good + good);
    Add("two, with a comma", good + "," + good);
    Add("in base64 once more", Base64UrlEncode(good));
    Add("larger than a token may be", parts.header + "." + std::string(8 * 1024, 'A') + "." + parts.signature);
    Add("larger than a header may be", std::string(12 * 1024, 'A'));
    Add("empty", "");
    Add("a word", "admin");
    Add("the password", "integration-Password-1");
  }

  void ApiToken() {
    const std::string& token = genuine_.api_token;
    for (size_t i = 0; i < 12; ++i)
      Add(absl::StrCat("API token, part ", i, " changed"), Flipped(token, i * (token.size() - 2) / 11));
    Add("API token, cut", token.substr(0, token.size() - 3));
    Add("API token with a session's signature",
        token.substr(0, token.rfind('.') + 1) + Split(genuine_.admin).signature);
    Add("API token's id alone", Split(token).payload);
  }

  // A good token behind a header that does not say Bearer, or says two things.
  void Authorization() {
    const std::string& good = genuine_.admin;
    for (const char* scheme :
         {"", "bearer ", "BEARER ", "BeArEr ", "Bearer", "Bearer  ", "Bearer\t", "Bearer:", "Bearer=", "Bearer, ",
          "Token ", "JWT ", "Basic ", "Digest ", "Negotiate ", "DPoP ", "Bearer Bearer ", "\"Bearer\" "}) {
      Raw(absl::StrCat("scheme «", scheme, "»"), {scheme + good});
    }
    Raw("as the password of Basic", {"Basic " + absl::Base64Escape("admin:" + good)});
    Raw("admin's password in Basic", {"Basic " + absl::Base64Escape("admin:integration-Password-1")});
    Raw("a good and an empty header", {"Bearer " + good, ""});
    Raw("an empty and a good header", {"", "Bearer " + good});
    Raw("a good and a bad header", {"Bearer " + good, "Bearer x.y.z"});
    Raw("a bad and a good header", {"Bearer x.y.z", "Bearer " + good});
    Raw("the same header twice", {"Bearer " + good, "Bearer " + good});
    Raw("a viewer's and an administrator's header", {"Bearer " + genuine_.viewer, "Bearer " + good});
    Raw("Basic and Bearer", {"Basic YWRtaW46eA==", "Bearer " + good});
  }

  const Genuine& genuine_;
  const std::string good_;
  const std::string header_;
  std::vector<Tampered> rows_;
};

}  // namespace

std::string SignedByHand(const std::string& key_pem, const std::string& header, const std::string& payload) {
  const std::string text = Unsigned(header, payload);
  return text + "." + Base64UrlEncode(EcSignature(key_pem, text));
}

std::string GoodHeader(const std::string& key_pem) {
  return absl::StrCat(R"({"alg":"ES256","typ":"JWT","kid":")", token::PublicKeyFromPem(key_pem)->kid, "\"}");
}

std::string GoodPayload() {
  const int64_t now = absl::ToUnixSeconds(clock::WallNow());
  return absl::StrCat(
      R"({"iss":"pganalytics","aud":"pganalytics","sub":"user:900001","user_id":900001,"username":"tampered",)",
      R"("role":"admin","type":"access","jti":"00112233445566778899aabbccddeeff","iat":)", now, R"(,"nbf":)", now,
      R"(,"exp":)", now + 600, "}");
}

std::vector<Tampered> TamperedTokens(const Genuine& genuine) {
  return Table(genuine).Make();
}

}  // namespace pga::integration
