#include "libs/token/signer.h"

#include <jwt.h>
#include <openssl/crypto.h>

#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "libs/token/pem.h"

namespace pga::token {
namespace {

constexpr size_t kMaxSecretBytes = 4096;

struct JwtFree {
  void operator()(jwt_t* jwt) const { jwt_free(jwt); }
};

// Collects the first failure of many calls that all return 0 or an errno.
class Grants {
 public:
  explicit Grants(jwt_t* jwt) : jwt_(jwt) {}
  void Text(const char* name, const std::string& value) {
    if (!value.empty()) rc_ |= jwt_add_grant(jwt_, name, value.c_str());
  }
  void Number(const char* name, int64_t value) { rc_ |= jwt_add_grant_int(jwt_, name, static_cast<long>(value)); }
  void Flag(const char* name, bool value) { rc_ |= jwt_add_grant_bool(jwt_, name, value ? 1 : 0); }
  void Json(const std::string& object) { rc_ |= jwt_add_grants_json(jwt_, object.c_str()); }
  bool ok() const { return rc_ == 0; }

 private:
  jwt_t* jwt_;
  int rc_ = 0;
};

std::string GroupsJson(const std::vector<std::string>& groups) {
  std::string out = R"({"groups":[)";
  for (size_t i = 0; i < groups.size(); ++i) absl::StrAppend(&out, i == 0 ? "" : ",", "\"", groups[i], "\"");
  return out + "]}";
}

bool PlainGroups(const std::vector<std::string>& groups) {
  for (const std::string& group : groups) {
    if (group.empty() || group.size() > 128) return false;
    for (const char c : group) {
      if (static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\') return false;
    }
  }
  return groups.size() <= 64;
}

// Text claims go through C strings; a NUL would cut them short.
bool HasNul(const Claims& claims) {
  const Principal& p = claims.principal;
  for (const std::string* text : {&p.username, &p.role, &p.collector_id, &p.hostname, &p.service, &p.api_token, &p.jti,
                                  &p.session, &claims.email}) {
    if (text->find('\0') != std::string::npos) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Signer>> Signer::FromSecret(std::string_view secret) {
  if (secret.empty() || secret.size() > kMaxSecretBytes) {
    return absl::InvalidArgumentError("the secret of HS256 must have 1 to 4096 bytes");
  }
  std::unique_ptr<Signer> signer(new Signer);
  signer->hmac_ = true;
  signer->key_ = std::string(secret);
  signer->kid_ = kHmacKid;
  return signer;
}

absl::StatusOr<std::unique_ptr<Signer>> Signer::FromPrivateKeyPem(std::string_view pem) {
  PGA_ASSIGN_OR_RETURN(EcPublicKey public_key, PublicKeyFromPem(pem));
  if (ReadPrivateKey(pem) == nullptr) {
    return absl::InvalidArgumentError("a public key cannot sign; a PEM private key is needed");
  }
  std::unique_ptr<Signer> signer(new Signer);
  signer->key_ = std::string(pem);
  signer->kid_ = public_key.kid;
  signer->public_key_ = std::move(public_key);
  return signer;
}

Signer::~Signer() {
  OPENSSL_cleanse(key_.data(), key_.size());
}

absl::StatusOr<std::string> Signer::Sign(const Claims& claims) const {
  const Principal& p = claims.principal;
  if (p.issued_at == absl::InfinitePast() || p.expires_at <= p.issued_at || p.expires_at == absl::InfiniteFuture()) {
    return absl::InvalidArgumentError("claims need a time of issue and a later, finite expiry");
  }
  if (HasNul(claims)) return absl::InvalidArgumentError("a claim holds a NUL byte");
  jwt_t* raw = nullptr;
  if (jwt_new(&raw) != 0) return absl::ResourceExhaustedError("no memory for a token");
  std::unique_ptr<jwt_t, JwtFree> jwt(raw);

  const std::string jti = p.jti.empty() ? RandomHex(16) : p.jti;
  if (jti.empty()) return absl::InternalError("the random source failed");
  Grants grants(raw);
  grants.Text("iss", kIssuer);
  grants.Text("jti", jti);
  grants.Text("sid", p.session);
  grants.Text("type", claims.type == TokenType::kAccess ? "access" : "refresh");
  const int64_t issued = absl::ToUnixSeconds(p.issued_at);
  grants.Number("iat", issued);
  grants.Number("iat_us", absl::ToUnixMicros(p.issued_at));
  grants.Number("nbf", issued);
  grants.Number("exp", absl::ToUnixSeconds(p.expires_at));
  switch (p.kind) {
    case Principal::kUser: {
      if (p.user_id <= 0 || ParseRole(p.role) == Role::kNone) {
        return absl::InvalidArgumentError("a user's claims need a positive id and a known role");
      }
      grants.Text("aud", kUserAudience);
      grants.Text("sub", p.api_token.empty() ? UserSubject(p.user_id) : ApiTokenSubject(p.api_token));
      grants.Text("api_token", p.api_token);
      grants.Number("user_id", p.user_id);
      grants.Text("username", p.username);
      grants.Text("email", claims.email);
      grants.Text("role", p.role);
      if (!p.query_texts) grants.Flag("query_texts", false);
      break;
    }
    case Principal::kCollector: {
      if (p.collector_id.empty()) return absl::InvalidArgumentError("a collector's claims need its id");
      grants.Text("aud", kCollectorAudience);
      grants.Text("sub", CollectorSubject(p.collector_id));
      grants.Text("collector_id", p.collector_id);
      grants.Text("hostname", p.hostname);
      break;
    }
    case Principal::kService: {
      if (p.service.empty()) return absl::InvalidArgumentError("a service's claims need its name");
      grants.Text("aud", kServiceAudience);
      grants.Text("sub", ServiceSubject(p.service));
      grants.Text("service", p.service);
      break;
    }
    case Principal::kAnonymous:
      return absl::InvalidArgumentError("claims without an identity");
  }
  if (p.kind != Principal::kService && !p.all_groups) {
    if (!PlainGroups(p.groups)) return absl::InvalidArgumentError("claims with more than 64 or odd group names");
    grants.Json(GroupsJson(p.groups));
  }
  if (!grants.ok() || jwt_add_header(raw, "kid", kid_.c_str()) != 0 ||
      jwt_set_alg(raw, hmac_ ? JWT_ALG_HS256 : JWT_ALG_ES256, reinterpret_cast<const unsigned char*>(key_.data()),
                  static_cast<int>(key_.size())) != 0) {
    return absl::InternalError("building a token failed");
  }
  char* text = jwt_encode_str(raw);
  if (text == nullptr) return absl::InternalError("signing a token failed");
  std::string token(text);
  std::free(text);
  return token;
}

}  // namespace pga::token
