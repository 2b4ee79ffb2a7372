#include "libs/pg/value.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "absl/base/internal/raw_logging.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace pga::pg {
namespace {

std::string RenderDouble(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return std::string(buffer, end);
}

[[noreturn]] void Mismatch(std::string_view column, const char* type) {
  ABSL_RAW_LOG(FATAL, "result column %s is not %s", std::string(column).c_str(), type);
  std::abort();
}

template <typename T>
T ParseInteger(std::string_view text, std::string_view column, const char* type) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) Mismatch(column, type);
  return value;
}

}  // namespace

absl::Status RenderParams(const Params& params, std::vector<std::optional<std::string>>* rendered) {
  rendered->clear();
  rendered->reserve(params.size());
  for (const Param& param : params) {
    const Param::Value& value = param.value();
    if (std::holds_alternative<std::monostate>(value)) {
      rendered->push_back(std::nullopt);
    } else if (const auto* integer = std::get_if<int64_t>(&value)) {
      rendered->push_back(std::to_string(*integer));
    } else if (const auto* number = std::get_if<double>(&value)) {
      rendered->push_back(RenderDouble(*number));
    } else if (const auto* flag = std::get_if<bool>(&value)) {
      rendered->push_back(*flag ? "t" : "f");
    } else if (const auto* text = std::get_if<std::string>(&value)) {
      if (text->find('\0') != std::string::npos) {
        return absl::InvalidArgumentError(
            absl::StrCat("text of parameter ", rendered->size() + 1, " holds a NUL byte"));
      }
      rendered->push_back(*text);
    } else {
      const std::string& data = std::get<Bytes>(value).data;
      rendered->push_back("\\x" + absl::BytesToHexString(absl::string_view(data.data(), data.size())));
    }
  }
  return absl::OkStatus();
}

const Result::Cell& Result::CellAt(size_t row, size_t column) const {
  if (column >= columns_.size() || row >= rows()) {
    ABSL_RAW_LOG(FATAL, "result has %zu rows and %zu columns, asked for row %zu column %zu", rows(), columns_.size(),
                 row, column);
  }
  return cells_[row * columns_.size() + column];
}

void Result::AddCell(std::string_view text) {
  cells_.push_back({buffer_.size(), static_cast<uint32_t>(text.size())});
  buffer_.append(text);
}

Row Result::operator[](size_t row) const {
  return Row(this, row);
}

bool Row::IsNull(size_t column) const {
  return result_->CellAt(row_, column).size == Result::kNull;
}

std::string_view Row::Text(size_t column) const {
  const auto& cell = result_->CellAt(row_, column);
  if (cell.size == Result::kNull) return {};
  return std::string_view(result_->buffer_).substr(cell.offset, cell.size);
}

int64_t Row::Int64(size_t column) const {
  if (IsNull(column)) return 0;
  return ParseInteger<int64_t>(Text(column), result_->column_name(column), "a 64-bit integer");
}

int32_t Row::Int32(size_t column) const {
  if (IsNull(column)) return 0;
  return ParseInteger<int32_t>(Text(column), result_->column_name(column), "a 32-bit integer");
}

double Row::Double(size_t column) const {
  if (IsNull(column)) return 0;
  const std::string_view text = Text(column);
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) Mismatch(result_->column_name(column), "a number");
  return value;
}

bool Row::Bool(size_t column) const {
  if (IsNull(column)) return false;
  const std::string_view text = Text(column);
  if (text != "t" && text != "f") Mismatch(result_->column_name(column), "a boolean");
  return text == "t";
}

std::string Row::Bytes(size_t column) const {
  const std::string_view text = Text(column);
  if (text.empty() && IsNull(column)) return {};
  if (text.size() < 2 || text.substr(0, 2) != "\\x") Mismatch(result_->column_name(column), "a bytea");
  return absl::HexStringToBytes(absl::string_view(text.data() + 2, text.size() - 2));
}

std::optional<std::string> Row::OptText(size_t column) const {
  if (IsNull(column)) return std::nullopt;
  return std::string(Text(column));
}

std::optional<int64_t> Row::OptInt64(size_t column) const {
  if (IsNull(column)) return std::nullopt;
  return Int64(column);
}

std::optional<double> Row::OptDouble(size_t column) const {
  if (IsNull(column)) return std::nullopt;
  return Double(column);
}

std::optional<absl::Time> Row::OptMicros(size_t column) const {
  if (IsNull(column)) return std::nullopt;
  return absl::FromUnixMicros(Int64(column));
}

std::string QuoteIdentifier(std::string_view name) {
  std::string quoted = "\"";
  for (const char c : name) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string QuoteLiteral(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') quoted += '\'';
    quoted += c;
  }
  return quoted + '\'';
}

}  // namespace pga::pg
