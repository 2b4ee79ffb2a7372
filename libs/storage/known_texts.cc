#include "libs/storage/known_texts.h"

#include <algorithm>
#include <array>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

namespace pga::storage {

// Two generations: an entry lives through the rest of its own period and the whole next one.
struct KnownTexts::Impl {
  using Key = std::pair<int32_t, int64_t>;
  struct Shard {
    mutable absl::Mutex mutex;
    absl::flat_hash_set<Key> current ABSL_GUARDED_BY(mutex), previous ABSL_GUARDED_BY(mutex);
    absl::Time rotate_at ABSL_GUARDED_BY(mutex) = absl::InfinitePast();
  };
  static constexpr size_t kShards = 16;
  std::array<Shard, kShards> shards;
  size_t max_per_generation = 0;
  absl::Duration period;

  static size_t ShardOf(int64_t id) { return static_cast<uint64_t>(id) % kShards; }
};

KnownTexts::KnownTexts(size_t max_entries, absl::Duration period) : impl_(std::make_unique<Impl>()) {
  impl_->max_per_generation = std::max<size_t>(max_entries / 2 / Impl::kShards, 1);
  impl_->period = period;
}

KnownTexts::~KnownTexts() = default;

bool KnownTexts::Contains(int32_t source, int64_t id) const {
  const Impl::Shard& shard = impl_->shards[Impl::ShardOf(id)];
  absl::MutexLock lock(&shard.mutex);
  const Impl::Key key{source, id};
  return shard.current.contains(key) || shard.previous.contains(key);
}

void KnownTexts::Insert(const std::vector<std::pair<int32_t, int64_t>>& texts) {
  const absl::Time now = absl::Now();
  for (const Impl::Key& text : texts) {
    Impl::Shard& shard = impl_->shards[Impl::ShardOf(text.second)];
    absl::MutexLock lock(&shard.mutex);
    if (now >= shard.rotate_at || shard.current.size() >= impl_->max_per_generation) {
      shard.previous = std::exchange(shard.current, {});
      shard.rotate_at = now + impl_->period;
    }
    shard.current.insert(text);
  }
}

void KnownTexts::Clear() {
  for (Impl::Shard& shard : impl_->shards) {
    absl::MutexLock lock(&shard.mutex);
    shard.current.clear();
    shard.previous.clear();
  }
}

}  // namespace pga::storage
