#include "services/registry/managed_instances.h"

#include "absl/strings/str_cat.h"
#include "libs/frame/text.h"
#include "libs/status/status.h"
#include "services/registry/managed_rules.h"
#include "services/registry/source_rules.h"

namespace pga::registry {
namespace {

// What is left of a call's time for the answer after a connection test.
constexpr absl::Duration kForTheAnswer = absl::Seconds(2);

absl::Status NoKey() {
  return status::WithReason(absl::FailedPreconditionError(
                                "registry has no ENCRYPTION_KEY, which seals the passwords of managed instances; set "
                                "it to the output of: openssl rand -base64 32"),
                            "ENCRYPTION_KEY_MISSING");
}

// Bound to the row, so that a sealed password cannot be given to another instance.
std::string SealedName(int32_t id) {
  return absl::StrCat("managed_instance/", id);
}

clock::SteadyTime TestDeadline(const rpc::CallContext& call) {
  return call.deadline - kForTheAnswer;
}

}  // namespace

PgManagedStore::Seal ManagedInstances::SealOf(const ManagedSpec& spec) const {
  if (!spec.password.has_value()) return nullptr;
  return [this, &spec](int32_t id) -> absl::StatusOr<SealedPassword> {
    if (!box_.has_value()) return NoKey();
    PGA_ASSIGN_OR_RETURN(std::string sealed, box_->Seal(spec.password->Reveal(), SealedName(id)));
    PGA_ASSIGN_OR_RETURN(std::string key, box_->Id());
    return SealedPassword{std::move(sealed), std::move(key)};
  };
}

absl::StatusOr<log::Secret> ManagedInstances::Open(int32_t id, const SealedPassword& password) const {
  if (!box_.has_value()) return NoKey();
  absl::StatusOr<std::string> opened = box_->Open(password.sealed, SealedName(id));
  if (opened.ok()) return log::Secret(*std::move(opened));
  return status::WithReason(
      absl::FailedPreconditionError(absl::StrCat("the stored password cannot be opened: it was sealed with the key ",
                                                 password.sealed_with,
                                                 "; set the former ENCRYPTION_KEY, or give the password again (PUT "
                                                 "/api/v1/managed-instances/",
                                                 id, " with master_password)")),
      "PASSWORD_SEALED_WITH_ANOTHER_KEY");
}

absl::StatusOr<ManagedInstance> ManagedInstances::Create(const rpc::CallContext& call, const ManagedSpec& spec) {
  PGA_RETURN_IF_ERROR(CheckManaged(spec, /*is_new=*/true));
  if (!box_.has_value()) return NoKey();
  PGA_ASSIGN_OR_RETURN(const int32_t id,
                       store_->Create(spec, call.principal.user_id, SealOf(spec), clock_->Now(), call.deadline));
  Audit(call, "managed_instance.create", id);
  PGA_LOG(info, "managed instance added", {{"id", id}, {"name", spec.name}, {"by", call.principal.subject}});
  // It is there whatever comes of this.
  const absl::StatusOr<std::string> outcome = Outcome(tester_->Test({.host = spec.endpoint,
                                                                     .port = spec.port,
                                                                     .user = spec.username,
                                                                     .password = *spec.password,
                                                                     .sslmodes = ModesToTry(spec.ssl_mode)},
                                                                    TestDeadline(call)));
  if (outcome.ok()) PGA_RETURN_IF_ERROR(store_->NoteTest(id, *outcome, clock_->Now(), call.deadline));
  return Get(call, id);
}

absl::StatusOr<std::vector<ManagedInstance>> ManagedInstances::List(const rpc::CallContext& call) {
  return store_->List(call.principal.all_groups, call.principal.groups, std::nullopt, clock_->Now(), call.deadline);
}

absl::StatusOr<ManagedInstance> ManagedInstances::Get(const rpc::CallContext& call, int32_t id) {
  // An administrator of some groups sees what he has just made in another one.
  const bool all = call.principal.all_groups || call.principal.role == "admin";
  PGA_ASSIGN_OR_RETURN(const std::vector<ManagedInstance> found,
                       store_->List(all, call.principal.groups, id, clock_->Now(), call.deadline));
  return found.front();
}

absl::StatusOr<ManagedInstance> ManagedInstances::Update(const rpc::CallContext& call, int32_t id,
                                                         const ManagedSpec& spec) {
  PGA_RETURN_IF_ERROR(CheckManaged(spec, /*is_new=*/false));
  PGA_RETURN_IF_ERROR(store_->Update(id, spec, call.principal.user_id, SealOf(spec), clock_->Now(), call.deadline));
  Audit(call, "managed_instance.update", id);
  return Get(call, id);
}

absl::Status ManagedInstances::Delete(const rpc::CallContext& call, int32_t id) {
  PGA_RETURN_IF_ERROR(store_->Delete(id, call.principal.user_id, clock_->Now(), call.deadline));
  Audit(call, "managed_instance.delete", id);
  PGA_LOG(info, "managed instance deleted", {{"id", id}, {"by", call.principal.subject}});
  return absl::OkStatus();
}

absl::StatusOr<std::string> ManagedInstances::Outcome(absl::Status tested) const {
  if (tested.ok()) return std::string();
  if (status::ReasonOf(tested) == "TOO_MANY_TESTS") return tested;
  bool replaced = false;
  return frame::SanitizeText(std::string(tested.message()), kMaxMessageBytes, &replaced);
}

absl::StatusOr<std::string> ManagedInstances::TestDirect(const rpc::CallContext& call, const std::string& endpoint,
                                                         int32_t port, const std::string& username,
                                                         const std::string& password) {
  PGA_RETURN_IF_ERROR(CheckTarget(endpoint, port, username, password));
  Audit(call, "managed_instance.test_direct", 0);
  return Outcome(tester_->Test({.host = endpoint,
                                .port = port,
                                .user = username,
                                .password = log::Secret(password),
                                .sslmodes = ModesToTry("disable")},
                               TestDeadline(call)));
}

absl::StatusOr<std::string> ManagedInstances::Test(const rpc::CallContext& call, int32_t id,
                                                   const std::string& username, const std::string& password) {
  PGA_ASSIGN_OR_RETURN(const ManagedInstance instance, Get(call, id));
  const ManagedSpec& spec = instance.spec;
  ConnectionTarget target{.host = spec.endpoint,
                          .port = spec.port,
                          .user = username.empty() ? spec.username : username,
                          .password = log::Secret(password),
                          .sslmodes = ModesToTry(spec.ssl_mode)};
  if (password.empty()) {
    if (target.user != spec.username) {
      return absl::InvalidArgumentError("password is missing: the stored one belongs to the instance's own login");
    }
    PGA_ASSIGN_OR_RETURN(const SealedPassword sealed, store_->Password(id, call.deadline));
    PGA_ASSIGN_OR_RETURN(target.password, Open(id, sealed));
  } else {
    PGA_RETURN_IF_ERROR(CheckTarget(target.host, target.port, target.user, password));
  }
  PGA_ASSIGN_OR_RETURN(const std::string outcome, Outcome(tester_->Test(target, TestDeadline(call))));
  PGA_RETURN_IF_ERROR(store_->NoteTest(id, outcome, clock_->Now(), call.deadline));
  Audit(call, "managed_instance.test", id);
  return outcome;
}

absl::StatusOr<std::vector<WatchedInstance>> ManagedInstances::Assign(const rpc::CallContext& call,
                                                                      ManagedReport report, absl::Duration interval) {
  report.takes = report.takes && box_.has_value();
  PGA_ASSIGN_OR_RETURN(std::vector<ManagedAssignment> assignments,
                       store_->Assign(report, 2 * LeaseOf(interval), clock_->Now(), call.deadline));
  std::vector<WatchedInstance> watched;
  for (ManagedAssignment& assignment : assignments) {
    WatchedInstance& one = watched.emplace_back();
    one.assignment = std::move(assignment);
    const ManagedAssignment& of = one.assignment;
    if (report.held.contains({of.id, of.revision})) continue;
    absl::StatusOr<log::Secret> password = Open(of.id, of.password);
    if (!password.ok()) {
      PGA_RETURN_IF_ERROR(
          store_->NoteTest(of.id, std::string(password.status().message()), clock_->Now(), call.deadline));
      watched.pop_back();
      continue;
    }
    one.password = *std::move(password);
    PGA_LOG(info, "managed instance handed to its collector",
            {{"id", of.id}, {"name", of.name}, {"collector_id", report.collector_id}, {"revision", of.revision}});
  }
  return watched;
}

void ManagedInstances::Audit(const rpc::CallContext& call, std::string action, int32_t id) {
  const absl::Status written = audit_->Audit({.actor = call.principal.subject,
                                              .action = std::move(action),
                                              .refused = false,
                                              .resource_type = "managed_instance",
                                              .resource_id = id == 0 ? "" : absl::StrCat(id),
                                              .ip_address = call.peer,
                                              .request_id = call.request_id},
                                             call.deadline);
  if (!written.ok()) PGA_LOG(warn, "an audit row could not be written", {{"reason", written}});
}

}  // namespace pga::registry
