// The rules in force: those compiled in, and a folder of the user's. A bad file is refused with its line; the others go
// on, and of a file that was good before the last good rule stays.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "libs/catalog/catalog.h"
#include "services/ruler/rule.h"

namespace pga::ruler {

struct RuleFile {
  std::string_view name;
  std::string_view yaml;
};
// The files of services/ruler/rules/, compiled in.
const std::vector<RuleFile>& BuiltinRuleFiles();

struct RuleSet {
  // By name.
  std::map<std::string, Rule> rules;
  // One line for each problem: file, line and what to change.
  std::vector<std::string> problems;
};

struct RuleSetOptions {
  // Empty = built-in rules alone.
  std::string folder;
  // Names of rules that are left out. One that is in no file is a problem.
  std::vector<std::string> disabled;
  // The built-in rules are left out.
  bool without_builtin = false;
  // Folder with custom metrics; empty = built-in ones only.
  std::string catalog_folder;
};

// Thread-safe. Blocks on files.
class RuleSource {
 public:
  explicit RuleSource(RuleSetOptions options);

  // Reads both folders again where a file changed. A bad file of the catalog leaves the last good catalog in force. A
  // rule of the folder with the name of a built-in one replaces it. A
  // rule whose own tests fail is refused. INTERNAL when a built-in file is bad.
  absl::Status Reload();
  std::shared_ptr<const RuleSet> current() const;
  std::shared_ptr<const catalog::Catalog> catalog() const { return catalog_.current(); }
  // Problems that came up since the last call, for the log.
  std::vector<std::string> TakeNewProblems();

 private:
  const RuleSetOptions options_;
  catalog::CustomFolder catalog_;
  absl::Mutex reload_mutex_;
  // Of the catalog's folder, by file.
  std::map<std::string, std::string> metrics_ ABSL_GUARDED_BY(reload_mutex_);
  // Of the folder, by file.
  std::map<std::string, std::string> texts_ ABSL_GUARDED_BY(reload_mutex_);
  std::map<std::string, Rule> good_ ABSL_GUARDED_BY(reload_mutex_);
  bool read_ ABSL_GUARDED_BY(reload_mutex_) = false;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const RuleSet> current_ ABSL_GUARDED_BY(mutex_) = std::make_shared<RuleSet>();
  std::set<std::string> logged_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ruler
