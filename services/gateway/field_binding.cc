#include "services/gateway/field_binding.h"

#include <algorithm>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "libs/text/utf8.h"
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

// What a value may be, for people.
std::string Expected(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return "a whole number from -2147483648 to 2147483647";
    case FieldDescriptor::CPPTYPE_UINT32:
      return "a whole number from 0 to 4294967295";
    case FieldDescriptor::CPPTYPE_INT64:
      return "a whole number of 64 bits";
    case FieldDescriptor::CPPTYPE_UINT64:
      return "a whole number of 64 bits, not negative";
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_STRING:
      return field.type() == FieldDescriptor::TYPE_BYTES ? "bytes in Base64" : "a text";
    case FieldDescriptor::CPPTYPE_ENUM: {
      std::string names;
      for (int i = 0; i < field.enum_type()->value_count(); ++i) {
        const std::string& name = field.enum_type()->value(i)->name();
        if (absl::EndsWith(name, "_UNSPECIFIED")) continue;
        if (!names.empty()) names += ", ";
        names += name;
      }
      return "one of " + names;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  const std::string& name = field.message_type()->full_name();
  if (name == "google.protobuf.Timestamp") return "a time such as 2026-01-01T10:03:00Z";
  if (name == "google.protobuf.Duration") return "a time span such as 1.5s";
  return "a value of " + name;
}

bool HasBlankEdge(std::string_view text) {
  return text.empty() || isspace(static_cast<unsigned char>(text.front())) != 0 ||
         isspace(static_cast<unsigned char>(text.back())) != 0;
}

template <typename T>
bool ParseInteger(std::string_view text, T* out) {
  return !HasBlankEdge(text) && absl::SimpleAtoi(absl::string_view(text.data(), text.size()), out);
}

bool ParseDouble(std::string_view text, double* out) {
  return !HasBlankEdge(text) && absl::SimpleAtod(absl::string_view(text.data(), text.size()), out);
}

bool ParseMessage(Message* message, std::string_view value, google::protobuf::util::TypeResolver& resolver) {
  const std::string& name = message->GetDescriptor()->full_name();
  std::string json;
  if (name == "google.protobuf.BoolValue") {
    bool flag = false;
    if (!absl::SimpleAtob(absl::string_view(value.data(), value.size()), &flag)) return false;
    json = flag ? "true" : "false";
  } else if (name == "google.protobuf.Timestamp") {
    // The `+` of an offset that was not escaped.
    std::string time(value);
    std::replace(time.begin(), time.end(), ' ', '+');
    // A Timestamp has nanoseconds; digits that would be lost are refused, as Envoy refuses them.
    const size_t point = std::min(time.find('.'), time.size());
    if (time.find_first_not_of("0123456789", point + 1) > point + 10 && point < time.size()) return false;
    json = JsonQuote(time);
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
      bool flag = false;
      if (!absl::SimpleAtob(absl::string_view(value.data(), value.size()), &flag)) return false;
      PGA_PUT(Bool, flag);
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
    return absl::InvalidArgumentError(ToText(path) + " has fields of its own and can only be given in the body");
  }
  if (!PutValue(MutableParent(message, path), path.back(), value, resolver)) {
    return absl::InvalidArgumentError(ToText(path) + ": \"" + Excerpt(value, 64) + "\" is not valid; it must be " +
                                      Expected(*path.back()));
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
    // In a query `+` is a space, as browsers and HTTP libraries write it; a plus itself is %2B.
    const auto decode = [](std::string_view raw) {
      std::string text(raw);
      std::replace(text.begin(), text.end(), '+', ' ');
      return PercentDecode(text, Unescape::kAll);
    };
    parameter.name = decode(pair.substr(0, equals));
    parameter.value = decode(pair.substr(equals + 1));
    for (const std::string* text : {&parameter.name, &parameter.value}) {
      if (!text::IsUtf8(*text)) return absl::InvalidArgumentError("Encountered non UTF-8 code points in the URL.");
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
