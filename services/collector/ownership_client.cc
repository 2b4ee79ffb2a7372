#include "services/collector/ownership_client.h"

#include <algorithm>
#include <utility>

#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/rpc/client.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"

namespace pga::collector {
namespace {

constexpr absl::Duration kCallLimit = absl::Seconds(5);
constexpr absl::Duration kReleaseLimit = absl::Seconds(2);
// After a failure, and while there is nothing to report yet.
constexpr absl::Duration kRetry = absl::Milliseconds(250);
constexpr absl::Duration kRetryMost = absl::Seconds(15);

}  // namespace

OwnershipClient::OwnershipClient(IngestClient* ingest, std::function<absl::Status(Request*)> gather,
                                 std::function<void(const Response&)> take)
    : ingest_(ingest),
      gather_(std::move(gather)),
      take_(std::move(take)),
      canceller_(std::make_unique<rpc::Canceller>()) {}

OwnershipClient::~OwnershipClient() {
  Stop(Request());
}

void OwnershipClient::Start() {
  thread_ = std::thread([this] { Run(); });
}

void OwnershipClient::Wake() {
  absl::MutexLock lock(&mutex_);
  news_ = true;
}

void OwnershipClient::Stop(const Request& release) {
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  canceller_->Cancel();
  if (!thread_.joinable()) return;
  thread_.join();
  if (release.sources_size() == 0) return;
  const auto sent = Send(release, kReleaseLimit, /*canceller=*/nullptr);
  if (!sent.ok()) {
    PGA_LOG(debug, "sources were not released; another collector waits for the lease", {{"reason", sent.status()}});
  }
}

absl::StatusOr<OwnershipClient::Response> OwnershipClient::Send(const Request& request, absl::Duration limit,
                                                                rpc::Canceller* canceller) {
  const IngestClient::Access access = ingest_->access();
  if (access.channel == nullptr) return absl::UnavailableError("there is no connection to the backend");
  rpc::CallOptions options;
  options.deadline = clock::SteadyNow() + limit;
  options.bearer = access.token;
  options.canceller = canceller;
  const auto stub = registrypb::EnrolmentService::NewStub(access.channel);
  return rpc::Call(*stub, &registrypb::EnrolmentService::Stub::ReportSources, request, options);
}

void OwnershipClient::Run() {
  absl::Duration retry = kRetry;
  std::string last_reason;
  for (;;) {
    absl::Duration wait = kRetry;
    Request request;
    absl::Status status = gather_(&request);
    if (status.ok() && (request.sources_size() > 0 || request.takes_instances())) {
      const absl::StatusOr<Response> answer = Send(request, kCallLimit, canceller_.get());
      status = answer.status();
      if (answer.ok()) {
        take_(*answer);
        wait = std::clamp(absl::Milliseconds(answer->report_again_ms()), kRetry, absl::Minutes(10));
        retry = kRetry;
      } else {
        wait = retry;
        retry = std::min(retry * 2, kRetryMost);
      }
    }
    const std::string reason = status.ok() ? std::string() : status.ToString();
    if (reason != last_reason) {
      if (!reason.empty()) {
        PGA_LOG(info, "sources are not reported; those that are owned are read on", {{"reason", reason}});
      }
      last_reason = reason;
    }
    absl::MutexLock lock(&mutex_);
    const auto stirred = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || news_; };
    mutex_.AwaitWithTimeout(absl::Condition(&stirred), wait);
    news_ = false;
    if (stopping_) return;
  }
}

}  // namespace pga::collector
