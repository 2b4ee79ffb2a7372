// Collectors' configuration, and collectors that are no more.
#include <fstream>
#include <iostream>
#include <iterator>

#include "google/api/httpbody.pb.h"
#include "libs/catalog/catalog.h"
#include "libs/config/pushed_config.h"
#include "libs/status/status.h"
#include "pganalytics/registry/v1/registry_service.pb.h"
#include "tools/pgactl/command.h"

namespace pga::pgactl {
namespace {

namespace registry_pb = ::pganalytics::registry::v1;

constexpr char kRegistry[] = "pganalytics.registry.v1.RegistryService.";

// "-" = standard input.
absl::StatusOr<std::string> ReadFile(const std::string& path) {
  if (path == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError("file " + path + " cannot be read");
  return std::string(std::istreambuf_iterator<char>(in), {});
}

absl::Status GetConfig(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  registry_pb::GetConfigRequest request;
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the collector's id"));
  request.set_collector_id(id);
  PGA_ASSIGN_OR_RETURN(const auto body,
                       session->Call<google::api::HttpBody>(std::string(kRegistry) + "GetConfig", request));
  *context.out << body.data();
  return absl::OkStatus();
}

absl::Status PutConfig(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  registry_pb::PutConfigRequest request;
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the collector's id"));
  PGA_ASSIGN_OR_RETURN(const std::string path, context.Word(1, "the file (- for standard input)"));
  PGA_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  if (text.empty())
    return absl::InvalidArgumentError(path + " is empty; a line with # makes a configuration without settings");
  request.set_collector_id(id);
  request.mutable_body()->set_content_type("text/plain");
  request.mutable_body()->set_data(text);
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<registry_pb::PutConfigResponse>(std::string(kRegistry) + "PutConfig", request));
  if (context.json) return context.PrintJson(answer);
  *context.out << "version " << answer.version() << " of collector " << id << ": " << answer.message() << "\n";
  return absl::OkStatus();
}

absl::Status CheckConfig(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string path, context.Word(0, "the file (- for standard input)"));
  PGA_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const std::string folder = context.arguments->Get("dir");
  PGA_ASSIGN_OR_RETURN(const auto catalog,
                       folder.empty() ? catalog::Catalog::Builtin() : catalog::Catalog::WithCustom(folder));
  std::vector<std::string> metrics;
  for (const auto& metric : catalog->metrics()) metrics.push_back(metric.name());
  if (const absl::Status status = config::CheckPushedConfig(text, metrics); !status.ok()) {
    return absl::InvalidArgumentError(path + ": " + std::string(status.message()));
  }
  *context.out << path << " is good\n";
  return absl::OkStatus();
}

absl::Status DeleteCollector(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  registry_pb::DeleteCollectorRequest request;
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the collector's id"));
  request.set_id(id);
  PGA_RETURN_IF_ERROR(
      session->Call<registry_pb::DeleteCollectorResponse>(std::string(kRegistry) + "DeleteCollector", request)
          .status());
  *context.out << "deleted collector " << id << "; its credentials are revoked, what it stored stays\n";
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> ConfigCommands() {
  return {
      {"collectors delete", "ID", "revoke a collector and forget it; its sources' data stays", {}, DeleteCollector},
      {"config get", "COLLECTOR", "the configuration that is stored for a collector (TOML)", {}, GetConfig},
      {"config put", "COLLECTOR FILE", "store a configuration; the collector gets it over its stream", {}, PutConfig},
      {"config check",
       "FILE",
       "whether a configuration would be taken, without a server",
       {{"dir", "FOLDER", "custom metrics"}},
       CheckConfig},
  };
}

}  // namespace pga::pgactl
