#include "tools/pgactl/report_document.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/log/log.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string Quoted(const std::string& text) {
  std::string out;
  log::AppendJsonString(text, &out);
  return out;
}

// The shortest text that is this number.
std::string Exact(double number) {
  if (!std::isfinite(number)) return "null";
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof text, number);
  return error == std::errc() ? std::string(text, end) : "null";
}

constexpr char kStyle[] =
    "body{font:15px/1.45 system-ui,sans-serif;color:#1b1f24;background:#fff;max-width:75rem;margin:2rem auto;padding:0 "
    "1rem}"
    "h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.15rem;margin:2rem 0 .3rem}p{margin:.2rem 0;color:#57606a}"
    "table{border-collapse:collapse;width:100%;font-size:13px}th,td{text-align:left;vertical-align:top;padding:.3rem "
    ".6rem;"
    "border-bottom:1px solid #d8dee4;overflow-wrap:anywhere}td.n{text-align:right;white-space:nowrap}"
    "@media(prefers-color-scheme:dark){body{background:#14171a;color:#e6e8ea}p{color:#9aa4ae}th,td{border-color:#"
    "30363d}}";

}  // namespace

std::string ReportText(const Report& report, int width) {
  std::string out = absl::StrCat(report.title, "\n", report.range, "\n");
  for (const ReportSection& section : report.sections) {
    absl::StrAppend(&out, "\n", section.title, "\n");
    if (!section.note.empty()) absl::StrAppend(&out, section.note, "\n");
    if (section.rows.empty()) continue;
    std::vector<std::string> header;
    for (const auto& column : section.columns) header.push_back(column.first);
    Table table(std::move(header));
    for (const std::vector<ReportCell>& row : section.rows) {
      std::vector<std::string> cells;
      for (const ReportCell& cell : row) cells.push_back(OneLine(cell.text));
      table.Add(std::move(cells));
    }
    absl::StrAppend(&out, table.Render(width));
  }
  return out;
}

std::string ReportHtml(const Report& report) {
  std::string out = absl::StrCat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\"><title>",
      Escaped(report.title), "</title><style>", kStyle, "</style></head><body>\n<h1>", Escaped(report.title),
      "</h1>\n<p>", Escaped(report.range), "</p>\n");
  for (const ReportSection& section : report.sections) {
    absl::StrAppend(&out, "<h2>", Escaped(section.title), "</h2>\n");
    if (!section.note.empty()) absl::StrAppend(&out, "<p>", Escaped(section.note), "</p>\n");
    if (section.rows.empty()) continue;
    absl::StrAppend(&out, "<table><thead><tr>");
    for (const auto& column : section.columns)
      absl::StrAppend(&out, "<th scope=\"col\">", Escaped(column.first), "</th>");
    absl::StrAppend(&out, "</tr></thead><tbody>\n");
    for (const std::vector<ReportCell>& row : section.rows) {
      absl::StrAppend(&out, "<tr>");
      for (const ReportCell& cell : row) {
        absl::StrAppend(&out, cell.number ? "<td class=\"n\">" : "<td>", Escaped(cell.text), "</td>");
      }
      absl::StrAppend(&out, "</tr>\n");
    }
    absl::StrAppend(&out, "</tbody></table>\n");
  }
  return out + "</body></html>\n";
}

std::string ReportJson(const Report& report) {
  std::string out = absl::StrCat("{\"title\":", Quoted(report.title), ",\"from\":", Quoted(report.from),
                                 ",\"to\":", Quoted(report.to), ",\"sections\":[");
  bool first = true;
  for (const ReportSection& section : report.sections) {
    absl::StrAppend(&out, first ? "" : ",", "{\"title\":", Quoted(section.title), ",\"note\":", Quoted(section.note),
                    ",\"rows\":[");
    first = false;
    for (size_t i = 0; i < section.rows.size(); ++i) {
      absl::StrAppend(&out, i == 0 ? "{" : ",{");
      for (size_t c = 0; c < section.rows[i].size(); ++c) {
        const ReportCell& cell = section.rows[i][c];
        absl::StrAppend(&out, c == 0 ? "" : ",", Quoted(section.columns[c].second), ":",
                        cell.number ? Exact(*cell.number) : Quoted(cell.text));
      }
      absl::StrAppend(&out, "}");
    }
    absl::StrAppend(&out, "]}");
  }
  return out + "]}\n";
}

}  // namespace pga::pgactl
