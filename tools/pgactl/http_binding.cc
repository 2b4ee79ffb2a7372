#include "tools/pgactl/http_binding.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/api/annotations.pb.h"
#include "google/api/httpbody.pb.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/time_util.h"
#include "libs/text/percent.h"

namespace pga::pgactl {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

// A scalar, an enum or a Timestamp as text; `index` < 0 for a singular field.
absl::StatusOr<std::string> FieldText(const Message& message, const FieldDescriptor& field, int index) {
  const google::protobuf::Reflection& r = *message.GetReflection();
  const bool one = index < 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(one ? r.GetInt32(message, &field) : r.GetRepeatedInt32(message, &field, index));
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(one ? r.GetInt64(message, &field) : r.GetRepeatedInt64(message, &field, index));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(one ? r.GetDouble(message, &field) : r.GetRepeatedDouble(message, &field, index));
    case FieldDescriptor::CPPTYPE_BOOL:
      return std::string((one ? r.GetBool(message, &field) : r.GetRepeatedBool(message, &field, index)) ? "true"
                                                                                                        : "false");
    case FieldDescriptor::CPPTYPE_ENUM:
      return (one ? r.GetEnum(message, &field) : r.GetRepeatedEnum(message, &field, index))->name();
    case FieldDescriptor::CPPTYPE_STRING:
      return one ? r.GetString(message, &field) : r.GetRepeatedString(message, &field, index);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (one && field.message_type()->full_name() == "google.protobuf.Timestamp") {
        google::protobuf::Timestamp time;
        time.CopyFrom(r.GetMessage(message, &field));
        return google::protobuf::util::TimeUtil::ToString(time);
      }
      break;
    default:
      break;
  }
  return absl::FailedPreconditionError("field " + field.name() + " cannot stand in a URL");
}

absl::StatusCode CodeOf(int http_status) {
  switch (http_status) {
    case 400:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 409:
      return absl::StatusCode::kAlreadyExists;
    case 412:
      return absl::StatusCode::kFailedPrecondition;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    case 501:
      return absl::StatusCode::kUnimplemented;
    case 502:
    case 503:
      return absl::StatusCode::kUnavailable;
    case 504:
      return absl::StatusCode::kDeadlineExceeded;
    default:
      return http_status >= 500 ? absl::StatusCode::kInternal : absl::StatusCode::kUnknown;
  }
}

// The elements of a JSON array, as text. False when it is none.
bool SplitArray(std::string_view json, std::vector<std::string_view>* elements) {
  size_t at = json.find_first_not_of(" \t\r\n");
  if (at == std::string_view::npos || json[at] != '[') return false;
  int depth = 0;
  bool quoted = false;
  size_t begin = ++at;
  const auto add = [&](size_t end) {
    std::string_view element = json.substr(begin, end - begin);
    if (element.find_first_not_of(" \t\r\n") != std::string_view::npos) elements->push_back(element);
  };
  for (; at < json.size(); ++at) {
    const char c = json[at];
    if (quoted) {
      if (c == '\\') ++at;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || (c == ']' && depth > 0)) {
      --depth;
    } else if (c == ']') {
      add(at);
      return true;
    } else if (c == ',' && depth == 0) {
      add(at);
      begin = at + 1;
    }
  }
  return false;
}

absl::Status WriteJson(const Message& message, std::string* json) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  if (google::protobuf::util::MessageToJsonString(message, json, options).ok()) return absl::OkStatus();
  return absl::InvalidArgumentError("the request holds text that is not UTF-8");
}

absl::Status ParseJson(std::string_view json, Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), message, options);
  if (!status.ok()) return absl::DataLossError("the server's answer is not the JSON of " + message->GetTypeName());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HttpCall> BindHttp(const MethodDescriptor& method, const Message& request) {
  if (!method.options().HasExtension(google::api::http)) {
    return absl::FailedPreconditionError(
        absl::StrCat(method.full_name(), " has no HTTP form; give its service's address"));
  }
  const google::api::HttpRule& rule = method.options().GetExtension(google::api::http);
  HttpCall call;
  std::string pattern;
  switch (rule.pattern_case()) {
    case google::api::HttpRule::kGet:
      call.verb = "GET";
      pattern = rule.get();
      break;
    case google::api::HttpRule::kPost:
      call.verb = "POST";
      pattern = rule.post();
      break;
    case google::api::HttpRule::kPut:
      call.verb = "PUT";
      pattern = rule.put();
      break;
    case google::api::HttpRule::kPatch:
      call.verb = "PATCH";
      pattern = rule.patch();
      break;
    case google::api::HttpRule::kDelete:
      call.verb = "DELETE";
      pattern = rule.delete_();
      break;
    default:
      return absl::FailedPreconditionError(
          absl::StrCat(method.full_name(), " has an HTTP form this program does not know"));
  }
  std::unique_ptr<Message> rest(request.New());
  rest->CopyFrom(request);
  for (size_t at = 0; at < pattern.size();) {
    const size_t open = pattern.find('{', at);
    if (open == std::string::npos) {
      call.target += pattern.substr(at);
      break;
    }
    const size_t close = pattern.find('}', open);
    call.target += pattern.substr(at, open - at);
    const std::string name = pattern.substr(open + 1, close - open - 1);
    const FieldDescriptor* field = request.GetDescriptor()->FindFieldByName(name);
    if (field == nullptr || close == std::string::npos) {
      return absl::FailedPreconditionError(absl::StrCat(method.full_name(), ": path ", pattern, " is not understood"));
    }
    absl::StatusOr<std::string> text = FieldText(request, *field, -1);
    if (!text.ok()) return text.status();
    if (text->empty()) return absl::InvalidArgumentError(absl::StrCat(name, " is missing"));
    call.target += text::PercentEncode(*text);
    rest->GetReflection()->ClearField(rest.get(), field);
    at = close + 1;
  }
  if (rule.body() == "*") {
    if (absl::Status status = WriteJson(*rest, &call.body); !status.ok()) return status;
    return call;
  }
  if (!rule.body().empty()) {
    const FieldDescriptor* field = request.GetDescriptor()->FindFieldByName(rule.body());
    if (field == nullptr || field->is_repeated() || field->message_type() == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(method.full_name(), " takes a body of its own; use curl"));
    }
    if (field->message_type() != google::api::HttpBody::descriptor()) {
      absl::Status status = WriteJson(request.GetReflection()->GetMessage(request, field), &call.body);
      if (!status.ok()) return status;
      return call;
    }
    google::api::HttpBody body;
    body.CopyFrom(request.GetReflection()->GetMessage(request, field));
    call.body = body.data();
    call.content_type = body.content_type();
    return call;
  }
  std::vector<const FieldDescriptor*> fields;
  rest->GetReflection()->ListFields(*rest, &fields);
  char separator = '?';
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? rest->GetReflection()->FieldSize(*rest, field) : 1;
    for (int i = 0; i < count; ++i) {
      absl::StatusOr<std::string> text = FieldText(*rest, *field, field->is_repeated() ? i : -1);
      if (!text.ok()) return text.status();
      absl::StrAppend(&call.target, std::string(1, separator), field->name(), "=", text::PercentEncode(*text));
      separator = '&';
    }
  }
  return call;
}

absl::Status ReadHttpAnswer(const MethodDescriptor& method, const Message& prototype, std::string_view body,
                            const std::function<absl::Status(const Message&)>& on_message) {
  std::vector<std::string_view> elements;
  if (prototype.GetDescriptor() == google::api::HttpBody::descriptor()) {
    google::api::HttpBody free;
    free.set_data(body.data(), body.size());
    return on_message(free);
  }
  if (method.server_streaming()) {
    if (!SplitArray(body, &elements)) return absl::DataLossError("the server's answer is not a JSON array");
  } else {
    elements.push_back(body);
  }
  for (std::string_view element : elements) {
    std::unique_ptr<Message> message(prototype.New());
    // 204 has no body.
    if (element.find_first_not_of(" \t\r\n") != std::string_view::npos) {
      if (absl::Status status = ParseJson(element, message.get()); !status.ok()) return status;
    }
    if (absl::Status status = on_message(*message); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status HttpError(int http_status, std::string_view body) {
  google::protobuf::Struct error;
  std::string message;
  if (ParseJson(body, &error).ok()) {
    for (const char* key : {"message", "error"}) {
      const auto field = error.fields().find(key);
      if (message.empty() && field != error.fields().end()) message = field->second.string_value();
    }
    const auto details = error.fields().find("details");
    if (details != error.fields().end() && !details->second.string_value().empty() &&
        details->second.string_value() != message) {
      message += ": " + details->second.string_value();
    }
  }
  if (message.empty()) message = absl::StrCat("the server answered HTTP ", http_status);
  return absl::Status(CodeOf(http_status), message);
}

}  // namespace pga::pgactl
