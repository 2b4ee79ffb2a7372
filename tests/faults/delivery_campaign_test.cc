// Delivery as a whole under faults: real collectors' spools and clients, two real ingest processes, a real server, and
// proxies between them. Every crash point of docs/delivery.md that can come while they run is made to come, by its
// number, with each action: the process is killed there, delayed there, or the operation fails there. Processes,
// backends and the server are killed besides, connections cut, frozen and robbed of their answers, the disk of the
// server is full, transactions fail. The account is in journals that only the collectors write: what a spool accepted
// is stored exactly once, what it refused is not, and nothing else is.
//
// PGA_DELIVERY_SECONDS is the length (10), PGA_DELIVERY_MUTANTS how many of the planted faults are looked for first
// (1, which one the seed decides; all 6 in `make campaign`), PGA_FAULT_SEED repeats one.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/storage/write/writer_testing.h"
#include "libs/testing/fault_proxy.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "tests/faults/delivery_account_testing.h"

namespace pga::faults {
namespace {

constexpr int kCollectors = 4;
constexpr absl::Duration kPatience = absl::Seconds(6);

// A process that is started again and again.
class Again {
 public:
  Again(std::vector<std::string> argv, std::string log) : argv_(std::move(argv)), log_(std::move(log)) {}

  void Start(const std::string& failpoint = "", bool by_environment = true) {
    testing::SubprocessOptions options;
    options.argv = argv_;
    if (!failpoint.empty() && by_environment) options.env["PGA_FAILPOINT"] = failpoint;
    if (!failpoint.empty() && !by_environment) options.argv.push_back(failpoint);
    options.output_path = absl::StrCat(log_, ".", ++starts_);
    auto process = testing::Subprocess::Start(options);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = *std::move(process);
  }
  void Kill() { process_.reset(); }
  testing::Subprocess* operator->() { return process_.get(); }
  bool running() { return process_ != nullptr && process_->running(); }
  // Whether an armed point acted.
  bool Acted(absl::Duration limit) {
    return process_->WaitForOutput(" acts\n", clock::SteadyNow() + limit).ok() ||
           process_->Output().find(" acts\n") != std::string::npos;
  }
  // It ends by itself.
  bool Ended(absl::Duration limit) { return process_->Wait(clock::SteadyNow() + limit).ok(); }

 private:
  const std::vector<std::string> argv_;
  const std::string log_;
  int starts_ = 0;
  std::unique_ptr<testing::Subprocess> process_;
};

struct Fault {
  std::string what;
  // Makes it come; whether it did.
  std::function<bool()> make;
};

// What came of a campaign.
struct Outcome {
  DeliveryAccount account;
  std::map<std::string, std::pair<int, int>> faults;  // came, made
  int64_t kills = 0;
  int64_t quarantined = 0;
  int64_t receipts = 0;
  bool drained = true;
};

class Campaign {
 public:
  Campaign(uint64_t seed, std::string collectors_fault)
      : random_(seed), other_random_(seed + 1), server_(*testing::TempPostgres::Start({})), db_(server_.get()) {
    const std::string socket = absl::StrCat("/.s.PGSQL.", server_->port());
    database_proxy_ = std::make_unique<testing::FaultProxy>(dir_.path() + socket,
                                                            std::vector<std::string>{server_->socket_dir() + socket});
    const std::string url = absl::StrReplaceAll(db_.url(), {{server_->socket_dir(), dir_.path()}});
    for (int i = 0; i < 2; ++i) {
      const std::string path = absl::StrCat(dir_.path(), "/i", i);
      ingest_.push_back(std::make_unique<Again>(
          std::vector<std::string>{testing::Program("ingest_under_test"), url, "unix:" + path}, path + ".log"));
      ingest_paths_.push_back(path);
    }
    collectors_proxy_ = std::make_unique<testing::FaultProxy>(dir_ / "c", ingest_paths_);
    for (int i = 0; i < kCollectors; ++i) {
      const std::string folder = absl::StrCat(dir_.path(), "/collector-", i);
      EXPECT_EQ(mkdir(folder.c_str(), 0700), 0);
      collectors_.push_back(std::make_unique<Again>(
          std::vector<std::string>{testing::Program("collector_under_test"), folder, "unix:" + (dir_ / "c"),
                                   absl::StrCat("collector-", i), absl::StrCat(Base(i), ":", collectors_fault)},
          folder + ".log"));
    }
  }

  Outcome Run(absl::Duration length) {
    for (auto& ingest : ingest_) ingest->Start();
    for (auto& collector : collectors_) collector->Start();
    EXPECT_TRUE(testing::WaitUntil([&] { return Frames() > 20; }, absl::Seconds(20))) << (*ingest_[0])->Output();
    const clock::SteadyTime end = clock::SteadyNow() + length;
    std::thread lane([&] { Lane(CollectorFaults(), &random_, end); });
    Lane(BackendFaults(), &other_random_, end);
    lane.join();
    return Account();
  }

  storage::WriterDatabase* db() { return &db_; }

 private:
  static int64_t Base(int collector) { return (collector + 1) * 1'000'000'000LL; }
  int64_t Frames() { return db_.Number("SELECT count(*) FROM metrics.frame"); }

  // All faults in any order, again and again, until the end.
  void Lane(std::vector<Fault> faults, std::mt19937_64* random, clock::SteadyTime end) {
    for (size_t i = 0; clock::SteadyNow() < end; ++i) {
      if (i % faults.size() == 0) std::shuffle(faults.begin(), faults.end(), *random);
      const Fault& fault = faults[i % faults.size()];
      const bool came = fault.make();
      absl::MutexLock lock(&mutex_);
      auto& [hits, made] = outcome_.faults[fault.what];
      hits += came;
      ++made;
    }
  }

  void Count(int64_t kills) {
    absl::MutexLock lock(&mutex_);
    outcome_.kills += kills;
  }

  // Starts the process with a point armed and waits until it acts.
  bool AtPoint(Again* process, const std::string& failpoint, bool kills, bool by_environment) {
    process->Kill();
    process->Start(failpoint, by_environment);
    const bool acted = process->Acted(kPatience);
    Count(1 + (kills && acted));
    if (kills && acted) process->Ended(kPatience);
    if (kills || !acted) {
      process->Kill();
      process->Start();
    }
    return acted;
  }

  std::vector<Fault> CollectorFaults() {
    std::vector<Fault> faults;
    for (const char* point : {"C1", "C2", "C3", "C5", "C6", "C7", "C8", "C9", "C10", "C11"}) {
      for (const char* action : {"kill", "delay", "eio", "enospc"}) {
        // Their error is the same whatever its number.
        if (std::string(action) == "enospc" && std::string(point) != "C11") continue;
        faults.push_back({absl::StrCat(point, " ", action), [this, point, action] {
                            Again* const victim = collectors_[random_() % kCollectors].get();
                            std::string armed = absl::StrCat(point, ":", 1 + random_() % 8, ":", action);
                            if (*action == 'e') absl::StrAppend(&armed, ":", 1 + random_() % 3);
                            if (std::string(point) == "C10")
                              armed = absl::StrCat(point, ":1:", action, *action == 'e' ? ":1" : "");
                            return AtPoint(victim, armed, *action == 'k', true);
                          }});
      }
    }
    faults.push_back({"collector SIGKILL", [this] {
                        Again* const victim = collectors_[random_() % kCollectors].get();
                        clock::SleepFor(absl::Microseconds(random_() % 200'000));
                        const bool ran = victim->running();
                        victim->Kill();
                        victim->Start();
                        Count(1);
                        return ran;
                      }});
    return faults;
  }

  // Waits for something to be under way.
  void SomeTime() { clock::SleepFor(absl::Microseconds(20'000 + other_random_() % 150'000)); }

  Again* AnIngest() { return ingest_[other_random_() % ingest_.size()].get(); }

  // What the database does to the transactions of writers for a while.
  bool Raise(const std::string& sqlstate) {
    auto connection = server_->Connect(db_.name());
    if (!connection.ok()) return false;
    const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(10);
    const auto made =
        (*connection)
            ->Exec(absl::StrCat("CREATE SEQUENCE IF NOT EXISTS faults; SELECT setval('faults', 1); GRANT ALL ON "
                                "SEQUENCE faults TO PUBLIC;"
                                "CREATE OR REPLACE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                                "PERFORM nextval('public.faults'); RAISE 'made to fail' USING ERRCODE = '",
                                sqlstate,
                                "'; END $$;"
                                "CREATE OR REPLACE TRIGGER fault BEFORE INSERT ON metrics.frame FOR EACH ROW EXECUTE "
                                "FUNCTION fault()"),
                   deadline);
    if (!made.ok()) return false;
    const auto came = [&] {
      const auto read = (*connection)->Exec("SELECT last_value FROM faults", deadline);
      return read.ok() && (*read)[0].Int64(0) > 1;
    };
    const bool hit = testing::WaitUntil(came, absl::Seconds(3));
    SomeTime();
    const bool dropped = testing::WaitUntil(
        [&] {
          return (*connection)->Exec("DROP TRIGGER fault ON metrics.frame", clock::SteadyNow() + absl::Seconds(5)).ok();
        },
        absl::Seconds(20));
    EXPECT_TRUE(dropped);
    return hit;
  }

  void StartServerAgain() {
    const absl::Status started = server_->StartServer();
    EXPECT_TRUE(started.ok()) << started << server_->Log();
  }

  std::vector<Fault> BackendFaults() {
    std::vector<Fault> faults;
    for (const char* point : {"C15", "C16", "C16copy", "C17", "C19"}) {
      for (const char* action : {"kill", "delay", "eio"}) {
        faults.push_back({absl::StrCat(point, " ", action), [this, point, action] {
                            std::string armed = absl::StrCat(point, ":", 1 + other_random_() % 20, ":", action);
                            if (*action == 'e') absl::StrAppend(&armed, ":1");
                            return AtPoint(AnIngest(), armed, *action == 'k', false);
                          }});
      }
    }
    faults.push_back({"C7 connection cut in a message", [this] {
                        const int64_t before = collectors_proxy_->hit();
                        collectors_proxy_->CutAfter(1 + static_cast<int64_t>(other_random_() % 3000));
                        return testing::WaitUntil([&] { return collectors_proxy_->hit() > before; }, absl::Seconds(3));
                      }});
    faults.push_back({"C18 COMMIT without an answer", [this] {
                        const bool any = database_proxy_->LoseAnswers() > 0;
                        SomeTime();
                        database_proxy_->Cut();
                        return any;
                      }});
    faults.push_back({"C18 connection cut in a statement", [this] {
                        const int64_t before = database_proxy_->hit();
                        database_proxy_->CutAfter(1 + static_cast<int64_t>(other_random_() % 5000));
                        return testing::WaitUntil([&] { return database_proxy_->hit() > before; }, absl::Seconds(3));
                      }});
    faults.push_back({"C20 acknowledgements lost", [this] {
                        const bool any = collectors_proxy_->LoseAnswers() > 0;
                        SomeTime();
                        collectors_proxy_->Cut();
                        return any;
                      }});
    faults.push_back({"C22 half-open, the old backend alive", [this] {
                        SomeTime();
                        const bool any = database_proxy_->Freeze() > 0;
                        for (auto& ingest : ingest_) {
                          ingest->Kill();
                          ingest->Start();
                        }
                        Count(2);
                        clock::SleepFor(absl::Milliseconds(700));
                        database_proxy_->Thaw();
                        return any;
                      }});
    faults.push_back({"C21, C23 old streams alive beside new ones", [this] {
                        SomeTime();
                        const bool any = collectors_proxy_->Freeze() > 0;
                        const int64_t before = collectors_proxy_->connections();
                        // Collectors give up on a silent connection after 3 s.
                        const bool anew = testing::WaitUntil(
                            [&] { return collectors_proxy_->connections() >= before + kCollectors; }, absl::Seconds(6));
                        SomeTime();
                        collectors_proxy_->Thaw();
                        return any && anew;
                      }});
    faults.push_back(
        {"C24 backend SIGKILL", [this] {
           auto connection = server_->Connect(db_.name());
           if (!connection.ok()) return false;
           const auto read =
               (*connection)
                   ->Exec("SELECT pid FROM pg_stat_activity WHERE application_name = 'pga-ingest writer' LIMIT 1",
                          clock::SteadyNow() + absl::Seconds(5));
           if (!read.ok() || read->empty()) return false;
           kill(static_cast<pid_t>((*read)[0].Int64(0)), SIGKILL);
           Count(1);
           return testing::WaitUntil([this] { return server_->Exec("postgres", "SELECT 1").ok(); }, absl::Seconds(20));
         }});
    faults.push_back({"C24 postmaster SIGKILL", [this] {
                        SomeTime();
                        server_->KillServer();
                        Count(1);
                        StartServerAgain();
                        return true;
                      }});
    faults.push_back({"C24 immediate stop", [this] {
                        SomeTime();
                        const bool stopped = server_->StopImmediate().ok();
                        StartServerAgain();
                        return stopped;
                      }});
    faults.push_back({"C25 disk of the server full", [this] { return Raise("53100"); }});
    faults.push_back({"C27 serialization failure", [this] { return Raise("40001"); }});
    faults.push_back({"C27 deadlock", [this] { return Raise("40P01"); }});
    faults.push_back({"both ingest SIGKILL", [this] {
                        SomeTime();
                        for (auto& ingest : ingest_) ingest->Kill();
                        for (auto& ingest : ingest_) ingest->Start();
                        Count(2);
                        return true;
                      }});
    faults.push_back({"ingest SIGTERM", [this] {
                        Again* const victim = AnIngest();
                        if (!(*victim)->WaitForOutput("ready", clock::SteadyNow() + kPatience).ok()) return false;
                        (*victim)->Signal(SIGTERM);
                        const bool ended = victim->Ended(absl::Seconds(30));
                        victim->Kill();
                        victim->Start();
                        return ended;
                      }});
    return faults;
  }

  // Ends the collectors in order and compares.
  Outcome Account() {
    for (auto& ingest : ingest_) {
      ingest->Kill();
      ingest->Start();
    }
    for (auto& collector : collectors_) {
      collector->Kill();
      collector->Start();
    }
    for (auto& collector : collectors_) {
      const absl::Status ready = (*collector)->WaitForOutput("ready", clock::SteadyNow() + absl::Seconds(60));
      EXPECT_TRUE(ready.ok()) << ready;
      (*collector)->Signal(SIGTERM);
    }
    for (auto& collector : collectors_) {
      const auto code = (*collector)->Wait(clock::SteadyNow() + absl::Seconds(80));
      outcome_.drained = outcome_.drained && code.ok() && *code == 0;
      if (!code.ok() || *code != 0) std::printf("%s\n", (*collector)->Output().c_str());
    }
    const std::map<int64_t, int64_t> stored = db_.StoredCalls();
    for (int i = 0; i < kCollectors; ++i) {
      AddJournal(absl::StrCat(dir_.path(), "/collector-", i, "/journal"), Base(i), stored, &outcome_.account);
    }
    outcome_.quarantined = db_.Number("SELECT count(*) FROM metrics.quarantine");
    outcome_.receipts = db_.Number("SELECT count(*) FROM metrics.ingest_receipt");
    return outcome_;
  }

  std::mt19937_64 random_, other_random_;
  testing::ScopedTempDir dir_;
  std::unique_ptr<testing::TempPostgres> server_;
  storage::WriterDatabase db_;
  std::unique_ptr<testing::FaultProxy> database_proxy_, collectors_proxy_;
  std::vector<std::string> ingest_paths_;
  std::vector<std::unique_ptr<Again>> ingest_, collectors_;
  absl::Mutex mutex_;
  Outcome outcome_;
};

void Say(const std::string& what, const Outcome& outcome) {
  const DeliveryAccount& a = outcome.account;
  std::printf(
      "%s: %ld batches handed over, %ld accepted, %ld refused, %ld stored; lost %ld, doubled %ld, spurious %ld, "
      "corrupt %ld\n",
      what.c_str(), static_cast<long>(a.tried), static_cast<long>(a.accepted), static_cast<long>(a.refused),
      static_cast<long>(a.stored), static_cast<long>(a.lost), static_cast<long>(a.doubled),
      static_cast<long>(a.spurious), static_cast<long>(a.corrupt));
}

// Faults planted in the parts: the campaign must see each of them.
struct Planted {
  const char* what;
  const char* collectors;
  const char* sql;
};
constexpr Planted kPlanted[] = {
    {"rows that vanish", "-",
     "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN IF random() < 0.05 THEN "
     "DELETE FROM metrics.frame f WHERE (f.source_id, f.metric_id, f.collected_at) = (NEW.source_id, NEW.metric_id, "
     "NEW.collected_at); END IF; RETURN NULL; END $$; CREATE TRIGGER planted AFTER INSERT ON metrics.frame FOR EACH "
     "ROW "
     "EXECUTE FUNCTION planted()"},
    {"accepted before it is on the disk", "early", ""},
    {"sent again under new numbers", "again", ""},
    {"a segment that is forgotten", "forgets", ""},
    {"batches that nobody handed over", "unasked", ""},
    {"a watermark that moves too far", "-",
     "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF random() < 0.05 THEN NEW.last_seq := "
     "NEW.last_seq + 1; END IF; RETURN NEW; END $$; CREATE TRIGGER planted BEFORE UPDATE ON metrics.ingest_watermark "
     "FOR "
     "EACH ROW EXECUTE FUNCTION planted()"},
};

TEST(DeliveryCampaign, WhatWasAcceptedIsStoredOnce) {
  const int64_t seconds = testing::Setting("PGA_DELIVERY_SECONDS", 10);
  const int64_t seed = testing::Setting("PGA_FAULT_SEED", absl::ToUnixMillis(clock::WallNow()) % 1'000'000);
  std::printf("campaign of %ld s with PGA_FAULT_SEED=%ld\n", static_cast<long>(seconds), static_cast<long>(seed));
  const auto mutants = static_cast<size_t>(testing::Setting("PGA_DELIVERY_MUTANTS", 1));
  for (size_t i = 0; i < std::min(mutants, std::size(kPlanted)); ++i) {
    const Planted& planted = kPlanted[(static_cast<size_t>(seed) + i) % std::size(kPlanted)];
    Campaign campaign(static_cast<uint64_t>(seed) + i, planted.collectors);
    if (*planted.sql != '\0') campaign.db()->Exec(planted.sql);
    const Outcome outcome = campaign.Run(absl::Seconds(4));
    Say(absl::StrCat("planted: ", planted.what), outcome);
    EXPECT_TRUE(outcome.account.wrong() > 0 || outcome.quarantined > 0 || !outcome.drained)
        << "not found: " << planted.what;
  }
  Campaign campaign(static_cast<uint64_t>(seed), "-");
  const Outcome outcome = campaign.Run(absl::Seconds(seconds));
  int came = 0, made = 0;
  for (const auto& [what, counts] : outcome.faults) {
    std::printf("%4d of %4d  %s\n", counts.first, counts.second, what.c_str());
    came += counts.first;
    made += counts.second;
  }
  std::printf("%d of %d faults came, %ld processes killed\n", came, made, static_cast<long>(outcome.kills));
  Say("campaign", outcome);
  const DeliveryAccount& account = outcome.account;
  EXPECT_TRUE(outcome.drained);
  EXPECT_EQ(account.lost, 0);
  EXPECT_EQ(account.doubled, 0);
  EXPECT_EQ(account.spurious, 0);
  EXPECT_EQ(account.corrupt, 0);
  EXPECT_EQ(outcome.quarantined, 0);
  EXPECT_EQ(outcome.receipts, account.stored);
  EXPECT_GT(account.accepted, 100);
  // On a loaded machine a point may not be reached within its time.
  EXPECT_GE(came * 10, made * 6);
}

}  // namespace
}  // namespace pga::faults
