#include "services/collector/troubles.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "libs/status/payloads.h"

namespace pga::collector {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kRefusalRestNs = 600 * kSecondNs;
constexpr int64_t kLongestRestNs = 3600 * kSecondNs;
constexpr int64_t kTimeoutIntervals = 5;

int64_t Doubled(int64_t first_ns, int times) {
  for (int i = 0; i < times && first_ns < kLongestRestNs; ++i) first_ns *= 2;
  return std::min(first_ns, kLongestRestNs);
}

int64_t RestNs(const Trouble& trouble, int64_t interval_ns) {
  if (absl::IsDeadlineExceeded(trouble.status)) return Doubled(kTimeoutIntervals * interval_ns, trouble.failures - 1);
  if (IsRefusal(trouble.status)) return Doubled(kRefusalRestNs, trouble.failures - 1);
  if (status::SqlStateOf(trouble.status).empty() || trouble.failures < 2) return 0;
  return Doubled(interval_ns, trouble.failures - 1);
}

}  // namespace

bool IsRefusal(const absl::Status& status) {
  const std::string state = status::SqlStateOf(status);
  if (state.empty() || absl::IsDeadlineExceeded(status)) return false;
  // Lost connections, conflicts, lack of resources, the administrator's acts, failures of the machine, locks.
  for (const char* passing : {"08", "40", "53", "57", "58"}) {
    if (absl::StartsWith(state, passing)) return false;
  }
  return state != "55P03" && state != "55006";
}

bool Troubles::Report(const std::string& what, const absl::Status& status, const std::string& database, int64_t now_ns,
                      const std::string& facts) {
  const auto it = troubles_.find(what);
  if (status.ok()) {
    if (it == troubles_.end()) return false;
    troubles_.erase(it);
    return true;
  }
  const bool news = it == troubles_.end() || it->second.status.code() != status.code();
  Trouble& trouble = troubles_[what];
  if (news) {
    trouble = Trouble();
    trouble.since_ns = now_ns;
  }
  trouble.status = status;
  trouble.database = database;
  trouble.facts = facts;
  ++trouble.failures;
  trouble.rest_until_ns = now_ns + RestNs(trouble, interval_ns_);
  return news;
}

bool Troubles::Rests(const std::string& what, int64_t now_ns, const std::string& facts) const {
  const auto it = troubles_.find(what);
  return it != troubles_.end() && now_ns < it->second.rest_until_ns && it->second.facts == facts;
}

void Troubles::EndRests() {
  for (auto& [what, trouble] : troubles_) trouble.rest_until_ns = 0;
}

std::vector<std::string> Troubles::ForgetDatabasesBut(const std::vector<std::string>& names) {
  std::vector<std::string> over;
  std::erase_if(troubles_, [&](const auto& entry) {
    const std::string& database = entry.second.database;
    if (database.empty() || std::find(names.begin(), names.end(), database) != names.end()) return false;
    over.push_back(entry.first);
    return true;
  });
  return over;
}

}  // namespace pga::collector
