#include "libs/storage/read/pushed_reader.h"

#include "libs/status/status.h"
#include "libs/storage/read/names.h"

namespace pga::storage {
namespace {

// What is asked for: $1 to $7.
#define PGA_PUSHED                                                                                                    \
  " FROM metrics.pushed_element p WHERE p.time >= $1::timestamptz AND p.time < $2::timestamptz AND ($3 = '' OR "      \
  "p.collector = $3) AND ($4 = '' OR p.type = $4) AND (NOT $5::bool OR p.readings = 0) AND ($6::bool OR p.collector " \
  "IN (SELECT c.collector_id FROM metrics.collector c JOIN metrics.source s ON s.collector_id = c.id WHERE "          \
  "s.group_name = ANY ($7::text[]) AND s.removed_at IS NULL)) "

constexpr char kTypesSql[] = "SELECT p.type, count(*), count(*) FILTER (WHERE p.readings = 0)" PGA_PUSHED
                             "GROUP BY p.type ORDER BY 2 DESC, 1 LIMIT 1000";
// One character more than is shown tells that there are more. Elements are cut by the server: each may have megabytes.
constexpr char kElementsSql[] =
    "SELECT p.time, p.collector, p.hostname, p.version, p.type, p.readings, CASE WHEN $9::bool THEN "
    "left(p.element::text, $10::int4 + 1) ELSE '' END" PGA_PUSHED
    "ORDER BY p.time DESC, p.collector, p.type LIMIT $8::int8";

#undef PGA_PUSHED

}  // namespace

absl::StatusOr<PushedAnswer> PushedReader::Read(const PushedQuery& query, const pg::CallLimit& limit) {
  PushedAnswer answer;
  const std::string start = TimeText(query.start);
  const std::string end = TimeText(query.end);
  const pg::Params asked = {
      start, end, query.collector_id, query.type, query.untyped, query.all_groups, pg::ArrayOf(query.groups)};
  pg::Params shown = asked;
  shown.insert(shown.end(), {query.limit, query.with_texts, query.text_length});
  const absl::Status done = pool_->Read(limit, [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_RETURN_IF_ERROR(tx.Query(kTypesSql, asked, [&](const pg::BinaryRow& row) -> absl::Status {
      PushedTypeRow& type = answer.by_type.emplace_back();
      type.type = std::string(row.Bytes(0));
      PGA_ASSIGN_OR_RETURN(type.elements, row.Int(1));
      PGA_ASSIGN_OR_RETURN(type.untyped, row.Int(2));
      return absl::OkStatus();
    }));
    return tx.Query(kElementsSql, shown, [&](const pg::BinaryRow& row) -> absl::Status {
      PushedElementRow& element = answer.elements.emplace_back();
      PGA_ASSIGN_OR_RETURN(const int64_t time_us, row.UnixMicros(0));
      element.time = absl::FromUnixMicros(time_us);
      element.collector_id = std::string(row.Bytes(1));
      element.hostname = std::string(row.Bytes(2));
      element.version = std::string(row.Bytes(3));
      element.type = std::string(row.Bytes(4));
      PGA_ASSIGN_OR_RETURN(const int64_t readings, row.Int(5));
      element.readings = static_cast<int32_t>(readings);
      element.element = CutText::Of(row.Bytes(6), query.text_length);
      return absl::OkStatus();
    });
  });
  PGA_RETURN_IF_ERROR(done);
  return answer;
}

}  // namespace pga::storage
