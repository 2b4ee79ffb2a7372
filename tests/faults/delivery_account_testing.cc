#include "tests/faults/delivery_account_testing.h"

#include <fstream>

namespace pga::faults {
namespace {

// Keys of one collector: base up to the next one's.
constexpr int64_t kKeys = 1'000'000'000;

}  // namespace

void AddJournal(const std::string& path, int64_t base, const std::map<int64_t, int64_t>& stored,
                DeliveryAccount* account) {
  // The last that is known of each batch; one that was neither accepted nor refused when the process died may be there.
  std::map<int64_t, char> fates;
  std::ifstream in(path);
  char what = 0;
  for (int64_t number = 0; in >> what >> number;) fates[number] = what;

  std::map<int64_t, int64_t> rows;
  for (auto it = stored.lower_bound(base); it != stored.end() && it->first < base + kKeys; ++it) {
    const int64_t number = (it->first - base) / 10;
    const int64_t row = (it->first - base) % 10;
    ++rows[number];
    account->doubled += it->second > 1;
    account->corrupt += row >= kRowsOfABatch;
  }
  for (const auto& [number, count] : rows) {
    ++account->stored;
    account->corrupt += count != kRowsOfABatch;
    const auto fate = fates.find(number);
    account->spurious += fate == fates.end() || fate->second == 'r';
  }
  for (const auto& [number, fate] : fates) {
    ++account->tried;
    account->accepted += fate == 'a';
    account->refused += fate == 'r';
    account->lost += fate == 'a' && !rows.contains(number);
  }
}

}  // namespace pga::faults
