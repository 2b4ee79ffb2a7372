// One reading of one metric: picks the metric's SQL for the server, runs it, and turns the rows into a Reading, column
// by column and by name.
//
// Coroutines on the event loop, one at a time per session; what their pointers lead to lives until they are done.
// Errors are those of pg::AsyncConnection. Texts of statements are redacted before they are kept.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "services/collector/delta_engine.h"
#include "services/collector/reading.h"
#include "services/collector/source_session.h"
#include "services/collector/text_redactor.h"

namespace pga::collector {

// A metric that is read again and again. The metric outlives it.
struct MetricTask {
  explicit MetricTask(const catalogpb::Metric& of) : metric(&of), shape(of), reading(shape) {}
  MetricTask(const MetricTask&) = delete;
  MetricTask& operator=(const MetricTask&) = delete;

  const catalogpb::Metric* const metric;
  const MetricShape shape;
  Reading reading;  // reused
};

// The metric's SQL for this server, empty if it has none for it. NOT_FOUND if its extension is not installed,
// FAILED_PRECONDITION if it is too old.
absl::StatusOr<std::string> SelectSql(const SourceSession& session, const catalogpb::Metric& metric);

// Runs `sql` and replaces what is in `reading` by its rows.
boost::asio::awaitable<absl::Status> ReadRows(SourceSession* session, const catalogpb::Metric* metric, std::string sql,
                                              TextRedactor* redactor, Reading* reading);

// Reads the metric into task->reading and says under which circumstances; `observation` stays empty when the metric is
// not for this server. Statements are read again when their statistics were reset meanwhile, ABORTED if that does not
// end. NOT_FOUND if an extension, table or column is missing.
boost::asio::awaitable<absl::Status> ReadMetric(SourceSession* session, MetricTask* task, TextRedactor* redactor,
                                                clock::Clock* clock, std::optional<Observation>* observation);

// PERMISSION_DENIED if the login may not read all of every row, with how many and with the commands that let it
// (catalog::kGrantColumn).
absl::Status LackOfRights(const SourceSession& session, const Reading& reading);

}  // namespace pga::collector
