#include "services/ruler/quantity.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"

namespace pga::ruler {
namespace {

struct Suffix {
  std::string_view text;
  double factor;
};

constexpr std::array<Suffix, 5> kBytes = {
    {{"B", 1}, {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}}};
// In seconds.
constexpr std::array<Suffix, 6> kTimes = {{{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}}};

std::string WithoutRate(const std::string& unit) {
  return unit.size() > 2 && unit.ends_with("/s") ? unit.substr(0, unit.size() - 2) : unit;
}

// Seconds of one unit of time; 0 for any other unit.
double SecondsOf(const std::string& unit) {
  if (unit == "us") return 1e-6;
  if (unit == "ms") return 1e-3;
  if (unit == "s") return 1;
  return 0;
}

std::string Number(double value) {
  char text[64];
  const double size = std::fabs(value);
  if (size >= 1000 || value == std::floor(value)) {
    std::snprintf(text, sizeof text, "%.0f", value);
    std::string digits = text;
    for (auto at = static_cast<int>(digits.size()) - 3; at > (digits[0] == '-' ? 1 : 0); at -= 3) {
      digits.insert(static_cast<size_t>(at), ",");
    }
    return digits;
  }
  std::snprintf(text, sizeof text, size >= 100 ? "%.1f" : (size >= 1 ? "%.2f" : "%.4g"), value);
  std::string digits = text;
  if (digits.find('.') != std::string::npos && digits.find('e') == std::string::npos) {
    digits.erase(digits.find_last_not_of('0') + 1);
    if (digits.back() == '.') digits.pop_back();
  }
  return digits;
}

}  // namespace

absl::StatusOr<double> ParseQuantity(const std::string& text, const std::string& unit) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no number"));
  }
  std::string suffix = text.substr(static_cast<size_t>(end - text.data()));
  while (suffix.starts_with(" ")) suffix.erase(0, 1);
  if (suffix.empty()) return number;
  std::string base = WithoutRate(unit);
  if (suffix == "%" && base == "ratio") return number / 100;
  if (suffix == "%" && base == "percent") return number;
  if (base == "bytes") {
    for (const Suffix& known : kBytes) {
      if (suffix == known.text) return number * known.factor;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\": the value is in bytes; use B, KiB, MiB, GiB or TiB"));
  }
  if (const double seconds = SecondsOf(base); seconds > 0) {
    for (const Suffix& known : kTimes) {
      if (suffix == known.text) return number * known.factor / seconds;
    }
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": the value is a time; use us, ms, s, m, h or d"));
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": the value is in ", unit,
                                                 ", so it takes a number alone",
                                                 base == "ratio" || base == "percent" ? " or one with %" : ""));
}

std::string FormatQuantity(double value, const std::string& unit) {
  const std::string base = WithoutRate(unit);
  const std::string rate = base == unit ? "" : "/s";
  if (base == "bytes") {
    size_t step = 0;
    while (step + 1 < kBytes.size() && std::fabs(value) >= kBytes[step + 1].factor) ++step;
    return absl::StrCat(Number(value / kBytes[step].factor), " ", std::string(kBytes[step].text), rate);
  }
  if (const double seconds = SecondsOf(base) * value; SecondsOf(base) > 0) {
    const double size = std::fabs(seconds);
    if (size >= 172800) return absl::StrCat(Number(std::round(seconds / 8640) / 10), " days", rate);
    if (size >= 7200) return absl::StrCat(Number(std::round(seconds / 360) / 10), " h", rate);
    if (size >= 120) return absl::StrCat(Number(std::round(seconds / 6) / 10), " min", rate);
    if (size >= 1 || size == 0) return absl::StrCat(Number(seconds), " s", rate);
    return absl::StrCat(Number(seconds * 1000), " ms", rate);
  }
  if (base == "ratio") return absl::StrCat(Number(std::round(value * 1000) / 10), " %", rate);
  if (base == "percent") return absl::StrCat(Number(std::round(value * 10) / 10), " %", rate);
  if (base == "1" || base.empty()) return absl::StrCat(Number(value), rate);
  return absl::StrCat(Number(value), " ", base, rate);
}

std::string ExactNumber(double value) {
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return error == std::errc() ? std::string(text, end) : "";
}

absl::StatusOr<absl::Duration> ParseSpan(const std::string& text) {
  if (!text.empty() && text.find_first_not_of("0123456789") == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" has no unit; write ", text, "s, ", text, "m, ..."));
  }
  PGA_ASSIGN_OR_RETURN(const double seconds, ParseQuantity(text, "s"));
  if (seconds < 0) return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is less than nothing"));
  return absl::Seconds(seconds);
}

}  // namespace pga::ruler
