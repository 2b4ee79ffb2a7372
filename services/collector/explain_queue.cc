#include "services/collector/explain_queue.h"

#include <algorithm>
#include <map>

#include "services/collector/explain_text.h"

namespace pga::collector {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
// A statement that could not be planned rests so long, then twice as long each time, up to a day.
constexpr int64_t kRestNs = 600 * kSecondNs;
constexpr int64_t kMostRestNs = 24 * 3600 * kSecondNs;
// So many times slower than when it was planned: it may be planned otherwise now.
constexpr double kSlower = 2;
constexpr size_t kMostDatabases = 5000;

}  // namespace

int32_t ExplainQueue::DatabaseOf(std::string_view name) {
  for (size_t i = 0; i < databases_.size(); ++i) {
    if (databases_[i].name == name) return static_cast<int32_t>(i);
  }
  databases_.push_back({std::string(name), 0, {}});
  return static_cast<int32_t>(databases_.size()) - 1;
}

void ExplainQueue::Observe(const Reading& reading, std::string_view without_user, int64_t now_ns) {
  // Names of databases that came and went.
  if (databases_.size() > kMostDatabases) {
    statements_.clear();
    databases_.clear();
    texts_.clear();
    text_bytes_ = 0;
  }
  const MetricShape& shape = reading.shape();
  const int database = shape.Find("dbid"), query = shape.Find("queryid"), user = shape.Find("userid");
  const int name = shape.Find("datname"), user_name = shape.Find("username");
  const int calls = shape.Find("calls"), executed = shape.Find("total_exec_time_us"),
            planned = shape.Find("total_plan_time_us");
  struct Sum {
    int64_t time_us = 0;
    int64_t calls = 0;
    int64_t most_us = -1;
    int64_t user = 0;
    std::string_view database;
  };
  absl::flat_hash_map<Id, Sum> sums;
  sums.reserve(reading.rows());
  for (size_t row = 0; row < reading.rows(); ++row) {
    const std::string_view of = reading.Text(row, name);
    if (of.empty() || (!without_user.empty() && reading.Text(row, user_name) == without_user)) continue;
    Sum& sum = sums[{reading.Int(row, database), reading.Int(row, query)}];
    const int64_t time_us = reading.Int(row, executed) + reading.Int(row, planned);
    sum.time_us += time_us;
    sum.calls += reading.Int(row, calls);
    sum.database = of;
    if (time_us <= sum.most_us) continue;
    sum.most_us = time_us;
    sum.user = reading.Int(row, user);
  }
  std::map<std::string_view, int32_t> numbers;
  for (const auto& [id, sum] : sums) {
    State& state = statements_[id];
    state.seen = true;
    state.user = sum.user;
    const auto number = numbers.try_emplace(sum.database, -1).first;
    if (number->second < 0) number->second = DatabaseOf(sum.database);
    state.database = number->second;
    const int64_t more = sum.calls - state.calls;
    // What is seen for the first time ran at an unknown time.
    if (state.time_us >= 0 && more > 0 && sum.time_us >= state.time_us) {
      state.cost_us = sum.time_us - state.time_us;
      state.mean_us = static_cast<double>(state.cost_us) / static_cast<double>(more);
      const bool slower =
          state.planned_ns != 0 && state.planned_mean_us > 0 && state.mean_us > kSlower * state.planned_mean_us;
      const bool old = state.planned_ns == 0 || now_ns - state.planned_ns >= limits_.again_ns;
      state.wanted = state.wanted || old || slower || state.doubtful;
    }
    state.time_us = sum.time_us;
    state.calls = sum.calls;
  }
  EraseIf([](State& state) { return !std::exchange(state.seen, false) && !state.taken; });
}

void ExplainQueue::LeaveOut(int64_t user) {
  EraseIf([user](const State& state) { return state.user == user && !state.taken; });
}

void ExplainQueue::EraseIf(const std::function<bool(State&)>& gone) {
  absl::erase_if(statements_, [&](auto& each) {
    if (!gone(each.second)) return false;
    if (const auto text = texts_.find(each.first); text != texts_.end()) {
      text_bytes_ -= text->second.size();
      texts_.erase(text);
    }
    return true;
  });
}

void ExplainQueue::Logged(const std::string& database, int64_t query, int64_t now_ns) {
  for (auto& [id, state] : statements_) {
    if (id.second != query || databases_[static_cast<size_t>(state.database)].name != database) continue;
    state.planned_ns = now_ns;
    state.planned_mean_us = state.mean_us;
    state.wanted = false;
    state.doubtful = false;
  }
}

bool ExplainQueue::Waits(const State& state, int64_t now_ns) const {
  return state.wanted && !state.hopeless && !state.taken && now_ns >= state.rest_until_ns;
}

std::vector<std::pair<int64_t, ExplainQueue::Id>> ExplainQueue::ByCost(int64_t now_ns) const {
  std::vector<std::pair<int64_t, Id>> waiting;
  for (const auto& [id, state] : statements_) {
    if (Waits(state, now_ns)) waiting.emplace_back(-state.cost_us, id);
  }
  std::sort(waiting.begin(), waiting.end());
  return waiting;
}

std::vector<std::string> ExplainQueue::Databases() const {
  std::vector<int64_t> costs(databases_.size(), -1);
  for (const auto& [id, state] : statements_) {
    if (state.cost_us > 0 && !state.hopeless) costs[static_cast<size_t>(state.database)] += state.cost_us;
  }
  std::vector<size_t> order;
  for (size_t i = 0; i < costs.size(); ++i) {
    if (costs[i] >= 0) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (databases_[a].looked_ns != databases_[b].looked_ns) return databases_[a].looked_ns < databases_[b].looked_ns;
    return costs[a] > costs[b];
  });
  std::vector<std::string> names;
  for (const size_t i : order) names.push_back(databases_[i].name);
  return names;
}

void ExplainQueue::LookedAt(const std::string& database, const std::string& facts, int64_t now_ns) {
  const int32_t number = DatabaseOf(database);
  Database& known = databases_[static_cast<size_t>(number)];
  known.looked_ns = now_ns;
  const bool others = !known.facts.empty() && known.facts != facts;
  known.facts = facts;
  if (!others) return;
  for (auto& [id, state] : statements_) {
    if (state.database != number) continue;
    // What could not be planned may be possible now.
    state.rest_until_ns = 0;
    if (state.planned_ns == 0) continue;
    state.doubtful = true;
    // It need not run again to be planned again: what ran last ran with one of the two.
    state.wanted = state.wanted || state.cost_us > 0;
  }
}

std::vector<ExplainQueue::Id> ExplainQueue::WithoutText(int64_t now_ns) const {
  std::vector<Id> ids;
  const auto waiting = ByCost(now_ns);
  for (size_t i = 0; i < std::min(waiting.size(), kMostTexts); ++i) {
    if (!texts_.contains(waiting[i].second)) ids.push_back(waiting[i].second);
  }
  return ids;
}

void ExplainQueue::SetText(const Id& id, std::string text) {
  const auto state = statements_.find(id);
  if (state == statements_.end() || texts_.contains(id)) return;
  if (!MayHavePlan(text)) {
    state->second.hopeless = true;
    return;
  }
  // Others have to make room: their texts are read again when they wait.
  if (text_bytes_ + text.size() > kMostTextBytes || texts_.size() >= kMostTexts) {
    texts_.clear();
    text_bytes_ = 0;
  }
  text_bytes_ += text.size();
  texts_.emplace(id, std::move(text));
}

int64_t ExplainQueue::Left(int64_t now_ns) {
  if (refilled_ns_ != 0) {
    const double minutes = static_cast<double>(now_ns - refilled_ns_) / static_cast<double>(60 * kSecondNs);
    left_ = std::min(left_ + minutes * limits_.statements, static_cast<double>(limits_.statements));
    left_us_ =
        std::min(left_us_ + minutes * static_cast<double>(limits_.time_us), static_cast<double>(limits_.time_us));
  }
  refilled_ns_ = now_ns;
  return left_us_ > 0 ? static_cast<int64_t>(left_) : 0;
}

std::optional<ExplainQueue::Statement> ExplainQueue::Take(const std::string& database, int64_t now_ns) {
  if (Left(now_ns) < 1) return std::nullopt;
  const int32_t number = DatabaseOf(database);
  const auto most = [&] {
    auto best = statements_.end();
    for (auto each = statements_.begin(); each != statements_.end(); ++each) {
      if (each->second.database != number || !Waits(each->second, now_ns) || !texts_.contains(each->first)) continue;
      if (best == statements_.end() || each->second.cost_us > best->second.cost_us) best = each;
    }
    return best;
  }();
  if (most == statements_.end()) return std::nullopt;
  most->second.taken = true;
  left_ -= 1;
  return Statement{most->first, most->second.user, texts_[most->first]};
}

void ExplainQueue::Done(const Id& id, bool planned, int64_t took_us, int64_t now_ns) {
  left_us_ -= static_cast<double>(took_us);
  const auto found = statements_.find(id);
  if (found == statements_.end()) return;
  State& state = found->second;
  state.taken = false;
  if (!planned) {
    state.rest_until_ns = now_ns + std::min(kRestNs << std::min(state.failures, 10), kMostRestNs);
    ++state.failures;
    return;
  }
  state.failures = 0;
  state.planned_ns = now_ns;
  state.planned_mean_us = state.mean_us;
  state.wanted = false;
  state.doubtful = false;
}

int64_t ExplainQueue::Waiting(const std::string& database, int64_t now_ns) const {
  int64_t count = 0;
  for (const auto& [id, state] : statements_) {
    if (databases_[static_cast<size_t>(state.database)].name == database && Waits(state, now_ns) &&
        texts_.contains(id)) {
      ++count;
    }
  }
  return count;
}

}  // namespace pga::collector
