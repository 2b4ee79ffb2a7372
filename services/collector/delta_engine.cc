#include "services/collector/delta_engine.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "libs/frame/frame_builder.h"
#include "libs/status/status.h"
#include "services/collector/bytes.h"

namespace pga::collector {
namespace {

constexpr uint8_t kFormat = 4;
// Null masks are 64 bits wide.
constexpr size_t kMaxCounters = 64;
constexpr int64_t kDayUs = int64_t{24} * 3600 * 1000000;
// The tree of blocked sessions is said when it changes, and again every 15 minutes while it lasts.
constexpr int64_t kBlockingReachUs = int64_t{1200} * 1000000;

absl::string_view ToAbsl(std::string_view v) {
  return {v.data(), v.size()};
}

void AppendCells(const Reading& reading, size_t row, const std::vector<int>& columns, std::string* out) {
  for (const int column : columns) {
    if (reading.IsNull(row, column)) {
      out->push_back('\0');
    } else if (reading.shape().type(column) == catalogpb::COLUMN_TYPE_TEXT) {
      out->push_back('\2');
      PutBytes(out, reading.Text(row, column));
    } else {
      out->push_back('\1');
      PutFixed64(out, static_cast<uint64_t>(reading.Int(row, column)));
    }
  }
}

// Sets the labels of a row from their encoded form: for rows that have no reading.
template <typename Row>
void SetLabels(const MetricShape& shape, std::string_view labels, Row* out) {
  ByteReader reader(labels);
  for (const int column : shape.labels()) {
    uint8_t tag = 0;
    if (!reader.GetByte(&tag)) return;
    if (tag == 2) {
      std::string_view text;
      if (!reader.GetBytes(&text)) return;
      out->SetText(column, text);
    } else if (tag == 1) {
      uint64_t bits = 0;
      if (!reader.GetFixed64(&bits)) return;
      switch (shape.type(column)) {
        case catalogpb::COLUMN_TYPE_BOOL:
          out->SetBool(column, bits != 0);
          break;
        case catalogpb::COLUMN_TYPE_FLOAT8:
          out->SetDouble(column, std::bit_cast<double>(bits));
          break;
        default:
          out->SetInt(column, static_cast<int64_t>(bits));
      }
    }
  }
}

void CopyCell(const Reading& reading, size_t row, int column, frame::FrameBuilder* out) {
  if (reading.IsNull(row, column)) return;
  switch (reading.shape().type(column)) {
    case catalogpb::COLUMN_TYPE_BOOL:
      out->SetBool(column, reading.Int(row, column) != 0);
      break;
    case catalogpb::COLUMN_TYPE_FLOAT8:
      out->SetDouble(column, reading.Double(row, column));
      break;
    case catalogpb::COLUMN_TYPE_TEXT:
      out->SetText(column, reading.Text(row, column));
      break;
    default:
      out->SetInt(column, reading.Int(row, column));
  }
}

int RowFlags(const Reading& reading, size_t row) {
  return reading.text_replaced(row) ? static_cast<int>(ingestpb::FRAME_FLAG_TEXT_REPLACED) : 0;
}

uint64_t OthersHash(const Reading& reading, size_t row) {
  const MetricShape& shape = reading.shape();
  uint64_t hash = 1;
  for (const int column : shape.others()) {
    if (reading.IsNull(row, column)) {
      hash = StableHash("null", hash);
    } else if (shape.type(column) == catalogpb::COLUMN_TYPE_TEXT) {
      hash = StableHash(reading.Text(row, column), hash);
    } else {
      const int64_t value = reading.Int(row, column);
      hash = StableHash(std::string_view(reinterpret_cast<const char*>(&value), sizeof value), hash);
    }
  }
  return hash == 0 ? 1 : hash;  // 0 = not known
}

// Absolute values: every row as it was read.
absl::Status BuildFull(const Reading& reading, int64_t start_us, int64_t at_us, ingestpb::FrameKind kind,
                       const ingestpb::CounterRun* run, const frame::PartLimits& limits,
                       std::vector<ingestpb::Frame>* frames) {
  ingestpb::Frame frame;
  frame::FrameBuilder builder(reading.shape().metric(), &frame, static_cast<int>(reading.rows()));
  if (run != nullptr) *frame.mutable_run() = *run;
  for (size_t row = 0; row < reading.rows(); ++row) {
    for (int column = 0; column < reading.shape().columns(); ++column) CopyCell(reading, row, column, &builder);
    builder.EndRow(RowFlags(reading, row));
  }
  frame.set_kind(kind);
  frame.set_collected_at_us(at_us);
  frame.set_interval_start_us(start_us);
  return builder.FinishInParts(limits, frames);
}

ingestpb::CounterRun RunOf(const Observation& observation, bool opening) {
  ingestpb::CounterRun run;
  run.set_system_identifier(observation.epoch.system_identifier);
  run.set_timeline(observation.epoch.timeline);
  run.set_checkpointer_start_us(observation.epoch.checkpointer_start_us);
  run.set_statistics_reset_us(observation.epoch.statistics_reset_us);
  run.set_partial(observation.epoch.partial);
  run.set_view_reset_us(observation.view_reset_us);
  run.set_evictions(observation.evictions);
  run.set_opening(opening);
  run.set_objects_reset_us(observation.objects_reset_us);
  return run;
}

// Whether today's key frame is still to be taken, and now.
bool DailyKeyframeDue(int64_t last_us, int64_t now_us, const DeltaOptions& options) {
  const int64_t day_us = now_us - now_us % kDayUs;
  if (last_us >= day_us) return false;
  // Where the next reading comes after the window, this one is the last within it.
  return now_us >= day_us + options.keyframe_offset_us || now_us + options.interval_us >= day_us + kKeyframeWindowUs;
}

}  // namespace

bool Continues(const Epoch& before, const Epoch& now) {
  if (before.partial != now.partial) return false;
  if (before.system_identifier != now.system_identifier || before.timeline != now.timeline) return false;
  if (before.checkpointer_start_us == now.checkpointer_start_us && now.checkpointer_start_us != 0) return true;
  return before.statistics_reset_us == now.statistics_reset_us && now.statistics_reset_us != 0;
}

DeltaOptions OptionsOf(const MetricShape& shape, std::string_view tracker, int64_t base_interval_us) {
  DeltaOptions options;
  options.interval_us = base_interval_us * std::max(shape.metric().interval_factor(), 1);
  options.reach_us = shape.metric().probe() == "blocking" ? kBlockingReachUs : 2 * options.interval_us;
  options.keyframe_offset_us = static_cast<int64_t>(StableHash(tracker) % static_cast<uint64_t>(kKeyframeWindowUs));
  return options;
}

std::string TrackerKey(std::string_view source_id, int64_t scope_id, std::string_view metric) {
  std::string key;
  PutBytes(&key, source_id);
  PutSigned(&key, scope_id);
  key.append(metric);
  return key;
}

// Fills a Baseline row by row.
class BaselineBuilder {
 public:
  BaselineBuilder() : baseline_(new Baseline()) {}

  Baseline* operator->() { return baseline_.get(); }

  void Reserve(size_t rows, size_t counters) {
    baseline_->key_ends_.reserve(rows);
    baseline_->label_ends_.reserve(rows);
    baseline_->counters_.reserve(rows * counters);
    baseline_->null_counters_.reserve(rows);
    baseline_->resets_.reserve(rows);
    baseline_->others_.reserve(rows);
  }

  void SetHeader(uint64_t generation, const Observation& observation, int64_t keyframe_at_us,
                 std::vector<std::string> counter_names) {
    baseline_->generation_ = generation;
    baseline_->observation_ = observation;
    baseline_->keyframe_at_us_ = keyframe_at_us;
    baseline_->counter_names_ = std::move(counter_names);
  }

  void Add(std::string_view key, std::string_view labels, const int64_t* counters, uint64_t nulls, int64_t reset_us,
           uint64_t others_hash) {
    baseline_->keys_.append(key);
    baseline_->key_ends_.push_back(static_cast<uint32_t>(baseline_->keys_.size()));
    baseline_->labels_.append(labels);
    baseline_->label_ends_.push_back(static_cast<uint32_t>(baseline_->labels_.size()));
    baseline_->counters_.insert(baseline_->counters_.end(), counters, counters + baseline_->counter_names_.size());
    baseline_->null_counters_.push_back(nulls);
    baseline_->resets_.push_back(reset_us);
    baseline_->others_.push_back(others_hash);
  }

  void AddRow(const Baseline::Row& row) {
    Add(row.key, row.labels, row.counters, row.null_counters, row.reset_us, row.others_hash);
  }

  // False if two rows have the same key.
  bool Index() {
    baseline_->index_.reserve(baseline_->rows());
    for (uint32_t i = 0; i < baseline_->rows(); ++i) {
      if (!baseline_->index_.emplace(ToAbsl(baseline_->row(i).key), i).second) return false;
    }
    return true;
  }

  std::shared_ptr<const Baseline> Finish() { return std::move(baseline_); }

 private:
  std::shared_ptr<Baseline> baseline_;
};

Baseline::Row Baseline::row(size_t i) const {
  const size_t begin = i == 0 ? 0 : key_ends_[i - 1];
  const size_t label_begin = i == 0 ? 0 : label_ends_[i - 1];
  return {std::string_view(keys_).substr(begin, key_ends_[i] - begin),
          std::string_view(labels_).substr(label_begin, label_ends_[i] - label_begin),
          counters_.data() + i * counter_names_.size(),
          null_counters_[i],
          resets_[i],
          others_[i]};
}

int64_t Baseline::Find(std::string_view key) const {
  const auto it = index_.find(ToAbsl(key));
  return it == index_.end() ? -1 : static_cast<int64_t>(it->second);
}

namespace {

void PutObservation(std::string* out, const Observation& o) {
  PutSigned(out, o.collected_at_us);
  PutSigned(out, o.epoch.system_identifier);
  PutSigned(out, o.epoch.timeline);
  PutSigned(out, o.epoch.checkpointer_start_us);
  PutSigned(out, o.epoch.statistics_reset_us);
  PutSigned(out, o.epoch.partial ? 1 : 0);
  PutSigned(out, o.view_reset_us);
  PutSigned(out, o.evictions);
  PutSigned(out, o.owner_epoch);
  PutSigned(out, o.objects_reset_us);
}

bool GetObservation(ByteReader* in, Observation* o) {
  int64_t partial = 0;
  const bool whole = in->GetSigned(&o->collected_at_us) && in->GetSigned(&o->epoch.system_identifier) &&
                     in->GetSigned(&o->epoch.timeline) && in->GetSigned(&o->epoch.checkpointer_start_us) &&
                     in->GetSigned(&o->epoch.statistics_reset_us) && in->GetSigned(&partial) &&
                     in->GetSigned(&o->view_reset_us) && in->GetSigned(&o->evictions) &&
                     in->GetSigned(&o->owner_epoch) && in->GetSigned(&o->objects_reset_us);
  o->epoch.partial = partial != 0;
  return whole;
}

void PutNames(std::string* out, const std::vector<std::string>& names) {
  PutVarint(out, names.size());
  for (const std::string& name : names) PutBytes(out, name);
}

bool GetNames(ByteReader* in, std::vector<std::string>* names) {
  uint64_t count = 0;
  if (!in->GetVarint(&count) || count > kMaxCounters) return false;
  for (uint64_t i = 0; i < count; ++i) {
    std::string_view name;
    if (!in->GetBytes(&name)) return false;
    names->emplace_back(name);
  }
  return true;
}

// Counters as differences to `base` (nullptr = zeros), so that a patch holds small numbers.
void PutRow(std::string* out, const Baseline::Row& row, size_t counters, const int64_t* base) {
  PutBytes(out, row.key);
  PutBytes(out, row.labels);
  PutVarint(out, row.null_counters);
  PutSigned(out, row.reset_us);
  PutFixed64(out, row.others_hash);
  for (size_t i = 0; i < counters; ++i) {
    const uint64_t from = base == nullptr ? 0 : static_cast<uint64_t>(base[i]);
    PutSigned(out, static_cast<int64_t>(static_cast<uint64_t>(row.counters[i]) - from));
  }
}

struct ParsedRow {
  std::string_view key;
  std::string_view labels;
  uint64_t nulls = 0;
  int64_t reset_us = 0;
  uint64_t others_hash = 0;
  std::vector<int64_t> counters;
};

bool GetRow(ByteReader* in, size_t counters, ParsedRow* row) {
  if (!in->GetBytes(&row->key) || !in->GetBytes(&row->labels) || !in->GetVarint(&row->nulls) ||
      !in->GetSigned(&row->reset_us) || !in->GetFixed64(&row->others_hash)) {
    return false;
  }
  row->counters.resize(counters);
  for (int64_t& counter : row->counters) {
    if (!in->GetSigned(&counter)) return false;
  }
  return true;
}

absl::Status Malformed() {
  return absl::DataLossError("malformed baseline");
}

}  // namespace

std::string Baseline::Serialize() const {
  std::string out;
  out.reserve(keys_.size() + rows() * (20 + counter_names_.size() * 4) + 256);
  out.push_back(static_cast<char>(kFormat));
  PutVarint(&out, generation_);
  PutObservation(&out, observation_);
  PutSigned(&out, keyframe_at_us_);
  PutNames(&out, counter_names_);
  PutVarint(&out, rows());
  for (size_t i = 0; i < rows(); ++i) PutRow(&out, row(i), counter_names_.size(), nullptr);
  return out;
}

absl::StatusOr<std::shared_ptr<const Baseline>> Baseline::Parse(std::string_view bytes) {
  ByteReader in(bytes);
  uint8_t format = 0;
  uint64_t generation = 0;
  Observation observation;
  int64_t keyframe_at_us = 0;
  std::vector<std::string> names;
  uint64_t rows = 0;
  if (!in.GetByte(&format) || format != kFormat || !in.GetVarint(&generation) || !GetObservation(&in, &observation) ||
      !in.GetSigned(&keyframe_at_us) || !GetNames(&in, &names) || !in.GetVarint(&rows) || rows > in.remaining()) {
    return Malformed();
  }
  BaselineBuilder builder;
  const size_t counters = names.size();
  builder.SetHeader(generation, observation, keyframe_at_us, std::move(names));
  builder.Reserve(rows, counters);
  ParsedRow row;
  for (uint64_t i = 0; i < rows; ++i) {
    if (!GetRow(&in, counters, &row)) return Malformed();
    builder.Add(row.key, row.labels, row.counters.data(), row.nulls, row.reset_us, row.others_hash);
  }
  if (!in.done() || !builder.Index()) return Malformed();
  return builder.Finish();
}

std::string Baseline::PatchFrom(const Baseline* before) const {
  std::string out;
  out.push_back(static_cast<char>(kFormat));
  const bool full = before == nullptr || before->counter_names_ != counter_names_;
  out.push_back(full ? '\1' : '\0');
  PutVarint(&out, generation_);
  if (full) {
    out.append(Serialize());
    return out;
  }
  PutObservation(&out, observation_);
  PutSigned(&out, keyframe_at_us_);
  std::string changed;
  uint64_t changed_count = 0;
  const size_t counters = counter_names_.size();
  for (size_t i = 0; i < rows(); ++i) {
    const Row now = row(i);
    const int64_t found = before->Find(now.key);
    if (found >= 0) {
      const Row was = before->row(static_cast<size_t>(found));
      if (was.null_counters == now.null_counters && was.reset_us == now.reset_us &&
          was.others_hash == now.others_hash && was.labels == now.labels &&
          std::equal(now.counters, now.counters + counters, was.counters)) {
        continue;
      }
      PutRow(&changed, now, counters, was.counters);
    } else {
      PutRow(&changed, now, counters, nullptr);
    }
    ++changed_count;
  }
  PutVarint(&out, changed_count);
  out.append(changed);
  std::string gone;
  uint64_t gone_count = 0;
  for (size_t i = 0; i < before->rows(); ++i) {
    const Row was = before->row(i);
    if (Find(was.key) >= 0) continue;
    PutBytes(&gone, was.key);
    ++gone_count;
  }
  PutVarint(&out, gone_count);
  out.append(gone);
  return out;
}

absl::StatusOr<std::shared_ptr<const Baseline>> Baseline::Apply(const Baseline* before, std::string_view patch) {
  ByteReader in(patch);
  uint8_t format = 0;
  uint8_t full = 0;
  uint64_t generation = 0;
  if (!in.GetByte(&format) || format != kFormat || !in.GetByte(&full) || !in.GetVarint(&generation)) return Malformed();
  if (full == 1) return Parse(patch.substr(patch.size() - in.remaining()));
  if (before == nullptr || before->generation_ + 1 != generation) {
    return absl::FailedPreconditionError("a reading between this patch and the baseline is missing");
  }
  Observation observation;
  int64_t keyframe_at_us = 0;
  uint64_t changed_count = 0;
  if (!GetObservation(&in, &observation) || !in.GetSigned(&keyframe_at_us) || !in.GetVarint(&changed_count) ||
      changed_count > in.remaining()) {
    return Malformed();
  }
  const size_t counters = before->counter_names_.size();
  absl::flat_hash_map<absl::string_view, ParsedRow> changed;
  changed.reserve(changed_count);
  for (uint64_t i = 0; i < changed_count; ++i) {
    ParsedRow row;
    if (!GetRow(&in, counters, &row)) return Malformed();
    const absl::string_view key = ToAbsl(row.key);
    changed.emplace(key, std::move(row));
  }
  uint64_t gone_count = 0;
  if (!in.GetVarint(&gone_count) || gone_count > in.remaining()) return Malformed();
  absl::flat_hash_map<absl::string_view, bool> gone;
  for (uint64_t i = 0; i < gone_count; ++i) {
    std::string_view key;
    if (!in.GetBytes(&key)) return Malformed();
    gone.emplace(ToAbsl(key), true);
  }
  if (!in.done()) return Malformed();

  BaselineBuilder builder;
  builder.SetHeader(generation, observation, keyframe_at_us, before->counter_names_);
  builder.Reserve(before->rows() + changed_count, counters);
  for (size_t i = 0; i < before->rows(); ++i) {
    const Row was = before->row(i);
    if (gone.contains(ToAbsl(was.key))) continue;
    const auto it = changed.find(ToAbsl(was.key));
    if (it == changed.end()) {
      builder.AddRow(was);
      continue;
    }
    ParsedRow& row = it->second;
    for (size_t c = 0; c < counters; ++c) {
      row.counters[c] =
          static_cast<int64_t>(static_cast<uint64_t>(row.counters[c]) + static_cast<uint64_t>(was.counters[c]));
    }
    builder.Add(row.key, row.labels, row.counters.data(), row.nulls, row.reset_us, row.others_hash);
    changed.erase(it);
  }
  for (const auto& [key, row] : changed) {
    builder.Add(row.key, row.labels, row.counters.data(), row.nulls, row.reset_us, row.others_hash);
  }
  if (!builder.Index()) return Malformed();
  return builder.Finish();
}

namespace {

// How the new reading's counters are found in the baseline: by name, because a newer catalog may have added some.
std::vector<int> MapCounters(const MetricShape& shape, const Baseline* before) {
  std::vector<int> places(shape.counters().size(), -1);
  if (before == nullptr) return places;
  for (size_t i = 0; i < places.size(); ++i) {
    const std::string& name = shape.metric().columns(shape.counters()[i]).name();
    const auto& names = before->counter_names();
    const auto it = std::find(names.begin(), names.end(), name);
    if (it != names.end()) places[i] = static_cast<int>(it - names.begin());
  }
  return places;
}

// The comparison of one reading with one baseline.
class Comparison {
 public:
  Comparison(const Baseline* before, const Reading& reading, const Observation& observation,
             const DeltaOptions& options)
      : before_(before),
        reading_(reading),
        shape_(reading.shape()),
        options_(options),
        observation_(observation),
        places_(MapCounters(shape_, before)) {
    since_us_ = before_ == nullptr ? observation_.collected_at_us : TimeOf(*before_);
    went_back_us_ = before_ == nullptr ? 0 : since_us_ - observation_.collected_at_us;
    owned_ = before_ != nullptr && before_->observation().owner_epoch == observation_.owner_epoch;
    continues_ =
        owned_ && Continues(before_->observation().epoch, observation_.epoch) && went_back_us_ <= kClockPatienceUs;
    evicting_ = continues_ && (before_->observation().evictions != observation_.evictions || observation_.evicting);
    objects_reset_ = continues_ && (before_->observation().objects_reset_us != observation_.objects_reset_us ||
                                    observation_.resetting);
    // A time that appears comes with an upgraded extension, not with a reset.
    view_reset_ = continues_ && before_->observation().view_reset_us != 0 && observation_.view_reset_us != 0 &&
                  before_->observation().view_reset_us != observation_.view_reset_us;
  }

  absl::StatusOr<Step> Run() {
    if (continues_ && shape_.keeps_rows() && since_us_ >= observation_.collected_at_us) {
      return absl::UnavailableError(absl::StrCat("the clock is ", went_back_us_ / 1000,
                                                 " ms behind the last reading; counted on once it has passed"));
    }
    Step step;
    step.epoch_changed = before_ != nullptr && !continues_;
    // A key frame of the future was taken before the clock was set back.
    const bool due = !continues_ || before_->keyframe_at_us() > observation_.collected_at_us ||
                     DailyKeyframeDue(before_->keyframe_at_us(), observation_.collected_at_us, options_);
    if (!shape_.has_counters()) {
      PGA_RETURN_IF_ERROR(RunWithoutCounters(due, &step));
    } else {
      PGA_RETURN_IF_ERROR(RunWithCounters(due, &step));
    }
    step.resets_seen = resets_;
    step.patch = step.next->PatchFrom(before_);
    return step;
  }

 private:
  absl::Status RunWithoutCounters(bool due, Step* step) {
    PGA_RETURN_IF_ERROR(MakeNext(due, step));
    if (due || !shape_.skip_unchanged()) {
      return BuildFull(reading_, SpeaksFrom(), observation_.collected_at_us, ingestpb::FRAME_KIND_DELTA, nullptr,
                       options_.parts, &step->frames);
    }
    return BuildChanges(*step->next, SpeaksFrom(), &step->frames);
  }

  // When `before` was read, on the wall clock as it is now. A clock that was set in between neither lengthens nor
  // shortens the interval: it ends at the new time and has the length that passed. Where that length is not known, the
  // time that was read then is all there is.
  int64_t TimeOf(const Baseline& before) const {
    const int64_t was = before.observation().boot_nanos;
    if (was == 0 || observation_.boot_nanos <= was) return before.collected_at_us();
    const int64_t by_length =
        observation_.collected_at_us - std::max<int64_t>((observation_.boot_nanos - was) / 1000, 1);
    const int64_t set_by = by_length - before.collected_at_us();
    const bool set = std::abs(set_by) > kClockToleranceUs || before.collected_at_us() >= observation_.collected_at_us;
    return set ? by_length : before.collected_at_us();
  }

  // Where the time begins that a reading without counters speaks for.
  int64_t SpeaksFrom() const {
    const int64_t now = observation_.collected_at_us;
    const int64_t start = continues_ ? std::min(std::max(since_us_, now - options_.reach_us), now) : now;
    if (observation_.speaks_from_us == 0) return start;
    return std::min(start, std::max(observation_.speaks_from_us, now - kMostSpokenUs));
  }

  absl::Status RunWithCounters(bool due, Step* step) {
    // Counters of the next baseline are made first; the delta is the difference of two baselines' rows.
    PGA_RETURN_IF_ERROR(MakeNext(due, step));
    if (continues_) {
      PGA_RETURN_IF_ERROR(BuildChanges(*step->next, since_us_, &step->frames));
    }
    const bool eviction_due =
        evicted_rows_ > 0 && observation_.collected_at_us - (before_ == nullptr ? 0 : before_->keyframe_at_us()) >=
                                 options_.eviction_keyframe_every_us;
    if (due || objects_reset_ || resets_ > evicted_rows_ || eviction_due) {
      if (!due) PGA_RETURN_IF_ERROR(MakeNext(true, step));  // the same rows, with the time of the key frame
      const int64_t now = observation_.collected_at_us;
      const ingestpb::CounterRun run = RunOf(observation_, /*opening=*/!owned_);
      PGA_RETURN_IF_ERROR(
          BuildFull(reading_, now, now, ingestpb::FRAME_KIND_KEYFRAME, &run, options_.parts, &step->frames));
    }
    return absl::OkStatus();
  }

  absl::Status MakeNext(bool keyframe, Step* step) {
    BaselineBuilder builder;
    std::vector<std::string> names;
    for (const int column : shape_.counters()) names.push_back(shape_.metric().columns(column).name());
    if (names.size() > kMaxCounters) {
      return absl::InvalidArgumentError(absl::StrCat("metric ", shape_.name(), " has more than 64 counters"));
    }
    const size_t counters = names.size();
    builder.SetHeader(before_ == nullptr ? 1 : before_->generation() + 1, observation_,
                      keyframe ? observation_.collected_at_us : before_->keyframe_at_us(), std::move(names));
    if (!shape_.keeps_rows()) {
      step->next = builder.Finish();
      return absl::OkStatus();
    }
    builder.Reserve(reading_.rows(), counters);
    std::string key;
    std::string labels;
    std::vector<int64_t> values(counters);
    for (size_t row = 0; row < reading_.rows(); ++row) {
      key.clear();
      labels.clear();
      if (shape_.identity().empty()) {
        AppendCells(reading_, row, shape_.labels(), &key);
      } else {
        AppendCells(reading_, row, shape_.identity(), &key);
        AppendCells(reading_, row, shape_.labels(), &labels);
      }
      const int64_t found = continues_ ? before_->Find(key) : -1;
      uint64_t nulls = 0;
      for (size_t c = 0; c < counters; ++c) {
        const int column = shape_.counters()[c];
        values[c] = 0;
        if (!reading_.IsNull(row, column)) {
          values[c] = reading_.Int(row, column);
          if (found >= 0 && places_[c] >= 0 && shape_.KeepsHighest(column)) {
            values[c] = std::max(values[c], before_->row(static_cast<size_t>(found)).counters[places_[c]]);
          }
          continue;
        }
        // Not readable now: the place in the baseline is kept, so that nothing between is lost.
        nulls |= uint64_t{1} << c;
        if (found >= 0 && places_[c] >= 0) {
          const Baseline::Row was = before_->row(static_cast<size_t>(found));
          if (((was.null_counters >> places_[c]) & 1) == 0) {
            values[c] = was.counters[places_[c]];
            nulls &= ~(uint64_t{1} << c);
          }
        }
      }
      builder.Add(key, labels, values.data(), nulls, ResetOf(row),
                  shape_.skip_unchanged() ? OthersHash(reading_, row) : uint64_t{0});
    }
    if (!builder.Index()) {
      return absl::InvalidArgumentError(absl::StrCat("metric ", shape_.name(), ": two rows have the same labels"));
    }
    step->next = builder.Finish();
    return absl::OkStatus();
  }

  int64_t ResetOf(size_t row) const {
    const int column = shape_.reset_column();
    return column < 0 || reading_.IsNull(row, column) ? 0 : reading_.Int(row, column);
  }

  static uint64_t AllOf(size_t counters) {
    return counters >= kMaxCounters ? ~uint64_t{0} : (uint64_t{1} << counters) - 1;
  }

  // Rows that changed since the baseline, and keys that vanished.
  absl::Status BuildChanges(const Baseline& next, int64_t interval_start_us, std::vector<ingestpb::Frame>* frames) {
    ingestpb::Frame frame;
    frame::FrameBuilder builder(shape_.metric(), &frame);
    int unchanged = 0;
    const size_t counters = shape_.counters().size();
    std::vector<int64_t> deltas(counters);
    for (size_t row = 0; row < reading_.rows(); ++row) {
      const Baseline::Row now = next.row(row);
      const int64_t found = before_->Find(now.key);
      uint64_t unknown = 0;
      int flags = RowFlags(reading_, row);
      bool changed = true;
      if (found < 0) {
        // It started after the last reading: the reading is the increase.
        for (size_t c = 0; c < counters; ++c) deltas[c] = now.counters[c];
        unknown = now.null_counters;
        // It may have been there before, since the last reading, and been thrown out. Resets mark the whole frame.
        if (evicting_) flags |= ingestpb::FRAME_FLAG_LOWER_BOUND;
      } else {
        const Baseline::Row was = before_->row(static_cast<size_t>(found));
        const bool any = CompareRow(was, now, &deltas, &unknown, &flags);
        changed = any || was.others_hash != now.others_hash || was.others_hash == 0 || was.labels != now.labels ||
                  ReadabilityChanged(row, was, now);
      }
      if (!changed && shape_.skip_unchanged()) {
        ++unchanged;
        continue;
      }
      for (const int column : shape_.labels()) CopyCell(reading_, row, column, &builder);
      for (const int column : shape_.others()) CopyCell(reading_, row, column, &builder);
      for (size_t c = 0; c < counters; ++c) {
        const int column = shape_.counters()[c];
        if (((unknown >> c) & 1) == 0 && !reading_.IsNull(row, column)) builder.SetInt(column, deltas[c]);
      }
      if (counters > 0 && unknown == AllOf(counters)) flags |= ingestpb::FRAME_FLAG_UNKNOWN;
      builder.EndRow(flags);
    }
    // Names that nobody bears any more, whether their object is gone or has another name now.
    absl::flat_hash_set<absl::string_view> names;
    if (!shape_.identity().empty()) {
      for (size_t row = 0; row < next.rows(); ++row) names.insert(ToAbsl(next.row(row).labels));
    }
    for (size_t i = 0; i < before_->rows(); ++i) {
      const Baseline::Row was = before_->row(i);
      const std::string_view labels = shape_.identity().empty() ? was.key : was.labels;
      if (shape_.identity().empty() ? next.Find(was.key) >= 0 : names.contains(ToAbsl(labels))) continue;
      SetLabels(shape_, labels, &builder);
      builder.EndRow(ingestpb::FRAME_FLAG_GONE);
    }
    frame.set_kind(ingestpb::FRAME_KIND_DELTA);
    frame.set_collected_at_us(observation_.collected_at_us);
    frame.set_interval_start_us(interval_start_us);
    frame.set_unchanged_row_count(unchanged);
    // What began since the last reading may be gone without a row.
    if (view_reset_ || objects_reset_ || (evicting_ && !HasRowResets())) {
      frame.set_flags(ingestpb::FRAME_FLAG_LOWER_BOUND);
    }
    return builder.FinishInParts(options_.parts, frames);
  }

  // A counter became readable, or its place is kept while it cannot be read. One that was never read, as those that a
  // server version lacks, does not change.
  bool ReadabilityChanged(size_t row, const Baseline::Row& was, const Baseline::Row& now) const {
    for (size_t c = 0; c < places_.size(); ++c) {
      const bool known = ((now.null_counters >> c) & 1) == 0;
      const bool was_known = places_[c] >= 0 && ((was.null_counters >> places_[c]) & 1) == 0;
      if (known != was_known || (known && reading_.IsNull(row, shape_.counters()[c]))) return true;
    }
    return false;
  }

  // Increase of one known row. Returns whether a counter moved.
  bool CompareRow(const Baseline::Row& was, const Baseline::Row& now, std::vector<int64_t>* deltas, uint64_t* unknown,
                  int* flags) {
    const bool row_reset = was.reset_us != now.reset_us;
    // A time that appears or vanishes may come from an upgraded extension as well as from a reset: the smaller claim.
    const bool reported =
        view_reset_ || (row_reset && was.reset_us != 0 && now.reset_us != 0 && !shape_.partial_resets());
    bool backwards = row_reset && !reported;
    // What is lower than before has begun at 0 since.
    const bool began_anew = evicting_ || objects_reset_ || (row_reset && shape_.partial_resets());
    bool moved = false;
    for (size_t c = 0; c < deltas->size(); ++c) {
      const int place = places_[c];
      if (((now.null_counters >> c) & 1) != 0 || place < 0 || ((was.null_counters >> place) & 1) != 0) {
        *unknown |= uint64_t{1} << c;
        continue;
      }
      const int64_t before = was.counters[place];
      const int64_t after = now.counters[c];
      if (reported) {
        (*deltas)[c] = after;
      } else if (after < before) {
        // Otherwise all it has may be older than the last reading (a restored entry).
        (*deltas)[c] = after;
        if (!began_anew) *unknown |= uint64_t{1} << c;
        backwards = true;
      } else {
        (*deltas)[c] = after - before;
      }
      moved = moved || (*deltas)[c] != 0;
    }
    if (reported || backwards) {
      *flags |= ingestpb::FRAME_FLAG_LOWER_BOUND;
      ++resets_;
      if (evicting_ && !view_reset_ && !objects_reset_) ++evicted_rows_;
      return true;
    }
    return moved;
  }

  // Whether the view says per row since when it counts: evictions are then seen row by row.
  bool HasRowResets() const {
    if (shape_.reset_column() < 0) return false;
    for (size_t row = 0; row < reading_.rows(); ++row) {
      if (ResetOf(row) != 0) return true;
    }
    return false;
  }

  const Baseline* before_;
  const Reading& reading_;
  const MetricShape& shape_;
  const DeltaOptions& options_;
  Observation observation_;
  std::vector<int> places_;
  // The baseline is of the same ownership epoch.
  bool owned_ = false;
  bool continues_ = false;
  bool evicting_ = false;
  bool view_reset_ = false;
  // Some object of the view was reset; which one is not known.
  bool objects_reset_ = false;
  int64_t since_us_ = 0;  // where the interval begins
  int64_t went_back_us_ = 0;
  int64_t resets_ = 0;
  int64_t evicted_rows_ = 0;
};

}  // namespace

absl::StatusOr<Step> Advance(const Baseline* before, const Reading& reading, const Observation& observation,
                             const DeltaOptions& options) {
  return Comparison(before, reading, observation, options).Run();
}

void AddBaselineRow(const Baseline& baseline, size_t row, Reading* reading) {
  const MetricShape& shape = reading->shape();
  const Baseline::Row from = baseline.row(row);
  reading->AddRow();
  SetLabels(shape, shape.identity().empty() ? from.key : from.labels, reading);
  for (size_t c = 0; c < baseline.counter_names().size(); ++c) {
    if (((from.null_counters >> c) & 1) == 0) {
      reading->SetInt(shape.Find(baseline.counter_names()[c]), from.counters[c]);
    }
  }
}

std::shared_ptr<const Baseline> BaselineStore::Find(const std::string& tracker) const {
  const auto it = baselines_.find(tracker);
  return it == baselines_.end() ? nullptr : it->second;
}

void BaselineStore::Set(const std::string& tracker, std::shared_ptr<const Baseline> baseline) {
  baselines_[tracker] = std::move(baseline);
}

absl::Status BaselineStore::ApplyPatch(const std::string& tracker, std::string_view patch) {
  const std::shared_ptr<const Baseline> before = Find(tracker);
  auto next = Baseline::Apply(before.get(), patch);
  if (!next.ok()) {
    baselines_.erase(tracker);
    return next.status();
  }
  baselines_[tracker] = *std::move(next);
  return absl::OkStatus();
}

void BaselineStore::EraseOld() {
  EraseOldTrackers(&baselines_, [](const auto& entry) { return entry.second.get(); });
}

std::string BaselineStore::Serialize() const {
  std::string out;
  PutVarint(&out, baselines_.size());
  for (const auto& [tracker, baseline] : baselines_) {
    PutBytes(&out, tracker);
    PutBytes(&out, baseline->Serialize());
  }
  return out;
}

absl::StatusOr<BaselineStore> BaselineStore::Parse(std::string_view bytes, int* dropped) {
  ByteReader in(bytes);
  uint64_t count = 0;
  if (!in.GetVarint(&count)) return Malformed();
  BaselineStore store;
  for (uint64_t i = 0; i < count; ++i) {
    std::string_view tracker;
    std::string_view value;
    if (!in.GetBytes(&tracker) || !in.GetBytes(&value)) return Malformed();
    auto baseline = Baseline::Parse(value);
    if (baseline.ok()) {
      store.baselines_[std::string(tracker)] = *std::move(baseline);
    } else {
      ++*dropped;
    }
  }
  return store;
}

}  // namespace pga::collector
