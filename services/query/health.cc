#include "services/query/health.h"

#include "libs/clock/steady.h"
#include "libs/log/log.h"

namespace pga::query {
namespace {
// An outcome is good for this long, so that asking twice in a row does not ping twice.
constexpr absl::Duration kFresh = absl::Milliseconds(100);
}  // namespace

void HealthProbe::Start(clock::SteadyTime deadline) {
  absl::MutexLock lock(&mutex_);
  if (running_ || clock::SteadyNow() - finished_at_ < kFresh) return;
  running_ = pool_->TrySubmit([this, deadline] {
    const absl::Status status = probe_(deadline);
    absl::MutexLock done(&mutex_);
    if (!status.ok() && last_.ok()) {
      PGA_LOG(warn, "a database does not answer", {{"database", name_}, {"status", status}});
    } else if (status.ok() && !last_.ok()) {
      PGA_LOG(info, "a database answers again", {{"database", name_}});
    }
    last_ = status;
    running_ = false;
    finished_at_ = clock::SteadyNow();
  });
  if (!running_) last_ = absl::ResourceExhaustedError(name_ + ": no thread for a health check");
}

absl::Status HealthProbe::Check(clock::SteadyTime deadline) {
  Start(deadline);
  absl::MutexLock lock(&mutex_);
  if (!clock::AwaitUntil(mutex_, absl::Condition(this, &HealthProbe::Idle), deadline)) {
    return absl::DeadlineExceededError(name_ + " did not answer in time");
  }
  return last_;
}

}  // namespace pga::query
