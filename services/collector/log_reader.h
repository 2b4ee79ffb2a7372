// Reads the log of one server: from files that the collector can read itself, or over SQL. What one pass found is
// handed out together, so that entries, counts and positions become durable in one record of the spool or not at all.
//
// Local files are taken where `log_path` names them, or where the server is on this host and its data folder shows the
// same system identifier; then no connection is needed, so that the log is read while the server is down. Otherwise the
// login reads them with pg_ls_logdir and pg_read_binary_file.
//
// Coroutines on the event loop, one at a time; what their pointers lead to lives until they are done.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "services/collector/config.h"
#include "services/collector/log_follower.h"
#include "services/collector/log_pass.h"
#include "services/collector/metric_reader.h"
#include "services/collector/runner_context.h"
#include "services/collector/sent_texts.h"
#include "services/collector/source_session.h"

namespace pga::collector {

class LogReader {
 public:
  // Sends the readings of one pass together, with the texts that they name.
  using Publish = std::function<absl::Status(const std::vector<const Reading*>& readings, Observation observation,
                                             std::vector<ingestpb::QueryText> texts)>;
  // What is durable of a metric under the present grant; null if nothing is.
  using BaselineOf = std::function<std::shared_ptr<const Baseline>(const MetricShape& shape)>;
  // Epoch of the present grant.
  using OwnerEpoch = std::function<int64_t()>;

  // `config`, `context` and `forms` outlive the reader.
  LogReader(const SourceConfig* config, RunnerContext* context, const StatementForms* forms, OwnerEpoch owner_epoch,
            BaselineOf baseline_of, Publish publish);
  LogReader(const LogReader&) = delete;
  LogReader& operator=(const LogReader&) = delete;

  // Where the owner before ended, for the first pass under the grant of this epoch.
  void SetFormer(int64_t owner_epoch, LogFilePositions positions) {
    former_epoch_ = owner_epoch;
    former_ = std::move(positions);
  }
  // Called for the statements that plans of the log are of.
  void set_on_plan(std::function<void(const std::string& database, int64_t query)> on_plan) {
    on_plan_ = std::move(on_plan);
  }
  // The metrics that are on, by probe.
  void SetTasks(std::map<std::string, std::shared_ptr<MetricTask>> tasks);
  bool enabled() const { return tasks_.contains("log_files"); }
  // Where the log is has been learnt, and it is read from files here.
  bool local() const { return learnt_ && !folder_.empty(); }

  // The server, or the login, is not set up for reading the log, as Learn said last.
  bool off() const { return off_; }

  // Learns how the server writes its log and where it can be read. FAILED_PRECONDITION if it cannot, PERMISSION_DENIED
  // with the remedy if the login lacks a right.
  boost::asio::awaitable<absl::Status> Learn(SourceSession* session);
  // FAILED_PRECONDITION with the remedy if entries of the log have no SQLSTATE, as Learn found it last.
  absl::Status StatesTold() const;
  // One pass over local files.
  boost::asio::awaitable<absl::Status> ReadLocal();
  // One pass over SQL, or over local files if they can be read.
  boost::asio::awaitable<absl::Status> Read(SourceSession* session);

  // Texts were refused, or the backend may have lost them: they are sent again.
  void ForgetSent() { plans_sent_.ForgetAll(); }

  // Looks at what was written to the newest local file since the last call, and says whether somebody waits for a lock
  // or a deadlock was found. Reads at most 256 KiB; lists the folder only if files came or went.
  bool SomebodyWaits();

 private:
  struct Settings {
    int version = 0;
    std::string destination;
    bool collector = false;
    std::string directory;
    std::string data_directory;
    std::string prefix;
    bool verbose = false;
    std::string time_zone;

    friend bool operator==(const Settings&, const Settings&) = default;
  };

  boost::asio::awaitable<absl::Status> LearnNow(SourceSession* session);
  absl::Status Choose(const Settings& settings, int64_t system_identifier);
  // Notes the newest file and the state of the folder.
  std::vector<LogFileInfo> ListLocal();
  bool IsOfForm(std::string_view name) const;
  boost::asio::awaitable<absl::Status> ListOverSql(SourceSession* session, std::vector<LogFileInfo>* files,
                                                   int64_t* now_us) const;
  std::unique_ptr<LogPass> BeginPass(std::vector<LogFileInfo> files, int64_t now_us);
  absl::Status EndPass(const LogPass& pass);
  // Trees of its plans that were not sent of late.
  std::vector<ingestpb::QueryText> TextsOf(const LogPass& pass);

  const SourceConfig* const config_;
  RunnerContext* const context_;
  const StatementForms* const forms_;
  const OwnerEpoch owner_epoch_;
  const BaselineOf baseline_of_;
  const Publish publish_;
  std::function<void(const std::string& database, int64_t query)> on_plan_;
  std::map<std::string, std::shared_ptr<MetricTask>> tasks_;
  // Those of the pass that is under way; empty between passes.
  std::map<std::string, std::shared_ptr<MetricTask>> passing_;
  bool learnt_ = false;
  bool off_ = false;
  Settings settings_;
  LogFormat format_ = LogFormat::kStderr;
  // Of local files, or a pattern of their paths; empty over SQL.
  std::string folder_;
  std::unique_ptr<LogParser> parser_;
  std::unique_ptr<LogFollower> follower_;
  std::optional<Observation> observation_;  // of the pass that is under way
  // The newest local file when they were last listed, and what tells that there are others since.
  std::string newest_;
  int64_t folder_changed_ns_ = 0;
  // The file that SomebodyWaits looked at, and how far.
  std::string tail_file_;
  int64_t tail_ = 0;
  // What began the checkpoint that was under way at the end of the last two passes, by the generation of the positions
  // that became durable with it: a pass begins with that of the positions it begins with.
  std::map<uint64_t, std::string> causes_;
  uint64_t began_with_ = 0;
  // Trees of plans.
  SentTexts plans_sent_{kPlanTextsAgainNs};
  int64_t former_epoch_ = 0;
  LogFilePositions former_;
};

}  // namespace pga::collector
