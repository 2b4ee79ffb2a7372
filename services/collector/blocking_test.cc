#include "services/collector/blocking.h"

#include <gtest/gtest.h>

namespace pga::collector {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kStart = 1'000'000 * kSecond;

BlockingEdge Edge(int64_t blocked, int64_t blocking, int64_t wait_start_us) {
  BlockingEdge edge;
  edge.blocked = blocked;
  edge.blocking = blocking;
  edge.wait_start_us = wait_start_us;
  return edge;
}

const BlockingEdge* Find(const std::vector<BlockingEdge>& rows, int64_t blocked, int64_t blocking) {
  for (const BlockingEdge& edge : rows) {
    if (edge.blocked == blocked && edge.blocking == blocking) return &edge;
  }
  return nullptr;
}

TEST(BlockingTree, TellsHowLongEachEdgeLasted) {
  BlockingTree tree;
  tree.Sample({Edge(2, 1, kStart - kSecond)}, kStart);
  EXPECT_TRUE(tree.Changed());
  tree.Said();
  EXPECT_FALSE(tree.Changed());
  // The server's clock may differ a little from sample to sample.
  tree.Sample({Edge(2, 1, kStart - kSecond + 300)}, kStart + kSecond);
  EXPECT_FALSE(tree.Changed());
  tree.Sample({}, kStart + 30 * kSecond - 25 * kSecond);
  EXPECT_TRUE(tree.Changed());
  const std::vector<BlockingEdge> rows = tree.Rows();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_TRUE(rows[0].ended);
  EXPECT_EQ(rows[0].since_us, kStart - kSecond);
  EXPECT_EQ(rows[0].until_us - rows[0].since_us, 6 * kSecond);
  // What did not arrive comes back.
  tree.NotSaid(tree.Said());
  EXPECT_EQ(tree.Rows().size(), 1u);
  tree.Said();
  EXPECT_TRUE(tree.Rows().empty());
  EXPECT_FALSE(tree.Changed());
}

TEST(BlockingTree, ABlockerThatTookOverCountsFromThenOn) {
  BlockingTree tree;
  tree.Sample({Edge(3, 1, kStart)}, kStart + kSecond);
  tree.Said();
  // 1 is done, 2 has the lock now; 3 waits since the beginning, but not for 2.
  tree.Sample({Edge(3, 2, kStart)}, kStart + 2 * kSecond);
  const std::vector<BlockingEdge> rows = tree.Rows();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(Find(rows, 3, 2)->since_us, kStart + kSecond);
  EXPECT_TRUE(Find(rows, 3, 1)->ended);
}

TEST(BlockingTree, APairThatWaitsAnewIsOneRow) {
  BlockingTree tree;
  tree.Sample({Edge(2, 1, kStart)}, kStart + kSecond);
  tree.Said();
  tree.Sample({Edge(2, 1, kStart + kSecond + 500'000)}, kStart + 2 * kSecond);
  EXPECT_TRUE(tree.Changed());
  const std::vector<BlockingEdge> rows = tree.Rows();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_FALSE(rows[0].ended);
  EXPECT_EQ(rows[0].since_us, kStart + kSecond + 500'000);
}

TEST(BlockingTree, AfterAPauseNothingIsConcluded) {
  BlockingTree tree;
  tree.Sample({Edge(2, 1, kStart)}, kStart + kSecond);
  tree.Said();
  tree.Sample({Edge(4, 3, kStart + kSecond)}, kStart + 300 * kSecond);
  const std::vector<BlockingEdge> rows = tree.Rows();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(Find(rows, 4, 3)->since_us, kStart + kSecond);
  EXPECT_EQ(Find(rows, 2, 1)->until_us, kStart + kSecond) << "known to wait only up to the last sample";
}

TEST(BlockingTree, FindsRootAndDepth) {
  BlockingTree tree;
  // 5 -> 4 -> 1 and 5 -> 2 -> 3 -> -77, a prepared transaction.
  tree.Sample({Edge(5, 4, 0), Edge(4, 1, 0), Edge(5, 2, 0), Edge(2, 3, 0), Edge(3, -77, 0), Edge(6, 5, 0)}, kStart);
  const std::vector<BlockingEdge> rows = tree.Rows();
  EXPECT_EQ(Find(rows, 4, 1)->depth, 1);
  EXPECT_EQ(Find(rows, 4, 1)->root, 1);
  EXPECT_EQ(Find(rows, 5, 4)->depth, 2);
  EXPECT_EQ(Find(rows, 5, 4)->root, 1);
  EXPECT_EQ(Find(rows, 5, 2)->depth, 3);
  EXPECT_EQ(Find(rows, 5, 2)->root, -77);
  EXPECT_EQ(Find(rows, 6, 5)->root, -77) << "the longest chain counts";
  EXPECT_EQ(Find(rows, 6, 5)->depth, 4);
  for (const BlockingEdge& edge : rows) EXPECT_FALSE(edge.cycle);
}

TEST(BlockingTree, SeesCycles) {
  BlockingTree tree;
  tree.Sample({Edge(1, 2, 0), Edge(2, 3, 0), Edge(3, 1, 0), Edge(4, 3, 0)}, kStart);
  for (const BlockingEdge& edge : tree.Rows()) {
    EXPECT_EQ(edge.cycle, edge.blocked != 4) << edge.blocked;
    EXPECT_EQ(edge.root, std::nullopt);
    EXPECT_EQ(edge.depth, 0);
  }
  // A cycle of which one waits for somebody outside, too.
  tree.Sample({Edge(1, 2, 0), Edge(2, 1, 0), Edge(2, 9, 0)}, kStart + kSecond);
  EXPECT_EQ(Find(tree.Rows(), 1, 2)->root, 9);
  EXPECT_TRUE(Find(tree.Rows(), 1, 2)->cycle);
  EXPECT_FALSE(Find(tree.Rows(), 2, 9)->cycle);
}

TEST(BlockingTree, LongChainsAreNoTrouble) {
  BlockingTree tree;
  std::vector<BlockingEdge> edges;
  for (int64_t pid = 2; pid <= 5000; ++pid) edges.push_back(Edge(pid, pid - 1, 0));
  tree.Sample(std::move(edges), kStart);
  EXPECT_EQ(Find(tree.Rows(), 5000, 4999)->depth, 4999);
}

}  // namespace
}  // namespace pga::collector
