#include "libs/storage/write/writer_testing.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/columns/column.h"
#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/schema/schema_testing.h"
#include "pganalytics/ingest/v1/frame.pb.h"

namespace pga::storage {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

namespace {

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "test set-up: %s\n", status.ToString().c_str());
  std::abort();
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) Die(value.status());
  return *std::move(value);
}

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(30);
}

}  // namespace

catalog_v1::Metric SampleMetric() {
  catalog_v1::Metric metric;
  metric.set_name("sample");
  metric.set_schema_version(1);
  metric.set_description("Rows of tests.");
  metric.set_scope(catalog_v1::SCOPE_INSTANCE);
  metric.set_interval_factor(1);
  const auto add = [&](const char* name, catalog_v1::ColumnType type, catalog_v1::ColumnKind kind) {
    catalog_v1::Column* column = metric.add_columns();
    column->set_name(name);
    column->set_type(type);
    column->set_kind(kind);
    column->set_unit("1");
    column->set_description("A column of tests.");
    column->set_since_schema_version(1);
  };
  add("label", catalog_v1::COLUMN_TYPE_TEXT, catalog_v1::COLUMN_KIND_LABEL);
  add("calls", catalog_v1::COLUMN_TYPE_INT8, catalog_v1::COLUMN_KIND_COUNTER);
  add("reading", catalog_v1::COLUMN_TYPE_FLOAT8, catalog_v1::COLUMN_KIND_GAUGE);
  add("since", catalog_v1::COLUMN_TYPE_TIMESTAMPTZ, catalog_v1::COLUMN_KIND_INFO);
  return metric;
}

WriterDatabase::WriterDatabase(testing::TempPostgres* server) : server_(server) {
  static std::atomic<int> number{0};
  name_ = absl::StrCat("writer_", ++number);
  Make();
}

void WriterDatabase::MakeAnew() {
  connection_.reset();
  auto other = Must(pg::CopyConnection::Connect({.url = server_->Url("postgres")}, Soon()));
  Must(other->Exec(absl::StrCat("DROP DATABASE ", name_, " WITH (FORCE)"), Soon()));
  Make();
}

void WriterDatabase::Make() {
  url_ = Must(server_->CreateDatabase(name_));
  const catalog_v1::Metric metric = SampleMetric();
  if (absl::Status status = MetricsDatabase::PrepareForLayout(url_); !status.ok()) Die(status);
  MigrateOptions options;
  options.layout = MetricsDatabase::TestLayout();
  options.metrics = {&metric};
  if (absl::Status status = MigrateUp(url_, Database::kMetrics, options); !status.ok()) Die(status);
}

pg::CopyConnection& WriterDatabase::connection() {
  if (connection_ == nullptr || !connection_->ok()) {
    connection_ = Must(pg::CopyConnection::Connect({.url = url_, .application_name = "test"}, Soon()));
  }
  return *connection_;
}

pg::Result WriterDatabase::Query(const std::string& sql) {
  absl::StatusOr<pg::Result> result = connection().Exec(sql, Soon());
  // The connection may have died with a server that was killed meanwhile.
  if (result.status().code() == absl::StatusCode::kUnavailable) result = connection().Exec(sql, Soon());
  return Must(std::move(result));
}

int64_t WriterDatabase::Number(const std::string& sql) {
  const pg::Result result = Query(sql);
  return result.empty() ? 0 : result[0].Int64(0);
}

std::string WriterDatabase::Text(const std::string& sql) {
  const pg::Result result = Query(sql);
  return result.empty() ? std::string() : std::string(result[0].Text(0));
}

void WriterDatabase::Exec(const std::string& sql) {
  Query(sql);
}

int64_t WriterDatabase::SampleMetricId() {
  return Number("SELECT id FROM metrics.catalog_metric WHERE name = 'sample'");
}

int32_t WriterDatabase::Collector(const std::string& collector_id) {
  Must(connection().Exec("INSERT INTO metrics.collector (collector_id) VALUES ($1) ON CONFLICT DO NOTHING",
                         {collector_id}, Soon()));
  return Must(connection().Exec("SELECT id FROM metrics.collector WHERE collector_id = $1", {collector_id}, Soon()))[0]
      .Int32(0);
}

int32_t WriterDatabase::Source(int32_t collector, const std::string& source_name, int64_t epoch) {
  const std::string uuid = frame::FormatUuid(frame::SourceUuid(absl::StrCat(collector), source_name));
  Must(connection().Exec(
      "INSERT INTO metrics.source (uuid, name, collector_id, owner_epoch) VALUES ($1::uuid, $2, $3, $4) ON CONFLICT DO "
      "NOTHING",
      {uuid, source_name, collector, epoch}, Soon()));
  return Must(connection().Exec("SELECT id FROM metrics.source WHERE uuid = $1::uuid", {uuid}, Soon()))[0].Int32(0);
}

std::map<int64_t, int64_t> WriterDatabase::StoredCalls() {
  std::map<int64_t, int64_t> stored;
  const pg::Result frames =
      Query("SELECT rows, substring(data FROM offsets[2] + 1 FOR offsets[3] - offsets[2]) FROM metrics.frame");
  for (const pg::Row frame : frames) {
    columns::Column calls;
    if (absl::Status status =
            columns::DecodeColumn(frame.Bytes(1), columns::Type::kInt, static_cast<size_t>(frame.Int32(0)), &calls);
        !status.ok()) {
      Die(status);
    }
    for (const int64_t value : calls.ints) ++stored[value];
  }
  return stored;
}

StreamMaker::StreamMaker(WriterDatabase* database, const std::string& collector_id, int64_t session_number)
    : session(session_number), collector_id_(collector_id), stream_id_(frame::RandomUuid()) {
  static std::atomic<int64_t> number{0};
  metric_id_ = static_cast<int16_t>(database->SampleMetricId());
  collector_ = database->Collector(collector_id);
  source_ = database->Source(collector_, "main");
  source_uuid_ = frame::SourceUuid(absl::StrCat(collector_), "main");
  base_ = ++number * 1'000'000'000;
  hashes_.push_back(frame::ZeroHash());
}

std::vector<int64_t> StreamMaker::Calls(int64_t base, int64_t seq, int rows) {
  std::vector<int64_t> calls;
  for (int row = 0; row < rows; ++row) calls.push_back(base + seq * 1000 + row);
  return calls;
}

std::unique_ptr<PreparedBatch> StreamMaker::Make(int rows, bool poison) {
  const int64_t number = seq() + 1;
  // Frames of one source differ in their instant.
  const int64_t now_us = absl::ToUnixMicros(clock::WallNow() - age) + number;
  columns::Column label(columns::Type::kText), calls(columns::Type::kInt), reading(columns::Type::kDouble),
      since(columns::Type::kInt);
  for (int row = 0; row < rows; ++row) {
    label.texts.push_back(absl::StrCat("label ", row));
    label.ints.push_back(row);
    calls.ints.push_back(base_ + number * 1000 + row);
    reading.doubles.push_back(row);
    since.ints.push_back(now_us);
  }
  std::vector<std::string> chunks;
  for (const columns::Column* column : {&label, &calls, &reading, &since}) {
    columns::EncodeColumn(*column, &chunks.emplace_back());
  }

  auto batch = std::make_unique<PreparedBatch>();
  batch->collector = collector_;
  batch->collector_id = collector_id_;
  batch->stream_id = stream_id_;
  batch->session = session;
  batch->first_seq = batch->seq = number;
  batch->prev_hash = hashes_.back();
  batch->payload = absl::StrCat("payload of ", number, poison ? " refused " : " ", now_us, frame::RandomUuid());
  batch->hash = frame::ChainHash(batch->prev_hash, stream_id_, number, batch->payload);
  batch->received_us = absl::ToUnixMicros(clock::WallNow());
  batch->row_count = rows;
  batch->wire_bytes = static_cast<int32_t>(batch->payload.size());
  AppendFrame({.source = source_,
               .metric_id = metric_id_,
               .kind = ingest_v1::FRAME_KIND_DELTA,
               .schema_version = 1,
               .collected_us = now_us,
               // Valid as a number, before the beginning of PostgreSQL's time.
               .interval_start_us = poison ? -900'000'000'000'000'000 : now_us - 60'000'000,
               .received_us = batch->received_us,
               .collector = collector_,
               .rows = rows,
               .chunks = {chunks.begin(), chunks.end()}},
              &batch->records);
  batch->claims.push_back({source_, owner_epoch, source_uuid_});
  hashes_.push_back(batch->hash);
  return batch;
}

std::unique_ptr<PreparedBatch> StreamMaker::Next(int rows) {
  return Make(rows, false);
}
std::unique_ptr<PreparedBatch> StreamMaker::NextPoison() {
  return Make(2, true);
}

std::unique_ptr<PreparedBatch> StreamMaker::NextGap(int64_t count) {
  const int64_t first = seq() + 1;
  const std::string before = hashes_.back();
  // The batches that never come had hashes of their own.
  for (int64_t i = 0; i < count; ++i) {
    hashes_.push_back(frame::ChainHash(hashes_.back(), stream_id_, first + i, "never sent"));
  }
  auto batch = std::make_unique<PreparedBatch>();
  batch->collector = collector_;
  batch->collector_id = collector_id_;
  batch->stream_id = stream_id_;
  batch->session = session;
  batch->is_gap = true;
  batch->first_seq = first;
  batch->seq = seq();
  batch->prev_hash = before;
  batch->hash = hashes_.back();
  batch->received_us = absl::ToUnixMicros(clock::WallNow());
  AppendLostInterval({.received_us = batch->received_us,
                      .collector = collector_,
                      .source = source_,
                      .start_us = batch->received_us - 60'000'000,
                      .end_us = batch->received_us,
                      .first_seq = first,
                      .last_seq = batch->seq},
                     &batch->records);
  return batch;
}

void StreamMaker::Rewind(int64_t count) {
  hashes_.resize(hashes_.size() - static_cast<size_t>(count));
}

struct LossyProxy::Link {
  int client = -1;
  int server = -1;
  std::atomic<bool> hold_replies{false};
  std::atomic<bool> hold_requests{false};
  std::atomic<bool> drop_client{false};
  std::atomic<bool> drop_all{false};
  std::string kept;  // requests that were held; guarded by LossyProxy::mutex_
  std::thread thread;
};

LossyProxy::LossyProxy(std::string socket_path) : socket_path_(std::move(socket_path)) {
  acceptor_ = std::thread([this] { Accept(); });
}

LossyProxy::~LossyProxy() {
  stopping_ = true;
  DropAll();
  acceptor_.join();
  absl::MutexLock lock(&mutex_);
  for (auto& link : links_) link->thread.join();
}

std::string LossyProxy::Url(const std::string& database) const {
  return absl::StrCat("host=127.0.0.1 port=", listener_.port(),
                      " user=postgres sslmode=disable gssencmode=disable dbname=", database);
}

void LossyProxy::Accept() {
  while (!stopping_) {
    pollfd poller{listener_.fd(), POLLIN, 0};
    if (::poll(&poller, 1, 50) <= 0) continue;
    const int client = ::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    const int server = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_path_.c_str(), sizeof address.sun_path - 1);
    if (::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      ::close(client);
      ::close(server);
      continue;
    }
    auto link = std::make_unique<Link>();
    link->client = client;
    link->server = server;
    Link* raw = link.get();
    absl::MutexLock lock(&mutex_);
    raw->thread = std::thread([this, raw] { Forward(raw); });
    links_.push_back(std::move(link));
  }
}

void LossyProxy::Forward(Link* link) {
  char buffer[65536];
  const auto send_all = [](int fd, const char* data, size_t size) {
    while (size > 0) {
      const ssize_t sent = ::send(fd, data, size, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      data += sent;
      size -= static_cast<size_t>(sent);
    }
    return true;
  };
  while (!link->drop_all && !stopping_) {
    if (link->drop_client && link->client >= 0) {
      ::close(link->client);
      link->client = -1;
    }
    if (!link->hold_requests) {
      std::string kept;
      {
        absl::MutexLock lock(&mutex_);
        kept.swap(link->kept);
      }
      if (!send_all(link->server, kept.data(), kept.size())) break;
    }
    pollfd pollers[2] = {{link->client, POLLIN, 0}, {link->server, POLLIN, 0}};
    if (::poll(pollers, 2, 5) <= 0) continue;
    if (link->client >= 0 && pollers[0].revents != 0) {
      const ssize_t got = ::recv(link->client, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      if (link->hold_requests) {
        absl::MutexLock lock(&mutex_);
        link->kept.append(buffer, static_cast<size_t>(got));
      } else if (!send_all(link->server, buffer, static_cast<size_t>(got))) {
        break;
      }
    }
    if (pollers[1].revents != 0) {
      const ssize_t got = ::recv(link->server, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      if (link->client >= 0 && !link->hold_replies && !send_all(link->client, buffer, static_cast<size_t>(got))) break;
    }
  }
  if (link->client >= 0) ::close(link->client);
  ::close(link->server);
}

void LossyProxy::HoldReplies() {
  absl::MutexLock lock(&mutex_);
  for (auto& link : links_) link->hold_replies = true;
}
void LossyProxy::HoldRequests() {
  absl::MutexLock lock(&mutex_);
  for (auto& link : links_) link->hold_requests = true;
}
bool LossyProxy::AwaitHeldRequest(const std::string& text) {
  absl::MutexLock lock(&mutex_);
  const auto held = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::any_of(links_.begin(), links_.end(),
                       [&](const auto& link) { return link->kept.find(text) != std::string::npos; });
  };
  return mutex_.AwaitWithTimeout(absl::Condition(&held), absl::Seconds(20));
}
void LossyProxy::DropClients() {
  absl::MutexLock lock(&mutex_);
  for (auto& link : links_) link->drop_client = true;
}
void LossyProxy::DeliverRequests() {
  absl::MutexLock lock(&mutex_);
  for (auto& link : links_) link->hold_requests = false;
}
void LossyProxy::DropAll() {
  absl::MutexLock lock(&mutex_);
  for (auto& link : links_) link->drop_all = true;
}

}  // namespace pga::storage
