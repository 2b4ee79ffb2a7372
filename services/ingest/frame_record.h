// A frame of the wire as the row that is stored of it.
#pragma once

#include <cstdint>

#include "libs/storage/write/records.h"
#include "pganalytics/ingest/v1/frame.pb.h"

namespace pga::ingest {

// What the frame does not say of itself.
struct FrameContext {
  int32_t source = 0;
  int16_t metric_id = 0;
  int flags = 0;
  int64_t received_us = 0;
  int32_t collector = 0;
};

// Refers to the columns of the frame, which must outlive it.
inline storage::FrameRecord FrameRecordOf(const ::pganalytics::ingest::v1::Frame& frame, const FrameContext& context) {
  return {.source = context.source,
          .metric_id = context.metric_id,
          .scope = frame.scope_id(),
          .kind = static_cast<int16_t>(frame.kind()),
          .part = static_cast<int16_t>(frame.part()),
          .flags = static_cast<int16_t>(context.flags),
          .schema_version = static_cast<int16_t>(frame.schema_version()),
          .collected_us = frame.collected_at_us(),
          .interval_start_us = frame.interval_start_us(),
          .received_us = context.received_us,
          .collector = context.collector,
          .rows = frame.row_count(),
          .unchanged_rows = frame.unchanged_row_count(),
          .chunks = {frame.columns().begin(), frame.columns().end()},
          .row_flags = frame.row_flags()};
}

}  // namespace pga::ingest
