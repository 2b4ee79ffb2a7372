// How the types of the catalog are held as columns: one place for the wire, the tables and the readers.
#pragma once

#include "libs/columns/column.h"
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

}  // namespace pga::frame
