#include "tools/fleetsim/recorded.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tools/fleetsim/model.h"

namespace pga::fleetsim {

using columns::Column;
using columns::ColumnId;
using columns::RowSet;
using columns::Type;

absl::StatusOr<RowSet> ReadRecorded(const pganalytics::catalog::v1::Metric& metric, const std::string& path) {
  std::ifstream in(path);
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  const auto kind = [&](size_t i) { return metric.columns(static_cast<int>(i)).kind(); };
  const auto count = static_cast<size_t>(metric.columns_size());
  std::map<std::string, std::vector<std::string>> last;
  struct Row {
    std::string key;
    uint32_t frame;
    std::vector<std::string> cells;
  };
  std::vector<Row> rows;
  RowSet set;
  std::string line;
  int64_t first_instant = 0;
  while (std::getline(in, line)) {
    std::vector<std::string> cells = absl::StrSplit(line, '\t');
    if (cells.size() != count + 1) continue;
    const int64_t instant = std::atoll(cells[0].c_str());
    cells.erase(cells.begin());
    if (first_instant == 0) first_instant = instant;
    if (instant != first_instant && (set.frames.empty() || set.frames.back().end_us != instant)) {
      columns::FrameInfo frame;
      frame.end_us = instant;
      frame.start_us = set.frames.empty() ? first_instant : set.frames.back().end_us;
      set.frames.push_back(frame);
    }
    std::string key;
    for (size_t i = 0; i < count; ++i) {
      if (kind(i) == pganalytics::catalog::v1::COLUMN_KIND_LABEL) absl::StrAppend(&key, cells[i], "|");
    }
    auto& before = last[key];
    if (instant != first_instant && before != cells) {
      Row row{key, static_cast<uint32_t>(set.frames.size() - 1), cells};
      bool changed = before.empty();
      for (size_t i = 0; i < count; ++i) {
        if (kind(i) != pganalytics::catalog::v1::COLUMN_KIND_COUNTER || cells[i] == "\\N") continue;
        const int64_t was = before.empty() ? 0 : std::atoll(before[i].c_str());
        row.cells[i] = absl::StrCat(std::atoll(cells[i].c_str()) - was);
        changed |= row.cells[i] != "0";
      }
      if (changed) {
        ++set.frames.back().rows;
        rows.push_back(std::move(row));
      }
    }
    before = std::move(cells);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return std::tie(a.key, a.frame) < std::tie(b.key, b.frame); });
  for (size_t i = 0; i < count; ++i) {
    const auto& column = metric.columns(static_cast<int>(i));
    const bool label = kind(i) == pganalytics::catalog::v1::COLUMN_KIND_LABEL;
    const auto id = static_cast<ColumnId>(i + 1);
    Column& out = label ? set.labels[id] : set.values[id];
    out.type = ColumnType(column);
    std::map<std::string, int64_t> index;
    bool any = false;
    for (size_t r = 0; r < rows.size(); ++r) {
      if (label && r > 0 && rows[r].key == rows[r - 1].key) continue;
      const std::string& cell = rows[r].cells[i];
      if (cell == "\\N") {
        out.nulls.resize(out.ints.size() + 1);
        out.nulls.back() = 1;
        out.ints.push_back(0);
        continue;
      }
      any = true;
      if (!out.nulls.empty()) out.nulls.push_back(0);
      if (out.type == Type::kText) {
        const auto [at, made] = index.emplace(cell, static_cast<int64_t>(out.texts.size()));
        if (made) out.texts.push_back(cell);
        out.ints.push_back(at->second);
      } else {
        out.ints.push_back(cell == "t" ? 1 : cell == "f" ? 0 : std::atoll(cell.c_str()));
      }
    }
    if (!any && !label) set.values.erase(id);
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    if (r == 0 || rows[r].key != rows[r - 1].key) set.series_scope.push_back(0);
    set.row_series.push_back(static_cast<uint32_t>(set.series_scope.size() - 1));
    set.row_frame.push_back(rows[r].frame);
  }
  if (set.row_series.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has no readings of ", metric.name()));
  }
  return set;
}

}  // namespace pga::fleetsim
