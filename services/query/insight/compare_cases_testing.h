// Regressions with a known cause, as frames of sources of their own: a case is a name, what the answer has to say, and
// a function that changes the world. Tests only.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "libs/storage/testing/frame_store.h"

namespace pga::query {

// 10:00 to 10:30 against 10:30 to 11:00.
inline const absl::Time kCaseStart = absl::FromUnixSeconds(1767261600);
inline const absl::Time kCaseChange = kCaseStart + absl::Minutes(30);
inline const absl::Time kCaseEnd = kCaseStart + absl::Minutes(60);
inline constexpr int kCaseMinutes = 60;

// The statement under test, of each call.
struct CaseFigures {
  int64_t calls = 100;  // a minute
  int64_t time_us = 2000;
  int64_t rows = 1;
  int64_t hit = 50;
  int64_t read = 1;
  int64_t temp = 0;
  int64_t wal = 0;
  int64_t io_us = 100;
  int64_t query_id = 1000;
  // Sessions by class of wait; "" = at work.
  std::map<std::string, double> sessions = {{"", 0.003}};
  // Other sessions at work on the server.
  double others = 1;
};

class CaseWorld {
 public:
  explicit CaseWorld(int32_t source) : source_(source) {}

  CaseFigures before;
  CaseFigures after;
  std::string text = "SELECT o.id FROM orders o WHERE o.customer = $1";
  // By metric.
  std::map<std::string, std::vector<storage::StoredFrame>> frames;
  // Trees of plans by id.
  std::map<int64_t, std::string> trees;

  // A reading at `minute`, of everything where it is a keyframe.
  void Read(const std::string& metric, int minute, bool keyframe, std::vector<storage::StoredRow> rows,
            int64_t scope = 0, int every = 10) {
    const absl::Time end = kCaseStart + absl::Minutes(minute);
    frames[metric].push_back({.source = source_,
                              .scope = scope,
                              .start = keyframe ? end : end - absl::Minutes(every),
                              .end = end,
                              .keyframe = keyframe,
                              .rows = std::move(rows)});
  }

  static storage::StoredRow Index(const std::string& name, int valid, int flags = 0,
                                  const std::string& table = "orders") {
    storage::StoredRow row{{{"datname", "shop"}, {"schemaname", "public"}, {"relname", table}, {"indexrelname", name}},
                           flags};
    if (flags == 0) row.values["is_valid"] = int64_t{valid};
    return row;
  }
  // Readings of index_stats every ten minutes; what is seen at 10:40 happened after 10:30.
  void Indexes(std::vector<storage::StoredRow> at_first, std::vector<storage::StoredRow> changed) {
    Read("index_stats", -10, true, std::move(at_first), 5);
    for (int minute = 0; minute <= 60; minute += 10) {
      Read("index_stats", minute, false, minute == 40 ? changed : std::vector<storage::StoredRow>(), 5);
    }
  }
  void IndexDropped(const std::string& name = "orders_customer_idx", const std::string& table = "orders") {
    Indexes({Index(name, 1, 0, table), Index("orders_pkey", 1)}, {Index(name, 1, 4, table)});
  }
  void IndexCreated(const std::string& name = "orders_customer_idx") {
    Indexes({Index("orders_pkey", 1)}, {Index(name, 1)});
  }

  // A metric of settings with one of them changed at `minute`.
  void Setting(const std::string& name, const char* from, const char* to, const std::string& metric = "settings",
               int minute = 35) {
    const auto row = [&](const char* value) {
      storage::StoredRow made{{{"setting_name", name}, {"setting_value", value}}, 0};
      if (metric == "role_settings") made.values.insert({{"datname", "shop"}, {"rolname", ""}});
      return made;
    };
    Read(metric, -10, true, {row(from)});
    for (int at = -5; at <= 60; at += 5) {
      Read(metric, at, false,
           at == minute ? std::vector<storage::StoredRow>{row(to)} : std::vector<storage::StoredRow>(), 0, 5);
    }
  }

  void Server(const char* version_before, const char* version_after, bool restarted) {
    const auto row = [&](const char* version, int64_t started) {
      return storage::StoredRow{{{"server_version", version}, {"started_at", started}}, 0};
    };
    const int64_t first = absl::ToUnixMicros(kCaseStart - absl::Hours(100));
    Read("server", -10, true, {row(version_before, first)});
    for (int minute = -9; minute <= 60; ++minute) {
      std::vector<storage::StoredRow> rows;
      if (minute == 31 && restarted) rows.push_back(row(version_after, absl::ToUnixMicros(kCaseChange)));
      Read("server", minute, false, std::move(rows), 0, 1);
    }
  }

  // One plan up to the change, another one from then on.
  void Plans(int64_t first, int64_t second, const std::string& first_tree, const std::string& second_tree) {
    trees = {{first, first_tree}, {second, second_tree}};
    for (int minute = 1; minute <= kCaseMinutes; ++minute) {
      const bool changed = minute > 30;
      Read("plans", minute, false,
           {{{{"query_id", (changed ? after : before).query_id},
              {"plan_id", changed ? second : first},
              {"datname", "shop"},
              {"logged", int64_t{2}},
              {"duration_us", int64_t{4000}}},
             0}},
           0, 1);
    }
  }

  // Live rows and sequential scans in five minutes.
  void Table(int64_t rows_before, int64_t rows_after, int64_t scans_before, int64_t scans_after, int64_t analyzed = 0) {
    const auto row = [&](bool changed) {
      return storage::StoredRow{{{"datname", "shop"},
                                 {"schemaname", "public"},
                                 {"relname", "orders"},
                                 {"n_live_tup", changed ? rows_after : rows_before},
                                 {"seq_scan", changed ? scans_after : scans_before},
                                 {"analyze_count", int64_t{0}},
                                 {"autoanalyze_count", changed ? analyzed : int64_t{0}}},
                                0};
    };
    Read("table_stats", -10, true, {row(false)}, 5);
    for (int minute = -5; minute <= 60; minute += 5) Read("table_stats", minute, false, {row(minute > 30)}, 5, 5);
  }

  void TableChanged() {
    const auto row = [](const char* hash) {
      return storage::StoredRow{
          {{"datname", "shop"}, {"schemaname", "public"}, {"relname", "orders"}, {"columns_hash", hash}}, 0};
    };
    Read("schema_relations", -30, true, {row("a")}, 5);
    for (int minute = 0; minute <= 60; minute += 30) {
      Read("schema_relations", minute, false,
           minute == 60 ? std::vector<storage::StoredRow>{row("b")} : std::vector<storage::StoredRow>(), 5, 30);
    }
  }

  // Session 100 waits for session 200 from 10:31 to 10:58.
  void Blocked() {
    const auto edge = [&](int minute, int64_t ended) {
      const absl::Time since = kCaseChange + absl::Minutes(1);
      const absl::Time at = kCaseStart + absl::Minutes(minute);
      storage::StoredRow row;
      row.values = {{"blocked_pid", int64_t{100}},
                    {"blocking_pid", int64_t{200}},
                    {"datname", "shop"},
                    {"blocked_usename", "app"},
                    {"blocking_usename", "batch"},
                    {"blocking_application_name", "report"},
                    {"blocking_state", "idle in transaction"},
                    {"blocked_query_id", after.query_id},
                    {"lock_type", "transactionid"},
                    {"lock_mode", "ShareLock"},
                    {"root_pid", int64_t{200}},
                    {"depth", int64_t{1}},
                    {"cycle", int64_t{0}},
                    {"blocked_since", absl::ToUnixMicros(since)},
                    {"blocked_us", absl::ToInt64Microseconds(at - since)},
                    {"ended", ended}};
      return row;
    };
    for (const int minute : {31, 45, 58}) {
      const absl::Time at = kCaseStart + absl::Minutes(minute);
      frames["blocking"].push_back(
          {.source = source_, .start = at, .end = at, .rows = {edge(minute, minute == 58 ? 1 : 0)}});
    }
  }

 private:
  const int32_t source_;
};

struct CompareCase {
  std::string name;
  // improved, degraded or unchanged; kind of the first cause, empty = none.
  std::string status;
  std::string cause;
  // A part of the first cause's sentence.
  std::string says;
  std::function<void(CaseWorld&)> change;
};

inline const char* const kIndexPlan = "Index Scan using orders_customer_idx on orders o\n  Index Cond: (customer = ?)";
inline const char* const kSeqPlan = "Seq Scan on orders o\n  Filter: (customer = ?)";

inline std::vector<CompareCase> CompareCases() {
  return {
      {"dropped index, plan logged", "degraded", "plan_changed", "orders_customer_idx of public.orders was dropped",
       [](CaseWorld& w) {
         w.after.time_us = 40'000;
         w.after.hit = 5000;
         w.Plans(71, 72, kIndexPlan, kSeqPlan);
         w.IndexDropped();
       }},
      {"dropped index, no plan", "degraded", "index_dropped", "orders_customer_idx",
       [](CaseWorld& w) {
         w.after.time_us = 40'000;
         w.after.hit = 5000;
         w.IndexDropped();
         w.Table(100'000, 100'000, 0, 500);
       }},
      {"invalid index", "degraded", "index_invalid", "orders_customer_idx",
       [](CaseWorld& w) {
         w.after.time_us = 30'000;
         w.after.hit = 4000;
         w.Indexes({CaseWorld::Index("orders_customer_idx", 1)}, {CaseWorld::Index("orders_customer_idx", 0)});
       }},
      {"another plan after analyze", "degraded", "plan_changed", "was analyzed",
       [](CaseWorld& w) {
         w.after.time_us = 9000;
         w.after.hit = 300;
         w.Plans(71, 72, kIndexPlan, kSeqPlan);
         w.Table(100'000, 101'000, 1, 1, 1);
       }},
      {"another plan after a planner setting", "degraded", "plan_changed", "enable_indexscan changed from on to off",
       [](CaseWorld& w) {
         w.after.time_us = 20'000;
         w.after.hit = 3000;
         w.Plans(71, 72, kIndexPlan, kSeqPlan);
         w.Setting("enable_indexscan", "on", "off");
       }},
      {"planner setting, no plan", "degraded", "setting_changed", "random_page_cost changed from 1.1 to 40",
       [](CaseWorld& w) {
         w.after.time_us = 20'000;
         w.after.hit = 3000;
         w.Setting("random_page_cost", "1.1", "40");
       }},
      {"work_mem lowered", "degraded", "setting_changed", "work_mem changed from 65536 to 64",
       [](CaseWorld& w) {
         w.after.time_us = 8000;
         w.after.temp = 400;
         w.Setting("work_mem", "65536", "64");
       }},
      {"larger sorts spill", "degraded", "spills", "temporary blocks of each call grew",
       [](CaseWorld& w) {
         w.before.temp = 10;
         w.after.time_us = 8000;
         w.after.temp = 400;
       }},
      {"waits for a row lock", "degraded", "lock_waits", "held by user batch (report), idle in transaction",
       [](CaseWorld& w) {
         w.after.time_us = 200'000;
         w.after.sessions = {{"", 0.003}, {"Lock", 0.33}};
         w.Blocked();
       }},
      {"waits for a lock while a setting changes", "degraded", "lock_waits", "waits for locks",
       [](CaseWorld& w) {
         w.after.time_us = 100'000;
         w.after.sessions = {{"", 0.003}, {"Lock", 0.15}};
         w.Setting("random_page_cost", "1.1", "4");
       }},
      {"more rows", "degraded", "more_rows", "rows of each call grew from 20 to 200",
       [](CaseWorld& w) {
         w.before.rows = 20;
         w.after.rows = 200;
         w.after.time_us = 18'000;
         w.after.hit = 500;
       }},
      {"more rows while a setting changes", "degraded", "more_rows", "rows of each call grew",
       [](CaseWorld& w) {
         w.before.rows = 20;
         w.after.rows = 60;
         w.after.time_us = 6000;
         w.after.hit = 150;
         w.Setting("effective_cache_size", "524288", "262144");
       }},
      {"restart, cold cache", "degraded", "restart", "the server was restarted",
       [](CaseWorld& w) {
         w.after.time_us = 8000;
         w.after.hit = 10;
         w.after.read = 40;
         w.after.io_us = 6000;
         w.Server("15.4", "15.4", true);
       }},
      {"cache pushed out", "degraded", "cache_misses", "not in shared buffers grew from 1 to 30",
       [](CaseWorld& w) {
         w.after.time_us = 6000;
         w.after.hit = 21;
         w.after.read = 30;
         w.after.io_us = 3500;
       }},
      {"shared_buffers lowered", "degraded", "setting_changed", "shared_buffers",
       [](CaseWorld& w) {
         w.after.time_us = 6000;
         w.after.hit = 21;
         w.after.read = 30;
         w.Server("15.4", "15.4", true);
         w.Setting("shared_buffers", "131072", "1024");
       }},
      {"table grew", "degraded", "table_grew", "rows of public.orders grew from 100000 to 400000",
       [](CaseWorld& w) {
         w.after.time_us = 7500;
         w.after.hit = 200;
         w.Table(100'000, 400'000, 10, 10);
       }},
      {"bloat", "degraded", "more_blocks", "blocks of each call grew from 51 to 181",
       [](CaseWorld& w) {
         w.after.time_us = 6000;
         w.after.hit = 180;
         w.Table(100'000, 100'000, 10, 10);
       }},
      {"slower disk", "degraded", "io_slower", "reading a block took",
       [](CaseWorld& w) {
         w.before.read = 10;
         w.before.io_us = 1000;
         w.after.read = 10;
         w.after.io_us = 9000;
         w.after.time_us = 10'000;
       }},
      {"waits for the disk, not timed", "degraded", "waits", "waits of class IO",
       [](CaseWorld& w) {
         w.before.io_us = 0;
         w.after.io_us = 0;
         w.after.time_us = 50'000;
         w.after.sessions = {{"", 0.003}, {"IO", 0.08}};
       }},
      {"contention on lightweight locks", "degraded", "waits", "waits of class LWLock",
       [](CaseWorld& w) {
         w.after.time_us = 50'000;
         w.after.sessions = {{"", 0.003}, {"LWLock", 0.08}};
       }},
      {"busy server", "degraded", "server_busier", "active sessions of the server grew",
       [](CaseWorld& w) {
         w.after.time_us = 6000;
         w.after.sessions = {{"", 0.01}};
         w.after.others = 30;
       }},
      {"commits are flushed", "degraded", "setting_changed", "synchronous_commit changed from off to on",
       [](CaseWorld& w) {
         w.text = "INSERT INTO orders (customer) VALUES ($1)";
         w.before.wal = w.after.wal = 300;
         w.after.time_us = 9000;
         w.Setting("synchronous_commit", "off", "on");
       }},
      {"another index to keep", "degraded", "index_created", "orders_note_gin",
       [](CaseWorld& w) {
         w.text = "INSERT INTO orders (customer) VALUES ($1)";
         w.before.wal = 300;
         w.after.wal = 2000;
         w.after.time_us = 9000;
         w.IndexCreated("orders_note_gin");
       }},
      {"table altered", "degraded", "table_changed", "table public.orders was changed",
       [](CaseWorld& w) {
         w.after.time_us = 6000;
         w.after.hit = 150;
         w.TableChanged();
       }},
      {"index created", "improved", "index_created", "orders_customer_idx",
       [](CaseWorld& w) {
         w.before.time_us = 40'000;
         w.before.hit = 5000;
         w.IndexCreated();
       }},
      {"index created, plan logged", "improved", "plan_changed", "orders_customer_idx of public.orders was created",
       [](CaseWorld& w) {
         w.before.time_us = 40'000;
         w.before.hit = 5000;
         w.Plans(72, 71, kSeqPlan, kIndexPlan);
         w.IndexCreated();
       }},
      {"work_mem raised", "improved", "setting_changed", "work_mem changed from 64 to 65536",
       [](CaseWorld& w) {
         w.before.time_us = 8000;
         w.before.temp = 400;
         w.Setting("work_mem", "64", "65536");
       }},
      {"lock released", "improved", "lock_waits", "stopped waiting for locks",
       [](CaseWorld& w) {
         w.before.time_us = 200'000;
         w.before.sessions = {{"", 0.003}, {"Lock", 0.33}};
       }},
      {"upgrade with other query ids", "degraded", "plan_changed", "from version 15.4 to 17.2",
       [](CaseWorld& w) {
         w.after.query_id = 2000;
         w.after.time_us = 9000;
         w.after.hit = 400;
         w.Plans(71, 72, kIndexPlan, kSeqPlan);
         w.Server("15.4", "17.2", true);
       }},
      {"setting of a database", "degraded", "setting_changed", "enable_nestloop",
       [](CaseWorld& w) {
         w.after.time_us = 9000;
         w.after.hit = 900;
         w.Setting("enable_nestloop", "on", "off", "role_settings");
       }},
      {"compiling switched on", "degraded", "setting_changed", "jit_above_cost",
       [](CaseWorld& w) {
         w.after.time_us = 60'000;
         w.Setting("jit_above_cost", "100000", "10");
       }},
      {"more calls", "unchanged", "more_calls", "calls in a second grew from 1.7 to 8.3",
       [](CaseWorld& w) { w.after.calls = 500; }},
      {"nothing stored explains it", "degraded", "", "",
       [](CaseWorld& w) {
         w.after.time_us = 6000;
         w.IndexDropped("items_x", "items");
         w.Setting("log_min_messages", "warning", "debug1");
       }},
  };
}

}  // namespace pga::query
