// Tables, numbers, times and small graphs for people at a terminal. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace pga::pgactl {

// Columns are as wide as their widest cell; cells whose column is numeric stand at the right. The last column is cut to
// what is left of `width` (0 = not cut). Control characters are replaced, so that stored texts cannot steer a terminal.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  std::string Render(int width) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// One block character per value, scaled between 0 and the largest; a dot where nothing is known. Values are joined by
// their maximum when there are more than `width`.
std::string Sparkline(const std::vector<std::optional<double>>& values, size_t width);

// 1234567 -> "1,234,567"; fractions keep at most 3 digits.
std::string Number(double value);
// Bytes as "1.2 GiB".
std::string Bytes(double bytes);
// Milliseconds as "12.3 ms", "4.5 s", "2.1 h".
std::string Millis(double ms);
// "12 s ago", "3 min ago", "never".
std::string Ago(std::optional<absl::Time> time, absl::Time now);
// One line, without control characters.
std::string OneLine(std::string_view text);
// Characters of UTF-8 text.
size_t Characters(std::string_view text);

}  // namespace pga::pgactl
