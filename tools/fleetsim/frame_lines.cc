#include "tools/fleetsim/frame_lines.h"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/frame/frame_reader.h"
#include "libs/status/status.h"

namespace pga::fleetsim {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

void AppendText(std::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(out, "\\u%04x", static_cast<unsigned>(c));
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

void AppendValue(const frame::ColumnView& view, int row, std::string* out) {
  switch (view.column().type()) {
    case catalog_v1::COLUMN_TYPE_TEXT:
      AppendText(view.Text(row), out);
      break;
    case catalog_v1::COLUMN_TYPE_FLOAT8:
      absl::StrAppendFormat(out, "%.17g", view.Double(row));
      break;
    case catalog_v1::COLUMN_TYPE_BOOL:
      absl::StrAppend(out, view.Bool(row) ? "true" : "false");
      break;
    default:
      absl::StrAppend(out, view.Int(row));
  }
}

std::string Line(const std::string& source, const catalog_v1::Metric& metric, const frame::FrameReader& reader) {
  std::string line = absl::StrCat(R"({"source": ")", source, R"(", "metric": ")", metric.name(), R"(", "time_us": )",
                                  reader.frame().collected_at_us(), R"(, "database": )", reader.frame().scope_id(),
                                  R"(, "labels": [)");
  bool first = true;
  for (const catalog_v1::Column& column : metric.columns()) {
    if (column.kind() != catalog_v1::COLUMN_KIND_LABEL) continue;
    absl::StrAppend(&line, first ? "" : ", ", "\"", column.name(), "\"");
    first = false;
  }
  absl::StrAppend(&line, "], \"rows\": [");
  for (int row = 0; row < reader.row_count(); ++row) {
    absl::StrAppend(&line, row == 0 ? "{" : ", {");
    bool empty = true;
    for (const frame::ColumnView& view : reader.columns()) {
      if (view.IsNull(row)) continue;
      absl::StrAppend(&line, empty ? "" : ", ", "\"", view.column().name(), "\": ");
      AppendValue(view, row, &line);
      empty = false;
    }
    line.push_back('}');
  }
  line += "]}\n";
  return line;
}

}  // namespace

absl::Status WriteFrameLines(const catalog::Catalog& catalog, const FleetOptions& options, int first, int sources,
                             int64_t from_us, int64_t to_us, std::FILE* out) {
  std::vector<std::unique_ptr<SourceModel>> models;
  for (int i = 0; i < sources; ++i) models.push_back(std::make_unique<SourceModel>(catalog, options, first + i));
  frame::FrameReader reader;
  for (int64_t from = from_us; from < to_us; from += options.interval_us) {
    const int64_t to = std::min(to_us, from + options.interval_us);
    std::vector<std::pair<int64_t, std::string>> lines;
    for (const auto& model : models) {
      for (const catalog_v1::Metric& metric : catalog.metrics()) {
        std::vector<ingest_v1::Frame> frames;
        PGA_RETURN_IF_ERROR(
            ToFrames(metric, model->uuid(), ingest_v1::FRAME_KIND_DELTA, model->Deltas(metric, from, to), &frames));
        for (const ingest_v1::Frame& frame : frames) {
          if (frame.row_count() == 0) continue;
          PGA_RETURN_IF_ERROR(reader.Open(frame, metric));
          lines.emplace_back(frame.collected_at_us(), Line(model->name(), metric, reader));
        }
      }
    }
    std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [time, line] : lines) {
      if (std::fwrite(line.data(), 1, line.size(), out) != line.size()) {
        return absl::UnavailableError("the lines cannot be written");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace pga::fleetsim
