// Which statements of a server are worth an EXPLAIN, in which order, and how many: those that cost the most and have no
// plan yet, an old one, or one that may no longer hold. Pure; not thread-safe. Times are nanoseconds of CLOCK_BOOTTIME.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "services/collector/explain_limits.h"
#include "services/collector/reading.h"

namespace pga::collector {

class ExplainQueue {
 public:
  using Id = std::pair<int64_t, int64_t>;  // database, query
  // Texts that are kept: of the statements with the greatest cost that wait.
  static constexpr size_t kMostTexts = 500;
  static constexpr size_t kMostTextBytes = 1 << 20;

  struct Statement {
    Id id;
    int64_t user = 0;  // with the greatest time
    std::string text;
  };

  explicit ExplainQueue(ExplainLimits limits)
      : limits_(limits), left_(limits.statements), left_us_(static_cast<double>(limits.time_us)) {}

  // A reading of metric statements. Statements of `without_user` are left out; empty = of nobody.
  void Observe(const Reading& reading, std::string_view without_user, int64_t now_ns);
  // Forgets the statements of a user.
  void LeaveOut(int64_t user);
  // The log says a plan of the statement.
  void Logged(const std::string& database, int64_t query, int64_t now_ns);

  // Databases with statements that ran in the last interval or wait: the one looked at longest ago first, of those the
  // one with the greatest cost.
  std::vector<std::string> Databases() const;
  // A database is looked at; `facts` says which indexes and settings there are. With other ones than the last time its
  // plans may no longer hold.
  void LookedAt(const std::string& database, const std::string& facts, int64_t now_ns);

  // Statements whose texts are to be read, of all databases; at most kMostTexts.
  std::vector<Id> WithoutText(int64_t now_ns) const;
  // A text that was asked for; empty if there is none that can be planned, which is not asked for again.
  void SetText(const Id& id, std::string text);

  // The next statement of the database, within the budget; the greatest cost first. Every one is given back by Done.
  std::optional<Statement> Take(const std::string& database, int64_t now_ns);
  // What became of it: a plan, or nothing, so that it rests longer each time. `took_us` is the server's time.
  void Done(const Id& id, bool planned, int64_t took_us, int64_t now_ns);

  // Statements of the database that wait with a text.
  int64_t Waiting(const std::string& database, int64_t now_ns) const;
  // How many statements the budget has left; 0 too when its time is used.
  int64_t Left(int64_t now_ns);

  size_t size() const { return statements_.size(); }

 private:
  struct State {
    int64_t time_us = -1;  // as read last, of all users
    int64_t calls = 0;
    int64_t cost_us = 0;  // of the last interval in which it ran
    double mean_us = 0;
    int64_t user = 0;
    int64_t planned_ns = 0;  // 0 = never
    double planned_mean_us = 0;
    int64_t rest_until_ns = 0;
    int32_t failures = 0;
    int32_t database = -1;  // in databases_
    bool wanted = false;    // it ran, and has no plan that holds
    bool doubtful = false;  // its plan may no longer hold
    bool hopeless = false;  // its text has no plan
    bool taken = false;
    bool seen = false;
  };
  struct Database {
    std::string name;
    int64_t looked_ns = 0;
    std::string facts;
  };

  int32_t DatabaseOf(std::string_view name);
  void EraseIf(const std::function<bool(State&)>& gone);
  bool Waits(const State& state, int64_t now_ns) const;
  // Those that wait, the greatest cost first.
  std::vector<std::pair<int64_t, Id>> ByCost(int64_t now_ns) const;

  const ExplainLimits limits_;
  absl::flat_hash_map<Id, State> statements_;
  std::vector<Database> databases_;
  absl::flat_hash_map<Id, std::string> texts_;
  size_t text_bytes_ = 0;
  double left_;
  double left_us_;
  int64_t refilled_ns_ = 0;
};

}  // namespace pga::collector
