#include "tools/fleetsim/measure.h"

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/columns/block.h"
#include "libs/columns/column.h"
#include "libs/pg/copy_connection.h"
#include "libs/status/status.h"
#include "libs/storage/upkeep/copy_rows.h"
#include "libs/storage/upkeep/metric_table.h"

namespace pga::fleetsim {
namespace {

constexpr columns::ColumnId kColumnsOfLevel = 1000;

bool IsZero(const columns::Column& column, size_t row) {
  switch (column.type) {
    case columns::Type::kDouble:
      return column.doubles[row] == 0;
    case columns::Type::kText:
      return column.Text(row).empty();
    default:
      return column.ints[row] == 0;
  }
}

absl::Status Add(const columns::Shape& shape, columns::ColumnId id, std::string_view section, size_t series,
                 size_t rows, columns::Column* column, SectionSize* size) {
  ++size->sections;
  const columns::Shape::Part* const part = id > 0 ? shape.Find(id) : nullptr;
  if (part == nullptr) return absl::OkStatus();
  size->label = part->label;
  PGA_RETURN_IF_ERROR(columns::DecodeColumn(section, part->type, part->label ? series : rows, column));
  for (size_t row = 0; row < column->size(); ++row) {
    ++size->values;
    if (column->IsNull(row)) {
      ++size->nulls;
    } else if (IsZero(*column, row)) {
      ++size->zeros;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::map<SectionKey, SectionSize>> MeasureBlocks(const std::string& url, clock::SteadyTime deadline) {
  pg::CopyConnectionOptions options;
  options.url = url;
  options.application_name = "fleetsim measure";
  options.statement_timeout = absl::Hours(2);
  PGA_ASSIGN_OR_RETURN(const auto connection, pg::CopyConnection::Connect(options, deadline));
  storage::MetricTable table;
  PGA_ASSIGN_OR_RETURN(const auto shapes, table.Get(*connection, deadline));
  PGA_ASSIGN_OR_RETURN(const pg::Result names,
                       connection->Exec("SELECT m.id, c.id, c.name FROM metrics.catalog_metric m, "
                                        "metrics.metric_columns(m.definition) c",
                                        deadline));
  std::map<std::pair<int32_t, int32_t>, std::string> column_names;
  for (const auto& name : names) column_names[{name.Int32(0), name.Int32(1)}] = std::string(name.Text(2));
  std::map<SectionKey, SectionSize> sizes;
  columns::Column column;
  const auto add_block = [&](storage::CopyRow& row) -> absl::Status {
    const int16_t metric_id = row.Int2();
    const int level = row.Int2();
    const int kind = row.Int2();
    const auto series = static_cast<size_t>(row.Int4());
    const auto rows = static_cast<size_t>(row.Int8());
    const std::vector<int16_t> ids = row.Int2Array();
    const std::vector<int32_t> offsets = row.Int4Array();
    const std::string_view data = row.Bytes();
    const auto metric = shapes->Find(metric_id);
    if (!row.ok() || metric == nullptr || offsets.size() != ids.size() + 1) {
      return absl::InvalidArgumentError("a block has a form that is not known");
    }
    for (size_t i = 0; i < ids.size(); ++i) {
      SectionSize& size = sizes[{metric->name, level, kind, ids[i]}];
      if (ids[i] > 0) size.column = column_names[{metric_id, ids[i] % kColumnsOfLevel}];
      size.bytes += offsets[i + 1] - offsets[i];
      const size_t start = columns::SectionStart(ids, offsets, i);
      const std::string_view section =
          data.substr(static_cast<size_t>(offsets[start]), static_cast<size_t>(offsets[start + 1] - offsets[start]));
      PGA_RETURN_IF_ERROR(Add(metric->ShapeOf(level), ids[i], section, series, rows, &column, &size));
    }
    return absl::OkStatus();
  };
  PGA_RETURN_IF_ERROR(storage::CopyOutRows(
      *connection, "SELECT metric_id, level, kind, series, rows, ids, offsets, data FROM metrics.block", add_block,
      deadline));
  return sizes;
}

}  // namespace pga::fleetsim
