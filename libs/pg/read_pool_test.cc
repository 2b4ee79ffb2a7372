#include "libs/pg/read_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "libs/testing/temp_postgres.h"
#include "libs/testing/wait_until.h"

namespace pga::pg {
namespace {

using ::testing::ElementsAre;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(20);
}

class ReadPoolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto url = testing::SharedPostgres()->CreateFreshDatabase("readpool");
    ASSERT_TRUE(url.ok()) << url.status();
    url_ = *url;
    auto pool = ReadPool::Create({.url = *url, .application_name = "reads", .size = 2});
    ASSERT_TRUE(pool.ok()) << pool.status();
    pool_ = *std::move(pool);
    auto other = Pool::Create({.url = *url, .application_name = "watch"});
    ASSERT_TRUE(other.ok()) << other.status();
    other_ = *std::move(other);
  }
  // Sessions of the pool that run a statement now.
  int64_t Active() {
    auto result = other_->Exec(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'reads' AND "
        "state = 'active'",
        {}, Soon());
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? (*result)[0].Int64(0) : -1;
  }
  absl::Status Sleep(const CallLimit& limit) {
    return pool_->Read(limit, [](ReadTransaction& tx) {
      return tx.Query("SELECT pg_sleep(60)", {}, [](const BinaryRow&) { return absl::OkStatus(); });
    });
  }
  std::string url_;
  std::unique_ptr<ReadPool> pool_;
  std::unique_ptr<Pool> other_;
};

TEST_F(ReadPoolTest, ValuesOfEveryTypeArriveInBinary) {
  int rows = 0;
  const absl::Status done = pool_->Read(Soon(), [&](ReadTransaction& tx) {
    return tx.Query(
        "SELECT 5::int2, -6::int4, 7000000000::int8, true, '2026-01-01 00:00:00.000001+00'::timestamptz, 'ä', "
        "$1::int2[], $2::int4[], ARRAY['\\x0001'::bytea, '\\x'::bytea], NULL::int8, '{}'::int4[], "
        "'-infinity'::timestamptz FROM generate_series(1, 3)",
        {"{1,-2}", "{100000}"}, [&](const BinaryRow& row) {
          ++rows;
          EXPECT_EQ(*row.Int(0), 5);
          EXPECT_EQ(*row.Int(1), -6);
          EXPECT_EQ(*row.Int(2), 7000000000);
          EXPECT_EQ(*row.Int(3), 1);
          EXPECT_EQ(*row.UnixMicros(4), 1767225600000001);
          EXPECT_EQ(row.Bytes(5), "ä");
          std::vector<int16_t> shorts;
          EXPECT_TRUE(row.Int16Array(6, &shorts).ok());
          EXPECT_THAT(shorts, ElementsAre(1, -2));
          EXPECT_FALSE(row.Int16Array(7, &shorts).ok());
          std::vector<int32_t> ints;
          EXPECT_TRUE(row.Int32Array(7, &ints).ok());
          EXPECT_THAT(ints, ElementsAre(100000));
          std::vector<std::string_view> bytes;
          EXPECT_TRUE(row.BytesArray(8, &bytes).ok());
          EXPECT_THAT(bytes, ElementsAre(std::string_view("\0\1", 2), ""));
          EXPECT_TRUE(row.IsNull(9));
          EXPECT_TRUE(row.Int32Array(10, &ints).ok());
          EXPECT_TRUE(ints.empty());
          EXPECT_EQ(*row.UnixMicros(11), INT64_MIN);
          EXPECT_FALSE(row.Int(5).ok() && row.Bytes(5).size() == 3);
          return absl::OkStatus();
        });
  });
  EXPECT_TRUE(done.ok()) << done;
  EXPECT_EQ(rows, 3);
}

TEST_F(ReadPoolTest, StatementsOfAReadSeeOneState) {
  ASSERT_TRUE(other_->Exec("CREATE TABLE t AS SELECT 1 AS a", {}, Soon()).ok());
  std::vector<int64_t> counts;
  const absl::Status done = pool_->Read(Soon(), [&](ReadTransaction& tx) {
    for (int i = 0; i < 2; ++i) {
      absl::Status status = tx.Query("SELECT count(*) FROM t", {}, [&](const BinaryRow& row) {
        counts.push_back(*row.Int(0));
        return absl::OkStatus();
      });
      if (!status.ok()) return status;
      EXPECT_TRUE(other_->Exec("INSERT INTO t VALUES (2)", {}, Soon()).ok());
    }
    return absl::OkStatus();
  });
  EXPECT_TRUE(done.ok()) << done;
  EXPECT_THAT(counts, ElementsAre(1, 1));
}

TEST_F(ReadPoolTest, ACallerThatGoesStopsTheStatementOnTheServer) {
  std::atomic<bool> gone = false;
  absl::Status status;
  std::thread caller([&] { status = Sleep({Soon(), [&] { return gone.load(); }}); });
  const clock::SteadyTime give_up = Soon();
  while (Active() == 0 && clock::SteadyNow() < give_up) std::this_thread::yield();
  EXPECT_EQ(Active(), 1);
  const clock::SteadyTime since = clock::SteadyNow();
  gone = true;
  caller.join();
  EXPECT_LT(clock::SteadyNow() - since, absl::Seconds(5));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(Active(), 0);
}

TEST_F(ReadPoolTest, TheDeadlineStopsTheStatementOnTheServer) {
  const absl::Status status = Sleep(clock::SteadyNow() + absl::Milliseconds(300));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_EQ(Active(), 0);
}

TEST_F(ReadPoolTest, ASinkThatFailsEndsAnEndlessAnswer) {
  const absl::Status status = pool_->Read(Soon(), [&](ReadTransaction& tx) {
    return tx.Query("SELECT generate_series(1, 1000000000000)", {},
                    [](const BinaryRow&) { return absl::DataLossError("enough"); });
  });
  EXPECT_EQ(status, absl::DataLossError("enough"));
  EXPECT_EQ(Active(), 0);
  // The connection serves the next read.
  EXPECT_TRUE(pool_
                  ->Read(Soon(),
                         [](ReadTransaction& tx) {
                           return tx.Query("SELECT 1", {}, [](const BinaryRow&) { return absl::OkStatus(); });
                         })
                  .ok());
}

TEST_F(ReadPoolTest, ReadsBeyondTheBoundWaitAndMayGoMeanwhile) {
  std::atomic<bool> gone = false;
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] { EXPECT_TRUE(absl::IsCancelled(Sleep({Soon(), [&] { return gone.load(); }}))); });
  }
  const clock::SteadyTime give_up = Soon();
  while (Active() < 2 && clock::SteadyNow() < give_up) std::this_thread::yield();
  EXPECT_TRUE(absl::IsResourceExhausted(Sleep(clock::SteadyNow() + absl::Milliseconds(100))));
  EXPECT_TRUE(absl::IsCancelled(Sleep({Soon(), [] { return true; }})));
  gone = true;
  for (std::thread& caller : callers) caller.join();
}

TEST_F(ReadPoolTest, WideReadsLeaveAConnectionToNarrowOnes) {
  std::atomic<bool> gone = false;
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      EXPECT_TRUE(
          absl::IsCancelled(pool_->Read({Soon(), [&] { return gone.load(); }}, Width::kWide, [](ReadTransaction& tx) {
            return tx.Query("SELECT pg_sleep(60)", {}, [](const BinaryRow&) { return absl::OkStatus(); });
          })));
    });
  }
  const clock::SteadyTime give_up = Soon();
  while (Active() < 1 && clock::SteadyNow() < give_up) std::this_thread::yield();
  const auto nothing = [](ReadTransaction&) { return absl::OkStatus(); };
  EXPECT_TRUE(pool_->Read(Soon(), nothing).ok());
  EXPECT_EQ(Active(), 1);
  // Those that wait may go, or run out of time, and leave the turn to others.
  EXPECT_TRUE(
      absl::IsResourceExhausted(pool_->Read(clock::SteadyNow() + absl::Milliseconds(50), Width::kWide, nothing)));
  EXPECT_TRUE(absl::IsCancelled(pool_->Read({Soon(), [] { return true; }}, Width::kWide, nothing)));
  gone = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(pool_->Read(Soon(), Width::kWide, nothing).ok());
}

// One who asks for much, and much at once, does not make others wait until all of it is done.
TEST_F(ReadPoolTest, CallersTakeTurns) {
  const int processors = std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
  auto made = ReadPool::Create({.url = url_, .application_name = "reads", .size = processors + 3});
  ASSERT_TRUE(made.ok()) << made.status();
  ReadPool& pool = **made;
  std::atomic<bool> gone = false;
  std::atomic<int> begun = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < processors + 4; ++i) {
    callers.emplace_back([&] {
      const CallLimit limit(
          Soon(), [&] { return gone.load(); }, "greedy");
      EXPECT_TRUE(absl::IsCancelled(pool.Read(limit, Width::kWide, [&](ReadTransaction& tx) {
        ++begun;
        return tx.Query("SELECT pg_sleep(60)", {}, [](const BinaryRow&) { return absl::OkStatus(); });
      })));
    });
  }
  ASSERT_TRUE(testing::WaitUntil([&] { return Active() == processors; }));
  const auto ask = [&](const char* caller) {
    return pool.Read(CallLimit(Soon(), nullptr, caller), Width::kWide, [&](ReadTransaction&) {
      EXPECT_EQ(begun, processors) << "a further read of the greedy one came first";
      return absl::OkStatus();
    });
  };
  EXPECT_TRUE(ask("modest").ok());
  EXPECT_TRUE(ask("other").ok());
  gone = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(
      pool.Read(CallLimit(Soon(), nullptr, "greedy"), Width::kWide, [](ReadTransaction&) { return absl::OkStatus(); })
          .ok());
}

// Who asks beside one who asks for much finds half of the turns free, and not only until the next wide read of that
// one.
TEST_F(ReadPoolTest, OneOfSeveralCallersHasHalfOfTheTurns) {
  const int processors = std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
  auto made = ReadPool::Create({.url = url_, .application_name = "reads", .size = processors + 3});
  ASSERT_TRUE(made.ok()) << made.status();
  ReadPool& pool = **made;
  const auto nothing = [](ReadTransaction&) { return absl::OkStatus(); };
  const auto ask = [&] { return pool.Read(CallLimit(Soon(), nullptr, "modest"), Width::kNarrow, nothing).ok(); };
  ASSERT_TRUE(ask());
  std::atomic<bool> gone = false;
  int64_t most = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < processors + 4; ++i) {
    callers.emplace_back([&] {
      const CallLimit limit(
          Soon(), [&] { return gone.load(); }, "greedy");
      EXPECT_TRUE(absl::IsCancelled(pool.Read(limit, Width::kWide, [&](ReadTransaction& tx) {
        return tx.Together(processors, [](ReadTransaction& own, size_t, size_t) {
          return own.Query("SELECT pg_sleep(60)", {}, [](const BinaryRow&) { return absl::OkStatus(); });
        });
      })));
    });
  }
  ASSERT_TRUE(testing::WaitUntil([&] {
    most = std::max(most, Active());
    return ask() && Active() == processors / 2;
  }));
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(ask());
    most = std::max(most, Active());
  }
  EXPECT_EQ(most, processors / 2);
  // Alone it has them all.
  EXPECT_TRUE(testing::WaitUntil([&] { return Active() == processors; }));
  gone = true;
  for (std::thread& caller : callers) caller.join();
}

TEST_F(ReadPoolTest, WideReadsOfAPoolOfOneRunToo) {
  auto one = ReadPool::Create({.url = url_, .size = 1});
  ASSERT_TRUE(one.ok()) << one.status();
  std::atomic<int> running = 0, most = 0, done = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      EXPECT_TRUE((*one)
                      ->Read(Soon(), Width::kWide,
                             [&](ReadTransaction&) {
                               most = std::max(most.load(), ++running);
                               --running;
                               ++done;
                               return absl::OkStatus();
                             })
                      .ok());
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(done, 4);
  EXPECT_EQ(most, 1);
}

TEST_F(ReadPoolTest, WorkersSeeWhatTheirReadSees) {
  auto pool = ReadPool::Create({.url = url_, .application_name = "reads", .size = 4});
  ASSERT_TRUE(pool.ok()) << pool.status();
  ASSERT_TRUE(other_->Exec("CREATE TABLE seen (id int)", {}, Soon()).ok());
  std::vector<int64_t> found(2, -1);
  size_t workers = 0;
  const absl::Status done = (*pool)->Read(Soon(), Width::kWide, [&](ReadTransaction& tx) -> absl::Status {
    const auto count = [](ReadTransaction& of, int64_t* into) {
      return of.Query("SELECT count(*) FROM seen", {}, [into](const BinaryRow& row) {
        *into = row.Int(0).value_or(-1);
        return absl::OkStatus();
      });
    };
    // A snapshot is taken by the first statement.
    if (absl::Status status = count(tx, &found[0]); !status.ok()) return status;
    EXPECT_TRUE(other_->Exec("INSERT INTO seen VALUES (1)", {}, Soon()).ok());
    return tx.Together(2, [&](ReadTransaction& own, size_t worker, size_t of) {
      if (worker == 0) workers = of;
      return count(own, &found[worker]);
    });
  });
  ASSERT_TRUE(done.ok()) << done;
  EXPECT_EQ(workers, 2U);
  EXPECT_THAT(found, ElementsAre(0, 0));
}

TEST_F(ReadPoolTest, AReadThatFindsThePoolBusyDoesAllByItself) {
  // Of two connections one is for wide reads.
  size_t workers = 0;
  const auto alone = [&](ReadTransaction&, size_t, size_t of) {
    workers = of;
    return absl::OkStatus();
  };
  EXPECT_TRUE(pool_->Read(Soon(), Width::kWide, [&](ReadTransaction& tx) { return tx.Together(4, alone); }).ok());
  EXPECT_EQ(workers, 1U);
}

TEST_F(ReadPoolTest, TheErrorOfAnyWorkerIsThatOfTheRead) {
  auto pool = ReadPool::Create({.url = url_, .application_name = "reads", .size = 4});
  ASSERT_TRUE(pool.ok()) << pool.status();
  for (const size_t failing : {size_t{0}, size_t{1}}) {
    const absl::Status done = (*pool)->Read(Soon(), Width::kWide, [&](ReadTransaction& tx) {
      return tx.Together(2, [&](ReadTransaction& own, size_t worker, size_t workers) {
        EXPECT_EQ(workers, 2U);
        return own.Query(worker == failing ? "SELECT * FROM missing" : "SELECT 1", {},
                         [](const BinaryRow&) { return absl::OkStatus(); });
      });
    });
    EXPECT_TRUE(absl::IsNotFound(done)) << done;
  }
  // Nobody is left behind: a caller that goes ends the statements of all.
  std::atomic<bool> gone = false;
  std::thread caller([&] {
    EXPECT_TRUE(absl::IsCancelled((*pool)->Read({Soon(), [&] { return gone.load(); }}, Width::kWide, [](auto& tx) {
      return tx.Together(2, [](ReadTransaction& own, size_t, size_t) {
        return own.Query("SELECT pg_sleep(60)", {}, [](const BinaryRow&) { return absl::OkStatus(); });
      });
    })));
  });
  const clock::SteadyTime give_up = Soon();
  while (Active() < 2 && clock::SteadyNow() < give_up) std::this_thread::yield();
  EXPECT_EQ(Active(), 2);
  gone = true;
  caller.join();
  while (Active() > 0 && clock::SteadyNow() < give_up) std::this_thread::yield();
  EXPECT_EQ(Active(), 0);
}

TEST_F(ReadPoolTest, ConnectionsThatDiedWhileIdleCostNoRead) {
  auto pool = ReadPool::Create({.url = url_, .application_name = "reads", .size = 4});
  ASSERT_TRUE(pool.ok()) << pool.status();
  const auto nothing = [](ReadTransaction&, size_t, size_t) { return absl::OkStatus(); };
  const auto read = [&] {
    return (*pool)->Read(Soon(), Width::kWide, [&](ReadTransaction& tx) { return tx.Together(2, nothing); });
  };
  // Two connections, one inside the other's read.
  ASSERT_TRUE(read().ok());
  auto ended = other_->Exec(
      "SELECT count(pg_terminate_backend(pid, 20000) OR NULL) FROM pg_stat_activity WHERE datname = current_database() "
      "AND application_name = 'reads'",
      {}, Soon());
  ASSERT_TRUE(ended.ok()) << ended.status();
  ASSERT_EQ((*ended)[0].Int64(0), 2);
  const absl::Status after = read();
  EXPECT_TRUE(after.ok()) << after;
}

TEST_F(ReadPoolTest, ErrorsOfTheServerAreTold) {
  const absl::Status status = pool_->Read(Soon(), [](ReadTransaction& tx) {
    return tx.Query("SELECT * FROM missing", {}, [](const BinaryRow&) { return absl::OkStatus(); });
  });
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
}

}  // namespace
}  // namespace pga::pg
