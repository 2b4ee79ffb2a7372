// A coroutine that runs until its runner stops, with an owner that sees it fail: an exception is logged and counted,
// and the lane begins again after a second.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <string>

#include "libs/metrics/registry.h"

namespace pga::collector {

class Lane {
 public:
  using Body = std::function<boost::asio::awaitable<void>()>;

  // `failures` outlives the lane, the lane outlives the loop's work.
  Lane(boost::asio::io_context* loop, std::string name, metrics::Counter* failures)
      : loop_(loop), restart_(*loop), name_(std::move(name)), failures_(failures) {}
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // Runs `body`, again whenever it fails. Call once, on the event loop.
  void Start(Body body);
  // A lane that fails from now on does not begin again; the body ends by itself.
  void Stop();
  // Nothing of it runs, nor will again.
  bool ended() const { return stopping_ && !running_; }

 private:
  void Run();

  boost::asio::io_context* const loop_;
  boost::asio::steady_timer restart_;
  const std::string name_;
  metrics::Counter* const failures_;
  Body body_;
  bool stopping_ = false;
  bool running_ = false;
};

}  // namespace pga::collector
