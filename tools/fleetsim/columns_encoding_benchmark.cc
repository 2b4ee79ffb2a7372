// How many bytes and how much time the readings of an hour take in several encodings: the one libs/columns has,
// variants of it, and plain ones with and without a compressor. Rows are simulated, or recorded from a server by
// record.sh.
//
//   columns_encoding_benchmark [sources] [hours]          simulated, default 4 sources, 4 hours spread over a day
//   columns_encoding_benchmark --recorded FILE            rows of statements that record.sh wrote
//   ... --span HOURS                                      blocks of so many hours, default 1
//   ... --pglz                                            with PostgreSQL's own compressor, on a server made for it
#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/catalog/catalog.h"
#include "libs/columns/block.h"
#include "libs/columns/int_codec.h"
#include "libs/columns/row_set.h"
#include "libs/testing/temp_postgres.h"
#include "tools/fleetsim/model.h"
#include "tools/fleetsim/recorded.h"

namespace pga::fleetsim {
namespace {

using columns::Column;
using columns::ColumnId;
using columns::RowSet;
using columns::Type;
using columns::ZigZag;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "columns_encoding_benchmark: %s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

// One sequence of integers of a block.
struct Stream {
  enum Part { kStructure, kLabels, kNulls, kValues };
  Part part = kValues;
  std::string name;
  ColumnId id = 0;
  bool bits = false;
  std::vector<int64_t> values;
  // Of kValues, what a prediction may use.
  std::vector<int64_t> predicted;
};

struct Hour {
  std::vector<Stream> streams;
  size_t text_bytes = 0;
  size_t rows = 0;
  // Values that are not 0 and not NULL, of columns that move at all.
  size_t moving = 0;
  size_t stored = 0;
};

// Order in which the rows of a block stand.
enum class Order { kSeries, kTime, kSeriesByRows };

std::vector<uint32_t> RowsIn(Order order, const RowSet& rows, std::vector<uint32_t>* series) {
  series->resize(rows.series());
  std::iota(series->begin(), series->end(), 0);
  std::vector<uint32_t> count(rows.series());
  for (const uint32_t s : rows.row_series) ++count[s];
  if (order == Order::kSeriesByRows) {
    std::stable_sort(series->begin(), series->end(), [&](uint32_t a, uint32_t b) { return count[a] > count[b]; });
  }
  std::vector<uint32_t> place(rows.series());
  for (size_t i = 0; i < series->size(); ++i) place[(*series)[i]] = static_cast<uint32_t>(i);
  std::vector<uint32_t> all(rows.rows());
  std::iota(all.begin(), all.end(), 0);
  std::stable_sort(all.begin(), all.end(), [&](uint32_t a, uint32_t b) {
    const auto key = [&](uint32_t row) {
      return order == Order::kTime ? std::pair(rows.row_frame[row], place[rows.row_series[row]])
                                   : std::pair(place[rows.row_series[row]], rows.row_frame[row]);
    };
    return key(a) < key(b);
  });
  return all;
}

Hour Cut(const RowSet& rows, Order order) {
  Hour hour;
  hour.rows = rows.rows();
  std::vector<uint32_t> series;
  const std::vector<uint32_t> all = RowsIn(order, rows, &series);
  const auto add = [&](Stream::Part part, std::string name, std::vector<int64_t> values) {
    hour.streams.push_back({.part = part, .name = std::move(name), .values = std::move(values), .predicted = {}});
  };
  std::vector<int64_t> end, length, scope, unchanged;
  for (const auto& frame : rows.frames) {
    end.push_back(frame.end_us);
    length.push_back(frame.end_us - frame.start_us);
    scope.push_back(frame.scope);
    unchanged.push_back(frame.unchanged_rows);
  }
  add(Stream::kStructure, "frame_end", end);
  add(Stream::kStructure, "frame_length", length);
  add(Stream::kStructure, "frame_scope", scope);
  add(Stream::kStructure, "frame_unchanged", unchanged);
  std::vector<int64_t> per_group(order == Order::kTime ? rows.frames.size() : rows.series());
  std::vector<int64_t> place_in;
  std::vector<uint32_t> place(rows.series());
  for (size_t i = 0; i < series.size(); ++i) place[series[i]] = static_cast<uint32_t>(i);
  int64_t last_group = -1, last = 0;
  for (const uint32_t row : all) {
    const int64_t group = order == Order::kTime ? rows.row_frame[row] : place[rows.row_series[row]];
    const int64_t at = order == Order::kTime ? place[rows.row_series[row]] : rows.row_frame[row];
    place_in.push_back(group != last_group ? at : at - last - 1);
    last_group = group;
    last = at;
    ++per_group[static_cast<size_t>(group)];
  }
  add(Stream::kStructure, "group_rows", per_group);
  add(Stream::kStructure, "row_place", place_in);
  if (!rows.row_flags.empty()) {
    std::vector<int64_t> flags;
    for (const uint32_t row : all) flags.push_back(rows.row_flags[row]);
    add(Stream::kStructure, "row_flags", flags);
  }
  const auto add_column = [&](Stream::Part part, ColumnId id, const Column& column,
                              const std::vector<uint32_t>& order_of) {
    Stream stream;
    stream.part = part;
    stream.id = id;
    stream.name = absl::StrCat("c", id);
    stream.bits = column.type == Type::kDouble;
    std::vector<int64_t> nulls;
    bool any = false;
    for (const uint32_t row : order_of) {
      const bool null = column.IsNull(row);
      any |= null;
      nulls.push_back(null ? 1 : 0);
      stream.values.push_back(stream.bits ? std::bit_cast<int64_t>(column.doubles[row]) : column.ints[row]);
      if (part == Stream::kValues && !null) {
        ++hour.stored;
        hour.moving += stream.values.back() != 0 ? 1 : 0;
      }
    }
    hour.streams.push_back(std::move(stream));
    if (any) add(Stream::kNulls, "nulls", nulls);
    if (column.type == Type::kText) {
      for (const std::string& text : column.texts) hour.text_bytes += text.size() + 1;
    }
  };
  for (const auto& [id, column] : rows.labels) add_column(Stream::kLabels, id, column, series);
  for (const auto& [id, column] : rows.values) add_column(Stream::kValues, id, column, all);
  return hour;
}

// ---- Sizes of variants of the codec, without writing them.

struct Variant {
  size_t group = 32;
  bool exceptions = true;
  // Each group chooses its own transform and base.
  bool per_group = false;
  // Of a group that is not zeros: bits of the head.
  double token_bits = 8;
};

size_t VarintBytes(uint64_t value) {
  return value == 0 ? 1 : static_cast<size_t>((std::bit_width(value) + 6) / 7);
}

size_t GroupBits(const uint64_t* values, size_t count, const Variant& variant) {
  std::array<uint16_t, 65> with{};
  int widest = 0;
  for (size_t i = 0; i < count; ++i) {
    const int width = static_cast<int>(std::bit_width(values[i]));
    ++with[static_cast<size_t>(width)];
    widest = std::max(widest, width);
  }
  size_t best = (static_cast<size_t>(widest) * count + 7) / 8 * 8;
  if (!variant.exceptions) return best;
  for (int width = widest - 1; width >= 0; --width) {
    size_t bits = (static_cast<size_t>(width) * count + 7) / 8 * 8 + 8;
    for (int wide = width + 1; wide <= widest; ++wide) {
      bits += with[static_cast<size_t>(wide)] * (8 + static_cast<size_t>((wide - width + 6) / 7) * 8);
    }
    best = std::min(best, bits);
  }
  return best;
}

double GroupsBytes(const std::vector<uint64_t>& values, const Variant& variant) {
  double bits = 0;
  bool in_zeros = false;
  for (size_t at = 0; at < values.size(); at += variant.group) {
    const size_t count = std::min(variant.group, values.size() - at);
    const bool zeros =
        std::all_of(values.begin() + static_cast<std::ptrdiff_t>(at),
                    values.begin() + static_cast<std::ptrdiff_t>(at + count), [](uint64_t v) { return v == 0; });
    bits += zeros ? (in_zeros ? 0 : 16)
                  : variant.token_bits + static_cast<double>(GroupBits(values.data() + at, count, variant));
    in_zeros = zeros;
  }
  return bits / 8;
}

double VariantBytes(const Stream& stream, const Variant& variant) {
  const auto& v = stream.values;
  if (v.empty()) return 0;
  const auto u = [&](size_t i) { return static_cast<uint64_t>(v[i]); };
  std::vector<std::vector<uint64_t>> tries;
  const int64_t least = *std::min_element(v.begin(), v.end());
  std::vector<uint64_t> t(v.size());
  for (size_t i = 0; i < v.size(); ++i) t[i] = u(i) - static_cast<uint64_t>(least);
  tries.push_back(t);
  if (stream.bits) {
    t[0] = 0;
    for (size_t i = 1; i < v.size(); ++i) t[i] = u(i) ^ u(i - 1);
    tries.push_back(t);
  } else {
    for (size_t i = 0; i < v.size(); ++i) t[i] = ZigZag(v[i]);
    tries.push_back(t);
    t[0] = 0;
    for (size_t i = 1; i < v.size(); ++i) t[i] = ZigZag(static_cast<int64_t>(u(i) - u(i - 1)));
    tries.push_back(t);
    int64_t step = INT64_MAX;
    for (size_t i = 1; i < v.size(); ++i) step = std::min(step, static_cast<int64_t>(u(i) - u(i - 1)));
    for (size_t i = 1; i < v.size(); ++i) t[i] = u(i) - u(i - 1) - static_cast<uint64_t>(step);
    tries.push_back(t);
  }
  if (variant.per_group && !stream.bits) {
    // Per group: as it is, above the group's least value, or differences; the head says which.
    double bits = 16;
    bool in_zeros = false;
    const auto& whole = tries[0];
    const auto& steps = tries[2];
    for (size_t at = 0; at < v.size(); at += variant.group) {
      const size_t count = std::min(variant.group, v.size() - at);
      const uint64_t low = *std::min_element(whole.begin() + static_cast<std::ptrdiff_t>(at),
                                             whole.begin() + static_cast<std::ptrdiff_t>(at + count));
      std::vector<uint64_t> above(count);
      uint64_t any = 0;
      for (size_t i = 0; i < count; ++i) {
        above[i] = whole[at + i] - low;
        any |= whole[at + i];
      }
      if (any == 0) {
        bits += in_zeros ? 0 : 16;
        in_zeros = true;
        continue;
      }
      in_zeros = false;
      const size_t plain = GroupBits(whole.data() + at, count, variant);
      const size_t based = GroupBits(above.data(), count, variant) + VarintBytes(low) * 8;
      const size_t stepped = GroupBits(steps.data() + at, count, variant);
      bits += variant.token_bits + 2 + static_cast<double>(std::min({plain, based, stepped}));
    }
    return bits / 8;
  }
  double best = 1e300;
  for (const auto& one : tries) best = std::min(best, GroupsBytes(one, variant));
  return best + 1 + static_cast<double>(VarintBytes(ZigZag(v[0])));
}

// About the least an order-0 coder would need: adaptive code of each value's width given the widths of the two values
// before it, and the bits below the leading one as they are.
double IdealBytes(const std::vector<uint64_t>& values) {
  std::map<std::pair<int, int>, std::array<double, 66>> models;
  double bits = 0;
  int last = 0, before = 0;
  for (const uint64_t value : values) {
    const int width = static_cast<int>(std::bit_width(value));
    auto [at, made] = models.try_emplace({last, before / 4});
    if (made) at->second.fill(0.05);
    double sum = 0;
    for (int i = 0; i <= 64; ++i) sum += at->second[static_cast<size_t>(i)];
    bits += -std::log2(at->second[static_cast<size_t>(width)] / sum) + std::max(0, width - 1);
    at->second[static_cast<size_t>(width)] += 1;
    before = last;
    last = width;
  }
  return bits / 8;
}

std::string Ours(const Stream& stream);

// Zeros as one stream of 0 and 1, the values that are not 0 as another.
double SparseBytes(const Stream& stream) {
  std::vector<int64_t> mask, dense;
  for (const int64_t value : stream.values) {
    mask.push_back(value == 0 ? 0 : 1);
    if (value != 0) dense.push_back(value);
  }
  std::string out;
  columns::EncodeInts(mask.data(), mask.size(), &out);
  columns::EncodeInts(dense.data(), dense.size(), &out, stream.bits);
  return static_cast<double>(out.size()) + 1;
}

// Doubles as the distinct ones in order, and the number of each.
double DictionaryBytes(const Stream& stream) {
  const auto ours = static_cast<double>(Ours(stream).size());
  if (!stream.bits) return ours;
  std::vector<double> distinct;
  for (const int64_t bits : stream.values) distinct.push_back(std::bit_cast<double>(bits));
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  std::vector<int64_t> numbers;
  for (const int64_t bits : stream.values) {
    numbers.push_back(std::lower_bound(distinct.begin(), distinct.end(), std::bit_cast<double>(bits)) -
                      distinct.begin());
  }
  std::string out;
  columns::EncodeInts(numbers.data(), numbers.size(), &out);
  return std::min(ours, static_cast<double>(out.size() + 8 * distinct.size() + 2));
}

// Golomb-Rice with a parameter that follows the values; groups of 32 zeros as runs.
double RiceBytes(const std::vector<uint64_t>& values) {
  double bits = 16;
  double mean = 0;
  bool in_zeros = false;
  for (size_t at = 0; at < values.size(); at += 32) {
    const size_t count = std::min<size_t>(32, values.size() - at);
    uint64_t any = 0;
    for (size_t i = 0; i < count; ++i) any |= values[at + i];
    if (any == 0) {
      bits += in_zeros ? 0 : 12;
      in_zeros = true;
      continue;
    }
    bits += 1;
    in_zeros = false;
    for (size_t i = 0; i < count; ++i) {
      const uint64_t value = values[at + i];
      const int k = std::max(0, static_cast<int>(std::bit_width(static_cast<uint64_t>(mean * 0.7))) - 0);
      const uint64_t quotient = k >= 64 ? 0 : value >> k;
      const int width = static_cast<int>(std::bit_width(value));
      // Beyond 8 the width follows.
      bits += quotient < 8 ? static_cast<double>(quotient) + 1 + k : 8 + 6 + width;
      mean = mean * 0.75 + 0.25 * std::min(static_cast<double>(value), mean * 16 + 16);
    }
  }
  return bits / 8;
}

std::vector<uint64_t> Differences(const Stream& stream) {
  std::vector<uint64_t> t(stream.values.size());
  for (size_t i = 1; i < t.size(); ++i) {
    t[i] = ZigZag(
        static_cast<int64_t>(static_cast<uint64_t>(stream.values[i]) - static_cast<uint64_t>(stream.values[i - 1])));
  }
  return t;
}
std::vector<uint64_t> ZigZags(const Stream& stream) {
  std::vector<uint64_t> t(stream.values.size());
  for (size_t i = 0; i < t.size(); ++i) t[i] = ZigZag(stream.values[i]);
  return t;
}

// ---- Predictions: what of a value is left when something known is taken off.

// Difference to the row before of the same series; the first row of a series is left as it is.
std::vector<int64_t> PerSeries(const std::vector<int64_t>& values, const std::vector<uint32_t>& series) {
  std::vector<int64_t> out(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    out[i] = i > 0 && series[i] == series[i - 1] ? values[i] - values[i - 1] : values[i];
  }
  return out;
}

// Difference to calls x (value / calls of the series so far).
std::vector<int64_t> ByCalls(const std::vector<int64_t>& values, const std::vector<int64_t>& calls,
                             const std::vector<uint32_t>& series) {
  std::vector<int64_t> out(values.size());
  double sum = 0, sum_calls = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i == 0 || series[i] != series[i - 1]) sum = sum_calls = 0;
    const double guess = sum_calls > 0 ? sum / sum_calls * static_cast<double>(calls[i]) : 0;
    out[i] = values[i] - std::llround(guess);
    sum = sum * 0.8 + static_cast<double>(values[i]);
    sum_calls = sum_calls * 0.8 + static_cast<double>(calls[i]);
  }
  return out;
}

// ---- Codecs that write.

std::string Plain(const std::vector<int64_t>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t)};
}

std::string VarintDelta(const std::vector<int64_t>& values) {
  std::string out;
  uint64_t last = 0;
  for (const int64_t value : values) {
    columns::AppendVarint(ZigZag(static_cast<int64_t>(static_cast<uint64_t>(value) - last)), &out);
    last = static_cast<uint64_t>(value);
  }
  return out;
}

void ReadVarintDelta(std::string_view in, std::vector<int64_t>* values) {
  uint64_t last = 0;
  for (int64_t& value : *values) {
    uint64_t read = 0;
    if (!columns::ReadVarint(&in, &read)) std::abort();
    value = static_cast<int64_t>(last += static_cast<uint64_t>(columns::UnZigZag(read)));
  }
}

std::string Varint(const std::vector<int64_t>& values) {
  std::string out;
  for (const int64_t value : values) columns::AppendVarint(ZigZag(value), &out);
  return out;
}

std::string Ours(const Stream& stream) {
  std::string out;
  columns::EncodeInts(stream.values.data(), stream.values.size(), &out, stream.bits);
  return out;
}

std::string Zstd(const std::string& in, int level) {
  std::string out(ZSTD_compressBound(in.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), in.data(), in.size(), level));
  return out.size() < in.size() ? out : in;
}

double Seconds(const std::function<void()>& work) {
  double best = 1e300;
  for (int round = 0; round < 3; ++round) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

struct Total {
  double bytes = 0;
  double encode_s = -1;
  double decode_s = -1;
};

size_t Values(const std::vector<Hour>& hours) {
  size_t values = 0;
  for (const Hour& hour : hours) {
    for (const Stream& stream : hour.streams) values += stream.values.size();
  }
  return values;
}
size_t Rows(const std::vector<Hour>& hours) {
  return std::accumulate(hours.begin(), hours.end(), size_t{0}, [](size_t n, const Hour& h) { return n + h.rows; });
}
double TextBytes(const std::vector<Hour>& hours) {
  double bytes = 0;
  for (const Hour& hour : hours) bytes += static_cast<double>(hour.text_bytes);
  return bytes;
}

using Encoder = std::function<std::string(const Stream&)>;
using Decoder = std::function<void(const std::string&, const Stream&, std::vector<int64_t>*)>;

Total Measure(const std::vector<Hour>& hours, const Encoder& encode, const Decoder& decode) {
  Total total;
  total.bytes = TextBytes(hours);
  std::vector<std::string> encoded;
  total.encode_s = Seconds([&] {
    encoded.clear();
    for (const Hour& hour : hours) {
      for (const Stream& stream : hour.streams) encoded.push_back(encode(stream));
    }
  });
  for (const std::string& one : encoded) total.bytes += static_cast<double>(one.size());
  if (decode == nullptr) return total;
  std::vector<int64_t> values;
  total.decode_s = Seconds([&] {
    size_t at = 0;
    for (const Hour& hour : hours) {
      for (const Stream& stream : hour.streams) {
        values.resize(stream.values.size());
        decode(encoded[at++], stream, &values);
      }
    }
  });
  // What comes out is what went in.
  size_t at = 0;
  for (const Hour& hour : hours) {
    for (const Stream& stream : hour.streams) {
      values.resize(stream.values.size());
      decode(encoded[at++], stream, &values);
      if (values != stream.values) {
        std::fprintf(stderr, "columns_encoding_benchmark: %s does not come back\n", stream.name.c_str());
        std::exit(1);
      }
    }
  }
  return total;
}

void Print(const char* name, const Total& total, const std::vector<Hour>& hours) {
  size_t moving = 0, stored = 0;
  for (const Hour& hour : hours) {
    moving += hour.moving;
    stored += hour.stored;
  }
  const auto values = static_cast<double>(Values(hours));
  std::printf("  %-44s %8.2f %8.2f %8.3f", name, total.bytes / static_cast<double>(Rows(hours)),
              total.bytes / static_cast<double>(moving), total.bytes / static_cast<double>(stored));
  if (total.encode_s >= 0) std::printf(" %8.2f", total.encode_s * 1e9 / values);
  if (total.decode_s >= 0) std::printf(" %8.2f", total.decode_s * 1e9 / values);
  std::printf("\n");
  std::fflush(stdout);
}

Total Sizes(const std::vector<Hour>& hours, const std::function<double(const Stream&)>& size) {
  Total total;
  total.bytes = TextBytes(hours);
  for (const Hour& hour : hours) {
    for (const Stream& stream : hour.streams) total.bytes += size(stream);
  }
  return total;
}

// Sizes of the same bytes as values of a bytea column that the server compresses.
void PrintPglz(const char* name, const std::vector<Hour>& hours, const Encoder& encode, testing::TempPostgres* server) {
  (void)Must(server->Exec("postgres",
                          "DROP TABLE IF EXISTS plain, packed; CREATE TABLE plain (d bytea); "
                          "ALTER TABLE plain ALTER COLUMN d SET STORAGE EXTERNAL; "
                          "CREATE TABLE packed (d bytea COMPRESSION pglz)"));
  std::string sql;
  const auto flush = [&] {
    if (!sql.empty()) (void)Must(server->Exec("postgres", absl::StrCat("INSERT INTO plain VALUES ", sql)));
    sql.clear();
  };
  for (const Hour& hour : hours) {
    for (const Stream& stream : hour.streams) {
      static constexpr char kHex[] = "0123456789abcdef";
      absl::StrAppend(&sql, sql.empty() ? "" : ",", "('\\x");
      for (const char c : encode(stream)) {
        sql.push_back(kHex[static_cast<uint8_t>(c) >> 4]);
        sql.push_back(kHex[c & 15]);
      }
      sql.append("')");
      if (sql.size() > 8'000'000) flush();
    }
  }
  flush();
  const auto timed = [&](const std::string& statement) {
    return Seconds([&] { (void)Must(server->Exec("postgres", statement)); });
  };
  Total total;
  (void)Must(server->Exec("postgres", "CREATE TABLE other (LIKE plain INCLUDING ALL)"));
  const double copy = timed("TRUNCATE other; INSERT INTO other SELECT d FROM plain");
  total.encode_s = std::max(0.0, timed("TRUNCATE packed; INSERT INTO packed SELECT d || '' FROM plain") - copy);
  (void)Must(server->Exec("postgres", "DROP TABLE other"));
  total.bytes =
      static_cast<double>(Must(server->Exec("postgres", "SELECT sum(pg_column_size(d)) FROM packed"))[0].Int64(0));
  total.bytes += TextBytes(hours);
  Print(name, total, hours);
}

int64_t PlaceOf(const pganalytics::catalog::v1::Metric& metric, std::string_view name) {
  for (int i = 0; i < metric.columns_size(); ++i) {
    if (metric.columns(i).name() == name) return i + 1;
  }
  return 0;
}

void Report(const pganalytics::catalog::v1::Metric& metric, const std::vector<RowSet>& sets, bool all,
            testing::TempPostgres* server) {
  std::vector<Hour> series, time, by_rows;
  for (const RowSet& rows : sets) {
    if (rows.rows() == 0) continue;
    series.push_back(Cut(rows, Order::kSeries));
    time.push_back(Cut(rows, Order::kTime));
    by_rows.push_back(Cut(rows, Order::kSeriesByRows));
  }
  if (series.empty()) return;
  std::printf("\n%s: %zu blocks, %zu rows, %d columns\n", metric.name().c_str(), series.size(), Rows(series),
              metric.columns_size());
  std::printf("  %-44s %8s %8s %8s %8s %8s\n", "", "B/row", "B/moving", "B/stored", "enc ns", "dec ns");
  const Decoder decode = [](const std::string& in, const Stream& stream, std::vector<int64_t>* values) {
    std::string_view view = in;
    if (!columns::DecodeInts(&view, stream.values.size(), values->data())) std::abort();
  };
  const auto inflate = [&](const std::string& in, const Stream& stream, std::vector<int64_t>* values) {
    const auto size = ZSTD_getFrameContentSize(in.data(), in.size());
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN) return decode(in, stream, values);
    std::string out(size, '\0');
    ZSTD_decompress(out.data(), out.size(), in.data(), in.size());
    decode(out, stream, values);
  };
  Print("ours, series order", Measure(series, Ours, decode), series);
  // Blocks as they are stored, with all that stands in the row.
  Total stored;
  const auto shape = columns::RawShape(MetricColumns(metric), LocateBy(metric));
  for (const RowSet& rows : sets) {
    for (const columns::Block& block : columns::EncodeBlocks(shape, rows)) {
      stored.bytes += static_cast<double>(block.data.size() + 4 * block.offsets.size() + 2 * block.ids.size() + 120);
    }
  }
  Print("blocks as stored", stored, series);
  Print("ours, time order", Measure(time, Ours, decode), time);
  Print("ours, series with most rows first", Measure(by_rows, Ours, decode), by_rows);
  Print("ours + zstd-1",
        Measure(
            series, [](const Stream& s) { return Zstd(Ours(s), 1); }, inflate),
        series);
  Print("ours + zstd-1, most rows first",
        Measure(
            by_rows, [](const Stream& s) { return Zstd(Ours(s), 1); }, inflate),
        by_rows);
  Print("varint of differences, series order",
        Measure(
            series, [](const Stream& s) { return VarintDelta(s.values); },
            [](const std::string& in, const Stream&, std::vector<int64_t>* values) { ReadVarintDelta(in, values); }),
        series);
  Print("varint of values, series order",
        Sizes(series, [](const Stream& s) { return static_cast<double>(Varint(s.values).size()); }), series);
  Print("varint of values + zstd-1",
        Measure(
            series, [](const Stream& s) { return Zstd(Varint(s.values), 1); }, nullptr),
        series);
  Print("8 bytes a value + zstd-1",
        Measure(
            series, [](const Stream& s) { return Zstd(Plain(s.values), 1); }, nullptr),
        series);
  if (server != nullptr) {
    PrintPglz(
        "8 bytes a value + pglz", series, [](const Stream& s) { return Plain(s.values); }, server);
    PrintPglz(
        "varint of differences + pglz", series, [](const Stream& s) { return VarintDelta(s.values); }, server);
    PrintPglz("ours + pglz", series, Ours, server);
  }
  if (!all) return;
  std::printf("  variants of ours, sizes alone\n");
  const auto variant = [&](const char* name, const Variant& of, const std::vector<Hour>& hours) {
    Print(name, Sizes(hours, [&](const Stream& s) { return VariantBytes(s, of); }), hours);
  };
  for (const size_t group : {16, 32, 64, 128}) {
    variant(absl::StrCat("groups of ", group, ", series order").c_str(), {.group = group}, series);
    variant(absl::StrCat("groups of ", group, ", most rows first").c_str(), {.group = group}, by_rows);
  }
  variant("groups of 32 without exceptions", {.exceptions = false}, series);
  variant("transform chosen per group of 32", {.per_group = true}, series);
  variant("transform chosen per group of 32, most rows", {.per_group = true}, by_rows);
  variant("transform chosen per group of 64, most rows", {.group = 64, .per_group = true}, by_rows);

  // Predictions, each column taking the smaller of it and what ours makes.
  const auto predicted = [&](const char* name, Order order,
                             const std::function<std::vector<int64_t>(const Stream&, const std::vector<int64_t>& calls,
                                                                      const std::vector<uint32_t>& series)>& predict) {
    double bytes = 0;
    std::vector<Hour>& hours = order == Order::kSeries ? series : by_rows;
    bytes += TextBytes(hours);
    size_t nth = 0;
    for (const RowSet& rows : sets) {
      if (rows.rows() == 0) continue;
      std::vector<uint32_t> order_of;
      std::vector<uint32_t> row_series;
      for (const uint32_t row : RowsIn(order, rows, &order_of)) row_series.push_back(rows.row_series[row]);
      const Hour& hour = hours[nth++];
      std::vector<int64_t> calls;
      for (const Stream& stream : hour.streams) {
        if (stream.part == Stream::kValues && stream.id == PlaceOf(metric, "calls")) calls = stream.values;
      }
      for (const Stream& stream : hour.streams) {
        double best = static_cast<double>(Ours(stream).size());
        if (stream.part == Stream::kValues && !stream.bits) {
          Stream other = stream;
          other.values = predict(stream, calls, row_series);
          best = std::min(best, static_cast<double>(Ours(other).size()));
        }
        bytes += best;
      }
    }
    Total total;
    total.bytes = bytes;
    Print(name, total, hours);
  };
  predicted("difference to the row before of the series", Order::kSeries,
            [](const Stream& s, const std::vector<int64_t>&, const std::vector<uint32_t>& of) {
              return PerSeries(s.values, of);
            });
  predicted("the same, most rows first", Order::kSeriesByRows,
            [](const Stream& s, const std::vector<int64_t>&, const std::vector<uint32_t>& of) {
              return PerSeries(s.values, of);
            });
  if (PlaceOf(metric, "calls") > 0) {
    predicted("difference to calls x ratio of the series", Order::kSeries,
              [](const Stream& s, const std::vector<int64_t>& calls, const std::vector<uint32_t>& of) {
                return ByCalls(s.values, calls, of);
              });
    predicted("the same, most rows first", Order::kSeriesByRows,
              [](const Stream& s, const std::vector<int64_t>& calls, const std::vector<uint32_t>& of) {
                return ByCalls(s.values, calls, of);
              });
  }
  const auto sparse = [](const Stream& stream) {
    return std::min(static_cast<double>(Ours(stream).size()), SparseBytes(stream));
  };
  Print("zeros apart from values", Sizes(series, sparse), series);
  Print("zeros apart from values, most rows first", Sizes(by_rows, sparse), by_rows);
  if (std::any_of(series.front().streams.begin(), series.front().streams.end(),
                  [](const Stream& s) { return s.bits; })) {
    Print("doubles as numbers of distinct ones", Sizes(series, DictionaryBytes), series);
  }
  const auto rice = [](const Stream& stream) {
    return std::min(
        {static_cast<double>(Ours(stream).size()), RiceBytes(ZigZags(stream)), RiceBytes(Differences(stream))});
  };
  Print("Golomb-Rice that adapts", Sizes(series, rice), series);
  Print("Golomb-Rice that adapts, most rows first", Sizes(by_rows, rice), by_rows);
  const auto ideal = [](const Stream& stream) {
    return std::min(IdealBytes(ZigZags(stream)), IdealBytes(Differences(stream)));
  };
  Print("coder of widths by context (not built)", Sizes(series, ideal), series);
  Print("the same, most rows first", Sizes(by_rows, ideal), by_rows);
  std::printf("  where the bytes of ours are\n");
  std::map<std::string, double> where;
  std::map<std::string, size_t> not_zero;
  for (const Hour& hour : series) {
    for (const Stream& stream : hour.streams) {
      std::string name = stream.id > 0 ? metric.columns(stream.id - 1).name() : stream.name;
      if (stream.part == Stream::kLabels) name = "label " + name;
      where[name] += static_cast<double>(Ours(stream).size());
      not_zero[name] += static_cast<size_t>(
          std::count_if(stream.values.begin(), stream.values.end(), [](int64_t v) { return v != 0; }));
    }
  }
  where["texts"] = TextBytes(series);
  std::vector<std::pair<double, std::string>> sorted;
  for (const auto& [name, bytes] : where) sorted.emplace_back(bytes, name);
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t i = 0; i < std::min<size_t>(sorted.size(), 30); ++i) {
    std::printf("    %-42s %8.3f B/row  not 0: %4.1f %%\n", sorted[i].second.c_str(),
                sorted[i].first / static_cast<double>(Rows(series)),
                100.0 * static_cast<double>(not_zero[sorted[i].second]) / static_cast<double>(Rows(series)));
  }
}

int Run(int argc, char** argv) {
  int sources = 4, hours = 4, span = 1;
  std::string recorded;
  bool pglz = false;
  int positional = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--pglz") {
      pglz = true;
    } else if (argument == "--span" && i + 1 < argc) {
      span = std::max(1, std::atoi(argv[++i]));
    } else if (argument == "--recorded" && i + 1 < argc) {
      recorded = argv[++i];
    } else if (int number = 0; absl::SimpleAtoi(argument, &number) && number > 0) {
      (positional++ == 0 ? sources : hours) = number;
    } else {
      std::fprintf(stderr, "columns_encoding_benchmark: %s is not known\n", argument.c_str());
      return 2;
    }
  }
  std::unique_ptr<testing::TempPostgres> server;
  if (pglz) server = Must(testing::TempPostgres::Start({}));
  const auto catalog = Must(catalog::Catalog::Builtin());
  if (!recorded.empty()) {
    const auto* metric = catalog->Find("statements");
    Report(*metric, {Must(ReadRecorded(*metric, recorded))}, true, server.get());
    return 0;
  }
  // 2026-03-02, a Monday.
  const int64_t day = int64_t{20'514} * kDayUs;
  for (const auto& metric : catalog->metrics()) {
    std::vector<RowSet> sets;
    size_t rows = 0;
    double took = 0;
    for (int source = 0; source < sources; ++source) {
      const SourceModel model(*catalog, {}, source);
      (void)model.Deltas(metric, day - kHourUs, day);
      const auto start = std::chrono::steady_clock::now();
      for (int hour = 0; hour < hours; ++hour) {
        const int64_t from = day + (source * 7 + hour * 24 / hours) % 24 / span * span * kHourUs;
        sets.push_back(model.Deltas(metric, from, from + span * kHourUs));
        rows += sets.back().rows();
      }
      took += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    const bool main = metric.name() == "statements";
    if (rows == 0) continue;
    if (main) std::printf("\nsimulated at %.2f million rows a second", static_cast<double>(rows) / took / 1e6);
    Report(metric, sets, main || metric.name() == "table_stats" || metric.name() == "activity",
           main ? server.get() : nullptr);
  }
  return 0;
}

}  // namespace
}  // namespace pga::fleetsim

int main(int argc, char** argv) {
  return pga::fleetsim::Run(argc, argv);
}
