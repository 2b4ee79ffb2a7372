// What elements of JSON pushes mean: for each kind of element the metrics of the catalog that its fields are columns
// of. The rules are data, one YAML file of push_elements/ a kind; README.md has their keys. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::ingest {

struct PushMapFile {
  std::string_view name;
  std::string_view yaml;
};
// Generated from push_elements/.
const std::vector<PushMapFile>& BuiltinPushMapFiles();

// Where a value stands.
struct PushPath {
  // Names of fields, from the row inwards.
  std::vector<std::string> fields;
  enum class From {
    kRow,
    kElement,  // ^name: of the element around the rows
    kTime,     // $time: the instant of the reading
    kPlace,    // $place: number of the row, from 0
  };
  From from = From::kRow;
};

struct PushColumnRule {
  // Of the metric.
  std::string column;
  PushPath path;
  double times = 1;
};

struct PushReadingRule {
  std::string metric;
  // Of the collector's host, not of the server.
  bool host = false;
  // Path of the array of rows; empty = the element is the row.
  std::vector<std::string> rows;
  // The collector sends at most so many rows, the largest; 0 = it sends all there are.
  int limit = 0;
  // The rows are the end of a log: those that the reading before had, too, are left out.
  bool tail = false;
  std::vector<PushColumnRule> columns;
  // Rows of pushed_values, one a field: name and path.
  std::vector<std::pair<std::string, PushPath>> values;
  // Of metric statements: fields of a row with the id of a statement and its text; empty = none.
  std::string text_id, text;
};

struct PushElementRule {
  std::string type;
  // Not empty: applies to elements without a type that have these fields.
  std::vector<std::string> without_type;
  std::vector<PushReadingRule> readings;
};

class PushMap {
 public:
  // INVALID_ARGUMENT with file and line.
  static absl::StatusOr<PushMap> Parse(const std::vector<PushMapFile>& files);
  // Ends the program when a built-in file is bad.
  static const PushMap& Builtin();

  // Null when nothing is known of the type.
  const PushElementRule* OfType(std::string_view type) const;
  // Rules for elements without a type.
  const std::vector<const PushElementRule*>& WithoutType() const { return without_type_; }
  const std::map<std::string, PushElementRule, std::less<>>& all() const { return rules_; }

 private:
  std::map<std::string, PushElementRule, std::less<>> rules_;
  std::vector<const PushElementRule*> without_type_;
};

// Metric of numbers that no other metric has a column for.
inline constexpr char kPushedValues[] = "pushed_values";

}  // namespace pga::ingest
