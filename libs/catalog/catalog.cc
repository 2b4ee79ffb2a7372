#include "libs/catalog/catalog.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "libs/catalog/builtin_metrics.h"
#include "libs/catalog/metric_file.h"

namespace pga::catalog {
namespace v1 = pganalytics::catalog::v1;

namespace {

constexpr size_t kMaxCustomFiles = 500;
constexpr size_t kVersionBytes = 16;

std::string VersionOf(const v1::Catalog& catalog) {
  // Messages without maps serialise alike in every process.
  const std::string bytes = catalog.SerializeAsString();
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1) std::abort();
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), kVersionBytes));
}

absl::StatusOr<std::vector<v1::Metric>> ParseBuiltin() {
  std::vector<v1::Metric> metrics;
  std::vector<std::string> problems;
  for (const BuiltinFile& file : BuiltinFiles()) {
    auto metric = ParseMetricFile(file.yaml, {.file_name = std::string(file.name), .custom = false});
    if (metric.ok()) {
      metrics.push_back(*std::move(metric));
    } else {
      problems.emplace_back(metric.status().message());
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
  return metrics;
}

absl::StatusOr<std::vector<std::filesystem::path>> CustomFiles(const std::string& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> files;
  std::filesystem::directory_iterator entry(folder, error);
  if (error) return absl::NotFoundError(absl::StrCat("custom metrics: cannot read ", folder, ": ", error.message()));
  for (const std::filesystem::directory_iterator end; entry != end && !error; entry.increment(error)) {
    // Editors' and ConfigMaps' hidden files are not metrics.
    if (entry->path().extension() == ".yaml" && !entry->path().filename().string().starts_with('.')) {
      files.push_back(entry->path());
    }
  }
  if (error) return absl::NotFoundError(absl::StrCat("custom metrics: cannot read ", folder, ": ", error.message()));
  if (files.size() > kMaxCustomFiles) {
    return absl::InvalidArgumentError(
        absl::StrCat("custom metrics: ", folder, " holds ", files.size(), " files; at most ", kMaxCustomFiles));
  }
  std::sort(files.begin(), files.end());
  return files;
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (!in && !in.eof())) return absl::NotFoundError(absl::StrCat(path.string(), ":1: cannot be read"));
  text.resize(static_cast<size_t>(in.gcount()));  // one byte over the limit is enough to be refused
  return text;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Catalog>> Catalog::FromMetrics(std::vector<v1::Metric> metrics) {
  std::sort(metrics.begin(), metrics.end(),
            [](const v1::Metric& a, const v1::Metric& b) { return a.name() < b.name(); });
  auto catalog = std::shared_ptr<Catalog>(new Catalog());
  for (v1::Metric& metric : metrics) {
    const int index = catalog->proto_.metrics_size();
    if (!catalog->index_.emplace(metric.name(), index).second) {
      return absl::InvalidArgumentError(absl::StrCat("metric ", metric.name(), " is there twice; rename one"));
    }
    *catalog->proto_.add_metrics() = std::move(metric);
  }
  catalog->proto_.set_version(VersionOf(catalog->proto_));
  return std::shared_ptr<const Catalog>(std::move(catalog));
}

absl::StatusOr<std::shared_ptr<const Catalog>> Catalog::Builtin() {
  static const auto* const builtin =
      new absl::StatusOr<std::shared_ptr<const Catalog>>([]() -> absl::StatusOr<std::shared_ptr<const Catalog>> {
        auto metrics = ParseBuiltin();
        if (!metrics.ok()) return metrics.status();
        return FromMetrics(*std::move(metrics));
      }());
  return *builtin;
}

absl::StatusOr<std::shared_ptr<const Catalog>> Catalog::WithCustom(const std::string& folder) {
  const auto builtin = Builtin();
  if (!builtin.ok()) return builtin.status();
  const auto files = CustomFiles(folder);
  if (!files.ok()) return files.status();
  std::vector<v1::Metric> metrics((*builtin)->metrics().begin(), (*builtin)->metrics().end());
  std::vector<std::string> problems;
  for (const std::filesystem::path& path : *files) {
    const auto text = ReadFile(path);
    if (!text.ok()) {
      problems.emplace_back(text.status().message());
      continue;
    }
    auto metric = ParseMetricFile(*text, {.file_name = path.string(), .custom = true});
    if (!metric.ok()) {
      problems.emplace_back(metric.status().message());
    } else if ((*builtin)->Find(metric->name()) != nullptr) {
      problems.push_back(absl::StrCat(path.string(), ":1: ", metric->name(), " is a built-in metric; rename yours"));
    } else {
      metrics.push_back(*std::move(metric));
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
  return FromMetrics(std::move(metrics));
}

const v1::Metric* Catalog::Find(std::string_view name) const {
  const auto found = index_.find(absl::string_view(name.data(), name.size()));
  return found == index_.end() ? nullptr : &proto_.metrics(found->second);
}

CustomFolder::CustomFolder(std::string folder) : folder_(std::move(folder)) {
  if (const auto builtin = Catalog::Builtin(); builtin.ok()) {
    current_ = *builtin;
  } else {
    last_error_ = builtin.status();
    current_ = *Catalog::FromMetrics({});
  }
  if (!folder_.empty()) (void)Reload();
}

absl::Status CustomFolder::Reload() {
  if (folder_.empty()) return absl::OkStatus();
  auto catalog = Catalog::WithCustom(folder_);
  const std::lock_guard lock(mutex_);
  last_error_ = catalog.status();
  // A set that changes what stored columns mean is refused like any other mistake.
  for (int i = 0; catalog.ok() && last_error_.ok() && i < (*catalog)->metrics().size(); ++i) {
    const v1::Metric& newer = (*catalog)->metrics()[i];
    if (const v1::Metric* older = current_->Find(newer.name()); older != nullptr) {
      last_error_ = CheckEvolution(*older, newer);
    }
  }
  if (last_error_.ok()) current_ = *std::move(catalog);
  return last_error_;
}

std::shared_ptr<const Catalog> CustomFolder::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

absl::Status CustomFolder::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

absl::Status CheckEvolution(const v1::Metric& older, const v1::Metric& newer) {
  const auto refuse = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("metric ", newer.name(), ": ", what, "; make a new metric"));
  };
  if (older.name() != newer.name() || older.custom() != newer.custom()) return refuse("the name cannot change");
  if (older.scope() != newer.scope()) return refuse("the scope cannot change");
  if (!std::equal(older.identity().begin(), older.identity().end(), newer.identity().begin(), newer.identity().end())) {
    return refuse("the identity cannot change");
  }
  if (older.locate_by() != newer.locate_by()) return refuse("locate_by cannot change");
  if (HasHours(older) != HasHours(newer)) {
    return refuse(absl::StrCat("interval_factor cannot change from ", older.interval_factor(), " to ",
                               newer.interval_factor(), ", since from 30 on no hours are stored"));
  }
  if (newer.schema_version() < older.schema_version()) {
    return absl::InvalidArgumentError(absl::StrCat("metric ", newer.name(), ": schema_version went back from ",
                                                   older.schema_version(), " to ", newer.schema_version()));
  }
  if (newer.columns_size() < older.columns_size()) return refuse("a column cannot be taken out");
  for (int i = 0; i < older.columns_size(); ++i) {
    const v1::Column& before = older.columns(i);
    const v1::Column& after = newer.columns(i);
    if (before.name() != after.name()) {
      return refuse(absl::StrCat("column ", i + 1, " was ", before.name(), " and is ", after.name()));
    }
    if (before.type() != after.type() || before.kind() != after.kind() || before.unit() != after.unit() ||
        before.since_schema_version() != after.since_schema_version()) {
      return refuse(absl::StrCat("type, kind, unit and since of column ", before.name(), " cannot change"));
    }
  }
  for (int i = older.columns_size(); i < newer.columns_size(); ++i) {
    if (newer.columns(i).since_schema_version() <= older.schema_version()) {
      return absl::InvalidArgumentError(absl::StrCat("metric ", newer.name(), ": new column ", newer.columns(i).name(),
                                                     " needs since: ", older.schema_version() + 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace pga::catalog
