// Writes the fuzzer's seeds, one for every form of column, list, group and section, after a change of the format:
// columns_corpus_generate FOLDER. With --check it writes nothing and says what the folder lacks. A seed that the
// encoder gives another form than its name says is an error, so that no form is without its seed.
#include <bit>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "libs/columns/fuzzed_columns.h"
#include "libs/columns/int_codec.h"

namespace {

using namespace pga::columns;  // NOLINT(google-build-using-namespace): the program is about this namespace alone

// Name to input of the fuzzer.
std::map<std::string, std::string> seeds;
bool good = true;

void Fail(const std::string& name, const std::string& what) {
  std::fprintf(stderr, "%s: %s\n", name.c_str(), what.c_str());
  good = false;
}

void AppendNumber(uint64_t value, std::string* out) {
  out->push_back(static_cast<char>(value >> 8));
  out->push_back(static_cast<char>(value));
}

void AppendBytes(std::string_view bytes, std::string* out) {
  AppendNumber(bytes.size(), out);
  out->append(bytes);
}

Column Ints(std::vector<int64_t> values) {
  Column column(Type::kInt);
  column.ints = std::move(values);
  return column;
}

Column Doubles(std::vector<double> values) {
  Column column(Type::kDouble);
  column.doubles = std::move(values);
  return column;
}

Column Texts(std::vector<std::string> texts, std::vector<int64_t> indexes) {
  Column column(Type::kText);
  column.texts = std::move(texts);
  column.ints = std::move(indexes);
  return column;
}

template <typename Get>
auto Rows(int count, Get get) {
  std::vector<decltype(get(0))> values;
  for (int i = 0; i < count; ++i) values.push_back(get(i));
  return values;
}

// A seed of one chunk, which must begin with `form`.
void AddColumn(const std::string& name, const Column& column, const std::string& form) {
  std::string chunk;
  EncodeColumn(column, &chunk);
  if (chunk.substr(0, form.size()) != form) Fail(name, "the encoder chose another form");
  std::string& seed = seeds["column_" + name];
  AppendNumber(0, &seed);
  AppendNumber(static_cast<uint64_t>(column.type), &seed);
  AppendNumber(column.size(), &seed);
  AppendBytes(chunk, &seed);
}

std::string Form(std::initializer_list<int> bytes) {
  std::string form;
  for (const int byte : bytes) form.push_back(static_cast<char>(byte));
  return form;
}

void AddColumns() {
  std::mt19937_64 random(3);
  const auto below = [&](uint64_t most) { return static_cast<int64_t>(random() % most); };
  Column nulls = Ints(Rows(70, [&](int) { return below(1000); }));
  nulls.nulls = Rows(70, [](int i) { return static_cast<uint8_t>(i % 3 == 0); });
  AddColumn("nulls", nulls, Form({0x81}));
  nulls.nulls.assign(70, 1);
  AddColumn("all_null", nulls, Form({0}));
  Column bools(Type::kBool);
  bools.ints = Rows(70, [](int i) -> int64_t { return i % 5 == 0; });
  AddColumn("booleans", bools, Form({2}));
  AddColumn("decimals", Doubles(Rows(70, [&](int) { return static_cast<double>(below(100'000)) / 100; })),
            Form({3, 2}));
  AddColumn("sixtieths", Doubles(Rows(70, [&](int) { return static_cast<double>(below(100'000)) / 60; })),
            Form({3, 10}));
  AddColumn("doubles", Doubles(Rows(70, [&](int) { return 1 / static_cast<double>(below(1'000'000) + 3); })),
            Form({4}));
  const std::vector<double> some = Rows(5, [&](int) { return 1 / static_cast<double>(below(1'000'000) + 3); });
  AddColumn("doubles_that_repeat",
            Doubles(Rows(200, [&](int) { return some[static_cast<size_t>(below(some.size()))]; })), Form({6}));
  const std::vector<int64_t> far = Rows(5, [&](int) { return static_cast<int64_t>(random()); });
  AddColumn("integers_that_repeat", Ints(Rows(200, [&](int) { return far[static_cast<size_t>(below(far.size()))]; })),
            Form({6}));
  AddColumn("texts", Texts({"alpha", "beta", "gamma"}, Rows(70, [&](int) { return below(3); })), Form({5}));
  AddColumn("texts_that_begin_alike",
            Texts(Rows(40, [](int i) { return "table_of_a_long_name_" + std::to_string(i); }),
                  Rows(40, [](int i) -> int64_t { return i; })),
            Form({7}));

  AddColumn("least", Ints(Rows(70, [&](int) { return 5000 + below(60); })), Form({1, 0}));
  AddColumn("zigzag", Ints(Rows(70, [&](int i) { return i == 40 ? -9 : below(60); })), Form({1, 1}));
  int64_t sum = 0;
  AddColumn("differences", Ints(Rows(70, [&](int) { return sum += below(7) - 3; })), Form({1, 2}));
  sum = 0;
  AddColumn("steps", Ints(Rows(70, [&](int) { return sum += 60'000'000 + below(60); })), Form({1, 3}));
  // Bit patterns that grow: neighbours have more in common than all of them.
  AddColumn("xor",
            Doubles(Rows(70,
                         [&](int i) {
                           return std::bit_cast<double>(0x3ff0000000000000 + (static_cast<int64_t>(i) << 20) +
                                                        below(1 << 10));
                         })),
            Form({4, 4}));
  AddColumn("zeros_apart", Ints(Rows(300, [&](int) { return below(2) * (100'000 + below(1000)); })), Form({1, 5}));
  AddColumn("run_of_zeros", Ints(Rows(140, [&](int i) { return i < 110 ? 0 : below(3); })), Form({1, 0, 0, 0, 3}));
  // Each form of exceptions: 2 bits for most, more for some.
  const int64_t highs[8] = {1, 2, 4, 8, 16, 64, 512, 100'000};
  for (int form = 0; form < 8; ++form) {
    const std::vector<int64_t> values = Rows(64, [&](int i) {
      return i % 16 == 5 ? (highs[form] << 2) + (form == 7 ? below(100'000) : 0) : (i % 16 == 6 ? 0 : 1 + below(3));
    });
    AddColumn("exceptions_" + std::to_string(form), Ints(values), Form({1, 0, 0, 0x82, form << 5 | 1}));
  }
  AddColumn("units", Ints(Rows(70, [&](int) { return 4'096 * below(3'000); })), Form({1, 6}));
}

RowSet Readings(bool flags, bool gap) {
  std::mt19937_64 random(7);
  RowSet rows;
  for (int f = 0; f < 12; ++f) {
    FrameInfo frame;
    frame.start_us = 60'000'000 * f + (f == 0 ? 0 : static_cast<int64_t>(random() % 1000));
    if (f > 0 && !gap) frame.start_us = rows.frames.back().end_us;
    frame.end_us = gap ? frame.start_us + 50'000'000 : 60'000'000 * (f + 1) + static_cast<int64_t>(random() % 1000);
    frame.collector = 3;
    frame.unchanged_rows = flags ? f % 3 : 0;
    frame.flags = flags ? f % 2 : 0;
    frame.frames = flags && f == 5 ? 0 : 1;
    rows.frames.push_back(frame);
  }
  Column names(Type::kText), counts(Type::kInt), loads(Type::kDouble), states(Type::kBool), infos(Type::kText),
      sizes(Type::kInt);
  infos.texts = {"open", "closed"};
  for (uint32_t s = 0; s < 6; ++s) {
    rows.series_scope.push_back(0);
    names.texts.push_back("series_" + std::to_string(s));
    names.ints.push_back(s);
    for (uint32_t f = s; f < rows.frames.size(); ++f) {
      rows.row_series.push_back(s);
      rows.row_frame.push_back(f);
      if (flags) rows.row_flags.push_back(random() % 8 == 0 ? kLowerBoundFlag : 0);
      counts.ints.push_back(static_cast<int64_t>(random() % 1000));
      loads.doubles.push_back(static_cast<double>(random() % 1000) / 100);
      states.ints.push_back(static_cast<int64_t>(random() % 2));
      infos.ints.push_back(static_cast<int64_t>(random() % 2));
      sizes.ints.push_back(1'000'000 + static_cast<int64_t>(random() % 1000));
      ++rows.frames[f].rows;
    }
  }
  if (flags) rows.frames[2].rows += 4;
  rows.labels = {{1, names}};
  rows.values = {{2, counts}, {3, loads}, {4, states}, {5, infos}, {6, sizes}};
  return rows;
}

// A seed of one block, which must have sections of these ids.
void AddBlock(const std::string& name, bool buckets, const RowSet& rows, const std::set<ColumnId>& wanted) {
  const Shape shape = buckets ? BucketShape(FuzzedColumns(), 1) : RawShape(FuzzedColumns(), 1);
  const Block block = EncodeBlocks(shape, rows)[0];
  std::set<ColumnId> missing = wanted;
  std::string& seed = seeds["block_" + name];
  AppendNumber(2, &seed);
  AppendNumber(buckets ? 1 : 0, &seed);
  AppendNumber(static_cast<uint64_t>(block.frames), &seed);
  AppendNumber(static_cast<uint64_t>(block.series), &seed);
  AppendNumber(static_cast<uint64_t>(block.rows), &seed);
  for (size_t i = 0; i < block.ids.size(); ++i) {
    const size_t start = SectionStart(block.ids, block.offsets, i);
    const auto from = static_cast<size_t>(block.offsets[start]);
    if (FuzzedId(FuzzedNumber(block.ids[i])) != block.ids[i]) Fail(name, "an id has no number");
    AppendNumber(FuzzedNumber(block.ids[i]), &seed);
    AppendBytes(block.data.substr(from, static_cast<size_t>(block.offsets[start + 1]) - from), &seed);
    missing.erase(block.ids[i]);
  }
  for (const ColumnId id : missing) Fail(name, "no section " + std::to_string(id));
}

void AddBlocks() {
  AddBlock("readings", false, Readings(false, false), {kFrameEnd, kFrameGap, kSeriesRows, kRowFrame, 1, 2, 3, 4, 5, 6});
  AddBlock("readings_with_flags", false, Readings(true, true),
           {kFrameLength, kFrameFlags, kFrameCount, kFrameUnchanged, kRowFlags, kFrameRowsSent});
  RowSet buckets = RollUp(FuzzedColumns(), Readings(true, false), nullptr, {0, 300'000'000, 900'000'000});
  AddBlock("buckets", true, buckets,
           {kFrameCount, kFrameCovered, kRowLast, 2, 5, kMin + 6, kMax + 6, kSum + 6, kCount + 6, kLast + 6, kMin + 3});
}

}  // namespace

int main(int argc, char** argv) {
  const bool check = argc == 3 && std::string(argv[1]) == "--check";
  if (argc != 2 && !check) {
    std::fprintf(stderr, "usage: %s [--check] FOLDER\n", argv[0]);
    return 2;
  }
  AddColumns();
  AddBlocks();
  for (const auto& [name, seed] : seeds) {
    const std::string path = std::string(argv[argc - 1]) + "/" + name;
    if (check) {
      std::ifstream in(path, std::ios::binary);
      const std::string there((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
      if (there != seed) Fail(name, "the folder holds another seed, or none");
      continue;
    }
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << seed;
    if (!out.flush()) Fail(name, "cannot be written");
  }
  std::printf("%zu seeds\n", seeds.size());
  return good ? 0 : 1;
}
