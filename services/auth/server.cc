#include "services/auth/server.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/exec/periodic_task.h"
#include "libs/exec/shutdown.h"
#include "libs/exec/thread_pool.h"
#include "libs/log/log.h"
#include "libs/pg/pool.h"
#include "libs/retry/retry.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "services/auth/accounts.h"
#include "services/auth/api_tokens.h"
#include "services/auth/auth_service.h"
#include "services/auth/authorization_service.h"
#include "services/auth/certificate_authority.h"
#include "services/auth/collector_access.h"
#include "services/auth/identity_service.h"
#include "services/auth/key_files.h"
#include "services/auth/password_hasher.h"
#include "services/auth/people_commands.h"
#include "services/auth/pg_auth_store.h"
#include "services/auth/refusals.h"
#include "services/auth/revocation_feed.h"
#include "services/auth/rules.h"
#include "services/auth/sealing_key.h"
#include "services/auth/service_secrets.h"
#include "services/auth/token_issuer.h"

namespace pga::auth {
namespace {

constexpr char kCaName[] = "collector-ca";
constexpr absl::Duration kUpkeepPeriod = absl::Hours(1);
constexpr absl::Duration kSealPeriod = absl::Minutes(10);
constexpr absl::Duration kNoteUsesPeriod = absl::Seconds(20);
// Of seal_audit().
constexpr int64_t kMostRowsOfSeal = 10'000;
constexpr absl::Duration kStartStep = absl::Seconds(10);

// Waits that a shutdown ends.
class UntilShutdown final : public retry::Sleeper {
 public:
  bool Sleep(absl::Duration duration) override {
    return !exec::ShutdownSignal::WaitUntil(clock::SteadyNow() + duration);
  }
};

absl::StatusOr<std::unique_ptr<token::Signer>> MakeSigner(const AuthConfig& config, token::Verifier* verifier) {
  std::string secret = config.jwt_secret.Reveal();
  if (secret.empty() && config.jwt_signing_key.empty()) {
    const std::string directory = config.StateDir();
    PGA_RETURN_IF_ERROR(MakeStateDir(directory));
    PGA_ASSIGN_OR_RETURN(secret, ReadOrMakeKeyFile(absl::StrCat(directory, "/jwt-secret"),
                                                   []() -> absl::StatusOr<std::string> { return RandomSecret(); }));
    PGA_LOG(info, "JWT_SECRET is unset; the key of the state folder is used", {{"folder", directory}});
  }
  std::vector<std::string> secrets;
  if (!secret.empty()) secrets.push_back(secret);
  if (!config.jwt_secret_previous.empty()) secrets.push_back(config.jwt_secret_previous.Reveal());
  PGA_RETURN_IF_ERROR(status::Annotate(verifier->SetHmacSecrets(secrets), "JWT_SECRET"));
  if (config.jwt_signing_key.empty()) return token::Signer::FromSecret(secret);
  auto signer = token::Signer::FromPrivateKeyPem(config.jwt_signing_key.Reveal());
  if (!signer.ok()) return status::Annotate(signer.status(), "JWT_SIGNING_KEY");
  return signer;
}

absl::StatusOr<std::unique_ptr<CertificateAuthority>> LoadAuthority(const AuthConfig& config, AuthStore* store,
                                                                    clock::Clock* clock) {
  const clock::SteadyTime deadline = clock::SteadyNow() + kStartStep;
  PGA_ASSIGN_OR_RETURN(const SealingKey key, LoadSealingKey(config));
  PGA_ASSIGN_OR_RETURN(std::optional<SealedKey> stored, store->FindSealedKey(kCaName, deadline));
  if (!stored.has_value()) {
    PGA_ASSIGN_OR_RETURN(const CertificateAuthority::Pem fresh, CertificateAuthority::Generate(clock->Now()));
    SealedKey sealed;
    sealed.certificate_pem = fresh.certificate;
    sealed.sealed_with = key.id;
    PGA_ASSIGN_OR_RETURN(sealed.sealed_key, key.box.Seal(fresh.private_key, kCaName));
    PGA_ASSIGN_OR_RETURN(stored, store->AddSealedKey(kCaName, sealed, clock->Now(), deadline));
  }
  if (stored->sealed_with != key.id) {
    return absl::FailedPreconditionError(
        absl::StrCat("the CA key in the database was sealed with key ", stored->sealed_with, ", but ", key.origin,
                     " is key ", key.id,
                     "; start with the former ENCRYPTION_KEY, BACKUP_KEY or STATE_DIR; where that is lost: DELETE FROM "
                     "pganalytics.sealed_keys, after which a new CA is made"));
  }
  CertificateAuthority::Pem pem;
  pem.certificate = stored->certificate_pem;
  auto opened = key.box.Open(stored->sealed_key, kCaName);
  if (!opened.ok()) return status::Annotate(opened.status(), "the CA key in the database");
  pem.private_key = *std::move(opened);
  return CertificateAuthority::Load(pem);
}

// Makes the account `admin` where there are no users: with ADMIN_PASSWORD, or outside production with one that is made
// and kept in STATE_DIR. Whether there are users afterwards.
absl::StatusOr<bool> SeedAdmin(const AuthConfig& config, AuthStore* store, PasswordHasher* hasher,
                               clock::Clock* clock) {
  const clock::SteadyTime deadline = clock::SteadyNow() + kStartStep;
  std::string password = config.admin_password.Reveal();
  std::string file;
  if (password.empty()) {
    PGA_ASSIGN_OR_RETURN(const int64_t users, store->CountUsers(deadline));
    if (users > 0) return true;
    if (config.production()) return false;
    PGA_RETURN_IF_ERROR(MakeStateDir(config.StateDir()));
    file = absl::StrCat(config.StateDir(), "/admin-password");
    PGA_ASSIGN_OR_RETURN(password,
                         ReadOrMakeKeyFile(file, []() -> absl::StatusOr<std::string> { return TemporaryPassword(); }));
  }
  PGA_ASSIGN_OR_RETURN(const bool seeded,
                       MakeFirstPerson(store, hasher, clock, kProtectedUsername, password, deadline));
  if (seeded) PGA_LOG(info, "the account admin was made", {{"password_file", file}});
  return true;
}

}  // namespace

struct AuthServer::Parts {
  AuthDeps deps;
  absl::Duration audit_retention;
  bool has_people = false;
  std::unique_ptr<pg::Pool> pool;
  std::unique_ptr<PgAuthStore> store;
  std::unique_ptr<token::Signer> signer;
  std::unique_ptr<TokenIssuer> issuer;
  std::unique_ptr<PasswordHasher> hasher;
  std::unique_ptr<CertificateAuthority> authority;
  std::unique_ptr<RevocationFeed> feed;
  std::unique_ptr<Refusals> refusals;
  std::unique_ptr<ServiceSecrets> service_secrets;
  std::unique_ptr<Accounts> accounts;
  std::unique_ptr<CollectorAccess> access;
  std::unique_ptr<ApiTokens> api_tokens;
  std::unique_ptr<exec::ThreadPool> people_pool;
  std::unique_ptr<exec::ThreadPool> service_pool;
  std::unique_ptr<rpc::Dispatcher> people_dispatcher;
  std::unique_ptr<rpc::Dispatcher> service_dispatcher;
  std::unique_ptr<AuthServiceImpl> auth_service;
  std::unique_ptr<IdentityServiceImpl> identity_service;
  std::unique_ptr<AuthorizationServiceImpl> authorization_service;
  std::unique_ptr<exec::PeriodicTask> upkeep;
  std::unique_ptr<exec::PeriodicTask> seals;
  std::unique_ptr<exec::PeriodicTask> token_uses;
};

absl::StatusOr<std::unique_ptr<AuthServer>> AuthServer::Create(const AuthConfig& config, const AuthDeps& deps) {
  PGA_RETURN_IF_ERROR(Validate(config));
  for (const std::string& problem : WeakSecrets(config)) {
    PGA_LOG(warn, "a secret is not good enough for production", {{"problem", problem}});
  }
  auto parts = std::make_unique<Parts>();
  parts->deps = deps;
  parts->audit_retention = config.audit_retention;

  pg::PoolOptions pool_options;
  pool_options.url = config.database_url.Reveal();
  pool_options.application_name = "pganalytics-auth";
  pool_options.role = "pganalytics_auth";
  pool_options.size = config.connections;
  auto pool = pg::Pool::Create(pool_options);
  if (!pool.ok()) return status::Annotate(pool.status(), "DATABASE_URL");
  parts->pool = *std::move(pool);

  TokenLifetimes lifetimes;
  lifetimes.access = config.access_lifetime;
  lifetimes.refresh = config.refresh_lifetime;
  lifetimes.collector = config.collector_lifetime;
  const RevocationHorizons horizons = HorizonsOf(config);
  parts->store = std::make_unique<PgAuthStore>(parts->pool.get(), horizons);

  PGA_ASSIGN_OR_RETURN(parts->signer, MakeSigner(config, deps.verifier));
  std::string jwks = token::JwksFromKeys({});
  if (parts->signer->public_key().has_value()) {
    const token::EcPublicKey key = *parts->signer->public_key();
    jwks = token::JwksFromKeys({&key, 1});
    PGA_RETURN_IF_ERROR(deps.verifier->SetJwks(jwks));
  }
  parts->issuer = std::make_unique<TokenIssuer>(parts->signer.get(), lifetimes);

  PasswordHasherOptions hasher_options;
  hasher_options.max_concurrent = config.hash_concurrency;
  hasher_options.max_waiting = std::max(1, config.people_threads - config.hash_concurrency);
  parts->hasher = std::make_unique<PasswordHasher>(hasher_options);

  parts->feed = std::make_unique<RevocationFeed>(parts->store.get(), deps.revocations, deps.clock, deps.metrics);
  const auto on_revocation = [feed = parts->feed.get()] { feed->Wake(); };
  AccountsOptions account_options;
  account_options.session_lifetime = config.session_lifetime;
  parts->refusals = std::make_unique<Refusals>(parts->store.get(), deps.clock, deps.metrics);
  PGA_ASSIGN_OR_RETURN(parts->service_secrets,
                       ServiceSecrets::Open(config.service_secrets_dir, config.production(), deps.clock));
  parts->accounts =
      std::make_unique<Accounts>(parts->store.get(), parts->refusals.get(), parts->hasher.get(), parts->issuer.get(),
                                 deps.verifier, deps.clock, deps.metrics, account_options, on_revocation);

  // The database may come up after us.
  retry::RetryPolicy start;
  start.max_attempts = 0;
  start.deadline = clock::SteadyNow() + config.startup_timeout;
  start.backoff.max = absl::Seconds(2);
  UntilShutdown sleeper;
  const auto may_come_up = [](const absl::Status& status) {
    return retry::IsTransient(status) || absl::IsDeadlineExceeded(status);
  };
  const absl::Status ready = retry::RetryLoop(start, may_come_up, &sleeper, [&]() -> absl::Status {
    const absl::Status loaded = parts->feed->Load(clock::SteadyNow() + kStartStep);
    if (!loaded.ok() && may_come_up(loaded)) PGA_LOG(warn, "waiting for the metadata database", {{"status", loaded}});
    return loaded;
  });
  if (absl::IsNotFound(ready)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the metadata database is not prepared; run `migrate up` first (", ready.message(), ")"));
  }
  PGA_RETURN_IF_ERROR(ready);
  PGA_ASSIGN_OR_RETURN(parts->authority, LoadAuthority(config, parts->store.get(), deps.clock));
  PGA_ASSIGN_OR_RETURN(parts->has_people, SeedAdmin(config, parts->store.get(), parts->hasher.get(), deps.clock));

  parts->access = std::make_unique<CollectorAccess>(parts->store.get(), parts->refusals.get(), parts->issuer.get(),
                                                    parts->authority.get(), deps.clock,
                                                    config.registration_secret.Reveal(), on_revocation);

  parts->api_tokens = std::make_unique<ApiTokens>(parts->store.get(), parts->issuer.get(), deps.clock, on_revocation);

  const auto queue = static_cast<size_t>(config.queue);
  parts->people_pool = std::make_unique<exec::ThreadPool>("auth-people", config.people_threads, queue);
  parts->service_pool = std::make_unique<exec::ThreadPool>("auth-services", config.service_threads, queue);
  rpc::Dispatcher::Options dispatcher_options;
  dispatcher_options.request_timeout = config.request_timeout;
  // Followers of revocations stay for as long as they run.
  dispatcher_options.stream_timeout = absl::Hours(24);
  // Deadlines of calls are the real clock's, whatever clock decides about tokens.
  dispatcher_options.error_domain = "auth.pganalytics";
  parts->people_dispatcher = std::make_unique<rpc::Dispatcher>(deps.authenticator, parts->people_pool.get(),
                                                               deps.metrics, clock::Clock::Real(), dispatcher_options);
  parts->service_dispatcher = std::make_unique<rpc::Dispatcher>(deps.authenticator, parts->service_pool.get(),
                                                                deps.metrics, clock::Clock::Real(), dispatcher_options);
  parts->auth_service = std::make_unique<AuthServiceImpl>(parts->accounts.get(), parts->access.get(),
                                                          parts->api_tokens.get(), parts->people_dispatcher.get());
  IdentityServiceImpl::Parts identity;
  identity.access = parts->access.get();
  identity.issuer = parts->issuer.get();
  identity.store = parts->store.get();
  identity.feed = parts->feed.get();
  identity.clock = deps.clock;
  identity.dispatcher = parts->service_dispatcher.get();
  identity.jwks_json = jwks;
  identity.ca_pem = parts->authority->certificate_pem();
  identity.service_secrets = parts->service_secrets.get();
  identity.refusals = parts->refusals.get();
  parts->identity_service = std::make_unique<IdentityServiceImpl>(std::move(identity));
  parts->authorization_service =
      std::make_unique<AuthorizationServiceImpl>(deps.authenticator, parts->service_dispatcher.get(),
                                                 parts->service_secrets.get(), parts->issuer.get(), deps.clock);

  parts->feed->Start();
  Parts* raw = parts.get();
  parts->upkeep = std::make_unique<exec::PeriodicTask>("auth-upkeep", kUpkeepPeriod, deps.clock, [raw, horizons] {
    const absl::Time now = raw->deps.clock->Now();
    raw->deps.revocations->Forget(raw->deps.clock->BoottimeNanos() - absl::ToInt64Nanoseconds(horizons.collectors));
    const auto deleted = raw->store->DeleteExpired(now, clock::SteadyNow() + absl::Minutes(1));
    if (!deleted.ok()) PGA_LOG(warn, "expired rows could not be deleted", {{"status", deleted.status()}});
    if (raw->audit_retention <= absl::ZeroDuration()) return;
    const auto pruned = raw->store->PruneAudit(now - raw->audit_retention, clock::SteadyNow() + absl::Minutes(1));
    if (!pruned.ok()) PGA_LOG(warn, "old audit rows could not be deleted", {{"status", pruned.status()}});
  });
  parts->seals = std::make_unique<exec::PeriodicTask>("audit-seals", kSealPeriod, deps.clock, [raw] {
    const auto sealed = raw->store->SealAudit(clock::SteadyNow() + absl::Minutes(1));
    if (!sealed.ok()) PGA_LOG(warn, "audit rows could not be sealed", {{"status", sealed.status()}});
    // There are more than one seal takes.
    if (sealed.ok() && *sealed >= kMostRowsOfSeal) raw->seals->Wake();
  });
  // A process that is started again often seals all the same.
  parts->seals->Wake();
  // Of the services that share this process; others report by NoteTokenUse.
  parts->token_uses = std::make_unique<exec::PeriodicTask>("token-uses", kNoteUsesPeriod, deps.clock, [raw] {
    const auto uses = raw->deps.authenticator->token_uses()->Take();
    const absl::Status noted = raw->store->NoteTokenUses(uses, clock::SteadyNow() + kStartStep);
    if (!noted.ok()) PGA_LOG(debug, "uses of API tokens were not noted", {{"status", noted}});
  });
  return std::unique_ptr<AuthServer>(new AuthServer(std::move(parts)));
}

AuthServer::AuthServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

AuthServer::~AuthServer() {
  Drain(clock::SteadyNow());
}

std::vector<grpc::Service*> AuthServer::services() {
  return {parts_->auth_service.get(), parts_->identity_service.get(), parts_->authorization_service.get()};
}

const token::Signer* AuthServer::signer() const {
  return parts_->signer.get();
}

bool AuthServer::has_people() const {
  return parts_->has_people;
}

const std::string& AuthServer::ca_certificate_pem() const {
  return parts_->authority->certificate_pem();
}

absl::StatusOr<bool> AuthServer::CheckRevocation(const token::Principal& principal, clock::SteadyTime deadline) {
  return parts_->store->IsRevoked(principal.subject, principal.jti, principal.session, principal.issued_at, deadline);
}

void AuthServer::PrepareDrain() {
  parts_->feed->Close();
}

void AuthServer::Drain(clock::SteadyTime deadline) {
  parts_->upkeep->Stop();
  parts_->seals->Stop();
  parts_->token_uses->Stop();
  parts_->feed->Close();
  parts_->people_pool->Drain(deadline);
  parts_->service_pool->Drain(deadline);
}

}  // namespace pga::auth
