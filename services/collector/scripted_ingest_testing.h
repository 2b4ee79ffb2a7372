// An ingest for tests: keeps what it was sent in memory by the rules of exactly-once delivery, and misbehaves on
// request. Sums of counters can be read back, so that tests compare them with the watched server's own figures.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/frame/frame_reader.h"
#include "pganalytics/ingest/v1/frame.pb.h"
#include "pganalytics/ingest/v1/ingest_service.pb.h"

namespace pga::collector {

class ScriptedIngest {
 public:
  ScriptedIngest();
  // Ends all calls.
  ~ScriptedIngest();

  int port() const;
  // Stops listening and drops all calls; Start() listens again on the same port.
  void StopServer();
  void StartServer();

  // Of the next batches of any stream: stored, but the call ends before the acknowledgement.
  void LoseAcks(int count);
  // The next batches are answered RETRY.
  void AskToRetry(int count);
  // Forgets the newest batches of every stream, as a server restored from an older backup would.
  void GoBack(int64_t batches);
  // Pretends that another process wrote the newest batch of every stream.
  void Fork();
  // Sends a configuration to the open streams and to every new one.
  void PushConfig(int32_t version, const std::string& toml);
  // The registration secret that Enrol accepts.
  static constexpr char kSecret[] = "test-registration-secret";

  int64_t batches() const;
  int64_t duplicates() const;
  int64_t gaps() const;
  int64_t hellos() const;
  int64_t enrolments() const;
  int64_t forks() const;
  // Violations of the rules: holes, wrong hashes, frames that do not fit their metric, two frames of one instant.
  std::vector<std::string> violations() const;

  // Key frame plus increases of a counter over all rows with this text in a label column: newest key frame that opened
  // an epoch, then sums. -1 without any row.
  int64_t Total(const std::string& metric, const std::string& label, const std::string& value,
                const std::string& counter) const;
  // Sum of increases alone.
  int64_t Increase(const std::string& metric, const std::string& label, const std::string& value,
                   const std::string& counter) const;
  // Frames stored of a metric.
  int64_t Frames(const std::string& metric) const;
  int64_t Rows(const std::string& metric) const;
  // What frames of a metric cover, in the order in which they were sent.
  struct Interval {
    int64_t start_us = 0;
    int64_t end_us = 0;
    bool keyframe = false;
  };
  std::vector<Interval> Intervals(const std::string& metric) const;
  std::set<std::string> Metrics() const;
  // The frames of all batches that were stored since `*cursor` (0 = all), in the order in which they came, opened;
  // moves the cursor on. Batches that GoBack() takes away are not distinguished.
  using FrameVisitor =
      std::function<void(const pganalytics::ingest::v1::Frame& frame, const frame::FrameReader& columns)>;
  void Visit(int64_t* cursor, const FrameVisitor& visit) const;
  // The id that frames of the named source carry.
  static std::string SourceId(const std::string& name);
  // What the collector said last of the source: what is not collected, and why.
  std::map<std::string, std::string> NotCollected(const std::string& source) const;
  // Sources whose last report says that they are in recovery.
  std::set<std::string> Standbys() const;
  // Statement texts by query id.
  std::map<int64_t, std::string> Texts() const;
  // Names of sources.
  std::set<std::string> Sources() const;
  // Values of a text column in the stored rows.
  std::set<std::string> TextValues(const std::string& metric, const std::string& column) const;
  // Values of a column of integers or booleans in the stored rows.
  std::set<int64_t> Values(const std::string& metric, const std::string& column) const;
  // The newest value of a text column in the row with this label; "(null)" for NULL, "(none)" without such a row.
  std::string TextOf(const std::string& metric, const std::string& label, const std::string& value,
                     const std::string& column) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pga::collector
