#include "services/ingest/push_writer.h"

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/status/status.h"

namespace pga::ingest {
namespace {

constexpr char kCopy[] = "COPY metrics.pushed_element (time, collector, hostname, version, type, element) FROM STDIN";
constexpr size_t kPieceBytes = 64 * 1024;

// Collects fields in COPY's text format and sends them piece by piece.
class CopyText {
 public:
  CopyText(pg::CopyConnection* connection, clock::SteadyTime deadline) : connection_(connection), deadline_(deadline) {
    piece_.reserve(kPieceBytes + 64);
  }

  absl::Status Add(std::string_view field) {
    for (const char c : field) {
      switch (c) {
        case '\\':
          piece_ += "\\\\";
          break;
        case '\n':
          piece_ += "\\n";
          break;
        case '\r':
          piece_ += "\\r";
          break;
        case '\t':
          piece_ += "\\t";
          break;
        default:
          piece_ += c;
      }
      if (piece_.size() >= kPieceBytes) PGA_RETURN_IF_ERROR(Send());
    }
    return absl::OkStatus();
  }
  void EndField() { piece_ += '\t'; }
  void EndRow() { piece_ += '\n'; }
  absl::Status Send() {
    PGA_RETURN_IF_ERROR(connection_->PutCopyData(piece_, deadline_));
    piece_.clear();
    return absl::OkStatus();
  }

 private:
  pg::CopyConnection* const connection_;
  const clock::SteadyTime deadline_;
  std::string piece_;
};

absl::Status SendRows(pg::CopyConnection* connection, const PushOrigin& origin,
                      const std::vector<PushedElement>& elements, clock::SteadyTime deadline) {
  CopyText text(connection, deadline);
  for (const PushedElement& element : elements) {
    const std::string time =
        absl::FormatTime("%Y-%m-%d %H:%M:%E6S+00", absl::FromUnixMicros(element.time_us), absl::UTCTimeZone());
    for (const std::string_view field : {std::string_view(time), origin.collector_id, origin.hostname, origin.version,
                                         std::string_view(element.type)}) {
      PGA_RETURN_IF_ERROR(text.Add(field));
      text.EndField();
    }
    PGA_RETURN_IF_ERROR(text.Add(element.json));
    text.EndRow();
  }
  return text.Send();
}

}  // namespace

PushWriter::PushWriter(pg::CopyConnectionOptions options, int connections)
    : options_(std::move(options)), free_(connections) {}

absl::StatusOr<PushWriter::Connection> PushWriter::Lease(clock::SteadyTime deadline) {
  absl::MutexLock lock(&mutex_);
  const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return free_ > 0; };
  if (!clock::AwaitUntil(mutex_, absl::Condition(&free), deadline)) {
    return status::WithRetryAfter(absl::ResourceExhaustedError("other pushes take all connections"), absl::Seconds(1));
  }
  --free_;
  if (idle_.empty()) return Connection();
  Connection connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

void PushWriter::Return(Connection connection) {
  absl::MutexLock lock(&mutex_);
  ++free_;
  if (connection != nullptr) idle_.push_back(std::move(connection));
}

// A connection that has been idle may be lost, or lead to a server that takes no more writes: nothing has been written
// on it, so that another one may be tried.
absl::Status PushWriter::Begin(Connection* connection, clock::SteadyTime deadline) const {
  if (*connection != nullptr && (*connection)->BeginCopy(kCopy, deadline).ok()) return absl::OkStatus();
  PGA_ASSIGN_OR_RETURN(*connection, pg::CopyConnection::Connect(options_, deadline));
  return (*connection)->BeginCopy(kCopy, deadline);
}

absl::Status PushWriter::Write(const PushOrigin& origin, const std::vector<PushedElement>& elements,
                               clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(Connection connection, Lease(deadline));
  absl::Status status = Begin(&connection, deadline);
  if (status.ok()) status = SendRows(connection.get(), origin, elements, deadline);
  if (status.ok()) status = connection->EndCopy(deadline).status();
  // After a failure the state of a COPY is not worth knowing.
  Return(status.ok() ? std::move(connection) : nullptr);
  return status;
}

}  // namespace pga::ingest
