// What checking a token costs; every call of every service pays it once.
#include <benchmark/benchmark.h>

#include "libs/token/keys.h"
#include "libs/token/signer.h"
#include "libs/token/verifier.h"

namespace pga::token {
namespace {

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";

Claims User() {
  Claims claims;
  claims.principal.kind = Principal::kUser;
  claims.principal.user_id = 7;
  claims.principal.username = "dba";
  claims.principal.role = "user";
  claims.principal.all_groups = true;
  claims.principal.issued_at = absl::FromUnixSeconds(1'800'000'000);
  claims.principal.expires_at = absl::FromUnixSeconds(1'800'000'900);
  return claims;
}

void Check(benchmark::State& state, const Signer& signer, const Verifier& verifier) {
  const std::string token = *signer.Sign(User());
  const absl::Time now = absl::FromUnixSeconds(1'800'000'001);
  for (auto _ : state) benchmark::DoNotOptimize(verifier.Verify(token, now).ok());
}

void VerifyHs256(benchmark::State& state) {
  const auto signer = *Signer::FromSecret(kSecret);
  Verifier verifier;
  (void)verifier.SetHmacSecrets({kSecret});
  Check(state, *signer, verifier);
}
BENCHMARK(VerifyHs256);

void VerifyEs256(benchmark::State& state) {
  const auto signer = *Signer::FromPrivateKeyPem(*GenerateKeyPem());
  Verifier verifier;
  (void)verifier.SetJwks(JwksFromKeys(std::vector{*signer->public_key()}));
  Check(state, *signer, verifier);
}
BENCHMARK(VerifyEs256);

// As above, but every time a token that was not seen before.
void VerifyEs256FirstTime(benchmark::State& state) {
  const auto signer = *Signer::FromPrivateKeyPem(*GenerateKeyPem());
  const std::string jwks = JwksFromKeys(std::vector{*signer->public_key()});
  const std::string token = *signer->Sign(User());
  Verifier verifier;
  for (auto _ : state) {
    state.PauseTiming();
    (void)verifier.SetJwks(jwks);
    state.ResumeTiming();
    benchmark::DoNotOptimize(verifier.Verify(token, absl::FromUnixSeconds(1'800'000'001)).ok());
  }
}
BENCHMARK(VerifyEs256FirstTime);

void SignEs256(benchmark::State& state) {
  const auto signer = *Signer::FromPrivateKeyPem(*GenerateKeyPem());
  for (auto _ : state) benchmark::DoNotOptimize(signer->Sign(User()).ok());
}
BENCHMARK(SignEs256);

}  // namespace
}  // namespace pga::token
