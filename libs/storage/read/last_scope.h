// What one scope of a source read last, and bringing it forward by further readings (last_values.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/columns/row_set.h"
#include "libs/storage/read/reading_order.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

// Which columns of a metric.
struct LastWanted {
  const ::pganalytics::catalog::v1::Metric* metric = nullptr;
  // Indexes of columns; their texts are LastRow::labels.
  std::vector<int> labels;
  // Indexes of counters, gauges, and info columns that are numbers.
  std::vector<int> values;
};

struct LastRow {
  // NULL is empty.
  std::vector<std::string> labels;
  // In stored units; NaN = not known.
  std::vector<double> values;
};

// One scope (the server, or a database) of a source. Immutable.
struct LastScope {
  // Newest reading, microseconds; 0 = none.
  int64_t newest_us = 0;
  // What the last reading and the one before cover; 0 = not known.
  int64_t length_us = 0;
  int64_t length_before_us = 0;
  // By identity, whose bytes order them; labels may change.
  std::map<std::string, LastRow> rows;
  // Counters are absolute: a key frame was seen.
  bool anchored = false;
  // A counter of some row may have begun anew: it is not known until the next key frame.
  bool uncertain = false;
  // Hashes of the keys of rows beyond the bound.
  std::set<size_t> beyond;

  // Distance of readings; that of a single long one after an outage does not count. 0 = not known.
  int64_t interval_us() const { return length_before_us == 0 ? length_us : std::min(length_us, length_before_us); }
};

// Scopes of one source and metric.
using LastSource = std::vector<std::shared_ptr<const LastScope>>;

// Each reading of such a metric says all there is.
bool StandsAlone(const ::pganalytics::catalog::v1::Metric& metric);

// Brings one scope forward by readings, each later than the one before. Pure.
class LastScopeBuilder {
 public:
  // `wanted` must outlive this. Begins with `before`, which
  // may be null; `anew` = the first reading says all there is, so that rows of `before` are of no use.
  LastScopeBuilder(const LastWanted& wanted, size_t max_rows, const LastScope* before, bool anew);
  void Apply(const ReadingOrder& order, const ReadingOrder::Reading& reading);
  // What has come of it so far: a copy, which goes on; and what it is in the end.
  std::shared_ptr<const LastScope> Copy() const;
  std::shared_ptr<const LastScope> Finish() &&;

 private:
  std::vector<std::string> LabelsOf(const columns::RowSet& rows, size_t row) const;
  std::string KeyOf(const columns::RowSet& rows, size_t row) const;
  void ApplyRow(const columns::RowSet& rows, size_t row, bool absolute);
  void Drop(const columns::RowSet& rows, size_t row);

  const LastWanted& wanted_;
  const size_t max_rows_;
  LastScope state_;
  std::vector<int> identity_, label_columns_;
  bool identity_is_labels_ = false;
  bool names_pass_on_ = false;
  std::vector<uint8_t> counter_;
};

}  // namespace pga::storage
