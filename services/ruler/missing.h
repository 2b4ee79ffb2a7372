// What a source's collector could not read, as registry tells it, by the metrics that lack rows by it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "libs/catalog/catalog.h"

namespace pga::ruler {

struct MissingMetrics {
  // Not read: the databases in which it is so, an empty name for all of them.
  std::map<std::string, std::set<std::string>> unread;
  // Read without sessions and statements of other users: what they hold is a lower bound.
  std::set<std::string> hidden;

  // Of `database`, or of any where that is empty.
  bool Lacks(const std::string& metric, const std::string& database) const;
};

// One part that registry lists: what it is (source_runner.cc names them), and the database it is about.
void AddMissing(const catalog::Catalog& catalog, std::string_view what, std::string_view database,
                MissingMetrics* missing);

// Missing parts that registry named lately. A part that is read again has arrived some readings later only, so it goes
// on missing until then.
class MissingParts {
 public:
  // What it is and its database.
  using Part = std::pair<std::string, std::string>;
  explicit MissingParts(absl::Duration keep) : keep_(keep) {}

  void Tell(const std::string& source_id, Part part, absl::Time now);
  // Forgets what was not named for longer.
  void Forget(absl::Time now);
  MissingMetrics Of(const catalog::Catalog& catalog, const std::string& source_id) const;

 private:
  const absl::Duration keep_;
  std::map<std::string, std::map<Part, absl::Time>> told_;
};

}  // namespace pga::ruler
