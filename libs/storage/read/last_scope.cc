#include "libs/storage/read/last_scope.h"

#include <bit>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

#include "libs/catalog/metric.h"
#include "libs/columns/kernels.h"
#include "libs/storage/read/load.h"
#include "libs/storage/read/names.h"

namespace pga::storage {
namespace {

using catalog::HasCounters;
using columns::ColumnId;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

void PutFixed(uint64_t value, std::string* out) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out->append(bytes, sizeof bytes);
}

}  // namespace

bool StandsAlone(const catalog_pb::Metric& metric) {
  return !HasCounters(metric) && !metric.skip_unchanged();
}

LastScopeBuilder::LastScopeBuilder(const LastWanted& wanted, size_t max_rows, const LastScope* before, bool anew)
    : wanted_(wanted), max_rows_(max_rows), identity_(catalog::IdentityColumns(*wanted.metric)) {
  if (before != nullptr && !anew) state_ = *before;
  if (before != nullptr && anew) {
    state_.length_us = before->length_us;
    state_.length_before_us = before->length_before_us;
  }
  // Without counters there is nothing to be anchored.
  state_.anchored = state_.anchored || !HasCounters(*wanted.metric);
  for (int i = 0; i < wanted.metric->columns_size(); ++i) {
    if (wanted.metric->columns(i).kind() == catalog_pb::COLUMN_KIND_LABEL) label_columns_.push_back(i);
  }
  identity_is_labels_ = identity_ == label_columns_;
  // Where not all labels are known, two rows may bear the same ones.
  names_pass_on_ = !identity_is_labels_ && std::all_of(label_columns_.begin(), label_columns_.end(), [&](int column) {
    return std::find(wanted.labels.begin(), wanted.labels.end(), column) != wanted.labels.end();
  });
  for (const int value : wanted.values) {
    counter_.push_back(wanted.metric->columns(value).kind() == catalog_pb::COLUMN_KIND_COUNTER ? 1 : 0);
  }
}

std::vector<std::string> LastScopeBuilder::LabelsOf(const columns::RowSet& rows, size_t row) const {
  std::vector<std::string> texts;
  texts.reserve(wanted_.labels.size());
  for (const int label : wanted_.labels) {
    const CellOfRow cell = CellOf(rows, static_cast<ColumnId>(label + 1), row);
    texts.push_back(cell.known()
                        ? TextOf(columns::ValueOf(cell.column, cell.row), wanted_.metric->columns(label).type())
                        : std::string());
  }
  return texts;
}

std::string LastScopeBuilder::KeyOf(const columns::RowSet& rows, size_t row) const {
  std::string key;
  for (const int column : identity_) {
    const CellOfRow cell = CellOf(rows, static_cast<ColumnId>(column + 1), row);
    if (!cell.known()) {
      key.push_back('\0');
    } else if (cell.column->type == columns::Type::kText) {
      key.push_back('\2');
      key.append(cell.column->Text(cell.row));
      key.push_back('\0');
    } else {
      key.push_back('\1');
      PutFixed(cell.column->type == columns::Type::kDouble ? std::bit_cast<uint64_t>(cell.column->doubles[cell.row])
                                                           : static_cast<uint64_t>(cell.column->ints[cell.row]),
               &key);
    }
  }
  return key;
}

void LastScopeBuilder::ApplyRow(const columns::RowSet& rows, size_t row, bool absolute) {
  std::string key = KeyOf(rows, row);
  auto place = state_.rows.find(key);
  const bool made = place == state_.rows.end();
  if (made) {
    if (state_.rows.size() >= max_rows_) {
      state_.beyond.insert(std::hash<std::string>()(key));
      return;
    }
    place = state_.rows.emplace(std::move(key), LastRow()).first;
    // What began after a key frame began at 0.
    place->second.values.assign(wanted_.values.size(), state_.anchored ? 0 : kUnknown);
  }
  LastRow& to = place->second;
  std::vector<std::string> labels = LabelsOf(rows, row);
  if (!absolute && names_pass_on_ && labels != to.labels) {
    // A name that passed on: whoever bore it before is not there any more.
    std::erase_if(state_.rows,
                  [&](const auto& entry) { return &entry.second != &to && entry.second.labels == labels; });
  }
  to.labels = std::move(labels);
  // Which of the counters began anew is not said; of a row that is new all did.
  const bool anew = !absolute && !made && (rows.FlagsOf(row) & columns::kLowerBoundFlag) != 0;
  for (size_t i = 0; i < wanted_.values.size(); ++i) {
    const CellOfRow cell = CellOf(rows, static_cast<ColumnId>(wanted_.values[i] + 1), row);
    double& value = to.values[i];
    if (counter_[i] == 0 || absolute) {
      value = cell.known() ? cell.column->Number(cell.row) : kUnknown;
    } else if (anew) {
      value = kUnknown;
      state_.uncertain = true;
    } else if (cell.known()) {
      value += cell.column->Number(cell.row);
    } else if (made) {
      value = kUnknown;
    }
  }
}

// A row that is gone has labels alone. Whoever bears them now is the one that is gone.
void LastScopeBuilder::Drop(const columns::RowSet& rows, size_t row) {
  if (identity_is_labels_) {
    state_.rows.erase(KeyOf(rows, row));
    return;
  }
  std::vector<size_t> compared;
  for (size_t i = 0; i < wanted_.labels.size(); ++i) {
    if (wanted_.metric->columns(wanted_.labels[i]).kind() == catalog_pb::COLUMN_KIND_LABEL) compared.push_back(i);
  }
  const std::vector<std::string> gone = LabelsOf(rows, row);
  std::erase_if(state_.rows, [&](const auto& entry) {
    return std::all_of(compared.begin(), compared.end(), [&](size_t i) { return entry.second.labels[i] == gone[i]; });
  });
}

void LastScopeBuilder::Apply(const ReadingOrder& order, const ReadingOrder::Reading& reading) {
  const bool counters = HasCounters(*wanted_.metric);
  if (reading.keyframe) {
    state_.rows.clear();
    state_.beyond.clear();
    state_.anchored = true;
    state_.uncertain = false;
  } else {
    if (reading.end_us > reading.start_us) {
      state_.length_before_us = state_.length_us;
      state_.length_us = reading.end_us - reading.start_us;
    }
    if (StandsAlone(*wanted_.metric)) {
      state_.rows.clear();
      state_.beyond.clear();
    }
  }
  state_.newest_us = reading.end_us;
  std::set<std::string> there;
  // Where every row is sent, one that is missing is gone.
  const bool all_sent = counters && !reading.keyframe && !wanted_.metric->skip_unchanged();
  for (size_t at = reading.first; at < reading.last; ++at) {
    const ReadingOrder::Place& place = order.places()[at];
    const columns::RowSet& rows = order.rows(place);
    if (place.gone) {
      Drop(rows, place.row);
      continue;
    }
    if (all_sent) there.insert(KeyOf(rows, place.row));
    ApplyRow(rows, place.row, reading.keyframe);
  }
  if (all_sent) std::erase_if(state_.rows, [&](const auto& entry) { return !there.contains(entry.first); });
}

std::shared_ptr<const LastScope> LastScopeBuilder::Copy() const {
  return std::make_shared<const LastScope>(state_);
}

std::shared_ptr<const LastScope> LastScopeBuilder::Finish() && {
  return std::make_shared<const LastScope>(std::move(state_));
}

}  // namespace pga::storage
