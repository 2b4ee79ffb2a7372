// All at once against the real processes, each under the limit of memory that it is deployed with: floods and malformed
// HTTP/2, silent and slow connections, large pushes, costly reads, readers that do not read. Meanwhile a signed-in
// person and four collectors are served, and no process is killed for its memory.
//
// PGA_ATTACK_KINDS leaves only some of them: "silent floods pushes reads slow".
// PGA_ATTACK_SECONDS (8) is how long it lasts, PGA_ATTACK_CONNECTIONS (400) how many silent and slow connections there
// are. With 30 s and more the rise of memory is held to 64 MiB of each process, and the times of answers to ten times
// those of calm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/rpc/http2_attacks_testing.h"
#include "libs/status/testing.h"
#include "tests/attack/attack_testing.h"

namespace pga::attack {
namespace {

using integration::Form;
using integration::Suite;

// Figures that are held to their targets; a shorter attack beside other work says little about them.
constexpr absl::Duration kLong = absl::Seconds(30);
constexpr int64_t kMostMib = 64;
constexpr int64_t kMostMibOfMoments = 256;
// Of eight slow readers of the largest answers beside sixteen pushes, in one process: 62 to 75 were seen.
constexpr int64_t kMostMibOfLargeAnswers = 96;
constexpr int kCostlyReads = 4;

// The largest answers that there are, of one message and of many. Each is more than a million bytes.
constexpr const char* kLargeReads[] = {
    "/api/v1/queries/top?hours=24&limit=15&text_length=65536",
    "/api/v1/series?metric=statements&column=calls&hours=3&step=8&group_by=source&group_by=queryid&limit=1000&"
    "filter=queryid~0%24",
    "/api/v1/queries/top?hours=24&limit=1000&text_length=1000"};

// Everybody who means harm, until `until`; bounded in threads and bytes, and to this machine.
class Attackers {
 public:
  Attackers(const Suite* suite, bool tls, std::string token, clock::SteadyTime until)
      : suite_(suite), tls_(tls), token_(std::move(token)), until_(until) {}
  void StartAll() {
    if (Wanted("silent")) Silent(static_cast<int>(Setting("PGA_ATTACK_CONNECTIONS", 400)));
    for (int i = 0; Wanted("floods") && i < 6; ++i) Start([this, i] { Floods(i); });
    for (int i = 0; Wanted("pushes") && i < 16; ++i) Start([this] { Push(); });
    for (int i = 0; Wanted("reads") && i < 24; ++i) Start([this, i] { CostlyRead(i); });
    for (int i = 0; Wanted("slow") && !tls_ && i < 8; ++i) Start([this, i] { SlowReader(i); });
  }
  // Only those who ask for large answers and hardly read them, and those who push.
  void StartSlowReaders(int count) {
    for (int i = 0; i < count; ++i) Start([this, i] { SlowReader(i); });
  }
  void StartPushes(int count) {
    for (int i = 0; i < count; ++i) Start([this] { Push(); });
  }
  int Counted(const std::string& what) {
    absl::MutexLock lock(&mutex_);
    return counts_[what];
  }
  void Join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    silent_.clear();
  }
  ~Attackers() { Join(); }
  std::string Figures() {
    absl::MutexLock lock(&mutex_);
    std::string out;
    for (const auto& [what, count] : counts_) absl::StrAppend(&out, "  ", what, ": ", count, "\n");
    return out;
  }

 private:
  void Start(std::function<void()> work) {
    threads_.emplace_back([work = std::move(work)] {
      BeElsewhere();
      work();
    });
  }
  bool Going() const { return clock::SteadyNow() < until_; }
  void Pause(absl::Duration duration) const {
    testing::WaitUntil([this] { return !Going(); }, duration);
  }
  static bool Wanted(const std::string& kind) {
    const char* const kinds = std::getenv("PGA_ATTACK_KINDS");
    return kinds == nullptr || absl::StrContains(kinds, kind);
  }
  void Count(const std::string& what) {
    absl::MutexLock lock(&mutex_);
    ++counts_[what];
  }

  // Silent, one byte, parts of a preface, of a request head and of a TLS hello; from ten addresses.
  void Silent(int count) {
    const std::string starts[] = {"",
                                  "P",
                                  rpc::Preface().substr(0, 12),
                                  rpc::Preface(),
                                  "GET /api/v1/health HTTP/1.1\r\nHost: ",
                                  std::string("\x16\x03\x01\x02\x00\x01\x00", 7),
                                  "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{"};
    for (int i = 0; i < count; ++i) {
      silent_.push_back(std::make_unique<Peer>(absl::StrCat("127.0.1.", 1 + i % 10), suite_->port(), false));
      silent_.back()->SendRaw(starts[static_cast<size_t>(i) % std::size(starts)]);
    }
    // The slow ones go on, a byte a second.
    Start([this] {
      while (Going()) {
        for (size_t i = 4; i < silent_.size(); i += 7) silent_[i]->SendRaw("x");
        Pause(absl::Seconds(1));
      }
    });
  }
  void Floods(int number) {
    static const auto* const attacks = new std::vector<rpc::Attack>(rpc::Attacks());
    static const std::string rapid = rpc::RapidReset(10'000);
    for (size_t i = static_cast<size_t>(number); Going(); i += 5) {
      // Every other one is the one that costs servers most.
      const rpc::Attack& attack = (*attacks)[i % attacks->size()];
      const std::string bytes =
          i % 2 == 0 ? rpc::Preface() + rapid : (attack.with_preface ? rpc::Preface() : "") + attack.bytes;
      Peer peer(absl::StrCat("127.0.2.", 1 + number), suite_->port(), tls_);
      peer.Flood(bytes, std::min(until_, clock::SteadyNow() + absl::Seconds(5)));
      Count("connections of floods");
    }
  }
  void Push() {
    static const std::string body = absl::StrCat(R"({"collector_id":"pusher","metrics":[{"type":"pg_log","lines":[")",
                                                 std::string(9'500'000, 'x'), R"("]}]})");
    while (Going()) {
      const auto answer =
          suite_->Send({.method = "POST",
                        .path = "/api/v1/metrics/push",
                        .headers = {{"Authorization", "Bearer " + token_}, {"Content-Type", "application/json"}},
                        .body = body});
      Count(absl::StrCat("pushes, ", answer.ok() ? absl::StrCat(answer->status) : answer.status().ToString()));
      if (!answer.ok()) Count("pushes without an answer");
      if (answer.ok() && answer->status == 503) Pause(absl::Milliseconds(500));
    }
  }
  void CostlyRead(int number) {
    const std::string paths[] = {
        "/api/v1/series?metric=statements&column=calls&hours=3&step=1&group_by=source&group_by=datname&limit=1000",
        "/api/v1/series?metric=statements&column=calls&hours=24&group_by=source&"
        "filter=datname~(.*)(.*)(.*)(.*)(.*)(.*)",
        "/api/v1/queries/top?hours=720&limit=1000", "/api/v1/freshness?hours=720"};
    while (Going()) {
      const std::string& path = paths[number % kCostlyReads];
      const auto answer = suite_->Send({.path = path, .headers = {{"Authorization", "Bearer " + token_}}});
      const std::string what = answer.ok() ? absl::StrCat(answer->status) : answer.status().ToString();
      Count(absl::StrCat("costly reads ", number % kCostlyReads, ", ", what));
      // What is refused for its form costs nothing.
      EXPECT_TRUE(!answer.ok() || answer->status < 400 || answer->status >= 500 || answer->status == 429)
          << path << ": " << answer->body.substr(0, 300);
    }
  }
  // Asks for a large answer and takes a kilobyte of it at a time.
  void SlowReader(int number) {
    while (Going()) {
      Peer peer("127.0.3.1", suite_->port(), false, 4096);
      peer.SendRaw(absl::StrCat("GET ", kLargeReads[static_cast<size_t>(number) % std::size(kLargeReads)],
                                " HTTP/1.1\r\n"
                                "Host: localhost\r\nAuthorization: Bearer ",
                                token_, "\r\n\r\n"));
      Count("slow readers");
      while (Going() && peer.Read(1024)) Pause(absl::Milliseconds(100));
    }
  }

  const Suite* const suite_;
  const bool tls_;
  const std::string token_;
  const clock::SteadyTime until_;
  std::vector<std::unique_ptr<Peer>> silent_;
  std::vector<std::thread> threads_;
  absl::Mutex mutex_;
  std::map<std::string, int> counts_ ABSL_GUARDED_BY(mutex_);
};

class Combined : public AttackedSuite {};
INSTANTIATE_TEST_SUITE_P(All, Combined, ::testing::Values(Shape{Form::kOneProcess, false}, Shape{Form::kApart, true}),
                         [](const auto& test) {
                           return std::string(test.param.form == Form::kApart ? "ServicesApartWithTls" : "OneProcess");
                         });

TEST_P(Combined, AttackDisturbsNobodyForLong) {
  const absl::Duration lasts = absl::Seconds(Setting("PGA_ATTACK_SECONDS", 8));
  const std::string token = suite_->AdminToken();
  // Who attacks by pushes and reads has an account, too.
  const std::string attacker = Prepare(token);

  Person calm(suite_.get(), token);
  const auto calm_acks = Deliver(std::min(lasts, absl::Seconds(10)));
  ASSERT_THAT(calm_acks.status(), status::IsOk());
  calm.Stop();

  Memory memory(Pids());
  Person attacked(suite_.get(), token);
  Attackers attackers(suite_.get(), GetParam().tls, attacker, clock::SteadyNow() + lasts);
  attackers.StartAll();
  const auto acks = Deliver(lasts);
  attacked.Stop();
  attackers.Join();
  memory.Stop();
  const double back = memory.BackAfter();

  EXPECT_EQ(attackers.Counted("pushes without an answer"), 0) << "refusals are read";
  std::printf("attack of %s, %s\n%s", absl::FormatDuration(lasts).c_str(),
              GetParam().form == Form::kApart ? "services apart, TLS" : "one process", attackers.Figures().c_str());
  Judge(memory, lasts >= kLong ? kMostMib : kMostMibOfMoments);
  std::printf("  memory was back after %.1f s\n", back);
  EXPECT_GE(back, 0) << "memory is not back within 60 s";
  JudgeTimes(calm, *calm_acks, attacked, acks, lasts >= kLong);
}

// The largest answers, whose readers take a kilobyte at a time, and pushes of 9.5 MB, all of one caller.
TEST_P(Combined, LargeAnswersAndPushesAreBoundedInBytes) {
  if (GetParam().tls) GTEST_SKIP() << "the readers speak plain HTTP";
  const std::string token = suite_->AdminToken();
  const std::string attacker = Prepare(token);
  {
    const auto deadline = clock::SteadyNow() + absl::Minutes(1);
    auto database = pg::CopyConnection::Connect({.url = suite_->databases().metrics_url}, deadline);
    ASSERT_THAT(database.status(), status::IsOk());
    // JSON takes six bytes for such a character.
    ASSERT_THAT((*database)->Exec("UPDATE metrics.query_text SET text = repeat(E'\\x01', 65536)", deadline).status(),
                status::IsOk());
  }
  for (const char* path : kLargeReads) {
    const auto answer = suite_->Get(path, attacker);
    ASSERT_THAT(answer.status(), status::IsOk());
    ASSERT_EQ(answer->status, 200) << path << ": " << answer->body.substr(0, 500);
    std::printf("%s: %zu bytes\n", path, answer->body.size());
    EXPECT_GE(answer->body.size(), size_t{1'000'000}) << path;
  }
  // What allocators keep of the first answers is not the attack's.
  Memory memory(Pids());

  Person other(suite_.get(), token);
  Attackers attackers(suite_.get(), false, attacker,
                      clock::SteadyNow() + absl::Seconds(Setting("PGA_ATTACK_SECONDS", 8)));
  attackers.StartSlowReaders(8);
  attackers.StartPushes(16);
  attackers.Join();
  other.Stop();
  memory.Stop();
  std::printf("slow readers, pushes\n%s", attackers.Figures().c_str());
  Judge(memory, kMostMibOfLargeAnswers);
  EXPECT_EQ(attackers.Counted("pushes without an answer"), 0) << "refusals are read";
  for (const auto& [what, count] : other.failures()) ADD_FAILURE() << count << " answers to the person: " << what;
  EXPECT_GE(memory.BackAfter(), 0) << "memory is not back within 60 s";
}

}  // namespace
}  // namespace pga::attack
