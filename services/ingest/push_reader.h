// Readings of metrics in pushed elements, by the rules of push_map.h. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "services/ingest/applied_catalog.h"
#include "services/ingest/ingest_store.h"
#include "services/ingest/push_map.h"

namespace pga::ingest {

using PushCell = std::variant<std::monostate, int64_t, double, bool, std::string>;

struct PushRow {
  // One per column of the metric.
  std::vector<PushCell> cells;
  // Rows of the element with the same labels, which are added up here.
  int32_t merged = 1;
};

// One metric of one source as an element shows it.
struct PushReading {
  std::shared_ptr<const CatalogEntry> metric;
  // Of the host that the collector runs on, not of the server.
  bool host = false;
  // Says which part of the source's rows it has: those of a database, or of a kind of element. 0 = all.
  int64_t scope = 0;
  int64_t time_us = 0;
  // Rows that the collector sends at most; 0 = all there are.
  int limit = 0;
  bool tail = false;
  // Rows of the element before those of the same labels were added up.
  int sent = 0;
  std::vector<PushRow> rows;
  // Values that their columns cannot take, such as a counter below 0; they are not known.
  int unreadable = 0;
  // Columns that the element has a field for.
  std::vector<uint8_t> mapped;
  // Ids and texts of statements.
  std::vector<std::pair<int64_t, std::string>> texts;
  // Elements of the push that it comes from, by their places.
  std::vector<size_t> elements;
};

// The readings of one element; empty when nothing is known of its type, or it has none of the fields that are. Metrics
// that `find` does not know are passed over. Thread-safe.
std::vector<PushReading> ReadPushed(const PushMap& map, const PushedElement& element,
                                    const std::function<std::shared_ptr<const CatalogEntry>(std::string_view)>& find);

// Joins readings of pushed_values of one second, of which each may have come as an element of its own, so that one
// reading has all numbers that there are.
void JoinValues(std::vector<PushReading>* readings);

}  // namespace pga::ingest
