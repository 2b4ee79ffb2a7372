// Load of servers as sampled sessions: by what they waited for, by statement, user, application, database or kind; an
// hour against one of an earlier week; and who held others up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/call_limit.h"
#include "libs/storage/read/cut_text.h"
#include "services/query/readers.h"

namespace pga::query {

// wait, wait_event, statement, user, application, database, backend_type, client; empty = wait. INVALID_ARGUMENT lists
// them.
absl::StatusOr<std::string> ParseLoadSlice(const std::string& by);

struct LoadQuery {
  std::vector<storage::SourceRef> sources;
  absl::Time start;
  absl::Time end;
  // As ParseLoadSlice gives it.
  std::string by;
  std::vector<std::string> filters = {};
  bool with_texts = true;
};

struct LoadPart {
  std::string key;
  double average = 0;
  double peak = 0;
  absl::Time peak_at;
  // Of a statement.
  storage::CutText text = {};
};

struct LoadAnswer {
  // Most sessions first, every one.
  std::vector<LoadPart> parts;
  double total = 0;
  // active or connected.
  std::string counts;
  std::string metric;
  absl::Time start;
  absl::Time end;
  int64_t step_s = 0;
  double completeness = 0;
};

absl::StatusOr<LoadAnswer> ReadLoad(const Readers& readers, const LoadQuery& query, const pg::CallLimit& limit);
// Texts of the statements among these parts, by key.
absl::Status FillTexts(const Readers& readers, const LoadQuery& query, std::vector<LoadPart>* parts,
                       const pg::CallLimit& limit);

// A figure of a window: of each second, or in all.
struct WindowFigure {
  std::string name;
  std::string unit;
  // Absent where nothing of it is covered.
  std::optional<double> value;
};
absl::StatusOr<std::vector<WindowFigure>> ReadFigures(const Readers& readers,
                                                      const std::vector<storage::SourceRef>& sources, absl::Time start,
                                                      absl::Time end, const pg::CallLimit& limit);

struct BlockerQuery {
  std::vector<storage::SourceRef> sources;
  absl::Time start;
  absl::Time end;
  // session, user, application or statement.
  std::string by;
  bool with_texts = true;
};

struct BlockerPart {
  storage::SourceRef source;
  // As last seen; of what differs between the joined ones nothing is left.
  storage::BlockingParty party;
  double blocked_s = 0;
  double longest_s = 0;
  int waits = 0;
  int sessions = 0;
  absl::Time first;
  absl::Time last;
  bool lasts = false;
  std::vector<std::string> relations = {};
};

struct BlockerAnswer {
  // Most seconds first, every one.
  std::vector<BlockerPart> blockers;
  double blocked_s = 0;
  int waits = 0;
  int left_out = 0;
  double completeness = 0;
};
absl::StatusOr<BlockerAnswer> ReadBlockers(const Readers& readers, const BlockerQuery& query,
                                           const pg::CallLimit& limit);

}  // namespace pga::query
