// The entries of pg_stat_statements of one source.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libs/columns/row_set.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::fleetsim {

// A frame to be filled: its span, and how much work falls into it (minutes at mean load).
struct FrameSpan {
  columns::FrameInfo info;
  double work = 0;
  uint64_t hash = 0;
};

class StatementModel {
 public:
  // `entries` at a time, `changed` of them in a minute of mean load. `version` is server_version_num.
  StatementModel(uint64_t hash, int entries, double changed, int databases, int version, bool io_timing);

  // Fills `rows`, whose frames are those of `spans`, with the entries that were called. `absolute`: all entries with
  // their readings since the last reset instead.
  void Fill(const pganalytics::catalog::v1::Metric& metric, const std::vector<FrameSpan>& spans, bool absolute,
            columns::RowSet* rows) const;

  // When the entries were last reset before `at_us`.
  int64_t ResetBefore(int64_t at_us) const;

  struct Text {
    int64_t database_id = 0;
    int64_t query_id = 0;
    std::string text;
  };
  std::vector<Text> Texts(int64_t at_us) const;

 private:
  enum class Class : uint8_t { kLookup, kList, kWrite, kReport, kUtility };
  // One entry as it is during one of its slot's lives.
  struct Entry {
    Class kind = Class::kLookup;
    int64_t queryid = 0;
    bool toplevel = true;
    int user = 0;
    int database = 0;
    // A minute at mean load.
    double calls = 0;
    double mean_us = 0;
    double sigma = 0;
    double rows = 0, hit = 0, read = 0, read_chance = 0, dirtied = 0, wal = 0, wal_size = 0, temp = 0, jit = 0;
    // Rows and blocks are the same for every call.
    bool fixed = false;
  };

  int64_t LifeOf(int slot) const;
  int64_t Generation(int slot, int64_t at_us) const;
  Entry Make(int slot, int64_t generation) const;

  const uint64_t hash_;
  const int entries_;
  const int databases_;
  const int version_;
  const bool io_timing_;
  // Calls a minute of each slot.
  std::vector<double> calls_;
};

int64_t DatabaseOid(int database);

}  // namespace pga::fleetsim
