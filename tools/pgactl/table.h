// Tables, numbers, times and small graphs for people at a terminal. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace pga::pgactl {

// Columns are as wide as their widest cell; cells whose column is numeric stand at the right. Control characters are
// replaced, so that stored texts cannot steer a terminal.
class Table {
 public:
  // `dispensable`: columns, by name, that are left out where the line is too short, the first ones first.
  explicit Table(std::vector<std::string> header, std::vector<std::string> dispensable = {})
      : header_(std::move(header)), dispensable_(std::move(dispensable)) {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  // Lines of at most `width` characters: dispensable columns go, then the widest columns of text are cut. 0 = no
  // terminal: nothing goes, and texts are cut to kPipedText.
  std::string Render(int width) const;
  // RFC 4180, with the header; nothing is cut. A cell that a spreadsheet would take for a formula begins with '.
  std::string Csv() const;
  static constexpr size_t kPipedText = 160;

 private:
  std::vector<std::string> header_;
  std::vector<std::string> dispensable_;
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
// A value of the catalog's unit, also with "/s": "9.9 min", "494.4 MiB", "1.2 KiB/s", "30 %", "12 rows".
std::string InUnit(double value, std::string_view unit);
// A share as "12.3 %", with at most `digits` (0 or 1) after the point.
std::string Percent(double share, int digits = 1);
// "2026-01-01 10:03" in the zone.
std::string Minute(absl::Time time, absl::TimeZone zone = absl::LocalTimeZone());
// "2026-01-01 10:03:00" in the zone, and what the zone is called there: "CET", "UTC", "+03".
std::string Clock(absl::Time time, absl::TimeZone zone = absl::LocalTimeZone());
std::string ZoneName(absl::Time time, absl::TimeZone zone = absl::LocalTimeZone());
// Times under a graph of `width` characters over [start, end): "10:00       10:30       11:00".
std::string TimeAxis(absl::Time start, absl::Time end, size_t width, absl::TimeZone zone = absl::LocalTimeZone());
// "12 s ago", "3 min ago", "never".
std::string Ago(std::optional<absl::Time> time, absl::Time now);
// One line, without control characters.
std::string OneLine(std::string_view text);

// A text of a list as it is shown: one that the server cut ends with an ellipsis.
std::string Shown(const std::string& text, bool truncated);
// Characters of UTF-8 text.
size_t Characters(std::string_view text);

}  // namespace pga::pgactl
