// How types and kinds of the catalog are held as columns: one place for the wire, the tables and the readers.
#pragma once

#include "libs/columns/column.h"
#include "libs/columns/rollup.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::frame {

// int8, timestamptz (us since 1970), interval (us) and pg_lsn are integers.
constexpr columns::Type TypeOf(pganalytics::catalog::v1::ColumnType type) {
  switch (type) {
    case pganalytics::catalog::v1::COLUMN_TYPE_FLOAT8:
      return columns::Type::kDouble;
    case pganalytics::catalog::v1::COLUMN_TYPE_BOOL:
      return columns::Type::kBool;
    case pganalytics::catalog::v1::COLUMN_TYPE_TEXT:
      return columns::Type::kText;
    default:
      return columns::Type::kInt;
  }
}

constexpr columns::Kind KindOf(pganalytics::catalog::v1::ColumnKind kind) {
  switch (kind) {
    case pganalytics::catalog::v1::COLUMN_KIND_LABEL:
      return columns::Kind::kLabel;
    case pganalytics::catalog::v1::COLUMN_KIND_GAUGE:
      return columns::Kind::kGauge;
    case pganalytics::catalog::v1::COLUMN_KIND_COUNTER:
      return columns::Kind::kCounter;
    default:
      return columns::Kind::kInfo;
  }
}

}  // namespace pga::frame
