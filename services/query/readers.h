// The readers of one metrics database, as the services of query share them.
#pragma once

#include "libs/storage/read/activity_reader.h"
#include "libs/storage/read/freshness_reader.h"
#include "libs/storage/read/log_event_reader.h"
#include "libs/storage/read/plan_reader.h"
#include "libs/storage/read/pushed_reader.h"
#include "libs/storage/read/series_reader.h"
#include "libs/storage/read/source_reader.h"
#include "libs/storage/read/state_reader.h"
#include "libs/storage/read/statement_reader.h"

namespace pga::query {

// Nothing is owned; each is thread-safe.
struct Readers {
  storage::SourceReader* sources = nullptr;
  storage::FreshnessReader* freshness = nullptr;
  storage::SeriesReader* series = nullptr;
  storage::StatementReader* statements = nullptr;
  storage::ActivityReader* activity = nullptr;
  storage::StateReader* state = nullptr;
  storage::LogEventReader* log_events = nullptr;
  storage::PlanReader* plans = nullptr;
  storage::PushedReader* pushed = nullptr;
};

}  // namespace pga::query
