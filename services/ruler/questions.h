// The one way by which rules learn anything. Implemented by questions_client.h; tests bring their own answers.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/ruler/alerts.h"
#include "services/ruler/rule.h"

namespace pga::ruler {

// What is there to be asked about, at one time.
struct World {
  Sources sources;
  // Start of the newest minute with a reading, by source; none of the last ten minutes = not in it.
  std::map<std::string, absl::Time> heartbeats;
  // Answers to terms of SuiteMetrics(), by "metric.column".
  std::map<std::string, Answer> suite;
};

// One question at a time; every one has a deadline of its own.
class Questions {
 public:
  virtual ~Questions() = default;
  virtual absl::StatusOr<World> Look(absl::Time now) = 0;
  // A failure is in the answer's status.
  virtual Answer Ask(const Term& term, const World& world, absl::Time now) = 0;
  // The term in earlier weeks, of the hours (since 1970, UTC) that `hour` and the one before it are in a week.
  virtual absl::StatusOr<History> AskHistory(const Term& term, int64_t hour) = 0;
  // Ends the question under way and all later ones, from any thread: the process stops.
  virtual void Cancel() = 0;
};

// How one series answers a term: the newest reading, or what the window comes to. Points are in order of time.
struct SeriesPointValue {
  absl::Time time;
  std::optional<double> value;
  double covered_ms = 0;
};
// `newest`: no bucket before it counts as the present, for terms that take the newest reading. Empty = the row is there
// no more; a Sample without value = not known.
std::optional<std::optional<double>> Reduce(const Term& term, const std::vector<SeriesPointValue>& points,
                                            absl::Time newest);

// Seconds of a bucket in which the term is asked.
int64_t StepOf(const Term& term);

// The number that a text of an info column stands for; empty where it stands for none.
std::optional<double> NumberOf(const Term& term, const std::string& text, absl::Time now);

}  // namespace pga::ruler
