#include "tools/pgactl/table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace pga::pgactl {
namespace {

bool LooksNumeric(std::string_view text) {
  return !text.empty() &&
         (std::isdigit(static_cast<unsigned char>(text[0])) != 0 ||
          (text[0] == '-' && text.size() > 1 && std::isdigit(static_cast<unsigned char>(text[1])) != 0));
}

// The first `count` characters.
std::string_view Prefix(std::string_view text, size_t count) {
  size_t at = 0;
  while (at < text.size() && count > 0) {
    ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
    --count;
  }
  return text.substr(0, at);
}

std::string Format(const char* format, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

}  // namespace

size_t Characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string Shown(const std::string& text, bool truncated) {
  return truncated ? text + "…" : text;
}

std::string OneLine(std::string_view text) {
  std::string out;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool blank = byte < 0x20 || byte == 0x7F || c == ' ';
    if (blank && (out.empty() || out.back() == ' ')) continue;
    out += blank ? ' ' : c;
  }
  // C1 controls (U+0080 to U+009F) are two bytes beginning with 0xC2.
  for (size_t i = 0; i + 1 < out.size(); ++i) {
    if (static_cast<unsigned char>(out[i]) == 0xC2 && static_cast<unsigned char>(out[i + 1]) < 0xA0) {
      out.replace(i, 2, "?");
    }
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::string Table::Render(int width) const {
  std::vector<size_t> shown;
  for (size_t i = 0; i < header_.size(); ++i) shown.push_back(i);
  std::vector<size_t> widths(header_.size());
  std::vector<bool> numeric(header_.size(), true);
  std::vector<std::vector<std::string>> cells;
  for (const auto& row : rows_) {
    std::vector<std::string> clean;
    for (size_t i = 0; i < header_.size(); ++i) clean.push_back(i < row.size() ? OneLine(row[i]) : std::string());
    cells.push_back(std::move(clean));
  }
  for (size_t i = 0; i < header_.size(); ++i) {
    widths[i] = Characters(header_[i]);
    for (const auto& row : cells) {
      widths[i] = std::max(widths[i], Characters(row[i]));
      if (!row[i].empty() && !LooksNumeric(row[i])) numeric[i] = false;
    }
  }
  const auto line_width = [&] {
    size_t sum = 2 * (shown.size() - 1);
    for (const size_t i : shown) sum += widths[i];
    return sum;
  };
  const auto limit = static_cast<size_t>(std::max(width, 0));
  // What a text needs at least to be of use; a longer one gives way before a column is left out.
  constexpr size_t kLeast = 24;
  const auto least_width = [&] {
    size_t sum = 2 * (shown.size() - 1);
    for (const size_t i : shown) {
      sum += numeric[i] ? widths[i] : std::max(std::min(widths[i], kLeast), Characters(header_[i]));
    }
    return sum;
  };
  if (width > 0) {
    for (const std::string& name : dispensable_) {
      if (least_width() <= limit) break;
      std::erase_if(shown, [&](size_t i) { return header_[i] == name; });
    }
    // The widest text is cut until the line fits.
    while (line_width() > limit) {
      size_t widest = SIZE_MAX;
      for (const size_t i : shown) {
        if (numeric[i] || widths[i] <= std::max<size_t>(8, Characters(header_[i]))) continue;
        if (widest == SIZE_MAX || widths[i] >= widths[widest]) widest = i;
      }
      if (widest == SIZE_MAX) break;
      --widths[widest];
    }
  } else {
    for (size_t i = 0; i < widths.size(); ++i) widths[i] = std::min(widths[i], kPipedText);
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& row) {
    std::string text;
    for (const size_t i : shown) {
      if (i != shown.front()) text += "  ";
      std::string cell = row[i];
      if (Characters(cell) > widths[i]) cell = std::string(Prefix(cell, widths[i] - 1)) + "…";
      const size_t pad = widths[i] - Characters(cell);
      text += numeric[i] ? std::string(pad, ' ') + cell : cell + std::string(pad, ' ');
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    out += text + "\n";
  };
  line(header_);
  for (const auto& row : cells) line(row);
  return out;
}

std::string Table::Csv() const {
  std::string out;
  const auto line = [&](const std::vector<std::string>& row) {
    for (size_t i = 0; i < header_.size(); ++i) {
      std::string cell = i < row.size() ? row[i] : std::string();
      constexpr std::string_view kFormula = "=+@";
      const bool minus = !cell.empty() && cell[0] == '-' && !LooksNumeric(cell);
      if (minus || (!cell.empty() && kFormula.find(cell[0]) != std::string_view::npos)) cell.insert(0, "'");
      if (i > 0) out += ',';
      if (cell.find_first_of(",\"\r\n") == std::string::npos) {
        out += cell;
        continue;
      }
      out += '"';
      for (const char c : cell) out += c == '"' ? std::string("\"\"") : std::string(1, c);
      out += '"';
    }
    out += "\r\n";
  };
  line(header_);
  for (const auto& row : rows_) line(row);
  return out;
}

std::string Sparkline(const std::vector<std::optional<double>>& values, size_t width) {
  static constexpr const char* kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (values.empty() || width == 0) return "";
  const size_t cells = std::min(width, values.size());
  std::vector<std::optional<double>> joined(cells);
  double highest = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    std::optional<double>& cell = joined[i * cells / values.size()];
    if (values[i] && std::isfinite(*values[i])) cell = std::max(cell.value_or(*values[i]), *values[i]);
  }
  for (const auto& cell : joined) highest = std::max(highest, cell.value_or(0));
  std::string out;
  for (const auto& cell : joined) {
    if (!cell) {
      out += "·";
      continue;
    }
    const double share = highest > 0 ? std::max(0.0, *cell) / highest : 0;
    out += kBlocks[static_cast<size_t>(std::lround(share * 7))];
  }
  return out;
}

std::string Number(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  std::string text = Format("%.3f", value);
  if (text.find('.') != std::string::npos) {
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
  }
  size_t end = text.find('.');
  if (end == std::string::npos) end = text.size();
  const size_t begin = text[0] == '-' ? 1 : 0;
  for (size_t at = end; at > begin + 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text == "-0" ? "0" : text;
}

std::string Bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  while (std::abs(bytes) >= 1024 && unit < 5) {
    bytes /= 1024;
    ++unit;
  }
  return Format(unit == 0 ? "%.0f " : "%.1f ", bytes) + kUnits[unit];
}

std::string Millis(double ms) {
  if (ms < 10) return Format("%.3f ms", ms);
  if (ms < 1000) return Format("%.1f ms", ms);
  if (ms < 120000) return Format("%.1f s", ms / 1000);
  if (ms < 7200000) return Format("%.1f min", ms / 60000);
  return Format("%.1f h", ms / 3600000);
}

std::string InUnit(double value, std::string_view unit) {
  constexpr std::string_view kPerSecond = "/s";
  const bool rate = unit.size() > 2 && unit.substr(unit.size() - 2) == kPerSecond;
  if (rate) unit.remove_suffix(2);
  const std::string per(rate ? kPerSecond : std::string_view());
  if (unit == "bytes") return Bytes(value) + per;
  if (unit == "us") return Millis(value / 1000) + per;
  if (unit == "ms") return Millis(value) + per;
  if (unit == "percent") return Number(value) + " %" + per;
  if (unit == "1" || unit.empty()) return Number(value) + per;
  return Number(value) + " " + std::string(unit) + per;
}

std::string Percent(double share, int digits) {
  const double scale = digits == 0 ? 1 : 10;
  return Number(std::round(share * 100 * scale) / scale) + " %";
}

std::string Minute(absl::Time time, absl::TimeZone zone) {
  return absl::FormatTime("%Y-%m-%d %H:%M", time, zone);
}

std::string Clock(absl::Time time, absl::TimeZone zone) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, zone);
}

std::string ZoneName(absl::Time time, absl::TimeZone zone) {
  return absl::FormatTime("%Z", time, zone);
}

std::string TimeAxis(absl::Time start, absl::Time end, size_t width, absl::TimeZone zone) {
  const absl::Duration span = end - start;
  const char* const format = span > absl::Hours(48) ? "%m-%d" : span > absl::Minutes(10) ? "%H:%M" : "%H:%M:%S";
  const size_t label = absl::FormatTime(format, start, zone).size();
  if (width < 2 * label + 1) return absl::FormatTime(format, start, zone);
  std::string axis(width, ' ');
  const size_t labels = std::min<size_t>(5, std::max<size_t>(2, width / (2 * label)));
  for (size_t i = 0; i < labels; ++i) {
    const size_t at = (width - label) * i / (labels - 1);
    // The time at the left edge of the label; of the last one that at the right edge of the graph.
    const double share = i + 1 == labels ? 1 : static_cast<double>(at) / static_cast<double>(width);
    axis.replace(at, label, absl::FormatTime(format, start + span * share, zone));
  }
  return axis;
}

std::string Ago(std::optional<absl::Time> time, absl::Time now) {
  if (!time) return "never";
  const double seconds = absl::ToDoubleSeconds(now - *time);
  if (seconds < -1) return "in " + Format("%.0f s", -seconds);
  if (seconds < 120) return Format("%.0f s ago", std::max(0.0, seconds));
  if (seconds < 7200) return Format("%.0f min ago", seconds / 60);
  if (seconds < 172800) return Format("%.0f h ago", seconds / 3600);
  return Format("%.0f days ago", seconds / 86400);
}

}  // namespace pga::pgactl
