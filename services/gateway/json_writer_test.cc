// Random messages of every answer of the API, and of a proto with every kind of field, against protobuf's own writer.

#include "services/gateway/json_writer.h"

#include <limits>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "libs/status/testing.h"
#include "services/gateway/api_surface.h"
#include "services/gateway/builtin_descriptor_set.h"

namespace pga::gateway {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using status::IsOk;
using status::StatusIs;

class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}

  void Fill(Message& message, int depth) {
    const auto& type = *message.GetDescriptor();
    const auto& reflection = *message.GetReflection();
    if (type.full_name() == "google.protobuf.Timestamp" || type.full_name() == "google.protobuf.Duration") {
      const bool instant = type.name() == "Timestamp";
      const int64_t seconds =
          instant ? Between(-62'135'596'800, 253'402'300'799) : Between(-315'576'000'000, 315'576'000'000);
      static constexpr int32_t kNanos[] = {0, 500'000'000, 1'000, 7, 999'999'999};
      const int32_t nanos = kNanos[Between(0, 4)];
      reflection.SetInt64(&message, type.FindFieldByNumber(1), seconds);
      reflection.SetInt32(&message, type.FindFieldByNumber(2), !instant && seconds < 0 ? -nanos : nanos);
      return;
    }
    if (type.full_name() == "google.protobuf.FieldMask") {
      reflection.AddString(&message, type.field(0), "one_field.of_it");
      return;
    }
    if (type.full_name() == "google.protobuf.Any") return;
    if (type.full_name() == "google.protobuf.Value") {
      reflection.SetString(&message, type.FindFieldByName("string_value"), "v");
      return;
    }
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      // A service sends a key of a map once.
      if (Between(0, 3) == 0 || (field.message_type() != nullptr && depth > 3)) continue;
      for (int64_t count = field.is_repeated() ? Between(0, field.is_map() ? 1 : 3) : 1; count > 0; --count)
        Set(message, field, depth);
    }
  }

 private:
  int64_t Between(int64_t least, int64_t most) { return std::uniform_int_distribution<int64_t>(least, most)(random_); }

  int64_t Integer() {
    static constexpr int64_t kOdd[] = {
        0, 1, -1, int64_t{1} << 53, std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()};
    return kOdd[Between(0, 5)];
  }

  double Real() {
    static constexpr double kOdd[] = {0,
                                      -0.0,
                                      0.1,
                                      1e300,
                                      5e-324,
                                      -1234.5,
                                      9007199254740993.0,
                                      1e21,
                                      100000,
                                      std::numeric_limits<double>::infinity(),
                                      -std::numeric_limits<double>::infinity(),
                                      std::numeric_limits<double>::quiet_NaN()};
    return Between(0, 1) == 0 ? kOdd[Between(0, 11)] : std::uniform_real_distribution<double>(-1e6, 1e6)(random_);
  }

  std::string Text() {
    static const std::string kParts[] = {"a",
                                         "\"",
                                         "\\",
                                         "/",
                                         "<b>",
                                         "&",
                                         "\n\r\t\b\f",
                                         std::string(1, '\0'),
                                         "\x01\x1f\x7f",
                                         "é☃",
                                         "\xF0\x9F\x90\x98",
                                         "\xE2\x80\xA8",
                                         "'"};
    std::string text;
    for (int64_t parts = Between(0, 6); parts > 0; --parts) text += kParts[Between(0, 12)];
    return text;
  }

  void Set(Message& message, const FieldDescriptor& field, int depth) {
    const auto& r = *message.GetReflection();
    const bool more = field.is_repeated();
    const auto* const f = &field;
    const auto narrow = static_cast<int32_t>(Integer());
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        more ? r.AddInt32(&message, f, narrow) : r.SetInt32(&message, f, narrow);
        break;
      case FieldDescriptor::CPPTYPE_UINT32: {
        const auto value = static_cast<uint32_t>(narrow);
        more ? r.AddUInt32(&message, f, value) : r.SetUInt32(&message, f, value);
        break;
      }
      case FieldDescriptor::CPPTYPE_INT64:
        more ? r.AddInt64(&message, f, Integer()) : r.SetInt64(&message, f, Integer());
        break;
      case FieldDescriptor::CPPTYPE_UINT64: {
        const auto value = static_cast<uint64_t>(Integer());
        more ? r.AddUInt64(&message, f, value) : r.SetUInt64(&message, f, value);
        break;
      }
      case FieldDescriptor::CPPTYPE_DOUBLE:
        more ? r.AddDouble(&message, f, Real()) : r.SetDouble(&message, f, Real());
        break;
      case FieldDescriptor::CPPTYPE_FLOAT: {
        const auto value = static_cast<float>(Between(-1'000'000, 1'000'000)) / 8;
        more ? r.AddFloat(&message, f, value) : r.SetFloat(&message, f, value);
        break;
      }
      case FieldDescriptor::CPPTYPE_BOOL: {
        const bool value = Between(0, 1) == 1;
        more ? r.AddBool(&message, f, value) : r.SetBool(&message, f, value);
        break;
      }
      case FieldDescriptor::CPPTYPE_ENUM: {
        // Also numbers that have no name.
        const auto value = static_cast<int>(Between(0, field.enum_type()->value_count() + 1));
        more ? r.AddEnumValue(&message, f, value) : r.SetEnumValue(&message, f, value);
        break;
      }
      case FieldDescriptor::CPPTYPE_STRING:
        more ? r.AddString(&message, f, Text()) : r.SetString(&message, f, Text());
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        Fill(more ? *r.AddMessage(&message, f) : *r.MutableMessage(&message, f), depth + 1);
        break;
    }
  }

  std::mt19937_64 random_;
};

// As values, whatever the order of the fields and the spelling of numbers.
google::protobuf::Value Read(const std::string& json) {
  google::protobuf::Value value;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &value);
  EXPECT_TRUE(status.ok()) << status.message() << "\n" << json;
  return value;
}

void ExpectAsProtobufWrites(const Message& prototype, unsigned seed, int* compared) {
  const std::unique_ptr<Message> message(prototype.New());
  Maker(seed).Fill(*message, 0);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string theirs;
  ASSERT_TRUE(google::protobuf::util::MessageToJsonString(*message, &theirs, options).ok()) << message->DebugString();
  std::string ours;
  ASSERT_THAT(WriteJson(*message, &ours), IsOk()) << message->DebugString();
  ASSERT_TRUE(google::protobuf::util::MessageDifferencer::Equals(Read(ours), Read(theirs)))
      << prototype.GetDescriptor()->full_name() << " of seed " << seed << "\nours   " << ours << "\ntheirs " << theirs;
  ++*compared;
}

TEST(WriteJson, EveryAnswerOfTheApiIsAsProtobufWritesIt) {
  const auto api = ApiSurface::Create(BuiltinDescriptorSet());
  ASSERT_THAT(api, IsOk());
  std::set<const google::protobuf::Descriptor*> types;
  for (const auto& route : (*api)->routes()) types.insert(route->response_type);
  int compared = 0;
  for (const auto* const type : types) {
    const auto prototype = (*api)->NewMessage(*type);
    for (unsigned seed = 1; seed <= 20; ++seed) {
      ASSERT_NO_FATAL_FAILURE(ExpectAsProtobufWrites(*prototype, seed, &compared));
    }
  }
  EXPECT_EQ(compared, 20 * static_cast<int>(types.size()));
  EXPECT_GT(types.size(), 50u);
}

constexpr char kEveryKind[] = R"(
  name: "every_kind.proto" syntax: "proto3" package: "kinds"
  dependency: "google/protobuf/wrappers.proto" dependency: "google/protobuf/timestamp.proto"
  dependency: "google/protobuf/duration.proto" dependency: "google/protobuf/field_mask.proto"
  dependency: "google/protobuf/struct.proto" dependency: "google/protobuf/empty.proto"
  enum_type { name: "Color" value { name: "NONE" number: 0 } value { name: "RED" number: 1 } }
  message_type { name: "All"
    nested_type { name: "NumbersEntry" options { map_entry: true }
      field { name: "key" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL }
      field { name: "value" number: 2 type: TYPE_DOUBLE label: LABEL_OPTIONAL } }
    nested_type { name: "WordsEntry" options { map_entry: true }
      field { name: "key" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL }
      field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
    field { name: "int32" number: 1 type: TYPE_SINT32 label: LABEL_OPTIONAL }
    field { name: "uint32" number: 2 type: TYPE_FIXED32 label: LABEL_OPTIONAL }
    field { name: "int64" number: 3 type: TYPE_SFIXED64 label: LABEL_OPTIONAL }
    field { name: "uint64" number: 4 type: TYPE_UINT64 label: LABEL_OPTIONAL }
    field { name: "real" number: 5 type: TYPE_DOUBLE label: LABEL_REPEATED }
    field { name: "narrow_real" number: 6 type: TYPE_FLOAT label: LABEL_OPTIONAL }
    field { name: "is" number: 7 type: TYPE_BOOL label: LABEL_REPEATED }
    field { name: "text" number: 8 type: TYPE_STRING label: LABEL_REPEATED }
    field { name: "raw" number: 9 type: TYPE_BYTES label: LABEL_OPTIONAL }
    field { name: "color" number: 10 type: TYPE_ENUM type_name: ".kinds.Color" label: LABEL_REPEATED }
    field { name: "numbers" number: 11 type: TYPE_MESSAGE type_name: ".kinds.All.NumbersEntry" label: LABEL_REPEATED }
    field { name: "words" number: 12 type: TYPE_MESSAGE type_name: ".kinds.All.WordsEntry" label: LABEL_REPEATED }
    field { name: "inner" number: 13 type: TYPE_MESSAGE type_name: ".kinds.All" label: LABEL_REPEATED }
    field { name: "wrapped" number: 14 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" label: LABEL_OPTIONAL }
    field { name: "wrapped_text" number: 15 type: TYPE_MESSAGE type_name: ".google.protobuf.StringValue" label: LABEL_OPTIONAL }
    field { name: "at" number: 16 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_REPEATED }
    field { name: "span" number: 17 type: TYPE_MESSAGE type_name: ".google.protobuf.Duration" label: LABEL_REPEATED }
    field { name: "mask" number: 18 type: TYPE_MESSAGE type_name: ".google.protobuf.FieldMask" label: LABEL_OPTIONAL }
    field { name: "free" number: 19 type: TYPE_MESSAGE type_name: ".google.protobuf.Struct" label: LABEL_OPTIONAL }
    field { name: "nothing" number: 20 type: TYPE_MESSAGE type_name: ".google.protobuf.Empty" label: LABEL_OPTIONAL }
    field { name: "maybe" number: 21 type: TYPE_INT32 label: LABEL_OPTIONAL proto3_optional: true oneof_index: 1 }
    field { name: "one" number: 22 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
    field { name: "other" number: 23 type: TYPE_BOOL label: LABEL_OPTIONAL oneof_index: 0 }
    oneof_decl { name: "choice" } oneof_decl { name: "_maybe" } })";

class EveryKind : public ::testing::Test {
 protected:
  void SetUp() override {
    google::protobuf::FileDescriptorProto file;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(kEveryKind, &file));
    // What it depends on is in the program.
    ASSERT_NE(google::protobuf::Value::descriptor(), nullptr);
    const auto* const built = pool_.BuildFile(file);
    ASSERT_NE(built, nullptr);
    prototype_ = factory_.GetPrototype(built->message_type(0));
  }

  google::protobuf::DescriptorPool pool_{google::protobuf::DescriptorPool::generated_pool()};
  google::protobuf::DynamicMessageFactory factory_;
  const Message* prototype_ = nullptr;
};

TEST_F(EveryKind, IsAsProtobufWritesIt) {
  int compared = 0;
  for (unsigned seed = 1; seed <= 500; ++seed) {
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobufWrites(*prototype_, seed, &compared));
  }
  EXPECT_EQ(compared, 500);
}

TEST_F(EveryKind, WhatHasNoFormIsAnError) {
  struct Case {
    const char* text;
    const char* says;
  };
  for (const Case& c :
       {Case{"at { seconds: 253402300800 }", "an instant"}, Case{"at { nanos: -1 }", "an instant"},
        Case{"span { seconds: 1 nanos: -1 }", "a duration"}, Case{"span { seconds: 315576000001 }", "a duration"}}) {
    const std::unique_ptr<Message> message(prototype_->New());
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(c.text, message.get())) << c.text;
    std::string out;
    EXPECT_THAT(WriteJson(*message, &out), StatusIs(absl::StatusCode::kInternal, ::testing::HasSubstr(c.says)))
        << c.text;
  }
}

}  // namespace
}  // namespace pga::gateway
