#include "services/registry/enrolment_service.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "libs/frame/text.h"
#include "libs/status/status.h"
#include "services/registry/source_rules.h"

namespace pga::registry {

namespace pb = ::pganalytics::registry::v1;

namespace {

// Texts of a report, which people see.
std::string Bounded(const std::string& text) {
  bool replaced = false;
  return frame::SanitizeText(text, kMaxMessageBytes, &replaced);
}

constexpr char kNoRequest[] = "csr_pem is missing: the collector makes its own key and sends a certificate request";

void ToProto(Enrolment from, pb::EnrolResponse* to) {
  const auto time = [](absl::Time at) {
    return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(at));
  };
  to->set_collector_id(std::move(from.collector_id));
  to->set_token(std::move(from.credentials.token));
  *to->mutable_token_expires_at() = time(from.credentials.token_expires_at);
  to->set_certificate_pem(std::move(from.credentials.certificate_pem));
  *to->mutable_certificate_expires_at() = time(from.credentials.certificate_expires_at);
  to->set_ca_pem(std::move(from.credentials.ca_pem));
}

void ToProto(const WatchedInstance& from, pb::WatchedInstance* to) {
  const ManagedAssignment& assignment = from.assignment;
  to->set_id(assignment.id);
  to->set_revision(assignment.revision);
  if (!from.password.has_value()) return;
  to->set_name(assignment.name);
  to->set_host(assignment.endpoint);
  to->set_port(assignment.port);
  to->set_user(assignment.username);
  to->set_password(from.password->Reveal());
  to->set_sslmode(assignment.ssl_mode);
  to->set_connect_timeout_s(assignment.connection_timeout);
  to->set_interval_s(assignment.monitoring_interval);
}

}  // namespace

grpc::ServerUnaryReactor* EnrolmentService::Enrol(grpc::CallbackServerContext* context, const pb::EnrolRequest* request,
                                                  pb::EnrolResponse* response) {
  return dispatcher_->Unary<pb::EnrolRequest, pb::EnrolResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::EnrolRequest& asked, pb::EnrolResponse& answer) -> absl::Status {
        if (asked.csr_pem().empty()) return absl::InvalidArgumentError(kNoRequest);
        PGA_ASSIGN_OR_RETURN(Enrolment enrolment, registry_->Register(call,
                                                                      {.collector_id = asked.collector_id(),
                                                                       .name = asked.name(),
                                                                       .hostname = asked.hostname(),
                                                                       .address = {},
                                                                       .version = asked.version()},
                                                                      asked.csr_pem()));
        ToProto(std::move(enrolment), &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* EnrolmentService::Renew(grpc::CallbackServerContext* context, const pb::RenewRequest* request,
                                                  pb::EnrolResponse* response) {
  return dispatcher_->Unary<pb::RenewRequest, pb::EnrolResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::RenewRequest& asked, pb::EnrolResponse& answer) -> absl::Status {
        if (asked.csr_pem().empty()) return absl::InvalidArgumentError(kNoRequest);
        PGA_ASSIGN_OR_RETURN(Enrolment enrolment, registry_->Renew(call, asked.csr_pem(), asked.version()));
        ToProto(std::move(enrolment), &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* EnrolmentService::FetchConfig(grpc::CallbackServerContext* context,
                                                        const pb::FetchConfigRequest* request,
                                                        pb::FetchConfigResponse* response) {
  return dispatcher_->Unary<pb::FetchConfigRequest, pb::FetchConfigResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::FetchConfigRequest& asked,
             pb::FetchConfigResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(StoredConfig config, registry_->FetchConfig(call, asked.known_version()));
        answer.set_version(config.version);
        answer.set_toml(std::move(config.toml));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* EnrolmentService::ReportSources(grpc::CallbackServerContext* context,
                                                          const pb::ReportSourcesRequest* request,
                                                          pb::ReportSourcesResponse* response) {
  return dispatcher_->Unary<pb::ReportSourcesRequest, pb::ReportSourcesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ReportSourcesRequest& asked,
             pb::ReportSourcesResponse& answer) -> absl::Status {
        std::vector<SourceReport> reports;
        for (const pb::SourceReport& from : asked.sources()) {
          SourceReport& report = reports.emplace_back();
          report.name = from.name();
          report.host = from.kind() == pb::SOURCE_KIND_HOST;
          report.held_id = from.source_id();
          report.held_epoch = std::clamp<int64_t>(from.owner_epoch(), 0, int64_t{1} << 52);
          report.identifier = from.identifier();
          report.server_version_num = from.server_version_num();
          report.in_recovery = from.in_recovery();
          report.address = Bounded(from.address());
          report.up = from.up();
          report.since_us = from.since_us();
          report.message = Bounded(from.message());
          for (const pb::NotCollected& part : from.not_collected()) {
            if (report.not_collected.size() == kMaxMissingParts) break;
            report.not_collected.push_back(
                {Bounded(part.what()), Bounded(part.reason()), Bounded(part.database()), part.since_us(), part.off()});
          }
          report.release = from.release();
        }
        const absl::Duration interval =
            std::clamp(absl::Milliseconds(asked.interval_ms()), absl::Milliseconds(100), absl::Hours(1));
        PGA_ASSIGN_OR_RETURN(const std::vector<Standing> standings, registry_->ReportSources(call, interval, reports));
        for (size_t i = 0; i < standings.size(); ++i) {
          const Standing& from = standings[i];
          pb::SourceStanding* const to = answer.add_sources();
          to->set_name(reports[i].name);
          to->set_standing(from.kind == Standing::kOwner     ? pb::STANDING_OWNER
                           : from.kind == Standing::kStandby ? pb::STANDING_STANDBY
                                                             : pb::STANDING_REFUSED);
          to->set_source_id(from.source_id);
          to->set_owner_epoch(from.owner_epoch);
          to->set_owner(from.owner);
          to->set_message(from.message);
          for (const LogPosition& position : from.log_positions) {
            pb::LogPosition* const file = to->add_log_positions();
            file->set_file(position.file);
            file->set_head(position.head);
            file->set_bytes(position.bytes);
          }
        }
        ManagedReport managed;
        PGA_ASSIGN_OR_RETURN(managed.collector_id, CollectorOf(call));
        managed.takes = asked.takes_instances();
        for (const pb::HeldInstance& one : asked.held_instances()) managed.held.emplace(one.id(), one.revision());
        for (const SourceReport& report : reports) {
          if (report.up && !report.host && !report.release) managed.reached.insert(report.name);
        }
        PGA_ASSIGN_OR_RETURN(const std::vector<WatchedInstance> watched,
                             instances_->Assign(call, std::move(managed), interval));
        for (const WatchedInstance& one : watched) ToProto(one, answer.add_instances());
        answer.set_report_again_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(ReportEvery(interval))));
        return absl::OkStatus();
      });
}

}  // namespace pga::registry
