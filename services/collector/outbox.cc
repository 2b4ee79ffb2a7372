#include "services/collector/outbox.h"

#include <malloc.h>

#include "libs/log/frame_stop.h"

#include <boost/asio/post.hpp>
#include <utility>

namespace pga::collector {
namespace {

// A batch is closed at this size; a single parcel may be larger, up to the limits of a batch.
constexpr size_t kBatchBytes = 512 << 10;
constexpr int64_t kBatchRows = 5000;

}  // namespace

Outbox::Outbox(boost::asio::io_context* loop, SpoolWriter* writer, std::chrono::milliseconds linger)
    : loop_(loop), writer_(writer), linger_(linger), timer_(*loop) {}

void Outbox::Add(Parcel parcel) {
  size_t bytes = 0;
  int64_t rows = 0;
  for (const ingestpb::Frame& frame : parcel.frames) {
    PGA_FRAME_STOP(frame);
    bytes += frame.ByteSizeLong();
    rows += frame.row_count();
  }
  for (const ingestpb::QueryText& text : parcel.texts) bytes += text.text().size() + 32;
  if (!open_.done.empty() && (open_.bytes + bytes > kBatchBytes || open_.rows + rows > kBatchRows)) Flush();
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
  open_.bytes += bytes;
  open_.rows += rows;
  if (open_.bytes > kBatchBytes || open_.rows > kBatchRows) Flush();
}

void Outbox::Flush() {
  if (open_.done.empty()) return;
  timer_.cancel();
  Open batch = std::exchange(open_, Open());
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
