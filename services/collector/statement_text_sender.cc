#include "services/collector/statement_text_sender.h"

#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/frame/limits.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

constexpr size_t kMaxTextsAtATime = 5000;
constexpr size_t kTextParcelBytes = 256 << 10;

}  // namespace

StatementTextSender::StatementTextSender(RunnerContext* context, TextRedactor* redactor, StatementForms* forms)
    : context_(context), redactor_(redactor), forms_(forms) {}

void StatementTextSender::OnAck(const std::string& stream_id, int64_t last_seq) {
  texts_.Acked(stream_id, last_seq);
}

void StatementTextSender::ForgetSent() {
  texts_.ForgetAll();
  texts_read_ns_ = 0;
}

bool StatementTextSender::IsDue(const std::vector<StatementTexts::Id>& in_use) {
  const int64_t every_ns = absl::ToInt64Nanoseconds(context_->statement_text_interval);
  due_ = texts_.Due(in_use, BootNs());
  return !due_.empty() && (texts_read_ns_ == 0 || BootNs() - texts_read_ns_ >= every_ns);
}

asio::awaitable<absl::Status> StatementTextSender::Send(SourceSession* session, ingestpb::SourceInfo info) {
  texts_read_ns_ = BootNs();
  std::set<StatementTexts::Id> wanted(due_.begin(), due_.end());
  std::set<int64_t> ids;
  for (const auto& [database, query] : due_) {
    if (ids.size() < kMaxTextsAtATime) ids.insert(query);
  }
  const Extension extension = session->extensions["pg_stat_statements"];
  std::string sql = absl::StrCat(
      "SELECT s.dbid::int8, s.queryid, s.query, pg_encoding_to_char(d.encoding)::text, "
      "d.datname::text FROM ",
      QuoteIdentifier(extension.schema),
      ".pg_stat_statements(true) s LEFT JOIN pg_database d ON d.oid = s.dbid "
      "WHERE s.queryid = ANY ($1::int8[])");
  std::vector<std::string> params = {absl::StrCat("{", absl::StrJoin(ids, ","), "}")};
  auto parcels = std::make_shared<std::vector<std::pair<Outbox::Parcel, std::vector<StatementTexts::Id>>>>();
  std::map<std::string, TextDecoder> decoders;
  size_t bytes = kTextParcelBytes;
  pg::AsyncConnection::RowSink sink = [&, parcels](const pg::AsyncRow& row) {
    const StatementTexts::Id id(IntOf(row, 0), IntOf(row, 1));
    if (wanted.erase(id) == 0 || row.IsNull(2)) return absl::OkStatus();
    bool replaced = false;
    if (bytes >= kTextParcelBytes) {
      parcels->emplace_back();
      parcels->back().first.source = info;
      bytes = 0;
    }
    ingestpb::QueryText& text = parcels->back().first.texts.emplace_back();
    text.set_source_id(info.source_id());
    text.set_database_id(id.first);
    text.set_query_id(id.second);
    // The server gives texts in the encoding of the session's database, unless that is SQL_ASCII: then each is in that
    // of its own.
    TextDecoder& decoder = session->encoding == "SQL_ASCII"
                               ? decoders.try_emplace(TextOf(row, 3), TextOf(row, 3)).first->second
                               : session->own_texts;
    // Decoded before it is redacted, because only whole characters can be distinguished from literals.
    const std::string clean = decoder.Decode(TextOf(row, 2), frame::kMaxQueryTextBytes / 4, &replaced);
    text.set_text(redactor_->Redact(clean));
    if (!row.IsNull(4)) forms_->Set(TextOf(row, 4), id.second, clean);
    parcels->back().second.push_back(id);
    bytes += text.text().size() + 32;
    return absl::OkStatus();
  };
  absl::Status status = co_await RunReadOnly(session->connection.get(), std::move(sql), std::move(params),
                                             absl::Seconds(30), std::move(sink));
  if (!status.ok()) co_return status;
  for (auto& [parcel, sent] : *parcels) {
    parcel.done = [this, sent = std::move(sent)](const absl::StatusOr<BatchId>& result) {
      --handed_out_;
      if (result.ok()) {
        texts_.Spooled(sent, *result, BootNs());
      } else {
        texts_read_ns_ = 0;
      }
    };
    ++handed_out_;
    context_->outbox->Add(std::move(parcel));
  }
  co_return absl::OkStatus();
}

}  // namespace pga::collector
