#include "services/gateway/transcoder.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/api/httpbody.pb.h"
#include "google/protobuf/arena.h"
#include "google/protobuf/util/json_util.h"
#include "libs/status/status.h"
#include "libs/text/json.h"
#include "libs/text/utf8.h"
#include "services/gateway/json_writer.h"
#include "services/gateway/percent_encoding.h"

namespace pga::gateway {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr char kHttpBody[] = "google.api.HttpBody";

std::string TypeUrl(const google::protobuf::Descriptor& type) {
  return "type.googleapis.com/" + type.full_name();
}

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

HttpError BadRequest(const absl::Status& status) {
  HttpError error;
  error.code = 400;
  error.message = std::string(status.message());
  error.reason = "INVALID_REQUEST";
  return error;
}

// A content type goes into a header line: printable ASCII only.
std::string SafeContentType(const std::string& type) {
  const bool safe = !type.empty() && type.size() <= 256 &&
                    std::all_of(type.begin(), type.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
  return safe ? type : "application/octet-stream";
}

// Whether one path is the other or leads to it.
bool Overlap(const FieldPath& a, const FieldPath& b) {
  const size_t shared = std::min(a.size(), b.size());
  return std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(shared), b.begin());
}

void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

// Tag and length of a length-delimited field.
std::string HeadOfField(int number, uint64_t size) {
  std::string head;
  AppendVarint(static_cast<uint64_t>(number) << 3 | 2, head);
  AppendVarint(size, head);
  return head;
}

// What comes before `size` bytes of HttpBody.data, within the messages that the body's field lies in.
std::string HeadOfRawBody(const ApiRoute& route, size_t size) {
  std::string head = HeadOfField(google::api::HttpBody::kDataFieldNumber, size);
  if (route.body == ApiRoute::Body::kWhole) return head;
  for (auto field = route.body_field.rbegin(); field != route.body_field.rend(); ++field) {
    head.insert(0, HeadOfField((*field)->number(), head.size() + size));
  }
  return head;
}

std::string KnownParameters(const google::protobuf::Descriptor& type) {
  std::string text;
  for (int i = 0; i < type.field_count() && text.size() < 200; ++i) {
    if (!text.empty()) text += ", ";
    text += type.field(i)->name();
  }
  return text.empty() ? "This method takes no parameters." : "Known parameters: " + text + ".";
}

}  // namespace

bool TakesRawBody(const ApiRoute& route) {
  if (route.body == ApiRoute::Body::kWhole) return route.method->descriptor->input_type()->full_name() == kHttpBody;
  if (route.body != ApiRoute::Body::kField) return false;
  const FieldDescriptor* const field = route.body_field.back();
  return !field->is_repeated() && field->message_type() != nullptr && field->message_type()->full_name() == kHttpBody;
}

Transcoder::Transcoder(const ApiSurface* api, Limits limits) : api_(api), limits_(limits) {}

std::variant<Transcoder::Payload, HttpError> Transcoder::Request(const ApiRoute& route,
                                                                 const std::vector<PathMatcher::Binding>& path_bindings,
                                                                 std::string_view query, std::string_view content_type,
                                                                 std::string body) const {
  const google::protobuf::Descriptor& type = *route.method->descriptor->input_type();
  const std::unique_ptr<Message> message = api_->NewMessage(type);
  if (const absl::Status status = ParseBody(route, content_type, body, *message); !status.ok()) {
    return BadRequest(status);
  }

  std::vector<FieldPath> path_fields;
  for (const auto& binding : path_bindings) {
    auto path = ResolveFieldPath(type, binding.field_path);
    if (!path.ok()) return BadRequest(path.status());
    path_fields.push_back(*std::move(path));
  }

  const auto parameters = ParseQuery(query, limits_.query_parameters);
  if (!parameters.ok()) return BadRequest(parameters.status());
  std::vector<FieldPath> query_fields;
  for (const QueryParameter& parameter : *parameters) {
    const auto path = ResolveFieldPath(type, parameter.field_path);
    if (!path.ok()) {
      return BadRequest(absl::InvalidArgumentError(std::string(path.status().message()) + " " + KnownParameters(type)));
    }
    const auto refuse = [&](const char* why) {
      return BadRequest(absl::InvalidArgumentError("Query parameter \"" + ToText(*path) + "\" " + why));
    };
    for (const FieldPath& bound : path_fields) {
      if (Overlap(bound, *path)) return refuse("is already given by the path; remove it from the query.");
    }
    if (route.body == ApiRoute::Body::kWhole) {
      return refuse("must be sent in the body: this method takes all its fields from there.");
    }
    if (!path->back()->is_repeated()) {
      const bool repeated = std::any_of(query_fields.begin(), query_fields.end(),
                                        [&](const FieldPath& other) { return Overlap(other, *path); });
      if (repeated) return refuse("is given more than once; send it once.");
      if (IsSet(*message, *path)) return refuse("is also given in the body; send it once.");
    }
    if (const auto status = SetField(*message, *path, parameter.value, api_->resolver()); !status.ok()) {
      return BadRequest(status);
    }
    query_fields.push_back(*path);
  }

  for (size_t i = 0; i < path_fields.size(); ++i) {
    const FieldPath& path = path_fields[i];
    const std::string& value = path_bindings[i].value;
    if (!text::IsUtf8(value)) {
      return BadRequest(absl::InvalidArgumentError("Encountered non UTF-8 code points in the path."));
    }
    if (value.find('\0') != std::string::npos) {
      return BadRequest(absl::InvalidArgumentError("The path holds the character NUL (%00); remove it."));
    }
    const std::unique_ptr<Message> alone = api_->NewMessage(type);
    if (const auto status = SetField(*alone, path, value, api_->resolver()); !status.ok()) return BadRequest(status);
    if (IsSet(*message, path) && !SameValue(*message, *alone, path)) {
      return BadRequest(absl::InvalidArgumentError("Field \"" + ToText(path) +
                                                   "\" of the body differs from the path; leave it out of the body."));
    }
    // The path is what was matched, so it is applied last and always holds.
    if (path.back()->message_type() != nullptr) {
      Message* parent = MutableParent(*message, path);
      parent->GetReflection()->ClearField(parent, path.back());
    }
    if (const auto status = SetField(*message, path, value, api_->resolver()); !status.ok()) return BadRequest(status);
  }
  Payload payload{.head = message->SerializeAsString(), .body = {}};
  if (!body.empty() && TakesRawBody(route)) {
    // Parsers merge messages that follow each other, and the last value of a field holds.
    payload.head += HeadOfRawBody(route, body.size());
    payload.body = std::move(body);
  }
  return payload;
}

absl::Status Transcoder::ParseBody(const ApiRoute& route, std::string_view content_type, std::string_view body,
                                   Message& message) const {
  if (route.body == ApiRoute::Body::kNone) {
    // Some clients send an empty object with every request.
    if (!IsBlank(body) && body != "{}") {
      return absl::InvalidArgumentError("This method takes no body; send its fields as query parameters.");
    }
    return absl::OkStatus();
  }
  Message* target = &message;
  const FieldDescriptor* field = nullptr;
  if (route.body == ApiRoute::Body::kField) {
    Message* parent = MutableParent(message, route.body_field);
    field = route.body_field.back();
    if (field->is_repeated() || field->message_type() == nullptr) {
      // protobuf's JSON reads messages only: wrap the value, then make sure that it brought nothing but its field.
      if (IsBlank(body)) return absl::OkStatus();
      const std::string wrapped = "{\"" + field->name() + "\":" + std::string(body) + "}";
      PGA_RETURN_IF_ERROR(ParseJson(wrapped, *parent));
      std::vector<const FieldDescriptor*> set;
      parent->GetReflection()->ListFields(*parent, &set);
      if (set.size() > 1 || (set.size() == 1 && set[0] != field)) {
        return absl::InvalidArgumentError("Parsing terminated before end of input.");
      }
      return absl::OkStatus();
    }
    target = parent->GetReflection()->MutableMessage(parent, field);
  }
  const auto& type = *target->GetDescriptor();
  if (type.full_name() == kHttpBody) {
    const auto* reflection = target->GetReflection();
    reflection->SetString(target, type.FindFieldByNumber(google::api::HttpBody::kContentTypeFieldNumber),
                          text::IsUtf8(content_type) ? std::string(content_type) : std::string());
    // Stands for the bytes themselves, which Request adds.
    reflection->SetString(target, type.FindFieldByNumber(google::api::HttpBody::kDataFieldNumber),
                          std::string(body.substr(0, 1)));
    return absl::OkStatus();
  }
  if (IsBlank(body)) return absl::OkStatus();
  return ParseJson(body, *target);
}

absl::Status Transcoder::ParseJson(std::string_view json, Message& message) const {
  if (!text::IsUtf8(json)) {
    return absl::InvalidArgumentError("Encountered non UTF-8 code points in the body; send JSON in UTF-8.");
  }
  if (!text::JsonDepthWithin(json, limits_.json_depth)) {
    return absl::InvalidArgumentError("The JSON body nests deeper than " + std::to_string(limits_.json_depth) +
                                      " levels.");
  }
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  std::string binary;
  const auto status = google::protobuf::util::JsonToBinaryString(&api_->resolver(), TypeUrl(*message.GetDescriptor()),
                                                                 std::string(json), &binary, options);
  if (!status.ok()) {
    return absl::InvalidArgumentError("The body is not valid JSON for this method: " +
                                      Excerpt(std::string(status.message()), 300));
  }
  if (!message.ParseFromString(binary))
    return absl::InvalidArgumentError("The body is not valid JSON for this method.");
  return absl::OkStatus();
}

absl::StatusOr<Transcoder::Piece> Transcoder::Response(const ApiRoute& route, const std::string& payload) const {
  google::protobuf::Arena arena;
  Message* const whole = api_->NewMessage(*route.method->descriptor->output_type(), &arena);
  if (!whole->ParseFromString(payload)) return absl::InternalError("the answer is not a readable message");
  const Message* answer = whole;
  for (const FieldDescriptor* const field : route.response_field) {
    answer = &answer->GetReflection()->GetMessage(*answer, field);
  }
  Piece piece;
  if (route.response_type->full_name() == kHttpBody) {
    google::api::HttpBody body;
    if (!body.ParseFromString(answer->SerializeAsString())) {
      return absl::InternalError("the answer is not a readable google.api.HttpBody");
    }
    piece.raw = true;
    piece.content_type = SafeContentType(body.content_type());
    piece.data = std::move(*body.mutable_data());
    return piece;
  }
  if (const absl::Status status = WriteJson(*answer, &piece.data); !status.ok()) {
    return absl::InternalError(absl::StrCat("the answer cannot be written as JSON: ", status.message()));
  }
  piece.content_type = "application/json";
  return piece;
}

}  // namespace pga::gateway
