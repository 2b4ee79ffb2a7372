#include "services/ingest/config_client.h"

#include <algorithm>
#include <utility>

#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/rpc/client.h"
#include "libs/rpc/http_metadata.h"

namespace pga::ingest {
namespace registry_v1 = pganalytics::registry::v1;

namespace {
constexpr absl::Duration kPerCall = absl::Seconds(2);
constexpr size_t kMaxVersions = 100'000;
}  // namespace

ConfigClient::ConfigClient(std::shared_ptr<grpc::Channel> registry, rpc::ServiceIdentity* identity,
                           SessionRegistry* sessions, metrics::Registry* metrics)
    : stub_(registry == nullptr ? nullptr : registry_v1::EnrolmentService::NewStub(registry)),
      identity_(identity),
      sessions_(sessions),
      pushed_(metrics->AddCounter("pga_ingest_configs_pushed_total", "Configurations sent over streams")),
      failed_(metrics->AddCounter("pga_ingest_config_failures_total", "Questions to registry without an answer")) {}

void ConfigClient::Run(absl::Duration limit) {
  if (stub_ == nullptr) return;
  const clock::SteadyTime deadline = clock::SteadyNow() + limit;
  for (const std::shared_ptr<StreamSession>& session : sessions_->All()) {
    const int32_t known = session->config_version();
    if (known < 0) continue;  // has not said Hello
    if (stopping_ || clock::SteadyNow() >= deadline) return;
    registry_v1::FetchConfigRequest request;
    request.set_known_version(known);
    rpc::CallOptions options = rpc::OwnWork(std::min(kPerCall, deadline - clock::SteadyNow()), identity_);
    options.metadata.emplace_back(rpc::kCollectorId, session->collector_id());
    const auto answer = rpc::Call(*stub_, &registry_v1::EnrolmentService::Stub::FetchConfig, request, options);
    if (!answer.ok()) {
      failed_.Increment();
      // A collector that registry does not know is its own matter; a registry that is away is everybody's.
      if (answer.status().code() == absl::StatusCode::kUnavailable ||
          answer.status().code() == absl::StatusCode::kDeadlineExceeded) {
        PGA_LOG(debug, "registry gives no configurations", {{"status", answer.status()}});
        return;
      }
      continue;
    }
    const int32_t version = std::max(answer->version(), known);
    {
      absl::MutexLock lock(&mutex_);
      if (versions_.size() >= kMaxVersions) versions_.clear();
      versions_[session->collector_id()] = version;
    }
    if (answer->version() > known) {
      session->PushConfig(answer->version(), answer->toml());
      pushed_.Increment();
    }
  }
}

int32_t ConfigClient::KnownVersion(const std::string& collector_id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = versions_.find(collector_id);
  return found == versions_.end() ? 1 : std::max(found->second, 1);
}

}  // namespace pga::ingest
