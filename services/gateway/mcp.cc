#include "services/gateway/mcp.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/util/json_util.h"
#include "libs/log/log.h"
#include "libs/openapi/document.h"
#include "libs/status/status.h"
#include "libs/text/json.h"
#include "libs/text/percent.h"
#include "libs/text/utf8.h"
#include "services/gateway/http_error.h"

namespace pga::gateway {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

// Revisions that begin with `initialize`, the newest first.
constexpr std::string_view kVersions[] = {"2025-11-25", "2025-06-18", "2025-03-26"};
constexpr char kFreshnessPath[] = "/api/v1/freshness";
// Answers that are too large for any model, whatever is asked: get_rows shows a metric's columns.
constexpr std::string_view kLeftOut[] = {"get_catalog"};
constexpr int kParseError = -32700;
constexpr int kInvalidRequest = -32600;
constexpr int kMethodNotFound = -32601;
constexpr int kInvalidParams = -32602;
constexpr int kMaxDepth = 20;
// Whole numbers up to it have one value as double.
constexpr double kMostExact = 9007199254740992;
// Metrics named one by one as incomplete, of one source.
constexpr size_t kMaxNamed = 20;
constexpr size_t kMaxSources = 100;
constexpr char kInstructions[] =
    "Readings of PostgreSQL servers, read-only. list_sources names the servers, get_freshness the metrics that are "
    "stored of "
    "each, get_rows with limit 1 a metric's columns. Who blocked whom: get_activity. What got slower: compare_queries. "
    "Every answer carries `completeness`: the share of the asked time, 0 to 1, that stored readings cover; where it is "
    "below "
    "1, what is missing is not known and not zero. Times are UTC, as 2026-01-31T10:03:00Z.";

const Value* Find(const Struct& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? nullptr : &found->second;
}

const std::string& Text(const Struct& object, const std::string& name) {
  static const std::string* const empty = new std::string;
  const Value* const value = Find(object, name);
  return value == nullptr || value->kind_case() != Value::kStringValue ? *empty : value->string_value();
}

const Struct& Object(const Struct& object, const std::string& name) {
  const Value* const value = Find(object, name);
  return value == nullptr ? Struct::default_instance() : value->struct_value();
}

std::string ToJson(const google::protobuf::Message& message) {
  std::string json;
  (void)google::protobuf::util::MessageToJsonString(message, &json);
  return json;
}

std::string NumberText(double number) {
  if (std::floor(number) == number && std::abs(number) < 9e15) return absl::StrCat(static_cast<int64_t>(number));
  return absl::StrCat(number);
}

Mcp::Reply Answer(const std::string& id, const std::string& result) {
  return {.code = 200, .body = absl::StrCat(R"({"jsonrpc":"2.0","id":)", id, R"(,"result":)", result, "}")};
}

Mcp::Reply Refuse(const std::string& id, int code, std::string_view message) {
  return {.code = 200,
          .body = absl::StrCat(R"({"jsonrpc":"2.0","id":)", id, R"(,"error":{"code":)", code, R"(,"message":)",
                               JsonQuote(message), "}}")};
}

// "QueryService_GetActivity" -> "get_activity".
std::string ToolName(std::string_view operation) {
  const size_t underscore = operation.find('_');
  operation.remove_prefix(underscore == std::string_view::npos ? 0 : underscore + 1);
  std::string name;
  for (const char c : operation) {
    if (std::isupper(static_cast<unsigned char>(c)) != 0 && !name.empty()) name += '_';
    name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return name;
}

// Schemas of parameters stand alone: what they refer to is written in their place.
void Inline(const Struct& schemas, Value& value, int depth = 0) {
  if (depth > kMaxDepth) return;
  if (value.kind_case() == Value::kListValue) {
    for (Value& one : *value.mutable_list_value()->mutable_values()) Inline(schemas, one, depth + 1);
  }
  if (value.kind_case() != Value::kStructValue) return;
  const std::string reference = Text(value.struct_value(), "$ref");
  if (!reference.empty()) {
    const Value* const target = Find(schemas, reference.substr(reference.rfind('/') + 1));
    if (target != nullptr) value = *target;
  }
  for (auto& [name, inner] : *value.mutable_struct_value()->mutable_fields()) Inline(schemas, inner, depth + 1);
}

// Texts of one argument, several for a list. InvalidArgument for what no parameter can be.
absl::StatusOr<std::vector<std::string>> Texts(const std::string& name, const Value& value) {
  switch (value.kind_case()) {
    case Value::kStringValue:
      return std::vector<std::string>{value.string_value()};
    case Value::kNumberValue:
      return std::vector<std::string>{NumberText(value.number_value())};
    case Value::kBoolValue:
      return std::vector<std::string>{value.bool_value() ? "true" : "false"};
    case Value::kListValue: {
      std::vector<std::string> all;
      for (const Value& one : value.list_value().values()) {
        if (one.kind_case() == Value::kListValue) break;
        PGA_ASSIGN_OR_RETURN(const std::vector<std::string> texts, Texts(name, one));
        all.insert(all.end(), texts.begin(), texts.end());
      }
      if (all.size() == static_cast<size_t>(value.list_value().values_size())) return all;
      break;
    }
    case Value::kNullValue:
      return std::vector<std::string>{};
    default:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("argument ", name, " must be a text, a number, true or false, or a list"));
}

void AddPair(std::string& query, std::string_view name, std::string_view value) {
  absl::StrAppend(&query, query.empty() ? "" : "&", text::PercentEncode(name), "=", text::PercentEncode(value));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Mcp>> Mcp::Create(const std::string& descriptor_set, const ApiSurface* api) {
  google::protobuf::FileDescriptorSet files;
  if (!files.ParseFromString(descriptor_set)) return absl::InvalidArgumentError("the descriptor set cannot be read");
  std::unique_ptr<Mcp> mcp(new Mcp(api));
  const auto text = openapi::Document(files, {.title = "", .version = "", .description = ""});
  if (!text.ok()) {
    // A set of somebody's own is served all the same.
    PGA_LOG(warn, "MCP offers no tools: the descriptor set has a form that OpenAPI has not",
            {{"cause", text.status()}});
    mcp->list_ = R"({"tools":[]})";
    return mcp;
  }
  Struct document;
  if (!google::protobuf::util::JsonStringToMessage(*text, &document).ok()) {
    return absl::InternalError("the OpenAPI document cannot be read");
  }
  const Struct& schemas = Object(Object(document, "components"), "schemas");
  // In the order of the names, whatever a map's order is.
  const auto& paths = Object(document, "paths").fields();
  std::map<std::string, const Struct*> operations;
  for (const auto& [path, item] : paths) {
    const Value* const get = Find(item.struct_value(), "get");
    if (get != nullptr) operations[path] = &get->struct_value();
  }
  for (const auto& [path, operation] : operations) {
    PGA_RETURN_IF_ERROR(mcp->AddTool(path, *operation, schemas, mcp->list_));
  }
  mcp->list_ = absl::StrCat(R"({"tools":[)", mcp->list_, "]}");
  return mcp;
}

absl::Status Mcp::AddTool(const std::string& path, const Struct& operation, const Struct& schemas, std::string& list) {
  const ApiSurface::Match match = api_->Find("GET", path);
  if (match.route == nullptr) return absl::OkStatus();
  const ApiMethod& method = *match.route->method;
  const bool readable = method.access.user() == pganalytics::common::v1::ROLE_VIEWER &&
                        match.route->response_type->full_name() != "google.api.HttpBody";
  if (!readable) return absl::OkStatus();
  Tool tool{.name = ToolName(Text(operation, "operationId")),
            .route = match.route,
            .path_parameters = {},
            .query_parameters = {}};
  if (std::ranges::find(kLeftOut, tool.name) != std::end(kLeftOut)) return absl::OkStatus();
  for (const Tool& other : tools_) {
    if (other.name == tool.name) {
      return absl::InvalidArgumentError(
          absl::StrCat("two methods are called ", method.full_name, ": one needs another name"));
    }
  }
  Struct schema;
  (*schema.mutable_fields())["type"].set_string_value("object");
  (*schema.mutable_fields())["additionalProperties"].set_bool_value(false);
  Struct& properties = *(*schema.mutable_fields())["properties"].mutable_struct_value();
  google::protobuf::ListValue required;
  const Value* const parameters = Find(operation, "parameters");
  for (const Value& one : parameters == nullptr ? google::protobuf::ListValue::default_instance().values()
                                                : parameters->list_value().values()) {
    const Struct& parameter = one.struct_value();
    const std::string& name = Text(parameter, "name");
    Value& property = (*properties.mutable_fields())[name];
    property = *Find(parameter, "schema");
    Inline(schemas, property);
    if (!Text(parameter, "description").empty()) {
      (*property.mutable_struct_value()->mutable_fields())["description"].set_string_value(
          Text(parameter, "description"));
    }
    const bool in_path = Text(parameter, "in") == "path";
    (in_path ? tool.path_parameters : tool.query_parameters).push_back(name);
    if (in_path) required.add_values()->set_string_value(name);
  }
  if (required.values_size() > 0) *(*schema.mutable_fields())["required"].mutable_list_value() = required;
  absl::StrAppend(&list, list.empty() ? "" : ",", R"({"name":)", JsonQuote(tool.name), R"(,"title":)",
                  JsonQuote(Text(operation, "summary")), R"(,"description":)",
                  JsonQuote(Text(operation, "description")), R"(,"inputSchema":)", ToJson(schema),
                  R"(,"annotations":{"readOnlyHint":true,"destructiveHint":false,"openWorldHint":false}})");
  tools_.push_back(std::move(tool));
  return absl::OkStatus();
}

bool Mcp::Speaks(std::string_view version) {
  return std::ranges::find(kVersions, version) != std::end(kVersions);
}

std::variant<Mcp::Reply, Mcp::Call> Mcp::Read(const std::string& body) const {
  Value message;
  if (!text::IsUtf8(body) || !text::JsonDepthWithin(body, kMaxDepth) ||
      !google::protobuf::util::JsonStringToMessage(body, &message).ok()) {
    return Reply{.code = 400, .body = Refuse("null", kParseError, "The body is no JSON.").body};
  }
  const Struct& request = message.struct_value();
  const Value* const id_value = Find(request, "id");
  std::string id = "null";
  if (id_value != nullptr && id_value->kind_case() == Value::kStringValue) id = JsonQuote(id_value->string_value());
  if (id_value != nullptr && id_value->kind_case() == Value::kNumberValue) {
    const double number = id_value->number_value();
    if (number == std::trunc(number) && std::abs(number) <= kMostExact) {
      id = absl::StrCat(static_cast<int64_t>(number));
    }
  }
  const std::string& method = Text(request, "method");
  if (message.kind_case() != Value::kStructValue || Text(request, "jsonrpc") != "2.0" ||
      (method.empty() && id_value == nullptr)) {
    return Reply{.code = 400,
                 .body = Refuse(id, kInvalidRequest, "The body is no single message of JSON-RPC 2.0.").body};
  }
  if (id_value != nullptr && id == "null") {
    return Reply{
        .code = 400,
        .body = Refuse(id, kInvalidRequest, "The id of a request is a text, or a whole number up to 2^53.").body};
  }
  // Notifications, and answers to what was never asked.
  if (id == "null" || method.empty()) return Reply{.code = 202, .body = ""};
  const Struct& params = Object(request, "params");
  if (method == "initialize") {
    const std::string& asked = Text(params, "protocolVersion");
    return Answer(
        id, absl::StrCat(R"({"protocolVersion":)", JsonQuote(Speaks(asked) ? std::string_view(asked) : kVersions[0]),
                         R"(,"capabilities":{"tools":{"listChanged":false}},)",
                         R"("serverInfo":{"name":"pganalytics","title":"pgAnalytics","version":)",
                         JsonQuote(PGA_VERSION), R"(},"instructions":)", JsonQuote(kInstructions), "}"));
  }
  if (method == "ping") return Answer(id, "{}");
  if (method == "tools/list") return Answer(id, list_);
  if (method == "tools/call") return CallTool(id, params);
  return Refuse(id, kMethodNotFound, absl::StrCat("method ", method, " is not offered"));
}

std::variant<Mcp::Reply, Mcp::Call> Mcp::CallTool(const std::string& id, const Struct& params) const {
  const std::string& name = Text(params, "name");
  const auto tool = std::ranges::find(tools_, name, &Tool::name);
  if (tool == tools_.end()) return Refuse(id, kInvalidParams, absl::StrCat("there is no tool ", name));
  const Struct& arguments = Object(params, "arguments");
  Call call;
  call.id = id;
  call.ask.route = tool->route;
  for (const std::string& parameter : tool->path_parameters) {
    const Value* const value = Find(arguments, parameter);
    const auto texts =
        value == nullptr ? std::vector<std::string>() : Texts(parameter, *value).value_or(std::vector<std::string>());
    if (texts.size() != 1 || texts.front().empty()) {
      return Failure(call, absl::StrCat("argument ", parameter, " is missing: this tool needs one text for it"));
    }
    call.ask.bindings.push_back({.field_path = {parameter}, .value = texts.front()});
  }
  // In the order of the schema, so that equal calls are equal.
  for (const std::string& parameter : tool->query_parameters) {
    const Value* const value = Find(arguments, parameter);
    if (value == nullptr) continue;
    const auto texts = Texts(parameter, *value);
    if (!texts.ok()) return Failure(call, std::string(texts.status().message()));
    for (const std::string& text : *texts) AddPair(call.ask.query, parameter, text);
  }
  for (const auto& [given, value] : arguments.fields()) {
    if (std::ranges::find(tool->path_parameters, given) != tool->path_parameters.end()) continue;
    if (std::ranges::find(tool->query_parameters, given) != tool->query_parameters.end()) continue;
    return Failure(call, absl::StrCat("there is no argument ", given, "; the tool's schema names those there are"));
  }
  call.freshness = FreshnessOf(*tool, arguments);
  call.metric = Text(arguments, "metric");
  return call;
}

// Asked of the same sources and the same time.
Mcp::Ask Mcp::FreshnessOf(const Tool& tool, const Struct& arguments) const {
  Ask ask;
  ask.route = api_->Find("GET", kFreshnessPath).route;
  for (const char* const parameter : {"source", "start", "end", "hours"}) {
    const Value* const value = Find(arguments, parameter);
    if (value == nullptr || std::ranges::find(tool.query_parameters, parameter) == tool.query_parameters.end())
      continue;
    for (const std::string& text : Texts(parameter, *value).value_or(std::vector<std::string>())) {
      AddPair(ask.query, parameter, text);
    }
  }
  absl::Time at;
  std::string unused;
  if (absl::ParseTime(absl::RFC3339_full, Text(arguments, "at"), &at, &unused)) {
    // The minute before and the one behind.
    for (const auto& [name, time] :
         {std::pair("start", at - absl::Minutes(1)), std::pair("end", at + absl::Minutes(1))}) {
      AddPair(ask.query, name, absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone()));
    }
  }
  return ask;
}

namespace {

// What is not whole of each source, and the newest reading of it.
std::string CompletenessJson(const std::string& freshness, const std::string& metric) {
  Struct answer;
  if (freshness.empty() || !google::protobuf::util::JsonStringToMessage(freshness, &answer).ok()) {
    return R"({"known":false})";
  }
  struct Source {
    double least = 1;
    double gaps = 0;
    std::string newest;
    std::map<std::string, double> incomplete;
  };
  std::map<std::string, Source> sources;
  const Value* const list = Find(answer, "freshness");
  double least = 1;
  bool any = false;
  for (const Value& one :
       list == nullptr ? google::protobuf::ListValue::default_instance().values() : list->list_value().values()) {
    const Struct& row = one.struct_value();
    if (!metric.empty() && Text(row, "metric") != metric) continue;
    Source& source = sources[Text(row, "source_name")];
    const Value* const share = Find(row, "completeness");
    const double completeness = share == nullptr ? 0 : share->number_value();
    any = true;
    least = std::min(least, completeness);
    source.least = std::min(source.least, completeness);
    source.newest = std::max(source.newest, Text(row, "last_collected_at"));
    if (const Value* const gaps = Find(row, "gaps"); gaps != nullptr) source.gaps += gaps->number_value();
    if (completeness < 1) source.incomplete[Text(row, "metric")] = completeness;
  }
  std::string json = absl::StrCat(R"({"known":)", any ? "true" : "false");
  if (any) absl::StrAppend(&json, R"(,"share":)", least);
  absl::StrAppend(&json, R"(,"sources":[)");
  size_t written = 0;
  for (const auto& [name, source] : sources) {
    if (written == kMaxSources) break;
    absl::StrAppend(&json, written++ == 0 ? "" : ",", R"({"source":)", JsonQuote(name), R"(,"share":)", source.least,
                    R"(,"newest":)", JsonQuote(source.newest), R"(,"lost_intervals":)", source.gaps,
                    R"(,"incomplete":{)");
    size_t named = 0;
    for (const auto& [incomplete, share] : source.incomplete) {
      if (named == kMaxNamed) break;
      absl::StrAppend(&json, named++ == 0 ? "" : ",", JsonQuote(incomplete), ":", share);
    }
    absl::StrAppend(&json, "}}");
  }
  return absl::StrCat(json, R"(],"sources_found":)", sources.size(), "}");
}

std::string ToolResult(const std::string& json, bool is_error) {
  return absl::StrCat(R"({"content":[{"type":"text","text":)", JsonQuote(json), R"(}],"isError":)",
                      is_error ? "true" : "false", is_error ? "" : absl::StrCat(R"(,"structuredContent":)", json), "}");
}

}  // namespace

Mcp::Reply Mcp::Result(const Call& call, const std::string& answer, const std::string& freshness) const {
  const std::string json =
      absl::StrCat(R"({"answer":)", answer, R"(,"completeness":)", CompletenessJson(freshness, call.metric), "}");
  if (json.size() > kMaxResultBytes) {
    return Failure(
        call,
        absl::StrCat("The answer has ", json.size(), " bytes, more than ", kMaxResultBytes,
                     ". Ask for less: a smaller limit or text_length, one source, a shorter range, a larger step."));
  }
  return Answer(call.id, ToolResult(json, false));
}

Mcp::Reply Mcp::Failure(const Call& call, const std::string& message) {
  return Answer(call.id, ToolResult(message, true));
}

}  // namespace pga::gateway
