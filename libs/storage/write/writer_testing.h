// What tests of the write path share: a migrated database with one small metric, streams of batches whose every row is
// known, an account of what is stored, and a proxy that loses a server's answers. Tests only.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/write/group_writer.h"
#include "libs/storage/write/prepared_batch.h"
#include "libs/testing/loopback_listener.h"
#include "libs/testing/temp_postgres.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

// Metric "sample": label (text), calls (counter), reading (gauge), since (timestamptz).
pganalytics::catalog::v1::Metric SampleMetric();

// A fresh database `name` with schema, catalog of SampleMetric(), and helpers to look into it. Ends the test program
// when it cannot be made.
class WriterDatabase {
 public:
  explicit WriterDatabase(testing::TempPostgres* server);

  const std::string& url() const { return url_; }
  const std::string& name() const { return name_; }
  testing::TempPostgres* server() const { return server_; }

  // metrics.collector.id and metrics.source.id, made if need be.
  int32_t Collector(const std::string& collector_id);
  int32_t Source(int32_t collector, const std::string& source_name, int64_t epoch = 0);

  // Drops the database, whoever is connected, and makes it again: empty, and another one to the server.
  void MakeAnew();

  // First column of the first row.
  int64_t Number(const std::string& sql);
  std::string Text(const std::string& sql);
  void Exec(const std::string& sql);
  int64_t SampleMetricId();

  // Rows per value of `calls` in the stored frames of the sample: every key exactly once is what the writers promise.
  std::map<int64_t, int64_t> StoredCalls();
  // Rows of all stored frames.
  int64_t StoredRows() { return Number("SELECT coalesce(sum(rows), 0) FROM metrics.frame"); }

 private:
  void Make();
  pg::CopyConnection& connection();
  pg::Result Query(const std::string& sql);
  testing::TempPostgres* const server_;
  std::string name_;
  std::string url_;
  std::unique_ptr<pg::CopyConnection> connection_;
};

// Makes the batches of one stream, in order. Row r of batch s has calls = base + s * 1000 + r.
class StreamMaker {
 public:
  StreamMaker(WriterDatabase* database, const std::string& collector_id, int64_t session = 1);

  // The next batch, of `rows` rows (at most 1000) collected now.
  std::unique_ptr<PreparedBatch> Next(int rows = 3);
  // The next batch, whose rows the database refuses.
  std::unique_ptr<PreparedBatch> NextPoison();
  // Stands for the next `count` numbers, which never come.
  std::unique_ptr<PreparedBatch> NextGap(int64_t count);
  // As if the last `count` batches had not been made.
  void Rewind(int64_t count);

  int32_t collector() const { return collector_; }
  int32_t source() const { return source_; }
  const std::string& stream_id() const { return stream_id_; }
  int64_t seq() const { return static_cast<int64_t>(hashes_.size()) - 1; }
  // Keys of the rows of batch `seq`.
  static std::vector<int64_t> Calls(int64_t base, int64_t seq, int rows);
  int64_t base() const { return base_; }
  int64_t session = 1;
  int64_t owner_epoch = 0;
  // How long ago the rows were collected.
  absl::Duration age = absl::ZeroDuration();

 private:
  std::unique_ptr<PreparedBatch> Make(int rows, bool poison);

  int16_t metric_id_;
  const std::string collector_id_;
  int32_t collector_;
  int32_t source_;
  std::string source_uuid_;
  std::string stream_id_;
  int64_t base_;
  std::vector<std::string> hashes_;  // [seq]
};

// Sits between libpq and a server's Unix socket, listening on 127.0.0.1.
class LossyProxy {
 public:
  explicit LossyProxy(std::string socket_path);
  ~LossyProxy();
  LossyProxy(const LossyProxy&) = delete;
  LossyProxy& operator=(const LossyProxy&) = delete;

  std::string Url(const std::string& database) const;

  // Bytes in this direction are kept back from now on, on the connections that exist.
  void HoldReplies();
  void HoldRequests();
  // True once `text` stands in requests that are kept back; false if it does not come in 20 s.
  bool AwaitHeldRequest(const std::string& text);
  // Closes the client's side of the connections that exist; the server's side stays open.
  void DropClients();
  // Hands on what was kept back in requests, to servers whose clients may have gone.
  void DeliverRequests();
  // Closes both sides of the connections that exist.
  void DropAll();

 private:
  struct Link;
  void Accept();
  void Forward(Link* link);

  const std::string socket_path_;
  testing::LoopbackListener listener_;
  std::atomic<bool> stopping_{false};
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Link>> links_ ABSL_GUARDED_BY(mutex_);
  std::thread acceptor_;
};

}  // namespace pga::storage
