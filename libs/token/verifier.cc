#include "libs/token/verifier.h"

#include <jwt.h>
#include <openssl/sha.h>
#include <simdjson.h>

#include <array>
#include <map>
#include <optional>
#include <set>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "libs/token/keys.h"
#include "libs/token/signer.h"

namespace pga::token {
namespace {

constexpr size_t kMaxHeaderBytes = 1024;
constexpr size_t kMaxKid = 128;
constexpr size_t kMaxSecrets = 4;
constexpr size_t kHs256Bytes = 32;
constexpr size_t kEs256Bytes = 64;

absl::Status Refuse(std::string_view reason, std::string_view message) {
  return status::WithReason(absl::UnauthenticatedError(absl::string_view(message.data(), message.size())), reason);
}
absl::Status Malformed() {
  return Refuse("TOKEN_MALFORMED", "Invalid token");
}
absl::Status BadSignature() {
  return Refuse("TOKEN_SIGNATURE", "Invalid token");
}
absl::Status BadClaims() {
  return Refuse("TOKEN_CLAIMS", "Invalid token");
}
absl::Status KeysNotRead() {
  return status::WithRetryAfter(
      status::WithReason(absl::UnavailableError("the keys of auth have not been read yet; try again"),
                         "TOKEN_KEYS_NOT_READ"),
      absl::Seconds(1));
}

struct Header {
  std::string alg;
  std::optional<std::string> kid;
};

// Accepts exactly the members alg, kid and typ, each at most once and a text. That refuses jku, x5u, jwk, x5c, crit,
// b64, zip: everything by which a token could choose its own key or its own rules.
std::optional<Header> ParseHeader(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  simdjson::dom::element document;
  if (parser.parse(simdjson::padded_string(json.data(), json.size())).get(document) != simdjson::SUCCESS ||
      document.get_object().get(object) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  std::optional<std::string> alg, kid, typ;
  for (const auto& field : object) {
    std::optional<std::string>* target = field.key == "alg"   ? &alg
                                         : field.key == "kid" ? &kid
                                         : field.key == "typ" ? &typ
                                                              : nullptr;
    std::string_view value;
    if (target == nullptr || target->has_value() || field.value.get_string().get(value) != simdjson::SUCCESS) {
      return std::nullopt;
    }
    *target = std::string(value);
  }
  if (!alg || (typ && *typ != "JWT") || (kid && (kid->empty() || kid->size() > kMaxKid))) return std::nullopt;
  return Header{*std::move(alg), std::move(kid)};
}

struct Parts {
  std::string header;
  std::string payload;
  size_t signature_bytes = 0;
};

// Three canonical base64url parts, and nothing else.
std::optional<Parts> Split(std::string_view token) {
  const size_t first = token.find('.');
  if (first == std::string_view::npos || first > kMaxHeaderBytes) return std::nullopt;
  const size_t second = token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos) return std::nullopt;
  const auto header = Base64UrlDecode(token.substr(0, first));
  const auto payload = Base64UrlDecode(token.substr(first + 1, second - first - 1));
  const auto signature = Base64UrlDecode(token.substr(second + 1));
  if (!header || !payload || !signature || header->empty() || payload->empty() || signature->empty()) {
    return std::nullopt;
  }
  // The C library reads both as C strings; what it would not see must not be there.
  if (header->find('\0') != std::string::npos || payload->find('\0') != std::string::npos) return std::nullopt;
  return Parts{*header, *payload, signature->size()};
}

struct JwtFree {
  void operator()(jwt_t* jwt) const { jwt_free(jwt); }
};
using JwtPtr = std::unique_ptr<jwt_t, JwtFree>;

// Reads claims of a payload whose signature was checked, and remembers whether one had another type than it must have.
// (The typed getters of the C library distinguish a claim of another type from an absent one only for texts.)
class Reader {
 public:
  explicit Reader(std::string_view json) {
    simdjson::dom::element document;
    ok_ = parser_.parse(simdjson::padded_string(json.data(), json.size())).get(document) == simdjson::SUCCESS &&
          document.get_object().get(object_) == simdjson::SUCCESS;
    if (!ok_) return;
    std::set<std::string_view> names;
    for (const auto& field : object_) ok_ = ok_ && names.insert(field.key).second;
  }

  std::string Text(std::string_view name) { return std::string(Get<std::string_view>(name).value_or("")); }
  std::optional<int64_t> Number(std::string_view name) { return Get<int64_t>(name); }
  std::optional<bool> Flag(std::string_view name) { return Get<bool>(name); }
  std::optional<std::vector<std::string>> Texts(std::string_view name) {
    const auto array = Get<simdjson::dom::array>(name);
    if (!array) return std::nullopt;
    std::vector<std::string> texts;
    for (simdjson::dom::element element : *array) {
      std::string_view text;
      if (element.get_string().get(text) != simdjson::SUCCESS) {
        ok_ = false;
        break;
      }
      texts.emplace_back(text);
    }
    return texts;
  }
  bool ok() const { return ok_; }

 private:
  // nullopt both for an absent claim and, with ok() false from then on, for one of another type.
  template <typename T>
  std::optional<T> Get(std::string_view name) {
    simdjson::dom::element element;
    if (!ok_ || object_[name].get(element) != simdjson::SUCCESS) return std::nullopt;
    T value;
    if (element.get<T>().get(value) != simdjson::SUCCESS) {
      ok_ = false;
      return std::nullopt;
    }
    return value;
  }

  simdjson::dom::parser parser_;
  simdjson::dom::object object_;
  bool ok_ = false;
};

// Years 1970 to 2286; keeps absl::Time arithmetic far from its ends.
bool PlausibleSeconds(int64_t seconds) {
  return seconds >= 0 && seconds < 10'000'000'000;
}

absl::StatusOr<Claims> ReadClaims(const std::string& payload, bool legacy, TokenType type, absl::Time now) {
  Reader reader(payload);
  Claims claims;
  Principal& p = claims.principal;
  const std::string issuer = reader.Text("iss");
  const std::string audience = reader.Text("aud");
  const std::string token_type = reader.Text("type");
  const auto exp = reader.Number("exp");
  const auto nbf = reader.Number("nbf");
  const auto iat = reader.Number("iat");
  const auto iat_us = reader.Number("iat_us");
  const auto user_id = reader.Number("user_id");
  p.subject = reader.Text("sub");
  p.jti = reader.Text("jti");
  p.session = reader.Text("sid");
  p.username = reader.Text("username");
  p.role = reader.Text("role");
  p.collector_id = reader.Text("collector_id");
  p.hostname = reader.Text("hostname");
  p.service = reader.Text("service");
  p.api_token = reader.Text("api_token");
  p.query_texts = reader.Flag("query_texts").value_or(true);
  claims.email = reader.Text("email");
  const auto groups = reader.Texts("groups");
  if (!reader.ok() || !exp || !PlausibleSeconds(*exp) || (nbf && !PlausibleSeconds(*nbf)) ||
      (iat && !PlausibleSeconds(*iat))) {
    return BadClaims();
  }
  p.expires_at = absl::FromUnixSeconds(*exp);
  if (now >= p.expires_at + Verifier::kLeeway) return Refuse("TOKEN_EXPIRED", "Token has expired");
  // A token that cannot say when it was issued counts as issued long ago, so that any revocation of its subject hits.
  p.issued_at = iat ? absl::FromUnixSeconds(*iat) : absl::UnixEpoch();
  if (iat && iat_us && *iat_us >= 0 && *iat_us / 1'000'000 == *iat) p.issued_at = absl::FromUnixMicros(*iat_us);
  const absl::Time not_before = nbf ? absl::FromUnixSeconds(*nbf) : p.issued_at;
  if (std::max(not_before, p.issued_at) > now + Verifier::kLeeway) {
    return Refuse("TOKEN_NOT_YET_VALID", "Token is not valid yet");
  }
  if (issuer != kIssuer && !(legacy && issuer.empty())) return BadClaims();
  if (token_type != (type == TokenType::kAccess ? "access" : "refresh")) return BadClaims();
  claims.type = type;
  if (!p.api_token.empty() && !user_id) return BadClaims();
  // Exactly one identity, and subject, audience and claims agree on it.
  const int identities = (user_id ? 1 : 0) + (p.collector_id.empty() ? 0 : 1) + (p.service.empty() ? 0 : 1);
  if (identities != 1) return BadClaims();
  p.all_groups = !groups.has_value();
  if (groups) p.groups = *groups;
  if (user_id) {
    if (*user_id <= 0 || *user_id > INT32_MAX || ParseRole(p.role) == Role::kNone) return BadClaims();
    p.kind = Principal::kUser;
    p.user_id = static_cast<int32_t>(*user_id);
    // An API token is no part of a session, and never one of refresh.
    if (!p.api_token.empty() && (!p.session.empty() || type != TokenType::kAccess || legacy)) return BadClaims();
    if (p.subject != (p.api_token.empty() ? UserSubject(p.user_id) : ApiTokenSubject(p.api_token))) return BadClaims();
    if (audience != kUserAudience && !(legacy && audience.empty())) return BadClaims();
  } else if (!p.collector_id.empty()) {
    p.kind = Principal::kCollector;
    if (p.subject != CollectorSubject(p.collector_id) || type != TokenType::kAccess) return BadClaims();
    if (audience != kCollectorAudience && !(legacy && audience.empty())) return BadClaims();
  } else {
    p.kind = Principal::kService;
    if (p.subject != ServiceSubject(p.service) || type != TokenType::kAccess) return BadClaims();
    if (audience != kServiceAudience || legacy) return BadClaims();
  }
  return claims;
}

}  // namespace

// Digests of whole tokens whose ES256 signature was found good under one key set. Checking it takes half a millisecond,
// and the same token comes with every call of its owner. Everything else (header, claims, times) is looked at each
// time.
class Verifier::GoodSignatures {
 public:
  using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;
  static Digest Of(std::string_view token) {
    Digest digest;
    SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest.data());
    return digest;
  }
  bool Contains(const Digest& digest) const {
    absl::MutexLock lock(&mutex_);
    return digests_.contains(digest);
  }
  // Only tokens that verified get here, so nobody else can push them out.
  void Add(const Digest& digest) {
    absl::MutexLock lock(&mutex_);
    if (digests_.size() >= kMost) digests_.clear();
    digests_.insert(digest);
  }

 private:
  static constexpr size_t kMost = 8192;
  mutable absl::Mutex mutex_;
  absl::flat_hash_set<Digest> digests_ ABSL_GUARDED_BY(mutex_);
};

struct Verifier::KeySet {
  std::vector<std::string> hmac_secrets;
  // kid -> PEM.
  std::map<std::string, std::string> ec_keys;
  bool jwks_set = false;
  // A new one for every set of ec_keys.
  std::shared_ptr<GoodSignatures> good = std::make_shared<GoodSignatures>();
};

Verifier::Verifier() : keys_(std::make_shared<KeySet>()) {}
Verifier::~Verifier() = default;

absl::Status Verifier::SetHmacSecrets(const std::vector<std::string>& secrets) {
  if (secrets.size() > kMaxSecrets) return absl::InvalidArgumentError("more than 4 secrets of HS256");
  for (const std::string& secret : secrets) {
    if (secret.empty() || secret.size() > 4096) {
      return absl::InvalidArgumentError("the secret of HS256 must have 1 to 4096 bytes");
    }
  }
  absl::MutexLock lock(&mutex_);
  auto next = std::make_shared<KeySet>(*keys_);
  next->hmac_secrets = secrets;
  keys_ = std::move(next);
  return absl::OkStatus();
}

absl::Status Verifier::SetJwks(std::string_view json) {
  PGA_ASSIGN_OR_RETURN(std::vector<EcPublicKey> keys, KeysFromJwks(json));
  std::map<std::string, std::string> by_kid;
  for (EcPublicKey& key : keys) {
    // The name of the shared secret must not come to mean a public key.
    if (key.kid == kHmacKid) return absl::InvalidArgumentError("key set: a kid that is reserved");
    by_kid.emplace(std::move(key.kid), std::move(key.pem));
  }
  absl::MutexLock lock(&mutex_);
  auto next = std::make_shared<KeySet>(*keys_);
  next->ec_keys = std::move(by_kid);
  next->jwks_set = true;
  next->good = std::make_shared<GoodSignatures>();
  keys_ = std::move(next);
  return absl::OkStatus();
}

void Verifier::OnUnknownKey(std::function<void()> hook) {
  on_unknown_key_ = std::move(hook);
}

std::shared_ptr<const Verifier::KeySet> Verifier::keys() const {
  absl::MutexLock lock(&mutex_);
  return keys_;
}

absl::StatusOr<Principal> Verifier::Verify(std::string_view token, absl::Time now) const {
  PGA_ASSIGN_OR_RETURN(Claims claims, VerifyClaims(token, TokenType::kAccess, now));
  return std::move(claims.principal);
}

absl::StatusOr<Claims> Verifier::VerifyClaims(std::string_view token, TokenType type, absl::Time now) const {
  if (token.size() > kMaxTokenBytes) return Malformed();
  const auto parts = Split(token);
  if (!parts) return Malformed();
  const auto header = ParseHeader(parts->header);
  if (!header) return Malformed();

  const std::shared_ptr<const KeySet> keys = this->keys();
  const bool legacy = !header->kid;
  std::vector<const std::string*> candidates;
  jwt_alg_t alg = JWT_ALG_INVAL;
  if (legacy || *header->kid == kHmacKid) {
    alg = JWT_ALG_HS256;
    if (header->alg != "HS256") return Malformed();
    for (const std::string& secret : keys->hmac_secrets) candidates.push_back(&secret);
  } else if (const auto it = keys->ec_keys.find(*header->kid); it != keys->ec_keys.end()) {
    alg = JWT_ALG_ES256;
    if (header->alg != "ES256") return Malformed();
    candidates.push_back(&it->second);
  }
  if (candidates.empty()) {
    if (header->kid && on_unknown_key_) on_unknown_key_();
    if (alg == JWT_ALG_INVAL && on_unknown_key_ && !keys->jwks_set) return KeysNotRead();
    return Refuse("TOKEN_KEY_UNKNOWN", "Invalid token");
  }
  if (parts->signature_bytes != (alg == JWT_ALG_HS256 ? kHs256Bytes : kEs256Bytes)) return BadSignature();

  GoodSignatures::Digest digest;
  if (alg == JWT_ALG_ES256) {
    digest = GoodSignatures::Of(token);
    if (keys->good->Contains(digest)) return ReadClaims(parts->payload, legacy, type, now);
  }
  const std::string text(token);
  for (const std::string* key : candidates) {
    jwt_t* raw = nullptr;
    if (jwt_decode(&raw, text.c_str(), reinterpret_cast<const unsigned char*>(key->data()),
                   static_cast<int>(key->size())) != 0 ||
        raw == nullptr) {
      continue;
    }
    JwtPtr jwt(raw);
    // What the library used must be what the key is for.
    if (jwt_get_alg(raw) != alg) return Malformed();
    if (alg == JWT_ALG_ES256) keys->good->Add(digest);
    return ReadClaims(parts->payload, legacy, type, now);
  }
  return BadSignature();
}

bool Verifier::VerifiesCheaply(std::string_view token) const {
  if (token.size() > kMaxTokenBytes) return true;
  const auto parts = Split(token);
  if (!parts) return true;
  const auto header = ParseHeader(parts->header);
  if (!header || !header->kid) return true;
  const std::shared_ptr<const KeySet> keys = this->keys();
  return !keys->ec_keys.contains(*header->kid) || keys->good->Contains(GoodSignatures::Of(token));
}

}  // namespace pga::token
