// A small metric and frames of it, for tests of everything that handles frames.
#pragma once

#include <string>

#include "libs/frame/frame_builder.h"
#include "libs/frame/uuid.h"

namespace pga::frame::testing {

// Columns: relname (text label), n (int8 counter), ratio (float8 gauge), is_valid (bool info), last_seen (timestamptz
// info, since schema version 2).
inline pganalytics::catalog::v1::Metric TestMetric() {
  using namespace pganalytics::catalog::v1;  // NOLINT: enum names only, in one test helper
  Metric metric;
  metric.set_name("table_probe");
  metric.set_schema_version(2);
  metric.set_scope(SCOPE_INSTANCE);
  const auto add = [&](const char* name, ColumnType type, ColumnKind kind, int since) {
    Column* column = metric.add_columns();
    column->set_name(name);
    column->set_type(type);
    column->set_kind(kind);
    column->set_since_schema_version(since);
  };
  add("relname", COLUMN_TYPE_TEXT, COLUMN_KIND_LABEL, 1);
  add("n", COLUMN_TYPE_INT8, COLUMN_KIND_COUNTER, 1);
  add("ratio", COLUMN_TYPE_FLOAT8, COLUMN_KIND_GAUGE, 1);
  add("is_valid", COLUMN_TYPE_BOOL, COLUMN_KIND_INFO, 1);
  add("last_seen", COLUMN_TYPE_TIMESTAMPTZ, COLUMN_KIND_INFO, 2);
  return metric;
}

inline std::string TestSource() {
  return SourceUuid("collector-1", "db-1");
}

// A valid delta frame of `metric` (made by TestMetric) with `rows` rows; every fifth row has NULLs.
inline pganalytics::ingest::v1::Frame TestFrame(const pganalytics::catalog::v1::Metric& metric, int rows) {
  pganalytics::ingest::v1::Frame frame;
  FrameBuilder builder(metric, &frame);
  frame.set_source_id(TestSource());
  frame.set_collected_at_us(1'700'000'060'000'000);
  frame.set_interval_start_us(1'700'000'000'000'000);
  frame.set_kind(pganalytics::ingest::v1::FRAME_KIND_DELTA);
  for (int row = 0; row < rows; ++row) {
    builder.SetText(0, "table_" + std::to_string(row % 50));
    if (row % 5 != 0) {
      builder.SetInt(1, row * 1'000'003LL);
      builder.SetDouble(2, row / 7.0);
      builder.SetBool(3, row % 2 == 0);
      builder.SetInt(4, 1'700'000'000'000'000 + row);
    }
    builder.EndRow();
  }
  if (!builder.Finish().ok()) frame.Clear();
  return frame;
}

// The frame with its source named, ready to be sealed.
inline pganalytics::ingest::v1::BatchContent TestContent(const pganalytics::ingest::v1::Frame& frame) {
  pganalytics::ingest::v1::BatchContent content;
  auto* source = content.add_sources();
  source->set_source_id(frame.source_id());
  source->set_name("db-1");
  source->set_owner_epoch(1);
  *content.add_frames() = frame;
  return content;
}

}  // namespace pga::frame::testing
