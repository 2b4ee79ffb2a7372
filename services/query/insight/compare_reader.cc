#include "services/query/insight/compare_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "services/query/insight/compare_evidence.h"
#include "services/query/insight/fingerprint.h"

namespace pga::query {
namespace {

using storage::Figure;

// Statements of each window that are looked at.
constexpr int kMostStatements = 1000;
// Buckets that are read of a window, and that the variation is taken over.
constexpr int kMostBuckets = 60;
constexpr size_t kTestedBuckets = 24;
constexpr absl::Duration kShortest = absl::Minutes(3);
constexpr absl::Duration kLongest = absl::Hours(24 * 31);
// Below it a statement that is missing in a window is not known to be new or gone.
constexpr double kEnoughCovered = 0.5;

absl::Time Down(absl::Time time, absl::Duration step) {
  return absl::UnixEpoch() + absl::Floor(time - absl::UnixEpoch(), step);
}
absl::Time Up(absl::Time time, absl::Duration step) {
  return absl::UnixEpoch() + absl::Ceil(time - absl::UnixEpoch(), step);
}

WindowSums& operator+=(WindowSums& sums, const storage::StatementFigures& figures) {
  sums.calls += figures.Of(Figure::kCalls);
  sums.time_ms += figures.Of(Figure::kTotalTime) / 1000;
  sums.rows += figures.Of(Figure::kRows);
  sums.blocks_hit += figures.Of(Figure::kSharedBlksHit);
  sums.blocks_read += figures.Of(Figure::kSharedBlksRead);
  sums.temp_blocks += figures.Of(Figure::kTempBlksRead) + figures.Of(Figure::kTempBlksWritten);
  sums.wal_bytes += figures.Of(Figure::kWalBytes);
  sums.io_ms += figures.Of(Figure::kIoTime) / 1000;
  return sums;
}

// A statement's part in one window, a bucket each.
struct Side {
  std::vector<double> time_ms;
  std::vector<double> calls;
  std::vector<double> covered_s;
  WindowSums sums;
};

struct Group {
  std::map<int64_t, double> time_by_id;
  std::map<int32_t, storage::SourceRef> sources;
  std::set<std::string> databases;
  std::string fingerprint;
  std::string text;
  bool truncated = false;
  std::array<Side, 2> sides;
  bool lower_bound = false;
};

// Joins neighbours, so that there are about kTestedBuckets.
std::vector<RatioBucket> Joined(const std::vector<double>& sums, const std::vector<double>& divisors) {
  const size_t width = (sums.size() + kTestedBuckets - 1) / kTestedBuckets;
  std::vector<RatioBucket> buckets;
  for (size_t i = 0; i < sums.size(); ++i) {
    if (i % width == 0) buckets.emplace_back();
    buckets.back().sum += sums[i];
    buckets.back().divisor += divisors[i];
  }
  return buckets;
}

size_t WidthOf(size_t buckets) {
  return (buckets + kTestedBuckets - 1) / kTestedBuckets;
}

double PerSecond(const WindowSums& sums) {
  return sums.covered_s > 0 ? sums.time_ms / sums.covered_s : 0;
}

// Milliseconds in a second that the change adds or saves.
double Weight(const ComparedStatement& statement) {
  double weight = std::abs(PerSecond(statement.after) - PerSecond(statement.before));
  if (statement.mean.changed() && statement.after.covered_s > 0) {
    weight =
        std::max(weight, std::abs(statement.mean.difference()) * statement.after.calls / statement.after.covered_s);
  }
  return weight;
}

}  // namespace

absl::StatusOr<Buckets> BucketsOf(const Window& window) {
  if (window.to - window.from < kShortest) {
    return absl::InvalidArgumentError("a window is shorter than three minutes; compare longer ones");
  }
  if (window.to - window.from > kLongest) {
    return absl::InvalidArgumentError("a window is longer than 31 days; compare shorter ones");
  }
  absl::Duration step = absl::Minutes(1);
  for (const int minutes : {1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 240, 360, 720, 1440}) {
    step = absl::Minutes(minutes);
    if ((window.to - window.from) / kMostBuckets <= step) break;
  }
  const Buckets buckets{{Up(window.from, step), Down(window.to, step)}, step};
  if (buckets.window.to - buckets.window.from < 2 * step) {
    return absl::InvalidArgumentError("a window has less than two whole minutes; compare longer ones");
  }
  return buckets;
}

absl::StatusOr<Comparison> Comparer::Compare(const ComparisonQuery& query, const pg::CallLimit& limit) const {
  std::array<Buckets, 2> asked;
  PGA_ASSIGN_OR_RETURN(asked[0], BucketsOf(query.before));
  PGA_ASSIGN_OR_RETURN(asked[1], BucketsOf(query.after));
  if (asked[1].window.from < asked[0].window.to) {
    return absl::InvalidArgumentError("the windows overlap, or the one before is the later one");
  }
  Comparison comparison;
  std::set<int64_t> ids;
  for (const int side : {0, 1}) {
    const Window& window = asked[side].window;
    storage::TopStatementsQuery top;
    top.sources = query.sources;
    top.start = window.from;
    top.end = window.to;
    top.limit = kMostStatements;
    top.database = query.database;
    top.with_texts = false;
    PGA_ASSIGN_OR_RETURN(const storage::TopStatements found, readers_.statements->Top(top, limit));
    for (const storage::TopStatement& statement : found.statements) ids.insert(statement.query_id);
    ReadWindow& read = side == 0 ? comparison.before : comparison.after;
    read.window = window;
    read.step = asked[side].step;
    read.total_ms = found.total.value_or(0) / 1000;
    PGA_ASSIGN_OR_RETURN(read.completeness,
                         readers_.freshness->Completeness("statements", query.sources, window.from, window.to, limit));
  }
  if (query.query_id) ids.insert(*query.query_id);

  std::array<storage::StatementWindow, 2> windows;
  std::set<std::pair<int32_t, int64_t>> keys;
  for (const int side : {0, 1}) {
    storage::StatementBucketsQuery wanted;
    wanted.sources = query.sources;
    wanted.range = {asked[side].window.from, asked[side].window.to, absl::ToInt64Seconds(asked[side].step), ""};
    wanted.query_ids = ids;
    wanted.database = query.database;
    PGA_ASSIGN_OR_RETURN(windows[side], readers_.statements->Buckets(wanted, limit));
    for (const storage::StatementBuckets& statement : windows[side].statements) {
      keys.insert({statement.source.id, statement.query_id});
    }
  }
  PGA_ASSIGN_OR_RETURN(const auto texts,
                       readers_.statements->Texts({keys.begin(), keys.end()}, kMostFingerprintCharacters, limit));

  // The same text has one fingerprint.
  std::map<std::string_view, std::string> fingerprints;
  std::map<std::tuple<int32_t, std::string, std::string>, Group> groups;
  for (const int side : {0, 1}) {
    const size_t buckets = windows[side].edges.empty() ? 0 : windows[side].edges.size() - 1;
    for (const storage::StatementBuckets& statement : windows[side].statements) {
      std::string fingerprint;
      const auto text = texts.find({statement.source.id, statement.query_id});
      if (text != texts.end() && !text->second.truncated) {
        const auto [known, added] = fingerprints.try_emplace(text->second.text);
        if (added) known->second = FingerprintOf(text->second.text);
        fingerprint = known->second;
      }
      const bool apart = !query.across || fingerprint.empty();
      Group& group = groups[{apart ? statement.source.id : 0, apart ? statement.database : "",
                             fingerprint.empty() ? absl::StrCat("#", statement.query_id) : fingerprint}];
      group.fingerprint = fingerprint;
      group.sources[statement.source.id] = statement.source;
      group.databases.insert(statement.database);
      if (text != texts.end() && group.text.empty()) {
        group.text = text->second.text;
        group.truncated = text->second.truncated;
      }
      group.lower_bound |= statement.lower_bound;
      Side& of = group.sides[side];
      of.time_ms.resize(buckets);
      of.calls.resize(buckets);
      for (size_t i = 0; i < buckets && i < statement.buckets.size(); ++i) {
        if (!statement.buckets[i]) continue;
        const storage::StatementFigures& figures = *statement.buckets[i];
        of.time_ms[i] += figures.Of(Figure::kTotalTime) / 1000;
        of.calls[i] += figures.Of(Figure::kCalls);
        of.sums += figures;
        group.time_by_id[statement.query_id] += figures.Of(Figure::kTotalTime);
      }
    }
  }

  std::vector<std::pair<ComparedStatement, Suspect>> compared;
  for (auto& [key, group] : groups) {
    if (query.query_id && !group.time_by_id.contains(*query.query_id)) continue;
    std::array<double, 2> shares = {};
    for (const int side : {0, 1}) {
      Side& of = group.sides[side];
      const size_t buckets = windows[side].edges.empty() ? 0 : windows[side].edges.size() - 1;
      of.time_ms.resize(buckets);
      of.calls.resize(buckets);
      of.covered_s.resize(buckets);
      for (const auto& [id, source] : group.sources) {
        const auto covered = windows[side].covered_ms.find(id);
        if (covered == windows[side].covered_ms.end()) continue;
        for (size_t i = 0; i < buckets; ++i) of.covered_s[i] += covered->second[i] / 1000;
      }
      for (const double seconds : of.covered_s) of.sums.covered_s += seconds;
      const double whole = absl::ToDoubleSeconds(asked[side].window.to - asked[side].window.from) *
                           static_cast<double>(group.sources.size());
      shares[side] = whole > 0 ? of.sums.covered_s / whole : 0;
    }
    const Side& before = group.sides[0];
    const Side& after = group.sides[1];
    ComparedStatement statement;
    statement.fingerprint = group.fingerprint;
    if (group.sources.size() == 1) statement.source = group.sources.begin()->second;
    if (group.databases.size() == 1) statement.database = *group.databases.begin();
    double most = -1;
    for (const auto& [id, time] : group.time_by_id) {
      statement.query_ids.push_back(id);
      if (time <= most) continue;
      most = time;
      statement.query_id = id;
    }
    if (query.with_texts) {
      statement.text = storage::CutText::Of(group.text, query.text_length);
      statement.text.truncated |= group.truncated;
    }
    statement.before = before.sums;
    statement.after = after.sums;
    statement.lower_bound = group.lower_bound;
    statement.mean =
        CompareRatios(Joined(before.time_ms, before.calls), Joined(after.time_ms, after.calls), MeanTimeRules());
    statement.load =
        CompareRatios(Joined(before.time_ms, before.covered_s), Joined(after.time_ms, after.covered_s), LoadRules());
    if (before.sums.calls <= 0 || after.sums.calls <= 0) {
      const bool appeared = before.sums.calls <= 0;
      if (before.sums.calls <= 0 && after.sums.calls <= 0) continue;
      if (shares[appeared ? 0 : 1] < kEnoughCovered) continue;
      statement.status = appeared ? ChangeStatus::kNew : ChangeStatus::kGone;
    } else if (statement.mean.changed()) {
      statement.status = statement.mean.difference() < 0 ? ChangeStatus::kImproved : ChangeStatus::kDegraded;
    }
    const RatioChange& change = statement.mean.changed() ? statement.mean : statement.load;
    if (change.changed() && change.began) {
      const size_t width_before = WidthOf(before.calls.size());
      const size_t joined_before = (before.calls.size() + width_before - 1) / std::max<size_t>(width_before, 1);
      const bool in_before = *change.began < joined_before;
      const size_t bucket =
          in_before ? *change.began * width_before : (*change.began - joined_before) * WidthOf(after.calls.size());
      statement.since = windows[in_before ? 0 : 1].edges[bucket];
    }
    switch (statement.status) {
      case ChangeStatus::kImproved:
        ++comparison.improved;
        break;
      case ChangeStatus::kDegraded:
        ++comparison.degraded;
        break;
      case ChangeStatus::kUnchanged:
        ++comparison.unchanged;
        break;
      case ChangeStatus::kNew:
        ++comparison.appeared;
        break;
      case ChangeStatus::kGone:
        ++comparison.gone;
        break;
    }
    Suspect suspect;
    for (const auto& [id, source] : group.sources) suspect.sources.insert(id);
    suspect.query_ids = {statement.query_ids.begin(), statement.query_ids.end()};
    suspect.databases = group.databases;
    if (statement.mean.changed() && !group.truncated) suspect.parts = PartsOf(group.text);
    compared.emplace_back(std::move(statement), std::move(suspect));
  }
  std::stable_sort(compared.begin(), compared.end(), [](const auto& a, const auto& b) {
    return std::tuple(!a.first.changed(), -Weight(a.first)) < std::tuple(!b.first.changed(), -Weight(b.first));
  });
  if (compared.size() > static_cast<size_t>(query.limit)) compared.resize(static_cast<size_t>(query.limit));

  std::vector<Suspect> suspects;
  for (const auto& [statement, suspect] : compared) {
    if (statement.mean.changed()) suspects.push_back(suspect);
  }
  std::optional<EvidenceBook> book;
  if (!suspects.empty()) {
    PGA_ASSIGN_OR_RETURN(book, EvidenceBook::Read(readers_, query.sources, suspects, comparison.before.window,
                                                  comparison.after.window, comparison.before.step, limit));
    comparison.evidence = book->read();
  }
  for (auto& [statement, suspect] : compared) {
    const bool both = statement.before.calls > 0 && statement.after.calls > 0;
    if (both && statement.mean.changed()) {
      ChangeFacts facts;
      facts.before = statement.before;
      facts.after = statement.after;
      book->Fill(suspect, statement.mean.difference() > 0, &facts);
      statement.causes = CausesOf(facts);
    } else if (both && statement.load.changed()) {
      statement.causes = {CallsCause(statement.before, statement.after)};
    }
    comparison.statements.push_back(std::move(statement));
  }
  return comparison;
}

}  // namespace pga::query
