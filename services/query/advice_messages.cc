#include "services/query/advice_messages.h"

#include <string>

#include "libs/rpc/proto_time.h"

namespace pga::query {

namespace pb = ::pganalytics::query::v1;

using rpc::ToProto;

void FillAdvice(const Advice& from, const SourceFacts& facts, pb::Advice* to) {
  to->set_id(from.id);
  to->set_kind(from.kind);
  to->set_source_id(facts.source_id);
  to->set_source_name(facts.source_name);
  to->set_database_name(from.database);
  to->set_object(from.object);
  to->set_what(from.what);
  for (const std::string& why : from.why) to->add_why(why);
  to->set_command(from.command);
  to->set_instruction(from.instruction);
  to->set_certainty(std::string(NameOf(from.certainty)));
  to->set_certainty_reason(from.certainty_reason);
  *to->mutable_start() = ToProto(facts.start);
  *to->mutable_end() = ToProto(facts.end);
  to->set_completeness(from.completeness);
  to->mutable_figures()->insert(from.figures.begin(), from.figures.end());
  for (const int64_t id : from.query_ids) to->add_query_id(std::to_string(id));
  to->set_schema_name(from.schema);
  to->set_table_name(from.table);
  for (const std::string& column : from.columns) to->add_column_names(column);
  if (from.time_share) to->set_time_share(*from.time_share);
}

void FillNotJudged(const NotJudged& from, const SourceFacts& facts, pb::NotJudged* to) {
  to->set_kind(from.kind);
  to->set_source_id(facts.source_id);
  to->set_source_name(facts.source_name);
  to->set_database_name(from.database);
  to->set_object(from.object);
  to->set_why(from.why);
}

}  // namespace pga::query
