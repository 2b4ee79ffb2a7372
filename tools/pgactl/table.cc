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
  const size_t columns = header_.size();
  std::vector<size_t> widths(columns);
  std::vector<bool> numeric(columns, true);
  std::vector<std::vector<std::string>> cells;
  for (const auto& row : rows_) {
    std::vector<std::string> clean;
    for (size_t i = 0; i < columns; ++i) clean.push_back(i < row.size() ? OneLine(row[i]) : std::string());
    cells.push_back(std::move(clean));
  }
  for (size_t i = 0; i < columns; ++i) {
    widths[i] = Characters(header_[i]);
    for (const auto& row : cells) {
      widths[i] = std::max(widths[i], Characters(row[i]));
      if (!row[i].empty() && !LooksNumeric(row[i])) numeric[i] = false;
    }
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& row) {
    std::string text;
    size_t used = 0;
    for (size_t i = 0; i < columns; ++i) {
      if (i > 0) {
        text += "  ";
        used += 2;
      }
      std::string cell = row[i];
      if (i + 1 == columns && width > 0 && used + Characters(cell) > static_cast<size_t>(width)) {
        const size_t room = static_cast<size_t>(width) > used + 10 ? static_cast<size_t>(width) - used : 10;
        cell = std::string(Prefix(cell, room - 1)) + "…";
      }
      const size_t pad = widths[i] - std::min(widths[i], Characters(cell));
      if (numeric[i]) text += std::string(pad, ' ') + cell;
      if (!numeric[i]) text += i + 1 == columns ? cell : cell + std::string(pad, ' ');
      used += widths[i];
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    out += text + "\n";
  };
  line(header_);
  for (const auto& row : cells) line(row);
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
