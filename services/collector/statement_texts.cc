#include "services/collector/statement_texts.h"

namespace pga::collector {
namespace {

constexpr int64_t kResendNs = int64_t{24} * 3600 * 1000000000;

}  // namespace

std::vector<StatementTexts::Id> StatementTexts::Due(const std::vector<Id>& in_use, int64_t now_ns) {
  for (const Id& id : in_use) states_[id].seen = true;
  absl::erase_if(states_, [](auto& item) { return !std::exchange(item.second.seen, false); });
  std::vector<Id> due;
  for (const auto& [id, state] : states_) {
    if (!state.in_spool && (state.sent_ns == 0 || now_ns - state.sent_ns >= kResendNs)) due.push_back(id);
  }
  return due;
}

void StatementTexts::Spooled(const std::vector<Id>& ids, const BatchId& batch, int64_t now_ns) {
  for (const Id& id : ids) {
    const auto it = states_.find(id);
    if (it == states_.end()) continue;
    it->second.in_spool = true;
    it->second.sent_ns = now_ns;
  }
  std::vector<Id>& waiting = waiting_[batch];
  waiting.insert(waiting.end(), ids.begin(), ids.end());
}

void StatementTexts::Acked(const std::string& stream_id, int64_t last_seq) {
  auto it = waiting_.lower_bound(BatchId{stream_id, 0});
  while (it != waiting_.end() && it->first.stream_id == stream_id && it->first.seq <= last_seq) {
    for (const Id& id : it->second) {
      if (const auto state = states_.find(id); state != states_.end()) state->second.in_spool = false;
    }
    it = waiting_.erase(it);
  }
}

void StatementTexts::ForgetAll() {
  states_.clear();
  waiting_.clear();
}

}  // namespace pga::collector
