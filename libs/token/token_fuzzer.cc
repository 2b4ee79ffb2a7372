// Tokens of strangers, by the kind of the input (FuzzKindOf):
//   c  changes of a token that is good, pairs of a place and a byte: nothing but the token itself is good
//   s  header and payload, separated by a line feed, signed with the secret: what is accepted is one caller, in time
//   k  a key set: what is accepted is written and read again alike
//   w  a whole token: nobody guesses one
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "libs/frame/fuzz_kind.h"
#include "libs/token/keys.h"
#include "libs/token/signer.h"
#include "libs/token/verifier.h"

namespace {

using namespace pga::token;  // NOLINT(google-build-using-namespace): the fuzzer is about this namespace alone

constexpr char kSecret[] = "a secret of at least thirty-two bytes";
const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

void Require(bool holds) {
  if (!holds) std::abort();
}

struct World {
  World() {
    const auto by_key = Signer::FromPrivateKeyPem(GenerateKeyPem().value()).value();
    const auto by_secret = Signer::FromSecret(kSecret).value();
    Require(verifier.SetHmacSecrets({kSecret}).ok());
    Require(verifier.SetJwks(JwksFromKeys(std::vector{*by_key->public_key()})).ok());
    Claims claims;
    claims.principal.kind = Principal::kUser;
    claims.principal.user_id = 7;
    claims.principal.username = "dba";
    claims.principal.role = "viewer";
    claims.principal.all_groups = true;
    claims.principal.issued_at = kNow;
    claims.principal.expires_at = kNow + absl::Minutes(15);
    good[0] = by_key->Sign(claims).value();
    good[1] = by_secret->Sign(claims).value();
    for (const std::string& token : good) Require(verifier.Verify(token, kNow).ok());
  }
  Verifier verifier;
  std::string good[2];
};

const World& TheWorld() {
  static const auto* const kWorld = new World();
  return *kWorld;
}

void Changed(std::string_view input) {
  if (input.empty()) return;
  const std::string& token = TheWorld().good[input[0] & 1];
  input.remove_prefix(1);
  std::string changed = token;
  for (; input.size() >= 3; input.remove_prefix(3)) {
    const size_t place = static_cast<uint8_t>(input[0]) << 8 | static_cast<uint8_t>(input[1]);
    changed[place % changed.size()] = input[2];
  }
  if (!input.empty()) changed.resize(static_cast<uint8_t>(input[0]) * changed.size() / 255);
  Require(TheWorld().verifier.Verify(changed, kNow).ok() == (changed == token));
}

void Signed(std::string_view input) {
  const size_t line = input.find('\n');
  if (line == std::string_view::npos) return;
  const std::string text = Base64UrlEncode(input.substr(0, line)) + "." + Base64UrlEncode(input.substr(line + 1));
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int bytes = 0;
  HMAC(EVP_sha256(), kSecret, sizeof(kSecret) - 1, reinterpret_cast<const unsigned char*>(text.data()), text.size(),
       mac, &bytes);
  const std::string token = text + "." + Base64UrlEncode({reinterpret_cast<const char*>(mac), bytes});
  for (const TokenType type : {TokenType::kAccess, TokenType::kRefresh}) {
    const auto claims = TheWorld().verifier.VerifyClaims(token, type, kNow);
    if (!claims.ok()) continue;
    const Principal& p = claims->principal;
    Require(claims->type == type && (type == TokenType::kAccess || p.kind == Principal::kUser));
    Require(p.expires_at + Verifier::kLeeway > kNow && p.issued_at <= kNow + Verifier::kLeeway);
    Require((p.user_id > 0) + !p.collector_id.empty() + !p.service.empty() == 1);
    Require(p.kind != Principal::kUser || ParseRole(p.role) != Role::kNone);
    Require(p.kind != Principal::kCollector || p.subject == "collector:" + p.collector_id);
    Require(p.kind != Principal::kService || p.subject == "service:" + p.service);
    Require(!p.from_certificate);
  }
}

void KeySet(std::string_view input) {
  const auto keys = KeysFromJwks(input);
  if (!keys.ok()) return;
  const auto again = KeysFromJwks(JwksFromKeys(*keys));
  Require(again.ok() && again->size() == keys->size());
  for (size_t i = 0; i < keys->size(); ++i) {
    Require((*again)[i].kid == (*keys)[i].kid && (*again)[i].x == (*keys)[i].x && (*again)[i].y == (*keys)[i].y);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (pga::frame::FuzzKindOf(data)) {
    case 'c':
      Changed(input);
      break;
    case 's':
      Signed(input);
      break;
    case 'k':
      KeySet(input);
      break;
    case 'w':
      (void)TheWorld().verifier.VerifiesCheaply(input);
      Require(!TheWorld().verifier.Verify(input, kNow).ok());
      break;
    default:
      break;
  }
  return 0;
}
