// Questions that a model asks by MCP, answered from data made for them: the client is the protocol's own SDK.
#include <gtest/gtest.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "libs/status/testing.h"
#include "libs/storage/testing/frame_store.h"
#include "libs/testing/json_value.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

using storage::StoredFrame;
using storage::StoredRow;

constexpr int64_t kSlowed = 4711;

std::string Text(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

// A frame a minute from `from`, a keyframe first.
template <typename Rows>
std::vector<StoredFrame> Minutes(int32_t source, absl::Time from, int minutes, const Rows& rows) {
  std::vector<StoredFrame> frames;
  for (int minute = 0; minute <= minutes; ++minute) {
    StoredFrame frame;
    frame.source = source;
    frame.collector = 100;
    frame.end = from + absl::Minutes(minute);
    frame.keyframe = minute == 0;
    frame.start = minute == 0 ? frame.end : frame.end - absl::Minutes(1);
    frame.rows = rows(minute);
    frames.push_back(std::move(frame));
  }
  return frames;
}

StoredRow Statement(int64_t query, int64_t calls, int64_t milliseconds) {
  return {{{"userid", int64_t{10}},
           {"dbid", int64_t{5}},
           {"queryid", query},
           {"toplevel", int64_t{1}},
           {"datname", "shop"},
           {"username", "app"},
           {"calls", calls},
           {"total_exec_time_us", calls * milliseconds * 1000}},
          0};
}

TEST(Mcp, AnswersWhoBlockedWhomAndWhatGotSlower) {
  Suite suite({.form = Form::kOneProcess});
  const std::string admin = suite.AdminToken();
  const auto token = [&](const char* body) {
    const auto made = suite.Post("/api/v1/tokens", body, admin);
    return made.ok() && made->status == 201 ? testing::JsonText(made->body, "/token") : std::string();
  };
  const std::string everywhere = token(R"({"name":"model","role":"viewer"})");
  const std::string of_sales = token(R"({"name":"of sales","role":"viewer","groups":["sales"]})");
  ASSERT_FALSE(everywhere.empty() || of_sales.empty());

  auto pool = pg::Pool::Create({.url = suite.databases().metrics_url});
  ASSERT_THAT(pool, status::IsOk());
  for (const char* sql : {"INSERT INTO metrics.collector (id, collector_id) VALUES (100, 'col_mcp')",
                          "INSERT INTO metrics.source (id, uuid, name, collector_id, group_name) VALUES "
                          "(101, '00000000-0000-0000-0000-000000000101', 'alpha', 100, 'default'), "
                          "(102, '00000000-0000-0000-0000-000000000102', 'beta', 100, 'sales')"}) {
    ASSERT_THAT((*pool)->Exec(sql, {}, clock::SteadyNow() + absl::Seconds(10)).status(), status::IsOk());
  }
  const auto catalog = *catalog::Catalog::Builtin();
  // Yesterday and today, each the hour up to the present minute: one statement takes six times as long, one as before.
  const absl::Time now = absl::FromUnixSeconds(absl::ToUnixSeconds(clock::WallNow()) / 60 * 60);
  storage::FrameStore statements(pool->get(), *catalog->Find("statements"));
  for (const bool today : {false, true}) {
    const absl::Time from = now - absl::Hours(today ? 1 : 25);
    statements.Store(Minutes(101, from, 59, [&](int minute) {
      return std::vector<StoredRow>{Statement(kSlowed, 50 + minute % 7, today ? 60 : 10),
                                    Statement(815, 40 + minute % 5, 20)};
    }));
  }
  // At 10:03 of yesterday session 200 had waited for session 100 since 10:02:10; at 10:05 nobody waited any more. At
  // 4:03, where statements of yesterday were read about 10.
  const absl::Time day = absl::FromUnixSeconds(absl::ToUnixSeconds(now) / 86'400 * 86'400) - absl::Hours(24);
  const absl::Duration clock_time = now - day - absl::Hours(24);
  const bool near = clock_time > absl::Hours(9.5) && clock_time < absl::Hours(11.5);
  const absl::Time at = day + absl::Hours(near ? 4 : 10) + absl::Minutes(3);
  const absl::Time since = at - absl::Seconds(50);
  storage::FrameStore blocking(pool->get(), *catalog->Find("blocking"));
  blocking.Store(Minutes(101, at - absl::Minutes(5), 10, [&](int minute) -> std::vector<StoredRow> {
    if (minute != 5 && minute != 6) return {};
    const absl::Time sampled = at + absl::Minutes(minute - 5);
    return {{{{"blocked_pid", int64_t{200}},
              {"blocking_pid", int64_t{100}},
              {"datname", "shop"},
              {"blocked_usename", "app"},
              {"blocking_usename", "batch"},
              {"blocking_state", "idle in transaction"},
              {"lock_type", "transactionid"},
              {"root_pid", int64_t{100}},
              {"depth", int64_t{1}},
              {"blocked_since", absl::ToUnixMicros(since)},
              {"blocked_us", absl::ToInt64Microseconds(sampled - since)},
              {"ended", int64_t{minute == 6 ? 1 : 0}}},
             0}};
  }));

  const auto fetched =
      testing::RunCommand({.argv = {testing::SourceDir() + "/tools/fetch-python.sh", "mcp"}}, absl::Minutes(2));
  ASSERT_THAT(fetched, status::IsOk());
  ASSERT_EQ(fetched->exit_code, 0) << fetched->output;
  const auto asked =
      testing::RunCommand({.argv = {"python3", testing::SourceDir() + "/tests/integration/mcp_questions.py",
                                    absl::StrCat("http://127.0.0.1:", suite.port()), everywhere, of_sales, Text(at),
                                    Text(now - absl::Hours(25)), Text(now - absl::Hours(1)), absl::StrCat(kSlowed)},
                           .env = {{"PYTHONPATH", fetched->output.substr(0, fetched->output.find('\n'))}}},
                          absl::Minutes(1));
  ASSERT_THAT(asked, status::IsOk());
  EXPECT_EQ(asked->exit_code, 0) << asked->output << suite.Outputs();
  std::printf("[ figures  ] %s", asked->output.c_str());
}

}  // namespace
}  // namespace pga::integration
