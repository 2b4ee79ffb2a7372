#include "services/collector/outbox.h"

#include <malloc.h>

#include <boost/asio/post.hpp>
#include <utility>

#include "libs/frame/batch_codec.h"
#include "libs/log/frame_stop.h"

namespace pga::collector {
namespace {

// A batch is closed at this size; a single parcel may be larger, up to what a batch takes.
constexpr size_t kBatchBytes = 512 << 10;
constexpr int64_t kBatchRows = 5000;

// What is added to a batch.
struct Load {
  size_t bytes = 0;
  int64_t rows = 0;
  int64_t values = 0;

  Load& operator+=(const Load& other) {
    bytes += other.bytes;
    rows += other.rows;
    values += other.values;
    return *this;
  }
  // Even if nothing of it can be compressed.
  bool FitsABatch() const {
    constexpr size_t kMost = frame::kMaxPayloadBytes - (frame::kMaxPayloadBytes >> 4);
    const frame::Limits limits;
    return bytes <= kMost && rows <= limits.max_rows && values <= limits.max_values;
  }
};

Load LoadOf(const ingestpb::Frame& frame) {
  return {frame.ByteSizeLong() + 8, frame.row_count(), frame::CountedValues(frame)};
}

Load LoadOf(const ingestpb::QueryText& text) {
  return {text.ByteSizeLong() + 8, 0, 0};
}

// Fills batches one after the other with what fits.
class Spreader {
 public:
  explicit Spreader(const ingestpb::SourceInfo& source) : source_(source) { Begin(); }

  template <typename Items, typename Add>
  void Spread(Items* items, Add add) {
    for (auto& item : *items) {
      Load sum = load_;
      sum += LoadOf(item);
      if (!empty_ && !sum.FitsABatch()) Begin();
      load_ += LoadOf(item);
      empty_ = false;
      add(&contents_.back(), std::move(item));
    }
  }
  std::vector<ingestpb::BatchContent> Take() { return std::move(contents_); }

 private:
  void Begin() {
    *contents_.emplace_back().add_sources() = source_;
    load_ = {source_.ByteSizeLong() + 8, 0, 0};
    empty_ = true;
  }

  const ingestpb::SourceInfo& source_;
  std::vector<ingestpb::BatchContent> contents_;
  Load load_;
  bool empty_ = true;
};

}  // namespace

Outbox::Outbox(boost::asio::io_context* loop, SpoolWriter* writer, std::chrono::milliseconds linger)
    : loop_(loop), writer_(writer), linger_(linger), timer_(*loop) {}

void Outbox::Add(Parcel parcel) {
  Load load;
  for (const ingestpb::Frame& frame : parcel.frames) {
    PGA_FRAME_STOP(frame);
    load += LoadOf(frame);
  }
  for (const ingestpb::QueryText& text : parcel.texts) load += LoadOf(text);
  if (!open_.done.empty() && (open_.bytes + load.bytes > kBatchBytes || open_.rows + load.rows > kBatchRows)) Flush();
  Load whole = load;
  whole.bytes += parcel.source.ByteSizeLong() + 8;
  if (!whole.FitsABatch()) {
    SubmitAlone(std::move(parcel));
    return;
  }
  if (open_.done.empty()) {
    timer_.expires_after(linger_);
    timer_.async_wait([this](boost::system::error_code error) {
      if (!error) Flush();
    });
  }
  ingestpb::BatchContent& content = open_.batch.content;
  bool named = false;
  for (const ingestpb::SourceInfo& source : content.sources()) {
    named = named || source.source_id() == parcel.source.source_id();
  }
  if (!named) *content.add_sources() = std::move(parcel.source);
  for (ingestpb::Frame& frame : parcel.frames) *content.add_frames() = std::move(frame);
  for (ingestpb::QueryText& text : parcel.texts) *content.add_query_texts() = std::move(text);
  for (BaselineUpdate& update : parcel.baselines) open_.batch.baselines.push_back(std::move(update));
  open_.done.push_back(std::move(parcel.done));
  open_.bytes += load.bytes;
  open_.rows += load.rows;
  if (open_.bytes > kBatchBytes || open_.rows > kBatchRows) Flush();
}

void Outbox::SubmitAlone(Parcel parcel) {
  Open open;
  for (const ingestpb::Frame& frame : parcel.frames) {
    open.bytes += frame.ByteSizeLong();
    open.rows += frame.row_count();
  }
  Spreader spreader(parcel.source);
  spreader.Spread(&parcel.frames, [](ingestpb::BatchContent* content, ingestpb::Frame&& frame) {
    *content->add_frames() = std::move(frame);
  });
  spreader.Spread(&parcel.texts, [](ingestpb::BatchContent* content, ingestpb::QueryText&& text) {
    *content->add_query_texts() = std::move(text);
  });
  std::vector<ingestpb::BatchContent> contents = spreader.Take();
  open.batch.content = std::move(contents.back());
  contents.pop_back();
  open.batch.before = std::move(contents);
  open.batch.baselines = std::move(parcel.baselines);
  open.done.push_back(std::move(parcel.done));
  Submit(std::move(open));
}

void Outbox::Flush() {
  if (open_.done.empty()) return;
  timer_.cancel();
  Submit(std::exchange(open_, Open()));
}

void Outbox::Submit(Open batch) {
  auto done = std::make_shared<std::vector<Done>>(std::move(batch.done));
  ++in_flight_;
  const bool large = batch.bytes > kBatchBytes / 4;
  const auto answer = [this, done, large](const absl::StatusOr<BatchId>& result) {
    --in_flight_;
    for (const Done& each : *done) {
      if (each) each(result);
    }
    // Frames and records of a large reading are gone now; their holes in the heap go back to the system.
    if (large) malloc_trim(0);
  };
  const bool taken = writer_->Submit(std::move(batch.batch), [this, answer](absl::StatusOr<BatchId> result) {
    boost::asio::post(*loop_, [answer, result = std::move(result)] { answer(result); });
  });
  if (!taken) answer(absl::ResourceExhaustedError("the spool's queue is full"));
}

}  // namespace pga::collector
