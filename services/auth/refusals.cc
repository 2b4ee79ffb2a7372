#include "services/auth/refusals.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/auth/address.h"

namespace pga::auth {
namespace {

constexpr char kEverybody[] = "everybody";

}  // namespace

Refusals::Refusals(AuthStore* store, clock::Clock* clock, metrics::Registry* metrics)
    : store_(store),
      rates_(clock),
      left_out_total_(
          metrics->AddCounter("pga_auth_refusals_not_audited_total",
                              "Refusals that were left out of the audit log because there were too many.")) {}

bool Refusals::Record(std::string_view address) {
  const std::string key = absl::StrCat("address:", AddressOf(address));
  if (rates_.Take(key, kPerAddressAndMinute).allowed && rates_.Take(kEverybody, kPerMinute).allowed) return true;
  left_out_.fetch_add(1);
  left_out_total_.Increment();
  return false;
}

absl::Status Refusals::Audit(AuditEntry entry, clock::SteadyTime deadline) {
  if (!Record(entry.ip_address)) return absl::OkStatus();
  entry.success = false;
  if (const int64_t left_out = left_out_.exchange(0); left_out > 0) {
    std::string& json = entry.changes_json;
    json.pop_back();
    absl::StrAppend(&json, json.size() > 1 ? "," : "", R"("refusals_not_recorded":)", left_out, "}");
  }
  return store_->Audit(std::move(entry), deadline);
}

}  // namespace pga::auth
