#include "tests/faults/spool_run_testing.h"

#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/protobuf/arena.h"
#include "libs/catalog/metric.h"
#include "libs/frame/batch_codec.h"
#include "services/collector/reading.h"
#include "services/collector/spool_testing.h"

namespace pga::faults {

using collector::BatchId;
using collector::Spool;
using collector::SpoolBatch;
using collector::SpoolStream;

namespace ingest_v1 = pganalytics::ingest::v1;

void Tally::Say(const char* what) const {
  std::printf("%-34s %7ld states: lost %ld, doubled %ld, spurious %ld, corrupt %ld, baselines %ld\n", what,
              static_cast<long>(states), static_cast<long>(lost), static_cast<long>(doubled),
              static_cast<long>(spurious), static_cast<long>(corrupt), static_cast<long>(baselines));
  if (!first.empty()) std::printf("  first: %s\n", first.c_str());
}

SpoolRun::SpoolRun(std::string folder, Options options)
    : options_(options), random_(options.seed), disk_(folder, options.mutant) {
  mkdir(folder.c_str(), 0700);
  spool_options_.directory = std::move(folder);
  spool_options_.segment_bytes = 3000;
  spool_options_.limit_bytes = 60'000;
  spool_options_.snapshot_patch_bytes = 1500;
  if (options_.fail_from >= 0) disk_.FailFrom(options_.fail_from, options_.fail_count, options_.error);
}

void SpoolRun::Open() {
  spool_.reset();
  // A failure that was made may hit the start.
  for (int attempt = 0; attempt < 10 && spool_ == nullptr; ++attempt) {
    auto opened = Spool::Open(spool_options_, &clock_);
    if (opened.ok()) spool_ = *std::move(opened);
  }
  if (spool_ == nullptr) return;
  // A collector goes on from what the spool knows.
  baseline_ = spool_->baselines().Find("tracker");
  Note(Fate::kRestart, 0);
}

ingest_v1::BatchContent SpoolRun::Content(int64_t number) {
  ingest_v1::BatchContent content;
  auto* const source = content.add_sources();
  source->set_source_id(std::string(16, 's'));
  source->set_name("db");
  auto* const frame = content.add_frames();
  frame->set_metric("m");
  frame->set_source_id(source->source_id());
  frame->set_interval_start_us(number * 10);
  frame->set_collected_at_us(number * 10 + 10);
  auto* const text = content.add_query_texts();
  text->set_source_id(source->source_id());
  text->set_query_id(number);
  // Bulk that does not compress.
  std::string bytes(60 + random_() % 700, ' ');
  for (char& c : bytes) c = static_cast<char>('a' + random_() % 26);
  text->set_text(bytes);
  texts_[number] = bytes;
  return content;
}

void SpoolRun::AppendSome(bool must_pass) {
  static const auto* const kMetric = new collector::catalogpb::Metric(collector::CounterMetric());
  static const auto* const kShape = new collector::MetricShape(*kMetric);
  struct Unit {
    std::vector<int64_t> numbers;
    std::shared_ptr<const collector::Baseline> baseline;
  };
  std::vector<SpoolBatch> group;
  std::vector<Unit> units;
  std::shared_ptr<const collector::Baseline> baseline = baseline_;
  for (uint64_t left = 1 + random_() % 3; left > 0; --left) {
    Unit unit;
    SpoolBatch batch;
    for (uint64_t parts = random_() % 5 == 0 ? 1 + random_() % 2 : 0; parts > 0; --parts) {
      unit.numbers.push_back(next_);
      batch.before.push_back(Content(next_++));
    }
    unit.numbers.push_back(next_);
    batch.content = Content(next_);
    collector::Reading reading(*kShape);
    for (int id = 0; id < 3; ++id) {
      reading.AddRow();
      reading.SetInt(0, id);
      reading.SetInt(1, next_ * (id + 1));
    }
    collector::Observation observation;
    observation.epoch = {1, 1, 1, 1};
    observation.collected_at_us = next_ * 1'000'000;
    auto step = collector::Advance(baseline.get(), reading, observation);
    if (!step.ok()) std::abort();
    batch.baselines.push_back({"tracker", step->patch, step->next});
    baseline = step->next;
    baselines_[baseline->Serialize()] = next_;
    unit.baseline = baseline;
    ++next_;
    for (const int64_t number : unit.numbers) Note(Fate::kStarted, number);
    group.push_back(std::move(batch));
    units.push_back(std::move(unit));
  }
  const auto results = spool_->Append(std::move(group));
  for (size_t i = 0; i < units.size(); ++i) {
    const Unit& unit = units[i];
    const bool accepted = results[i].ok();
    for (const int64_t number : unit.numbers) {
      Note(accepted ? Fate::kAccepted : Fate::kRefused, number, accepted && number == unit.numbers.back());
    }
    if (accepted) baseline_ = unit.baseline;
    if (must_pass) recovered_ = recovered_ || accepted;
  }
}

int64_t SpoolRun::NumberOf(const ingest_v1::Batch& batch) const {
  google::protobuf::Arena arena;
  const auto content = frame::OpenBatch(batch, &arena);
  if (!content.ok() || (*content)->query_texts_size() != 1) return 0;
  const int64_t number = (*content)->query_texts(0).query_id();
  const auto text = texts_.find(number);
  const bool same = text != texts_.end() && text->second == (*content)->query_texts(0).text() &&
                    (*content)->frames_size() == 1 && (*content)->frames(0).collected_at_us() == number * 10 + 10;
  return same ? number : 0;
}

void SpoolRun::AckSome() {
  for (const SpoolStream& stream : spool_->Streams()) {
    if (stream.pending == 0 || random_() % 2 == 0) continue;
    const int64_t to =
        stream.last_acked_seq + 1 + static_cast<int64_t>(random_() % static_cast<uint64_t>(stream.pending));
    for (int64_t seq = stream.last_acked_seq + 1; seq <= to; ++seq) {
      const auto batch = spool_->Load(stream.stream_id, seq);
      if (const int64_t number = batch.ok() ? NumberOf(*batch) : 0; number != 0) Note(Fate::kAcked, number);
    }
    spool_->Ack(stream.stream_id, to, "");
  }
}

void SpoolRun::MoveSome() {
  const std::vector<SpoolStream> streams = spool_->Streams();
  if (streams.empty()) return;
  const SpoolStream& stream = streams[random_() % streams.size()];
  if (stream.pending == 0) return;
  (void)spool_->Restamp(stream.stream_id, stream.last_acked_seq + 1);
}

void SpoolRun::Run() {
  Open();
  for (int round = 0; round < options_.rounds && spool_ != nullptr; ++round) {
    if (options_.random_failures && random_() % 5 == 0) {
      disk_.FailFrom(disk_.calls() + static_cast<int64_t>(random_() % 6), 1 + static_cast<int64_t>(random_() % 3),
                     random_() % 2 == 0 ? ENOSPC : EIO);
    }
    AppendSome(false);
    if (random_() % 3 == 0) AckSome();
    if (random_() % 12 == 0) MoveSome();
    spool_->Maintain(random_() % 8 == 0).IgnoreError();
    clock_.Advance(absl::Minutes(static_cast<int64_t>(random_() % 6)));
    if (random_() % 10 == 0) Open();
  }
  calls_ = disk_.calls();
  // The disk works again.
  disk_.FailFrom(-1, 0, 0);
  if (spool_ == nullptr) Open();
  for (int i = 0; i < 2; ++i) AppendSome(true);
  spool_.reset();
}

Known SpoolRun::After(size_t steps) const {
  Known known;
  std::set<int64_t> refused;
  for (const Event& event : events_) {
    if (event.step > steps) break;
    switch (event.fate) {
      case Fate::kStarted:
        known.may.insert(event.number);
        break;
      case Fate::kAccepted:
        known.must.insert(event.number);
        if (event.baseline) known.baseline = event.number;
        // What was refused before must have left no trace by now; until then a power failure may come before the
        // withdrawal is on the disk.
        for (const int64_t number : refused) known.may.erase(number);
        refused.clear();
        break;
      case Fate::kRefused:
        refused.insert(event.number);
        break;
      case Fate::kRestart:
        // What could not be withdrawn before the restart is found with its baselines, and is as good as accepted.
        refused.clear();
        break;
      case Fate::kAcked:
        known.must.erase(event.number);
        break;
    }
  }
  return known;
}

void SpoolRun::Check(const std::string& folder, const Known& known, bool damaged, const std::string& where,
                     Tally* tally) const {
  ++tally->states;
  const auto wrong = [&](int64_t* count, const std::string& what) {
    ++*count;
    if (tally->first.empty()) tally->first = absl::StrCat("seed ", options_.seed, ", ", where, ": ", what);
  };
  collector::SpoolOptions options = spool_options_;
  options.directory = folder;
  auto spool = Spool::Open(options, &clock_);
  if (!spool.ok()) {
    wrong(&tally->lost, std::string(spool.status().message()));
    return;
  }
  std::set<int64_t> found;
  bool reported = false;
  for (const SpoolStream& stream : (*spool)->Streams()) {
    for (int64_t seq = stream.last_acked_seq + 1; seq <= stream.last_written_seq; ++seq) {
      bool gap = false;
      const auto batch = (*spool)->Load(stream.stream_id, seq, &gap);
      if (!batch.ok() || gap) {
        reported = true;
        if (batch.ok()) seq = batch->seq();
        continue;
      }
      google::protobuf::Arena arena;
      if (const auto content = frame::OpenBatch(*batch, &arena); content.ok() && (*content)->has_gap()) {
        reported = true;
        continue;
      }
      const int64_t number = NumberOf(*batch);
      if (number == 0) {
        wrong(&tally->corrupt, absl::StrCat("batch ", seq, " of a stream holds other bytes"));
      } else if (!found.insert(number).second) {
        wrong(&tally->doubled, absl::StrCat("number ", number, " is there twice"));
      } else if (!known.may.contains(number)) {
        wrong(&tally->spurious, absl::StrCat("number ", number, " was refused"));
      }
    }
  }
  const collector::SpoolStats stats = (*spool)->stats();
  reported = reported || stats.torn_bytes > 0 || stats.rotten_records > 0;
  for (const int64_t number : known.must) {
    if (!found.contains(number) && !(damaged && reported)) wrong(&tally->lost, absl::StrCat("number ", number));
  }
  // The baselines are those of the newest batch that is there, or further where it was acknowledged.
  const auto baseline = (*spool)->baselines().Find("tracker");
  const auto known_as = baseline == nullptr ? baselines_.end() : baselines_.find(baseline->Serialize());
  const int64_t at = known_as == baselines_.end() ? 0 : known_as->second;
  if (baseline != nullptr && at == 0) {
    wrong(&tally->baselines, "the baseline is none that was ever handed over");
  } else if (damaged) {
    // None is right: the metric then begins with a key frame.
    if (baseline != nullptr && !found.empty() && at < *found.rbegin()) {
      const bool counted =
          known.must.contains(*found.rbegin()) && at < known.baseline && *found.rbegin() <= known.baseline;
      if (counted) wrong(&tally->baselines, absl::StrCat("baseline of ", at, " behind batch ", *found.rbegin()));
    }
  } else if (at < known.baseline) {
    wrong(&tally->baselines, absl::StrCat("baseline of ", at, ", accepted was ", known.baseline));
  } else if (at > known.baseline && !found.contains(at)) {
    wrong(&tally->baselines, absl::StrCat("baseline of ", at, ", whose batch is not there"));
  }
}

}  // namespace pga::faults
