// The tree of waits from one sample to the next: since when each lasts, where its chain ends, which are over. Pure;
// used on the event loop.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pga::collector {

// One process that waits for another one, in one sample.
struct BlockingEdge {
  int64_t blocked = 0;
  // Process; of a prepared transaction its transaction id, negative.
  int64_t blocking = 0;
  // When the waiting began as far as the server reports it, microseconds since 1970; 0 = not reported.
  int64_t wait_start_us = 0;
  // What else the sample holds: number in the metric's columns, value.
  std::vector<std::pair<int, int64_t>> numbers;
  std::vector<std::pair<int, std::string>> texts;
  bool text_replaced = false;

  // Set by BlockingTree.
  // Since when the process waits for this one, and up to when: the sample, or the end.
  int64_t since_us = 0;
  int64_t until_us = 0;
  // Waits for nobody; nullopt in a cycle that leads nowhere else.
  std::optional<int64_t> root;
  // Edges from `blocked` to the root, 0 without one.
  int64_t depth = 0;
  bool cycle = false;
  bool ended = false;
};

class BlockingTree {
 public:
  // A sample of `now_us`, with the edges there are, each pair once. Sets what is known of them. After a pause of more
  // than kPauseUs nothing is concluded from the sample before.
  void Sample(std::vector<BlockingEdge> edges, int64_t now_us);
  // The edges of the newest sample, and those that ended and were not taken yet; one row per pair.
  std::vector<BlockingEdge> Rows() const;
  // Whether Rows() says anything that was not said when Said() was last called.
  bool Changed() const;
  // Rows() was handed out. The ended ones are given, to be brought back if they do not arrive.
  std::vector<BlockingEdge> Said();
  void NotSaid(std::vector<BlockingEdge> ended);
  bool empty() const { return edges_.empty(); }

  static constexpr int64_t kPauseUs = 10'000'000;

 private:
  using Pair = std::pair<int64_t, int64_t>;
  void FindRoots();

  std::map<Pair, BlockingEdge> edges_;
  std::vector<BlockingEdge> ended_;
  int64_t sampled_us_ = 0;
  // Since when, by pair; nullopt = nothing was said yet.
  std::optional<std::map<Pair, int64_t>> said_;
};

}  // namespace pga::collector
