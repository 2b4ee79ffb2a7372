// The account of the delivery campaign, kept outside of spool and database. Tests only.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace pga::faults {

inline constexpr int kRowsOfABatch = 4;

// The key of a row: batch `number` of the collector whose keys begin at `base`.
inline int64_t KeyOf(int64_t base, int64_t number, int row) {
  return base + number * 10 + row;
}

struct DeliveryAccount {
  int64_t tried = 0;
  int64_t accepted = 0;
  int64_t refused = 0;
  int64_t stored = 0;  // batches
  int64_t lost = 0;
  int64_t doubled = 0;
  int64_t spurious = 0;
  int64_t corrupt = 0;

  int64_t wrong() const { return lost + doubled + spurious + corrupt; }
};

// Adds a collector to the account: its journal (collector_under_test) against `stored`, rows by key of all collectors.
void AddJournal(const std::string& path, int64_t base, const std::map<int64_t, int64_t>& stored,
                DeliveryAccount* account);

}  // namespace pga::faults
