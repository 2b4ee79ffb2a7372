#include "services/gateway/json_writer.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "libs/status/status.h"
#include "libs/text/utf8.h"

namespace pga::gateway {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
constexpr int64_t kFirstSecond = -62'135'596'800;
constexpr int64_t kLastSecond = 253'402'300'799;
constexpr int64_t kMostDurationSeconds = 315'576'000'000;
constexpr int32_t kNanosPerSecond = 1'000'000'000;

class Writer {
 public:
  explicit Writer(std::string* out) : out_(*out) {}

  absl::Status Write(const Message& message) {
    const Descriptor& type = *message.GetDescriptor();
    if (type.file()->package() == "google.protobuf") return WellKnown(message, type);
    return Object(message, type);
  }

 private:
  absl::Status Object(const Message& message, const Descriptor& type) {
    const Reflection& reflection = *message.GetReflection();
    char before = '{';
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (!field.is_repeated() && field.has_presence() && !reflection.HasField(message, &field)) continue;
      out_ += before;
      before = ',';
      out_ += '"';
      out_ += field.name();
      out_ += "\":";
      if (field.is_map()) {
        PGA_RETURN_IF_ERROR(Map(message, reflection, field));
      } else if (field.is_repeated()) {
        out_ += '[';
        const int size = reflection.FieldSize(message, &field);
        for (int at = 0; at < size; ++at) {
          if (at > 0) out_ += ',';
          PGA_RETURN_IF_ERROR(Element(message, reflection, field, at));
        }
        out_ += ']';
      } else {
        PGA_RETURN_IF_ERROR(Single(message, reflection, field));
      }
    }
    if (before == '{') out_ += '{';
    out_ += '}';
    return absl::OkStatus();
  }

  absl::Status Map(const Message& message, const Reflection& reflection, const FieldDescriptor& field) {
    const FieldDescriptor& key = *field.message_type()->map_key();
    const FieldDescriptor& value = *field.message_type()->map_value();
    char before = '{';
    const int size = reflection.FieldSize(message, &field);
    for (int at = 0; at < size; ++at) {
      const Message& entry = reflection.GetRepeatedMessage(message, &field, at);
      const Reflection& parts = *entry.GetReflection();
      out_ += before;
      before = ',';
      const size_t begin = out_.size();
      PGA_RETURN_IF_ERROR(Single(entry, parts, key));
      // Integers and booleans are words of their own as values, and names as keys.
      if (out_[begin] != '"') {
        out_.insert(begin, 1, '"');
        out_ += '"';
      }
      out_ += ':';
      PGA_RETURN_IF_ERROR(Single(entry, parts, value));
    }
    if (before == '{') out_ += '{';
    out_ += '}';
    return absl::OkStatus();
  }

  absl::Status Single(const Message& message, const Reflection& reflection, const FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return Number(reflection.GetInt32(message, &field));
      case FieldDescriptor::CPPTYPE_UINT32:
        return Number(reflection.GetUInt32(message, &field));
      case FieldDescriptor::CPPTYPE_INT64:
        return Wide(reflection.GetInt64(message, &field));
      case FieldDescriptor::CPPTYPE_UINT64:
        return Wide(reflection.GetUInt64(message, &field));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return Real(reflection.GetDouble(message, &field));
      case FieldDescriptor::CPPTYPE_FLOAT:
        return Real(reflection.GetFloat(message, &field));
      case FieldDescriptor::CPPTYPE_BOOL:
        return Word(reflection.GetBool(message, &field));
      case FieldDescriptor::CPPTYPE_ENUM:
        return Enum(field, reflection.GetEnumValue(message, &field));
      case FieldDescriptor::CPPTYPE_STRING: {
        std::string scratch;
        return Text(field, reflection.GetStringReference(message, &field, &scratch));
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Write(reflection.GetMessage(message, &field));
    }
    return absl::InternalError("a field of an unknown type");
  }

  absl::Status Element(const Message& message, const Reflection& reflection, const FieldDescriptor& field, int at) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return Number(reflection.GetRepeatedInt32(message, &field, at));
      case FieldDescriptor::CPPTYPE_UINT32:
        return Number(reflection.GetRepeatedUInt32(message, &field, at));
      case FieldDescriptor::CPPTYPE_INT64:
        return Wide(reflection.GetRepeatedInt64(message, &field, at));
      case FieldDescriptor::CPPTYPE_UINT64:
        return Wide(reflection.GetRepeatedUInt64(message, &field, at));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return Real(reflection.GetRepeatedDouble(message, &field, at));
      case FieldDescriptor::CPPTYPE_FLOAT:
        return Real(reflection.GetRepeatedFloat(message, &field, at));
      case FieldDescriptor::CPPTYPE_BOOL:
        return Word(reflection.GetRepeatedBool(message, &field, at));
      case FieldDescriptor::CPPTYPE_ENUM:
        return Enum(field, reflection.GetRepeatedEnumValue(message, &field, at));
      case FieldDescriptor::CPPTYPE_STRING: {
        std::string scratch;
        return Text(field, reflection.GetRepeatedStringReference(message, &field, at, &scratch));
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Write(reflection.GetRepeatedMessage(message, &field, at));
    }
    return absl::InternalError("a field of an unknown type");
  }

  template <typename T>
  absl::Status Number(T value) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof(digits), value);
    out_.append(digits, end.ptr);
    return absl::OkStatus();
  }

  template <typename T>
  absl::Status Wide(T value) {
    out_ += '"';
    static_cast<void>(Number(value));
    out_ += '"';
    return absl::OkStatus();
  }

  template <typename T>
  absl::Status Real(T value) {
    if (std::isfinite(value)) return Number(value);
    out_ += std::isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    return absl::OkStatus();
  }

  absl::Status Word(bool value) {
    out_ += value ? "true" : "false";
    return absl::OkStatus();
  }

  absl::Status Enum(const FieldDescriptor& field, int number) {
    const EnumValueDescriptor* const value = field.enum_type()->FindValueByNumber(number);
    if (value == nullptr) return Number(number);
    out_ += '"';
    out_ += value->name();
    out_ += '"';
    return absl::OkStatus();
  }

  absl::Status Text(const FieldDescriptor& field, const std::string& value) {
    if (field.type() == FieldDescriptor::TYPE_BYTES) {
      out_ += '"';
      out_ += absl::Base64Escape(value);
      out_ += '"';
      return absl::OkStatus();
    }
    if (!text::IsUtf8(value)) return absl::InternalError(absl::StrCat(field.full_name(), " is not UTF-8"));
    Quoted(value);
    return absl::OkStatus();
  }

  // `<` and `>` escaped too, as protobuf does: an answer that a browser takes for HTML holds no element.
  void Quoted(std::string_view value) {
    out_ += '"';
    size_t begin = 0;
    for (size_t at = 0; at < value.size(); ++at) {
      const char c = value[at];
      if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\' && c != '<' && c != '>' && c != 0x7f) continue;
      out_.append(value, begin, at - begin);
      begin = at + 1;
      switch (c) {
        case '"':
          out_ += "\\\"";
          break;
        case '\\':
          out_ += "\\\\";
          break;
        case '\b':
          out_ += "\\b";
          break;
        case '\f':
          out_ += "\\f";
          break;
        case '\n':
          out_ += "\\n";
          break;
        case '\r':
          out_ += "\\r";
          break;
        case '\t':
          out_ += "\\t";
          break;
        default: {
          constexpr char kDigits[] = "0123456789abcdef";
          out_ += "\\u00";
          out_ += kDigits[c >> 4 & 0xf];
          out_ += kDigits[c & 0xf];
        }
      }
    }
    out_.append(value, begin, value.size() - begin);
    out_ += '"';
  }

  absl::Status WellKnown(const Message& message, const Descriptor& type) {
    const std::string& name = type.name();
    const Reflection& reflection = *message.GetReflection();
    if (name == "Timestamp" || name == "Duration") {
      const int64_t seconds = reflection.GetInt64(message, type.FindFieldByNumber(1));
      const int32_t nanos = reflection.GetInt32(message, type.FindFieldByNumber(2));
      return name == "Timestamp" ? Instant(seconds, nanos) : Span(seconds, nanos);
    }
    if (absl::EndsWith(name, "Value") && type.field_count() == 1 && name != "ListValue") {
      return Single(message, reflection, *type.field(0));
    }
    if (name == "Empty") {
      out_ += "{}";
      return absl::OkStatus();
    }
    // Rare in answers.
    std::string json;
    const auto status = google::protobuf::util::MessageToJsonString(message, &json);
    if (!status.ok()) return absl::InternalError(std::string(status.message()));
    out_ += json;
    return absl::OkStatus();
  }

  absl::Status Instant(int64_t seconds, int32_t nanos) {
    if (seconds < kFirstSecond || seconds > kLastSecond || nanos < 0 || nanos >= kNanosPerSecond) {
      return absl::InternalError("an instant that has no form in RFC 3339");
    }
    const absl::CivilSecond civil = absl::ToCivilSecond(absl::FromUnixSeconds(seconds), absl::UTCTimeZone());
    out_ += '"';
    Digits(static_cast<int>(civil.year()), 4);
    for (const auto& [sign, part] :
         {std::pair('-', civil.month()), std::pair('-', civil.day()), std::pair('T', civil.hour()),
          std::pair(':', civil.minute()), std::pair(':', civil.second())}) {
      out_ += sign;
      Digits(part, 2);
    }
    Fraction(nanos);
    out_ += "Z\"";
    return absl::OkStatus();
  }

  absl::Status Span(int64_t seconds, int32_t nanos) {
    if (std::abs(seconds) > kMostDurationSeconds || std::abs(nanos) >= kNanosPerSecond || (seconds < 0 && nanos > 0) ||
        (seconds > 0 && nanos < 0)) {
      return absl::InternalError("a duration out of its range");
    }
    out_ += seconds < 0 || nanos < 0 ? "\"-" : "\"";
    static_cast<void>(Number(std::abs(seconds)));
    Fraction(std::abs(nanos));
    out_ += "s\"";
    return absl::OkStatus();
  }

  // In thousandths, millionths or thousand millionths, whichever is exact.
  void Fraction(int32_t nanos) {
    if (nanos == 0) return;
    out_ += '.';
    if (nanos % 1'000'000 == 0) {
      Digits(nanos / 1'000'000, 3);
    } else if (nanos % 1'000 == 0) {
      Digits(nanos / 1'000, 6);
    } else {
      Digits(nanos, 9);
    }
  }

  // The last `count` decimal digits.
  void Digits(int value, size_t count) {
    const size_t begin = out_.size();
    out_.append(count, '0');
    for (size_t at = begin + count; at > begin && value > 0; value /= 10) {
      out_[--at] = static_cast<char>('0' + value % 10);
    }
  }

  std::string& out_;
};

}  // namespace

absl::Status WriteJson(const Message& message, std::string* out) {
  return Writer(out).Write(message);
}

}  // namespace pga::gateway
