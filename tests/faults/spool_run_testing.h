// One life of a spool on a recorded disk, and the account of it that is kept outside: which batches were handed over,
// accepted, refused and acknowledged after which step of the disk. Tests only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "libs/clock/fake_clock.h"
#include "services/collector/delta_engine.h"
#include "services/collector/spool.h"
#include "tests/faults/recorded_disk_testing.h"

namespace pga::faults {

// What was found wrong; all zero is what is promised.
struct Tally {
  int64_t states = 0;
  int64_t lost = 0;
  int64_t doubled = 0;
  int64_t spurious = 0;
  int64_t corrupt = 0;
  // Baselines that are not those of the last batch that is there.
  int64_t baselines = 0;
  std::string first;

  int64_t wrong() const { return lost + doubled + spurious + corrupt + baselines; }
  void Say(const char* what) const;
};

// How far an account goes.
struct Known {
  // Of batches by number: accepted and not acknowledged (must be there), and all that may be there.
  std::set<int64_t> must;
  std::set<int64_t> may;
  // The newest number that was accepted with baselines.
  int64_t baseline = 0;
};

class SpoolRun {
 public:
  struct Options {
    uint64_t seed = 1;
    int rounds = 40;
    Mutant mutant = Mutant::kNone;
    // FailFrom of the disk; -1 = none.
    int64_t fail_from = -1;
    int64_t fail_count = 1;
    int error = 0;
    // Failures at random calls besides.
    bool random_failures = false;
  };
  // `folder` is made.
  SpoolRun(std::string folder, Options options);
  void Run();

  const RecordedDisk& disk() const { return disk_; }
  // Calls while failures may come; those after it end the run in peace.
  int64_t calls() const { return calls_; }
  // As of a step of the disk.
  Known After(size_t steps) const;
  // Whether a batch was accepted after the last failure that was made.
  bool recovered() const { return recovered_; }

  // Opens the spool in `folder` and compares it with what is known. `damaged`: bytes were changed, so that what is lost
  // must be reported as lost instead of being there.
  void Check(const std::string& folder, const Known& known, bool damaged, const std::string& where, Tally* tally) const;

 private:
  enum class Fate { kStarted, kAccepted, kRefused, kAcked, kRestart };
  struct Event {
    size_t step;
    Fate fate;
    int64_t number;
    bool baseline;
  };

  void Open();
  void AppendSome(bool must_pass);
  void AckSome();
  void MoveSome();
  pganalytics::ingest::v1::BatchContent Content(int64_t number);
  void Note(Fate fate, int64_t number, bool baseline = false) {
    events_.push_back({disk_.steps().size(), fate, number, baseline});
  }
  // The number of a batch; 0 = it is not as it was handed over.
  int64_t NumberOf(const pganalytics::ingest::v1::Batch& batch) const;

  const Options options_;
  collector::SpoolOptions spool_options_;
  std::mt19937_64 random_;
  mutable clock::FakeClock clock_;
  RecordedDisk disk_;
  std::unique_ptr<collector::Spool> spool_;
  std::vector<Event> events_;
  std::map<int64_t, std::string> texts_;
  int64_t next_ = 1;
  std::shared_ptr<const collector::Baseline> baseline_;
  std::map<std::string, int64_t> baselines_;  // what they look like -> number
  bool recovered_ = false;
  int64_t calls_ = 0;
};

}  // namespace pga::faults
