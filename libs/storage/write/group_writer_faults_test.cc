// Errors of the server, lost connections, unknown commits.
#include "libs/storage/write/group_writer_testing.h"

namespace pga::storage {
namespace {

// Errors of the server that pass, made by a trigger.
class PassingErrorTest : public GroupWriterTest {
 protected:
  void RaiseOnInsert(const std::string& sqlstate, int times) {
    db_.Exec(
        absl::StrCat("CREATE SEQUENCE IF NOT EXISTS faults; GRANT ALL ON SEQUENCE faults TO PUBLIC;"
                     "CREATE OR REPLACE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
                     "nextval('public.faults') <= ",
                     times, " THEN RAISE 'made to fail' USING ERRCODE = '", sqlstate,
                     "'; END IF; RETURN NEW; END $$;"
                     "CREATE OR REPLACE TRIGGER fault BEFORE INSERT ON metrics.frame FOR EACH ROW EXECUTE "
                     "FUNCTION fault()"));
  }
};

TEST_F(PassingErrorTest, FullDiskIsNotAcknowledgedAndPasses) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  RaiseOnInsert("53100", 1);
  auto batch = a.Next();
  const BatchResult full = WriteOne(*writer, batch);
  EXPECT_EQ(full.outcome, BatchOutcome::kRetry);
  EXPECT_THAT(full.status, status::StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_GE(full.retry_after, absl::Seconds(1));
  EXPECT_EQ(db_.StoredRows(), 0);
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  ExpectExactly(a, 1, 1, 3);
}

TEST_F(PassingErrorTest, SerializationFailuresAndDeadlocksAreRetriedInside) {
  for (const char* sqlstate : {"40001", "40P01", "55P03"}) {
    SCOPED_TRACE(sqlstate);
    StreamMaker a(&db_, absl::StrCat("retry ", sqlstate));
    auto writer = MakeWriter(db_.url());
    db_.Exec("DROP SEQUENCE IF EXISTS faults");
    RaiseOnInsert(sqlstate, 2);
    EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
    EXPECT_EQ(writer->stats().serialization_retries, 2);
    ExpectExactly(a, 1, 1, 3);
  }
}

TEST_F(PassingErrorTest, OtherServerErrorsAreNotPoison) {
  const std::pair<const char*, BatchOutcome> errors[] = {
      {"57014", BatchOutcome::kRetry}, {"57P01", BatchOutcome::kRetry}, {"58030", BatchOutcome::kRetry},
      {"53200", BatchOutcome::kRetry}, {"55P03", BatchOutcome::kRetry}, {"XX001", BatchOutcome::kRetry},
      {"42501", BatchOutcome::kSchema}};
  for (const auto& [sqlstate, outcome] : errors) {
    SCOPED_TRACE(sqlstate);
    StreamMaker a(&db_, absl::StrCat("other ", sqlstate)), b(&db_, absl::StrCat("another ", sqlstate));
    auto writer = MakeWriter(db_.url());
    db_.Exec("DROP SEQUENCE IF EXISTS faults");
    RaiseOnInsert(sqlstate, 100);
    auto batch = a.Next();
    auto other = b.Next();
    for (int i = 0; i <= kMaxFailuresAlone; ++i) {
      EXPECT_THAT(Outcomes(writer->WriteGroup({batch.get(), other.get()})), ElementsAre(outcome, outcome));
    }
    db_.Exec("DROP TRIGGER fault ON metrics.frame");
    EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  }
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.quarantine"), 0);
}

// One batch of a group, of seven rows, fails each time; how, is the parameter: an SQLSTATE, or "skip" = its rows are
// not stored and nothing is said.
class LoneFailureTest : public GroupWriterTest, public ::testing::WithParamInterface<std::string> {
 protected:
  void MakeFault() {
    const std::string what = GetParam() == "skip"
                                 ? std::string("RETURN NULL")
                                 : absl::StrCat("RAISE 'made to fail' USING ERRCODE = '", GetParam(), "'");
    db_.Exec(absl::StrCat("CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.rows = 7 THEN ",
                          what,
                          "; END IF; RETURN NEW; END $$; CREATE TRIGGER fault BEFORE INSERT ON metrics.frame FOR EACH "
                          "ROW EXECUTE FUNCTION fault()"));
  }
};

TEST_P(LoneFailureTest, OthersAreStoredAndItGoesAsideAfterSomeAttempts) {
  StreamMaker a(&db_, "a"), b(&db_, "b"), c(&db_, "c");
  auto writer = MakeWriter(db_.url());
  MakeFault();
  auto one = a.Next();
  auto bad = b.Next(7);
  auto three = c.Next();
  for (int attempt = 1; attempt < kMaxFailuresAlone; ++attempt) {
    const auto results = writer->WriteGroup({one.get(), bad.get(), three.get()});
    const BatchOutcome good = attempt == 1 ? BatchOutcome::kCommitted : BatchOutcome::kDuplicate;
    EXPECT_THAT(Outcomes(results), ElementsAre(good, BatchOutcome::kRetry, good)) << attempt;
    EXPECT_TRUE(results[1].poison);
    EXPECT_FALSE(results[0].poison);
    EXPECT_EQ(Watermark(b), 0);
  }
  const BatchResult aside = WriteOne(*writer, bad);
  EXPECT_EQ(aside.outcome, BatchOutcome::kQuarantined);
  EXPECT_TRUE(aside.poison);
  EXPECT_EQ(db_.Text("SELECT reason || ' ' || octet_length(payload) FROM metrics.quarantine"),
            absl::StrCat("refused ", bad->payload.size()));
  EXPECT_EQ(Watermark(b), 1);
  EXPECT_EQ(WriteOne(*writer, b.Next()).outcome, BatchOutcome::kCommitted);
  ExpectExactly(a, 1, 1, 3);
  ExpectExactly(b, 2, 2, 3);
  ExpectExactly(c, 1, 1, 3);
  EXPECT_EQ(db_.StoredRows(), 9);
}

// The database takes it after all: the count begins anew.
TEST_P(LoneFailureTest, PassingFailureLeavesNothingBehind) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  MakeFault();
  auto batch = a.Next(7);
  for (int i = 1; i < kMaxFailuresAlone; ++i) EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kRetry);
  db_.Exec("DROP TRIGGER fault ON metrics.frame");
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.quarantine"), 0);
  ExpectExactly(a, 1, 1, 7);
}

INSTANTIATE_TEST_SUITE_P(Errors, LoneFailureTest,
                         ::testing::Values("XX000", "0A000", "42804", "P0001", "55000", "skip"),
                         [](const auto& test) { return test.param; });

// A server whose messages are in German: what an error means does not depend on its words.
TEST(GroupWriterLanguage, OtherLanguageOfMessagesChangesNothing) {
  auto server = testing::TempPostgres::Start({.messages = "de_DE"});
  if (server.status().code() == absl::StatusCode::kNotFound) GTEST_SKIP() << server.status();
  ASSERT_THAT(server.status(), status::IsOk());
  WriterDatabase db(server->get());
  StreamMaker a(&db, "a"), b(&db, "b");
  auto writer = MakeWriter(db.url());
  auto poison = b.NextPoison();
  auto one = a.Next();
  EXPECT_THAT(Outcomes(writer->WriteGroup({one.get(), poison.get()})),
              ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kQuarantined));
  // The test is one of another language only if the server speaks it.
  EXPECT_THAT(db.Text("SELECT message FROM metrics.quarantine"), HasSubstr("au\xc3\x9f"
                                                                           "erhalb"));
  // Locked until the writer gives up: passes, however often.
  auto two = a.Next();
  db.Exec("BEGIN; LOCK TABLE metrics.frame IN SHARE MODE");
  GroupWriterOptions options;
  options.url = db.url();
  options.lookup_timeout = absl::Milliseconds(20);  // bounds the wait for locks too
  auto hasty = *GroupWriter::Create(std::move(options));
  for (int i = 0; i <= kMaxFailuresAlone; ++i) EXPECT_EQ(WriteOne(*hasty, two).outcome, BatchOutcome::kRetry);
  db.Exec("ROLLBACK");
  EXPECT_EQ(WriteOne(*hasty, two).outcome, BatchOutcome::kCommitted);
  EXPECT_EQ(db.Number("SELECT count(*) FROM metrics.quarantine"), 1);
}

// The writer's backend is killed at each moment; nothing is lost and nothing stored twice.
class KilledBackendTest : public GroupWriterTest, public ::testing::WithParamInterface<WritePoint> {};

TEST_P(KilledBackendTest, BatchIsStoredOnce) {
  StreamMaker a(&db_, "a");
  std::unique_ptr<GroupWriter> writer;
  bool armed = false;
  writer = MakeWriter(db_.url(), [&](WritePoint point) {
    if (!armed || point != GetParam()) return;
    armed = false;
    const int pid = writer->backend_pid();
    db_.Exec(absl::StrCat("SELECT pg_terminate_backend(", pid, ", 5000)"));
  });
  EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
  armed = true;
  auto batch = a.Next(300);
  const BatchOutcome outcome = WriteOne(*writer, batch).outcome;
  EXPECT_FALSE(armed);
  if (GetParam() == WritePoint::kBeforeCommit) {
    // COMMIT went to a connection that was gone: looked up, found undone, and left to the collector.
    EXPECT_EQ(outcome, BatchOutcome::kRetry);
    EXPECT_EQ(writer->stats().unknown_commits, 1);
    EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  } else {
    EXPECT_EQ(outcome, BatchOutcome::kCommitted);
  }
  EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
  ExpectExactly(a, 1, 1, 3);
  ExpectExactly(a, 2, 2, 300);
  ExpectExactly(a, 3, 3, 3);
  EXPECT_EQ(Watermark(a), 3);
}

std::string PointName(const ::testing::TestParamInfo<WritePoint>& test) {
  static constexpr const char* kNames[] = {"Connected", "BeforeBegin",  "Begun",    "Locked",
                                           "MidCopy",   "BeforeCommit", "Committed"};
  return kNames[static_cast<size_t>(test.param)];
}

INSTANTIATE_TEST_SUITE_P(Points, KilledBackendTest,
                         ::testing::Values(WritePoint::kBegun, WritePoint::kLocked, WritePoint::kMidCopy,
                                           WritePoint::kBeforeCommit, WritePoint::kCommitted),
                         PointName);

class UnknownCommitTest : public GroupWriterTest {
 protected:
  LossyProxy proxy_{testing::SharedPostgres()->socket_dir() + "/.s.PGSQL." +
                    absl::StrCat(testing::SharedPostgres()->port())};

  // A writer through the proxy. Before its first COMMIT `hold` runs on the writer's thread, and then `act` on breaker_.
  std::unique_ptr<GroupWriter> MakeBroken(std::function<void()> hold, std::function<void()> act,
                                          absl::Duration lookup_timeout = absl::Seconds(10)) {
    return MakeWriter(
        proxy_.Url(db_.name()),
        [this, hold = std::move(hold), act = std::move(act)](WritePoint point) {
          if (!armed_ || point != WritePoint::kBeforeCommit) return;
          armed_ = false;
          hold();
          breaker_ = std::thread(act);
        },
        lookup_timeout);
  }
  bool armed_ = true;
  std::thread breaker_;
};

TEST_F(UnknownCommitTest, CommittedButUnanswered) {
  StreamMaker a(&db_, "a"), b(&db_, "b");
  auto writer = MakeBroken([&] { proxy_.HoldReplies(); },
                           [&] {
                             EXPECT_TRUE(Eventually([&] { return Watermark(a) == 1; }));
                             proxy_.DropAll();
                           });
  auto one = a.Next();
  auto two = b.Next();
  const auto results = writer->WriteGroup({one.get(), two.get()});
  breaker_.join();
  EXPECT_THAT(Outcomes(results), ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kCommitted));
  EXPECT_EQ(results[0].last_hash, one->hash);
  EXPECT_EQ(writer->stats().unknown_commits, 1);
  EXPECT_EQ(WriteOne(*writer, one).outcome, BatchOutcome::kDuplicate);
  ExpectExactly(a, 1, 1, 3);
  ExpectExactly(b, 1, 1, 3);
}

TEST_F(UnknownCommitTest, NeverArrived) {
  StreamMaker a(&db_, "a");
  auto writer = MakeBroken([&] { proxy_.HoldRequests(); },
                           [&] {
                             EXPECT_TRUE(proxy_.AwaitHeldRequest("COMMIT"));
                             proxy_.DropAll();
                           });
  auto batch = a.Next();
  const BatchResult result = WriteOne(*writer, batch);
  breaker_.join();
  EXPECT_EQ(result.outcome, BatchOutcome::kRetry);
  EXPECT_EQ(writer->stats().unknown_commits, 1);
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  ExpectExactly(a, 1, 1, 3);
}

// The old backend still lives behind a half-open connection; the look-up waits for its lock until COMMIT gets through.
TEST_F(UnknownCommitTest, DecidedLateByTheOldBackend) {
  StreamMaker a(&db_, "a");
  auto writer =
      MakeBroken([&] { proxy_.HoldRequests(); },
                 [&] {
                   EXPECT_TRUE(proxy_.AwaitHeldRequest("COMMIT"));
                   proxy_.DropClients();
                   EXPECT_TRUE(Eventually([&] {
                     return db_.Number(
                                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE "
                                "'%ingest_watermark%'") > 0;
                   }));
                   proxy_.DeliverRequests();
                 });
  auto batch = a.Next();
  const BatchResult result = WriteOne(*writer, batch);
  breaker_.join();
  EXPECT_EQ(result.outcome, BatchOutcome::kCommitted);
  EXPECT_EQ(result.last_seq, 1);
  ExpectExactly(a, 1, 1, 3);
}

// It does not decide in time: nothing is acknowledged.
TEST_F(UnknownCommitTest, UndecidedIsNotAcknowledged) {
  StreamMaker a(&db_, "a");
  auto writer = MakeBroken([&] { proxy_.HoldRequests(); },
                           [&] {
                             EXPECT_TRUE(proxy_.AwaitHeldRequest("COMMIT"));
                             proxy_.DropClients();
                           },
                           absl::Seconds(1));
  auto batch = a.Next();
  const clock::SteadyTime started = clock::SteadyNow();
  const BatchResult result = WriteOne(*writer, batch);
  breaker_.join();
  EXPECT_EQ(result.outcome, BatchOutcome::kRetry);
  EXPECT_LT(clock::SteadyNow() - started, absl::Seconds(10));
  proxy_.DropAll();
  ASSERT_TRUE(Eventually([&] {
    const BatchOutcome outcome = WriteOne(*writer, batch).outcome;
    return outcome == BatchOutcome::kCommitted || outcome == BatchOutcome::kDuplicate;
  }));
  ExpectExactly(a, 1, 1, 3);
}

// A COMMIT whose wait for a synchronous standby is broken off is not acknowledged, and neither is its repeat until a
// later COMMIT has gone through.
TEST_F(GroupWriterTest, CommitWithoutItsStandbyIsNotAcknowledged) {
  auto server = testing::TempPostgres::Start({.extra_conf = {}});
  ASSERT_THAT(server.status(), status::IsOk());
  WriterDatabase db(server->get());
  StreamMaker a(&db, "a");
  const std::unique_ptr<GroupWriter> writer = MakeWriter(db.url(), nullptr);
  EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
  db.Exec("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
  db.Exec("SELECT pg_reload_conf()");
  // In force once a commit of somebody else waits for the standby.
  std::atomic<bool> seen{false}, ended{false};
  std::thread canary([&] {
    for (int i = 0; !seen; ++i) {
      (void)(*server)->Exec(db.name(),
                            absl::StrCat("/* canary */ INSERT INTO metrics.lease VALUES ('", i, "', 'canary', now())"));
    }
    ended = true;
  });
  const std::string waiting = " FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '/* canary%'";
  EXPECT_TRUE(Eventually([&] { return db.Number("SELECT count(*)" + waiting) > 0; }));
  seen = true;
  EXPECT_TRUE(Eventually([&] {
    db.Number("SELECT count(pg_cancel_backend(pid))" + waiting);
    return ended.load();
  }));
  canary.join();
  auto batch = a.Next();
  std::thread canceller([&, pid = writer->backend_pid()] {
    EXPECT_TRUE(Eventually([&] {
      return db.Number(absl::StrCat("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = ",
                                    pid)) > 0;
    }));
    db.Number(absl::StrCat("SELECT pg_cancel_backend(", pid, ")::int"));
  });
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kRetry);
  canceller.join();
  db.Exec("ALTER SYSTEM RESET synchronous_standby_names");
  db.Exec("SELECT pg_reload_conf()");
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kDuplicate);
  EXPECT_EQ(db.StoredCalls().size(), 6u);
}

// Writers are killed, and the whole server crashes, while batches flow; what was answered as stored is there, once.
TEST_F(GroupWriterTest, AccountHoldsThroughKillsOfBackendsAndServer) {
  auto server = testing::TempPostgres::Start({});
  ASSERT_THAT(server.status(), status::IsOk());
  auto db = std::make_unique<WriterDatabase>(server->get());
  constexpr int kCollectors = 4;
  constexpr int kBatches = 150;
  constexpr int kRows = 20;
  std::vector<std::unique_ptr<StreamMaker>> streams;
  std::vector<std::vector<std::unique_ptr<PreparedBatch>>> batches(kCollectors);
  for (int c = 0; c < kCollectors; ++c) {
    streams.push_back(std::make_unique<StreamMaker>(db.get(), absl::StrCat("c", c)));
    for (int i = 0; i < kBatches; ++i) batches[static_cast<size_t>(c)].push_back(streams.back()->Next(kRows));
  }
  std::atomic<int> finished{0};
  std::atomic<int64_t> steps{0};
  const auto run = [&](size_t first) {
    auto writer = MakeWriter(db->url());
    size_t done[2] = {0, 0};
    const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(90);
    while ((done[0] < kBatches || done[1] < kBatches) && clock::SteadyNow() < deadline) {
      std::vector<const PreparedBatch*> group;
      std::vector<size_t> owner;
      for (size_t c = 0; c < 2; ++c) {
        for (size_t i = done[c]; i < std::min<size_t>(done[c] + 3, kBatches); ++i) {
          group.push_back(batches[first + c][i].get());
          owner.push_back(c);
        }
      }
      const auto results = writer->WriteGroup(group);
      for (size_t i = 0; i < results.size(); ++i) {
        if (results[i].outcome == BatchOutcome::kCommitted || results[i].outcome == BatchOutcome::kDuplicate) {
          done[owner[i]] = std::max(done[owner[i]], static_cast<size_t>(results[i].last_seq));
        }
      }
      ++steps;
    }
    EXPECT_EQ(done[0], kBatches);
    EXPECT_EQ(done[1], kBatches);
    ++finished;
  };
  std::thread one(run, 0), two(run, 2);
  std::minstd_rand random(7);
  int faults = 0;
  while (finished < 2) {
    const int64_t seen = steps;
    Eventually([&] { return steps > seen + 1 || finished == 2; });
    if (++faults % 4 == 0) {
      (*server)->KillServer();
      ASSERT_THAT((*server)->StartServer(), status::IsOk());
    } else {
      (void)(*server)->Exec(db->name(),
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE "
                            "'pga-ingest%'");
    }
  }
  one.join();
  two.join();
  EXPECT_GE(faults, 4);
  const std::map<int64_t, int64_t> stored = db->StoredCalls();
  EXPECT_EQ(stored.size(), static_cast<size_t>(kCollectors * kBatches * kRows));
  for (const auto& [calls, count] : stored) ASSERT_EQ(count, 1) << calls;
  EXPECT_EQ(db->Number("SELECT count(*) FROM metrics.frame"), kCollectors * kBatches);
  EXPECT_EQ(db->Number("SELECT count(*) FROM metrics.ingest_receipt"), kCollectors * kBatches);
}

}  // namespace
}  // namespace pga::storage
