// From pushed elements to frames: the built-in rules against the built-in catalog, and increases from reading to
// reading.
#include "services/ingest/push_counters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/columns/column.h"
#include "libs/frame/column_type.h"
#include "libs/status/testing.h"
#include "services/ingest/push_map.h"
#include "services/ingest/push_reader.h"

namespace pga::ingest {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;
using ::testing::HasSubstr;

constexpr int64_t kStart = 1'767'225'600'000'000;
constexpr int64_t kMinute = 60'000'000;

std::shared_ptr<const CatalogEntry> Find(std::string_view name) {
  static const auto* const catalog = new std::shared_ptr<const catalog::Catalog>(*catalog::Catalog::Builtin());
  const catalog_v1::Metric* metric = (*catalog)->Find(std::string(name));
  if (metric == nullptr) return nullptr;
  auto entry = std::make_shared<CatalogEntry>();
  entry->metric = *metric;
  for (const catalog_v1::Column& column : metric->columns()) {
    if (column.kind() == catalog_v1::COLUMN_KIND_COUNTER) entry->has_counters = true;
  }
  return entry;
}

// Every rule names metrics and columns that there are.
TEST(PushMap, FitsTheCatalog) {
  ASSERT_GE(PushMap::Builtin().all().size(), 8u);
  for (const auto& [type, rule] : PushMap::Builtin().all()) {
    for (const PushReadingRule& reading : rule.readings) {
      const auto metric = Find(reading.metric);
      ASSERT_NE(metric, nullptr) << type << " " << reading.metric;
      for (const PushColumnRule& column : reading.columns) {
        const bool known = std::any_of(metric->metric.columns().begin(), metric->metric.columns().end(),
                                       [&](const auto& one) { return one.name() == column.column; });
        EXPECT_TRUE(known) << type << " " << reading.metric << "." << column.column;
      }
    }
  }
}

TEST(PushMap, SaysWhatIsWrong) {
  const struct {
    const char* yaml;
    const char* says;
  } cases[] = {{"[]", "want a map"},
               {"type: b\nreadings: []\n", "type is not the file's name"},
               {"type: a\n", "readings is missing"},
               {"type: a\nreadings:\n  - columns: {x: y}\n", "metric is missing"},
               {"type: a\nreadings:\n  - metric: m\n", "want either columns or values"},
               {"type: a\nreadings:\n  - metric: m\n    colour: red\n", "a.yaml:4: unknown key colour"},
               {"type: a\nreadings:\n  - metric: m\n    columns: {x: [y]}\n", "a column is a field"},
               {"type: a\nreadings:\n  - metric: m\n    limit: many\n", "a.yaml"},
               {"type: [", "a.yaml"}};
  for (const auto& test : cases) {
    const absl::Status status = PushMap::Parse({{"a.yaml", test.yaml}}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << test.yaml;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.says)) << test.yaml;
  }
}

PushReading Reading(std::string_view metric, const std::string& json, int64_t time_us) {
  PushedElement element;
  element.json = json;
  element.time_us = time_us;
  const size_t at = json.find("\"type\":\"");
  if (at != std::string::npos) element.type = json.substr(at + 8, json.find('"', at + 8) - at - 8);
  for (PushReading& reading : ReadPushed(PushMap::Builtin(), element, Find)) {
    if (reading.metric->metric.name() == metric) return reading;
  }
  ADD_FAILURE() << "no reading of " << metric << " in " << json;
  return {};
}

// Values of one column by a label.
std::map<std::string, std::string> Values(const ingest_v1::Frame& frame, const catalog_v1::Metric& metric,
                                          const std::string& label, const std::string& column) {
  const auto rows = static_cast<size_t>(frame.row_count());
  const auto decoded = [&](const std::string& name) {
    columns::Column values;
    for (int i = 0; i < metric.columns_size(); ++i) {
      if (metric.columns(i).name() != name) continue;
      EXPECT_THAT(columns::DecodeColumn(frame.columns(i), frame::TypeOf(metric.columns(i).type()), rows, &values),
                  status::IsOk());
    }
    return values;
  };
  const columns::Column keys = decoded(label);
  const columns::Column values = decoded(column);
  std::map<std::string, std::string> found;
  for (size_t row = 0; row < rows; ++row) {
    const std::string key = keys.type == columns::Type::kText ? keys.Text(row) : std::to_string(keys.ints[row]);
    found[key] = values.IsNull(row) ? "null" : std::to_string(values.ints[row]);
  }
  return found;
}

std::string Statements(const std::vector<std::pair<int, int>>& calls) {
  std::string json = R"({"type":"pg_query_stats","database":"app","queries":[)";
  for (const auto& [hash, count] : calls) absl::StrAppend(&json, R"({"hash":)", hash, R"(,"calls":)", count, "},");
  json.back() = ']';
  return json + "}";
}

class Statement : public ::testing::Test {
 protected:
  // The state passes through its bytes, as in the database.
  PushStep Push(const std::vector<std::pair<int, int>>& calls) {
    PushCounters counters;
    if (!state_.empty()) {
      auto parsed = PushCounters::Parse(state_);
      EXPECT_THAT(parsed.status(), status::IsOk());
      counters = *std::move(parsed);
    }
    now_ += kMinute;
    auto step = counters.Advance(Reading("statements", Statements(calls), now_), newest_);
    EXPECT_THAT(step.status(), status::IsOk());
    newest_ = step->collected_us;
    state_ = counters.Serialize();
    return *std::move(step);
  }
  std::map<std::string, std::string> Calls(const ingest_v1::Frame& frame) {
    return Values(frame, Find("statements")->metric, "queryid", "calls");
  }
  using Found = std::map<std::string, std::string>;

  std::string state_;
  int64_t now_ = kStart;
  int64_t newest_ = 0;
};

TEST_F(Statement, IncreasesAddUp) {
  const PushStep first = Push({{1, 100}, {2, 50}});
  ASSERT_EQ(first.frames.size(), 1u);
  EXPECT_EQ(first.frames[0].kind(), ingest_v1::FRAME_KIND_KEYFRAME);
  EXPECT_EQ(Calls(first.frames[0]), (Found{{"1", "100"}, {"2", "50"}}));
  const PushStep second = Push({{1, 130}, {2, 50}, {3, 7}});
  ASSERT_EQ(second.frames.size(), 1u);
  EXPECT_EQ(second.frames[0].kind(), ingest_v1::FRAME_KIND_DELTA);
  EXPECT_EQ(second.frames[0].interval_start_us(), first.collected_us);
  // The third one began since: fewer than a hundred are all there are.
  EXPECT_EQ(Calls(second.frames[0]), (Found{{"1", "30"}, {"2", "0"}, {"3", "7"}}));
  EXPECT_FALSE(second.some_lower_bound);
}

TEST_F(Statement, WhatFellBeganAnew) {
  Push({{1, 100}, {2, 50}});
  const PushStep step = Push({{1, 40}, {2, 55}});
  EXPECT_EQ(Calls(step.frames[0]), (Found{{"1", "40"}, {"2", "5"}}));
  EXPECT_TRUE(step.some_lower_bound);
  EXPECT_EQ(Calls(Push({{1, 41}, {2, 55}}).frames[0]), (Found{{"1", "1"}, {"2", "0"}}));
}

// Entries of several users with one id are added up. One that is missing is no reset.
TEST_F(Statement, RowsOfOneIdAreAddedUp) {
  Push({{1, 100}, {1, 90}});
  EXPECT_EQ(Calls(Push({{1, 103}, {1, 94}}).frames[0]), (Found{{"1", "7"}}));
  EXPECT_EQ(Calls(Push({{1, 110}}).frames[0]), (Found{{"1", "null"}}));
}

TEST_F(Statement, OfTheLargestOneThatComesMayBeOld) {
  std::vector<std::pair<int, int>> all;
  for (int i = 1; i <= 100; ++i) all.emplace_back(i, 1000);
  Push(all);
  std::vector<std::pair<int, int>> others(all.begin() + 1, all.end());
  others.emplace_back(500, 5000);
  const PushStep second = Push(others);
  EXPECT_EQ(Calls(second.frames[0])["500"], "null");
  EXPECT_FALSE(Calls(second.frames[0]).contains("1"));
  others.back().second = 5004;
  others.emplace_back(1, 1009);
  const Found third = Calls(Push(others).frames[0]);
  EXPECT_EQ(third.at("500"), "4");
  EXPECT_EQ(third.at("1"), "9");
}

TEST_F(Statement, TimesOfOneSecondFollowOneAnother) {
  Push({{1, 100}});
  PushCounters counters = *PushCounters::Parse(state_);
  const auto same = counters.Advance(Reading("statements", Statements({{1, 101}}), now_), newest_);
  ASSERT_THAT(same.status(), status::IsOk());
  EXPECT_EQ(same->collected_us, now_ + 1000);
  EXPECT_TRUE(absl::IsFailedPrecondition(
      counters.Advance(Reading("statements", Statements({{1, 90}}), now_ - kMinute), same->collected_us).status()));
}

TEST(PushCounters, TakesNoBytesThatAreNoState) {
  PushCounters counters;
  ASSERT_THAT(counters.Advance(Reading("statements", Statements({{1, 100}, {2, 7}}), kStart), 0).status(),
              status::IsOk());
  const std::string good = counters.Serialize();
  EXPECT_THAT(PushCounters::Parse(good).status(), status::IsOk());
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(PushCounters::Parse(good.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(PushCounters::Parse(good + "x").ok());
}

// Rows of one statement whose sum no counter can hold, and a statement without a hash.
TEST(PushReader, SumsAndLabelsThatDoNotFit) {
  const std::string json =
      R"({"type":"pg_query_stats","database":"app","queries":[{"hash":1,"calls":9223372036854775807},)"
      R"({"hash":1,"calls":5},{"hash":18446744073709551615,"calls":7},{"hash":"abc","calls":1}]})";
  const PushReading reading = Reading("statements", json, kStart);
  ASSERT_EQ(reading.rows.size(), 2u);
  const catalog_v1::Metric& metric = reading.metric->metric;
  for (int i = 0; i < metric.columns_size(); ++i) {
    const auto column = static_cast<size_t>(i);
    if (metric.columns(i).name() == "calls") {
      EXPECT_EQ(reading.rows[0].cells[column], PushCell());
      EXPECT_EQ(reading.rows[1].cells[column], PushCell(int64_t{7}));
    } else if (metric.columns(i).name() == "queryid") {
      EXPECT_EQ(reading.rows[1].cells[column], PushCell(int64_t{-1}));
    }
  }
  EXPECT_EQ(reading.unreadable, 1);
}

// A name of a database that is none: PostgreSQL's have 63 bytes.
TEST(PushReader, ALongNameIsNotTaken) {
  for (const size_t size : {63u, 1024u, 1025u, 100'000u}) {
    const std::string json =
        absl::StrCat(R"({"type":"pg_stats","transactions_committed":1,"database":")", std::string(size, 'x'), "\"}");
    PushedElement element;
    element.type = "pg_stats";
    element.time_us = kStart;
    element.json = json;
    const std::vector<PushReading> readings = ReadPushed(PushMap::Builtin(), element, Find);
    EXPECT_EQ(!readings.empty(), size <= 1024) << size;
  }
}

// Odd values cost the value, never the row; what came and is not known is counted.
TEST(PushReader, WhatDoesNotFitIsNull) {
  struct Case {
    const char* value;
    std::optional<int64_t> known;
    int unreadable;
  };
  for (const Case& c : std::vector<Case>{{"17", 17, 0},
                                         {"\"17\"", 17, 0},
                                         {"3.0", 3, 0},
                                         {"9223372036854775807", INT64_MAX, 0},
                                         {"null", std::nullopt, 0},
                                         {"\"many\"", std::nullopt, 1},
                                         {"1e300", std::nullopt, 1},
                                         {"{}", std::nullopt, 1},
                                         {"[]", std::nullopt, 1},
                                         {"true", std::nullopt, 1},
                                         {"-5", std::nullopt, 1},
                                         {"\"-5\"", std::nullopt, 1},
                                         {"9223372036854775808", std::nullopt, 1},
                                         {"20.75", std::nullopt, 1}}) {
    SCOPED_TRACE(c.value);
    const PushReading reading =
        Reading("database",
                absl::StrCat(R"({"type":"pg_stats","database":"app","tuples_fetched":1,"transactions_committed":)",
                             c.value, "}"),
                kStart);
    ASSERT_EQ(reading.rows.size(), 1u);
    std::optional<int64_t> known;
    for (int i = 0; i < reading.metric->metric.columns_size(); ++i) {
      const auto* whole = std::get_if<int64_t>(&reading.rows[0].cells[static_cast<size_t>(i)]);
      if (reading.metric->metric.columns(i).name() == "xact_commit" && whole != nullptr) known = *whole;
    }
    EXPECT_EQ(known, c.known);
    EXPECT_EQ(reading.unreadable, c.unreadable);
  }
}

}  // namespace
}  // namespace pga::ingest
