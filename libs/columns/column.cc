#include "libs/columns/column.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "libs/columns/int_codec.h"

namespace pga::columns {
namespace {

enum Kind : uint8_t {
  kAllNull = 0,
  kInts = 1,
  kBools = 2,
  kDecimals = 3,
  kDoubles = 4,
  kTexts = 5,
  kRepeated = 6,
  kNearTexts = 7
};
constexpr uint8_t kKindBits = 0x0f;
constexpr uint8_t kHasNulls = 0x80;

// The last is that of averages over a minute's samples.
constexpr double kDivisors[] = {1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 60};
constexpr int kMaxScale = 10;
// Different integers that are looked for, and bytes below which it is not worth it.
constexpr size_t kMostRepeated = 2000;
constexpr size_t kSmallInts = 16;
// So that texts take no more memory than their bytes and this for each.
constexpr size_t kMaxShared = 255;
// Beyond it not every integer is a double.
constexpr double kExactIntegers = 9007199254740992.0;

absl::Status Wrong(const char* what) {
  return absl::InvalidArgumentError(what);
}

// The least scale at which every value is an integer that gives the value back; -1 when there is none.
int ScaleOf(const std::vector<double>& values, std::vector<int64_t>* scaled) {
  for (int scale = 0; scale <= kMaxScale; ++scale) {
    const double divisor = kDivisors[scale];
    bool fits = true;
    for (size_t i = 0; i < values.size() && fits; ++i) {
      const double times = std::nearbyint(values[i] * divisor);
      fits = std::abs(times) <= kExactIntegers &&
             std::bit_cast<uint64_t>(static_cast<double>(static_cast<int64_t>(times)) / divisor) ==
                 std::bit_cast<uint64_t>(values[i]);
      if (fits) (*scaled)[i] = static_cast<int64_t>(times);
    }
    if (fits) return scale;
  }
  return -1;
}

// Returns the kind.
Kind EncodeTexts(const Column& column, std::vector<int64_t> indexes, std::string* out) {
  // In order of the first row, so that indexes of texts that do not repeat are steps of 1.
  std::vector<int64_t> renumbered(column.texts.size(), -1);
  std::vector<size_t> used;
  std::vector<int64_t> lengths;
  for (size_t row = 0; row < indexes.size(); ++row) {
    if (column.IsNull(row)) continue;
    const auto text = static_cast<size_t>(indexes[row]);
    if (renumbered[text] >= 0) continue;
    renumbered[text] = static_cast<int64_t>(used.size());
    used.push_back(text);
    lengths.push_back(static_cast<int64_t>(column.texts[text].size()));
  }
  std::string plain, near;
  EncodeInts(lengths.data(), lengths.size(), &plain);
  for (const size_t text : used) plain.append(column.texts[text]);
  std::vector<int64_t> shared;
  std::string_view before;
  for (size_t i = 0; i < used.size(); ++i) {
    const std::string_view text = column.texts[used[i]];
    const size_t most = std::min({text.size(), before.size(), kMaxShared});
    const auto common = std::mismatch(text.begin(), text.begin() + static_cast<ptrdiff_t>(most), before.begin()).first;
    shared.push_back(common - text.begin());
    lengths[i] -= shared.back();
    before = text;
  }
  EncodeInts(shared.data(), shared.size(), &near);
  EncodeInts(lengths.data(), lengths.size(), &near);
  for (size_t i = 0; i < used.size(); ++i) near.append(column.texts[used[i]], static_cast<size_t>(shared[i]));
  const bool near_is_smaller = near.size() < plain.size();
  AppendVarint(used.size(), out);
  *out += near_is_smaller ? near : plain;
  // A NULL repeats the row before it, so that runs stay runs.
  int64_t last = 0;
  for (size_t row = 0; row < indexes.size(); ++row) {
    if (!column.IsNull(row)) last = renumbered[static_cast<size_t>(indexes[row])];
    indexes[row] = last;
  }
  EncodeInts(indexes.data(), indexes.size(), out);
  return near_is_smaller ? kNearTexts : kTexts;
}

absl::Status DecodeTexts(std::string_view* in, size_t rows, bool near, Column* column) {
  uint64_t count = 0;
  if (!ReadVarint(in, &count)) return Wrong("the number of texts is cut off");
  if (count > rows) return Wrong("more texts than rows");
  std::vector<int64_t> lengths(static_cast<size_t>(count)), shared(near ? lengths.size() : 0);
  if (!DecodeInts(in, shared.size(), shared.data())) return Wrong("what texts share is malformed");
  if (!DecodeInts(in, lengths.size(), lengths.data())) return Wrong("the lengths of texts are malformed");
  uint64_t total = 0;
  for (const int64_t length : lengths) {
    if (length < 0 || static_cast<uint64_t>(length) > in->size()) return Wrong("a text is longer than its chunk");
    total += static_cast<uint64_t>(length);
    if (total > in->size()) return Wrong("the texts are longer than their chunk");
  }
  column->texts.reserve(lengths.size());
  for (size_t i = 0; i < lengths.size(); ++i) {
    const auto length = static_cast<size_t>(lengths[i]);
    std::string text;
    if (near) {
      const auto common = static_cast<uint64_t>(shared[i]);
      if (common > kMaxShared || common > (i == 0 ? 0 : column->texts.back().size())) {
        return Wrong("a text shares more than there is");
      }
      if (common > 0) text.assign(column->texts.back(), 0, static_cast<size_t>(common));
    }
    text.append(in->substr(0, length));
    column->texts.push_back(std::move(text));
    in->remove_prefix(length);
  }
  column->ints.resize(rows);
  if (!DecodeInts(in, rows, column->ints.data())) return Wrong("the indexes of texts are malformed");
  for (size_t row = 0; row < rows; ++row) {
    const int64_t index = column->ints[row];
    if (index < 0 || static_cast<uint64_t>(index) >= std::max<uint64_t>(count, 1)) {
      return Wrong("an index of a text is out of range");
    }
    if (count == 0 && !column->IsNull(row)) return Wrong("a row that is not NULL has no text");
  }
  return absl::OkStatus();
}

// Appends `patterns`, bit patterns of doubles or integers, as they are or, when there are at most `most`, as different
// ones and indexes. Returns the kind.
Kind EncodePatterns(const std::vector<int64_t>& patterns, bool doubles, size_t most, std::string* out) {
  std::string plain;
  EncodeInts(patterns.data(), patterns.size(), &plain, /*bits=*/doubles);
  absl::flat_hash_map<int64_t, int64_t> index_of;
  for (size_t i = 0; i < patterns.size() && index_of.size() <= most; ++i) {
    if (i == 0 || patterns[i] != patterns[i - 1]) index_of.try_emplace(patterns[i], 0);
  }
  // With one value nothing is gained.
  if (index_of.size() <= most && (doubles || (index_of.size() > 1 && plain.size() > kSmallInts))) {
    std::vector<int64_t> different;
    different.reserve(index_of.size());
    for (const auto& [pattern, index] : index_of) different.push_back(pattern);
    std::sort(different.begin(), different.end());
    for (size_t i = 0; i < different.size(); ++i) index_of[different[i]] = static_cast<int64_t>(i);
    std::vector<int64_t> indexes;
    indexes.reserve(patterns.size());
    for (const int64_t pattern : patterns) indexes.push_back(index_of[pattern]);
    std::string repeated;
    AppendVarint(different.size(), &repeated);
    EncodeInts(different.data(), different.size(), &repeated);
    EncodeInts(indexes.data(), indexes.size(), &repeated);
    if (repeated.size() < plain.size()) {
      *out += repeated;
      return kRepeated;
    }
  }
  *out += plain;
  return doubles ? kDoubles : kInts;
}

// The bit patterns of kRepeated.
absl::Status DecodePatterns(std::string_view* in, std::vector<int64_t>* patterns) {
  uint64_t count = 0;
  if (!ReadVarint(in, &count)) return Wrong("the number of values that repeat is cut off");
  if (count == 0 || count > patterns->size()) return Wrong("more different values than rows, or none");
  std::vector<int64_t> different(static_cast<size_t>(count));
  if (!DecodeInts(in, different.size(), different.data()) || !DecodeInts(in, patterns->size(), patterns->data())) {
    return Wrong("values that repeat are malformed");
  }
  for (int64_t& value : *patterns) {
    if (value < 0 || static_cast<uint64_t>(value) >= count) return Wrong("an index of a value is out of range");
    value = different[static_cast<size_t>(value)];
  }
  return absl::OkStatus();
}

}  // namespace

void Column::AppendNull() {
  nulls.resize(size());
  nulls.push_back(1);
  if (type == Type::kDouble) {
    doubles.push_back(0);
  } else {
    ints.push_back(ints.empty() || type == Type::kBool ? 0 : ints.back());
  }
}

void Column::AppendFrom(const Column& other, size_t row) {
  if (other.IsNull(row)) {
    AppendNull();
    return;
  }
  if (!nulls.empty()) nulls.push_back(0);
  if (type == Type::kDouble) {
    doubles.push_back(other.doubles[row]);
  } else {
    ints.push_back(other.ints[row]);
  }
}

void Column::Reserve(size_t rows) {
  if (type == Type::kDouble) {
    doubles.reserve(rows);
  } else {
    ints.reserve(rows);
  }
}

void EncodeColumn(const Column& column, std::string* out) {
  const size_t rows = column.size();
  const auto nulls = static_cast<size_t>(std::count(column.nulls.begin(), column.nulls.end(), 1));
  if (nulls == rows) {
    out->push_back(static_cast<char>(kAllNull));
    return;
  }
  const size_t kind_at = out->size();
  out->push_back(0);
  uint8_t kind = 0;
  if (nulls > 0) {
    kind = kHasNulls;
    const std::vector<int64_t> bits(column.nulls.begin(), column.nulls.end());
    EncodeInts(bits.data(), rows, out, /*bits=*/true);
  }
  switch (column.type) {
    case Type::kInt:
      kind |= EncodePatterns(column.ints, false, std::min(rows / 8, kMostRepeated), out);
      break;
    case Type::kBool:
      kind |= kBools;
      EncodeInts(column.ints.data(), rows, out, /*bits=*/true);
      break;
    case Type::kDouble: {
      std::vector<int64_t> ints(rows);
      const int scale = ScaleOf(column.doubles, &ints);
      if (scale >= 0) {
        kind |= kDecimals;
        out->push_back(static_cast<char>(scale));
        EncodeInts(ints.data(), rows, out);
      } else {
        for (size_t i = 0; i < rows; ++i) ints[i] = std::bit_cast<int64_t>(column.doubles[i]);
        // An index and its share of the pattern must be shorter than the pattern alone.
        kind |= EncodePatterns(ints, true, rows / 2, out);
      }
      break;
    }
    case Type::kText:
      kind |= EncodeTexts(column, column.ints, out);
      break;
  }
  (*out)[kind_at] = static_cast<char>(kind);
}

absl::Status DecodeColumn(std::string_view chunk, Type type, size_t rows, Column* column) {
  column->type = type;
  // Integers are written over.
  if (column->ints.size() > rows) column->ints.resize(rows);
  column->doubles.clear();
  column->texts.clear();
  column->nulls.clear();
  if (chunk.empty()) return Wrong("a column has no bytes");
  const auto head = static_cast<uint8_t>(chunk.front());
  chunk.remove_prefix(1);
  if ((head & ~(kKindBits | kHasNulls)) != 0) return Wrong("a column has unknown bits in its head");
  const uint8_t kind = head & kKindBits;
  if (kind == kAllNull) {
    if (head != kAllNull || !chunk.empty()) return Wrong("a column of NULL has something behind it");
    column->nulls.assign(rows, 1);
    if (type == Type::kDouble) {
      column->ints.clear();
      column->doubles.assign(rows, 0);
    } else {
      column->ints.assign(rows, 0);
    }
    return absl::OkStatus();
  }
  if (rows == 0) return Wrong("a column without rows has values");
  if ((head & kHasNulls) != 0) {
    column->nulls.resize(rows);
    if (!DecodeBits(&chunk, rows, column->nulls.data())) return Wrong("the NULLs of a column are malformed");
  }
  const bool fits = (type == Type::kInt && (kind == kInts || kind == kRepeated)) ||
                    (type == Type::kBool && kind == kBools) ||
                    (type == Type::kDouble && (kind == kDecimals || kind == kDoubles || kind == kRepeated)) ||
                    (type == Type::kText && (kind == kTexts || kind == kNearTexts));
  if (!fits) return Wrong("a column is of another type");
  if (type == Type::kText) {
    if (absl::Status status = DecodeTexts(&chunk, rows, kind == kNearTexts, column); !status.ok()) return status;
  } else if (kind == kBools) {
    std::vector<uint8_t> bits(rows);
    if (!DecodeBits(&chunk, rows, bits.data())) return Wrong("booleans are malformed");
    column->ints.assign(bits.begin(), bits.end());
  } else {
    int scale = 0;
    if (kind == kDecimals) {
      if (chunk.empty()) return Wrong("a column of decimals is cut off");
      scale = static_cast<uint8_t>(chunk.front());
      chunk.remove_prefix(1);
      if (scale > kMaxScale) return Wrong("the scale of decimals is out of range");
    }
    column->ints.resize(rows);
    if (kind == kRepeated) {
      if (absl::Status status = DecodePatterns(&chunk, &column->ints); !status.ok()) return status;
    } else if (!DecodeInts(&chunk, rows, column->ints.data())) {
      return Wrong("integers are malformed");
    }
    if (type == Type::kDouble) {
      column->doubles.resize(rows);
      for (size_t i = 0; i < rows; ++i) {
        column->doubles[i] = kind == kDecimals ? static_cast<double>(column->ints[i]) / kDivisors[scale]
                                               : std::bit_cast<double>(column->ints[i]);
      }
      column->ints.clear();
    }
  }
  if (!chunk.empty()) return Wrong("a column has something behind its values");
  return absl::OkStatus();
}

}  // namespace pga::columns
