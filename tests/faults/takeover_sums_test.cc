// The arithmetic of takeovers against a server that counts its own work: collectors read by the real delta engine,
// lose what they have not sent, send it late and in any order, and pass the source on at random. Pure code.
//
// PGA_TAKEOVER_ROUNDS repeats it more often (100); PGA_FAULT_SEED repeats one.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/protobuf/text_format.h"
#include "libs/clock/clock.h"
#include "libs/columns/rollup.h"
#include "libs/frame/frame_reader.h"
#include "libs/storage/read/names.h"
#include "libs/storage/takeover/counter_state.h"
#include "libs/testing/settings.h"
#include "services/collector/delta_engine.h"

namespace pga {
namespace {

namespace ingest_v1 = pganalytics::ingest::v1;
using collector::Reading;

constexpr int64_t kSecond = 1'000'000;

pganalytics::catalog::v1::Metric TableMetric(bool identity) {
  pganalytics::catalog::v1::Metric metric;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        name: "table_stats"
        schema_version: 1
        scope: SCOPE_INSTANCE
        interval_factor: 1
        skip_unchanged: true
        reset_column: "since"
        columns { name: "name" type: COLUMN_TYPE_TEXT kind: COLUMN_KIND_LABEL since_schema_version: 1 }
        columns { name: "relid" type: COLUMN_TYPE_INT8 kind: COLUMN_KIND_INFO since_schema_version: 1 }
        columns { name: "inserted" type: COLUMN_TYPE_INT8 kind: COLUMN_KIND_COUNTER since_schema_version: 1 }
        columns { name: "deleted" type: COLUMN_TYPE_INT8 kind: COLUMN_KIND_COUNTER since_schema_version: 1 }
        columns { name: "since" type: COLUMN_TYPE_TIMESTAMPTZ kind: COLUMN_KIND_INFO since_schema_version: 1 }
      )pb",
      &metric));
  if (identity) metric.add_identity("relid");
  return metric;
}

// A server with tables that are written, made, dropped, renamed and reset.
class Server {
 public:
  struct Table {
    std::string name;
    int64_t inserted = 0, deleted = 0, since = 0;
  };

  explicit Server(std::mt19937_64* random) : random_(random) {
    for (int i = 0; i < 4; ++i) Make();
  }
  int64_t Below(int64_t n) { return static_cast<int64_t>((*random_)() % static_cast<uint64_t>(n)); }

  void Work(bool names, bool resets, int64_t now_us) {
    for (auto& [relid, table] : tables) {
      if (Below(3) == 0) continue;
      const int64_t inserted = Below(50), deleted = Below(5);
      table.inserted += inserted;
      table.deleted += deleted;
      done_inserted[relid] += inserted;
      done_deleted[relid] += deleted;
    }
    if (names && Below(6) == 0) Make();
    if (names && Below(8) == 0 && tables.size() > 1) tables.erase(std::next(tables.begin(), Below(2)));
    if (names && Below(8) == 0)
      std::next(tables.begin(), Below(tables.size()))->second.name = absl::StrCat("r", ++made_);
    if (resets && Below(10) == 0) {
      Table& table = std::next(tables.begin(), Below(tables.size()))->second;
      table.inserted = table.deleted = 0;
      table.since = now_us;
    }
    if (resets && Below(20) == 0) {
      // A crash: statistics begin anew.
      for (auto& [relid, table] : tables) table.inserted = table.deleted = 0;
      epoch.checkpointer_start_us = now_us;
      epoch.statistics_reset_us = now_us;
    }
  }

  Reading Read(const collector::MetricShape& shape) {
    Reading reading(shape);
    for (const auto& [relid, table] : tables) {
      reading.AddRow();
      reading.SetText(0, table.name);
      reading.SetInt(1, relid);
      reading.SetInt(2, table.inserted);
      reading.SetInt(3, table.deleted);
      if (table.since != 0) reading.SetInt(4, table.since);
    }
    return reading;
  }

  std::map<int64_t, Table> tables;
  // All that was ever done to a table.
  std::map<int64_t, int64_t> done_inserted, done_deleted;
  collector::Epoch epoch = {
      .system_identifier = 7, .timeline = 1, .checkpointer_start_us = 5, .statistics_reset_us = 6};

 private:
  void Make() {
    const int64_t relid = ++made_;
    tables[relid] = {.name = absl::StrCat("t", relid)};
  }
  std::mt19937_64* const random_;
  int64_t made_ = 0;
};

struct Sent {
  int64_t epoch = 0;
  ingest_v1::Frame frame;
};

// A collector: a baseline, and what it has not delivered.
struct Reader {
  int64_t owner_epoch = 0;
  std::shared_ptr<const collector::Baseline> baseline;
  std::deque<Sent> spool;

  void Read(Server* server, const collector::MetricShape& shape, int64_t now_us) {
    collector::Observation observation;
    observation.collected_at_us = now_us;
    observation.epoch = server->epoch;
    observation.owner_epoch = owner_epoch;
    auto step = collector::Advance(baseline.get(), server->Read(shape), observation, collector::DeltaOptions());
    ASSERT_TRUE(step.ok()) << step.status();
    for (ingest_v1::Frame& frame : step->frames) {
      frame.set_source_id(std::string(16, 's'));
      spool.push_back({owner_epoch, std::move(frame)});
    }
    baseline = step->next;
  }
};

// What is stored, and the rules of a takeover.
class Store {
 public:
  explicit Store(const pganalytics::catalog::v1::Metric* metric) : metric_(metric) {}

  void Raise(int64_t epoch) {
    epoch_ = epoch;
    opened_ = false;
    carried_.clear();
    if (keyframe_ == nullptr) return;
    const auto rows_of = [&](const ingest_v1::Frame& frame) {
      columns::FrameBytes bytes;
      bytes.info.start_us = frame.interval_start_us();
      bytes.info.end_us = frame.collected_at_us();
      bytes.info.rows = frame.row_count();
      for (const std::string& chunk : frame.columns()) bytes.chunks.push_back(chunk);
      bytes.row_flags = frame.row_flags();
      columns::RowSet rows;
      EXPECT_TRUE(columns::OpenFrame(columns::RawShape(storage::ColumnsOf(*metric_), 0), bytes, &rows).ok());
      return rows;
    };
    storage::CounterState state(metric_);
    std::vector<columns::RowSet> deltas;
    for (const ingest_v1::Frame& frame : deltas_) deltas.push_back(rows_of(frame));
    // Nothing follows from their order.
    std::shuffle(deltas.begin(), deltas.end(), std::mt19937(1));
    state.Apply({rows_of(*keyframe_)}, deltas, 0, keyframe_->collected_at_us());
    carried_ = state.Serialize();
    carried_until_ = state.newest_us();
    run_ = keyframe_->run();
  }

  void Take(const Sent& sent) {
    if (sent.epoch != epoch_) {
      ++superseded;
      return;
    }
    frame::FrameReader reader;
    ASSERT_TRUE(reader.Open(sent.frame, *metric_).ok());
    if (sent.frame.kind() == ingest_v1::FRAME_KIND_DELTA) {
      deltas_.push_back(sent.frame);
      return;
    }
    if (sent.frame.run().opening() && !opened_ && !carried_.empty()) {
      storage::CounterState state(metric_);
      ASSERT_TRUE(state.Parse(carried_, carried_until_).ok());
      auto increase = state.IncreaseTo(reader, run_);
      ASSERT_TRUE(increase.ok()) << increase.status();
      for (const ingest_v1::Frame& frame : *increase) {
        frame::FrameReader check;
        ASSERT_TRUE(check.Open(frame, *metric_).ok()) << check.Open(frame, *metric_);
        deltas_.push_back(frame);
      }
    }
    opened_ = opened_ || sent.frame.run().opening();
    if (first_keyframe == nullptr) first_keyframe = std::make_unique<ingest_v1::Frame>(sent.frame);
    if (keyframe_ == nullptr || keyframe_->collected_at_us() < sent.frame.collected_at_us()) {
      keyframe_ = std::make_unique<ingest_v1::Frame>(sent.frame);
    }
  }

  // Sums of increases by relid, and which had a flag or a counter that is NULL.
  void Sum(std::map<int64_t, int64_t>* inserted, std::map<int64_t, int64_t>* deleted, std::set<int64_t>* flagged) {
    for (const ingest_v1::Frame& frame : deltas_) {
      frame::FrameReader reader;
      ASSERT_TRUE(reader.Open(frame, *metric_).ok());
      for (int row = 0; row < reader.row_count(); ++row) {
        const int flags = reader.RowFlags(row);
        if ((flags & ingest_v1::FRAME_FLAG_GONE) != 0) continue;
        const int64_t relid = reader.column(1).Int(row);
        if (flags != 0 || reader.column(2).IsNull(row)) flagged->insert(relid);
        if (!reader.column(2).IsNull(row)) (*inserted)[relid] += reader.column(2).Int(row);
        if (!reader.column(3).IsNull(row)) (*deleted)[relid] += reader.column(3).Int(row);
      }
    }
  }

  std::unique_ptr<ingest_v1::Frame> first_keyframe;
  int64_t superseded = 0;

 private:
  const pganalytics::catalog::v1::Metric* const metric_;
  int64_t epoch_ = 0;
  bool opened_ = false;
  std::string carried_;
  int64_t carried_until_ = 0;
  ingest_v1::CounterRun run_;
  std::vector<ingest_v1::Frame> deltas_;
  std::unique_ptr<ingest_v1::Frame> keyframe_;
};

struct Outcome {
  int64_t exact = 0, flagged = 0, superseded = 0, takeovers = 0;
};

void Round(uint64_t seed, bool names, bool resets, Outcome* outcome) {
  SCOPED_TRACE(absl::StrCat("PGA_FAULT_SEED=", seed, names ? " names" : "", resets ? " resets" : ""));
  std::mt19937_64 random(seed);
  const pganalytics::catalog::v1::Metric metric = TableMetric(names);
  const collector::MetricShape shape(metric);
  Server server(&random);
  Store store(&metric);
  std::vector<Reader> readers(3);
  size_t owner = 0;
  int64_t epoch = 0;
  int64_t now_us = int64_t{1'800'000'000} * kSecond;
  const auto take_over = [&](size_t next) {
    owner = next;
    readers[owner].owner_epoch = ++epoch;
    store.Raise(epoch);
  };
  take_over(0);
  readers[0].Read(&server, shape, now_us);
  store.Take(readers[0].spool.front());
  readers[0].spool.clear();
  const std::map<int64_t, int64_t> before_inserted = server.done_inserted, before_deleted = server.done_deleted;
  for (int step = 0; step < 60; ++step) {
    now_us += 60 * kSecond;
    server.Work(names, resets, now_us);
    for (size_t i = 0; i < readers.size(); ++i) {
      // A former owner may not know it yet.
      if (i == owner || (readers[i].baseline != nullptr && server.Below(4) == 0)) {
        readers[i].Read(&server, shape, now_us + static_cast<int64_t>(i));
      }
    }
    for (Reader& reader : readers) {
      std::shuffle(reader.spool.begin(), reader.spool.end(), random);
      while (!reader.spool.empty() && server.Below(3) != 0) {
        store.Take(reader.spool.front());
        reader.spool.pop_front();
      }
    }
    if (server.Below(8) == 0) {
      const auto next = static_cast<size_t>(server.Below(3));
      // Its disk was lost.
      if (server.Below(3) == 0) readers[next] = Reader();
      take_over(next);
      ++outcome->takeovers;
      readers[owner].Read(&server, shape, now_us + kSecond);
    }
  }
  readers[owner].Read(&server, shape, now_us + 2 * kSecond);
  for (Reader& reader : readers) {
    for (const Sent& sent : reader.spool) store.Take(sent);
  }

  std::map<int64_t, int64_t> inserted, deleted;
  std::set<int64_t> flagged;
  store.Sum(&inserted, &deleted, &flagged);
  for (const auto& [relid, done] : server.done_inserted) {
    const auto started = [relid = relid](const std::map<int64_t, int64_t>& of) {
      const auto found = of.find(relid);
      return found == of.end() ? int64_t{0} : found->second;
    };
    const int64_t true_inserted = done - started(before_inserted);
    const int64_t true_deleted = server.done_deleted[relid] - started(before_deleted);
    EXPECT_LE(inserted[relid], true_inserted) << relid;
    EXPECT_LE(deleted[relid], true_deleted) << relid;
    if (flagged.contains(relid) || resets || !server.tables.contains(relid)) {
      outcome->flagged += flagged.contains(relid);
      continue;
    }
    EXPECT_EQ(inserted[relid], true_inserted) << relid;
    EXPECT_EQ(deleted[relid], true_deleted) << relid;
    ++outcome->exact;
  }
  outcome->superseded += store.superseded;
}

TEST(TakeoverSums, AreExactWhereNothingIsFlaggedAndNeverTooHigh) {
  const int64_t rounds = testing::Setting("PGA_TAKEOVER_ROUNDS", 100);
  const int64_t seed = testing::Setting("PGA_FAULT_SEED", absl::ToUnixMillis(clock::WallNow()) % 1'000'000'000);
  Outcome outcome;
  for (int64_t round = 0; round < rounds && !::testing::Test::HasFailure(); ++round) {
    for (const bool names : {false, true}) {
      for (const bool resets : {false, true}) Round(static_cast<uint64_t>(seed + round), names, resets, &outcome);
    }
  }
  std::printf("%ld takeovers, %ld frames superseded: %ld tables exact, %ld flagged\n",
              static_cast<long>(outcome.takeovers), static_cast<long>(outcome.superseded),
              static_cast<long>(outcome.exact), static_cast<long>(outcome.flagged));
  EXPECT_GT(outcome.takeovers, rounds);
  EXPECT_GT(outcome.superseded, rounds);
  EXPECT_GT(outcome.exact, rounds);
}

}  // namespace
}  // namespace pga
