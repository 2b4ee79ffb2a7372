#include "libs/config/nearest.h"

#include <algorithm>
#include <utility>

namespace pga::config {
namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::string> NearestNames(std::string_view name, const std::vector<std::string>& candidates) {
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const std::string& candidate : candidates) {
    // A single letter resembles everything and nothing.
    if (candidate.size() < 2) continue;
    const bool contains = !name.empty() && (candidate.find(name) != std::string::npos ||
                                            (candidate.size() > 2 && name.find(candidate) != std::string::npos));
    const size_t distance = EditDistance(name.substr(0, 64), candidate);
    if (contains || distance <= std::max<size_t>(candidate.size() > 3 ? 2 : 1, candidate.size() / 2))
      ranked.emplace_back(contains ? 1 : distance, candidate);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> nearest;
  for (size_t i = 0; i < ranked.size() && i < 3; ++i) nearest.push_back(ranked[i].second);
  return nearest;
}

}  // namespace pga::config
