// Reads the texts of statements that the backend lacks out of pg_stat_statements and hands them out, redacted, in
// parcels of a bounded size. Which are due is known by StatementTexts; how often they are read at most stands in the
// context.
//
// Used on the event loop, one Send at a time. What its constructor gets outlives the sender, the sender outlives what
// it hands out.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/collector/runner_context.h"
#include "services/collector/source_session.h"
#include "services/collector/statement_forms.h"
#include "services/collector/statement_texts.h"
#include "services/collector/text_redactor.h"

namespace pga::collector {

class StatementTextSender {
 public:
  // `forms` learns every text that is read.
  StatementTextSender(RunnerContext* context, TextRedactor* redactor, StatementForms* forms);
  StatementTextSender(const StatementTextSender&) = delete;
  StatementTextSender& operator=(const StatementTextSender&) = delete;

  // Whether texts are to be read; `in_use` are the statements of the last reading.
  bool IsDue(const std::vector<StatementTexts::Id>& in_use);
  // Reads the texts that are due; `info` goes with them. The session's database has pg_stat_statements. Errors are
  // those of pg::AsyncConnection; with SQLSTATE 22021 or 22P05 a text of another database has no form in the encoding
  // of the session's, and the server gives none at all. A database in SQL_ASCII takes every text.
  boost::asio::awaitable<absl::Status> Send(SourceSession* session, ingestpb::SourceInfo info);
  // A stream's batches up to `last_seq` are stored: texts in them count as sent.
  void OnAck(const std::string& stream_id, int64_t last_seq);
  // The server lost what it had: all texts are sent again.
  void ForgetSent();
  // Nothing that was handed to the outbox is still to come back.
  bool idle() const { return handed_out_ == 0; }

 private:
  int64_t BootNs() const { return context_->clock->BoottimeNanos(); }

  RunnerContext* const context_;
  TextRedactor* const redactor_;
  StatementForms* const forms_;
  StatementTexts texts_;
  std::vector<StatementTexts::Id> due_;
  int handed_out_ = 0;
  int64_t texts_read_ns_ = 0;  // CLOCK_BOOTTIME; 0 = to be read as soon as any are due
};

}  // namespace pga::collector
