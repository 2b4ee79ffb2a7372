#include "libs/catalog/metric_file.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <exception>
#include <functional>
#include <optional>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "libs/catalog/grant_column.h"
#include "libs/catalog/metric.h"

namespace pga::catalog {
namespace v1 = pganalytics::catalog::v1;

namespace {

constexpr size_t kMaxProblems = 20;
constexpr size_t kMaxSqlBytes = 32 << 10;

constexpr std::array<std::string_view, 15> kUnits = {"1",     "bytes",   "us",    "ms",           "s",
                                                     "rows",  "blocks",  "pages", "xacts",        "percent",
                                                     "files", "records", "calls", "bytes_per_op", "segments"};
constexpr std::array<std::string_view, 21> kProbes = {
    "activity",   "blocking",        "explain_plans", "explain_runs", "host_cgroup",   "host_cpu", "host_cpu_core",
    "host_disk",  "host_filesystem", "host_memory",   "host_network", "host_pressure", "host_tcp", "log_checkpoints",
    "log_counts", "log_events",      "log_files",     "log_plans",    "log_vacuums",   "pushed",   "statements"};
// What schema `readable` holds besides metrics, and the name under which pushed elements are counted.
constexpr std::array<std::string_view, 2> kReservedMetricNames = {"statement_texts", "push"};
constexpr std::array<std::string_view, 9> kReservedColumnNames = {
    "time", "source_id", "collector_id", "scope", "flags", "bucket", "covered_ms", "interval_ms", "metric_id"};
// Key words that PostgreSQL takes as a column's name only between quotes.
constexpr std::array<std::string_view, 77> kKeywords = {"all",          "analyse",
                                                        "analyze",      "and",
                                                        "any",          "array",
                                                        "as",           "asc",
                                                        "asymmetric",   "both",
                                                        "case",         "cast",
                                                        "check",        "collate",
                                                        "column",       "constraint",
                                                        "create",       "current_catalog",
                                                        "current_date", "current_role",
                                                        "current_time", "current_timestamp",
                                                        "current_user", "default",
                                                        "deferrable",   "desc",
                                                        "distinct",     "do",
                                                        "else",         "end",
                                                        "except",       "false",
                                                        "fetch",        "for",
                                                        "foreign",      "from",
                                                        "grant",        "group",
                                                        "having",       "in",
                                                        "initially",    "intersect",
                                                        "into",         "lateral",
                                                        "leading",      "limit",
                                                        "localtime",    "localtimestamp",
                                                        "not",          "null",
                                                        "offset",       "on",
                                                        "only",         "or",
                                                        "order",        "placing",
                                                        "primary",      "references",
                                                        "returning",    "select",
                                                        "session_user", "some",
                                                        "symmetric",    "system_user",
                                                        "table",        "then",
                                                        "to",           "trailing",
                                                        "true",         "union",
                                                        "unique",       "user",
                                                        "using",        "variadic",
                                                        "when",         "where",
                                                        "window"};

template <size_t n>
bool Contains(const std::array<std::string_view, n>& list, std::string_view word) {
  for (const std::string_view entry : list) {
    if (entry == word) return true;
  }
  return false;
}

template <size_t n>
std::string Listed(const std::array<std::string_view, n>& list) {
  std::string out;
  for (const std::string_view entry : list) {
    if (!out.empty()) out += ", ";
    out += entry;
  }
  return out;
}

// YAML's own view of absl's text functions, which Debian builds without std::string_view.
absl::string_view A(std::string_view text) {
  return {text.data(), text.size()};
}

int LineOf(const YAML::Node& node) {
  return node.Mark().line + 1;
}

// Takes no notice of what a parser finds.
class NoEvents : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// YAML::LoadAll of yaml-cpp 0.7 would never end on text that begins with a comma: two documents are enough to know.
bool HasOneDocument(const std::string& yaml) {
  std::istringstream in(yaml);
  YAML::Parser parser(in);
  NoEvents events;
  return parser.HandleNextDocument(events) && !parser.HandleNextDocument(events);
}

class MetricParser {
 public:
  explicit MetricParser(const MetricFileOptions& options) : options_(options) {}

  absl::StatusOr<v1::Metric> Parse(std::string_view yaml) {
    if (yaml.size() > kMaxFileBytes) {
      Problem(1, absl::StrCat("the file has ", yaml.size(), " bytes; a metric file takes ", kMaxFileBytes));
      return Result();
    }
    YAML::Node document;
    bool one = false;
    try {
      document = YAML::Load(std::string(yaml));
      one = HasOneDocument(std::string(yaml));
    } catch (const YAML::Exception& error) {
      Problem(error.mark.line + 1, absl::StrCat("not valid YAML: ", error.msg));
      return Result();
    }
    if (!one || !document.IsMap()) {
      Problem(1, "want one mapping with the keys name, schema_version, description, scope, queries or probe, columns");
      return Result();
    }
    try {
      Top(document);
    } catch (const YAML::Exception& error) {
      Problem(error.mark.line + 1, error.msg);
    }
    return Result();
  }

 private:
  using Handler = std::function<void(const YAML::Node&)>;

  void Problem(int line, absl::string_view what) {
    if (problems_.size() < kMaxProblems) problems_.push_back(absl::StrCat(options_.file_name, ":", line, ": ", what));
  }

  absl::StatusOr<v1::Metric> Result() {
    if (!problems_.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems_, "\n"));
    metric_.set_custom(options_.custom);
    return std::move(metric_);
  }

  // Calls the handler of each key; unknown and repeated keys are problems. `where` begins the messages.
  void Mapping(const YAML::Node& node, absl::string_view where,
               const std::vector<std::pair<std::string_view, Handler>>& handlers) {
    if (!node.IsMap()) {
      Problem(LineOf(node), absl::StrCat(where, "want a mapping of keys and values"));
      return;
    }
    std::set<std::string> seen;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) {
        Problem(LineOf(entry.first), absl::StrCat(where, "a key must be a word"));
        continue;
      }
      const std::string& key = entry.first.Scalar();
      if (!seen.insert(key).second) {
        Problem(LineOf(entry.first), absl::StrCat(where, "key \"", key, "\" is there twice; take one out"));
        continue;
      }
      const Handler* handler = nullptr;
      std::string known;
      for (const auto& [name, candidate] : handlers) {
        if (name == key) handler = &candidate;
        absl::StrAppend(&known, known.empty() ? "" : ", ", A(name));
      }
      if (handler == nullptr) {
        Problem(LineOf(entry.first), absl::StrCat(where, "unknown key \"", key, "\"; known are ", known));
        continue;
      }
      (*handler)(entry.second);
    }
  }

  // A scalar's text; a list or mapping is a problem.
  std::optional<std::string> Text(const YAML::Node& node, absl::string_view where, absl::string_view key) {
    if (!node.IsScalar()) {
      Problem(LineOf(node), absl::StrCat(where, key, " must be a single value"));
      return std::nullopt;
    }
    return std::string(absl::StripAsciiWhitespace(node.Scalar()));
  }

  std::string Sentence(const YAML::Node& node, absl::string_view where, absl::string_view key) {
    std::string text = Text(node, where, key).value_or(" ");
    if (text.empty()) Problem(LineOf(node), absl::StrCat(where, key, " is empty; write a sentence"));
    for (char& c : text) {
      if (c == '\n') c = ' ';
    }
    return text;
  }

  int Int(const YAML::Node& node, absl::string_view where, absl::string_view key, int min, int max) {
    const auto text = Text(node, where, key);
    if (!text.has_value()) return min;
    int value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size() || value < min || value > max) {
      Problem(LineOf(node), absl::StrCat(where, key, " is \"", *text, "\"; want a number from ", min, " to ", max));
      return min;
    }
    return value;
  }

  bool Bool(const YAML::Node& node, absl::string_view where, absl::string_view key) {
    const auto text = Text(node, where, key);
    if (text.has_value() && *text != "true" && *text != "false") {
      Problem(LineOf(node), absl::StrCat(where, key, " is \"", *text, "\"; want true or false"));
    }
    return text == "true";
  }

  void Name(const YAML::Node& node) {
    const std::string name = Text(node, "", "name").value_or("");
    if (!IsValidName(name)) {
      Problem(LineOf(node), absl::StrCat("name \"", name, "\" must match [a-z][a-z0-9_]{0,39}"));
      return;
    }
    if (Contains(kReservedMetricNames, name) || Contains(kKeywords, name)) {
      Problem(LineOf(node), absl::StrCat("name \"", name, "\" is taken by the suite or by SQL; choose another"));
    }
    if (const std::string stem = FileStem(); stem != name) {
      Problem(LineOf(node), absl::StrCat("name is \"", name, "\" but the file is ", options_.file_name,
                                         "; call the file ", name, ".yaml"));
    }
    metric_.set_name(name);
  }

  std::string FileStem() const {
    std::string_view stem = options_.file_name;
    if (const size_t slash = stem.rfind('/'); slash != std::string_view::npos) stem.remove_prefix(slash + 1);
    if (stem.ends_with(".yaml")) stem.remove_suffix(5);
    return std::string(stem);
  }

  void ParseScope(const YAML::Node& node) {
    const std::string word = Text(node, "", "scope").value_or("");
    if (word == "instance") {
      metric_.set_scope(v1::SCOPE_INSTANCE);
    } else if (word == "database") {
      metric_.set_scope(v1::SCOPE_DATABASE);
    } else if (word == "host") {
      metric_.set_scope(v1::SCOPE_HOST);
    } else {
      Problem(LineOf(node), absl::StrCat("scope is \"", word, "\"; want instance, database or host"));
    }
  }

  void ParseProbe(const YAML::Node& node) {
    const std::string word = Text(node, "", "probe").value_or("");
    if (options_.custom) {
      Problem(LineOf(node), "probe is for built-in metrics; a custom metric has queries");
    } else if (!Contains(kProbes, word)) {
      Problem(LineOf(node), absl::StrCat("probe is \"", word, "\"; known are ", Listed(kProbes)));
    }
    metric_.set_probe(word);
  }

  void ParseRetention(const YAML::Node& node) {
    v1::Retention* retention = metric_.mutable_retention();
    const auto days = [this](void (v1::Retention::*set)(int32_t), v1::Retention* target, absl::string_view key) {
      return [this, set, target, key](const YAML::Node& value) {
        (target->*set)(Int(value, "retention: ", key, 1, 36'500));
      };
    };
    Mapping(node, "retention: ",
            {{"raw_days", days(&v1::Retention::set_raw_days, retention, "raw_days")},
             {"daily_days", days(&v1::Retention::set_daily_days, retention, "daily_days")}});
  }

  void ParseUnseenResets(const YAML::Node& node) {
    if (!node.IsSequence()) {
      Problem(LineOf(node), "unseen_resets must be a list of sentences");
      return;
    }
    for (const YAML::Node& item : node) metric_.add_unseen_resets(Sentence(item, "", "unseen_resets"));
  }

  void ParseFunctions(const YAML::Node& node) {
    if (!node.IsSequence() || node.size() == 0) {
      Problem(LineOf(node), "functions must be a list of functions with their argument types, or be left out");
      return;
    }
    for (const YAML::Node& item : node) {
      const std::string function = Text(item, "", "functions").value_or("");
      if (function.find('(') == std::string::npos || !function.ends_with(")")) {
        Problem(LineOf(item), absl::StrCat("functions names \"", function,
                                           "\"; want the argument types too, for example pg_ls_logdir()"));
      }
      metric_.add_functions(function);
    }
  }

  void ParseIdentity(const YAML::Node& node) {
    if (!node.IsSequence() || node.size() == 0) {
      Problem(LineOf(node), "identity must be a list of column names, or be left out");
      return;
    }
    for (const YAML::Node& item : node) metric_.add_identity(Text(item, "", "identity").value_or(""));
  }

  void ParseQueries(const YAML::Node& node) {
    if (!node.IsSequence() || node.size() == 0) {
      Problem(LineOf(node), "queries must be a list with at least one entry that has sql");
      return;
    }
    for (const YAML::Node& item : node) {
      v1::Query* query = metric_.add_queries();
      query_lines_.push_back(LineOf(item));
      const std::string where = absl::StrCat("query ", metric_.queries_size(), ": ");
      Mapping(
          item, where,
          {{"min_version", [&](const YAML::Node& v) { query->set_min_version(Int(v, where, "min_version", 9, 99)); }},
           {"max_version", [&](const YAML::Node& v) { query->set_max_version(Int(v, where, "max_version", 9, 99)); }},
           {"min_extension_version",
            [&](const YAML::Node& v) {
              const std::string text = Text(v, where, "min_extension_version").value_or("");
              if (text.empty() || text.find_first_not_of("0123456789.") != std::string::npos) {
                Problem(LineOf(v),
                        absl::StrCat(where, "min_extension_version is \"", text, "\"; want a version such as 1.10"));
              }
              query->set_min_extension_version(text);
            }},
           {"role", [&](const YAML::Node& v) { ParseRole(v, where, query); }},
           {"sql", [&](const YAML::Node& v) {
              const std::string sql = Text(v, where, "sql").value_or(" ");
              if (const std::string problem = SqlProblem(sql); !problem.empty()) {
                Problem(LineOf(v), absl::StrCat(where, "sql ", problem));
              }
              query->set_sql(sql);
            }}});
      if (query->sql().empty()) Problem(LineOf(item), absl::StrCat(where, "sql is missing"));
      if (query->max_version() != 0 && query->max_version() < query->min_version()) {
        Problem(LineOf(item), absl::StrCat(where, "max_version is below min_version; swap them"));
      }
    }
  }

  void ParseRole(const YAML::Node& node, absl::string_view where, v1::Query* query) {
    const std::string word = Text(node, where, "role").value_or("");
    if (word == "primary") {
      query->set_role(v1::SERVER_ROLE_PRIMARY);
    } else if (word == "standby") {
      query->set_role(v1::SERVER_ROLE_STANDBY);
    } else {
      Problem(LineOf(node), absl::StrCat(where, "role is \"", word, "\"; want primary or standby, or leave it out"));
    }
  }

  void ParseColumns(const YAML::Node& node) {
    if (!node.IsSequence() || node.size() == 0) {
      Problem(LineOf(node), "columns must be a list with at least one column");
      return;
    }
    if (node.size() > static_cast<size_t>(kMaxColumns)) {
      Problem(LineOf(node), absl::StrCat("there are ", node.size(), " columns; a metric takes ", kMaxColumns));
      return;
    }
    for (const YAML::Node& item : node) ParseColumn(item);
  }

  void ParseColumn(const YAML::Node& node) {
    v1::Column* column = metric_.add_columns();
    column_lines_.push_back(LineOf(node));
    std::string where = absl::StrCat("column ", metric_.columns_size(), ": ");
    if (node.IsMap() && node["name"] && node["name"].IsScalar()) {
      where = absl::StrCat("column \"", node["name"].Scalar(), "\": ");
    }
    column->set_since_schema_version(1);
    Mapping(
        node, where,
        {{"name",
          [&](const YAML::Node& v) {
            column->set_name(Text(v, where, "name").value_or(""));
            CheckColumnName(LineOf(v), where, column->name());
          }},
         {"type", [&](const YAML::Node& v) { column->set_type(ParseType(v, where)); }},
         {"kind", [&](const YAML::Node& v) { column->set_kind(ParseKind(v, where)); }},
         {"unit",
          [&](const YAML::Node& v) {
            column->set_unit(Text(v, where, "unit").value_or(""));
            if (!Contains(kUnits, column->unit())) {
              Problem(LineOf(v), absl::StrCat(where, "unit is \"", column->unit(), "\"; known are ", Listed(kUnits),
                                              " (1 is a plain count)"));
            }
          }},
         {"description", [&](const YAML::Node& v) { column->set_description(Sentence(v, where, "description")); }},
         {"since", [&](const YAML::Node& v) { column->set_since_schema_version(Int(v, where, "since", 1, 1'000)); }},
         {"position", [&](const YAML::Node& v) { column->set_position(Bool(v, where, "position")); }},
         {"absent_is_zero", [&](const YAML::Node& v) { column->set_absent_is_zero(Bool(v, where, "absent_is_zero")); }},
         {"restricted", [&](const YAML::Node& v) { column->set_restricted(Bool(v, where, "restricted")); }}});
    CheckColumn(LineOf(node), where, *column);
  }

  v1::ColumnType ParseType(const YAML::Node& node, absl::string_view where) {
    const std::string word = Text(node, where, "type").value_or("");
    for (int type = v1::COLUMN_TYPE_BOOL; type <= v1::COLUMN_TYPE_PG_LSN; ++type) {
      if (TypeWord(static_cast<v1::ColumnType>(type)) == word) return static_cast<v1::ColumnType>(type);
    }
    Problem(LineOf(node), absl::StrCat(where, "type is \"", word,
                                       "\"; want bool, int8, float8, text, timestamptz, interval_us or pg_lsn and cast "
                                       "to it in the sql"));
    return v1::COLUMN_TYPE_UNSPECIFIED;
  }

  v1::ColumnKind ParseKind(const YAML::Node& node, absl::string_view where) {
    const std::string word = Text(node, where, "kind").value_or("");
    for (int kind = v1::COLUMN_KIND_LABEL; kind <= v1::COLUMN_KIND_INFO; ++kind) {
      if (KindWord(static_cast<v1::ColumnKind>(kind)) == word) return static_cast<v1::ColumnKind>(kind);
    }
    Problem(LineOf(node), absl::StrCat(where, "kind is \"", word, "\"; want label, gauge, counter or info"));
    return v1::COLUMN_KIND_UNSPECIFIED;
  }

  void CheckColumnName(int line, absl::string_view where, const std::string& name) {
    if (!IsValidName(name)) {
      Problem(line, absl::StrCat(where, "name must match [a-z][a-z0-9_]{0,39}"));
    } else if (Contains(kReservedColumnNames, name) || Contains(kKeywords, name)) {
      Problem(line, absl::StrCat(where, "the name is taken by the suite or by SQL; choose another"));
    }
  }

  void CheckColumn(int line, absl::string_view where, const v1::Column& column) {
    if (column.name().empty()) Problem(line, absl::StrCat(where, "name is missing"));
    if (column.description().empty()) Problem(line, absl::StrCat(where, "description is missing; write a sentence"));
    if (column.position() && column.kind() != v1::COLUMN_KIND_COUNTER) {
      Problem(line, absl::StrCat(where, "position is for counters; leave it out"));
    }
    if (column.absent_is_zero() && (column.kind() != v1::COLUMN_KIND_GAUGE || metric_.skip_unchanged())) {
      Problem(line,
              absl::StrCat(where, "absent_is_zero is for gauges of metrics whose rows are all sent; leave it out"));
    }
    const v1::ColumnType type = column.type();
    const v1::ColumnKind kind = column.kind();
    if (column.name() == kGrantColumn && (kind != v1::COLUMN_KIND_INFO || type != v1::COLUMN_TYPE_TEXT)) {
      Problem(line, absl::StrCat(where, "it holds the command that lets the login read the row: kind info, type text"));
    }
    if (column.restricted() && (kind != v1::COLUMN_KIND_INFO || type != v1::COLUMN_TYPE_TEXT)) {
      Problem(line, absl::StrCat(where, "restricted is for info columns of type text; leave it out"));
    }
    if (type == v1::COLUMN_TYPE_UNSPECIFIED || kind == v1::COLUMN_KIND_UNSPECIFIED) {
      // Left out or already reported; a missing key is only visible here.
      Problem(line, absl::StrCat(where, "needs a type and a kind"));
      return;
    }
    if (kind == v1::COLUMN_KIND_COUNTER && type != v1::COLUMN_TYPE_INT8) {
      Problem(line, absl::StrCat(where,
                                 "a counter must be int8; round it to an integer unit in the sql, for example "
                                 "round(total_time * 1000)::int8 with unit us"));
    }
    if (kind == v1::COLUMN_KIND_GAUGE && type != v1::COLUMN_TYPE_INT8 && type != v1::COLUMN_TYPE_FLOAT8 &&
        type != v1::COLUMN_TYPE_INTERVAL_US) {
      Problem(line, absl::StrCat(where, "a gauge must be int8, float8 or interval_us; make it kind info"));
    }
    if (kind == v1::COLUMN_KIND_LABEL && type != v1::COLUMN_TYPE_TEXT && type != v1::COLUMN_TYPE_INT8 &&
        type != v1::COLUMN_TYPE_BOOL) {
      Problem(line, absl::StrCat(where, "a label must be text, int8 or bool; make it kind info"));
    }
    const bool measured = kind == v1::COLUMN_KIND_COUNTER || kind == v1::COLUMN_KIND_GAUGE;
    if (measured && column.unit().empty()) {
      Problem(line, absl::StrCat(where, "unit is missing; known are ", Listed(kUnits)));
    }
    if (type == v1::COLUMN_TYPE_INTERVAL_US && column.unit() != "us") {
      Problem(line, absl::StrCat(where, "an interval_us has unit us"));
    }
    if (!column.unit().empty() && (type == v1::COLUMN_TYPE_TEXT || type == v1::COLUMN_TYPE_BOOL ||
                                   type == v1::COLUMN_TYPE_TIMESTAMPTZ || type == v1::COLUMN_TYPE_PG_LSN)) {
      Problem(line, absl::StrCat(where, "a ", A(TypeWord(type)), " has no unit; take it out"));
    }
  }

  void Top(const YAML::Node& root) {
    int schema_version_line = 1;
    int reset_line = 1;
    int identity_line = 1;
    int locate_line = 1;
    metric_.set_interval_factor(1);
    Mapping(
        root, "",
        {{"name", [&](const YAML::Node& v) { Name(v); }},
         {"schema_version",
          [&](const YAML::Node& v) {
            schema_version_line = LineOf(v);
            metric_.set_schema_version(Int(v, "", "schema_version", 1, 1'000));
          }},
         {"description", [&](const YAML::Node& v) { metric_.set_description(Sentence(v, "", "description")); }},
         {"scope", [&](const YAML::Node& v) { ParseScope(v); }},
         {"interval_factor",
          [&](const YAML::Node& v) { metric_.set_interval_factor(Int(v, "", "interval_factor", 1, 100'000)); }},
         {"timeout_ms", [&](const YAML::Node& v) { metric_.set_timeout_ms(Int(v, "", "timeout_ms", 1, 600'000)); }},
         {"probe", [&](const YAML::Node& v) { ParseProbe(v); }},
         {"extension", [&](const YAML::Node& v) { metric_.set_extension(Text(v, "", "extension").value_or("")); }},
         {"privilege", [&](const YAML::Node& v) { metric_.set_privilege(Text(v, "", "privilege").value_or("")); }},
         {"skip_unchanged", [&](const YAML::Node& v) { metric_.set_skip_unchanged(Bool(v, "", "skip_unchanged")); }},
         {"reset_column",
          [&](const YAML::Node& v) {
            reset_line = LineOf(v);
            metric_.set_reset_column(Text(v, "", "reset_column").value_or(""));
          }},
         {"partial_resets", [&](const YAML::Node& v) { metric_.set_partial_resets(Bool(v, "", "partial_resets")); }},
         {"identity",
          [&](const YAML::Node& v) {
            identity_line = LineOf(v);
            ParseIdentity(v);
          }},
         {"locate_by",
          [&](const YAML::Node& v) {
            locate_line = LineOf(v);
            metric_.set_locate_by(Text(v, "", "locate_by").value_or(""));
          }},
         {"unseen_resets", [&](const YAML::Node& v) { ParseUnseenResets(v); }},
         {"optional", [&](const YAML::Node& v) { metric_.set_optional(Bool(v, "", "optional")); }},
         {"functions", [&](const YAML::Node& v) { ParseFunctions(v); }},
         {"retention", [&](const YAML::Node& v) { ParseRetention(v); }},
         {"queries", [&](const YAML::Node& v) { ParseQueries(v); }},
         {"columns", [&](const YAML::Node& v) { ParseColumns(v); }}});
    CheckWhole(schema_version_line, reset_line, identity_line, locate_line);
  }

  // What one key alone cannot show.
  void CheckWhole(int schema_version_line, int reset_line, int identity_line, int locate_line) {
    const auto missing = [this](absl::string_view key) { Problem(1, absl::StrCat(key, " is missing")); };
    if (metric_.name().empty() && problems_.empty()) missing("name");
    if (metric_.description().empty()) missing("description");
    if (metric_.scope() == v1::SCOPE_UNSPECIFIED && problems_.empty()) missing("scope");
    if (metric_.schema_version() == 0) missing("schema_version (1 for a new metric)");
    if (metric_.columns_size() == 0 && problems_.empty()) missing("columns");
    if (metric_.queries_size() == 0 && metric_.probe().empty() && problems_.empty()) missing("queries or probe");
    if (metric_.scope() == v1::SCOPE_HOST && metric_.queries_size() > 0) {
      Problem(query_lines_[0], "a metric of scope host has no queries; it is filled by a probe");
    }
    CheckColumnsTogether(schema_version_line);
    CheckReset(reset_line);
    CheckIdentity(identity_line);
    CheckLocate(locate_line);
    CheckQueriesTogether();
  }

  void CheckColumnsTogether(int schema_version_line) {
    std::set<std::string> names;
    int since = 1;
    bool has_datname = false;
    for (int i = 0; i < metric_.columns_size(); ++i) {
      const v1::Column& column = metric_.columns(i);
      const int line = column_lines_[static_cast<size_t>(i)];
      const std::string where = absl::StrCat("column \"", column.name(), "\": ");
      if (!names.insert(column.name()).second) Problem(line, absl::StrCat(where, "is there twice"));
      if (column.since_schema_version() < since) {
        Problem(line, absl::StrCat(where, "since is ", column.since_schema_version(), " after a column with ", since,
                                   "; columns are only added at the end"));
      }
      since = std::max(since, column.since_schema_version());
      if (column.kind() == v1::COLUMN_KIND_LABEL && column.since_schema_version() > 1) {
        Problem(line, absl::StrCat(where, "a label cannot be added later: it would change the key; make a new metric"));
      }
      has_datname |=
          column.name() == "datname" && column.kind() == v1::COLUMN_KIND_LABEL && column.type() == v1::COLUMN_TYPE_TEXT;
    }
    if (metric_.columns_size() > 0 && metric_.schema_version() != since && metric_.schema_version() > 0) {
      Problem(schema_version_line, absl::StrCat("schema_version is ", metric_.schema_version(),
                                                " but the newest column has since ", since, "; make them equal"));
    }
    if (metric_.scope() == v1::SCOPE_DATABASE && !has_datname) {
      Problem(1, "a metric of scope database needs the text label datname (current_database()::text)");
    }
  }

  void CheckReset(int line) {
    if (metric_.reset_column().empty()) return;
    for (const v1::Column& column : metric_.columns()) {
      if (column.name() != metric_.reset_column()) continue;
      if (column.type() == v1::COLUMN_TYPE_TIMESTAMPTZ && column.kind() == v1::COLUMN_KIND_INFO) return;
      Problem(line, absl::StrCat("reset_column ", column.name(), " must be an info column of type timestamptz"));
      return;
    }
    Problem(line, absl::StrCat("reset_column ", metric_.reset_column(), " is no column of the metric"));
  }

  void CheckIdentity(int line) {
    for (const std::string& name : metric_.identity()) {
      bool fits = false;
      for (const v1::Column& column : metric_.columns()) {
        fits |= column.name() == name && column.since_schema_version() == 1 &&
                (column.kind() == v1::COLUMN_KIND_LABEL || column.kind() == v1::COLUMN_KIND_INFO) &&
                (column.type() == v1::COLUMN_TYPE_INT8 || column.type() == v1::COLUMN_TYPE_TEXT ||
                 column.type() == v1::COLUMN_TYPE_BOOL);
      }
      if (!fits) {
        Problem(line, absl::StrCat("identity names \"", name,
                                   "\", which is no label or info column of type int8, text or bool from version 1"));
      }
    }
  }

  void CheckLocate(int line) {
    if (metric_.locate_by().empty()) return;
    for (const v1::Column& column : metric_.columns()) {
      if (column.name() == metric_.locate_by() && column.kind() == v1::COLUMN_KIND_LABEL &&
          (column.type() == v1::COLUMN_TYPE_INT8 || column.type() == v1::COLUMN_TYPE_TEXT)) {
        return;
      }
    }
    Problem(line,
            absl::StrCat("locate_by names \"", metric_.locate_by(), "\", which is no label of type int8 or text"));
  }

  // Every query must be the first fit for some server.
  void CheckQueriesTogether() {
    std::set<int> chosen;
    const std::set<std::string> extension_versions = [this] {
      std::set<std::string> versions = {""};
      for (const v1::Query& query : metric_.queries()) versions.insert(query.min_extension_version());
      return versions;
    }();
    for (int major = 9; major <= 99; ++major) {
      for (const bool in_recovery : {false, true}) {
        for (const std::string& extension_version : extension_versions) {
          const v1::Query* query = SelectQuery(metric_, major * 10'000, in_recovery, extension_version);
          for (int i = 0; query != nullptr && i < metric_.queries_size(); ++i) {
            if (query == &metric_.queries(i)) chosen.insert(i);
          }
        }
      }
    }
    for (int i = 0; i < metric_.queries_size(); ++i) {
      if (chosen.contains(i)) continue;
      Problem(query_lines_[static_cast<size_t>(i)],
              absl::StrCat("query ", i + 1,
                           ": never chosen, an earlier one fits every server it is for; put the narrower one first"));
    }
    for (int i = 0; i < metric_.queries_size(); ++i) {
      const v1::Query& query = metric_.queries(i);
      const bool wants_extension =
          !query.min_extension_version().empty() || query.sql().find("@extschema@") != std::string::npos;
      if (wants_extension && metric_.extension().empty()) {
        Problem(query_lines_[static_cast<size_t>(i)],
                absl::StrCat("query ", i + 1, ": uses an extension, but the metric has no key extension"));
      }
    }
  }

  const MetricFileOptions& options_;
  v1::Metric metric_;
  std::vector<std::string> problems_;
  std::vector<int> query_lines_;
  std::vector<int> column_lines_;
};

// Skips one quoted text, comment or dollar quote at `at`; returns the position after it, `at` if there is none, npos if
// it does not end.
size_t SkipQuoted(std::string_view sql, size_t at) {
  const auto after = [&](std::string_view end, size_t from) {
    const size_t found = sql.find(end, from);
    return found == std::string_view::npos ? found : found + end.size();
  };
  const std::string_view rest = sql.substr(at);
  if (rest.starts_with("--")) {
    const size_t end = sql.find('\n', at);
    return end == std::string_view::npos ? sql.size() : end + 1;
  }
  if (rest.starts_with("/*")) return after("*/", at + 2);
  if (rest[0] == '\'' || rest[0] == '"') return after(rest.substr(0, 1), at + 1);
  if (rest[0] == '$') {
    size_t tag = 1;
    while (tag < rest.size() && (absl::ascii_isalpha(static_cast<unsigned char>(rest[tag])) || rest[tag] == '_')) ++tag;
    if (tag < rest.size() && rest[tag] == '$') return after(rest.substr(0, tag + 1), at + tag + 1);
  }
  return at;
}

}  // namespace

std::string SqlProblem(std::string_view sql) {
  if (sql.empty() || sql.find_first_not_of(" \t\r\n") == std::string_view::npos) return "is empty";
  if (sql.size() > kMaxSqlBytes) return absl::StrCat("is longer than ", kMaxSqlBytes, " bytes");
  if (sql.find('\0') != std::string_view::npos) return "holds NUL";
  std::string first_word;
  bool in_first_word = true;
  for (size_t at = 0; at < sql.size();) {
    const size_t next = SkipQuoted(sql, at);
    if (next == std::string_view::npos) return "has a quote or comment that does not end";
    if (next != at) {
      if (!first_word.empty()) in_first_word = false;
      at = next;
      continue;
    }
    const char c = sql[at++];
    if (c == ';') return "must be one statement without a semicolon";
    if (c == '$' && at < sql.size() && absl::ascii_isdigit(static_cast<unsigned char>(sql[at]))) {
      return "has a parameter ($1); a metric's statement takes none";
    }
    if (!in_first_word) continue;
    if (absl::ascii_isalpha(static_cast<unsigned char>(c))) {
      first_word.push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
    } else if (!first_word.empty() || !absl::ascii_isspace(static_cast<unsigned char>(c))) {
      in_first_word = false;
    }
  }
  if (first_word != "select" && first_word != "with") return "must begin with SELECT or WITH";
  return "";
}

absl::StatusOr<v1::Metric> ParseMetricFile(std::string_view yaml, const MetricFileOptions& options) {
  try {
    return MetricParser(options).Parse(yaml);
  } catch (const std::exception& error) {
    // yaml-cpp reports by exceptions, some without a place; none leaves this library.
    return absl::InvalidArgumentError(absl::StrCat(options.file_name, ":1: not valid YAML: ", error.what()));
  }
}

}  // namespace pga::catalog
