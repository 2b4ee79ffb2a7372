#include "libs/net/async_host_resolver.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace pga::net {
namespace {

namespace asio = boost::asio;

// An answer on its way to a coroutine. It may come after the coroutine and its loop have gone.
struct LookUpAnswer {
  explicit LookUpAnswer(asio::steady_timer* timer_in) : timer(timer_in) {}
  absl::Mutex mutex;
  // Null when the coroutine has gone.
  asio::steady_timer* timer ABSL_GUARDED_BY(mutex);
  // On the loop.
  std::optional<absl::StatusOr<HostResolver::Addresses>> addresses;

  static void Give(const std::shared_ptr<LookUpAnswer>& self, const absl::StatusOr<HostResolver::Addresses>& found) {
    absl::MutexLock lock(&self->mutex);
    if (self->timer == nullptr) return;
    asio::post(self->timer->get_executor(), [self, found] {
      self->addresses = found;
      absl::MutexLock on_loop(&self->mutex);
      if (self->timer != nullptr) self->timer->cancel();
    });
  }
};

}  // namespace

asio::awaitable<absl::StatusOr<HostResolver::Addresses>> ResolveAsync(HostResolver* resolver, std::string host,
                                                                      absl::Duration timeout) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(absl::ToChronoNanoseconds(std::clamp(timeout, absl::ZeroDuration(), absl::Hours(24))));
  const auto answer = std::make_shared<LookUpAnswer>(&timer);
  const uint64_t id = resolver->Begin(host, [answer](const auto& found) { LookUpAnswer::Give(answer, found); });
  const absl::Cleanup leave = [&] {
    resolver->Forget(id);
    absl::MutexLock lock(&answer->mutex);
    answer->timer = nullptr;
  };
  while (!answer->addresses && timer.expiry() > std::chrono::steady_clock::now()) {
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  if (answer->addresses) co_return *answer->addresses;
  co_return absl::DeadlineExceededError(absl::StrCat("looking up host ", host, " took too long"));
}

}  // namespace pga::net
