// Feeds arbitrary bytes to the way of a push up to its frames: parsed, read by the built-in rules, counted from its
// first half to its second; and to the parser of the states kept between pushes, which gives back what it takes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "services/ingest/push_counters.h"
#include "services/ingest/push_map.h"
#include "services/ingest/push_metrics.h"
#include "services/ingest/push_reader.h"

namespace {

std::shared_ptr<const pga::ingest::CatalogEntry> Find(std::string_view name) {
  static const auto* const catalog =
      new std::shared_ptr<const pga::catalog::Catalog>(*pga::catalog::Catalog::Builtin());
  const auto* metric = (*catalog)->Find(std::string(name));
  if (metric == nullptr) return nullptr;
  auto entry = std::make_shared<pga::ingest::CatalogEntry>();
  entry->metric = *metric;
  for (const auto& column : metric->columns()) {
    if (column.kind() == pganalytics::catalog::v1::COLUMN_KIND_COUNTER) entry->has_counters = true;
  }
  return entry;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto state = pga::ingest::PushCounters::Parse(bytes); state.ok()) {
    const std::string again = state->Serialize();
    if (!pga::ingest::PushCounters::Parse(again).ok()) std::abort();
  }
  const auto push = pga::ingest::ParsePush(bytes, absl::FromUnixSeconds(1'767'225'600));
  if (!push.ok()) return 0;
  for (const pga::ingest::PushedElement& element : push->elements) {
    for (pga::ingest::PushReading& reading : pga::ingest::ReadPushed(pga::ingest::PushMap::Builtin(), element, Find)) {
      pga::ingest::PushCounters counters;
      const auto first = counters.Advance(reading, 0);
      if (!first.ok()) continue;
      reading.time_us += 60'000'000;
      const auto parsed = pga::ingest::PushCounters::Parse(counters.Serialize());
      if (!parsed.ok()) std::abort();
      pga::ingest::PushCounters next = *parsed;
      (void)next.Advance(reading, first->collected_us);
    }
  }
  return 0;
}
