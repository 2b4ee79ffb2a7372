// Which texts went out by their ids, so that each goes again only after a while: what received it may have lost it.
// Holds a bounded number of ids; beyond it no further text is due until old ones expire. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace pga::collector {

// Trees of plans.
constexpr int64_t kPlanTextsAgainNs = int64_t{6} * 3600 * 1'000'000'000;

class SentTexts {
 public:
  explicit SentTexts(int64_t again_ns) : again_ns_(again_ns) {}

  // Forgets what went out so long ago that it is due again.
  void Expire(int64_t now_ns) {
    std::erase_if(sent_ns_, [&](const auto& sent) { return now_ns - sent.second > again_ns_; });
  }
  bool Due(int64_t id) const { return sent_ns_.size() < kMost && !sent_ns_.contains(id); }
  void Sent(int64_t id, int64_t now_ns) { sent_ns_[id] = now_ns; }
  // It did not arrive.
  void Forget(int64_t id) { sent_ns_.erase(id); }
  void ForgetAll() { sent_ns_.clear(); }

 private:
  static constexpr size_t kMost = 10'000;

  const int64_t again_ns_;
  std::map<int64_t, int64_t> sent_ns_;
};

}  // namespace pga::collector
