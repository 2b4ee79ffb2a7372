#include "services/ruler/fleet.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pga::ruler {
namespace {

constexpr size_t kNamed = 5;

// The thing that an alert is about as people call it: its source, or its labels where it has none.
std::string NameOfMember(const Alert& alert) {
  if (const auto source = alert.labels.find("source"); source != alert.labels.end()) return source->second;
  std::vector<std::string> values;
  for (const auto& [name, value] : alert.labels) values.push_back(value);
  return absl::StrJoin(values, " ");
}

using Members = std::vector<Alert*>;

std::vector<std::string> NamesOf(const Members& members) {
  std::set<std::string> names;
  for (const Alert* member : members) names.insert(NameOfMember(*member));
  return {names.begin(), names.end()};
}

// Those that fired in this round: nobody has heard of them.
std::set<AlertKey> FiredNow(const std::vector<Change>& changes) {
  std::set<AlertKey> fired;
  for (const Change& change : changes) {
    if (change.kind == Change::Kind::kFired) fired.insert(KeyOf(change.alert));
  }
  return fired;
}

// One group's alerts of the rule.
class Group {
 public:
  Group(const Rule& rule, const Sources& sources, absl::Time now, std::string name, std::vector<Change>* changes)
      : rule_(rule), sources_(sources), now_(now), name_(std::move(name)), changes_(changes) {}

  void Add(Alert* alert) { alerts_.push_back(alert); }

  void Advance(Alert* fleet, AlertBook* book) {
    if (rule_.together == 0) {
      for (Alert* alert : alerts_) Mark(alert, false);
      if (fleet != nullptr) End(fleet, "the rule joins no alerts any more", book);
      return;
    }
    const std::set<AlertKey> fired = FiredNow(*changes_);
    const auto open = [&](const Alert* alert) {
      return !alert->joined && (alert->phase == Phase::kPending || fired.contains(KeyOf(*alert)));
    };
    Members members;
    absl::Time newest = fleet == nullptr ? absl::InfinitePast() : fleet->began;
    for (Alert* alert : alerts_) {
      if (alert->joined) newest = std::max(newest, alert->began);
    }
    for (Alert* alert : alerts_) {
      if (alert->joined || (open(alert) && (fleet == nullptr || alert->began <= newest + Near()))) {
        members.push_back(alert);
      }
    }
    if (fleet == nullptr) {
      if (!Begin(members, fired, book)) {
        for (Alert* alert : members) Mark(alert, false);
      }
      return;
    }
    const std::vector<std::string> names = NamesOf(members);
    if (names.empty()) return End(fleet, "it holds for none of them any more", book);
    // Half of what it takes to begin: what comes and goes at the limit changes nothing.
    if (2 * names.size() >= static_cast<size_t>(rule_.together)) fleet->seen = now_;
    if (fleet->phase == Phase::kFiring && now_ - fleet->seen >= kApart) {
      for (Alert* alert : members) Mark(alert, false);
      return End(fleet, absl::StrCat(names.size(), " of them are left and go on as alerts of their own"), book);
    }
    for (Alert* alert : members) Mark(alert, true);
    if (Tell(members, names, fleet)) changes_->push_back({Change::Kind::kUpdated, *fleet, ""});
  }

 private:
  absl::Duration Near() const { return std::max(kTogether, rule_.hold); }

  // False: they are too few.
  bool Begin(Members members, const std::set<AlertKey>& fired, AlertBook* book) {
    // Those that began near the newest of them.
    absl::Time newest = absl::InfinitePast();
    for (const Alert* alert : members) newest = std::max(newest, alert->began);
    std::erase_if(members, [&](const Alert* alert) { return alert->began < newest - Near(); });
    const std::vector<std::string> names = NamesOf(members);
    if (names.size() < static_cast<size_t>(rule_.together) ||
        std::none_of(members.begin(), members.end(), [&](const Alert* a) { return fired.contains(KeyOf(*a)); })) {
      return false;
    }
    Alert fleet;
    fleet.rule = rule_.name;
    fleet.fleet = true;
    fleet.labels["fleet"] = name_.empty() ? "all" : name_;
    fleet.source_group = name_;
    fleet.phase = Phase::kFiring;
    fleet.began = newest;
    for (const Alert* alert : members) fleet.began = std::min(fleet.began, alert->began);
    fleet.fired = now_;
    fleet.seen = now_;
    for (Alert* alert : members) Mark(alert, true);
    Tell(members, names, &fleet);
    changes_->push_back({Change::Kind::kFired, fleet, ""});
    (*book)[KeyOf(fleet)] = std::move(fleet);
    return true;
  }

  void End(Alert* fleet, std::string reason, AlertBook* book) {
    changes_->push_back({Change::Kind::kResolved, *fleet, std::move(reason)});
    book->erase(KeyOf(*fleet));
  }

  // In what was changed already in this round, too.
  void Mark(Alert* alert, bool joined) {
    if (alert->joined == joined) return;
    alert->joined = joined;
    for (Change& change : *changes_) {
      if (KeyOf(change.alert) != KeyOf(*alert)) continue;
      change.alert.joined = joined;
      return;
    }
    changes_->push_back({Change::Kind::kUpdated, *alert, ""});
  }

  // What the alert says; whether that is something else than before.
  bool Tell(const Members& members, const std::vector<std::string>& names, Alert* fleet) const {
    const Alert* worst = members.front();
    for (const Alert* alert : members) {
      if (!alert->value) continue;
      if (!worst->value || (rule_.above ? *alert->value > *worst->value : *alert->value < *worst->value)) worst = alert;
    }
    const bool same = fleet->members == names && fleet->value == worst->value && !fleet->unknown_since;
    fleet->members = names;
    fleet->value = worst->value;
    fleet->unknown_since.reset();
    fleet->unknown_reason.clear();
    const std::vector<std::string> first(names.begin(),
                                         names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kNamed)));
    const auto all = std::count_if(sources_.begin(), sources_.end(),
                                   [this](const auto& entry) { return entry.second.group == name_; });
    fleet->summary = absl::StrCat(names.size(), name_.empty() ? "" : absl::StrCat(" of ", all, " sources of ", name_),
                                  " at once (", absl::StrJoin(first, ", "),
                                  names.size() > kNamed ? absl::StrCat(" and ", names.size() - kNamed, " more") : "",
                                  "): ", worst->summary);
    return !same;
  }

  const Rule& rule_;
  const Sources& sources_;
  const absl::Time now_;
  const std::string name_;
  std::vector<Change>* const changes_;
  Members alerts_;
};

}  // namespace

void Gather(const Rule& rule, const Sources& sources, absl::Time now, AlertBook* book, std::vector<Change>* changes) {
  std::map<std::string, Group> groups;
  std::map<std::string, Alert*> fleets;
  for (auto at = book->lower_bound(AlertKey(rule.name, {})); at != book->end() && at->first.first == rule.name; ++at) {
    Alert& alert = at->second;
    const auto [group, is_new] =
        groups.try_emplace(alert.source_group, rule, sources, now, alert.source_group, changes);
    if (alert.fleet) {
      fleets[alert.source_group] = &alert;
    } else {
      group->second.Add(&alert);
    }
  }
  for (auto& [name, group] : groups) {
    const auto fleet = fleets.find(name);
    group.Advance(fleet == fleets.end() ? nullptr : fleet->second, book);
  }
}

}  // namespace pga::ruler
