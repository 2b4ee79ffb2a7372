// GoogleTest matchers for protobuf messages. Tests only.
#pragma once

#include <gmock/gmock.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>

#include <string>

namespace pga::testing {

// The argument equals a message, given as such or in text format.
class EqualsProtoMatcher {
 public:
  using is_gtest_matcher = void;
  explicit EqualsProtoMatcher(const google::protobuf::Message& expected) : expected_(expected.New()) {
    expected_->CopyFrom(expected);
  }
  explicit EqualsProtoMatcher(std::string text) : text_(std::move(text)) {}

  bool MatchAndExplain(const google::protobuf::Message& actual, ::testing::MatchResultListener* listener) const {
    std::shared_ptr<google::protobuf::Message> expected = expected_;
    if (expected == nullptr) {
      expected.reset(actual.New());
      if (!google::protobuf::TextFormat::ParseFromString(text_, expected.get())) {
        *listener << "the expected text is not a " << actual.GetTypeName();
        return false;
      }
    }
    if (expected->GetDescriptor() != actual.GetDescriptor()) {
      *listener << "is a " << actual.GetTypeName();
      return false;
    }
    google::protobuf::util::MessageDifferencer differencer;
    std::string report;
    differencer.ReportDifferencesToString(&report);
    const bool same = differencer.Compare(*expected, actual);
    if (!same) *listener << "differs:\n" << report;
    return same;
  }
  void DescribeTo(std::ostream* out) const { *out << "equals " << (expected_ ? expected_->ShortDebugString() : text_); }
  void DescribeNegationTo(std::ostream* out) const { *out << "does not equal " << text_; }

 private:
  std::shared_ptr<google::protobuf::Message> expected_;
  std::string text_;
};

inline EqualsProtoMatcher EqualsProto(const google::protobuf::Message& expected) {
  return EqualsProtoMatcher(expected);
}
inline EqualsProtoMatcher EqualsProto(std::string text) {
  return EqualsProtoMatcher(std::move(text));
}

}  // namespace pga::testing
