#include "services/gateway/envoy_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "libs/config/config.h"
#include "libs/status/status.h"
#include "libs/token/services.h"
#include "services/gateway/builtin_descriptor_set.h"
#include "services/gateway/envoy_sources.h"
#include "services/gateway/file_template.h"
#include "services/gateway/http_template.h"
#include "services/gateway/transcoder.h"

namespace pga::gateway {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr int kMaxFieldDepth = 4;

std::string Seconds(absl::Duration duration) {
  return absl::StrCat(absl::ToDoubleSeconds(duration), "s");
}

// Inside double quotes, of YAML and of Lua alike.
std::string Quoted(std::string_view text) {
  return absl::StrReplaceAll(absl::string_view(text.data(), text.size()), {{"\\", "\\\\"}, {"\"", "\\\""}});
}

std::string Flag(bool value) {
  return value ? "true" : "";
}

absl::StatusOr<std::pair<std::string, std::string>> HostAndPort(const std::string& variable, const std::string& text) {
  const size_t colon = text.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(variable, ": \"", text, "\" is not host:port"));
  }
  std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return std::make_pair(host, absl::StrCat(port));
}

// A path that the template takes, as a regular expression over the whole path. Empty parts at the end do not count.
std::string RegexOf(const HttpTemplate& shape) {
  std::string regex;
  for (size_t i = 0; i < shape.segments.size(); ++i) {
    const std::string& segment = shape.segments[i];
    regex += '/';
    if (segment == "**") {
      regex += ".*";
    } else if (segment == "*") {
      regex += i + 1 == shape.segments.size() ? "[^/]+" : "[^/]*";
    } else {
      for (const char c : segment) {
        if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '_') regex += '\\';
        regex += c;
      }
    }
  }
  if (!shape.verb.empty()) regex += ":" + shape.verb;
  return regex + "/*";
}

// Literals before variables, part by part, as PathMatcher looks for them.
std::vector<std::pair<int, std::string>> OrderOf(const HttpTemplate& shape) {
  std::vector<std::pair<int, std::string>> order;
  for (const std::string& segment : shape.segments) {
    order.emplace_back(segment == "**" ? 2 : segment == "*" ? 1 : 0, segment);
  }
  // With a verb first: the same path without it is taken by the other, too.
  order.emplace_back(shape.verb.empty() ? 3 : -1, shape.verb);
  return order;
}

// Whether every path of `one` is a path of `other`.
bool Covers(const HttpTemplate& other, const HttpTemplate& one) {
  if (other.verb != one.verb || other.segments.size() != one.segments.size()) return false;
  return std::equal(one.segments.begin(), one.segments.end(), other.segments.begin(),
                    [](const std::string& a, const std::string& b) { return a == b || b == "*" || b == "**"; });
}

// Query parameters that may be given once: each name they have, and the one of the proto.
void AddSingle(const Descriptor& type, const std::string& prefix, const std::string& plain, int depth,
               std::vector<std::string>& out) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* const field = type.field(i);
    if (field->is_repeated()) continue;
    for (const std::string& name : std::set<std::string>{field->name(), field->json_name()}) {
      if (IsBindable({field})) {
        out.push_back(absl::StrCat("\"", prefix, name, "\": \"", plain, field->name(), "\""));
      } else if (depth < kMaxFieldDepth) {
        AddSingle(*field->message_type(), prefix + name + ".", plain + field->name() + ".", depth + 1, out);
      }
    }
  }
}

// Names of the message's own instants, as JSON has them.
std::set<std::string> TimesOf(const Descriptor& type) {
  std::set<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* const field = type.field(i);
    if (field->message_type() == nullptr || field->message_type()->full_name() != "google.protobuf.Timestamp") continue;
    names.insert({field->name(), field->json_name()});
  }
  return names;
}

std::string BodyOf(const ApiRoute& route) {
  if (route.body == ApiRoute::Body::kNone) return "none";
  if (TakesRawBody(route)) return "raw";
  return route.body == ApiRoute::Body::kWhole ? "all" : "part";
}

struct ShapedRoute {
  const ApiRoute* route;
  HttpTemplate shape;
};

absl::StatusOr<std::vector<ShapedRoute>> InOrder(const ApiSurface& api) {
  std::vector<ShapedRoute> routes;
  for (const auto& route : api.routes()) {
    PGA_ASSIGN_OR_RETURN(HttpTemplate shape, ParseHttpTemplate(route->path_template));
    routes.push_back({route.get(), std::move(shape)});
  }
  std::stable_sort(routes.begin(), routes.end(),
                   [](const ShapedRoute& a, const ShapedRoute& b) { return OrderOf(a.shape) < OrderOf(b.shape); });
  return routes;
}

std::string ServiceOf(const ApiMethod& method) {
  return method.full_name.substr(0, method.full_name.rfind('.'));
}

TemplateValues RouteValues(const GatewayConfig& config, const ShapedRoute& one) {
  const ApiMethod& method = *one.route->method;
  const std::string service = ServiceOf(method);
  std::string cluster;
  for (const token::ServiceRow& row : token::kServices) {
    if (!row.package.empty() && method.full_name.starts_with(row.package)) cluster = std::string(row.name);
  }
  std::vector<std::string> single;
  AddSingle(*method.descriptor->input_type(), "", "", 0, single);
  std::vector<std::string> bound;
  for (const auto& variable : one.shape.variables) bound.push_back(absl::StrJoin(variable.field_path, "."));
  const bool streams = method.descriptor->server_streaming();
  TemplateValues values;
  values.texts = {
      {"METHOD", method.full_name.substr(ServiceOf(method).rfind('.') + 1)},
      {"NAME", method.full_name.substr(service.size() + 1)},
      {"SERVICE", service},
      {"REGEX", RegexOf(one.shape)},
      {"VERBS", one.route->http_method == "GET" ? "GET|HEAD" : one.route->http_method},
      {"CLUSTER", cluster},
      {"TIMEOUT", Seconds(streams ? config.stream_timeout : config.request_timeout)},
      {"BODY", BodyOf(*one.route)},
      {"SINGLE", absl::StrJoin(single, ", ")},
      {"BOUND", absl::StrJoin(bound, ", ")},
      {"TIMES", absl::StrJoin(TimesOf(*method.descriptor->input_type()), ", ")},
      {"SUCCESS", method.success_status == 200 ? "" : absl::StrCat(method.success_status)},
  };
  return values;
}

// Paths of the API whose verb is none of theirs.
std::vector<TemplateValues> OtherVerbs(const std::vector<ShapedRoute>& routes) {
  std::vector<TemplateValues> out;
  std::set<std::string> seen;
  for (const ShapedRoute& one : routes) {
    const std::string regex = RegexOf(one.shape);
    if (!seen.insert(regex).second) continue;
    std::set<std::string> verbs;
    for (const ShapedRoute& other : routes) {
      if (Covers(other.shape, one.shape)) verbs.insert(other.route->http_method);
    }
    std::string allow;
    for (const std::string& verb : verbs) absl::StrAppend(&allow, verb, verb == "GET" ? ", HEAD" : "", ", ");
    TemplateValues values;
    values.texts = {{"REGEX", regex}, {"ALLOW", allow + "OPTIONS"}};
    out.push_back(std::move(values));
  }
  return out;
}

// A bucket that holds a minute's allowance and is filled every 3 s, or as often as one request falls due.
void AddLimit(const std::string& name, int per_minute, TemplateValues& values) {
  const int fill = std::max(1, per_minute / 20);
  const int interval = per_minute >= 20 || per_minute == 0 ? 3 : (60 / per_minute + 2) / 3 * 3;
  values.texts[name + "_LIMIT"] = per_minute == 0 ? "" : absl::StrCat(per_minute);
  values.texts[name + "_FILL"] = absl::StrCat(fill);
  values.texts[name + "_INTERVAL"] = absl::StrCat(interval, "s");
}

absl::StatusOr<TemplateValues> ClusterValues(const EnvoySettings& settings, const GatewayConfig& config,
                                             const std::string& name, const std::string& address) {
  PGA_ASSIGN_OR_RETURN(const auto where, HostAndPort(token::AddressVariable(name), address));
  const bool collectors = name == "collectors";
  const bool service = !collectors && name != "gateway";
  const bool is_address =
      where.first.find_first_not_of("0123456789.") == std::string::npos || where.first.find(':') != std::string::npos;
  TemplateValues values;
  values.texts = {
      {"CLUSTER", name},
      {"HOST", Quoted(where.first)},
      {"PORT", where.second},
      {"HTTP2", Flag(service)},
      {"KEEPALIVE", Flag(collectors)},
      {"PEER_TLS", Flag(service && settings.peer_tls)},
      {"CA_PATH", Quoted(settings.peer_ca_path.empty() ? "/etc/ssl/certs/ca-certificates.crt" : settings.peer_ca_path)},
      {"SAN_TYPE", is_address ? "IP_ADDRESS" : "DNS"},
      {"PASS_ADDRESS", Flag(collectors && config.ingest_proxy_protocol)},
  };
  return values;
}

absl::Status WriteWhole(const std::filesystem::path& path, const std::string& text) {
  const std::string part = path.string() + ".part";
  const auto failed = [&] {
    return absl::UnavailableError(absl::StrCat("cannot write ", path.string(), ": ", std::strerror(errno)));
  };
  // Other users have no business with the service's secret in it.
  const int fd = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return failed();
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = write(fd, text.data() + done, text.size() - done);
    if (written < 0) {
      close(fd);
      return failed();
    }
    done += static_cast<size_t>(written);
  }
  if (close(fd) != 0 || rename(part.c_str(), path.c_str()) != 0) return failed();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> MakeEnvoyFiles(const GatewayConfig& config,
                                                                  const EnvoySettings& settings, const ApiSurface& api,
                                                                  const std::string& descriptor_set) {
  PGA_RETURN_IF_ERROR(config.Validate());
  TemplateValues values;
  values.texts = {
      {"FOLDER", Quoted(settings.folder)},
      {"LISTEN_ADDRESS", config.ListenAddress()},
      {"PORT", absl::StrCat(config.port)},
      {"TLS", Flag(config.tls_enabled)},
      {"TLS_CERT_PATH", Quoted(config.tls_cert_path)},
      {"TLS_KEY_PATH", Quoted(config.tls_key_path)},
      {"TLS_FOLDER", Quoted(std::filesystem::path(config.tls_cert_path).parent_path().string())},
      {"PROXY_PROTOCOL", Flag(!config.proxy_protocol_from.empty())},
      {"COLLECTOR_PROTOCOL", config.tls_enabled ? "'h2'" : "'h2c'"},
      {"MAX_CONNECTIONS", absl::StrCat(2 * config.max_connections)},
      {"REQUEST_TIMEOUT", Seconds(config.request_timeout)},
      {"STREAM_TIMEOUT", Seconds(config.stream_timeout)},
      {"IDLE_TIMEOUT", Seconds(config.idle_timeout)},
      {"MAX_BODY_BYTES", absl::StrCat(config.max_body_bytes)},
      {"MAX_URL_BYTES", absl::StrCat(config.max_url_bytes)},
      {"LIMITS", Flag(config.rate_limit_per_minute > 0 || config.rate_limit_user_per_minute > 0)},
      {"SERVICE_SECRET", Quoted(settings.service_secret)},
      {"HTTPS", config.tls_enabled ? "true" : "false"},
      {"TRUSTS_PROXIES", config.trusted_proxies.empty() ? "false" : "true"},
      {"PRODUCTION", config.environment == "production" ? "true" : "false"},
      {"METRICS_ADDRESS", ""},
      {"METRICS_PORT", ""},
  };
  AddLimit("ADDRESS", config.rate_limit_per_minute, values);
  AddLimit("USER", config.rate_limit_user_per_minute, values);
  std::vector<std::string> origins;
  for (const std::string& origin : config.cors_allowed_origins) origins.push_back("\"" + Quoted(origin) + "\"");
  values.texts["ORIGINS"] = absl::StrJoin(origins, ", ");
  if (!settings.metrics_listen.empty()) {
    PGA_ASSIGN_OR_RETURN(const auto where, HostAndPort("METRICS_LISTEN", settings.metrics_listen));
    values.texts["METRICS_ADDRESS"] = where.first.empty() ? "0.0.0.0" : where.first;
    values.texts["METRICS_PORT"] = where.second;
  }
  auto& proxies = values.lists["PROXIES"];
  for (const std::string& proxy : config.trusted_proxies) {
    const size_t slash = proxy.find('/');
    TemplateValues one;
    one.texts = {{"ADDRESS", proxy.substr(0, slash)},
                 {"BITS", slash != std::string::npos             ? proxy.substr(slash + 1)
                          : proxy.find(':') == std::string::npos ? "32"
                                                                 : "128"}};
    proxies.push_back(std::move(one));
  }
  PGA_ASSIGN_OR_RETURN(const std::vector<ShapedRoute> routes, InOrder(api));
  std::set<std::string> services;
  for (const ShapedRoute& one : routes) {
    services.insert(ServiceOf(*one.route->method));
    values.lists["ROUTES"].push_back(RouteValues(config, one));
  }
  values.texts["SERVICES"] = absl::StrJoin(services, ", ");
  values.lists["OTHERS"] = OtherVerbs(routes);
  for (const auto& [name, address] : settings.addresses) {
    PGA_ASSIGN_OR_RETURN(TemplateValues cluster, ClusterValues(settings, config, name, address));
    values.lists["CLUSTERS"].push_back(std::move(cluster));
  }

  std::map<std::string, std::string> files;
  for (const EnvoySource& source : EnvoySources()) {
    if (source.name == "certificate.yaml" && !config.tls_enabled) continue;
    auto filled = FillTemplate(source.text, values);
    if (!filled.ok()) return status::Annotate(filled.status(), source.name);
    files[source.name] = *std::move(filled);
  }
  files["pganalytics.pb"] = descriptor_set;
  return files;
}

absl::Status RunEnvoyCommand(int argc, char** argv) {
  GatewayConfig config;
  EnvoySettings settings;
  log::Secret secret;
  std::string collectors;
  config::Loader loader(
      argc, argv, config::ProcessEnvironment(),
      "pga-gateway envoy FOLDER: writes the files with which Envoy stands in the gateway's place, from "
      "the gateway's own settings.");
  config.Register(loader);
  const token::ServiceRow* const self = token::FindService("gateway");
  for (const std::string_view name : token::CallsOf(*self)) {
    const std::string callee(name);
    loader.String(&settings.addresses[callee], token::AddressVariable(name), callee + "-service-addr",
                  absl::StrCat("127.0.0.1:", token::FindService(name)->port),
                  absl::StrCat("address of the ", callee, " service"));
  }
  loader.String(&settings.addresses["gateway"], token::AddressVariable("gateway"), "gateway-service-addr",
                "127.0.0.1:8081", "address of the built-in gateway, which serves the console's files and /mcp");
  loader.String(&collectors, "INGEST_COLLECTOR_ADDR", "ingest-collector-addr", "",
                "where collectors' connections are passed on to; empty = INGEST_SERVICE_ADDR");
  loader.Listen(&settings.metrics_listen, "METRICS_LISTEN", "metrics-listen", "",
                "host:port of /metrics and /ready; empty or off = none");
  loader.Bool(&settings.peer_tls, "PEER_TLS_ENABLED", "peer-tls-enabled", false, "call the services over TLS");
  loader.String(&settings.peer_ca_path, "PEER_TLS_CA_PATH", "peer-tls-ca-path", "",
                "CA of the services' certificates, PEM; empty = the system's store");
  loader.Secret(&secret, "SERVICE_SECRET", "the gateway's own secret at auth, by which services believe its word");
  loader.AllowPositional();
  PGA_RETURN_IF_ERROR(loader.Parse());
  if (loader.help_requested()) {
    std::fputs(loader.Help().c_str(), stdout);
    return absl::OkStatus();
  }
  if (loader.positional().size() != 2) return absl::InvalidArgumentError("write: pga-gateway envoy FOLDER");
  if (!secret.empty()) {
    PGA_ASSIGN_OR_RETURN(const std::vector<std::string> secrets, token::ParseServiceSecrets(secret.Reveal()));
    settings.service_secret = secrets.front();
  }
  settings.addresses["collectors"] = collectors.empty() ? settings.addresses["ingest"] : collectors;
  std::error_code failed;
  const std::filesystem::path folder = std::filesystem::absolute(loader.positional()[1], failed);
  settings.folder = folder.string();
  const std::string descriptor_set = BuiltinDescriptorSet();
  PGA_ASSIGN_OR_RETURN(const std::unique_ptr<ApiSurface> api, ApiSurface::Create(descriptor_set));
  PGA_ASSIGN_OR_RETURN(const auto files, MakeEnvoyFiles(config, settings, *api, descriptor_set));
  for (const auto& [name, text] : files) PGA_RETURN_IF_ERROR(WriteWhole(folder / name, text));
  return absl::OkStatus();
}

}  // namespace pga::gateway
