#include "services/ingest/source_directory.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"
#include "libs/storage/write/prepared_batch.h"

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
  PGA_RETURN_IF_ERROR(Settle(collector, collector_id, unknown, deadline, &resolved));
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

absl::Status SourceDirectory::Settle(int32_t collector, std::string_view collector_id,
                                     const std::vector<SourceDescription>& sources, clock::SteadyTime deadline,
                                     std::vector<ResolvedSource>* answers) {
  using Need = ResolvedSource::Need;
  std::vector<SourceDescription> asked;
  for (size_t i = 0; i < sources.size(); ++i) {
    if ((*answers)[i].need == Need::kOwner) asked.push_back(sources[i]);
  }
  absl::flat_hash_set<std::string> known;
  if (!asked.empty()) {
    PGA_ASSIGN_OR_RETURN(const std::vector<OwnedSource> owners, authority_->OwnersOf(collector_id, asked, deadline));
    for (const OwnedSource& owner : owners) known.insert(owner.uuid);
    PGA_ASSIGN_OR_RETURN(const std::vector<std::string> changed, store_->ApplyOwners(owners, deadline));
    ForgetSources(changed);
    PGA_ASSIGN_OR_RETURN(*answers, store_->ResolveSources(collector, collector_id, sources, deadline));
  }
  bool carried = false;
  for (const ResolvedSource& answer : *answers) {
    if (answer.need != Need::kCarry) continue;
    PGA_RETURN_IF_ERROR(store_->Carry(answer.id, answer.owner_epoch, deadline));
    carried = true;
  }
  if (carried) {
    PGA_ASSIGN_OR_RETURN(*answers, store_->ResolveSources(collector, collector_id, sources, deadline));
  }
  for (size_t i = 0; i < sources.size(); ++i) {
    ResolvedSource& answer = (*answers)[i];
    if (answer.need == Need::kNothing) continue;
    if (answer.need == Need::kOwner && !known.contains(sources[i].uuid)) {
      answer.need = Need::kNothing;
      answer.refusal = storage::quarantine_reason::kSource;
      answer.message = "registry knows no source of this id";
      continue;
    }
    // A grant that registry lost, or a takeover right now.
    return status::WithRetryAfter(
        status::WithReason(absl::UnavailableError(absl::StrCat("registry does not say that the collector owns epoch ",
                                                               sources[i].owner_epoch, " of source ", sources[i].name)),
                           kReasonOwnership),
        absl::Seconds(1));
  }
  return absl::OkStatus();
}

void SourceDirectory::ForgetSources(const std::vector<std::string>& uuids) {
  if (uuids.empty()) return;
  const absl::flat_hash_set<std::string> gone(uuids.begin(), uuids.end());
  absl::MutexLock lock(&mutex_);
  absl::erase_if(entries_, [&](const auto& entry) { return gone.contains(entry.first.second); });
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
