#include "libs/net/host_resolver.h"

#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace pga::net {
namespace {

constexpr size_t kMaxAddresses = 8;
constexpr int kSystemThreads = 8;
constexpr size_t kSystemWaiting = 256;

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, FreeAddresses>;

}  // namespace

bool IsAddress(std::string_view host) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  const bool numeric = getaddrinfo(std::string(host).c_str(), nullptr, &hints, &found) == 0;
  const AddressList list(found);
  return numeric;
}

absl::StatusOr<HostResolver::Addresses> HostResolver::SystemLookUp(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  const AddressList list(error == 0 ? found : nullptr);
  if (error != 0) {
    const std::string message = absl::StrCat("looking up host ", host, ": ", gai_strerror(error));
    return error == EAI_AGAIN ? absl::UnavailableError(message) : absl::NotFoundError(message);
  }
  Addresses addresses;
  for (const addrinfo* item = found; item != nullptr && addresses.size() < kMaxAddresses; item = item->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(item->ai_addr, item->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) continue;
    if (std::find(addresses.begin(), addresses.end(), text) == addresses.end()) addresses.emplace_back(text);
  }
  if (addresses.empty()) return absl::NotFoundError(absl::StrCat("host ", host, " has no address"));
  return addresses;
}

// Held by the resolver and by each of its threads.
struct HostResolver::State {
  State(int threads_in, size_t max_waiting_in, LookUp look_up_in)
      : threads(threads_in), max_waiting(max_waiting_in), look_up(std::move(look_up_in)) {}

  const int threads;
  const size_t max_waiting;
  const LookUp look_up;

  absl::Mutex mutex;
  bool closed ABSL_GUARDED_BY(mutex) = false;
  int running ABSL_GUARDED_BY(mutex) = 0;
  uint64_t last_id ABSL_GUARDED_BY(mutex) = 0;
  // By name, the names that run included; and by number.
  std::map<std::string, std::map<uint64_t, Answer>> waiting ABSL_GUARDED_BY(mutex);
  std::map<uint64_t, std::string> names ABSL_GUARDED_BY(mutex);
  // Names that no thread has taken yet.
  std::deque<std::string> queue ABSL_GUARDED_BY(mutex);

  // Looks names up until none is left.
  static void Run(const std::shared_ptr<State>& state) {
    pthread_setname_np(pthread_self(), "resolver");
    while (true) {
      std::string name;
      {
        absl::MutexLock lock(&state->mutex);
        if (state->queue.empty() || state->closed) {
          --state->running;
          return;
        }
        name = std::move(state->queue.front());
        state->queue.pop_front();
      }
      const absl::StatusOr<Addresses> addresses = state->look_up(name);
      std::map<uint64_t, Answer> answers;
      {
        absl::MutexLock lock(&state->mutex);
        answers = std::move(state->waiting[name]);
        state->waiting.erase(name);
        for (const auto& [id, answer] : answers) state->names.erase(id);
        if (state->closed) continue;
      }
      for (const auto& [id, answer] : answers) answer(addresses);
    }
  }
};

HostResolver::HostResolver(int threads, size_t max_waiting, LookUp look_up)
    : state_(std::make_shared<State>(threads, max_waiting, std::move(look_up))) {}

HostResolver::~HostResolver() {
  absl::MutexLock lock(&state_->mutex);
  state_->closed = true;
  state_->queue.clear();
  state_->waiting.clear();
  state_->names.clear();
}

HostResolver& HostResolver::System() {
  static auto* const system = new HostResolver(kSystemThreads, kSystemWaiting);
  return *system;
}

uint64_t HostResolver::Begin(const std::string& host, Answer answer) {
  if (IsAddress(host)) {
    answer(Addresses{host});
    return 0;
  }
  absl::Status refused;
  uint64_t id = 0;
  {
    absl::MutexLock lock(&state_->mutex);
    if (state_->names.size() >= state_->max_waiting) {
      refused = absl::ResourceExhaustedError(absl::StrCat("looking up host ", host, ": too many look-ups wait"));
    } else {
      const bool known = state_->waiting.contains(host);
      if (!known && state_->running < state_->threads) {
        try {
          std::thread([state = state_] { State::Run(state); }).detach();
          ++state_->running;
        } catch (const std::system_error&) {
          // Threads that run take the name in turn.
          if (state_->running == 0) refused = absl::ResourceExhaustedError("no thread to look up a host name");
        }
      }
      if (refused.ok()) {
        if (!known) state_->queue.push_back(host);
        id = ++state_->last_id;
        state_->waiting[host].emplace(id, std::move(answer));
        state_->names.emplace(id, host);
      }
    }
  }
  if (!refused.ok()) answer(refused);
  return id;
}

void HostResolver::Forget(uint64_t id) {
  Answer dropped;
  absl::MutexLock lock(&state_->mutex);
  const auto name = state_->names.find(id);
  if (name == state_->names.end()) return;
  const auto waiting = state_->waiting.find(name->second);
  dropped = std::move(waiting->second[id]);
  waiting->second.erase(id);
  // A name that nobody waits for is not taken any more; one that is being looked up stays until it is known.
  const auto queued = std::find(state_->queue.begin(), state_->queue.end(), name->second);
  if (waiting->second.empty() && queued != state_->queue.end()) {
    state_->queue.erase(queued);
    state_->waiting.erase(waiting);
  }
  state_->names.erase(name);
}

absl::StatusOr<HostResolver::Addresses> HostResolver::Resolve(const std::string& host, clock::SteadyTime deadline) {
  struct Result {
    absl::Mutex mutex;
    std::optional<absl::StatusOr<Addresses>> addresses ABSL_GUARDED_BY(mutex);
    bool known() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return addresses.has_value(); }
  };
  const auto result = std::make_shared<Result>();
  const uint64_t id = Begin(host, [result](const absl::StatusOr<Addresses>& addresses) {
    absl::MutexLock lock(&result->mutex);
    result->addresses = addresses;
  });
  absl::MutexLock lock(&result->mutex);
  if (clock::AwaitUntil(result->mutex, absl::Condition(result.get(), &Result::known), deadline)) {
    return *result->addresses;
  }
  Forget(id);
  return absl::DeadlineExceededError(absl::StrCat("looking up host ", host, " took too long"));
}

}  // namespace pga::net
