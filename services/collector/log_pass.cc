#include "services/collector/log_pass.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/text/utf8.h"
#include "services/collector/log_plan.h"

namespace pga::collector {
namespace {

// What stands for the rest where there are too many different ones.
constexpr char kRest[] = "*";
constexpr std::string_view kPlanBegins = " plan:";
// Bytes by which messages of no known form differ, and how many forms are counted.
constexpr size_t kFormBytes = 200;
constexpr size_t kMostForms = 10'000;

// At most `most` bytes of whole characters.
std::string_view Cut(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0) == 0x80) --most;
  return text.substr(0, most);
}

bool IsError(const LogEntry& entry) {
  return entry.severity >= LogSeverity::kError;
}

// Figures of a class as columns of its metric.
struct Figure {
  std::string_view figure;
  std::string_view column;
};
constexpr Figure kCheckpointFigures[] = {
    {"buffers", "buffers_written"},   {"wal_added", "wal_added"},   {"wal_removed", "wal_removed"},
    {"wal_recycled", "wal_recycled"}, {"write_us", "write_us"},     {"sync_us", "sync_us"},
    {"total_us", "total_us"},         {"sync_files", "sync_files"}, {"distance_bytes", "distance_bytes"}};

}  // namespace

LogPass::LogPass(const LogClasses* classes, const LogShapes& shapes, QueryTextMode mode, const BaselineOf& baseline_of,
                 int64_t read_us, std::string cause, LogKeepLimits limits, const StatementForms* forms)
    : classes_(classes),
      shapes_(shapes),
      mode_(mode),
      read_us_(read_us),
      limits_(limits),
      statements_(forms),
      counts_(shapes.counts, limits.rows),
      checkpoints_(shapes.checkpoints, limits.rows),
      vacuums_(shapes.vacuums, limits.rows),
      plans_(shapes.plans, limits.rows, /*evicts=*/true),
      cause_(std::move(cause)) {
  if (shapes.counts != nullptr) counts_.Restore(baseline_of(*shapes.counts));
  if (shapes.checkpoints != nullptr) checkpoints_.Restore(baseline_of(*shapes.checkpoints));
  if (shapes.vacuums != nullptr) vacuums_.Restore(baseline_of(*shapes.vacuums));
  if (shapes.plans != nullptr) plans_.Restore(baseline_of(*shapes.plans));
}

void LogPass::CountFigures(const LogVerdict& verdict) {
  const std::string& name = verdict.log_class->name;
  const bool restartpoint = name == "restartpoint_complete" || name == "restartpoint_starting";
  if (name == "checkpoint_starting" || name == "restartpoint_starting") {
    cause_ = std::string(verdict.findings.Text("cause"));
  } else if ((name == "checkpoint_complete" || restartpoint) && shapes_.checkpoints != nullptr) {
    const std::string kind = restartpoint ? "restartpoint" : "checkpoint";
    LogTally::Row row = checkpoints_.At({kind, cause_}, {kind, kRest});
    row.Add(shapes_.checkpoints->Find("completed"), 1);
    for (const Figure& figure : kCheckpointFigures) {
      row.Add(shapes_.checkpoints->Find(figure.column), verdict.findings.Figure(figure.figure));
    }
    cause_.clear();
  }
  const bool wraparound = name == "autovacuum_to_prevent_wraparound";
  if ((name == "autovacuum" || name == "autoanalyze" || wraparound) && shapes_.vacuums != nullptr) {
    const std::string kind = name == "autoanalyze" ? "analyze" : wraparound ? "wraparound" : "vacuum";
    LogTally::Row row = vacuums_.At({std::string(verdict.findings.Text("object")), kind}, {kRest, kind});
    row.Add(shapes_.vacuums->Find("runs"), 1);
    // The parts of these classes have the names of the columns.
    for (const auto& [figure, value] : verdict.findings.figures) row.Add(shapes_.vacuums->Find(figure), value);
  }
}

void LogPass::CountPlan(const LogEntry& entry, int64_t duration_us) {
  std::string query = "0";
  std::string plan = "0";
  std::string database;
  if (++plans_seen_ <= limits_.plans) {
    const size_t at = entry.message.find(kPlanBegins);
    if (at == std::string::npos) return;
    std::optional<LoggedPlan> found = ParseLoggedPlan(std::string_view(entry.message).substr(at + kPlanBegins.size()));
    // Another format, or cut by the reader.
    if (!found) return;
    static const StatementForms* const kNoForms = new StatementForms;
    const StatementForms& forms = statements_ != nullptr ? *statements_ : *kNoForms;
    const int64_t id =
        found->query_id != 0 ? found->query_id : forms.IdOf(entry.database, found->statement, entry.query_id);
    query = std::to_string(id);
    planned_.emplace(entry.database, id);
    plan = std::to_string(found->id);
    database = entry.database;
    plan_trees_.emplace(found->id, std::move(found->tree));
  }
  LogTally::Row row = plans_.At({query, plan, database}, {"0", "0", ""});
  row.Add(shapes_.plans->Find("logged"), 1);
  row.Add(shapes_.plans->Find("duration_us"), duration_us);
}

bool LogPass::Keep(const LogEntry& entry, const LogVerdict& verdict, LogTexts* texts) {
  const bool error = IsError(entry);
  if (events_.size() >= limits_.entries || bytes_ >= limits_.bytes) return false;
  if (!error && (others_ >= limits_.entries / 2 || other_bytes_ >= limits_.bytes / 2)) return false;
  // Before anything is done with its texts: of a flood most is left out.
  const std::string_view object = verdict.findings.Text("object");
  std::string form = absl::StrCat(verdict.log_class->name, "\n", absl::string_view(object.data(), object.size()), "\n");
  if (verdict.pattern != nullptr) {
    absl::StrAppend(&form, reinterpret_cast<uintptr_t>(verdict.pattern));
  } else {
    const std::string_view begins = std::string_view(entry.message).substr(0, kFormBytes);
    std::copy_if(begins.begin(), begins.end(), std::back_inserter(form), [](char c) { return c < '0' || c > '9'; });
  }
  if (forms_.size() >= kMostForms && !forms_.contains(form)) return false;
  if (++forms_[form] > limits_.of_one_form) return false;
  *texts = classes_->Redact(entry, verdict, mode_);
  size_t size = 0;
  for (std::string* const text : {&texts->message, &texts->detail, &texts->hint, &texts->context, &texts->statement}) {
    text->resize(Cut(*text, limits_.text_bytes).size());
    size += text->size();
  }
  bytes_ += size;
  if (!error) {
    ++others_;
    other_bytes_ += size;
  }
  return true;
}

void LogPass::Add(LogEntry entry) {
  MakeUtf8(&entry);
  const LogVerdict verdict = classes_->Classify(entry);
  entry.sqlstate = classes_->StateOf(entry, verdict);
  const std::string& name = verdict.log_class->name;
  CountFigures(verdict);
  const int64_t duration_us = verdict.findings.Figure("duration_us", -1);
  const int64_t bytes = verdict.findings.Figure("bytes", -1);
  if (name == "auto_explain_plan" && shapes_.plans != nullptr) CountPlan(entry, duration_us);
  bool left_out = false;
  if (verdict.log_class->kept && shapes_.events != nullptr) {
    Event event;
    left_out = !Keep(entry, verdict, &event.texts);
    if (!left_out) {
      event.class_name = name;
      event.object = std::string(Cut(verdict.findings.Text("object"), limits_.text_bytes));
      event.duration_us = duration_us;
      event.bytes = bytes;
      event.entry = entry;
      for (std::string* const text : {&event.entry.message, &event.entry.detail, &event.entry.hint,
                                      &event.entry.context, &event.entry.statement, &event.entry.internal_query}) {
        text->clear();
      }
      events_.push_back(std::move(event));
    }
  }
  if (shapes_.counts == nullptr) return;
  const std::string severity = SeverityName(entry.severity);
  LogTally::Row row = counts_.At({name, severity, entry.sqlstate, entry.database}, {name, severity, kRest, kRest});
  row.Add(shapes_.counts->Find("entries"), 1);
  row.Add(shapes_.counts->Find("left_out"), left_out ? 1 : 0);
  row.Add(shapes_.counts->Find("duration_us"), duration_us);
  row.Add(shapes_.counts->Find("bytes"), bytes);
}

int64_t LogPass::oldest_us() const {
  int64_t oldest = 0;
  for (const Event& event : events_) {
    const int64_t at = event.entry.at_us == 0 ? read_us_ : event.entry.at_us;
    if (oldest == 0 || at < oldest) oldest = at;
  }
  return oldest;
}

void LogPass::FillEvents(Reading* reading) const {
  const MetricShape& shape = reading->shape();
  reading->Clear();
  const auto text = [&](std::string_view column, std::string_view value) {
    if (!value.empty()) reading->SetText(shape.Find(column), value);
  };
  const auto number = [&](std::string_view column, int64_t value, int64_t none) {
    if (value != none) reading->SetInt(shape.Find(column), value);
  };
  for (size_t i = 0; i < events_.size(); ++i) {
    const Event& event = events_[i];
    const LogEntry& entry = event.entry;
    reading->AddRow();
    reading->SetInt(shape.Find("slot"), static_cast<int64_t>(i));
    reading->SetInt(shape.Find("at"), entry.at_us == 0 ? read_us_ : entry.at_us);
    text("class", event.class_name);
    text("severity", SeverityName(entry.severity));
    text("sqlstate", entry.sqlstate);
    number("pid", entry.pid, 0);
    text("datname", entry.database);
    text("usename", entry.user);
    text("application_name", entry.application);
    text("client", entry.client);
    text("backend_type", entry.backend_type);
    number("query_id", entry.query_id, 0);
    text("message", event.texts.message);
    text("detail", event.texts.detail);
    text("hint", event.texts.hint);
    text("context", event.texts.context);
    text("statement", event.texts.statement);
    text("object", event.object);
    number("duration_us", event.duration_us, -1);
    number("bytes", event.bytes, -1);
  }
}

LogFilePositions LogFilePositionsOf(const MetricShape& files, const Baseline& baseline) {
  Reading reading(files);
  for (size_t row = 0; row < baseline.rows(); ++row) AddBaselineRow(baseline, row, &reading);
  LogFilePositions positions;
  const auto number = [&](size_t row, std::string_view column) {
    const int index = files.Find(column);
    return index < 0 || reading.IsNull(row, index) ? 0 : reading.Int(row, index);
  };
  for (size_t row = 0; row < reading.rows(); ++row) {
    LogFilePosition& position = positions[std::string(reading.Text(row, files.Find("head")))];
    position.file = std::string(reading.Text(row, files.Find("file")));
    position.bytes_read = number(row, "bytes_read");
    position.bytes_skipped = number(row, "bytes_skipped");
    position.entries = number(row, "entries");
    position.foreign_lines = number(row, "foreign_lines");
    position.unreadable_lines = number(row, "unreadable_lines");
  }
  return positions;
}

void FillLogFiles(const LogFilePositions& positions, Reading* reading) {
  const MetricShape& shape = reading->shape();
  reading->Clear();
  for (const auto& [head, position] : positions) {
    reading->AddRow();
    reading->SetText(shape.Find("file"), position.file);
    reading->SetText(shape.Find("head"), head);
    reading->SetInt(shape.Find("bytes_read"), position.bytes_read);
    reading->SetInt(shape.Find("bytes_skipped"), position.bytes_skipped);
    reading->SetInt(shape.Find("entries"), position.entries);
    reading->SetInt(shape.Find("foreign_lines"), position.foreign_lines);
    reading->SetInt(shape.Find("unreadable_lines"), position.unreadable_lines);
    reading->SetInt(shape.Find("size_bytes"), position.size);
    reading->SetInt(shape.Find("position_bytes"), position.bytes_read);
  }
}

}  // namespace pga::collector
