#include "libs/pg/wait.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "libs/exec/shutdown.h"

namespace pga::pg {

absl::Status AwaitSocket(int socket, short events, clock::SteadyTime deadline) {
  while (true) {
    const absl::Duration left = std::min(deadline, exec::ProcessEnd::waits_until()) - clock::SteadyNow();
    if (left <= absl::ZeroDuration()) return absl::DeadlineExceededError("the database did not answer in time");
    pollfd poller{socket, events, 0};
    const absl::Duration turn = std::min(left, kTurn);
    const int ready =
        ::poll(&poller, 1, static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(turn, absl::Milliseconds(1)))));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return absl::InternalError(absl::StrCat("poll: ", std::strerror(errno)));
  }
}

}  // namespace pga::pg
