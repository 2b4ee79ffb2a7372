#include "libs/token/keys.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <simdjson.h>

#include <array>
#include <memory>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/token/pem.h"

namespace pga::token {
namespace {

using KeyCtxPtr = std::unique_ptr<EVP_PKEY_CTX, Deleter<EVP_PKEY_CTX_free>>;

constexpr size_t kMaxJwksBytes = 64 * 1024;
constexpr size_t kMaxKeys = 16;
constexpr size_t kMaxKid = 128;
constexpr size_t kCoordinateBytes = 32;

absl::Status NotP256() {
  return absl::InvalidArgumentError("not a PEM key on the curve P-256 (prime256v1)");
}

std::string Thumbprint(std::string_view x, std::string_view y) {
  // RFC 7638: required members only, in lexicographic order, without blanks.
  const std::string canonical =
      absl::StrCat(R"({"crv":"P-256","kty":"EC","x":")", Base64UrlEncode(x), R"(","y":")", Base64UrlEncode(y), R"("})");
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(canonical.data()), canonical.size(), digest.data());
  return Base64UrlEncode({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

absl::StatusOr<EcPublicKey> FromKey(EVP_PKEY* key) {
  if (!IsP256(key)) return NotP256();
  std::array<unsigned char, 2 * kCoordinateBytes + 1> point{};
  size_t size = 0;
  if (EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed") != 1 ||
      EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point.data(), point.size(), &size) !=
          1 ||
      size != point.size() || point[0] != 4) {
    return NotP256();
  }
  EcPublicKey result;
  result.pem = PublicKeyPem(key);
  if (result.pem.empty()) return absl::InternalError("writing a public key");
  const char* coordinates = reinterpret_cast<const char*>(point.data()) + 1;
  result.x.assign(coordinates, kCoordinateBytes);
  result.y.assign(coordinates + kCoordinateBytes, kCoordinateBytes);
  result.kid = Thumbprint(result.x, result.y);
  return result;
}

absl::StatusOr<EcPublicKey> FromCoordinates(std::string_view x, std::string_view y) {
  const std::string point =
      absl::StrCat("\x04", absl::string_view(x.data(), x.size()), absl::string_view(y.data(), y.size()));
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, const_cast<char*>(SN_X9_62_prime256v1), 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, const_cast<char*>(point.data()), point.size()),
      OSSL_PARAM_construct_end()};
  KeyCtxPtr ctx(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* raw = nullptr;
  if (ctx == nullptr || EVP_PKEY_fromdata_init(ctx.get()) != 1 ||
      EVP_PKEY_fromdata(ctx.get(), &raw, EVP_PKEY_PUBLIC_KEY, params) != 1) {
    return NotP256();
  }
  KeyPtr key(raw);
  KeyCtxPtr check(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (check == nullptr || EVP_PKEY_public_check(check.get()) != 1) return NotP256();
  return FromKey(key.get());
}

absl::StatusOr<std::string> StringField(const simdjson::dom::object& object, std::string_view name) {
  std::string_view value;
  if (object[name].get_string().get(value) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(absl::StrCat("key set: a key without a text member ", std::string(name)));
  }
  return std::string(value);
}

// Whether the optional member is absent or has exactly this text.
bool AbsentOr(const simdjson::dom::object& object, std::string_view name, std::string_view wanted) {
  simdjson::dom::element element;
  if (object[name].get(element) == simdjson::NO_SUCH_FIELD) return true;
  std::string_view value;
  return element.get_string().get(value) == simdjson::SUCCESS && value == wanted;
}

}  // namespace

absl::StatusOr<EcPublicKey> PublicKeyFromPem(std::string_view pem) {
  KeyPtr key = ReadPrivateKey(pem);
  if (key == nullptr) key = ReadPublicKey(pem);
  return key == nullptr ? NotP256() : FromKey(key.get());
}

std::string JwksFromKeys(std::span<const EcPublicKey> keys) {
  std::string out = R"({"keys":[)";
  for (const EcPublicKey& key : keys) {
    if (out.back() == '}') out += ',';
    // kid is base64url in every key this library makes; a foreign one is kept only if it needs no escaping.
    absl::StrAppend(&out, R"({"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":")", key.kid, R"(","x":")",
                    Base64UrlEncode(key.x), R"(","y":")", Base64UrlEncode(key.y), R"("})");
  }
  out += "]}";
  return out;
}

absl::StatusOr<std::vector<EcPublicKey>> KeysFromJwks(std::string_view json) {
  if (json.size() > kMaxJwksBytes) return absl::InvalidArgumentError("key set: longer than 64 KiB");
  simdjson::dom::parser parser;
  simdjson::dom::array array;
  simdjson::dom::element document;
  if (parser.parse(simdjson::padded_string(json.data(), json.size())).get(document) != simdjson::SUCCESS ||
      document["keys"].get_array().get(array) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("key set: not a JSON object with an array `keys`");
  }
  if (array.size() > kMaxKeys) return absl::InvalidArgumentError("key set: more than 16 keys");
  std::vector<EcPublicKey> keys;
  std::set<std::string> kids;
  for (simdjson::dom::element element : array) {
    simdjson::dom::object object;
    if (element.get_object().get(object) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError("key set: a key that is not an object");
    }
    auto kty = StringField(object, "kty");
    if (!kty.ok()) return kty.status();
    if (*kty != "EC" || !AbsentOr(object, "use", "sig") || !AbsentOr(object, "alg", "ES256")) continue;
    auto crv = StringField(object, "crv");
    if (!crv.ok()) return crv.status();
    if (*crv != "P-256") continue;
    auto kid = StringField(object, "kid");
    if (!kid.ok()) return kid.status();
    const bool plain = kid->find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:") ==
                       std::string::npos;
    if (kid->empty() || kid->size() > kMaxKid || !plain || !kids.insert(*kid).second) {
      return absl::InvalidArgumentError("key set: a kid is empty, too long, repeated or not plain text");
    }
    auto x = StringField(object, "x");
    if (!x.ok()) return x.status();
    auto y = StringField(object, "y");
    if (!y.ok()) return y.status();
    const auto x_bytes = Base64UrlDecode(*x);
    const auto y_bytes = Base64UrlDecode(*y);
    if (!x_bytes || !y_bytes || x_bytes->size() != kCoordinateBytes || y_bytes->size() != kCoordinateBytes) {
      return absl::InvalidArgumentError("key set: coordinates are not 32 bytes of base64url");
    }
    auto key = FromCoordinates(*x_bytes, *y_bytes);
    if (!key.ok()) return absl::InvalidArgumentError("key set: a point that is not on P-256");
    key->kid = *std::move(kid);
    keys.push_back(*std::move(key));
  }
  return keys;
}

absl::StatusOr<std::string> GenerateKeyPem() {
  const KeyPtr key = NewP256Key();
  std::string pem = key == nullptr ? std::string() : PrivateKeyPem(key.get());
  if (pem.empty()) return absl::InternalError("generating a P-256 key");
  return pem;
}

std::string Base64UrlEncode(std::string_view bytes) {
  return absl::WebSafeBase64Escape(absl::string_view(bytes.data(), bytes.size()));
}

std::optional<std::string> Base64UrlDecode(std::string_view text) {
  for (const char c : text) {
    const bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (!ok) return std::nullopt;
  }
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(absl::string_view(text.data(), text.size()), &bytes)) return std::nullopt;
  // Only the canonical spelling encodes back to itself: a token must not have several valid texts.
  if (Base64UrlEncode(bytes) != text) return std::nullopt;
  return bytes;
}

std::string RandomHex(int bytes) {
  std::string raw(static_cast<size_t>(bytes), '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(raw.data()), bytes) != 1) return "";
  return absl::BytesToHexString(raw);
}

}  // namespace pga::token
