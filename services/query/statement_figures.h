// What the messages that speak of a statement (TopQuery, QueryStats), or of a row of a metric, have in common. Pure.
#pragma once

#include "libs/rpc/proto_time.h"
#include "libs/storage/read/state_reader.h"
#include "libs/storage/read/statement_reader.h"

namespace pga::query {

inline double Millis(double micros) {
  return micros / 1000;
}

// Who ran it where, its text and its figures; without its id and its time of planning, which have other names.
template <typename Message>
void FillStatement(const storage::TopStatement& from, Message* to) {
  using storage::Figure;
  const storage::StatementFigures& figures = from.figures;
  to->set_source_id(from.source.uuid);
  to->set_source_name(from.source.name);
  to->set_database_name(from.database);
  to->set_user_name(from.user);
  to->set_query_text(from.text.text);
  to->set_query_text_truncated(from.text.truncated);
  to->set_calls(figures.Of(Figure::kCalls));
  to->set_total_time(Millis(figures.Of(Figure::kTotalTime)));
  if (to->calls() > 0) to->set_mean_time(to->total_time() / to->calls());
  to->set_rows(figures.Of(Figure::kRows));
  to->set_shared_blks_hit(figures.Of(Figure::kSharedBlksHit));
  to->set_shared_blks_read(figures.Of(Figure::kSharedBlksRead));
  to->set_shared_blks_dirtied(figures.Of(Figure::kSharedBlksDirtied));
  to->set_shared_blks_written(figures.Of(Figure::kSharedBlksWritten));
  to->set_temp_blks_read(figures.Of(Figure::kTempBlksRead));
  to->set_temp_blks_written(figures.Of(Figure::kTempBlksWritten));
  to->set_wal_bytes(figures.Of(Figure::kWalBytes));
  to->set_io_time(Millis(figures.Of(Figure::kIoTime)));
  to->set_lower_bound(from.lower_bound);
}

// A row of a metric (query.v1.MetricRow).
template <typename Message>
void FillRow(const storage::MetricRow& from, Message* to) {
  to->set_source_id(from.source.uuid);
  to->set_source_name(from.source.name);
  to->mutable_labels()->insert(from.labels.begin(), from.labels.end());
  to->mutable_numbers()->insert(from.numbers.begin(), from.numbers.end());
  to->mutable_texts()->insert(from.texts.begin(), from.texts.end());
  to->mutable_truncated()->Add(from.truncated.begin(), from.truncated.end());
  *to->mutable_collected_at() = rpc::ToProto(from.collected_at);
  to->set_lower_bound(from.lower_bound);
}

}  // namespace pga::query
