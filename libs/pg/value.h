// What goes into a statement and what comes out of it, without libpq or libpqxx in sight. A Result owns its cells in
// one buffer; it is a value that may outlive its connection and be read from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace pga::pg {

// A bytea parameter.
struct Bytes {
  std::string data;
};

// One parameter of a statement; std::monostate is NULL. Text must be valid UTF-8 without NUL (else InvalidArgument).
// The server infers each parameter's type, so cast in the SQL where it cannot ($1::int8).
class Param {
 public:
  Param() = default;
  Param(std::nullopt_t) {}                                       // NOLINT(google-explicit-constructor)
  Param(bool value) : value_(value) {}                           // NOLINT(google-explicit-constructor)
  Param(int32_t value) : value_(static_cast<int64_t>(value)) {}  // NOLINT(google-explicit-constructor)
  Param(int64_t value) : value_(value) {}                        // NOLINT(google-explicit-constructor)
  Param(double value) : value_(value) {}                         // NOLINT(google-explicit-constructor)
  Param(std::string value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Param(std::string_view value) : value_(std::string(value)) {}  // NOLINT(google-explicit-constructor)
  Param(const char* value) : value_(std::string(value)) {}       // NOLINT(google-explicit-constructor)
  Param(Bytes value) : value_(std::move(value)) {}               // NOLINT(google-explicit-constructor)
  template <typename T>
  Param(const std::optional<T>& value) {  // NOLINT(google-explicit-constructor)
    if (value) *this = Param(*value);
  }

  using Value = std::variant<std::monostate, int64_t, double, bool, std::string, Bytes>;
  const Value& value() const { return value_; }

 private:
  Value value_;
};

using Params = std::vector<Param>;

// The text form that PostgreSQL parses, nullopt for NULL. InvalidArgument for text with a NUL byte.
// Exposed for the connection classes; callers pass Params.
absl::Status RenderParams(const Params& params, std::vector<std::optional<std::string>>* rendered);

// The text form of an array of text, int8 or other values whose text form may be quoted.
std::string ArrayOf(const std::vector<std::string>& values);

class Result;

// One row of a Result; valid as long as the Result. Columns count from 0. Reading NULL gives the type's zero value (ask
// IsNull or use Opt*). Asking for a column that is not there, or for a type that the SQL does not yield, is a bug in
// the program and ends it.
class Row {
 public:
  bool IsNull(size_t column) const;
  std::string_view Text(size_t column) const;
  int64_t Int64(size_t column) const;
  int32_t Int32(size_t column) const;
  double Double(size_t column) const;
  bool Bool(size_t column) const;
  // Decodes the \x form of bytea.
  std::string Bytes(size_t column) const;
  std::optional<std::string> OptText(size_t column) const;
  std::optional<int64_t> OptInt64(size_t column) const;
  std::optional<double> OptDouble(size_t column) const;
  // Of an int8 of microseconds since 1970-01-01 UTC.
  std::optional<absl::Time> OptMicros(size_t column) const;

 private:
  friend class Result;
  Row(const Result* result, size_t row) : result_(result), row_(row) {}
  const Result* result_;
  size_t row_;
};

// Rows of a statement, in text form.
class Result {
 public:
  size_t rows() const { return columns_.empty() ? 0 : cells_.size() / columns_.size(); }
  bool empty() const { return rows() == 0; }
  size_t columns() const { return columns_.size(); }
  const std::string& column_name(size_t column) const { return columns_.at(column); }
  // pg_type.oid of the column; 0 where the connection class does not say.
  uint32_t column_type_oid(size_t column) const { return type_oids_.at(column); }
  // Rows that INSERT, UPDATE, DELETE or COPY touched; 0 for other statements.
  int64_t affected_rows() const { return affected_rows_; }
  Row operator[](size_t row) const;

  class Iterator {
   public:
    Iterator(const Result* result, size_t row) : result_(result), row_(row) {}
    Row operator*() const { return (*result_)[row_]; }
    Iterator& operator++() {
      ++row_;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return row_ != other.row_; }

   private:
    const Result* result_;
    size_t row_;
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, rows()}; }

  // For the classes that fill it, row by row: columns first, then cells.
  void AddColumn(std::string name, uint32_t type_oid = 0) {
    columns_.push_back(std::move(name));
    type_oids_.push_back(type_oid);
  }
  void ReserveCells(size_t count) { cells_.reserve(count); }
  void AddNull() { cells_.push_back({0, kNull}); }
  void AddCell(std::string_view text);
  void set_affected_rows(int64_t rows) { affected_rows_ = rows; }

 private:
  friend class Row;
  static constexpr uint32_t kNull = UINT32_MAX;
  struct Cell {
    uint64_t offset;
    uint32_t size;
  };
  const Cell& CellAt(size_t row, size_t column) const;

  std::vector<std::string> columns_;
  std::vector<uint32_t> type_oids_;
  std::vector<Cell> cells_;
  std::string buffer_;
  int64_t affected_rows_ = 0;
};

// "name" as a quoted SQL identifier, 'text' as a quoted literal (standard_conforming_strings). For SQL made of catalog
// names; values belong into Params.
std::string QuoteIdentifier(std::string_view name);
std::string QuoteLiteral(std::string_view text);

}  // namespace pga::pg
