// Fingerprints, the test of two windows, and causes from evidence: pure functions.
#include "services/query/insight/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "services/query/insight/compare_causes.h"
#include "services/query/insight/fingerprint.h"

namespace pga::query {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(Fingerprint, OneStatementIsOneWhateverItsConstantsAndSpelling) {
  const std::string id = FingerprintOf("SELECT * FROM orders WHERE id = $1");
  EXPECT_THAT(id, SizeIs(16));
  EXPECT_EQ(FingerprintOf("select  *\nfrom ORDERS where id = 42 -- by key"), id);
  EXPECT_EQ(FingerprintOf("SELECT * FROM orders WHERE id IN ($1, $2, $3)"),
            FingerprintOf("SELECT * FROM orders WHERE id IN ($1 /*, ... */)"));
  EXPECT_NE(FingerprintOf("SELECT * FROM orders WHERE ref = $1"), id);
  EXPECT_NE(FingerprintOf("SELECT * FROM items WHERE id = $1"), id);
}

TEST(Fingerprint, IsEmptyWhereTheStatementIsNotKnown) {
  for (const char* text :
       {"", " ;\n", "-- nothing", "SELECT * FROM", "<insufficient privilege>", "SELECT 1 FROM t WHERE"}) {
    EXPECT_EQ(FingerprintOf(text), "") << text;
  }
  EXPECT_EQ(FingerprintOf(std::string(kMostFingerprintBytes + 1, ' ') + "SELECT 1"), "");
  EXPECT_EQ(FingerprintOf(std::string_view("SELECT 1\0", 9)), "");
}

// As deep as texts get: on a thread's stack.
TEST(Fingerprint, TakesDeepStatements) {
  std::string deep = "SELECT 1";
  while (deep.size() < kMostFingerprintBytes - 2) deep += "+1";
  EXPECT_THAT(FingerprintOf(deep), SizeIs(16));
  EXPECT_THAT(PartsOf(deep).relations, IsEmpty());
  EXPECT_EQ(FingerprintOf("SELECT " + std::string(30'000, '(') + "1" + std::string(30'000, ')')), "");
}

TEST(Parts, NamesRelationsAndWhetherRowsChange) {
  const StatementParts read =
      PartsOf("WITH c AS (SELECT * FROM sales.a) SELECT * FROM c JOIN b USING (id) WHERE EXISTS (SELECT FROM d)");
  EXPECT_THAT(read.relations, ElementsAre(NamedRelation{"", "b"}, NamedRelation{"", "d"}, NamedRelation{"sales", "a"}));
  EXPECT_FALSE(read.writes);
  EXPECT_THAT(PartsOf("UPDATE orders SET x = $1").relations, ElementsAre(NamedRelation{"", "orders"}));
  for (const char* text : {"UPDATE t SET x = 1", "INSERT INTO t SELECT 1", "DELETE FROM t", "COPY t FROM STDIN",
                           "WITH d AS (DELETE FROM t RETURNING id) SELECT * FROM d",
                           "MERGE INTO t USING s ON s.id = t.id WHEN MATCHED THEN DELETE"}) {
    EXPECT_TRUE(PartsOf(text).writes) << text;
    EXPECT_FALSE(PartsOf(text).relations.empty()) << text;
  }
  EXPECT_FALSE(PartsOf("COPY t TO STDOUT").writes);
}

std::vector<RatioBucket> Buckets(std::initializer_list<double> means, double calls = 100) {
  std::vector<RatioBucket> buckets;
  for (const double mean : means) buckets.push_back({mean * calls, calls});
  return buckets;
}

TEST(CompareRatios, NamesTheTestThatFailedFirst) {
  const auto steady = Buckets({2, 2.1, 1.9, 2, 2.05, 1.95});
  EXPECT_EQ(CompareRatios(steady, Buckets({2.1, 2.2, 2.3, 2.3}), MeanTimeRules()).reason,
            RatioReason::kWithinTolerance);
  EXPECT_EQ(CompareRatios(steady, Buckets({4, 4.1, 3.9, 4}), MeanTimeRules()).reason, RatioReason::kChanged);
  EXPECT_EQ(CompareRatios(steady, Buckets({4}, 4), MeanTimeRules()).reason, RatioReason::kTooFew);
  EXPECT_EQ(CompareRatios(Buckets({2, 2}), Buckets({4, 4, 4}), MeanTimeRules()).reason, RatioReason::kTooFew);
  EXPECT_EQ(CompareRatios(Buckets({1, 6, 1, 6, 1, 6}), Buckets({5, 5, 5, 5}), MeanTimeRules()).reason,
            RatioReason::kWithinVariation);
  EXPECT_EQ(CompareRatios(steady, Buckets({2, 2, 2, 20}), MeanTimeRules()).reason, RatioReason::kWithinNoise);
  // Nothing is made of microseconds.
  EXPECT_EQ(CompareRatios(Buckets({0.002, 0.002, 0.002}), Buckets({0.004, 0.004, 0.004}), MeanTimeRules()).reason,
            RatioReason::kWithinTolerance);
  EXPECT_EQ(CompareRatios({}, Buckets({4, 4, 4}), MeanTimeRules()).reason, RatioReason::kTooFew);
}

TEST(CompareRatios, SaysByHowMuchAndSinceWhen) {
  // The change came with the second bucket after.
  const RatioChange change =
      CompareRatios(Buckets({2, 2, 2, 2}), Buckets({2, 6, 6, 6, 6, 6, 6, 6, 6, 6}), MeanTimeRules());
  EXPECT_EQ(change.before, 2);
  EXPECT_DOUBLE_EQ(change.after.value(), 5.6);
  EXPECT_DOUBLE_EQ(change.difference(), 3.6);
  EXPECT_EQ(change.variation, 0);
  EXPECT_TRUE(change.changed());
  EXPECT_EQ(change.began, 5U);
  // Buckets without calls are none.
  const RatioChange late =
      CompareRatios({{200, 100}, {0, 0}, {200, 100}, {200, 100}}, {{0, 0}, {600, 100}, {600, 100}}, MeanTimeRules());
  EXPECT_TRUE(late.changed());
  EXPECT_EQ(late.began, 5U);
}

TEST(CompareRatios, CriticalValuesAreNeverTooSmall) {
  EXPECT_EQ(CriticalT(1), 636.62);
  EXPECT_EQ(CriticalT(5.9), 6.869);
  EXPECT_EQ(CriticalT(1000), 3.460);
  EXPECT_EQ(CriticalT(std::nan("")), 636.62);
}

// Times with heavy tails: the mean is uncertain, and each bucket shows the change.
TEST(CompareRatios, RanksSeeWhatMeansDoNot) {
  const auto fast = Buckets({0.08, 0.09, 0.08, 0.07, 0.09, 0.08, 0.1, 0.08, 0.09, 0.08});
  const auto slow = Buckets({20, 18, 300, 19, 25, 17, 22, 240, 18, 19});
  EXPECT_TRUE(CompareRatios(fast, slow, MeanTimeRules()).changed());
  EXPECT_TRUE(CompareRatios(slow, fast, MeanTimeRules()).changed());
  // Four buckets may be so by chance.
  EXPECT_EQ(CompareRatios(Buckets({0.08, 0.09, 0.08, 0.07}), Buckets({20, 18, 300, 19}), MeanTimeRules()).reason,
            RatioReason::kWithinNoise);
}

// Windows of one and the same statement: at most one in a hundred may be called changed, whatever its times look like.
TEST(CompareRatios, UnchangedStatementsAreNotCalledChanged) {
  std::mt19937_64 random(20260101);
  int changed = 0;
  constexpr int kTrials = 20'000;
  for (int trial = 0; trial < kTrials; ++trial) {
    const int model = trial % 4;
    const double spread = std::uniform_real_distribution(0.02, 1.2)(random);
    std::lognormal_distribution<double> factor(0, spread);
    std::poisson_distribution<int> calls(std::uniform_real_distribution(0.5, 60.0)(random));
    std::exponential_distribution<double> call(0.5);
    const auto window = [&](int buckets) {
      std::vector<RatioBucket> all(static_cast<size_t>(buckets));
      for (size_t i = 0; i < all.size(); ++i) {
        const int n = calls(random);
        all[i].divisor = n;
        // Each bucket has a speed of its own, each call has one, one call in a hundred takes a hundred times as long,
        // or the speed swings.
        if (model == 0) all[i].sum = n * 2 * factor(random);
        for (int k = 0; model == 1 && k < n; ++k) all[i].sum += call(random);
        for (int k = 0; model == 2 && k < n; ++k) all[i].sum += random() % 100 == 0 ? 200 : 2;
        if (model == 3) all[i].sum = n * (2 + std::sin(static_cast<double>(i)) * spread);
      }
      return all;
    };
    const int length = trial % 3 == 0 ? 10 : 24;
    if (CompareRatios(window(length), window(length), MeanTimeRules()).changed()) ++changed;
  }
  std::printf("windows of the same statement: %d of %d called changed (%.2f %%)\n", changed, kTrials,
              100.0 * changed / kTrials);
  EXPECT_LE(changed, kTrials / 100);
}

TEST(CompareRatios, ChangesBeyondTheVariationAreFound) {
  std::mt19937_64 random(7);
  int found = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    std::lognormal_distribution<double> factor(0, 0.3);
    const auto window = [&](double mean) {
      std::vector<RatioBucket> all(24);
      for (RatioBucket& bucket : all) bucket = {100 * mean * factor(random), 100};
      return all;
    };
    const RatioChange change = CompareRatios(window(2), window(6), MeanTimeRules());
    // To the bucket: the first one after may be as slow as those before, by chance.
    if (change.changed() && change.began >= 23U && change.began <= 25U) ++found;
  }
  EXPECT_GE(found, 950);
}

ChangeFacts Facts(double before_ms, double after_ms) {
  ChangeFacts facts;
  facts.before = {.calls = 1000,
                  .time_ms = before_ms * 1000,
                  .rows = 1000,
                  .blocks_hit = 50'000,
                  .blocks_read = 100,
                  .covered_s = 1800};
  facts.after = facts.before;
  facts.after.time_ms = after_ms * 1000;
  return facts;
}

std::vector<std::string> Kinds(const ChangeFacts& facts) {
  std::vector<std::string> kinds;
  for (const NamedCause& cause : CausesOf(facts)) kinds.push_back(cause.kind);
  return kinds;
}

TEST(Causes, NothingIsInvented) {
  EXPECT_THAT(Kinds(Facts(2, 6)), IsEmpty());
  // What happened nearby without a symptom is no cause: an index that nobody misses, a setting of memory without
  // temporary blocks, one of durability for a statement that reads, a setting that does nothing to statements.
  ChangeFacts facts = Facts(2, 6);
  const absl::Time at = absl::UnixEpoch();
  facts.events.push_back({EventKind::kIndexGone, "orders_x", "public.orders", {}, {}, at, at});
  facts.events.push_back({EventKind::kSetting, "work_mem", "", "64", "128", at, at});
  facts.events.push_back({EventKind::kSetting, "synchronous_commit", "", "off", "on", at, at});
  facts.events.push_back({EventKind::kSetting, "log_min_messages", "", "error", "debug", at, at});
  facts.events.push_back({EventKind::kRestart, "", "", {}, {}, at, at});
  facts.events.push_back({EventKind::kStatistics, "public.orders", "", {}, {}, at, at});
  EXPECT_THAT(Kinds(facts), IsEmpty());
}

TEST(Causes, WhatIsMeasuredComesBeforeWhatHappened) {
  ChangeFacts facts = Facts(2, 6);
  const absl::Time at = absl::UnixEpoch();
  facts.events.push_back({EventKind::kIndexGone, "orders_x", "public.orders", {}, {}, at, at});
  facts.after.blocks_hit = 500'000;
  EXPECT_THAT(Kinds(facts), ElementsAre("index_dropped", "more_blocks"));
  // 1,000 calls in 1,800 s: 4 ms more of each call are 0.0022 sessions.
  facts.before.waits.emplace();
  facts.after.waits = {.active = 0.004, .locks = 0.0012};
  EXPECT_THAT(Kinds(facts), ElementsAre("lock_waits", "index_dropped", "more_blocks"));
  EXPECT_NEAR(CausesOf(facts)[0].share.value(), 0.54, 0.001);
  facts.after.waits->locks = 0.001;
  EXPECT_THAT(Kinds(facts), ElementsAre("index_dropped", "more_blocks"));
}

// A busy server may make each row slower as well; that is not why ten times the blocks are read.
TEST(Causes, OfMoreRowsAndTheirBlocks) {
  ChangeFacts facts = Facts(2, 200);
  facts.after.rows = 20'000;
  EXPECT_THAT(Kinds(facts), IsEmpty()) << "twenty times the rows are no reason for a hundred times the time";
  facts.after.blocks_hit = 500'000;
  EXPECT_THAT(Kinds(facts), ElementsAre("more_rows", "more_blocks"));
  facts.after.blocks_hit = 5'000'000;
  EXPECT_THAT(Kinds(facts), ElementsAre("more_blocks"));
}

TEST(Causes, OfMoreCalls) {
  ChangeFacts facts = Facts(2, 2);
  facts.after.calls = 3000;
  const NamedCause cause = CallsCause(facts.before, facts.after);
  EXPECT_EQ(cause.kind, "more_calls");
  EXPECT_EQ(cause.summary, "calls in a second grew from 0.56 to 1.7");
  EXPECT_EQ(CallsCause(facts.after, facts.before).kind, "fewer_calls");
}

}  // namespace
}  // namespace pga::query
