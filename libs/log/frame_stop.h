#pragma once

// The stops of a frame on its way from a collector to the database, as docs/life-of-a-frame.md lists them. Each stop
// writes one debug line with its file and function; a test compares the lines of a traced frame with the document.
// Where the frame is sealed in its batch, the batch's stream and number stand for it.

#include <cstdint>
#include <string_view>

#include "absl/strings/escaping.h"
#include "libs/log/log.h"

namespace pga::log {

// The part of a compiler's file name that begins at the repository's root.
constexpr std::string_view RepositoryPath(std::string_view file) {
  for (const std::string_view area : {std::string_view("services/"), std::string_view("libs/")}) {
    const size_t at = file.rfind(area);
    if (at != std::string_view::npos) return file.substr(at);
  }
  return file;
}

}  // namespace pga::log

// PGA_FRAME_STOP(frame): one comparison when the level is not debug.
#define PGA_FRAME_STOP(frame)                              \
  PGA_LOG(debug, "frame stop",                             \
          {{"file", ::pga::log::RepositoryPath(__FILE__)}, \
           {"function", __func__},                         \
           {"metric", (frame).metric()},                   \
           {"collected_at_us", (frame).collected_at_us()}})

// The same for a whole batch, named by its stream and number.
#define PGA_BATCH_STOP(batch_stream_id, batch_seq)                                 \
  PGA_LOG(debug, "batch stop",                                                     \
          {{"file", ::pga::log::RepositoryPath(__FILE__)},                         \
           {"function", __func__},                                                 \
           {"stream", absl::BytesToHexString(absl::string_view(batch_stream_id))}, \
           {"seq", static_cast<int64_t>(batch_seq)}})

// Where a frame is sealed into a batch: ties the two kinds of lines together.
#define PGA_SEAL_STOP(frame, batch_stream_id, batch_seq)                           \
  PGA_LOG(debug, "frame sealed",                                                   \
          {{"file", ::pga::log::RepositoryPath(__FILE__)},                         \
           {"function", __func__},                                                 \
           {"metric", (frame).metric()},                                           \
           {"collected_at_us", (frame).collected_at_us()},                         \
           {"stream", absl::BytesToHexString(absl::string_view(batch_stream_id))}, \
           {"seq", static_cast<int64_t>(batch_seq)}})
