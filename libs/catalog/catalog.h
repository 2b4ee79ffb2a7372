// The catalog: every metric the suite knows, read from YAML. The built-in files are compiled into the binary; a user's
// folder may add custom ones. From a metric follow what the collector runs, the frame's shape, the table's DDL, what
// queries may ask and the page in the documentation. A Catalog never changes once made and is thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/catalog/metric.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::catalog {

class Catalog {
 public:
  // The built-in metrics. Parsed at the first call, shared afterwards; an error here is a defect of the build.
  static absl::StatusOr<std::shared_ptr<const Catalog>> Builtin();

  // The built-in metrics and every *.yaml of `folder`, which become custom metrics. INVALID_ARGUMENT names each file,
  // line and what to change; NOT_FOUND if the folder cannot be read. Reads files, so it blocks.
  static absl::StatusOr<std::shared_ptr<const Catalog>> WithCustom(const std::string& folder);

  // From metrics that were validated before, for example those registry hands out. INVALID_ARGUMENT for a name that is
  // there twice.
  static absl::StatusOr<std::shared_ptr<const Catalog>> FromMetrics(
      std::vector<pganalytics::catalog::v1::Metric> metrics);

  // The metric, or nullptr. The pointer lives as long as the catalog.
  const pganalytics::catalog::v1::Metric* Find(std::string_view name) const;
  // All metrics, ordered by name.
  const google::protobuf::RepeatedPtrField<pganalytics::catalog::v1::Metric>& metrics() const {
    return proto_.metrics();
  }
  // 32 hexadecimal digits; the same for the same metrics, whatever their files' order.
  const std::string& version() const { return proto_.version(); }
  const pganalytics::catalog::v1::Catalog& proto() const { return proto_; }

 private:
  Catalog() = default;

  pganalytics::catalog::v1::Catalog proto_;
  absl::flat_hash_map<std::string, int> index_;
};

// The catalog in force where a custom folder may change while the program runs. Thread-safe.
class CustomFolder {
 public:
  // `folder` may be empty: then the catalog is the built-in one for ever. Starts with the built-in catalog if the
  // folder is bad; the reason is in last_error().
  explicit CustomFolder(std::string folder);

  // Reads the folder again. If any file is bad the set in force stays and the status says why. Blocks on files.
  absl::Status Reload();

  std::shared_ptr<const Catalog> current() const;
  absl::Status last_error() const;

 private:
  const std::string folder_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Catalog> current_;
  absl::Status last_error_;
};

// Whether `newer` only adds to `older`: same name, scope and kind of place; hours stored of both or of neither; the
// older columns unchanged and in front; schema_version grown if columns were added. INVALID_ARGUMENT says what may not
// change.
absl::Status CheckEvolution(const pganalytics::catalog::v1::Metric& older,
                            const pganalytics::catalog::v1::Metric& newer);

}  // namespace pga::catalog
