// Prometheus' remote read: from a request's bytes to questions about stored series, and from series to the answer's
// bytes. Pure.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/catalog/prometheus.h"
#include "libs/storage/read/sample_reader.h"
#include "libs/storage/read/source_reader.h"
#include "prometheus/remote_read.pb.h"

namespace pga::query {

// INVALID_ARGUMENT for bytes that are no snappy, unpack to more than a megabyte, or are no request.
absl::StatusOr<prometheus::ReadRequest> ParseReadRequest(std::string_view body);

// One matcher of a selector.
class Matcher {
 public:
  // INVALID_ARGUMENT for an expression that RE2 does not take.
  static absl::StatusOr<Matcher> Make(const prometheus::LabelMatcher& matcher);
  // A label that is not there has the empty value.
  bool Matches(std::string_view value) const;
  const std::string& label() const { return label_; }
  // The one value that matches, where it is one alone.
  const std::string* OnlyValue() const;
  // False where no value that begins so matches.
  bool MayMatchBeginning(const std::string& beginning) const;

 private:
  struct Pattern;
  prometheus::LabelMatcher::Type type_ = prometheus::LabelMatcher::EQUAL;
  std::string label_, value_;
  std::shared_ptr<const Pattern> pattern_;
};

// What a query asks of one metric.
struct MetricQuestion {
  const catalog::PrometheusMetric* metric = nullptr;
  // Of its series; none = pg_up, and where rows have names of their own.
  std::vector<const catalog::PrometheusSeries*> series;
  // Whether the server is up.
  bool up = false;
  storage::SampleQuery query;
};

// The questions that answer a query. INVALID_ARGUMENT when it names no metric, or more than may be read at once.
absl::StatusOr<std::vector<MetricQuestion>> QuestionsOf(const prometheus::Query& query,
                                                        const catalog::PrometheusNames& names,
                                                        const std::vector<storage::SourceRef>& sources);

// Adds the series found for a question to a query's answer.
void AddSeries(const MetricQuestion& question, const std::vector<storage::SourceRef>& sources,
               std::vector<storage::SampleSeries> found, prometheus::QueryResult* result);

// The answer's bytes: snappy of the message.
std::string PackReadResponse(const prometheus::ReadResponse& response);

}  // namespace pga::query
