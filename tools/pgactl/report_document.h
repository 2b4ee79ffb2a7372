// A report: titled tables, and its three forms. Pure.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pga::pgactl {

struct ReportCell {
  std::string text;
  // The figure behind the text, in the unit that the column's name says; what JSON has.
  std::optional<double> number = {};
};

struct ReportSection {
  std::string title;
  // What must be known to read it: the unit, what is missing.
  std::string note;
  // As people read them, and as JSON names them.
  std::vector<std::pair<std::string, std::string>> columns;
  std::vector<std::vector<ReportCell>> rows;
};

struct Report {
  std::string title;
  // "2026-01-01 10:00:00 to …"
  std::string range;
  // RFC 3339.
  std::string from;
  std::string to;
  std::vector<ReportSection> sections;
};

// `width`: of the terminal; 0 = none.
std::string ReportText(const Report& report, int width);
// One file without scripts, pictures or addresses; every text is escaped.
std::string ReportHtml(const Report& report);
std::string ReportJson(const Report& report);

}  // namespace pga::pgactl
