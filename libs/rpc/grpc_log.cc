#include "libs/rpc/grpc_log.h"

#include <grpc/support/log.h>

#include <atomic>
#include <mutex>
#include <string_view>

#include "libs/clock/clock.h"
#include "libs/log/log.h"

namespace pga::rpc {
namespace {

constexpr int kLinesPerSecond = 5;

void Forward(gpr_log_func_args* args) {
  static std::atomic<int64_t> second{0};
  static std::atomic<int> lines{0};
  static std::atomic<int64_t> left_out{0};
  if (args->severity != GPR_LOG_SEVERITY_ERROR) {
    PGA_LOG(debug, "grpc", {{"text", args->message}});
    return;
  }
  const int64_t now = absl::ToUnixSeconds(clock::WallNow());
  if (second.exchange(now) != now) lines = 0;
  if (lines.fetch_add(1) >= kLinesPerSecond) {
    left_out.fetch_add(1);
    return;
  }
  PGA_LOG(warn, "grpc", {{"text", args->message}, {"left_out", left_out.exchange(0)}});
}

}  // namespace

void RouteGrpcLog() {
  static std::once_flag once;
  std::call_once(once, [] { gpr_set_log_function(Forward); });
}

}  // namespace pga::rpc
