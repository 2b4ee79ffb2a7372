#include "services/compactor/compactor_service.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "google/protobuf/util/time_util.h"
#include "libs/status/status.h"
#include "libs/token/principal.h"

namespace pga::compactor {
namespace {

namespace pb = ::pganalytics::compactor::v1;

void SetTime(int64_t time_us, google::protobuf::Timestamp* time) {
  *time = google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(time_us);
}

const char* LevelName(int16_t level, int16_t kind) {
  switch (level) {
    case storage::kRawLevel:
      return kind == 2 ? "keyframes" : "raw";
    case storage::kHourLevel:
      return "hours";
    case storage::kDayLevel:
      return "days";
    default:
      return "zone_days";
  }
}

template <typename Names>
bool Wanted(const Names& names, const std::string& name) {
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

CompactorService::CompactorService(rpc::Dispatcher* dispatcher, const rpc::Authenticator* authenticator,
                                   storage::Upkeep* upkeep)
    : dispatcher_(dispatcher), authenticator_(authenticator), upkeep_(upkeep) {}

grpc::ServerUnaryReactor* CompactorService::GetStorage(grpc::CallbackServerContext* context,
                                                       const pb::GetStorageRequest* request,
                                                       pb::GetStorageResponse* response) {
  return dispatcher_->Unary<pb::GetStorageRequest, pb::GetStorageResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetStorageRequest& asked, pb::GetStorageResponse& answer) {
        return Answer(call, asked, &answer);
      });
}

absl::Status CompactorService::Answer(const rpc::CallContext& call, const pb::GetStorageRequest& request,
                                      pb::GetStorageResponse* response) {
  PGA_ASSIGN_OR_RETURN(const token::Access access, authenticator_->AccessOf(call.method));
  const bool all = call.principal.kind == token::Principal::kService || call.principal.all_groups;
  // What is left of removed sources has no group.
  const auto visible = [&](const std::string& group, const std::string& source) {
    return (group.empty() ? all : token::Allow(call.principal, access, group)) && Wanted(request.source(), source);
  };
  // Jobs and the queue are of the suite, not of a group.
  PGA_ASSIGN_OR_RETURN(const auto leases, upkeep_->Leases(call.deadline));
  for (const storage::JobState& state : upkeep_->States()) {
    pb::JobStatus* job = response->add_jobs();
    job->set_name(state.name);
    job->set_leading(state.leading);
    if (const auto lease = leases.find(state.name); lease != leases.end()) {
      job->set_holder(lease->second.holder);
      SetTime(absl::ToUnixMicros(lease->second.expires_at), job->mutable_lease_expires());
    }
    job->set_runs(static_cast<double>(state.runs));
    if (state.last_run != absl::InfinitePast()) SetTime(absl::ToUnixMicros(state.last_run), job->mutable_last_run());
    job->set_last_seconds(absl::ToDoubleSeconds(state.last_duration));
    job->set_failures(static_cast<double>(state.failures));
    if (!state.last_failure.ok()) job->set_last_failure(std::string(state.last_failure.message()));
    job->set_resting(static_cast<int32_t>(state.resting));
  }
  const std::shared_ptr<const storage::StorageUsage> usage = upkeep_->Usage();
  if (usage == nullptr) return absl::OkStatus();
  for (const storage::StorageUsage::Entry& entry : usage->entries) {
    if (!visible(entry.group, entry.source) || !Wanted(request.metric(), entry.metric)) continue;
    pb::StoredMetric* metric = response->add_metrics();
    metric->set_source(entry.source);
    metric->set_metric(entry.metric);
    metric->set_level(LevelName(entry.level, entry.kind));
    metric->set_blocks(static_cast<double>(entry.usage.blocks));
    metric->set_bytes(static_cast<double>(entry.usage.bytes));
    metric->set_rows(static_cast<double>(entry.usage.rows));
    metric->set_frames(static_cast<double>(entry.usage.frames));
    if (entry.usage.rows > 0) {
      metric->set_bytes_per_row(static_cast<double>(entry.usage.bytes) / static_cast<double>(entry.usage.rows));
    }
    SetTime(entry.usage.oldest_us, metric->mutable_oldest());
    SetTime(entry.usage.newest_us, metric->mutable_newest());
  }
  for (const storage::StorageUsage::Texts& texts : usage->texts) {
    if (!visible(texts.group, texts.source) || request.metric_size() > 0) continue;
    pb::StoredTexts* of_source = response->add_texts();
    of_source->set_source(texts.source);
    of_source->set_texts(static_cast<double>(texts.texts));
    of_source->set_bytes(static_cast<double>(texts.bytes));
  }
  if (all && request.source_size() == 0 && request.metric_size() == 0) {
    for (const auto& [name, bytes] : usage->tables) {
      pb::StoredTable* table = response->add_tables();
      table->set_name(name);
      table->set_bytes(static_cast<double>(bytes));
    }
  }
  response->mutable_backlog()->set_frames(static_cast<double>(usage->queue_frames));
  if (usage->queue_oldest_us != 0) SetTime(usage->queue_oldest_us, response->mutable_backlog()->mutable_oldest());
  response->mutable_backlog()->set_dead_frames(static_cast<double>(usage->queue_dead_frames));
  if (all) {
    for (const storage::StorageUsage::Holder& held : usage->holders) {
      pb::SnapshotHolder* holder = response->mutable_backlog()->add_held_by();
      holder->set_kind(held.kind);
      holder->set_pid(held.pid);
      holder->set_name(held.name);
      holder->set_user(held.user);
      holder->set_client(held.client);
      SetTime(held.since_us, holder->mutable_since());
      holder->set_transactions(static_cast<double>(held.transactions));
    }
  }
  SetTime(usage->at_us, response->mutable_as_of());
  response->set_complete(usage->complete);
  return absl::OkStatus();
}

}  // namespace pga::compactor
