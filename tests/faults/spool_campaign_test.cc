// The collector's spool on a disk that fails, loses its power and rots. Calls to the system are recorded while a spool
// lives through appends, groups, acknowledgements, moves, snapshots and restarts; the account of it is kept outside.
// - power: after every call, states of the disk that a power failure may leave (PowerModel);
// - failing: every call in turn fails with ENOSPC or EIO, once or for some calls;
// - damage: bits are flipped, files cut and sectors zeroed.
// Nothing accepted may be lost unreported, nothing there twice, nothing that was refused, no other bytes, and baselines
// are those of what is there. Each part first finds the mutants of the code that it must find.
//
// PGA_SPOOL_STATES says how many power states (2000), PGA_SPOOL_DAMAGES how many damages (400), PGA_FAULT_SEED another
// seed than the fixed one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/log/log.h"
#include "libs/testing/settings.h"
#include "libs/testing/temp_dir.h"
#include "services/collector/spool_record.h"
#include "tests/faults/recorded_disk_testing.h"
#include "tests/faults/spool_run_testing.h"

namespace pga::faults {
namespace {

namespace fs = std::filesystem;

class SpoolCampaign : public ::testing::Test {
 protected:
  SpoolCampaign() {
    log::LogOptions quiet;
    quiet.level = log::Level::off;
    log::Init(quiet);
    fs::create_directory(folder_);
    std::printf("PGA_FAULT_SEED=%ld\n", static_cast<long>(seed_));
  }
  ~SpoolCampaign() override { fs::remove_all(root_); }

  // In memory where there is such a place.
  static std::string MakeRoot() {
    std::string path = access("/dev/shm", W_OK) == 0 ? "/dev/shm/pga_campaign_XXXXXX" : "/tmp/pga_campaign_XXXXXX";
    return mkdtemp(path.data());
  }
  std::string Fresh(const char* name) const {
    const std::string path = root_ + "/" + name;
    fs::remove_all(path);
    return path;
  }

  // States after every call of lives of the spool, until there are `states` of them or, with a mutant, something is
  // wrong.
  Tally Power(int64_t states, Mutant mutant) {
    Tally tally;
    for (uint64_t life = 0; tally.states < states && !(mutant != Mutant::kNone && tally.wrong() > 0); ++life) {
      SpoolRun run(Fresh("spool"), {.seed = static_cast<uint64_t>(seed_) + life,
                                    .rounds = 25,
                                    .mutant = mutant,
                                    .random_failures = life % 2 == 1});
      run.Run();
      std::mt19937_64 random(static_cast<uint64_t>(seed_) + life);
      PowerModel model;
      const std::vector<DiskStep>& steps = run.disk().steps();
      for (size_t i = 0; i <= steps.size() && tally.states < states; ++i) {
        if (i > 0) model.Apply(steps[i - 1]);
        if (!model.pending()) continue;
        const Known known = run.After(i);
        for (int k = 0; k < 2; ++k) {
          model.Write(state_, &random);
          run.Check(state_, known, false, absl::StrCat("power failure after call ", i), &tally);
        }
      }
    }
    return tally;
  }

  // Every call of one life fails in turn; with a mutant of some lives, until something is wrong.
  Tally Failing(int rounds, Mutant mutant, std::map<std::string, int64_t>* struck, int64_t* runs, int64_t* hit) {
    Tally tally;
    const int64_t lives = mutant == Mutant::kNone ? 1 : 20;
    for (int64_t life = 0; life < lives && tally.wrong() == 0; ++life) {
      FailingLife(seed_ + life, rounds, mutant, &tally, struck, runs, hit);
    }
    return tally;
  }

  void FailingLife(int64_t seed, int rounds, Mutant mutant, Tally* tally, std::map<std::string, int64_t>* struck,
                   int64_t* runs, int64_t* hit) {
    int64_t calls = 0;
    {
      SpoolRun whole(Fresh("spool"), {.seed = static_cast<uint64_t>(seed), .rounds = rounds});
      whole.Run();
      calls = whole.calls();
    }
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    for (int64_t nth = 0; nth < calls && !(mutant != Mutant::kNone && tally->wrong() > 0); ++nth) {
      for (const int error : {ENOSPC, EIO}) {
        for (const int64_t count : {1, 7}) {
          SpoolRun run(Fresh("spool"), {.seed = static_cast<uint64_t>(seed),
                                        .rounds = rounds,
                                        .mutant = mutant,
                                        .fail_from = nth,
                                        .fail_count = count,
                                        .error = error});
          run.Run();
          ++*runs;
          *hit += run.disk().failed() > 0;
          for (const auto& [call, number] : run.disk().failed_calls()) (*struck)[call] += number;
          const std::string where = absl::StrCat(error == EIO ? "EIO" : "ENOSPC", " at call ", nth, " for ", count);
          if (!run.recovered()) {
            ++tally->lost;
            if (tally->first.empty()) tally->first = where + ": nothing is accepted afterwards";
          }
          const size_t end = run.disk().steps().size();
          const Known known = run.After(end);
          fs::remove_all(state_);
          fs::copy(root_ + "/spool", state_);
          run.Check(state_, known, false, where, tally);
          PowerModel model;
          for (const DiskStep& step : run.disk().steps()) model.Apply(step);
          model.Write(state_, &random);
          run.Check(state_, known, false, where + ", then a power failure", tally);
        }
      }
    }
  }

  Tally Damage(int64_t damages, Mutant mutant, std::map<std::string, int64_t>* done) {
    Tally tally;
    std::mt19937_64 random(static_cast<uint64_t>(seed_));
    for (uint64_t life = 0; tally.states < damages && !(mutant != Mutant::kNone && tally.wrong() > 0); ++life) {
      SpoolRun run(Fresh("spool"), {.seed = static_cast<uint64_t>(seed_) + life, .rounds = 20, .mutant = mutant});
      run.Run();
      const Known known = run.After(run.disk().steps().size());
      for (int k = 0; k < 40 && tally.states < damages; ++k) {
        fs::remove_all(state_);
        fs::copy(root_ + "/spool", state_);
        const std::string what = Spoil(&random);
        if (what.empty()) continue;
        ++(*done)[what.substr(0, what.find(' '))];
        run.Check(state_, known, true, what, &tally);
      }
    }
    return tally;
  }

  // Damages one file of the state; empty when there is nothing to damage.
  std::string Spoil(std::mt19937_64* random) const {
    std::vector<fs::path> files;
    for (const auto& item : fs::directory_iterator(state_)) {
      if (item.file_size() > 0) files.push_back(item.path());
    }
    if (files.empty()) return "";
    std::sort(files.begin(), files.end());
    const fs::path path = files[(*random)() % files.size()];
    std::ifstream in(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(in), {}};
    in.close();
    const std::string before = bytes;
    std::string what;
    switch ((*random)() % 4) {
      case 0:
      case 1: {
        const uint64_t bits = 1 + (*random)() % 3;
        for (uint64_t i = 0; i < bits; ++i) {
          char& byte = bytes[(*random)() % bytes.size()];
          byte = static_cast<char>(byte ^ (1 << (*random)() % 8));
        }
        what = "flipped bits";
        break;
      }
      case 2: {
        const size_t at = (*random)() % bytes.size();
        // The newest segment that ends behind a whole record is a log that ended there: nobody can tell.
        if (path == NewestSegment(files) && IsRecordBoundary(bytes, at)) return "";
        bytes.resize(at);
        what = "cut";
        break;
      }
      case 3: {
        const size_t at = (*random)() % bytes.size();
        const size_t size = std::min<size_t>(512, bytes.size() - at);
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), size, '\0');
        what = "zeroed sector";
        break;
      }
    }
    if (bytes == before) return "";
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << bytes;
    return absl::StrCat(what, " in ", path.filename().string());
  }

  static fs::path NewestSegment(const std::vector<fs::path>& sorted) {
    fs::path newest;
    for (const fs::path& path : sorted) {
      if (path.extension() == ".seg") newest = path;
    }
    return newest;
  }

  static bool IsRecordBoundary(std::string_view segment, size_t at) {
    collector::RecordScanner scanner(segment);
    for (collector::RecordScanner::Found found; scanner.Next(&found);) {
      if (found.offset == at) return true;
    }
    return false;
  }

  const int64_t seed_ = testing::Setting("PGA_FAULT_SEED", 427276);
  const std::string root_ = MakeRoot();
  const std::string folder_ = root_ + "/spool";
  const std::string state_ = root_ + "/state";
};

void ExpectNothingWrong(const Tally& tally) {
  EXPECT_EQ(tally.lost, 0);
  EXPECT_EQ(tally.doubled, 0);
  EXPECT_EQ(tally.spurious, 0);
  EXPECT_EQ(tally.corrupt, 0);
  EXPECT_EQ(tally.baselines, 0);
}

TEST_F(SpoolCampaign, PowerFailsAfterAnyCall) {
  const int64_t states = testing::Setting("PGA_SPOOL_STATES", 2000);
  for (const Mutant mutant : {Mutant::kNoDataSync, Mutant::kNoFileSync, Mutant::kNoFolderSync, Mutant::kSyncErrorHidden,
                              Mutant::kRemovesTooMuch, Mutant::kCutsTooMuch}) {
    const Tally tally = Power(40'000, mutant);
    EXPECT_GT(tally.wrong(), 0) << "not found: " << NameOf(mutant);
    tally.Say(absl::StrCat("mutant: ", NameOf(mutant)).c_str());
  }
  const Tally tally = Power(states, Mutant::kNone);
  tally.Say("power failures");
  ExpectNothingWrong(tally);
}

TEST_F(SpoolCampaign, EveryCallFails) {
  std::map<std::string, int64_t> struck;
  int64_t runs = 0, hit = 0;
  for (const Mutant mutant : {Mutant::kWriteErrorHidden, Mutant::kSyncErrorHidden, Mutant::kCutsTooMuch,
                              Mutant::kNoDataSync, Mutant::kNoFolderSync, Mutant::kRemovesTooMuch}) {
    const Tally tally = Failing(12, mutant, &struck, &runs, &hit);
    EXPECT_GT(tally.wrong(), 0) << "not found: " << NameOf(mutant);
    tally.Say(absl::StrCat("mutant: ", NameOf(mutant)).c_str());
  }
  struck.clear();
  runs = hit = 0;
  const Tally tally =
      Failing(static_cast<int>(testing::Setting("PGA_SPOOL_ROUNDS", 10)), Mutant::kNone, &struck, &runs, &hit);
  tally.Say("failing calls");
  std::printf("%ld of %ld failures came:", static_cast<long>(hit), static_cast<long>(runs));
  for (const auto& [call, count] : struck) std::printf(" %s %ld", call.c_str(), static_cast<long>(count));
  std::printf("\n");
  ExpectNothingWrong(tally);
  EXPECT_EQ(hit, runs);
}

TEST_F(SpoolCampaign, BytesAreDamaged) {
  std::map<std::string, int64_t> done;
  {
    const Tally tally = Damage(20'000, Mutant::kSumsAgree, &done);
    EXPECT_GT(tally.wrong(), 0) << "not found: " << NameOf(Mutant::kSumsAgree);
    tally.Say(absl::StrCat("mutant: ", NameOf(Mutant::kSumsAgree)).c_str());
  }
  done.clear();
  const Tally tally = Damage(testing::Setting("PGA_SPOOL_DAMAGES", 400), Mutant::kNone, &done);
  tally.Say("damages");
  for (const auto& [what, count] : done) std::printf("%7ld x %s\n", static_cast<long>(count), what.c_str());
  ExpectNothingWrong(tally);
}

}  // namespace
}  // namespace pga::faults
