#include "libs/openapi/document.h"

// The header-only form: Debian's package of the library is not needed for one program.
#include <boost/json/src.hpp>
#include <deque>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "google/api/annotations.pb.h"
#include "google/protobuf/descriptor.h"
#include "libs/openapi/descriptor_files.h"
#include "libs/status/status.h"
#include "pganalytics/common/v1/common.pb.h"
#include "pganalytics/common/v1/http_bodies.pb.h"

namespace pga::openapi {
namespace {

namespace json = boost::json;
namespace pb = google::protobuf;
using common_role = ::pganalytics::common::v1::Role;

constexpr char kHttpBody[] = "google.api.HttpBody";
// Messages inside a request message whose fields are query parameters (a.b=x).
constexpr int kParameterDepth = 3;

// Refusals that a route may answer with, by what it has. What any request may meet before its route is known (too
// large, too slow, no such path) stands under "default".
struct Refusal {
  int status;
  const char* name;
  const char* description;
};
constexpr Refusal kBadRequest{400, "BadRequest", "The request is not as described; the message says what to change."};
constexpr Refusal kUnauthorized{401, "Unauthorized", "No token, or one that is not, or no longer, good."};
constexpr Refusal kForbidden{403, "Forbidden", "The caller may not do this."};
constexpr Refusal kNotFound{404, "NotFound", "There is none such that the caller may see."};
constexpr Refusal kConflict{409, "Conflict", "It is there already, or was changed meanwhile."};
constexpr Refusal kTooManyRequests{429, "TooManyRequests",
                                   "More than is allowed in a time; Retry-After says how long to wait."};
constexpr Refusal kUnavailable{503, "Unavailable", "A part does not answer now; the same request may be sent again."};
constexpr Refusal kRefusals[] = {kBadRequest, kUnauthorized,    kForbidden,  kNotFound,
                                 kConflict,   kTooManyRequests, kUnavailable};

// Lines of a comment as paragraphs.
std::string Prose(const std::string& comment) {
  std::vector<std::string> paragraphs(1);
  for (const absl::string_view line : absl::StrSplit(comment, '\n')) {
    const absl::string_view text = absl::StripAsciiWhitespace(line);
    if (text.empty()) {
      if (!paragraphs.back().empty()) paragraphs.emplace_back();
      continue;
    }
    // An indented line is an example or a table: it keeps its line.
    const bool apart = absl::StartsWith(line, "   ");
    absl::StrAppend(&paragraphs.back(), paragraphs.back().empty() ? "" : apart ? "\n" : " ", text);
  }
  if (paragraphs.back().empty()) paragraphs.pop_back();
  return absl::StrJoin(paragraphs, "\n\n");
}

template <typename Descriptor>
std::string CommentOf(const Descriptor& descriptor) {
  pb::SourceLocation location;
  if (!descriptor.GetSourceLocation(&location)) return "";
  const std::string above = Prose(location.leading_comments);
  const std::string behind = Prose(location.trailing_comments);
  return above.empty() || behind.empty() ? above + behind : absl::StrCat(above, " ", behind);
}

// The first sentence, without its full stop.
std::string Summary(const std::string& text) {
  const size_t end = text.find_first_of(".\n");
  std::string first = text.substr(0, end);
  for (size_t at = end; at != std::string::npos && text[at] == '.' && at + 1 < text.size() && text[at + 1] != ' ' &&
                        text[at + 1] != '\n';) {
    at = text.find_first_of(".\n", at + 1);
    first = text.substr(0, at);
  }
  return first;
}

std::string SchemaName(const pb::Descriptor& type) {
  return absl::StrReplaceAll(type.full_name(), {{"pganalytics.", ""}});
}

class Writer {
 public:
  absl::StatusOr<std::string> Write(const pb::FileDescriptorSet& files, const Info& info) {
    pb::DescriptorPool pool;
    PGA_ASSIGN_OR_RETURN(const auto built, BuildFiles(files, &pool));
    json::array tags;
    for (const pb::FileDescriptor* const file : built) {
      for (int s = 0; s < file->service_count(); ++s) {
        const pb::ServiceDescriptor& service = *file->service(s);
        bool used = false;
        for (int m = 0; m < service.method_count(); ++m) {
          const pb::MethodDescriptor& method = *service.method(m);
          if (!method.options().HasExtension(google::api::http)) continue;
          const auto& rule = method.options().GetExtension(google::api::http);
          const absl::Status status = AddRules(method, rule);
          if (!status.ok()) {
            return absl::InvalidArgumentError(absl::StrCat(method.full_name(), ": ", status.message()));
          }
          used = true;
        }
        if (used) {
          json::object tag{{"name", service.name()}};
          if (const std::string text = CommentOf(service); !text.empty()) tag["description"] = text;
          tags.push_back(std::move(tag));
        }
      }
    }
    AddSchemas();
    json::object document{
        {"openapi", "3.1.0"},
        {"info", json::object{{"title", info.title},
                              {"version", info.version},
                              {"description", info.description},
                              {"license", json::object{{"name", "PostgreSQL License"}, {"identifier", "PostgreSQL"}}}}},
        {"servers", json::array{json::object{{"url", "/"}}}},
        {"tags", std::move(tags)},
        {"paths", std::move(paths_)},
        {"components", json::object{{"schemas", std::move(schemas_)},
                                    {"responses", ErrorResponses()},
                                    {"securitySchemes", SecuritySchemes()}}}};
    return json::serialize(document);
  }

 private:
  absl::Status AddRules(const pb::MethodDescriptor& method, const google::api::HttpRule& rule) {
    PGA_RETURN_IF_ERROR(AddRule(method, rule, 0));
    for (int i = 0; i < rule.additional_bindings_size(); ++i) {
      PGA_RETURN_IF_ERROR(AddRule(method, rule.additional_bindings(i), i + 1));
    }
    return absl::OkStatus();
  }

  absl::Status AddRule(const pb::MethodDescriptor& method, const google::api::HttpRule& rule, int binding) {
    std::string verb;
    std::string path;
    switch (rule.pattern_case()) {
      case google::api::HttpRule::kGet:
        std::tie(verb, path) = std::pair("get", rule.get());
        break;
      case google::api::HttpRule::kPut:
        std::tie(verb, path) = std::pair("put", rule.put());
        break;
      case google::api::HttpRule::kPost:
        std::tie(verb, path) = std::pair("post", rule.post());
        break;
      case google::api::HttpRule::kDelete:
        std::tie(verb, path) = std::pair("delete", rule.delete_());
        break;
      case google::api::HttpRule::kPatch:
        std::tie(verb, path) = std::pair("patch", rule.patch());
        break;
      case google::api::HttpRule::kCustom:
        return absl::InvalidArgumentError("a custom method of HTTP cannot be described");
      case google::api::HttpRule::PATTERN_NOT_SET:
        return absl::InvalidArgumentError("the rule has no pattern");
    }
    const pb::Descriptor& input = *method.input_type();
    std::set<const pb::FieldDescriptor*> bound;
    json::array parameters;
    for (size_t open = path.find('{'); open != std::string::npos; open = path.find('{', open + 1)) {
      const size_t close = path.find('}', open);
      if (close == std::string::npos) return absl::InvalidArgumentError("the path has { without }");
      const std::string name = path.substr(open + 1, close - open - 1);
      if (name.find('=') != std::string::npos) {
        return absl::InvalidArgumentError(absl::StrCat("{", name, "} stands for several segments"));
      }
      const pb::FieldDescriptor* const field = input.FindFieldByName(name);
      if (field == nullptr) return absl::InvalidArgumentError(absl::StrCat("{", name, "} is no field of the request"));
      bound.insert(field);
      parameters.push_back(Parameter(*field, name, "path"));
    }
    json::object operation{{"operationId", absl::StrCat(method.service()->name(), "_", method.name(),
                                                        binding == 0 ? "" : absl::StrCat("_", binding))},
                           {"tags", json::array{method.service()->name()}}};
    PGA_RETURN_IF_ERROR(Describe(method, operation));

    const std::string& media = method.options().GetExtension(::pganalytics::common::v1::http_bodies).request();
    const pb::FieldDescriptor* body = nullptr;
    if (rule.body() == "*") {
      operation["requestBody"] = RequestBody(input, bound, media);
    } else {
      if (!rule.body().empty()) {
        body = input.FindFieldByName(rule.body());
        if (body == nullptr || body->message_type() == nullptr || body->is_repeated()) {
          return absl::InvalidArgumentError(absl::StrCat("body ", rule.body(), " is no single message"));
        }
        bound.insert(body);
        operation["requestBody"] = RequestBody(*body->message_type(), {}, media);
      }
      AddQuery(input, "", bound, kParameterDepth, parameters);
    }
    if (!parameters.empty()) operation["parameters"] = std::move(parameters);

    const pb::Descriptor* output = method.output_type();
    if (!rule.response_body().empty()) {
      const pb::FieldDescriptor* const field = output->FindFieldByName(rule.response_body());
      if (field == nullptr || field->message_type() == nullptr || field->is_repeated()) {
        return absl::InvalidArgumentError(
            absl::StrCat("response_body ", rule.response_body(), " is no single message"));
      }
      output = field->message_type();
    }
    const int declared = method.options().GetExtension(::pganalytics::common::v1::http_success).status();
    const int status = declared == 0 ? 200 : declared;
    const auto& bodies = method.options().GetExtension(::pganalytics::common::v1::http_bodies);
    json::object success{{"description", status == 201 ? "Made." : status == 204 ? "Done; no body." : "The answer."}};
    if (status != 204) {
      if (output->full_name() == kHttpBody && bodies.answer().empty()) {
        return absl::InvalidArgumentError(
            "the answer is google.api.HttpBody: name its media types in http_bodies.answer");
      }
      success["content"] = Content(*output, method.server_streaming(), bodies);
    }
    json::object responses{{std::to_string(status), success}};
    for (const int other : bodies.also()) {
      success["description"] = "The answer, as with the status of success.";
      responses[std::to_string(other)] = success;
    }
    for (const int refusal : bodies.refusals()) {
      responses[std::to_string(refusal)] = json::object{{"$ref", "#/components/responses/Error"}};
    }
    const auto& access = method.options().GetExtension(::pganalytics::common::v1::access);
    const bool open = access.anonymous();
    const bool asked = !bound.empty() || operation.contains("requestBody") || operation.contains("parameters");
    AddRefusals(responses, {{kBadRequest, true},
                            {kUnauthorized, !open || asked},
                            {kForbidden, !open},
                            {kNotFound, !open && asked},
                            {kConflict, verb != "get"},
                            {kTooManyRequests, true},
                            {kUnavailable, true}});
    operation["responses"] = std::move(responses);
    json::value& item = paths_[path];
    if (item.is_null()) item = json::object();
    item.as_object()[verb] = std::move(operation);
    return absl::OkStatus();
  }

  // Summary, description and who may call.
  absl::Status Describe(const pb::MethodDescriptor& method, json::object& operation) {
    if (!method.options().HasExtension(::pganalytics::common::v1::access)) {
      return absl::InvalidArgumentError("no rule of access");
    }
    const auto& access = method.options().GetExtension(::pganalytics::common::v1::access);
    const std::string text = CommentOf(method);
    operation["summary"] = text.empty() ? method.name() : Summary(text);
    std::vector<std::string> callers;
    json::array security;
    if (access.anonymous()) callers.emplace_back("anybody, without a token");
    if (access.user() != common_role::ROLE_UNSPECIFIED) {
      const std::string role = absl::AsciiStrToLower(
          ::pganalytics::common::v1::Role_Name(access.user()).substr(std::string("ROLE_").size()));
      callers.push_back(absl::StrCat("people whose role is ", role, role == "admin" ? "" : " or higher"));
      operation["x-required-role"] = role;
      if (!access.anonymous()) security.push_back(json::object{{"bearer", json::array()}});
      if (!access.anonymous()) security.push_back(json::object{{"session", json::array()}});
    }
    if (access.collector()) {
      callers.emplace_back("collectors");
      if (!access.anonymous() && security.empty()) security.push_back(json::object{{"bearer", json::array()}});
    }
    if (access.registration_secret()) {
      callers.emplace_back("whoever has a registration secret");
      security.push_back(json::object{{"registrationSecret", json::array()}});
    }
    if (callers.empty()) return absl::InvalidArgumentError("a rule of HTTP that nobody may call");
    operation["description"] =
        absl::StrCat(text, text.empty() ? "" : "\n\n", "May be called by ", absl::StrJoin(callers, ", "), ".");
    operation["security"] = std::move(security);
    return absl::OkStatus();
  }

  json::object Parameter(const pb::FieldDescriptor& field, const std::string& name, const char* in) {
    json::object parameter{{"name", name}, {"in", in}, {"schema", FieldSchema(field)}};
    if (std::string(in) == "path") {
      parameter["required"] = true;
      // An empty segment is another path.
      json::object& schema = parameter["schema"].as_object();
      if (schema.contains("type") && schema["type"] == "string" && !schema.contains("format") &&
          !schema.contains("enum")) {
        schema["minLength"] = 1;
      }
    }
    if (const std::string text = CommentOf(field); !text.empty()) parameter["description"] = text;
    if (field.options().deprecated()) parameter["deprecated"] = true;
    return parameter;
  }

  void AddQuery(const pb::Descriptor& type, const std::string& prefix,
                const std::set<const pb::FieldDescriptor*>& bound, int depth, json::array& parameters) {
    for (int i = 0; i < type.field_count(); ++i) {
      const pb::FieldDescriptor& field = *type.field(i);
      if (bound.contains(&field)) continue;
      const std::string name = absl::StrCat(prefix, field.name());
      const bool message = field.message_type() != nullptr && !WellKnown(*field.message_type()).has_value();
      if (!message) {
        parameters.push_back(Parameter(field, name, "query"));
      } else if (!field.is_repeated() && depth > 1) {
        AddQuery(*field.message_type(), name + ".", bound, depth - 1, parameters);
      }
    }
  }

  // No body is the same as an empty object, so none is required; what a route needs in it, it says itself.
  json::object RequestBody(const pb::Descriptor& type, const std::set<const pb::FieldDescriptor*>& bound,
                           const std::string& media) {
    Take(type);
    json::object body;
    if (type.full_name() == kHttpBody) {
      body["content"] = json::object{{media.empty() ? "*/*" : media, json::object()}};
    } else {
      body["content"] = json::object{
          {"application/json", json::object{{"schema", bound.empty() ? Ref(type) : MessageSchema(type, bound)}}}};
    }
    return body;
  }

  json::object Content(const pb::Descriptor& type, bool stream, const ::pganalytics::common::v1::HttpBodies& bodies) {
    if (type.full_name() == kHttpBody) {
      json::object content;
      for (const std::string& media : bodies.answer()) content[media] = json::object();
      return content;
    }
    json::object schema = Ref(type);
    if (stream) schema = json::object{{"type", "array"}, {"items", std::move(schema)}};
    return {{"application/json", json::object{{"schema", std::move(schema)}}}};
  }

  json::object Ref(const pb::Descriptor& type) {
    if (named_.insert(&type).second) wanted_.push_back(&type);
    return {{"$ref", absl::StrCat("#/components/schemas/", SchemaName(type))}};
  }

  // JSON of the well-known types (Protobuf's JSON mapping).
  std::optional<json::object> WellKnown(const pb::Descriptor& type) {
    const std::string& name = type.full_name();
    if (name == "google.protobuf.Timestamp") return json::object{{"type", "string"}, {"format", "date-time"}};
    if (name == "google.protobuf.Duration")
      return json::object{{"type", "string"}, {"pattern", R"(^-?[0-9]+(\.[0-9]+)?s$)"}};
    if (name == "google.protobuf.FieldMask") return json::object{{"type", "string"}};
    if (name == "google.protobuf.Struct") return json::object{{"type", "object"}};
    if (name == "google.protobuf.Value") return json::object();
    if (name == "google.protobuf.ListValue") return json::object{{"type", "array"}, {"items", json::object()}};
    if (name == "google.protobuf.Any") return json::object{{"type", "object"}};
    if (type.file()->name() == "google/protobuf/wrappers.proto") return ScalarSchema(*type.FindFieldByName("value"));
    return std::nullopt;
  }

  json::object ScalarSchema(const pb::FieldDescriptor& field) {
    switch (field.type()) {
      case pb::FieldDescriptor::TYPE_BOOL:
        return {{"type", "boolean"}};
      case pb::FieldDescriptor::TYPE_STRING:
        return {{"type", "string"}};
      case pb::FieldDescriptor::TYPE_BYTES:
        return {{"type", "string"}, {"contentEncoding", "base64"}};
      case pb::FieldDescriptor::TYPE_INT32:
      case pb::FieldDescriptor::TYPE_SINT32:
      case pb::FieldDescriptor::TYPE_SFIXED32:
        return {{"type", "integer"}, {"format", "int32"}, {"minimum", -2147483648LL}, {"maximum", 2147483647LL}};
      case pb::FieldDescriptor::TYPE_UINT32:
      case pb::FieldDescriptor::TYPE_FIXED32:
        return {{"type", "integer"}, {"format", "int64"}, {"minimum", 0}, {"maximum", 4294967295LL}};
      case pb::FieldDescriptor::TYPE_INT64:
      case pb::FieldDescriptor::TYPE_SINT64:
      case pb::FieldDescriptor::TYPE_SFIXED64:
        return {{"type", "string"}, {"format", "int64"}, {"pattern", "^-?[0-9]{1,19}$"}};
      case pb::FieldDescriptor::TYPE_UINT64:
      case pb::FieldDescriptor::TYPE_FIXED64:
        return {{"type", "string"}, {"format", "uint64"}, {"pattern", "^[0-9]{1,20}$"}};
      case pb::FieldDescriptor::TYPE_DOUBLE:
      case pb::FieldDescriptor::TYPE_FLOAT:
        return {{"anyOf", json::array{json::object{{"type", "number"}, {"format", "double"}},
                                      json::object{{"enum", json::array{"NaN", "Infinity", "-Infinity"}}}}}};
      case pb::FieldDescriptor::TYPE_ENUM: {
        json::array names;
        for (int i = 0; i < field.enum_type()->value_count(); ++i) {
          names.push_back(json::string(field.enum_type()->value(i)->name()));
        }
        return {{"type", "string"}, {"enum", std::move(names)}};
      }
      case pb::FieldDescriptor::TYPE_MESSAGE:
      case pb::FieldDescriptor::TYPE_GROUP:
        break;
    }
    auto known = WellKnown(*field.message_type());
    return known.has_value() ? *std::move(known) : Ref(*field.message_type());
  }

  json::object FieldSchema(const pb::FieldDescriptor& field) {
    if (field.is_map()) {
      return {{"type", "object"},
              {"additionalProperties", ScalarSchema(*field.message_type()->FindFieldByName("value"))}};
    }
    json::object schema = ScalarSchema(field);
    if (field.is_repeated()) schema = json::object{{"type", "array"}, {"items", std::move(schema)}};
    return schema;
  }

  // Notes messages that a caller may send: it may leave out their fields.
  void Take(const pb::Descriptor& type) {
    if (!taken_.insert(&type).second) return;
    for (int i = 0; i < type.field_count(); ++i) {
      if (const pb::Descriptor* const inner = type.field(i)->message_type()) Take(*inner);
    }
  }

  json::object MessageSchema(const pb::Descriptor& type, const std::set<const pb::FieldDescriptor*>& without) {
    json::object properties;
    json::array always;
    for (int i = 0; i < type.field_count(); ++i) {
      const pb::FieldDescriptor& field = *type.field(i);
      if (without.contains(&field)) continue;
      // An answer has every field that is not optional, with its default or empty, too.
      if (!taken_.contains(&type) && !field.has_presence()) always.push_back(json::string(field.name()));
      json::object property = FieldSchema(field);
      if (const std::string text = CommentOf(field); !text.empty()) property["description"] = text;
      if (field.options().deprecated()) property["deprecated"] = true;
      properties[field.name()] = std::move(property);
    }
    json::object schema{{"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
    if (!always.empty()) schema["required"] = std::move(always);
    if (const std::string text = CommentOf(type); !text.empty()) schema["description"] = text;
    return schema;
  }

  void AddSchemas() {
    for (; !wanted_.empty(); wanted_.pop_front()) {
      schemas_[SchemaName(*wanted_.front())] = MessageSchema(*wanted_.front(), {});
    }
    schemas_["Error"] = json::object{
        {"type", "object"},
        {"description", "Why a request was refused or failed."},
        {"required", json::array{"error", "message", "code", "request_id"}},
        {"properties",
         json::object{
             {"error", json::object{{"type", "string"}, {"description", "The phrase of the status."}}},
             {"message", json::object{{"type", "string"}, {"description", "What happened and what to change."}}},
             {"code", json::object{{"type", "integer"}, {"description", "The status."}}},
             {"reason", json::object{{"type", "string"}, {"description", "UPPER_SNAKE, for programs."}}},
             {"details", json::object{{"type", "string"}}},
             {"request_id", json::object{{"type", "string"}, {"description", "Stands in the log of the suite."}}}}}};
  }

  // Those that hold and are not described otherwise, and the rest under one name.
  static void AddRefusals(json::object& responses, std::initializer_list<std::pair<Refusal, bool>> refusals) {
    for (const auto& [refusal, holds] : refusals) {
      const std::string status = std::to_string(refusal.status);
      if (holds && !responses.contains(status)) {
        responses[status] = json::object{{"$ref", absl::StrCat("#/components/responses/", refusal.name)}};
      }
    }
    responses["default"] = json::object{{"$ref", "#/components/responses/Error"}};
  }

  static json::object ErrorResponses() {
    const json::object content{
        {"application/json", json::object{{"schema", json::object{{"$ref", "#/components/schemas/Error"}}}}}};
    json::object responses{
        {"Error", json::object{{"description", "Any other refusal (4xx) or failure (5xx)."}, {"content", content}}}};
    for (const Refusal& refusal : kRefusals) {
      responses[refusal.name] = json::object{{"description", refusal.description}, {"content", content}};
    }
    return responses;
  }

  static json::object SecuritySchemes() {
    return {
        {"bearer", json::object{{"type", "http"},
                                {"scheme", "bearer"},
                                {"description", "An access token of POST /api/v1/auth/login, or an API token."}}},
        {"session", json::object{{"type", "apiKey"},
                                 {"in", "cookie"},
                                 {"name", "pganalytics_session"},
                                 {"description", "The console's session."}}},
        {"registrationSecret", json::object{{"type", "apiKey"}, {"in", "header"}, {"name", "X-Registration-Secret"}}}};
  }

  json::object paths_;
  json::object schemas_;
  std::set<const pb::Descriptor*> named_;
  // Messages of requests, with all that is in them.
  std::set<const pb::Descriptor*> taken_;
  std::deque<const pb::Descriptor*> wanted_;
};

}  // namespace

absl::StatusOr<std::string> Document(const google::protobuf::FileDescriptorSet& files, const Info& info) {
  return Writer().Write(files, info);
}

}  // namespace pga::openapi
