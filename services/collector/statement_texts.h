// Which statement texts the server has: a text counts as sent only when the batch that carried it is acknowledged, is
// sent again daily while its statement is in use, and again when the server lost what it had. Pure; used on the event
// loop.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "services/collector/spool.h"

namespace pga::collector {

class StatementTexts {
 public:
  using Id = std::pair<int64_t, int64_t>;  // database, query

  // Statements in use now; others are forgotten. Returns those whose text is due.
  std::vector<Id> Due(const std::vector<Id>& in_use, int64_t now_ns);
  // Their texts are in a batch that is durable.
  void Spooled(const std::vector<Id>& ids, const BatchId& batch, int64_t now_ns);
  void Acked(const std::string& stream_id, int64_t last_seq);
  void ForgetAll();

  size_t size() const { return states_.size(); }

 private:
  struct State {
    int64_t sent_ns = 0;  // 0 = never
    bool in_spool = false;
    bool seen = false;
  };

  absl::flat_hash_map<Id, State> states_;
  std::map<BatchId, std::vector<Id>> waiting_;
};

}  // namespace pga::collector
