// Writes the fuzzer's corpus anew, after a change of the format: frame_corpus_generate FOLDER.
#include <cstdio>
#include <fstream>
#include <string>

#include "libs/frame/batch_codec.h"
#include "libs/frame/frame_testing.h"

namespace {

namespace v1 = pganalytics::ingest::v1;
using pga::frame::testing::TestContent;
using pga::frame::testing::TestFrame;
using pga::frame::testing::TestMetric;

// Rows of which every second one is gone and carries its label alone.
v1::Frame GoneRows() {
  v1::Frame frame;
  const auto metric = TestMetric();
  pga::frame::FrameBuilder builder(metric, &frame);
  const v1::Frame model = TestFrame(metric, 0);
  frame.set_source_id(model.source_id());
  frame.set_collected_at_us(model.collected_at_us());
  frame.set_interval_start_us(model.interval_start_us());
  frame.set_kind(model.kind());
  for (int row = 0; row < 10; ++row) {
    builder.SetText(0, "table_" + std::to_string(row));
    if (row % 2 != 0) builder.SetInt(1, row);
    builder.EndRow(row % 2 == 0 ? v1::FRAME_FLAG_GONE : 0);
  }
  return builder.Finish().ok() ? frame : v1::Frame();
}

v1::BatchContent TextsAndGap() {
  v1::BatchContent content = TestContent(TestFrame(TestMetric(), 2));
  v1::QueryText* text = content.add_query_texts();
  text->set_source_id(content.sources(0).source_id());
  text->set_query_id(7);
  text->set_text("SELECT $1");
  v1::Gap* gap = content.mutable_gap();
  gap->set_first_seq(2);
  gap->set_last_seq(3);
  gap->set_hash_before(pga::frame::ZeroHash());
  gap->set_hash_after(pga::frame::ZeroHash());
  v1::LostInterval* lost = gap->add_lost();
  lost->set_source_id(content.sources(0).source_id());
  lost->set_start_us(1);
  lost->set_end_us(2);
  return content;
}

bool Write(const std::string& path, char kind, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << kind << bytes;
  return static_cast<bool>(out.flush());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  const std::string folder = std::string(argv[1]) + "/";
  const auto metric = TestMetric();
  const v1::BatchContent seven = TestContent(TestFrame(metric, 7));
  const auto batch = pga::frame::SealBatch(std::string(16, 's'), 1, pga::frame::ZeroHash(), seven);
  v1::Frame part = TestFrame(metric, 7);
  part.set_part_count(2);
  part.set_part(1);
  v1::BatchContent no_chunks = seven;
  for (std::string& chunk : *no_chunks.mutable_frames(0)->mutable_columns()) chunk.clear();
  const bool written =
      batch.ok() && Write(folder + "batch_seven_rows", 0, batch->SerializeAsString()) &&
      Write(folder + "content_seven_rows", 1, seven.SerializeAsString()) &&
      Write(folder + "content_no_rows", 1, TestContent(TestFrame(metric, 0)).SerializeAsString()) &&
      Write(folder + "content_many_rows", 1, TestContent(TestFrame(metric, 300)).SerializeAsString()) &&
      Write(folder + "content_empty_columns", 1, no_chunks.SerializeAsString()) &&
      Write(folder + "content_gone_rows", 1, TestContent(GoneRows()).SerializeAsString()) &&
      Write(folder + "content_part", 1, TestContent(part).SerializeAsString()) &&
      Write(folder + "content_texts_and_gap", 1, TextsAndGap().SerializeAsString());
  if (!written) std::fprintf(stderr, "the corpus is not whole\n");
  return written ? 0 : 1;
}
