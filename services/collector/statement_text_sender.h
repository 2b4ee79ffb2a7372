// Reads the texts of statements that the backend lacks out of pg_stat_statements and hands them out, redacted, in
// parcels of a bounded size. Which are due is known by StatementTexts; how often they are read at most stands in the
// context.
//
// Used on the event loop, one Send at a time. The context outlives the sender, the sender outlives what it hands out.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/collector/runner_context.h"
#include "services/collector/source_session.h"
#include "services/collector/statement_texts.h"

namespace pga::collector {

class StatementTextSender {
 public:
  StatementTextSender(RunnerContext* context, std::string source_id);
  StatementTextSender(const StatementTextSender&) = delete;
  StatementTextSender& operator=(const StatementTextSender&) = delete;

  // `in_use`: the statements of the last reading; `info` goes with the texts. Errors are those of pg::AsyncConnection.
  boost::asio::awaitable<absl::Status> Send(SourceSession* session, ingestpb::SourceInfo info,
                                            std::vector<StatementTexts::Id> in_use);
  // A stream's batches up to `last_seq` are stored: texts in them count as sent.
  void OnAck(const std::string& stream_id, int64_t last_seq);
  // The server lost what it had: all texts are sent again.
  void ForgetSent();

 private:
  int64_t BootNs() const { return context_->clock->BoottimeNanos(); }

  RunnerContext* const context_;
  const std::string source_id_;
  StatementTexts texts_;
  int64_t texts_read_ns_ = 0;  // CLOCK_BOOTTIME; 0 = to be read as soon as any are due
};

}  // namespace pga::collector
