#include "services/ruler/rule_set.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/status/status.h"
#include "services/ruler/alerts.h"
#include "services/ruler/rule_file.h"

namespace pga::ruler {
namespace {

constexpr size_t kMostFiles = 1000;
constexpr size_t kMostMetricBytes = 1 << 20;

// Text of each *.yaml of the folder, as far as it is read.
absl::StatusOr<std::map<std::string, std::string>> ReadFolder(const std::string& folder, size_t most_bytes) {
  std::map<std::string, std::string> texts;
  std::error_code error;
  auto at = std::filesystem::directory_iterator(folder, error);
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    if (at->path().extension() != ".yaml") continue;
    if (texts.size() == kMostFiles) {
      return absl::InvalidArgumentError(absl::StrCat(folder, " holds more than ", kMostFiles, " files"));
    }
    std::ifstream in(at->path());
    std::string text(most_bytes + 1, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(in.gcount()));
    texts[at->path().string()] = std::move(text);
  }
  if (error) return absl::NotFoundError(absl::StrCat("cannot read the files of ", folder, ": ", error.message()));
  return texts;
}

void AddLines(const absl::Status& status, std::vector<std::string>* lines) {
  for (const auto line : absl::StrSplit(status.message(), '\n')) lines->emplace_back(line);
}

}  // namespace

RuleSource::RuleSource(RuleSetOptions options) : options_(std::move(options)), catalog_(options_.catalog_folder) {}

std::vector<std::string> RuleSource::TakeNewProblems() {
  absl::MutexLock lock(&mutex_);
  std::vector<std::string> fresh;
  std::set<std::string> logged;
  for (const std::string& problem : current_->problems) {
    if (!logged_.contains(problem)) fresh.push_back(problem);
    logged.insert(problem);
  }
  logged_ = std::move(logged);
  return fresh;
}

std::shared_ptr<const RuleSet> RuleSource::current() const {
  absl::MutexLock lock(&mutex_);
  return current_;
}

absl::Status RuleSource::Reload() {
  absl::MutexLock reload_lock(&reload_mutex_);
  std::map<std::string, std::string> texts;
  absl::Status unreadable;
  if (!options_.folder.empty()) {
    auto read = ReadFolder(options_.folder, kMaxRuleFileBytes);
    if (read.ok()) {
      texts = *std::move(read);
    } else {
      unreadable = read.status();
      texts = texts_;
    }
  }
  absl::Status catalog_read = catalog_.last_error();
  bool catalog_changed = false;
  if (!options_.catalog_folder.empty()) {
    auto metrics = ReadFolder(options_.catalog_folder, kMostMetricBytes);
    catalog_changed = !metrics.ok() || *metrics != metrics_;
    if (catalog_changed && read_) catalog_read = catalog_.Reload();
    if (metrics.ok()) metrics_ = *std::move(metrics);
  }
  if (read_ && texts == texts_ && unreadable.ok() && !catalog_changed) return absl::OkStatus();
  const std::shared_ptr<const catalog::Catalog> catalog = catalog_.current();
  auto next = std::make_shared<RuleSet>();
  if (!catalog_read.ok()) AddLines(catalog_read, &next->problems);
  if (!unreadable.ok()) next->problems.emplace_back(unreadable.message());
  std::set<std::string> known;
  if (!options_.without_builtin) {
    for (const RuleFile& file : BuiltinRuleFiles()) {
      auto rule = ParseRuleFile(file.yaml, *catalog, {.file_name = std::string(file.name), .custom = false});
      if (!rule.ok()) return absl::InternalError(rule.status().message());
      known.insert(rule->name);
      next->rules[rule->name] = *std::move(rule);
    }
  }
  std::map<std::string, Rule> good;
  for (const auto& [path, text] : texts) {
    auto rule = ParseRuleFile(text, *catalog, {.file_name = path, .custom = true});
    std::vector<std::string> failures;
    if (rule.ok()) failures = RunTests(*rule);
    if (rule.ok() && failures.empty()) {
      good[path] = *std::move(rule);
      continue;
    }
    if (!rule.ok()) AddLines(rule.status(), &next->problems);
    next->problems.insert(next->problems.end(), failures.begin(), failures.end());
    if (const auto before = good_.find(path); before != good_.end()) good.insert(*before);
  }
  for (const auto& [path, rule] : good) {
    known.insert(rule.name);
    next->rules[rule.name] = rule;
  }
  for (const std::string& name : options_.disabled) {
    next->rules.erase(name);
    if (!known.contains(name)) {
      next->problems.push_back(absl::StrCat("RULES_DISABLED names ", name, ", and there is no such rule"));
    }
  }
  texts_ = std::move(texts);
  good_ = std::move(good);
  read_ = true;
  absl::MutexLock lock(&mutex_);
  current_ = std::move(next);
  return absl::OkStatus();
}

}  // namespace pga::ruler
