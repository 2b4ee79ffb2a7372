#include "services/auth/revocation_feed.h"

#include <algorithm>
#include <utility>

#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::auth {

void RevocationFeed::Subscription::Delivered() {
  bool more = false;
  {
    absl::MutexLock lock(&mutex_);
    sending_ = false;
    // Still behind after a full batch: do not wait for the next second.
    more = sink_ != nullptr && cursor_ < feed_->local_->last_number();
  }
  if (more) feed_->Wake();
}

void RevocationFeed::Subscription::Detach() {
  absl::MutexLock lock(&mutex_);
  sink_ = nullptr;
}

RevocationFeed::RevocationFeed(AuthStore* store, token::RevocationSet* local, clock::Clock* clock,
                               metrics::Registry* metrics)
    : store_(store),
      local_(local),
      clock_(clock),
      subscribers_gauge_(
          metrics->AddGauge("pga_auth_revocation_subscribers", "Services that follow revocations right now.")),
      failures_counter_(metrics->AddCounter("pga_auth_revocation_read_failures_total",
                                            "Times the revocations could not be read from the database.")) {}

RevocationFeed::~RevocationFeed() {
  Close();
}

absl::Status RevocationFeed::ReadLocal(clock::SteadyTime deadline) {
  while (true) {
    PGA_ASSIGN_OR_RETURN(const std::vector<token::Revocation> batch,
                         store_->ListRevocations(local_->last_number(), kBatch, deadline));
    local_->Apply(batch, clock_->BoottimeNanos());
    if (batch.size() < static_cast<size_t>(kBatch)) return absl::OkStatus();
  }
}

absl::Status RevocationFeed::Load(clock::SteadyTime deadline) {
  return status::Annotate(ReadLocal(deadline), "reading revocations");
}

void RevocationFeed::Start() {
  absl::MutexLock lock(&mutex_);
  if (closed_ || task_ != nullptr) return;
  task_ = std::make_unique<exec::PeriodicTask>("revocations", kPeriod, clock_, [this] { Tick(); });
}

void RevocationFeed::Wake() {
  absl::MutexLock lock(&mutex_);
  if (task_ != nullptr) task_->Wake();
}

void RevocationFeed::Tick() {
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(2);
  const absl::Status read = ReadLocal(deadline);
  if (!read.ok()) {
    failures_counter_.Increment();
    PGA_LOG(
        warn, "revocations cannot be read; services will stop trusting people's tokens",
        {{"status", read}, {"seconds_without_news", absl::Nanoseconds(clock_->BoottimeNanos() - local_->last_news())}});
    return;
  }
  std::vector<std::shared_ptr<Subscription>> subscribers;
  {
    absl::MutexLock lock(&mutex_);
    std::erase_if(subscribers_, [](const std::shared_ptr<Subscription>& subscription) {
      absl::MutexLock subscription_lock(&subscription->mutex_);
      return subscription->sink_ == nullptr;
    });
    subscribers = subscribers_;
    subscribers_gauge_.Set(static_cast<double>(subscribers.size()));
  }
  const int64_t last = local_->last_number();
  for (const auto& subscription : subscribers) Serve(subscription, last, deadline);
}

void RevocationFeed::Serve(const std::shared_ptr<Subscription>& subscription, int64_t last,
                           clock::SteadyTime deadline) {
  int64_t cursor = 0;
  {
    absl::MutexLock lock(&subscription->mutex_);
    if (subscription->sink_ == nullptr || subscription->sending_) return;
    cursor = subscription->cursor_;
  }
  std::vector<token::Revocation> batch;
  if (cursor < last) {
    // Read without the lock: the sink may go away meanwhile. Only this thread moves the cursor.
    auto read = store_->ListRevocations(cursor, kBatch, deadline);
    if (!read.ok()) return;
    batch = *std::move(read);
  }
  absl::MutexLock lock(&subscription->mutex_);
  if (subscription->sink_ == nullptr) return;
  subscription->cursor_ = batch.empty() ? std::max(cursor, last) : batch.back().number;
  subscription->sending_ = true;
  subscription->sink_->Send(batch);
}

std::shared_ptr<RevocationFeed::Subscription> RevocationFeed::MakeSubscription(RevocationSink* sink, int64_t after) {
  return std::shared_ptr<Subscription>(new Subscription(this, sink, std::max<int64_t>(0, after)));
}

absl::Status RevocationFeed::Add(const std::shared_ptr<Subscription>& subscription) {
  absl::MutexLock lock(&mutex_);
  if (closed_ || subscribers_.size() >= kMaxSubscribers) {
    return status::WithRetryAfter(absl::UnavailableError("revocations are not handed out at the moment"),
                                  absl::Seconds(1));
  }
  subscribers_.push_back(subscription);
  if (task_ != nullptr) task_->Wake();
  return absl::OkStatus();
}

void RevocationFeed::Close() {
  std::vector<std::shared_ptr<Subscription>> subscribers;
  std::unique_ptr<exec::PeriodicTask> task;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    subscribers.swap(subscribers_);
    task.swap(task_);
  }
  if (task != nullptr) task->Stop();
  for (const auto& subscription : subscribers) {
    absl::MutexLock lock(&subscription->mutex_);
    if (subscription->sink_ != nullptr) {
      RevocationSink* sink = subscription->sink_;
      subscription->sink_ = nullptr;
      sink->End(absl::UnavailableError("auth is stopping"));
    }
  }
}

}  // namespace pga::auth
