#include "services/collector/lane.h"

#include <boost/asio/co_spawn.hpp>
#include <chrono>
#include <exception>
#include <utility>

#include "libs/log/log.h"

namespace pga::collector {

namespace asio = boost::asio;

void Lane::Start(Body body) {
  body_ = std::move(body);
  Run();
}

void Lane::Stop() {
  stopping_ = true;
  restart_.cancel();
}

void Lane::Run() {
  running_ = true;
  asio::co_spawn(*loop_, body_(), [this](std::exception_ptr error) {
    running_ = false;
    if (!error) return;
    std::string what = "unknown exception";
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& exception) {
      what = exception.what();
    } catch (...) {
    }
    failures_->Increment();
    PGA_LOG(error, "a lane failed; it begins again", {{"lane", name_}, {"reason", what}});
    if (stopping_) return;
    restart_.expires_after(std::chrono::seconds(1));
    restart_.async_wait([this](boost::system::error_code cancelled) {
      if (!cancelled && !stopping_) Run();
    });
  });
}

}  // namespace pga::collector
