#include "libs/storage/read/log_event_reader.h"

#include <algorithm>
#include <charconv>
#include <compare>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "libs/columns/kernels.h"
#include "libs/status/status.h"
#include "libs/storage/read/fetch.h"
#include "libs/storage/read/load.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/reading_order.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using catalog_pb::Metric;
using columns::ColumnId;
using internal::Cat;

constexpr char kMetric[] = "log_events";
constexpr const char* kTexts[] = {"message", "detail", "hint", "context", "statement"};
// Entries are looked through a slice of time after the other: short while there are many, else twice as long each time.
constexpr absl::Duration kFirstSlice = absl::Hours(1);
constexpr absl::Duration kLongestSlice = absl::Hours(24);
constexpr size_t kManyOfSlice = 100'000;
// Entries that one call looks at, to within a slice.
constexpr size_t kMostEntries = 1'000'000;
// A frame covers the entries in it, but for what the clocks of server and collector differ.
constexpr absl::Duration kClocksDiffer = absl::Minutes(2);

// Where an entry stands among all, oldest first.
struct Place {
  int64_t at_us = 0;
  int64_t collected_us = 0;
  int64_t slot = 0;
  int64_t source = 0;
  auto operator<=>(const Place&) const = default;
};

std::string TextOf(const Place& place) {
  return Cat(place.at_us, ".", place.collected_us, ".", place.slot, ".", place.source);
}

absl::StatusOr<Place> ParsePlace(const std::string& text) {
  Place place;
  int64_t* const parts[] = {&place.at_us, &place.collected_us, &place.slot, &place.source};
  const std::vector<std::string> words = absl::StrSplit(text, '.');
  bool good = words.size() == std::size(parts);
  for (size_t i = 0; good && i < words.size(); ++i) {
    const char* const end = words[i].data() + words[i].size();
    const auto [rest, error] = std::from_chars(words[i].data(), end, *parts[i]);
    good = error == std::errc() && rest == end;
  }
  if (good) return place;
  return absl::InvalidArgumentError("page is none that an answer gave; leave it out for the newest entries");
}

ColumnId Id(const Metric& metric, std::string_view name) {
  for (int i = 0; i < metric.columns_size(); ++i) {
    if (metric.columns(i).name() == name) return static_cast<ColumnId>(i + 1);
  }
  return 0;
}

// Keeps rows whose text is one of `words`; with `classes`, words of two characters are the beginnings of it.
absl::Status AddFilter(const Metric& metric, const char* column, const std::vector<std::string>& words, bool classes,
                       std::vector<columns::RowFilter>* filters) {
  if (words.empty()) return absl::OkStatus();
  if (words.size() > kMostLogWords) {
    return absl::InvalidArgumentError(Cat("more than ", kMostLogWords, " words of ", column, "; ask twice"));
  }
  columns::RowFilter filter;
  filter.column = Id(metric, column);
  filter.text = [wanted = std::set<std::string, std::less<>>(words.begin(), words.end()),
                 classes](std::optional<std::string_view> value) {
    if (!value) return wanted.contains(std::string_view());
    return wanted.contains(*value) || (classes && wanted.contains(value->substr(0, 2)));
  };
  filter.number = [](std::optional<int64_t>) { return false; };
  filters->push_back(std::move(filter));
  return absl::OkStatus();
}

void AddFilter(const Metric& metric, const char* column, std::optional<int64_t> number,
               std::vector<columns::RowFilter>* filters) {
  if (!number) return;
  columns::RowFilter filter;
  filter.column = Id(metric, column);
  filter.text = [](std::optional<std::string_view>) { return false; };
  filter.number = [wanted = *number](std::optional<int64_t> value) { return value && *value == wanted; };
  filters->push_back(std::move(filter));
}

// Rows any of whose texts holds `lower`; each text is searched once.
std::vector<uint8_t> RowsWithText(const Metric& metric, const columns::RowSet& rows, const std::string& lower) {
  std::vector<uint8_t> found(rows.rows(), 0);
  for (const char* const name : kTexts) {
    const auto column = rows.values.find(Id(metric, name));
    if (column == rows.values.end()) continue;
    std::vector<uint8_t> holds;
    for (const std::string& text : column->second.texts) {
      holds.push_back(absl::AsciiStrToLower(text).find(lower) != std::string::npos ? 1 : 0);
    }
    for (size_t row = 0; row < rows.rows(); ++row) {
      if (column->second.IsNull(row)) continue;
      if (holds[static_cast<size_t>(column->second.ints[row])] != 0) found[row] = 1;
    }
  }
  return found;
}

// Values of one entry.
class Entry {
 public:
  Entry(const Metric& metric, const columns::RowSet& rows, size_t row) : metric_(metric), rows_(rows), row_(row) {}

  std::string Text(std::string_view name) const {
    const CellOfRow cell = Cell(name);
    return cell.known() ? cell.column->Text(cell.row) : std::string();
  }
  CutText Cut(std::string_view name, int64_t most) const { return CutText::Of(Text(name), most); }
  std::optional<int64_t> Number(std::string_view name) const {
    const CellOfRow cell = Cell(name);
    if (!cell.known()) return std::nullopt;
    return cell.column->ints[cell.row];
  }

 private:
  CellOfRow Cell(std::string_view name) const { return CellOf(rows_, Id(metric_, name), row_); }

  const Metric& metric_;
  const columns::RowSet& rows_;
  const size_t row_;
};

// The newest `limit` entries of those that are added.
class Newest {
 public:
  explicit Newest(size_t limit) : limit_(limit) {}

  bool Wants(const Place& place) const { return events_.size() < limit_ || events_.begin()->first < place; }
  void Add(const Place& place, LogEvent event) {
    events_.insert_or_assign(place, std::move(event));
    if (events_.size() > limit_) events_.erase(events_.begin());
  }
  bool full() const { return events_.size() >= limit_; }
  const std::map<Place, LogEvent>& events() const { return events_; }

 private:
  const size_t limit_;
  std::map<Place, LogEvent> events_;
};

LogEvent EventOf(const Entry& entry, const SourceRef& source, int64_t at_us, int64_t text_length) {
  LogEvent event;
  event.source = source;
  event.time = absl::FromUnixMicros(at_us);
  event.class_name = entry.Text("class");
  event.severity = entry.Text("severity");
  event.sqlstate = entry.Text("sqlstate");
  event.pid = entry.Number("pid").value_or(0);
  event.database = entry.Text("datname");
  event.user = entry.Text("usename");
  event.application = entry.Text("application_name");
  event.client = entry.Text("client");
  event.backend_type = entry.Text("backend_type");
  event.query_id = entry.Number("query_id").value_or(0);
  event.message = entry.Cut("message", text_length);
  event.detail = entry.Cut("detail", text_length);
  event.hint = entry.Cut("hint", text_length);
  event.context = entry.Cut("context", text_length);
  event.statement = entry.Cut("statement", text_length);
  event.object = entry.Text("object");
  event.duration_us = entry.Number("duration_us");
  event.bytes = entry.Number("bytes");
  return event;
}

}  // namespace

absl::StatusOr<LogEventAnswer> LogEventReader::Read(const LogEventQuery& query, const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(const Metric* const metric, FindCatalogMetric(*catalog_, kMetric));
  if (!query.text.empty() && !query.with_texts) {
    return absl::PermissionDeniedError("searching in texts of log entries takes the right to read statement texts");
  }
  std::vector<columns::RowFilter> filters;
  PGA_RETURN_IF_ERROR(AddFilter(*metric, "severity", query.severities, false, &filters));
  PGA_RETURN_IF_ERROR(AddFilter(*metric, "class", query.classes, false, &filters));
  PGA_RETURN_IF_ERROR(AddFilter(*metric, "sqlstate", query.sqlstates, true, &filters));
  PGA_RETURN_IF_ERROR(AddFilter(*metric, "datname", query.databases, false, &filters));
  PGA_RETURN_IF_ERROR(AddFilter(*metric, "usename", query.users, false, &filters));
  AddFilter(*metric, "query_id", query.query_id, &filters);
  AddFilter(*metric, "pid", query.pid, &filters);
  std::optional<Place> behind;
  if (!query.page.empty()) {
    PGA_ASSIGN_OR_RETURN(behind, ParsePlace(query.page));
  }
  const int kept = RetentionOf(*metric).raw;
  const absl::Time oldest = clock_->Now() - absl::Hours(24) * kept;
  if (query.end <= oldest) {
    return absl::InvalidArgumentError(Cat("entries of logs are kept for ", kept, " days; end later"));
  }
  LogEventAnswer answer;
  if (query.sources.empty()) return answer;
  std::map<int32_t, const SourceRef*> sources;
  for (const SourceRef& source : query.sources) sources[source.id] = &source;
  const std::string lower = absl::AsciiStrToLower(query.text);
  const absl::Time start = std::max(query.start, oldest);
  absl::Time until = query.end;
  if (behind) until = std::min(until, absl::FromUnixMicros(behind->at_us) + absl::Microseconds(1));

  FetchSpec spec;
  spec.metric = metric;
  spec.source_ids = IdsOf(query.sources);
  for (const catalog_pb::Column& column : metric->columns()) {
    if (query.with_texts || !column.restricted()) spec.raw.push_back(IdOf(*metric, column));
  }
  const ColumnId at_id = Id(*metric, "at");
  Newest newest(static_cast<size_t>(query.limit));
  size_t looked = 0;
  absl::Duration length = kFirstSlice;
  const absl::Status done = pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored, FindMetric(tx, metric->name()));
    spec.metric_ids = {stored.id};
    while (until > start && !newest.full() && looked < kMostEntries) {
      const absl::Time from = std::max(start, until - length);
      const int64_t from_us = absl::ToUnixMicros(from);
      const int64_t until_us = absl::ToUnixMicros(until);
      const columns::Cells cells = {{from_us - absl::ToInt64Microseconds(kClocksDiffer), until_us + 1, 0, 0}};
      spec.cells = &cells;
      size_t of_slice = 0;
      PGA_RETURN_IF_ERROR(FetchRows(tx, spec, [&](Fetched& fetched) -> absl::Status {
        const columns::RowSet& rows = fetched.rows;
        of_slice += rows.rows();
        const std::vector<uint8_t> kept_rows = columns::KeepRows(filters, rows);
        std::vector<uint8_t> with_text;
        if (!lower.empty()) with_text = RowsWithText(*metric, rows, lower);
        for (size_t row = 0; row < rows.rows(); ++row) {
          if (kept_rows[row] == 0 || (!with_text.empty() && with_text[row] == 0)) continue;
          const CellOfRow at = CellOf(rows, at_id, row);
          if (!at.known()) continue;
          const int64_t at_us = at.column->ints[at.row];
          if (at_us < from_us || at_us >= until_us) continue;
          const Entry entry(*metric, rows, row);
          const Place place{at_us, rows.frames[rows.row_frame[row]].end_us, entry.Number("slot").value_or(0),
                            fetched.source_id};
          if ((behind && !(place < *behind)) || !newest.Wants(place)) continue;
          newest.Add(place, EventOf(entry, *sources.at(fetched.source_id), at_us, query.text_length));
        }
        return absl::OkStatus();
      }));
      looked += of_slice;
      until = from;
      length = of_slice >= kManyOfSlice ? kFirstSlice : std::min(2 * length, kLongestSlice);
    }
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  if (newest.full()) {
    answer.next = TextOf(newest.events().begin()->first);
  } else if (until > start) {
    answer.next = TextOf(Place{absl::ToUnixMicros(until), 0, 0, 0});
  }
  for (auto event = newest.events().rbegin(); event != newest.events().rend(); ++event) {
    answer.events.push_back(event->second);
  }
  return answer;
}

}  // namespace pga::storage
