#include "services/collector/blocking.h"

#include <algorithm>
#include <set>

namespace pga::collector {
namespace {

// Ended waits that are kept until they can be handed out.
constexpr size_t kMaxEnded = 10'000;

// Strongly connected components of the graph blocked -> blocking, each after those that it leads to.
class Components {
 public:
  explicit Components(const std::map<int64_t, std::vector<int64_t>>& blockers) : blockers_(blockers) {
    for (const auto& [node, next] : blockers) {
      if (!nodes_.contains(node)) Visit(node);
    }
  }
  const std::vector<std::vector<int64_t>>& all() const { return all_; }
  size_t Of(int64_t node) const { return nodes_.at(node).component; }

 private:
  struct Node {
    size_t index = 0;
    size_t low = 0;
    size_t component = 0;
    bool open = true;
  };
  const std::vector<int64_t>& BlockersOf(int64_t node) const {
    static const std::vector<int64_t> kNone;
    const auto found = blockers_.find(node);
    return found == blockers_.end() ? kNone : found->second;
  }
  // Tarjan's, with a stack of its own: chains may be long.
  void Visit(int64_t first) {
    std::vector<std::pair<int64_t, size_t>> path;
    const auto open = [&](int64_t node) {
      nodes_[node] = {nodes_.size(), nodes_.size(), 0, true};
      nodes_[node].low = nodes_[node].index;
      pending_.push_back(node);
      path.emplace_back(node, 0);
    };
    open(first);
    while (!path.empty()) {
      const int64_t node = path.back().first;
      const std::vector<int64_t>& next = BlockersOf(node);
      if (path.back().second < next.size()) {
        const int64_t to = next[path.back().second++];
        const auto seen = nodes_.find(to);
        if (seen == nodes_.end()) {
          open(to);
        } else if (seen->second.open) {
          nodes_[node].low = std::min(nodes_[node].low, seen->second.index);
        }
        continue;
      }
      path.pop_back();
      if (!path.empty()) {
        Node& parent = nodes_[path.back().first];
        parent.low = std::min(parent.low, nodes_[node].low);
      }
      if (nodes_[node].low != nodes_[node].index) continue;
      std::vector<int64_t>& component = all_.emplace_back();
      int64_t member = 0;
      do {
        member = pending_.back();
        pending_.pop_back();
        nodes_[member].open = false;
        nodes_[member].component = all_.size() - 1;
        component.push_back(member);
      } while (member != node);
    }
  }

  const std::map<int64_t, std::vector<int64_t>>& blockers_;
  std::map<int64_t, Node> nodes_;
  std::vector<int64_t> pending_;
  std::vector<std::vector<int64_t>> all_;
};

}  // namespace

void BlockingTree::Sample(std::vector<BlockingEdge> edges, int64_t now_us) {
  const bool follows = sampled_us_ != 0 && now_us >= sampled_us_ && now_us - sampled_us_ <= kPauseUs;
  std::map<Pair, BlockingEdge> before = std::exchange(edges_, {});
  for (BlockingEdge& edge : edges) {
    const Pair pids(edge.blocked, edge.blocking);
    const int64_t reported_us = edge.wait_start_us == 0 ? now_us : std::min(edge.wait_start_us, now_us);
    edge.since_us = reported_us;
    const auto was = before.find(pids);
    if (was != before.end() && (edge.wait_start_us == 0 || reported_us <= sampled_us_)) {
      // The same wait: it began before the last sample, and was there in it.
      edge.since_us = was->second.since_us;
      before.erase(was);
    } else if (follows) {
      edge.since_us = std::max(reported_us, sampled_us_);
    }
    edge.until_us = now_us;
    edges_.emplace(pids, std::move(edge));
  }
  std::erase_if(ended_, [&](const BlockingEdge& edge) { return edges_.contains({edge.blocked, edge.blocking}); });
  for (auto& [pids, edge] : before) {
    // Of a pair that waits anew the new wait is stored; it says that the other one is over.
    if (edges_.contains(pids) || ended_.size() >= kMaxEnded) continue;
    std::erase_if(ended_,
                  [&pids = pids](const BlockingEdge& other) { return Pair(other.blocked, other.blocking) == pids; });
    edge.ended = true;
    edge.until_us = std::max(edge.since_us, follows ? now_us : sampled_us_);
    ended_.push_back(std::move(edge));
  }
  sampled_us_ = now_us;
  FindRoots();
}

void BlockingTree::FindRoots() {
  std::map<int64_t, std::vector<int64_t>> blockers;
  for (const auto& [pids, edge] : edges_) blockers[pids.first].push_back(pids.second);
  const Components components(blockers);
  struct End {
    std::optional<int64_t> root;
    int64_t depth = 0;
  };
  std::vector<End> ends(components.all().size());
  for (size_t i = 0; i < ends.size(); ++i) {
    const std::vector<int64_t>& members = components.all()[i];
    const std::set<int64_t> own(members.begin(), members.end());
    bool waits = false;
    for (const int64_t member : members) {
      const auto next = blockers.find(member);
      if (next == blockers.end()) continue;
      waits = true;
      for (const int64_t to : next->second) {
        if (own.contains(to)) continue;
        // The longest chain counts; of equal ones that with the least number.
        const End& end = ends[components.Of(to)];
        if (!end.root) continue;
        if (!ends[i].root || end.depth + 1 > ends[i].depth ||
            (end.depth + 1 == ends[i].depth && *end.root < *ends[i].root)) {
          ends[i] = {end.root, end.depth + 1};
        }
      }
    }
    if (!waits) ends[i] = {members.front(), 0};
  }
  for (auto& [pids, edge] : edges_) {
    const size_t to = components.Of(pids.second);
    edge.cycle = components.Of(pids.first) == to;
    edge.root = ends[to].root;
    edge.depth = edge.root ? ends[to].depth + 1 : 0;
  }
}

std::vector<BlockingEdge> BlockingTree::Rows() const {
  std::vector<BlockingEdge> rows;
  for (const auto& [pids, edge] : edges_) rows.push_back(edge);
  rows.insert(rows.end(), ended_.begin(), ended_.end());
  return rows;
}

bool BlockingTree::Changed() const {
  if (!said_ || !ended_.empty() || said_->size() != edges_.size()) return true;
  return !std::equal(edges_.begin(), edges_.end(), said_->begin(), [](const auto& now, const auto& said) {
    return now.first == said.first && now.second.since_us == said.second;
  });
}

std::vector<BlockingEdge> BlockingTree::Said() {
  said_.emplace();
  for (const auto& [pids, edge] : edges_) said_->emplace(pids, edge.since_us);
  return std::exchange(ended_, {});
}

void BlockingTree::NotSaid(std::vector<BlockingEdge> ended) {
  said_.reset();
  for (BlockingEdge& edge : ended) {
    const Pair pids(edge.blocked, edge.blocking);
    const bool known =
        edges_.contains(pids) || std::any_of(ended_.begin(), ended_.end(), [&](const BlockingEdge& other) {
          return Pair(other.blocked, other.blocking) == pids;
        });
    if (!known && ended_.size() < kMaxEnded) ended_.push_back(std::move(edge));
  }
}

}  // namespace pga::collector
