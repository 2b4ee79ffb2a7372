#include "services/gateway/field_binding.h"

#include <algorithm>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "services/gateway/http_error.h"
#include "services/gateway/percent_encoding.h"

namespace pga::gateway {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kMaxFieldDepth = 32;

// Types whose JSON form is one string (numbers and booleans are accepted as strings by protobuf's JSON, except bool).
bool IsTextType(const std::string& full_name) {
  static const std::set<std::string> kTypes = {
      "google.protobuf.Timestamp",   "google.protobuf.Duration",    "google.protobuf.FieldMask",
      "google.protobuf.StringValue", "google.protobuf.BytesValue",  "google.protobuf.BoolValue",
      "google.protobuf.Int32Value",  "google.protobuf.UInt32Value", "google.protobuf.Int64Value",
      "google.protobuf.UInt64Value", "google.protobuf.FloatValue",  "google.protobuf.DoubleValue"};
  return kTypes.count(full_name) > 0;
}

std::string TypeText(const FieldDescriptor& field) {
  std::string text = std::string("TYPE_") + field.type_name();
  std::transform(text.begin(), text.end(), text.begin(), [](char c) { return static_cast<char>(toupper(c)); });
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return field.message_type()->full_name();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) return field.enum_type()->full_name();
  return text;
}

bool HasBlankEdge(std::string_view text) {
  return text.empty() || isspace(static_cast<unsigned char>(text.front())) != 0 ||
         isspace(static_cast<unsigned char>(text.back())) != 0;
}

template <typename T>
bool ParseInteger(std::string_view text, T* out) {
  return !HasBlankEdge(text) && text[0] != '+' && absl::SimpleAtoi(absl::string_view(text.data(), text.size()), out);
}

bool ParseDouble(std::string_view text, double* out) {
  return !HasBlankEdge(text) && absl::SimpleAtod(absl::string_view(text.data(), text.size()), out);
}

bool ParseMessage(Message* message, std::string_view value, google::protobuf::util::TypeResolver& resolver) {
  const std::string& name = message->GetDescriptor()->full_name();
  std::string json;
  if (name == "google.protobuf.BoolValue") {
    if (value != "true" && value != "false") return false;
    json = std::string(value);
  } else {
    json = JsonQuote(value);
  }
  std::string binary;
  const auto status =
      google::protobuf::util::JsonToBinaryString(&resolver, "type.googleapis.com/" + name, json, &binary);
  return status.ok() && message->ParseFromString(binary);
}

// Sets or appends, as the field demands.
#define PGA_PUT(Type, parsed)                         \
  do {                                                \
    if (field->is_repeated()) {                       \
      reflection->Add##Type(parent, field, (parsed)); \
    } else {                                          \
      reflection->Set##Type(parent, field, (parsed)); \
    }                                                 \
  } while (false)

bool PutValue(Message* parent, const FieldDescriptor* field, std::string_view value,
              google::protobuf::util::TypeResolver& resolver) {
  const Reflection* reflection = parent->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t number = 0;
      if (!ParseInteger(value, &number)) return false;
      PGA_PUT(Int32, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      int64_t number = 0;
      if (!ParseInteger(value, &number)) return false;
      PGA_PUT(Int64, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      uint32_t number = 0;
      if (!ParseInteger(value, &number)) return false;
      PGA_PUT(UInt32, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t number = 0;
      if (!ParseInteger(value, &number)) return false;
      PGA_PUT(UInt64, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double number = 0;
      if (!ParseDouble(value, &number)) return false;
      PGA_PUT(Double, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_FLOAT: {
      float number = 0;
      if (HasBlankEdge(value) || !absl::SimpleAtof(absl::string_view(value.data(), value.size()), &number))
        return false;
      PGA_PUT(Float, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      if (value != "true" && value != "false") return false;
      PGA_PUT(Bool, value == "true");
      return true;
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto* named = field->enum_type()->FindValueByName(std::string(value));
      int number = named != nullptr ? named->number() : 0;
      if (named == nullptr &&
          (!ParseInteger(value, &number) || field->enum_type()->FindValueByNumber(number) == nullptr)) {
        return false;
      }
      PGA_PUT(EnumValue, number);
      return true;
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string text(value);
      if (field->type() == FieldDescriptor::TYPE_BYTES) {
        absl::string_view encoded(value.data(), value.size());
        std::string decoded;
        if (!absl::Base64Unescape(encoded, &decoded) && !absl::WebSafeBase64Unescape(encoded, &decoded)) return false;
        text = std::move(decoded);
      }
      PGA_PUT(String, std::move(text));
      return true;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      Message* child =
          field->is_repeated() ? reflection->AddMessage(parent, field) : reflection->MutableMessage(parent, field);
      return ParseMessage(child, value, resolver);
    }
  }
  return false;
}
#undef PGA_PUT

const Message* FindParent(const Message& message, const FieldPath& path) {
  const Message* parent = &message;
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    if (!parent->GetReflection()->HasField(*parent, path[i])) return nullptr;
    parent = &parent->GetReflection()->GetMessage(*parent, path[i]);
  }
  return parent;
}

}  // namespace

absl::StatusOr<FieldPath> ResolveFieldPath(const google::protobuf::Descriptor& message,
                                           const std::vector<std::string>& names) {
  const google::protobuf::Descriptor* current = &message;
  FieldPath path;
  if (names.empty() || names.size() > kMaxFieldDepth) return absl::InvalidArgumentError("the field path is too long");
  for (const std::string& name : names) {
    if (current == nullptr) {
      return absl::InvalidArgumentError("\"" + path.back()->name() + "\" has no field \"" + Excerpt(name, 64) + "\"");
    }
    if (!path.empty() && path.back()->is_repeated()) {
      return absl::InvalidArgumentError("\"" + path.back()->name() + "\" is repeated and cannot be entered by name");
    }
    const FieldDescriptor* field = current->FindFieldByName(name);
    for (int i = 0; field == nullptr && i < current->field_count(); ++i) {
      if (current->field(i)->json_name() == name) field = current->field(i);
    }
    if (field == nullptr) {
      return absl::NotFoundError("Could not find field \"" + Excerpt(name, 64) + "\" in the type \"" +
                                 current->full_name() + "\".");
    }
    path.push_back(field);
    current = field->message_type();
  }
  return path;
}

std::string ToText(const FieldPath& path) {
  std::string text;
  for (const FieldDescriptor* field : path) {
    if (!text.empty()) text += '.';
    text += field->name();
  }
  return text;
}

bool IsBindable(const FieldPath& path) {
  const FieldDescriptor& last = *path.back();
  if (last.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return true;
  return !last.is_map() && IsTextType(last.message_type()->full_name());
}

Message* MutableParent(Message& message, const FieldPath& path) {
  Message* parent = &message;
  for (size_t i = 0; i + 1 < path.size(); ++i) parent = parent->GetReflection()->MutableMessage(parent, path[i]);
  return parent;
}

absl::Status SetField(Message& message, const FieldPath& path, std::string_view value,
                      google::protobuf::util::TypeResolver& resolver) {
  if (!IsBindable(path)) {
    return absl::InvalidArgumentError(ToText(path) + ": a field of type " + TypeText(*path.back()) +
                                      " can only be given in the body");
  }
  if (!PutValue(MutableParent(message, path), path.back(), value, resolver)) {
    return absl::InvalidArgumentError(ToText(path) + ": invalid value \"" + Excerpt(value, 64) + "\" for type " +
                                      TypeText(*path.back()));
  }
  return absl::OkStatus();
}

bool IsSet(const Message& message, const FieldPath& path) {
  const Message* parent = FindParent(message, path);
  if (parent == nullptr) return false;
  if (path.back()->is_repeated()) return parent->GetReflection()->FieldSize(*parent, path.back()) > 0;
  return parent->GetReflection()->HasField(*parent, path.back());
}

bool SameValue(const Message& a, const Message& b, const FieldPath& path) {
  const Message* parent_a = FindParent(a, path);
  const Message* parent_b = FindParent(b, path);
  if (parent_a == nullptr || parent_b == nullptr || path.back()->is_repeated()) return false;
  std::string text_a;
  std::string text_b;
  google::protobuf::TextFormat::PrintFieldValueToString(*parent_a, path.back(), -1, &text_a);
  google::protobuf::TextFormat::PrintFieldValueToString(*parent_b, path.back(), -1, &text_b);
  return text_a == text_b;
}

absl::StatusOr<std::vector<QueryParameter>> ParseQuery(std::string_view query, size_t max_parameters) {
  std::vector<QueryParameter> out;
  size_t count = 0;
  while (!query.empty()) {
    const size_t ampersand = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, ampersand);
    query.remove_prefix(std::min(ampersand + 1, query.size()));
    if (++count > max_parameters) {
      return absl::InvalidArgumentError("The URL has more than " + std::to_string(max_parameters) +
                                        " query parameters; send fewer.");
    }
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    QueryParameter parameter;
    parameter.name = PercentDecode(pair.substr(0, equals), Unescape::kAll);
    parameter.value = PercentDecode(pair.substr(equals + 1), Unescape::kAll);
    for (const std::string* text : {&parameter.name, &parameter.value}) {
      if (!IsValidUtf8(*text)) return absl::InvalidArgumentError("Encountered non UTF-8 code points in the URL.");
      if (text->find('\0') != std::string::npos) {
        return absl::InvalidArgumentError("The URL holds the character NUL (%00); remove it.");
      }
    }
    std::string_view rest = parameter.name;
    while (true) {
      const size_t dot = rest.find('.');
      parameter.field_path.emplace_back(rest.substr(0, dot));
      if (dot == std::string_view::npos) break;
      rest.remove_prefix(dot + 1);
    }
    out.push_back(std::move(parameter));
  }
  return out;
}

}  // namespace pga::gateway
