// Takes the example files out of docs/adding-a-metric.md, so that tests run what the guide shows.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace pga::catalog::testing {

struct GuideExample {
  std::string file_name;
  std::string yaml;
};

// Blocks ```diff that add one file, and blocks ```yaml whose first line is a comment with the file's name.
inline std::vector<GuideExample> GuideExamples(const std::string& source_root) {
  std::ifstream in(std::filesystem::path(source_root) / "docs" / "adding-a-metric.md");
  std::vector<GuideExample> examples;
  enum { kText, kDiff, kYaml } state = kText;
  for (std::string line; std::getline(in, line);) {
    if (state == kText) {
      if (line == "```diff") state = kDiff;
      if (line == "```yaml") state = kYaml;
      if (state != kText) examples.emplace_back();
      continue;
    }
    GuideExample& example = examples.back();
    if (line == "```") {
      state = kText;
    } else if (state == kDiff && line.starts_with("+++ b/")) {
      example.file_name = line.substr(6);
    } else if (state == kDiff && line.starts_with("+")) {
      example.yaml += line.substr(1) + "\n";
    } else if (state == kYaml) {
      if (example.file_name.empty() && line.starts_with("# ")) example.file_name = line.substr(2);
      example.yaml += line + "\n";
    }
  }
  return examples;
}

}  // namespace pga::catalog::testing
