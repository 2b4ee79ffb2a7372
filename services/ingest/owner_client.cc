#include "services/ingest/owner_client.h"

#include <algorithm>
#include <utility>

#include "libs/log/log.h"
#include "libs/rpc/client.h"
#include "libs/rpc/http_metadata.h"
#include "libs/status/status.h"

namespace pga::ingest {
namespace registry_v1 = pganalytics::registry::v1;

namespace {
constexpr absl::Duration kPerCall = absl::Seconds(3);
}  // namespace

OwnerClient::OwnerClient(std::shared_ptr<grpc::Channel> registry, rpc::ServiceIdentity* identity,
                         metrics::Registry* metrics)
    : stub_(registry == nullptr ? nullptr : RegistryService::NewStub(registry)),
      reports_(registry == nullptr ? nullptr : registry_v1::EnrolmentService::NewStub(registry)),
      identity_(identity),
      failed_(metrics->AddCounter("pga_ingest_owner_failures_total",
                                  "Questions to registry about owners of sources without an answer")) {}

absl::StatusOr<std::vector<OwnedSource>> OwnerClient::Ask(const registry_v1::ListOwnersRequest& request,
                                                          clock::SteadyTime deadline) {
  if (stub_ == nullptr) return absl::UnavailableError("registry is not configured");
  const absl::Duration limit = std::min(kPerCall, deadline - clock::SteadyNow());
  auto answer = rpc::Call(*stub_, &RegistryService::Stub::ListOwners, request, rpc::OwnWork(limit, identity_));
  if (!answer.ok()) {
    failed_.Increment();
    return absl::UnavailableError(answer.status().message());
  }
  std::vector<OwnedSource> owners;
  for (registry_v1::SourceOwner& owner : *answer->mutable_owners()) {
    owners.push_back({.uuid = std::move(*owner.mutable_source_id()),
                      .name = std::move(*owner.mutable_name()),
                      .group = std::move(*owner.mutable_group()),
                      .collector_id = std::move(*owner.mutable_collector_id()),
                      .owner_epoch = owner.owner_epoch(),
                      .owned_since_us = owner.owned_since_us(),
                      .removed = owner.removed(),
                      .revision = owner.revision()});
  }
  return owners;
}

absl::StatusOr<std::vector<OwnedSource>> OwnerClient::OwnersOf(std::string_view,
                                                               const std::vector<SourceDescription>& sources,
                                                               clock::SteadyTime deadline) {
  registry_v1::ListOwnersRequest request;
  for (const SourceDescription& source : sources) request.add_source_ids(source.uuid);
  return Ask(request, deadline);
}

absl::StatusOr<std::vector<SourceDescription>> OwnerClient::Report(std::string_view collector_id,
                                                                   const std::vector<PushedSource>& sources,
                                                                   clock::SteadyTime deadline) {
  if (reports_ == nullptr) return absl::UnavailableError("registry is not configured");
  registry_v1::ReportSourcesRequest request;
  for (const PushedSource& source : sources) {
    registry_v1::SourceReport* const report = request.add_sources();
    report->set_name(source.name);
    report->set_kind(source.host ? registry_v1::SOURCE_KIND_HOST : registry_v1::SOURCE_KIND_SERVER);
    report->set_source_id(source.held_uuid);
    report->set_owner_epoch(source.held_epoch);
    report->set_address(source.name);
    report->set_up(true);
    report->set_since_us(absl::ToUnixMicros(source.since));
    request.set_interval_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(source.interval)));
  }
  rpc::CallOptions options = rpc::OwnWork(std::min(kPerCall, deadline - clock::SteadyNow()), identity_);
  options.metadata.emplace_back(rpc::kCollectorId, std::string(collector_id));
  const auto answer = rpc::Call(*reports_, &registry_v1::EnrolmentService::Stub::ReportSources, request, options);
  if (absl::IsNotFound(answer.status())) return answer.status();
  if (!answer.ok()) {
    failed_.Increment();
    return status::WithRetryAfter(absl::UnavailableError(answer.status().message()), absl::Seconds(5));
  }
  std::vector<SourceDescription> said;
  for (const registry_v1::SourceStanding& standing : answer->sources()) {
    SourceDescription& one = said.emplace_back();
    if (standing.standing() != registry_v1::STANDING_OWNER) {
      PGA_LOG(info, "a collector pushes for a source that it does not own",
              {{"collector_id", collector_id}, {"source", standing.name()}, {"reason", standing.message()}});
      continue;
    }
    one = {standing.source_id(), standing.name(), standing.owner_epoch()};
  }
  return said;
}

absl::Status OwnerClient::Poll(IngestStore* store, SourceDirectory* directory, absl::Duration limit) {
  if (stub_ == nullptr) return absl::OkStatus();
  const clock::SteadyTime deadline = clock::SteadyNow() + limit;
  while (clock::SteadyNow() < deadline) {
    int64_t revision = revision_;
    registry_v1::ListOwnersRequest request;
    request.set_after_revision(revision);
    PGA_ASSIGN_OR_RETURN(const std::vector<OwnedSource> owners, Ask(request, deadline));
    if (owners.empty()) return absl::OkStatus();
    PGA_ASSIGN_OR_RETURN(const std::vector<std::string> changed, store->ApplyOwners(owners, deadline));
    directory->ForgetSources(changed);
    int64_t newest = revision;
    for (const OwnedSource& owner : owners) newest = std::max(newest, owner.revision);
    // Left alone if the database changed meanwhile.
    revision_.compare_exchange_strong(revision, newest);
  }
  return absl::OkStatus();
}

}  // namespace pga::ingest
