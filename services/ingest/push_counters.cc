#include "services/ingest/push_counters.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/columns/int_codec.h"
#include "libs/frame/digest.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/limits.h"
#include "libs/status/status.h"

namespace pga::ingest {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;
using ingest_v1::Frame;

constexpr int64_t kSecondUs = 1'000'000;
constexpr int64_t kDayUs = 86'400 * kSecondUs;
// Distance of readings that say the same second.
constexpr int64_t kStepUs = 1'000;
// Time that a reading without counters speaks of at most.
constexpr int64_t kReachUs = 600 * kSecondUs;
// Rows that are not sent are kept for so long, and so many of them.
constexpr int64_t kKeptUs = 7 * kDayUs;
constexpr size_t kMostSeries = 5'000;
constexpr char kFormat = 1;

void PutNumber(uint64_t number, std::string* out) {
  columns::AppendVarint(number, out);
}
void PutSigned(int64_t number, std::string* out) {
  PutNumber(columns::ZigZag(number), out);
}
void PutText(std::string_view text, std::string* out) {
  PutNumber(text.size(), out);
  out->append(text);
}

class Bytes {
 public:
  explicit Bytes(std::string_view bytes) : rest_(bytes) {}
  uint64_t Number() {
    uint64_t number = 0;
    if (columns::ReadVarint(&rest_, &number)) return number;
    ok_ = false;
    return 0;
  }
  int64_t Signed() { return columns::UnZigZag(Number()); }
  std::string Text() {
    const uint64_t size = Number();
    if (size > rest_.size()) {
      ok_ = false;
      return {};
    }
    std::string text(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return text;
  }
  // No more entries than bytes.
  uint64_t Count() {
    const uint64_t count = Number();
    if (count > rest_.size()) ok_ = false;
    return ok_ ? count : 0;
  }
  bool ok() const { return ok_; }
  bool empty() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

void PutCell(const PushCell& cell, std::string* out) {
  out->push_back(static_cast<char>(cell.index()));
  if (const auto* whole = std::get_if<int64_t>(&cell)) PutSigned(*whole, out);
  if (const auto* truth = std::get_if<bool>(&cell)) out->push_back(*truth ? 1 : 0);
  if (const auto* text = std::get_if<std::string>(&cell)) PutText(*text, out);
  if (const auto* real = std::get_if<double>(&cell)) {
    char bytes[sizeof *real];
    std::memcpy(bytes, real, sizeof bytes);
    out->append(bytes, sizeof bytes);
  }
}

std::string KeyOf(const std::vector<PushCell>& labels) {
  std::string key;
  for (const PushCell& cell : labels) PutCell(cell, &key);
  return key;
}

void SetCell(const catalog_v1::Metric& metric, int column, const PushCell& cell, frame::FrameBuilder* builder) {
  if (const auto* whole = std::get_if<int64_t>(&cell)) {
    if (metric.columns(column).type() == catalog_v1::COLUMN_TYPE_FLOAT8) {
      builder->SetDouble(column, static_cast<double>(*whole));
    } else {
      builder->SetInt(column, *whole);
    }
  } else if (const auto* real = std::get_if<double>(&cell)) {
    builder->SetDouble(column, *real);
  } else if (const auto* truth = std::get_if<bool>(&cell)) {
    builder->SetBool(column, *truth);
  } else if (const auto* text = std::get_if<std::string>(&cell)) {
    builder->SetText(column, *text);
  }
}

std::vector<PushCell> LabelsOf(const catalog_v1::Metric& metric, const PushRow& row) {
  std::vector<PushCell> labels;
  for (int i = 0; i < metric.columns_size(); ++i) {
    if (metric.columns(i).kind() == catalog_v1::COLUMN_KIND_LABEL) labels.push_back(row.cells[static_cast<size_t>(i)]);
  }
  return labels;
}

absl::Status FinishFrame(const PushReading& reading, ingest_v1::FrameKind kind, int64_t start_us, int64_t at_us,
                         Frame* built, frame::FrameBuilder* builder, std::vector<Frame>* frames) {
  built->set_metric(reading.metric->metric.name());
  built->set_scope_id(reading.scope);
  built->set_kind(kind);
  built->set_interval_start_us(start_us);
  built->set_collected_at_us(at_us);
  return builder->FinishInParts({}, frames);
}

}  // namespace

absl::StatusOr<PushCounters> PushCounters::Parse(std::string_view bytes) {
  const absl::Status malformed = absl::InvalidArgumentError("the stored state of a push is malformed");
  if (bytes.empty() || bytes.front() != kFormat) return malformed;
  Bytes in(bytes.substr(1));
  PushCounters state;
  state.begun_ = true;
  state.whole_ = in.Number() != 0;
  state.keyframe_us_ = in.Signed();
  std::vector<std::string> names;
  for (uint64_t count = in.Count(); count > 0 && in.ok(); --count) names.push_back(in.Text());
  for (uint64_t count = in.Count(); count > 0 && in.ok(); --count) {
    const std::string key = in.Text();
    Bytes cells(key);
    Series series;
    while (!cells.empty() && cells.ok()) {
      const uint64_t kind = cells.Number();
      if (kind == 0) {
        series.labels.emplace_back();
      } else if (kind == 1) {
        series.labels.emplace_back(cells.Signed());
      } else if (kind == 3) {
        series.labels.emplace_back(cells.Number() != 0);
      } else if (kind == 4) {
        series.labels.emplace_back(cells.Text());
      } else {
        return malformed;
      }
    }
    if (!cells.ok()) return malformed;
    series.merged = static_cast<int32_t>(in.Number());
    series.seen_us = in.Signed();
    for (uint64_t known = in.Count(); known > 0 && in.ok(); --known) {
      const uint64_t name = in.Number();
      const int64_t counter = in.Signed();
      if (name >= names.size()) return malformed;
      series.counters[names[name]] = counter;
    }
    state.series_[key] = std::move(series);
  }
  for (uint64_t count = in.Count(); count > 0 && in.ok(); --count) state.tail_.push_back(in.Number());
  if (!in.ok() || !in.empty()) return malformed;
  return state;
}

std::string PushCounters::Serialize() const {
  std::string out(1, kFormat);
  PutNumber(whole_ ? 1 : 0, &out);
  PutSigned(keyframe_us_, &out);
  std::map<std::string, uint64_t> names;
  for (const auto& [key, series] : series_) {
    for (const auto& [name, counter] : series.counters) names.emplace(name, 0);
  }
  PutNumber(names.size(), &out);
  uint64_t next = 0;
  for (auto& [name, number] : names) {
    number = next++;
    PutText(name, &out);
  }
  PutNumber(series_.size(), &out);
  for (const auto& [key, series] : series_) {
    PutText(key, &out);
    PutNumber(static_cast<uint64_t>(series.merged), &out);
    PutSigned(series.seen_us, &out);
    PutNumber(series.counters.size(), &out);
    for (const auto& [name, counter] : series.counters) {
      PutNumber(names[name], &out);
      PutSigned(counter, &out);
    }
  }
  PutNumber(tail_.size(), &out);
  for (const uint64_t line : tail_) PutNumber(line, &out);
  return out;
}

void PushCounters::CutTail(PushReading* reading) {
  std::vector<uint64_t> lines;
  for (const PushRow& row : reading->rows) {
    std::string cells;
    for (size_t i = 0; i < row.cells.size(); ++i) {
      // Its place and the instant of the reading differ from one reading to the next.
      if (std::holds_alternative<std::string>(row.cells[i])) PutCell(row.cells[i], &cells);
    }
    const frame::Sha256Digest digest = frame::Sha256({cells});
    uint64_t line = 0;
    std::memcpy(&line, digest.data(), sizeof line);
    lines.push_back(line);
  }
  // The longest beginning of these that the former ones end with.
  size_t known = std::min(lines.size(), tail_.size());
  while (known > 0 && !std::equal(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(known),
                                  tail_.end() - static_cast<std::ptrdiff_t>(known))) {
    --known;
  }
  tail_ = std::move(lines);
  reading->rows.erase(reading->rows.begin(), reading->rows.begin() + static_cast<std::ptrdiff_t>(known));
}

absl::Status PushCounters::AddKeyframe(const PushReading& reading, int64_t at_us, Frames* frames) const {
  const catalog_v1::Metric& metric = reading.metric->metric;
  Frame frame;
  frame::FrameBuilder builder(metric, &frame, static_cast<int>(reading.rows.size()));
  for (const PushRow& row : reading.rows) {
    for (int i = 0; i < metric.columns_size(); ++i) SetCell(metric, i, row.cells[static_cast<size_t>(i)], &builder);
    builder.EndRow();
  }
  return FinishFrame(reading, ingest_v1::FRAME_KIND_KEYFRAME, at_us, at_us, &frame, &builder, frames);
}

absl::Status PushCounters::AddIncrease(const PushReading& reading, int64_t newest_us, PushStep* step) {
  const catalog_v1::Metric& metric = reading.metric->metric;
  Frame frame;
  frame::FrameBuilder builder(metric, &frame, static_cast<int>(reading.rows.size()));
  std::set<std::string> present;
  for (const PushRow& row : reading.rows) {
    const std::string key = KeyOf(LabelsOf(metric, row));
    present.insert(key);
    const auto found = series_.find(key);
    const Series* const was = found == series_.end() ? nullptr : &found->second;
    int flags = 0;
    int known = 0, counters = 0;
    for (int i = 0; i < metric.columns_size(); ++i) {
      const catalog_v1::Column& column = metric.columns(i);
      const PushCell& cell = row.cells[static_cast<size_t>(i)];
      if (column.kind() != catalog_v1::COLUMN_KIND_COUNTER) {
        SetCell(metric, i, cell, &builder);
        continue;
      }
      const auto* after = std::get_if<int64_t>(&cell);
      if (after == nullptr) continue;
      ++counters;
      if (was == nullptr) {
        if (!whole_) continue;
        builder.SetInt(i, *after);
        ++known;
        continue;
      }
      const auto before = was->counters.find(column.name());
      if (before == was->counters.end()) continue;
      if (*after >= before->second) {
        builder.SetInt(i, *after - before->second);
        ++known;
        continue;
      }
      flags |= ingest_v1::FRAME_FLAG_LOWER_BOUND;
      if (was->merged != row.merged) continue;
      builder.SetInt(i, *after);
      ++known;
    }
    if (counters > 0 && known == 0) flags |= ingest_v1::FRAME_FLAG_UNKNOWN;
    if ((flags & ingest_v1::FRAME_FLAG_LOWER_BOUND) != 0) step->some_lower_bound = true;
    builder.EndRow(flags);
  }
  const bool whole = reading.limit == 0;
  if (whole) {
    for (const auto& [key, series] : series_) {
      if (present.contains(key)) continue;
      size_t label = 0;
      for (int i = 0; i < metric.columns_size() && label < series.labels.size(); ++i) {
        if (metric.columns(i).kind() != catalog_v1::COLUMN_KIND_LABEL) continue;
        SetCell(metric, i, series.labels[label++], &builder);
      }
      builder.EndRow(ingest_v1::FRAME_FLAG_GONE);
    }
  }
  PGA_RETURN_IF_ERROR(FinishFrame(reading, ingest_v1::FRAME_KIND_DELTA, newest_us, step->collected_us, &frame, &builder,
                                  &step->frames));
  if (whole) std::erase_if(series_, [&](const auto& entry) { return !present.contains(entry.first); });
  return absl::OkStatus();
}

void PushCounters::Forget(int64_t now_us) {
  std::erase_if(series_, [&](const auto& entry) { return entry.second.seen_us < now_us - kKeptUs; });
  if (series_.size() <= kMostSeries) return;
  std::vector<int64_t> seen;
  for (const auto& [key, series] : series_) seen.push_back(series.seen_us);
  const auto place = seen.begin() + static_cast<std::ptrdiff_t>(seen.size() - kMostSeries);
  std::nth_element(seen.begin(), place, seen.end());
  std::erase_if(series_, [&](const auto& entry) { return entry.second.seen_us < *place; });
}

absl::StatusOr<PushStep> PushCounters::Advance(const PushReading& given, int64_t newest_us) {
  PushStep step;
  step.collected_us = given.time_us;
  if (newest_us != 0 && given.time_us <= newest_us) {
    if (newest_us - given.time_us > kSecondUs) {
      return absl::FailedPreconditionError("older than the reading before");
    }
    step.collected_us = newest_us + kStepUs;
  }
  const int64_t at_us = step.collected_us;
  const catalog_v1::Metric& metric = given.metric->metric;
  if (!given.metric->has_counters) {
    PushReading reading = given;
    if (reading.tail) CutTail(&reading);
    Frame frame;
    frame::FrameBuilder builder(metric, &frame, static_cast<int>(reading.rows.size()));
    for (const PushRow& row : reading.rows) {
      for (int i = 0; i < metric.columns_size(); ++i) SetCell(metric, i, row.cells[static_cast<size_t>(i)], &builder);
      builder.EndRow();
    }
    const int64_t start_us = newest_us == 0 ? at_us : std::max(newest_us, at_us - kReachUs);
    PGA_RETURN_IF_ERROR(
        FinishFrame(reading, ingest_v1::FRAME_KIND_DELTA, start_us, at_us, &frame, &builder, &step.frames));
    begun_ = true;
    return step;
  }
  if (begun_) PGA_RETURN_IF_ERROR(AddIncrease(given, newest_us, &step));
  if (!begun_ || keyframe_us_ / kDayUs != at_us / kDayUs) {
    PGA_RETURN_IF_ERROR(AddKeyframe(given, at_us, &step.frames));
    keyframe_us_ = at_us;
  }
  begun_ = true;
  // Fewer than could be sent are all there are.
  whole_ = given.limit == 0 || given.sent < given.limit;
  for (const PushRow& row : given.rows) {
    std::vector<PushCell> labels = LabelsOf(metric, row);
    Series& series = series_[KeyOf(labels)];
    series.labels = std::move(labels);
    series.merged = row.merged;
    series.seen_us = at_us;
    for (int i = 0; i < metric.columns_size(); ++i) {
      if (metric.columns(i).kind() != catalog_v1::COLUMN_KIND_COUNTER) continue;
      // What could not be read keeps its place: the next increase covers the time between.
      if (const auto* counter = std::get_if<int64_t>(&row.cells[static_cast<size_t>(i)])) {
        series.counters[metric.columns(i).name()] = *counter;
      }
    }
  }
  Forget(at_us);
  return step;
}

}  // namespace pga::ingest
