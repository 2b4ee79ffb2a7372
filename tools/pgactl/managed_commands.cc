// Managed instances: servers that a collector watches without an agent on their host.
#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/status/status.h"
#include "pganalytics/registry/v1/managed_instance_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace pb = ::pganalytics::registry::v1;

constexpr char kService[] = "pganalytics.registry.v1.ManagedInstanceService.";
constexpr char kPassword[] = "PGACTL_INSTANCE_PASSWORD";
constexpr char kPasswordFile[] = "PGACTL_INSTANCE_PASSWORD_FILE";
constexpr int kPort = 5432;

std::string Method(const char* name) {
  return absl::StrCat(kService, name);
}

// Options that say what an instance is.
const std::vector<OptionSpec>& SpecOptions() {
  static const auto* const kOptions = new std::vector<OptionSpec>{
      {"endpoint", "HOST", "host name or address"},
      {"port", "N", "default 5432"},
      {"user", "NAME", "login that reads, with the role pg_monitor"},
      {"ssl-mode", "MODE", "verify-full, verify-ca, require (default), prefer, allow, disable"},
      {"interval", "SECONDS", "distance of readings, 1 to 300 (default 60)"},
      {"timeout", "SECONDS", "that a connection may take to come up, 1 to 300 (default 30)"},
      {"group", "NAME", "group of its source; a collector of the group watches it (default)"},
      {"collector", "ID", "the collector that is to watch it; '' = any of the group"},
      {"description", "TEXT", "for people, as all that follow"},
      {"role", "ROLE", "master (default), read-replica, standby, standalone"},
      {"region", "NAME", "default us-east-1"},
      {"environment", "NAME", "default development"},
      {"tag", "NAME=VALUE", "may be repeated", true},
  };
  return *kOptions;
}

// Changes what options name.
absl::Status FillSpec(const Context& context, pb::ManagedInstanceSpec* spec) {
  const Arguments& given = *context.arguments;
  const auto text = [&](const char* option, auto set) {
    if (given.Has(option)) set(given.Get(option));
  };
  text("endpoint", [&](const std::string& value) { spec->set_endpoint(value); });
  text("user", [&](const std::string& value) { spec->set_master_username(value); });
  text("ssl-mode", [&](const std::string& value) { spec->set_ssl_mode(value); });
  text("group", [&](const std::string& value) { spec->set_group(value); });
  text("collector", [&](const std::string& value) { spec->set_collector_id(value); });
  text("description", [&](const std::string& value) { spec->set_description(value); });
  text("role", [&](const std::string& value) { spec->set_instance_role(value); });
  text("region", [&](const std::string& value) { spec->set_aws_region(value); });
  text("environment", [&](const std::string& value) { spec->set_environment(value); });
  if (given.Has("port")) {
    PGA_ASSIGN_OR_RETURN(const int port, given.Int("port", kPort, 1, 65535));
    spec->set_port(port);
  }
  if (given.Has("interval")) {
    PGA_ASSIGN_OR_RETURN(const int interval, given.Int("interval", 60, 1, 300));
    spec->set_monitoring_interval(interval);
  }
  if (given.Has("timeout")) {
    PGA_ASSIGN_OR_RETURN(const int timeout, given.Int("timeout", 30, 1, 300));
    spec->set_connection_timeout(timeout);
  }
  if (given.Has("tag")) spec->clear_tags();
  for (const std::string& tag : given.All("tag")) {
    const size_t at = tag.find('=');
    if (at == std::string::npos || at == 0) return UsageError(absl::StrCat("'", tag, "' is no tag; write name=value"));
    (*spec->mutable_tags())[tag.substr(0, at)] = tag.substr(at + 1);
  }
  return absl::OkStatus();
}

// From the environment, from the file that it names, or from the terminal: arguments are seen by everybody on the host.
absl::StatusOr<std::string> Password(const Context& context, const std::string& user, const std::string& host) {
  const auto given = context.environment.find(kPassword);
  if (given != context.environment.end() && !given->second.empty()) return given->second;
  return context.read_secret(absl::StrCat("password of ", user, " at ", host), kPasswordFile);
}

absl::StatusOr<std::vector<pb::ManagedInstance>> Load(Session& session) {
  return session.List<pb::ManagedInstance>(Method("ListManagedInstances"), pb::ListManagedInstancesRequest());
}

// An instance by name, or by number. A name that several groups have is a number's matter.
absl::StatusOr<pb::ManagedInstance> Find(const Context& context, Session& session) {
  PGA_ASSIGN_OR_RETURN(const std::string text, context.Word(0, "the instance's name or id"));
  PGA_ASSIGN_OR_RETURN(std::vector<pb::ManagedInstance> instances, Load(session));
  std::vector<pb::ManagedInstance> named;
  for (const pb::ManagedInstance& instance : instances) {
    if (instance.name() == text) named.push_back(instance);
  }
  if (named.empty()) {
    int32_t id = 0;
    const bool number = absl::SimpleAtoi(text, &id);
    for (const pb::ManagedInstance& instance : instances) {
      if (number && instance.id() == id) named.push_back(instance);
    }
  }
  if (named.empty()) return absl::NotFoundError("no managed instance '" + text + "'; see `pgactl managed list`");
  if (named.size() > 1) {
    std::vector<std::string> ids;
    for (const pb::ManagedInstance& instance : named)
      ids.push_back(absl::StrCat(instance.id(), " (", instance.group(), ")"));
    return absl::FailedPreconditionError(
        absl::StrCat("several groups have an instance '", text, "'; give its id: ", absl::StrJoin(ids, ", ")));
  }
  return named[0];
}

std::optional<absl::Time> Heartbeat(const pb::ManagedInstance& instance) {
  if (!instance.has_last_heartbeat()) return std::nullopt;
  return FromProto(instance.last_heartbeat());
}

// The last error, while it lasts.
std::string ErrorNow(const pb::ManagedInstance& instance) {
  return instance.last_connection_status() == "error" ? instance.last_error_message() : "";
}

absl::Status List(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::vector<pb::ManagedInstance> instances, Load(*session));
  if (context.json) return context.PrintJson(instances);
  Table table({"ID", "NAME", "STATUS", "SERVER", "COLLECTOR", "REACHED", "ERROR", "GROUP"}, {"GROUP", "SERVER"});
  for (const pb::ManagedInstance& instance : instances) {
    table.Add({absl::StrCat(instance.id()), instance.name(), instance.status(),
               absl::StrCat(instance.endpoint(), ":", instance.port()),
               instance.assigned_collector_id().empty() ? "none" : instance.assigned_collector_id(),
               Ago(Heartbeat(instance), context.now), ErrorNow(instance), instance.group()});
  }
  return context.Print(table, "no managed instances; add one with `pgactl managed add NAME`");
}

absl::Status Print(const Context& context, const pb::ManagedInstance& instance) {
  if (context.json) return context.PrintJson(instance);
  std::vector<std::string> tags;
  for (const auto& [name, value] : instance.tags()) tags.push_back(absl::StrCat(name, "=", value));
  std::sort(tags.begin(), tags.end());
  Table table({"WHAT", "VALUE"});
  table.Add({"id", absl::StrCat(instance.id())});
  table.Add({"name", instance.name()});
  table.Add({"status", instance.status()});
  table.Add({"server", absl::StrCat(instance.endpoint(), ":", instance.port())});
  table.Add({"login", instance.master_username()});
  table.Add({"ssl mode", instance.ssl_mode()});
  table.Add({"read every", absl::StrCat(instance.monitoring_interval(), " s")});
  table.Add({"time to connect", absl::StrCat(instance.connection_timeout(), " s")});
  table.Add({"group", instance.group()});
  table.Add({"wanted collector", instance.collector_id().empty() ? "any" : instance.collector_id()});
  table.Add({"watched by", instance.assigned_collector_id().empty() ? "none" : instance.assigned_collector_id()});
  table.Add({"connection", instance.last_connection_status()});
  table.Add({"reached", Ago(Heartbeat(instance), context.now)});
  if (instance.has_last_error_message()) {
    table.Add({"last error",
               absl::StrCat(Minute(FromProto(instance.last_error_time())), ": ", instance.last_error_message())});
  }
  if (instance.has_description()) table.Add({"description", instance.description()});
  table.Add({"role", instance.instance_role()});
  table.Add({"environment", absl::StrCat(instance.environment(), ", ", instance.aws_region())});
  if (!tags.empty()) table.Add({"tags", absl::StrJoin(tags, " ")});
  return context.Print(table);
}

absl::Status Show(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const pb::ManagedInstance instance, Find(context, *session));
  return Print(context, instance);
}

absl::Status Add(Context& context) {
  pb::CreateManagedInstanceRequest request;
  pb::ManagedInstanceSpec* const spec = request.mutable_instance();
  PGA_ASSIGN_OR_RETURN(*spec->mutable_name(), context.Word(0, "the instance's name"));
  spec->set_port(kPort);
  PGA_RETURN_IF_ERROR(FillSpec(context, spec));
  if (spec->endpoint().empty()) return UsageError("--endpoint is missing");
  if (spec->master_username().empty()) return UsageError("--user is missing");
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(*spec->mutable_master_password(), Password(context, spec->master_username(), spec->endpoint()));
  PGA_ASSIGN_OR_RETURN(const auto made, session->Call<pb::ManagedInstance>(Method("CreateManagedInstance"), request));
  return Print(context, made);
}

// A change replaces the instance: what nobody changes is sent as it is.
absl::StatusOr<pb::ManagedInstanceSpec> SpecOf(const pb::ManagedInstance& instance) {
  std::string json;
  pb::ManagedInstanceSpec spec;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (!google::protobuf::util::MessageToJsonString(instance, &json).ok() ||
      !google::protobuf::util::JsonStringToMessage(json, &spec, options).ok()) {
    return absl::InternalError("the instance cannot be written as a change of itself");
  }
  return spec;
}

absl::Status Change(Context& context,
                    const std::function<absl::Status(const pb::ManagedInstance&, pb::ManagedInstanceSpec*)>& change) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const pb::ManagedInstance instance, Find(context, *session));
  pb::UpdateManagedInstanceRequest request;
  request.set_id(instance.id());
  PGA_ASSIGN_OR_RETURN(*request.mutable_instance(), SpecOf(instance));
  PGA_RETURN_IF_ERROR(change(instance, request.mutable_instance()));
  PGA_ASSIGN_OR_RETURN(const auto changed,
                       session->Call<pb::ManagedInstance>(Method("UpdateManagedInstance"), request));
  return Print(context, changed);
}

absl::Status Update(Context& context) {
  return Change(context, [&](const pb::ManagedInstance& before, pb::ManagedInstanceSpec* spec) -> absl::Status {
    if (context.arguments->Has("name")) spec->set_name(context.arguments->Get("name"));
    PGA_RETURN_IF_ERROR(FillSpec(context, spec));
    // The stored one was given for the former host.
    if (context.arguments->Has("password") || spec->endpoint() != before.endpoint()) {
      PGA_ASSIGN_OR_RETURN(*spec->mutable_master_password(),
                           Password(context, spec->master_username(), spec->endpoint()));
    }
    return absl::OkStatus();
  });
}

absl::Status SetPaused(Context& context, bool paused) {
  return Change(context, [&](const pb::ManagedInstance&, pb::ManagedInstanceSpec* spec) {
    spec->set_status(paused ? "paused" : "registered");
    return absl::OkStatus();
  });
}

absl::Status Test(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  std::string what;
  pb::TestConnectionResponse answer;
  if (context.arguments->words().empty()) {
    pb::TestConnectionDirectRequest request;
    request.set_endpoint(context.arguments->Get("endpoint"));
    request.set_username(context.arguments->Get("user"));
    if (request.endpoint().empty() || request.username().empty()) {
      return UsageError("give the instance's name, or --endpoint and --user of a server that is not added");
    }
    PGA_ASSIGN_OR_RETURN(const int port, context.arguments->Int("port", kPort, 1, 65535));
    request.set_port(port);
    PGA_ASSIGN_OR_RETURN(*request.mutable_password(), Password(context, request.username(), request.endpoint()));
    what = absl::StrCat(request.endpoint(), ":", port);
    PGA_ASSIGN_OR_RETURN(answer, session->Call<pb::TestConnectionResponse>(Method("TestConnectionDirect"), request));
  } else {
    if (context.arguments->Has("endpoint") || context.arguments->Has("user") || context.arguments->Has("port")) {
      return UsageError("an instance is tested with its own server and login; leave out --endpoint, --port and --user");
    }
    PGA_ASSIGN_OR_RETURN(const pb::ManagedInstance instance, Find(context, *session));
    pb::TestConnectionRequest request;
    request.set_id(instance.id());
    what = instance.name();
    PGA_ASSIGN_OR_RETURN(answer, session->Call<pb::TestConnectionResponse>(Method("TestConnection"), request));
  }
  if (context.json) PGA_RETURN_IF_ERROR(context.PrintJson(answer));
  if (!answer.success()) return absl::UnavailableError(absl::StrCat(what, ": ", answer.error()));
  if (!context.json) context.Say() << what << ": registry connects\n";
  return absl::OkStatus();
}

absl::Status Delete(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const pb::ManagedInstance instance, Find(context, *session));
  pb::DeleteManagedInstanceRequest request;
  request.set_id(instance.id());
  PGA_RETURN_IF_ERROR(
      session->Call<pb::DeleteManagedInstanceResponse>(Method("DeleteManagedInstance"), request).status());
  context.Say() << "deleted managed instance " << instance.name() << "; what was collected stays\n";
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> ManagedCommands() {
  const std::string asked = absl::StrCat("the password is asked for, or read from ", kPasswordFile, " or ", kPassword);
  return {
      {"managed list", "", "servers that collectors watch without an agent on their host", {}, List, true},
      {"managed show", "NAME", "one managed instance, its state and its last error", {}, Show, true},
      {"managed add", "NAME", absl::StrCat("add a server; ", asked), SpecOptions(), Add},
      {"managed update", "NAME",
       absl::StrCat("change what options name; with --password or another --endpoint ", asked),
       With({{"name", "NEW", "another name; its data go on in a source of that name"},
             {"password", "", "give a new password"}},
            SpecOptions()),
       Update},
      {"managed pause", "NAME", "end the watch for now", {}, [](Context& c) { return SetPaused(c, true); }},
      {"managed resume", "NAME", "watch it again", {}, [](Context& c) { return SetPaused(c, false); }},
      {"managed test",
       "[NAME]",
       "whether registry connects to an instance, or to a server that is not added yet",
       {{"endpoint", "HOST", "of a server that is not added; its password as for managed add"},
        {"port", "N", "default 5432"},
        {"user", "NAME", "login there"}},
       Test},
      {"managed delete", "NAME", "end the watch and delete the password; what was collected stays", {}, Delete},
  };
}

}  // namespace pga::pgactl
