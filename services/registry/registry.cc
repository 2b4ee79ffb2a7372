#include "services/registry/registry.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"
#include "libs/log/log.h"
#include "libs/rpc/http_metadata.h"
#include "libs/status/status.h"
#include "services/registry/collector_rules.h"
#include "services/registry/source_rules.h"

namespace pga::registry {

namespace {

constexpr int kOwnersPerAnswer = 1'000;
constexpr absl::Duration kActivityFor = absl::Seconds(2);
// What a call of a person may wait for; longer ones are the periodic task's.
constexpr absl::Duration kQuickActivity = absl::Milliseconds(200);
// A collector that was registered and has sent nothing may register again for so long.
constexpr absl::Duration kUnheardFor = absl::Hours(1);
constexpr absl::Duration kActivityLimit = absl::Seconds(1);
// Sources of which it is asked at once how far their logs are read.
constexpr size_t kMaxTakenAtOnce = 1000;

std::string ActorOf(const rpc::CallContext& call) {
  return call.principal.subject.empty() ? "registration-secret" : call.principal.subject;
}

SeenGroups SeenBy(const rpc::CallContext& call) {
  if (call.principal.all_groups) return std::nullopt;
  return call.principal.groups;
}

}  // namespace

absl::StatusOr<std::string> CollectorOf(const rpc::CallContext& call) {
  if (call.principal.kind == token::Principal::kCollector) return call.principal.collector_id;
  const token::ServiceRow* const service =
      call.principal.kind == token::Principal::kService ? token::FindService(call.principal.service) : nullptr;
  if (service != nullptr && service->speaks_for_collectors) {
    const auto id = call.Find(rpc::kCollectorId);
    if (id.has_value() && !id->empty()) return std::string(*id);
  }
  return status::WithReason(absl::UnauthenticatedError("a collector's token or certificate is needed"),
                            "COLLECTOR_IDENTITY_MISSING");
}

absl::StatusOr<Enrolment> Registry::Register(const rpc::CallContext& call, Registration registration,
                                             const std::string& csr_pem) {
  const auto secret = call.Find(rpc::kRegistrationSecret);
  if (!secret.has_value() || secret->empty()) {
    return status::WithReason(
        absl::UnauthenticatedError("the header X-Registration-Secret is missing; an administrator makes a secret with "
                                   "POST /api/v1/registration-secrets, or sets REGISTRATION_SECRET"),
        "REGISTRATION_SECRET_MISSING");
  }
  PGA_RETURN_IF_ERROR(CheckRegistration(&registration));
  const std::string& id = registration.collector_id;
  RefreshActivityOfCall();
  const absl::Time now = clock_->Now();
  PGA_ASSIGN_OR_RETURN(const bool replaces, Replaces(call, id, now));
  PGA_ASSIGN_OR_RETURN(registration.group,
                       auth_->UseRegistrationSecret(call, std::string(*secret), id, registration.name, replaces));
  const absl::StatusOr<bool> known = store_->Register(registration, limit_, now - kCountedFor, now, call.deadline);
  if (!known.ok()) {
    Audit(call, "collector.register", id, known.status());
    return known.status();
  }
  // Also for an id that is new here: a collector that was deleted, or whose first registration broke off, may have
  // credentials that nobody else revokes.
  PGA_ASSIGN_OR_RETURN(Credentials credentials,
                       auth_->IssueCredentials(call, id, registration.hostname, csr_pem, /*revoke_former=*/true));
  PGA_RETURN_IF_ERROR(store_->SetCertificate(id, credentials.certificate_thumbprint, credentials.certificate_expires_at,
                                             registration.version, now, call.deadline));
  Audit(call, *known ? "collector.register_again" : "collector.register", id, absl::OkStatus());
  PGA_LOG(info, *known ? "collector registered again, its former credentials are revoked" : "collector registered",
          {{"collector_id", id}, {"hostname", registration.hostname}, {"peer", call.peer}});
  return Enrolment{.collector_id = id, .credentials = std::move(credentials)};
}

absl::StatusOr<bool> Registry::Replaces(const rpc::CallContext& call, const std::string& id, absl::Time now) {
  const absl::StatusOr<Collector> former = store_->Get(id, std::nullopt, call.deadline);
  if (status::ReasonOf(former.status()) == "COLLECTOR_UNKNOWN") return false;
  PGA_RETURN_IF_ERROR(former);
  const absl::StatusOr<std::string> itself = CollectorOf(call);
  if (itself.ok() && *itself == id) return false;
  // The answer to its registration may have been lost on the way.
  return former->last_seen.has_value() || now - former->created_at > kUnheardFor;
}

absl::StatusOr<Enrolment> Registry::Renew(const rpc::CallContext& call, const std::string& csr_pem,
                                          const std::string& version) {
  PGA_RETURN_IF_ERROR(CheckVersion(version));
  PGA_ASSIGN_OR_RETURN(const std::string id, CollectorOf(call));
  const absl::StatusOr<Collector> collector = store_->Get(id, std::nullopt, call.deadline);
  // By the reason: a database that lacks a table, while it is restored, answers NOT_FOUND, too.
  if (status::ReasonOf(collector.status()) == "COLLECTOR_UNKNOWN") {
    return status::WithReason(
        absl::UnauthenticatedError(absl::StrCat("collector ", id, " was deleted; it must register again")),
        "COLLECTOR_DELETED");
  }
  PGA_RETURN_IF_ERROR(collector);
  PGA_ASSIGN_OR_RETURN(Credentials credentials,
                       auth_->IssueCredentials(call, id, collector->hostname, csr_pem, /*revoke_former=*/false));
  PGA_RETURN_IF_ERROR(store_->SetCertificate(id, credentials.certificate_thumbprint, credentials.certificate_expires_at,
                                             version, clock_->Now(), call.deadline));
  Audit(call, "collector.renew", id, absl::OkStatus());
  return Enrolment{.collector_id = id, .credentials = std::move(credentials)};
}

absl::StatusOr<CollectorPage> Registry::List(const rpc::CallContext& call, int page, int page_size) {
  CollectorPage result;
  PGA_ASSIGN_OR_RETURN(result.page, PageOf(page, page_size));
  RefreshActivityOfCall();
  PGA_ASSIGN_OR_RETURN(result.collectors, store_->List(SeenBy(call), result.page.offset(), result.page.size,
                                                       &result.total, call.deadline));
  return result;
}

absl::StatusOr<Collector> Registry::Get(const rpc::CallContext& call, const std::string& id) {
  RefreshActivityOfCall();
  return store_->Get(id, SeenBy(call), call.deadline);
}

absl::Status Registry::Delete(const rpc::CallContext& call, const std::string& id) {
  PGA_RETURN_IF_ERROR(store_->Get(id, SeenBy(call), call.deadline));
  PGA_RETURN_IF_ERROR(auth_->Revoke(call, id, "deleted by " + ActorOf(call)));
  PGA_RETURN_IF_ERROR(store_->Delete(id, call.deadline));
  Audit(call, "collector.delete", id, absl::OkStatus());
  PGA_LOG(info, "collector deleted", {{"collector_id", id}, {"by", ActorOf(call)}});
  return absl::OkStatus();
}

absl::StatusOr<StoredConfig> Registry::GetConfig(const rpc::CallContext& call, const std::string& collector_id) {
  if (call.principal.kind == token::Principal::kCollector && call.principal.collector_id != collector_id) {
    return status::WithReason(absl::PermissionDeniedError("a collector reads its own configuration only"),
                              "OTHER_COLLECTOR");
  }
  if (call.principal.kind != token::Principal::kCollector) {
    PGA_RETURN_IF_ERROR(store_->Get(collector_id, SeenBy(call), call.deadline));
  }
  return store_->GetConfig(collector_id, call.deadline);
}

absl::StatusOr<StoredConfig> Registry::FetchConfig(const rpc::CallContext& call, int known_version) {
  PGA_ASSIGN_OR_RETURN(const std::string id, CollectorOf(call));
  absl::StatusOr<StoredConfig> config = store_->GetConfig(id, call.deadline);
  if (status::ReasonOf(config.status()) == "CONFIG_NOT_STORED") return StoredConfig{};
  if (config.ok() && config->version <= known_version) return StoredConfig{};
  return config;
}

absl::StatusOr<int> Registry::PutConfig(const rpc::CallContext& call, const std::string& collector_id,
                                        const std::string& toml, const std::vector<std::string>& metrics) {
  PGA_RETURN_IF_ERROR(CheckConfigToml(toml, metrics));
  // Of an unknown one the answer is below.
  if (const SeenGroups seen = SeenBy(call); seen.has_value()) {
    PGA_RETURN_IF_ERROR(store_->Get(collector_id, seen, call.deadline));
  }
  const absl::StatusOr<int> stored = store_->PutConfig(collector_id, toml, ActorOf(call), clock_->Now(), call.deadline);
  // Not even the form of an id that registration gives: the request is wrong, whoever may be registered later.
  if (absl::IsNotFound(stored.status()) && !frame::ParseUuid(collector_id).ok()) {
    return status::WithReason(
        absl::InvalidArgumentError(absl::StrCat(stored.status().message(), ", and an id of a registration is a UUID")),
        "NO_COLLECTOR_ID");
  }
  PGA_ASSIGN_OR_RETURN(const int version, stored);
  Audit(call, "collector.config", collector_id, absl::OkStatus());
  return version;
}

absl::StatusOr<std::vector<Standing>> Registry::ReportSources(const rpc::CallContext& call, absl::Duration interval,
                                                              const std::vector<SourceReport>& reports) {
  PGA_ASSIGN_OR_RETURN(const std::string id, CollectorOf(call));
  if (reports.size() > kMaxReportedSources) {
    return absl::InvalidArgumentError(absl::StrCat("a collector reports at most ", kMaxReportedSources, " sources"));
  }
  std::vector<Standing> standings(reports.size());
  std::vector<SourceReport> good;
  std::vector<size_t> places;
  std::set<std::string> names;
  for (size_t i = 0; i < reports.size(); ++i) {
    absl::Status named = CheckSourceName(reports[i].name);
    if (named.ok() && !names.insert(reports[i].name).second)
      named = absl::InvalidArgumentError("two sources of one name");
    if (!named.ok()) {
      standings[i].message = std::string(named.message());
      continue;
    }
    good.push_back(reports[i]);
    places.push_back(i);
  }
  const absl::StatusOr<std::vector<Standing>> stored =
      sources_->Report(id, interval, good, clock_->Now(), call.deadline);
  if (status::ReasonOf(stored.status()) == "COLLECTOR_UNKNOWN") {
    return status::WithReason(
        absl::UnauthenticatedError(absl::StrCat("collector ", id, " was deleted; it must register again")),
        "COLLECTOR_DELETED");
  }
  PGA_RETURN_IF_ERROR(stored.status());
  for (size_t i = 0; i < places.size(); ++i) {
    const Standing& standing = (*stored)[i];
    if (standing.kind == Standing::kOwner && standing.owner_epoch != good[i].held_epoch) {
      PGA_LOG(info, "a source has an owner",
              {{"source", good[i].name}, {"collector_id", id}, {"owner_epoch", standing.owner_epoch}});
    }
    standings[places[i]] = standing;
  }
  AddLogPositions(reports, &standings);
  return standings;
}

void Registry::AddLogPositions(const std::vector<SourceReport>& reports, std::vector<Standing>* standings) {
  if (query_ == nullptr) return;
  std::map<std::string, Standing*> taken;
  for (size_t i = 0; i < standings->size() && taken.size() < kMaxTakenAtOnce; ++i) {
    Standing& standing = (*standings)[i];
    // Epoch 1 has nobody before it.
    if (standing.kind != Standing::kOwner || standing.owner_epoch < 2) continue;
    if (standing.owner_epoch != reports[i].held_epoch) taken[frame::FormatUuid(standing.source_id)] = &standing;
  }
  if (taken.empty()) return;
  std::vector<std::string> ids;
  for (const auto& [source, standing] : taken) ids.push_back(source);
  auto positions = query_->LogPositions(ids, kActivityLimit);
  if (!positions.ok()) {
    PGA_LOG(info, "new owners of sources read logs from their ends", {{"reason", positions.status()}});
    return;
  }
  for (auto& [source, of_source] : *positions) {
    if (const auto found = taken.find(source); found != taken.end()) {
      found->second->log_positions = std::move(of_source);
    }
  }
}

absl::StatusOr<std::vector<Source>> Registry::ListSources(const rpc::CallContext& call) {
  const token::Principal& caller = call.principal;
  const bool all = caller.all_groups;
  return sources_->List(all, caller.groups, clock_->Now(), call.deadline);
}

absl::StatusOr<Source> Registry::UpdateSource(const rpc::CallContext& call, const std::string& id,
                                              const std::string& name, const std::string& group) {
  if (!frame::ParseUuid(id).ok()) return absl::InvalidArgumentError("the id of a source is a UUID");
  if (name.empty() && group.empty()) return absl::InvalidArgumentError("give a name, a group, or both");
  if (!name.empty()) PGA_RETURN_IF_ERROR(CheckSourceName(name));
  if (!group.empty()) PGA_RETURN_IF_ERROR(CheckGroup(group));
  PGA_ASSIGN_OR_RETURN(Source source, sources_->Update(id, name, group, call.deadline));
  Audit(call, "source.update", id, absl::OkStatus(), "source");
  return source;
}

absl::Status Registry::DeleteSource(const rpc::CallContext& call, const std::string& id) {
  if (!frame::ParseUuid(id).ok()) return absl::InvalidArgumentError("the id of a source is a UUID");
  PGA_RETURN_IF_ERROR(sources_->Remove(id, ActorOf(call), clock_->Now(), call.deadline));
  Audit(call, "source.delete", id, absl::OkStatus(), "source");
  PGA_LOG(info, "source deleted", {{"source_id", id}, {"by", ActorOf(call)}});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Source>> Registry::ListOwners(const rpc::CallContext& call,
                                                         const std::vector<std::string>& ids, int64_t after_revision) {
  if (ids.empty()) return sources_->After(after_revision, kOwnersPerAnswer, call.deadline);
  if (ids.size() > kMaxReportedSources) return absl::InvalidArgumentError("too many ids");
  std::vector<std::string> texts;
  for (const std::string& id : ids) {
    if (id.size() != frame::kUuidBytes) return absl::InvalidArgumentError("the id of a source has 16 bytes");
    texts.push_back(frame::FormatUuid(id));
  }
  return sources_->ByIds(texts, call.deadline);
}

std::optional<std::vector<SourceActivity>> Registry::StoredOfSources() {
  RefreshActivityOfCall();
  absl::MutexLock lock(&mutex_);
  return stored_;
}

void Registry::RefreshActivityOfCall() {
  {
    absl::MutexLock lock(&mutex_);
    if (refresh_took_ > kQuickActivity) return;
  }
  RefreshActivity(kActivityLimit);
}

void Registry::RefreshActivity(absl::Duration limit) {
  if (query_ == nullptr) return;
  {
    absl::MutexLock lock(&mutex_);
    if (refreshing_ || clock_->Steady() < refresh_due_) return;
    refreshing_ = true;
  }
  const clock::Stopwatch watch(clock_);
  const absl::StatusOr<std::vector<Activity>> activity = query_->CollectorActivity(limit);
  absl::Status status = activity.status();
  if (status.ok()) status = store_->NoteActivity(*activity, clock::SteadyNow() + limit);
  if (!status.ok()) {
    PGA_LOG(debug, "activity of collectors is not known now; the last known one is shown", {{"reason", status}});
  }
  // Where the one is not answered in time, the other is not asked.
  absl::StatusOr<std::vector<SourceActivity>> stored =
      status.ok() ? query_->StoredOfSources(limit) : absl::StatusOr<std::vector<SourceActivity>>(status);
  if (!stored.ok()) PGA_LOG(debug, "what sources sent is not known now", {{"reason", stored.status()}});
  absl::MutexLock lock(&mutex_);
  stored_.reset();
  if (stored.ok()) stored_ = *std::move(stored);
  refresh_took_ = watch.Elapsed();
  refresh_due_ = clock_->Steady() + std::max(kActivityFor, 10 * refresh_took_);
  refreshing_ = false;
}

void Registry::Audit(const rpc::CallContext& call, std::string action, const std::string& id,
                     const absl::Status& outcome, const char* type) {
  const absl::Status written = store_->Audit({.actor = ActorOf(call),
                                              .action = std::move(action),
                                              .refused = !outcome.ok(),
                                              .resource_type = type,
                                              .resource_id = id,
                                              .ip_address = call.peer,
                                              .request_id = call.request_id},
                                             call.deadline);
  if (!written.ok()) PGA_LOG(warn, "an audit row could not be written", {{"reason", written}});
}

}  // namespace pga::registry
