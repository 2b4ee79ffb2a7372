#include "services/ingest/source_directory.h"

#include "libs/clock/steady.h"
#include "libs/status/status.h"

namespace pga::ingest {

absl::StatusOr<std::vector<ResolvedSource>> SourceDirectory::Resolve(int32_t collector, std::string_view collector_id,
                                                                     const std::vector<SourceDescription>& sources,
                                                                     clock::SteadyTime deadline) {
  std::vector<ResolvedSource> answers(sources.size());
  std::vector<SourceDescription> unknown;
  std::vector<size_t> places;
  {
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < sources.size(); ++i) {
      const auto found = entries_.find(Key(collector, sources[i].uuid));
      if (found != entries_.end() && found->second.description == sources[i]) {
        answers[i] = found->second.answer;
        active_.insert(answers[i].id);
      } else {
        unknown.push_back(sources[i]);
        places.push_back(i);
      }
    }
  }
  if (unknown.empty()) return answers;
  PGA_ASSIGN_OR_RETURN(std::vector<ResolvedSource> resolved,
                       store_->ResolveSources(collector, collector_id, unknown, deadline));
  absl::MutexLock lock(&mutex_);
  if (entries_.size() + resolved.size() > max_entries_) entries_.clear();
  for (size_t i = 0; i < resolved.size(); ++i) {
    // A refusal is not remembered: it may be lifted by moving the source.
    if (resolved[i].refusal.empty()) {
      entries_.insert_or_assign(Key(collector, unknown[i].uuid), Entry{unknown[i], resolved[i]});
      active_.insert(resolved[i].id);
    }
    answers[places[i]] = std::move(resolved[i]);
  }
  return answers;
}

void SourceDirectory::Forget(int32_t collector) {
  absl::MutexLock lock(&mutex_);
  absl::erase_if(entries_, [&](const auto& entry) { return entry.first.first == collector; });
}

void SourceDirectory::Clear() {
  absl::MutexLock lock(&mutex_);
  entries_.clear();
  active_.clear();
}

std::vector<int32_t> SourceDirectory::TakeActive() {
  absl::MutexLock lock(&mutex_);
  std::vector<int32_t> active(active_.begin(), active_.end());
  active_.clear();
  return active;
}

}  // namespace pga::ingest
