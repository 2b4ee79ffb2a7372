// What of a source cannot be collected, why, and when it is tried again. What fails rests: a statement that the server
// refuses is an ERROR line in its log each time it is sent.
//
// Pure; not thread-safe. Times are nanoseconds of CLOCK_BOOTTIME.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace pga::collector {

struct Trouble {
  absl::Status status;
  std::string database;  // empty = the whole server
  // Failures in a row.
  int failures = 0;
  int64_t since_ns = 0;
  int64_t rest_until_ns = 0;
  // What decided about rights, extensions and role when it failed (SourceSession::facts).
  std::string facts;
};

class Troubles {
 public:
  // `interval_ns` is the distance of readings; rests are counted in it.
  explicit Troubles(int64_t interval_ns) : interval_ns_(interval_ns) {}

  // Notes what became of `what`. True when that is news: it failed for another reason than before, or works again.
  //   a refusal of the server      rests 10 minutes, then twice as long each time, up to an hour
  //   a statement out of time      rests 5 intervals, then twice as long each time, up to an hour
  //   what passes (a lock, too many connections, a recovery conflict)
  //                                rests no interval, then 1, 2, 4, ..., up to an hour
  //   what no statement was sent for (an extension is missing)   does not rest
  bool Report(const std::string& what, const absl::Status& status, const std::string& database, int64_t now_ns,
              const std::string& facts);
  // Whether `what` is left out now. A rest ends early when the facts are others.
  bool Rests(const std::string& what, int64_t now_ns, const std::string& facts) const;
  // Ends every rest: the configuration has changed.
  void EndRests();
  // Troubles of databases that are not among `names` are over; returns what they were about.
  std::vector<std::string> ForgetDatabasesBut(const std::vector<std::string>& names);

  const std::map<std::string, Trouble>& all() const { return troubles_; }

 private:
  int64_t interval_ns_;
  std::map<std::string, Trouble> troubles_;
};

// Whether the server refuses for good rather than for now: rights, missing objects, what it does not know.
bool IsRefusal(const absl::Status& status);

}  // namespace pga::collector
