#include "services/collector/lane.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <stdexcept>

#include "libs/metrics/registry.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

TEST(Lane, BeginsAgainAfterAnExceptionAndCountsIt) {
  asio::io_context loop(1);
  metrics::Registry metrics(/*process_metrics=*/false);
  metrics::Counter& failures = metrics.AddCounter("failures_total", "Failures.");
  int runs = 0;
  Lane lane(&loop, "test", &failures);
  lane.Start([&]() -> asio::awaitable<void> {
    if (++runs == 1) throw std::runtime_error("of the test");
    co_return;
  });
  loop.run_for(std::chrono::seconds(20));
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(failures.Value(), 1);
}

TEST(Lane, DoesNotBeginAgainWhenItIsStopped) {
  asio::io_context loop(1);
  metrics::Registry metrics(/*process_metrics=*/false);
  metrics::Counter& failures = metrics.AddCounter("failures_total", "Failures.");
  int runs = 0;
  Lane lane(&loop, "test", &failures);
  lane.Start([&]() -> asio::awaitable<void> {
    ++runs;
    lane.Stop();
    throw std::runtime_error("of the test");
    co_return;
  });
  loop.run_for(std::chrono::seconds(20));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(failures.Value(), 1);
}

}  // namespace
}  // namespace pga::collector
