// Computing over row sets: what questions about history need, without SQL. Rows may come in any order, from frames,
// blocks of raw rows and blocks of buckets alike; each piece of time (cell) is answered by one level and by the raw
// rows that are in no block yet. Not thread-safe; results do not depend on the order in which rows were added, but for
// the rounding of sums of doubles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "libs/columns/block.h"
#include "libs/columns/row_set.h"

namespace pga::columns {

// A piece of time, [start, end) for readings and (start, end] for increases; microseconds since 1970.
struct Cell {
  int64_t start_us = 0;
  int64_t end_us = 0;
  // Of the answer, from 0; -1: only looked at for what holds on.
  int32_t bucket = 0;
  // 0 = raw rows; else the level whose buckets are the cells of it.
  int8_t level = 0;
};
// Growing, disjoint, none empty.
using Cells = std::vector<Cell>;

// Where rows come from: a level of blocks, or kQueue = frames that are in no block yet, which count in every cell.
inline constexpr int8_t kQueue = -1;

// A condition on a label or a text info; `keep` is asked once per text, or once per series or row for other types.
// NULL is nullopt.
struct RowFilter {
  ColumnId column = 0;
  std::function<bool(std::optional<std::string_view>)> text;
  std::function<bool(std::optional<int64_t>)> number;
};

// monostate = NULL.
using Value = std::variant<std::monostate, int64_t, double, std::string>;

struct Grouping {
  // Labels, or text infos, that stay apart.
  std::vector<ColumnId> by;
  // Texts (labels or infos) that do not keep rows apart; the greatest of each is given.
  std::vector<ColumnId> infos;
  bool by_source = true;
  // Beyond these bounds nothing is added up any more, only counted.
  size_t max_groups = 100;
  size_t max_rows = 500'000;
};

// What is known of one group in one bucket, apart by source and scope.
struct GroupRow {
  int32_t source = 0;
  int64_t scope = 0;
  int32_t bucket = 0;
  int flags = 0;
  // As the kernel says; nullopt = not known.
  std::vector<std::optional<double>> values;
  std::vector<Value> labels;
  std::vector<std::optional<std::string>> infos;
};

struct GroupRows {
  size_t groups_found = 0;
  size_t rows_found = 0;
  // Empty when a bound was exceeded. In order of source, scope, labels, bucket.
  std::vector<GroupRow> rows;
};
// What one kernel would give for all of `parts`, each of which is of other sources.
GroupRows JoinRows(std::vector<GroupRows> parts, const Grouping& grouping);

namespace internal {

// Finds cells by time.
class CellTable {
 public:
  explicit CellTable(const Cells& cells) : cells_(cells) {}
  const Cells& cells() const { return cells_; }
  // Index of the cell that holds the instant, or -1.
  int Holding(int64_t instant) const;
  // First and last cell that (start, end] reaches into; an interval without length only that which holds its end.
  // Empty = {0, -1}.
  std::pair<int, int> Touched(int64_t start_us, int64_t end_us) const;
  // First and last cell that a frame of the level reaches into: of a bucket the one that holds its start.
  std::pair<int, int> Reached(int8_t level, const FrameInfo& frame) const {
    if (level <= 0) return Touched(frame.start_us, frame.end_us);
    const int cell = Holding(frame.start_us);
    return cell < 0 ? std::pair(0, -1) : std::pair(cell, cell);
  }
  bool Answers(int cell, int8_t level) const {
    return level == kQueue || cells_[static_cast<size_t>(cell)].level == level;
  }

 private:
  const Cells& cells_;
};

// Numbers groups. A group is a source, a scope and the values of the labels of the grouping, kept as one run of
// integers: texts by their number in a dictionary.
class Groups {
 public:
  explicit Groups(const Grouping& grouping)
      : grouping_(grouping), tag_words_((grouping.by.size() + 31) / 32), width_(2 + tag_words_ + grouping.by.size()) {}
  Groups(const Groups&) = delete;
  Groups& operator=(const Groups&) = delete;

  struct Group {
    int32_t source = 0;
    int64_t scope = 0;
    std::vector<Value> labels;
    std::vector<std::optional<std::string>> infos;
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  // The group of one series whose rows are no longer at hand; `labels` as Grouping::by.
  uint32_t Of(int32_t source, int64_t scope, const std::vector<Value>& labels);
  // Forgets all groups.
  void Clear();
  // From here on no group is added: what is not known has none.
  void Close() { closed_ = true; }
  size_t size() const { return count_; }
  Group At(uint32_t group) const;
  // Order of source, labels and scope.
  bool Before(uint32_t a, uint32_t b) const;
  // Distinct groups, scopes (and sources) of one group counted once.
  size_t distinct() const { return apart_.empty() ? count_ : distinct_; }
  bool full() const { return distinct() > grouping_.max_groups; }

  // Finds the groups of the rows of one row set, which must outlive it.
  class Rows {
   public:
    Rows(Groups* groups, int32_t source, const RowSet& rows);
    // Rows of one series may be in different groups.
    bool by_row() const { return by_row_; }
    uint32_t Of(uint32_t series, size_t row);
    // Of all series at once, where none depends on a row; kNone for those that are not wanted.
    std::vector<uint32_t> OfSeries(const std::vector<uint8_t>& wanted);
    // Takes the infos of a row; `again` says that a row of the same series and group came just before.
    void TakeInfos(uint32_t group, uint32_t series, size_t row, bool again);

   private:
    struct From {
      const Column* column = nullptr;
      bool of_row = false;
      // Numbers in the dictionary of the column's texts, -1 = not looked up.
      std::vector<int64_t> texts;
    };
    Groups* const groups_;
    const RowSet& rows_;
    bool by_row_ = false;
    std::vector<From> labels_, infos_;
    std::vector<int64_t> key_;
  };

 private:
  enum Tag : uint64_t { kNull = 0, kNumber = 1, kReal = 2, kString = 3 };
  const int64_t* KeyOf(uint32_t group) const { return &keys_[group * width_]; }
  static uint64_t TagOf(const int64_t* key, size_t label) {
    return static_cast<uint64_t>(key[2 + label / 32]) >> (2 * (label % 32)) & 3;
  }
  void SetLabel(size_t label, Tag tag, int64_t value, int64_t* key) const {
    key[2 + label / 32] |= static_cast<int64_t>(tag << (2 * (label % 32)));
    key[2 + tag_words_ + label] = value;
  }
  int64_t NumberOf(std::string_view text);
  uint64_t HashOf(const int64_t* key) const;
  uint32_t Find(const int64_t* key, uint64_t hash);
  void CountApart(uint32_t group);

  const Grouping& grouping_;
  const size_t tag_words_;
  // Integers of a key: source, scope, two bits per label that say what it is, labels.
  const size_t width_;
  bool closed_ = false;
  size_t count_ = 0;
  std::vector<int64_t> keys_;
  // Open addressing; number of the group + 1 in the lower half, half of the hash in the upper, 0 = free.
  std::vector<uint64_t> places_;
  // The same over keys without scope (and source), once they differ from the groups themselves.
  std::vector<uint64_t> apart_;
  size_t distinct_ = 0;
  std::deque<std::string> texts_;
  absl::flat_hash_map<std::string_view, int64_t> text_numbers_;
  // grouping.infos.size() per group.
  std::vector<std::optional<std::string>> group_infos_;
};

}  // namespace internal

// The value of a row, NULL where there is no column.
Value ValueOf(const Column* column, size_t row);

// Which rows of a row set pass all filters, 1 or 0. Filters on columns that are not there see NULL.
std::vector<uint8_t> KeepRows(const std::vector<RowFilter>& filters, const RowSet& rows);

// Sums of exact increases per group and bucket. An increase that crosses the edge of a cell is split by ShareBefore and
// marked kInterpolatedFlag. A row without any of the increases that is not marked kUnknownFlag says nothing.
class CounterSums {
 public:
  // All must outlive this. Values of the rows: one per column.
  CounterSums(const Cells& cells, const std::vector<ColumnId>& columns, const Grouping& grouping,
              const std::vector<RowFilter>& filters);
  // From here on nothing is summed but the groups of `rows`, by source, scope and labels.
  void Only(const std::vector<GroupRow>& rows);
  // Rows of frames with increases (not keyframes), or of buckets.
  void Add(int32_t source, int8_t level, const RowSet& rows);
  // The same of a block that was summed (SumBlock) as UseOf says. What `rows` and `sums` hold may be another block's
  // afterwards. After a KeepTop the rows of the source are kept for the next one, which looks only at what may be of
  // the first groups.
  void AddSeries(int32_t source, RowSet* rows, SeriesSums* sums);
  // Which frames of a block count; false when there is more to say than that.
  bool UseOf(int8_t level, const std::vector<FrameInfo>& frames, FrameUse* use) const;
  const std::vector<ColumnId>& columns() const { return columns_; }
  GroupRows Finish() const;
  // A bound of the grouping was exceeded: what is summed is not all.
  bool exceeded() const { return exceeded_ || groups_.full() || rows_found_ > grouping_.max_rows; }
  // The `limit` first groups by the sum of the columns `sum` (indexes), divided by the column `divisor` unless that is
  // -1; for one bucket. Ties by source and labels.
  std::vector<GroupRow> Top(const std::vector<int>& sum, int divisor, size_t limit) const;
  // Sum of each column over all groups, those included that were forgotten.
  std::vector<double> Totals() const;
  // Forgets all groups but those that Top with the same arguments may give; no row of a group comes before and after.
  // With it the bounds of the grouping are those of what comes between two calls.
  void KeepTop(const std::vector<int>& sum, int divisor, size_t limit);
  // Takes in another one; both were just left by a KeepTop with the same arguments, and have no group in common.
  void Join(CounterSums&& other, size_t limit);

 private:
  // A group by the figure of an order.
  struct Ranked {
    bool known = false;
    double figure = 0;
    GroupRow row;
  };
  std::vector<Ranked> RankedTop(const std::vector<int>& sum, int divisor, size_t limit) const;
  // Sorts them and leaves the first ones.
  static void KeepFirst(size_t limit, std::vector<Ranked>* ranked);
  // Summed series of one source that no group is looked up for yet.
  struct Pending {
    int32_t source = 0;
    RowSet rows;
    SeriesSums sums;
    std::vector<uint32_t> places;
  };
  void AddWanted(int32_t source, const RowSet& rows, const SeriesSums& sums, std::vector<uint8_t> wanted);
  // Adds what of pending_ may be of a group whose figure is at least that of the last kept one.
  void AddPending();
  void AddAllPending();
  // Of series, and of groups: alike for the same scope and labels.
  std::vector<uint32_t> PlacesOf(const RowSet& rows) const;
  uint32_t PlaceOf(uint32_t group) const;
  // Counts one of a place's sums, one per column.
  template <typename SumOf>
  void Sketch(uint32_t place, const SumOf& sum_of);
  size_t SlotOf(uint32_t group, int32_t bucket);
  // Of each column of some rows its values, and its NULLs if it has any.
  struct Values {
    const int64_t* ints = nullptr;
    const uint8_t* nulls = nullptr;
    bool Has(size_t row) const { return ints != nullptr && (nulls == nullptr || nulls[row] == 0); }
  };
  // Adds the rows of frames with a bucket in `bucket_of` where one scope is one group; they are taken out of it.
  void AddFrames(int32_t source, const RowSet& rows, const std::vector<Values>& values,
                 std::vector<int32_t>* bucket_of);
  GroupRow RowOf(size_t slot) const;

  const internal::CellTable cells_;
  const std::vector<ColumnId>& columns_;
  const Grouping& grouping_;
  const std::vector<RowFilter> filters_;
  internal::Groups groups_;
  // Of a group and bucket; where there is one bucket alone, of the group.
  absl::flat_hash_map<uint64_t, uint32_t> slots_;
  // Per bucket the group and slot that were looked up last.
  std::vector<std::pair<uint32_t, uint32_t>> last_of_bucket_;
  std::vector<uint32_t> slot_of_group_;
  bool one_bucket_ = true;
  std::vector<std::pair<uint32_t, int32_t>> slot_keys_;
  std::vector<int> flags_;
  std::vector<__int128> sums_;
  std::vector<uint8_t> known_;
  // What KeepTop left, and with which arguments.
  std::vector<Ranked> kept_;
  std::vector<int> kept_sum_;
  int kept_divisor_ = -1;
  // The least figure that is of interest; 0 = any.
  double threshold_ = 0;
  // The first `pending_count_` count; the others' memory is used again.
  std::vector<Pending> pending_;
  size_t pending_count_ = 0, pending_series_ = 0;
  // Per place at least the figure of each group that falls on it.
  std::vector<double> sketch_;
  bool sketch_holds_ = true;
  // Sum of each column over the groups that KeepTop has been through.
  std::vector<__int128> forgotten_;
  void AddTo(std::vector<__int128>* totals) const;
  // Takes the series that are not looked at any more into the totals.
  void AddForgotten(const Pending& pending, std::vector<uint8_t> dropped);
  bool exceeded_ = false;
  uint64_t last_key_ = UINT64_MAX;
  size_t last_slot_ = 0;
  size_t rows_found_ = 0;
};

// Readings of one gauge per group and bucket. Values of the rows: least, greatest, sum, count, sum of the series'
// averages, sum of the series' last readings. A cell in which a series has readings has those; a cell with frames but
// without a row of the series repeats its last reading once per frame, until the series is gone or the reading is older
// than `hold` at the cell's start.
class GaugeReadings {
 public:
  // All must outlive this. `series` are the labels that make a series. `scale` divides readings (1 or 1,000,000).
  // `hold_us` 0 = nothing is repeated. With `absent_is_zero` a series' average divides by all frames of its scope in
  // the bucket, those without a row of it included.
  GaugeReadings(const Cells& cells, ColumnId column, const std::vector<ColumnId>& series, const Grouping& grouping,
                const std::vector<RowFilter>& filters, double scale, int64_t hold_us, bool absent_is_zero = false);
  // All rows of a source come between two calls of FinishSource; keyframes before other frames.
  void Add(int8_t level, bool keyframes, const RowSet& rows);
  void FinishSource(int32_t source);
  GroupRows Finish() const;

 private:
  struct Reading {
    bool real = false;
    int64_t whole = 0;
    double number = 0;
    double value() const { return real ? number : static_cast<double>(whole); }
  };
  struct Own {
    int32_t cell = 0;
    int flags = 0;
    bool gone = false;
    int64_t newest_us = INT64_MIN;
    int64_t count = 0;
    double least = 0, greatest = 0;
    double real_sum = 0;
    __int128 whole_sum = 0;
    double last = 0;
    int64_t last_us = INT64_MIN;
  };
  struct Series {
    int64_t scope = 0;
    std::vector<Value> labels;
    std::vector<Own> cells;
    // Readings of keyframes, until it is clear that no other frame has a row of the same instant.
    struct Keyed {
      int64_t instant = 0;
      int flags = 0;
      std::optional<Reading> reading;
    };
    std::vector<Keyed> keyed;
  };
  struct Sums {
    int flags = 0;
    double least = 0, greatest = 0, sum = 0, count = 0, averages = 0, last = 0;
  };

  std::optional<Reading> ReadingOf(const Column* column, size_t row) const;
  Own& OwnOf(Series& series, int32_t cell) const;
  void AddRow(Series& series, int64_t instant, int flags, const std::optional<Reading>& reading);
  void AddSums(uint32_t group, int32_t bucket, const Sums& sums);

  const internal::CellTable cells_;
  const ColumnId column_;
  const std::vector<ColumnId>& series_labels_;
  const Grouping& grouping_;
  const std::vector<RowFilter> filters_;
  const double scale_;
  const int64_t hold_us_;
  const bool absent_is_zero_;
  // Index into series_labels_ per label of the grouping.
  std::vector<size_t> group_of_label_;
  // Of the source that is being read.
  std::vector<Series> series_;
  absl::flat_hash_map<std::string, uint32_t> by_key_;
  absl::flat_hash_set<std::pair<int64_t, int64_t>> instants_, keyframe_instants_;
  std::map<std::pair<int64_t, int32_t>, int64_t> frames_;
  internal::Groups groups_;
  std::map<std::pair<uint32_t, int32_t>, Sums> sums_;
  size_t rows_found_ = 0;
};

// How much of each bucket frames cover, per source and scope.
class CoverageSums {
 public:
  // `cells` must outlive this.
  CoverageSums(const Cells& cells, int32_t buckets) : cells_(cells), buckets_(static_cast<size_t>(buckets)) {}
  // Frames that are not keyframes; those that stand for no frame of their own (further parts) count nothing.
  void Add(int32_t source, int8_t level, const std::vector<FrameInfo>& frames);

  struct Scope {
    // Per bucket.
    std::vector<int64_t> covered_us;
    // A frame in the bucket says that all its increases are lower bounds.
    std::vector<uint8_t> lower_bound;
  };
  using Key = std::pair<int32_t, int64_t>;
  const std::map<Key, Scope>& scopes() const { return scopes_; }
  // Per bucket 1 where a reading of the scope was taken in it: a bucket that is shorter than the time between two
  // readings may be covered and have none.
  using Taken = std::map<Key, std::vector<uint8_t>>;
  const Taken& taken() const { return taken_; }

 private:
  const internal::CellTable cells_;
  const size_t buckets_;
  std::map<Key, Scope> scopes_;
  Taken taken_;
};

}  // namespace pga::columns
