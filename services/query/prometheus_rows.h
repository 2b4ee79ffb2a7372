// What an entry of the Prometheus names (libs/catalog/prometheus.h) reads of stored rows, and the series that rows
// become: names by row, labels as they are shown, rows that are joined. Scrapes, remote read and the bench take it from
// here. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libs/catalog/prometheus.h"
#include "libs/storage/read/last_values.h"
#include "libs/storage/read/sample_reader.h"

namespace pga::query {

// Columns whose texts a reader has to bring: the labels of its series and behind them those by which joined rows
// differ, or those of a row's own name.
std::vector<int> TextColumnsOf(const catalog::PrometheusMetric& metric);
// Those whose numbers it has to bring; none where a series says that a row is there.
std::vector<int> ValueColumnsOf(const std::vector<const catalog::PrometheusSeries*>& series);

storage::LastWanted WantedOf(const catalog::PrometheusMetric& metric);

struct RowSeries {
  std::string name;
  double value = 0;
};
// The series of a row whose name is its own, by its TextColumnsOf: postgres_exporter's for settings (name with
// underscores, unit _seconds or _bytes; true is 1). nullopt for a row that is no number, and for units that are not
// known.
std::optional<RowSeries> RowSeriesOf(const catalog::PrometheusByRow& by_row, const std::vector<std::string>& texts);

// The text of a label as it is shown.
std::string ShownLabel(const catalog::PrometheusLabel& label, std::string text);

// Two readings of rows that are one series; what is not known (NaN) counts for nothing.
double Joined(catalog::PrometheusJoin how, double one, double other);
// The same of samples, each in order of time: a series that has ended counts until its end.
std::vector<storage::Sample> JoinedSamples(catalog::PrometheusJoin how,
                                           const std::vector<const std::vector<storage::Sample>*>& parts);

}  // namespace pga::query
