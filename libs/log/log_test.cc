#include "libs/log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "libs/status/testing.h"

namespace pga::log {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class LogTest : public testing::Test {
 protected:
  void Start(Level level, bool json = true) {
    Init({.level = level, .json = json, .service = "ingest", .sink = [this](const std::string& line) {
            lines_.push_back(line);
          }});
  }
  void TearDown() override { Init({}); }
  std::vector<std::string> lines_;
};

TEST_F(LogTest, WritesTypedFields) {
  Start(Level::info);
  PGA_LOG(info, "batch stored",
          {{"rows", 17}, {"seconds", 0.5}, {"late", true}, {"id", std::string("a\"b\n")}, {"took", absl::Seconds(2)}});
  ASSERT_THAT(lines_, SizeIs(1));
  EXPECT_THAT(lines_[0], HasSubstr(R"("level":"info","service":"ingest","message":"batch stored")"));
  EXPECT_THAT(lines_[0], EndsWith(R"("rows":17,"seconds":0.5,"late":true,"id":"a\"b\n","took":2})"));
}

TEST_F(LogTest, KeysOfTheLineItselfAreNotRepeated) {
  Start(Level::info);
  PGA_LOG(info, "token refused", {{"service", "query"}});
  EXPECT_THAT(lines_[0], HasSubstr(R"("service":"ingest","message":"token refused","service_":"query")"));
}

TEST_F(LogTest, LevelFiltersBeforeFieldsAreBuilt) {
  Start(Level::warn);
  int built = 0;
  const auto count = [&built] { return ++built; };
  PGA_LOG(info, "quiet", {{"n", count()}});
  PGA_LOG(warn, "loud", {{"n", count()}});
  EXPECT_THAT(lines_, SizeIs(1));
  EXPECT_EQ(built, 1);
}

TEST_F(LogTest, SecretsAreMasked) {
  Start(Level::info);
  PGA_LOG(info, "login", {{"password", Secret("hunter2")}});
  EXPECT_THAT(lines_[0], Not(HasSubstr("hunter2")));
  EXPECT_THAT(lines_[0], HasSubstr(R"("password":"***")"));
}

TEST_F(LogTest, RequestIdNests) {
  Start(Level::info);
  {
    RequestScope outer("r1");
    {
      RequestScope inner("r2");
      PGA_LOG(info, "inner");
    }
    PGA_LOG(info, "outer");
  }
  PGA_LOG(info, "none");
  EXPECT_THAT(lines_[0], HasSubstr(R"("request_id":"r2")"));
  EXPECT_THAT(lines_[1], HasSubstr(R"("request_id":"r1")"));
  EXPECT_THAT(lines_[2], Not(HasSubstr("request_id")));
}

TEST_F(LogTest, ARequestIdHasOneKey) {
  Start(Level::info);
  PGA_LOG(info, "access", {{"request_id", "r3"}});
  EXPECT_THAT(lines_[0], HasSubstr(R"("request_id":"r3")"));
  EXPECT_THAT(lines_[0], Not(HasSubstr("request_id_")));
  const RequestScope scope("r4");
  PGA_LOG(info, "other", {{"request_id", "r5"}});
  EXPECT_THAT(lines_[1], HasSubstr(R"("request_id":"r4")"));
  EXPECT_THAT(lines_[1], HasSubstr(R"("request_id_":"r5")"));
}

TEST_F(LogTest, LinesCannotBeForged) {
  Start(Level::info, /*json=*/false);
  PGA_LOG(info, "login", {{"user", "x\n2026 INFO forged"}});
  EXPECT_THAT(lines_[0], Not(HasSubstr("\n")));
}

TEST(AppendJsonString, ReplacesWhatIsNotUtf8) {
  struct Case {
    std::string name, in, out;
  };
  const std::vector<Case> cases = {
      {"plain", "abc", "\"abc\""},
      {"two bytes", "\xC3\xA9", "\"\xC3\xA9\""},
      {"four bytes", "\xF0\x9F\x90\x98", "\"\xF0\x9F\x90\x98\""},
      {"lone tail", "\x80", "\"\xEF\xBF\xBD\""},
      {"overlong", "\xC0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
      {"surrogate", "\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
      {"cut off", "\xE2\x82", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
      {"control", std::string("\0\x1f\x7f", 3), R"("\u0000\u001f\u007f")"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    std::string out;
    AppendJsonString(c.in, &out);
    EXPECT_EQ(out, c.out);
  }
}

TEST(ParseLevel, KnowsTheUsualNames) {
  EXPECT_THAT(ParseLevel("INFO"), status::IsOkAndHolds(Level::info));
  EXPECT_THAT(ParseLevel("warning"), status::IsOkAndHolds(Level::warn));
  EXPECT_THAT(ParseLevel("loud"), status::StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace pga::log
