#include "libs/rpc/auth_watch.h"

#include <utility>
#include <vector>

#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"

namespace pga::rpc {
namespace {

namespace auth = pganalytics::auth::v1;

// A subscription is opened anew this often; a stream that hangs without an error costs no longer than this, and
// per-call questions bridge it.
constexpr absl::Duration kWatchFor = absl::Seconds(60);
constexpr absl::Duration kTellUsesEvery = absl::Seconds(20);
constexpr absl::Duration kKeysFor = absl::Minutes(5);
// Revoked token ids are kept for as long as a token can live (collectors: 90 days, and some more).
constexpr absl::Duration kKeepIds = absl::Hours(24 * 100);

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

}  // namespace

RevocationWatcher::RevocationWatcher(std::shared_ptr<grpc::Channel> auth_channel, ServiceIdentity* identity,
                                     token::RevocationSet* set, clock::Clock* clock)
    : auth_(std::move(auth_channel)), identity_(identity), set_(set), clock_(clock) {
  absl::MutexLock lock(&join_mutex_);
  thread_ = std::thread([this] { Run(); });
}

RevocationWatcher::~RevocationWatcher() {
  Stop();
}

void RevocationWatcher::Stop() {
  canceller_.Cancel();
  sleeper_.Interrupt();
  absl::MutexLock lock(&join_mutex_);
  if (thread_.joinable()) thread_.join();
}

void RevocationWatcher::Run() {
  auto stub = auth::IdentityService::NewStub(auth_);
  retry::Backoff backoff({.initial = absl::Milliseconds(200), .max = absl::Seconds(2)});
  bool reported = false;
  while (!canceller_.cancelled()) {
    // At the start the service's own token comes first; that is no news of an outage (the identity logs its own).
    if (identity_->Token().empty()) {
      if (!sleeper_.Sleep(absl::Milliseconds(100))) break;
      continue;
    }
    auth::WatchRevocationsRequest request;
    request.set_after(set_->last_number());
    CallOptions options = OwnWork(kWatchFor, identity_);
    options.canceller = &canceller_;
    int batches = 0;
    const absl::Status status =
        CallStream<auth::IdentityService::Stub, auth::WatchRevocationsRequest, auth::RevocationBatch>(
            *stub, &auth::IdentityService::Stub::WatchRevocations, request, options, [&](auth::RevocationBatch& batch) {
              std::vector<token::Revocation> revocations;
              revocations.reserve(static_cast<size_t>(batch.revocations_size()));
              for (const auth::Revocation& r : batch.revocations()) {
                revocations.push_back({.number = r.number(),
                                       .subject = r.subject(),
                                       .issued_before = FromProto(r.issued_before()),
                                       .jti = r.jti()});
              }
              const int64_t now = clock_->BoottimeNanos();
              set_->Apply(revocations, now);
              set_->Forget(now - absl::ToInt64Nanoseconds(kKeepIds));
              // The first one comes at once, even of an auth that then cannot read more.
              if (++batches < 2) return absl::OkStatus();
              backoff.Reset();
              if (std::exchange(reported, false)) PGA_LOG(info, "news of revocations again");
              return absl::OkStatus();
            });
    if (canceller_.cancelled()) break;
    // The planned end of a subscription is followed by the next one at once.
    if (absl::IsDeadlineExceeded(status) && set_->HasNews(clock_->BoottimeNanos())) continue;
    if (!std::exchange(reported, true)) {
      PGA_LOG(warn, "no news of revocations; asking again", {{"status", status}});
    }
    if (!sleeper_.Sleep(backoff.Next())) break;
  }
}

JwksWatcher::JwksWatcher(std::shared_ptr<grpc::Channel> auth_channel, token::Verifier* verifier, clock::Clock* clock)
    : auth_(std::move(auth_channel)), verifier_(verifier), clock_(clock) {
  // Ticks once a second, which is also the least time between two questions.
  verifier_->OnUnknownKey([this] { wanted_.store(true); });
  task_ = std::make_unique<exec::PeriodicTask>("key-set", absl::Seconds(1), clock, [this] { Tick(); });
  task_->Wake();
}

JwksWatcher::~JwksWatcher() {
  Stop();
}
void JwksWatcher::Stop() {
  task_->Stop();
}

absl::Status JwksWatcher::WaitReady(clock::SteadyTime deadline) {
  absl::MutexLock lock(&mutex_);
  if (clock::AwaitUntil(mutex_, absl::Condition(&ready_), deadline)) return absl::OkStatus();
  return absl::DeadlineExceededError("no key set from auth: " + std::string(last_.message()));
}

void JwksWatcher::Tick() {
  {
    absl::MutexLock lock(&mutex_);
    if (!wanted_.load() && ready_ && clock_->Steady() < fetched_at_ + kKeysFor) return;
  }
  wanted_.store(false);
  auto stub = auth::IdentityService::NewStub(auth_);
  auto answer =
      Call(*stub, &auth::IdentityService::Stub::GetJwks, auth::GetJwksRequest(), OwnWork(absl::Seconds(5), nullptr));
  const absl::Status status = answer.ok() ? verifier_->SetJwks(answer->jwks_json()) : answer.status();
  if (!status.ok()) wanted_.store(true);
  absl::MutexLock lock(&mutex_);
  if (status.ok()) {
    if (!last_.ok() && ready_) PGA_LOG(info, "key set from auth again");
    ready_ = true;
    fetched_at_ = clock_->Steady();
  } else if (last_.message() != status.message()) {
    PGA_LOG(warn, "no key set from auth; asking again", {{"status", status}});
  }
  last_ = status;
}

std::unique_ptr<exec::PeriodicTask> TellTokenUses(std::shared_ptr<grpc::Channel> auth_channel,
                                                  ServiceIdentity* identity, const Authenticator* authenticator,
                                                  clock::Clock* clock) {
  std::shared_ptr<auth::IdentityService::Stub> stub = auth::IdentityService::NewStub(auth_channel);
  return std::make_unique<exec::PeriodicTask>("token-uses", kTellUsesEvery, clock, [stub, identity, authenticator] {
    auth::NoteTokenUseRequest request;
    for (const auto& [id, at] : authenticator->token_uses()->Take()) {
      auth::TokenUse* use = request.add_uses();
      use->set_token_id(id);
      use->mutable_used_at()->set_seconds(absl::ToUnixSeconds(at));
    }
    if (request.uses_size() == 0) return;
    // A report that is lost costs the exact minute of a last use, no more.
    const absl::Status sent =
        Call(*stub, &auth::IdentityService::Stub::NoteTokenUse, request, OwnWork(absl::Seconds(5), identity)).status();
    if (!sent.ok()) PGA_LOG(debug, "uses of API tokens were not sent", {{"status", sent}});
  });
}

std::function<absl::StatusOr<bool>(const token::Principal&, clock::SteadyTime)> MakeRevocationCheck(
    std::shared_ptr<grpc::Channel> auth_channel, ServiceIdentity* identity) {
  std::shared_ptr<auth::IdentityService::Stub> stub = auth::IdentityService::NewStub(auth_channel);
  return [stub, identity](const token::Principal& principal, clock::SteadyTime deadline) -> absl::StatusOr<bool> {
    auth::CheckRevocationRequest request;
    request.set_subject(principal.subject);
    request.set_jti(principal.jti);
    request.set_session(principal.session);
    const int64_t micros = absl::ToUnixMicros(principal.issued_at);
    request.mutable_issued_at()->set_seconds(micros / 1'000'000);
    request.mutable_issued_at()->set_nanos(static_cast<int32_t>(micros % 1'000'000) * 1000);
    CallOptions options = OwnWork(absl::Seconds(2), identity);
    options.deadline = std::min(options.deadline, deadline);
    PGA_ASSIGN_OR_RETURN(auth::CheckRevocationResponse answer,
                         Call(*stub, &auth::IdentityService::Stub::CheckRevocation, request, options));
    return answer.revoked();
  };
}

}  // namespace pga::rpc
