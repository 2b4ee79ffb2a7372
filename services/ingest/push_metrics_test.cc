#include "services/ingest/push_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "libs/status/testing.h"

namespace pga::ingest {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'767'225'600);

TEST(ParsePush, KeepsElementsWhole) {
  const auto push = ParsePush(
      R"({"collector_id": "c-1", "hostname": "db1", "timestamp": "2025-12-31T23:59:00Z", "version": "3.2.0",
          "metrics_count": 3, "metrics": [
            {"type": "pg_query_stats", "timestamp": "2025-12-31T23:58:00Z", "databases": [{"database": "a", "queries": []}]},
            {"name": "load", "value": 1.5, "timestamp": 1767225000, "labels": {"x": "\"}]"}},
            {}]})",
      kNow);
  ASSERT_THAT(push, status::IsOk());
  EXPECT_EQ(push->collector_id, "c-1");
  EXPECT_EQ(push->hostname, "db1");
  ASSERT_EQ(push->elements.size(), 3u);
  EXPECT_EQ(push->elements[0].type, "pg_query_stats");
  EXPECT_EQ(push->elements[0].time_us, 1'767'225'480'000'000);
  EXPECT_THAT(push->elements[0].json, HasSubstr("\"databases\": [{\"database\": \"a\", \"queries\": []}]}"));
  EXPECT_EQ(push->elements[1].type, "load");
  EXPECT_EQ(push->elements[1].time_us, 1'767'225'000'000'000);
  EXPECT_THAT(push->elements[1].json, HasSubstr(R"({"x": "\"}]"})"));
  EXPECT_EQ(push->elements[2].json, "{}");
  EXPECT_EQ(push->elements[2].time_us, 1'767'225'540'000'000);  // the push's own
}

TEST(ParsePush, TimesOutsideTheAcceptedWindowBecomeNow) {
  const auto push = ParsePush(
      R"({"collector_id": "c", "timestamp": "1999-01-01T00:00:00Z", "metrics": [{"timestamp": "2099-01-01T00:00:00Z"}]})",
      kNow);
  ASSERT_THAT(push, status::IsOk());
  EXPECT_EQ(push->elements[0].time_us, absl::ToUnixMicros(kNow));
}

TEST(ParsePush, MetricsMayBeAbsentNullOrEmpty) {
  for (const char* body : {R"({"collector_id": "c"})", R"({"collector_id": "c", "metrics": null})",
                           R"({"collector_id": "c", "metrics": []})"}) {
    const auto push = ParsePush(body, kNow);
    ASSERT_THAT(push, status::IsOk()) << body;
    EXPECT_TRUE(push->elements.empty());
  }
}

struct BadCase {
  const char* name;
  std::string body;
  const char* says;
};

class BadPushTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadPushTest, IsRefused) {
  EXPECT_THAT(ParsePush(GetParam().body, kNow).status(),
              status::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().says)));
}

std::string BadName(const ::testing::TestParamInfo<BadCase>& test) {
  return test.param.name;
}

INSTANTIATE_TEST_SUITE_P(
    Bodies, BadPushTest,
    ::testing::Values(
        BadCase{"Empty", "", "JSON object"}, BadCase{"Array", "[]", "JSON object"},
        BadCase{"Text", "hello", "JSON object"}, BadCase{"NoId", R"({"metrics": []})", "collector_id"},
        BadCase{"IdIsNumber", R"({"collector_id": 7})", "collector_id must be a string"},
        BadCase{"IdTooLong", absl::StrCat(R"({"collector_id": ")", std::string(300, 'x'), "\"}"), "collector_id"},
        BadCase{"BadTime", R"({"collector_id": "c", "timestamp": "yesterday"})", "timestamp"},
        BadCase{"MetricsIsObject", R"({"collector_id": "c", "metrics": {}})", "must be an array"},
        BadCase{"Unclosed", R"({"collector_id": "c", "metrics": [{}])", ""},
        BadCase{"Behind", R"({"collector_id": "c"} x)", "JSON object"},
        BadCase{"ObjectBehind", R"({"collector_id": "c"} {})", "behind"},
        BadCase{"InvalidUtf8", "{\"collector_id\": \"\xff\"}", ""},
        BadCase{"TooDeep",
                absl::StrCat(R"({"collector_id": "c", "metrics": )", std::string(100, '['), std::string(100, ']'), "}"),
                "nested"}),
    BadName);

// The sender repeats a push that is refused, and what is wrong with one element with it.
TEST(ParsePush, AnElementThatCannotBeStoredCostsNoOther) {
  for (const char* bad : {"1", "null", "[{}]", R"("text")", R"({"a": "b\u0000c"})", R"({"a": "\ud800"})",
                          R"({"a\udc00": 1})", R"({"a": tru})", R"({"a" 1})", R"({"a": 1e99999})", R"({"a": 01})"}) {
    const auto push = ParsePush(
        absl::StrCat(R"({"collector_id": "c", "metrics": [{"type": "first"}, )", bad, R"(, {"type": "last"}]})"), kNow);
    ASSERT_THAT(push, status::IsOk()) << bad;
    EXPECT_EQ(push->refused, 1) << bad;
    EXPECT_THAT(push->first_refusal, HasSubstr("metrics[1]")) << bad;
    ASSERT_EQ(push->elements.size(), 2u) << bad;
    EXPECT_EQ(push->elements[0].type, "first") << bad;
    EXPECT_EQ(push->elements[1].type, "last") << bad;
  }
}

TEST(ParsePush, CountsStatements) {
  const auto push = ParsePush(
      R"({"collector_id": "c", "version": "3.2.0", "metrics": [
          {"type": "pg_query_stats", "database": "a", "queries": [{}, {}, {}]},
          {"type": "pg_query_stats", "databases": [{"queries": [{}]}, {"database": "b"}, {"queries": [{}, {}]}]},
          {"type": "pg_query_stats", "queries": []},
          {"type": "pg_log", "queries": [{}, {}]}]})",
      kNow);
  ASSERT_THAT(push, status::IsOk());
  EXPECT_EQ(push->version, "3.2.0");
  EXPECT_EQ(push->rows(), 3 + 3 + 0 + 1);
}

TEST(ParsePush, SizeAndNumberAreBounded) {
  PushLimits limits;
  limits.max_bytes = 20;
  EXPECT_THAT(ParsePush(R"({"collector_id": "cccc"})", kNow, limits).status(),
              status::StatusIs(absl::StatusCode::kResourceExhausted));
  limits = PushLimits();
  limits.max_elements = 2;
  EXPECT_THAT(ParsePush(R"({"collector_id": "c", "metrics": [{}, {}, {}]})", kNow, limits).status(),
              status::StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace pga::ingest
