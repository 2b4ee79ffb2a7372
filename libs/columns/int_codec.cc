#include "libs/columns/int_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

namespace pga::columns {
namespace {

enum Transform : uint8_t {
  kMinimum = 0,
  kZigZag = 1,
  kDifference = 2,
  kStep = 3,
  kXor = 4,
  kZerosApart = 5,
  kUnit = 6
};

constexpr uint8_t kExceptions = 0x80;
constexpr int kMaxWidth = 64;
// Of exceptions as varints: each one's position. Of packed ones: bits of a position, and of a high by form.
constexpr size_t kPositionBytes = 1;
constexpr int kPositionBits = 5;
constexpr std::array<int, 7> kHighBits = {0, 1, 2, 3, 4, 6, 9};
constexpr uint8_t kVarintForm = 7;
// Zeros apart cost a second list to decode: they must save at least this part of the bytes.
constexpr size_t kWorthPart = 50;

int BitWidth(uint64_t value) {
  return static_cast<int>(std::bit_width(value));
}

size_t PackedBytes(int width, size_t count) {
  return (static_cast<size_t>(width) * count + 7) / 8;
}

size_t VarintBytes(int width) {
  return width == 0 ? 1 : static_cast<size_t>((width + 6) / 7);
}

// Width at which a group of `count` values is smallest, and its size without the token.
struct Choice {
  uint8_t width = 0;
  uint8_t exceptions = 0;
  // Of the exceptions.
  uint8_t form = 0;
  uint16_t bytes = 0;

  bool zeros() const { return width == 0 && exceptions == 0; }
};

// The packed form that holds `high_less_1`; kVarintForm when none does.
uint8_t FormOf(uint64_t high_less_1) {
  const int bits = BitWidth(high_less_1);
  uint8_t form = 0;
  while (form < kVarintForm && kHighBits[form] < bits) ++form;
  return form;
}

Choice Choose(const uint64_t* values, size_t count) {
  std::array<uint8_t, kMaxWidth + 1> with_width{};
  int widest = 0;
  for (size_t i = 0; i < count; ++i) {
    const int width = BitWidth(values[i]);
    ++with_width[static_cast<size_t>(width)];
    widest = std::max(widest, width);
  }
  Choice best{static_cast<uint8_t>(widest), 0, 0, static_cast<uint16_t>(PackedBytes(widest, count))};
  uint64_t greatest = 0;
  for (size_t i = 0; i < count; ++i) greatest = std::max(greatest, values[i]);
  int exceptions = 0;
  for (int width = widest - 1; width >= 0; --width) {
    exceptions += with_width[static_cast<size_t>(width) + 1];
    // Only widths that some value has, and none, can be best.
    if (width > 0 && with_width[static_cast<size_t>(width)] == 0) continue;
    const size_t base = PackedBytes(width, count) + 1;
    if (base >= best.bytes) continue;
    size_t varints = 0;
    for (int wide = width + 1; wide <= widest; ++wide) {
      varints += with_width[static_cast<size_t>(wide)] * (kPositionBytes + VarintBytes(wide - width));
    }
    const uint8_t form = FormOf((greatest >> width) - 1);
    const size_t packed =
        form == kVarintForm ? SIZE_MAX : PackedBytes(kPositionBits + kHighBits[form], static_cast<size_t>(exceptions));
    const size_t bytes = base + std::min(varints, packed);
    if (bytes >= best.bytes) continue;
    best = {static_cast<uint8_t>(width), static_cast<uint8_t>(exceptions), packed <= varints ? form : kVarintForm,
            static_cast<uint16_t>(bytes)};
  }
  return best;
}

// Chooses for each group of `values`; the size of all.
size_t ChooseAll(const uint64_t* values, size_t count, std::vector<Choice>* choices) {
  choices->clear();
  size_t bytes = 0;
  bool in_zeros = false;
  for (size_t at = 0; at < count; at += kGroupValues) {
    const Choice choice = Choose(values + at, std::min(kGroupValues, count - at));
    choices->push_back(choice);
    bytes += choice.zeros() ? (in_zeros ? 0 : 2) : size_t{1} + choice.bytes;
    in_zeros = choice.zeros();
  }
  return bytes;
}

// Appends bits, the most significant first.
class Packer {
 public:
  explicit Packer(std::string* out) : out_(out) {}
  void Add(const uint64_t* values, size_t count, int width) {
    if (width == 0) return;
    const uint64_t mask = width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
    for (size_t i = 0; i < count; ++i) {
      held_ = held_ << width | (values[i] & mask);
      bits_ += width;
      while (bits_ >= 8) {
        bits_ -= 8;
        out_->push_back(static_cast<char>(static_cast<uint8_t>(held_ >> bits_)));
      }
    }
  }
  // Fills the last byte with zeros.
  void Finish() {
    if (bits_ > 0) out_->push_back(static_cast<char>(static_cast<uint8_t>(held_ << (8 - bits_))));
    bits_ = 0;
  }

 private:
  std::string* out_;
  unsigned __int128 held_ = 0;
  int bits_ = 0;
};

uint64_t LoadBigEndian(const char* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return __builtin_bswap64(word);
}

// A whole group of values of one width: every place and shift is known when this is compiled.
template <int kWidth>
void UnpackGroup(const char* packed, uint64_t* values) {
  const auto one = [&]<size_t kAt>(std::integral_constant<size_t, kAt>) {
    constexpr size_t kBit = kAt * kWidth, kByte = kBit / 8, kSkip = kBit % 8;
    uint64_t word = LoadBigEndian(packed + kByte) << kSkip;
    if constexpr (kSkip + kWidth > 64) word |= static_cast<uint8_t>(packed[kByte + 8]) >> (8 - kSkip);
    values[kAt] = word >> (64 - kWidth);
  };
  [&]<size_t... kAt>(std::index_sequence<kAt...>) {
    (one(std::integral_constant<size_t, kAt>()), ...);
  }
  (std::make_index_sequence<kGroupValues>());
}

using Unpacker = void (*)(const char*, uint64_t*);

// By width less 1.
template <size_t... kLess>
constexpr std::array<Unpacker, sizeof...(kLess)> MakeUnpackers(std::index_sequence<kLess...>) {
  return {UnpackGroup<static_cast<int>(kLess) + 1>...};
}
constexpr std::array<Unpacker, kMaxWidth> kUnpackers = MakeUnpackers(std::make_index_sequence<kMaxWidth>());

// `packed` must be readable for 9 bytes behind its end.
void Unpack(const char* packed, size_t count, int width, uint64_t* values) {
  if (width == 0) {
    std::memset(values, 0, count * sizeof *values);
    return;
  }
  if (count == kGroupValues) {
    kUnpackers[static_cast<size_t>(width) - 1](packed, values);
    return;
  }
  const int shift = 64 - width;
  size_t bit = 0;
  for (size_t i = 0; i < count; ++i, bit += static_cast<size_t>(width)) {
    const int skip = static_cast<int>(bit & 7);
    uint64_t word = LoadBigEndian(packed + (bit >> 3)) << skip;
    if (skip != 0) word |= static_cast<uint64_t>(static_cast<uint8_t>(packed[(bit >> 3) + 8])) >> (8 - skip);
    values[i] = word >> shift;
  }
}

void AppendExceptions(const uint64_t* values, size_t count, const Choice& choice, std::string* out) {
  std::array<uint64_t, kGroupValues> positions, highs;
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    if (BitWidth(values[i]) <= choice.width) continue;
    if (choice.form == kVarintForm) {
      out->push_back(static_cast<char>(i));
      AppendVarint(values[i] >> choice.width, out);
      continue;
    }
    positions[found] = i;
    highs[found++] = (values[i] >> choice.width) - 1;
  }
  if (found == 0) return;
  // Positions and highs share their last byte.
  Packer packer(out);
  packer.Add(positions.data(), found, kPositionBits);
  packer.Add(highs.data(), found, kHighBits[choice.form]);
  packer.Finish();
}

void AppendGroups(const uint64_t* values, size_t count, const std::vector<Choice>& choices, std::string* out) {
  uint64_t zero_groups = 0;
  const auto end_run = [&] {
    if (zero_groups == 0) return;
    out->push_back(0);
    AppendVarint(zero_groups, out);
    zero_groups = 0;
  };
  for (size_t at = 0; at < count; at += kGroupValues) {
    const size_t in_group = std::min(kGroupValues, count - at);
    const Choice choice = choices[at / kGroupValues];
    if (choice.zeros()) {
      ++zero_groups;
      continue;
    }
    end_run();
    out->push_back(static_cast<char>(choice.width | (choice.exceptions > 0 ? kExceptions : 0)));
    if (choice.exceptions > 0)
      out->push_back(static_cast<char>((choice.exceptions - 1) | choice.form << kPositionBits));
    Packer packer(out);
    packer.Add(values + at, in_group, choice.width);
    packer.Finish();
    if (choice.exceptions > 0) AppendExceptions(values + at, in_group, choice, out);
  }
  end_run();
}

// Adds the exceptions of a group of `count` values packed in `width` bits.
bool ReadExceptions(std::string_view* in, uint8_t head, int width, size_t count, uint64_t* values) {
  const size_t exceptions = (head & 31U) + 1;
  const int form = head >> kPositionBits;
  if (form == kVarintForm) {
    for (size_t i = 0; i < exceptions; ++i) {
      if (in->empty()) return false;
      const auto position = static_cast<uint8_t>(in->front());
      in->remove_prefix(1);
      uint64_t high = 0;
      if (position >= count || !ReadVarint(in, &high)) return false;
      values[position] += high << width;
    }
    return true;
  }
  const int high_bits = kHighBits[static_cast<size_t>(form)];
  const size_t bytes = PackedBytes(kPositionBits + high_bits, exceptions);
  if (in->size() < bytes) return false;
  char padded[kGroupValues * 2 + 16];
  const char* packed = in->data();
  if (in->size() < bytes + 16) {
    std::memcpy(padded, in->data(), bytes);
    std::memset(padded + bytes, 0, 16);
    packed = padded;
  }
  in->remove_prefix(bytes);
  size_t at = 0;
  size_t high_at = exceptions * kPositionBits;
  for (size_t i = 0; i < exceptions; ++i) {
    const uint64_t position = (LoadBigEndian(packed + (at >> 3)) << (at & 7)) >> (64 - kPositionBits);
    // Twice, because a shift by 64 means nothing.
    const uint64_t high = ((LoadBigEndian(packed + (high_at >> 3)) << (high_at & 7)) >> 1) >> (63 - high_bits);
    at += kPositionBits;
    high_at += static_cast<size_t>(high_bits);
    if (position >= count) return false;
    values[position] += (high + 1) << width;
  }
  return true;
}

// `finish` is called for each piece of the values, in order, while it is at hand: at `place` of where it begins.
// `zeros` is called for pieces that are 0, with where they begin and how many they are.
template <typename Place, typename Zeros, typename Finish>
bool ReadGroups(std::string_view* in, size_t count, const Place& place, const Zeros& zeros, const Finish& finish) {
  // Space behind the packed bytes of one group for whole words.
  char padded[kGroupValues * 8 + 16];
  size_t at = 0;
  while (at < count) {
    if (in->empty()) return false;
    const auto token = static_cast<uint8_t>(in->front());
    in->remove_prefix(1);
    if (token == 0) {
      uint64_t groups = 0;
      if (!ReadVarint(in, &groups) || groups == 0) return false;
      const size_t left = (count - at + kGroupValues - 1) / kGroupValues;
      if (groups > left) return false;
      const size_t here = std::min(static_cast<size_t>(groups) * kGroupValues, count - at);
      zeros(at, here);
      at += here;
      continue;
    }
    const int width = token & 0x7f;
    if (width > kMaxWidth) return false;
    const bool with_exceptions = (token & kExceptions) != 0;
    uint8_t head = 0;
    const size_t in_group = std::min(kGroupValues, count - at);
    if (with_exceptions) {
      if (in->empty() || width == kMaxWidth) return false;
      head = static_cast<uint8_t>(in->front());
      in->remove_prefix(1);
    }
    const size_t bytes = PackedBytes(width, in_group);
    if (in->size() < bytes) return false;
    uint64_t* const values = place(at);
    if (in->size() >= bytes + 16) {
      Unpack(in->data(), in_group, width, values);
    } else {
      std::memcpy(padded, in->data(), bytes);
      std::memset(padded + bytes, 0, 16);
      Unpack(padded, in_group, width, values);
    }
    in->remove_prefix(bytes);
    if (with_exceptions && !ReadExceptions(in, head, width, in_group, values)) return false;
    if (in_group == kGroupValues) {
      finish(values, at, std::integral_constant<size_t, kGroupValues>());
    } else {
      finish(values, at, in_group);
    }
    at += in_group;
  }
  return true;
}

// Into an array.
template <typename Finish>
bool ReadGroups(std::string_view* in, size_t count, uint64_t* values, const Finish& finish) {
  return ReadGroups(
      in, count, [values](size_t at) { return values + at; },
      [values, &finish](size_t at, size_t some) {
        std::memset(values + at, 0, some * sizeof *values);
        finish(values + at, some);
      },
      [&finish](uint64_t* of, size_t, auto some) { finish(of, some); });
}

// The smallest of transforms 0 to 4 for some values.
class Plan {
 public:
  Plan(const int64_t* values, size_t count, bool bits) {
    const auto u = [values](size_t i) { return static_cast<uint64_t>(values[i]); };
    const int64_t least = *std::min_element(values, values + count);
    std::vector<uint64_t> tried(count);
    const auto attempt = [&](Transform transform, int64_t base, int64_t step, size_t header) {
      const size_t bytes = 1 + header + ChooseAll(tried.data(), count, &tried_choices_);
      if (bytes >= bytes_) return;
      bytes_ = bytes;
      transform_ = transform;
      base_ = base;
      step_ = step;
      values_.swap(tried);
      tried.resize(count);
      choices_.swap(tried_choices_);
    };
    const int64_t first = values[0];
    const size_t first_bytes = VarintBytes(BitWidth(ZigZag(first)));
    for (size_t i = 0; i < count; ++i) tried[i] = u(i) - static_cast<uint64_t>(least);
    attempt(kMinimum, least, 0, VarintBytes(BitWidth(ZigZag(least))));
    if (bits) {
      tried[0] = 0;
      for (size_t i = 1; i < count; ++i) tried[i] = u(i) ^ u(i - 1);
      attempt(kXor, first, 0, first_bytes);
      return;
    }
    if (least < 0) {
      for (size_t i = 0; i < count; ++i) tried[i] = ZigZag(values[i]);
      attempt(kZigZag, 0, 0, 0);
    }
    if (count == 1) return;
    int64_t least_step = INT64_MAX;
    tried[0] = 0;
    for (size_t i = 1; i < count; ++i) {
      const auto step = static_cast<int64_t>(u(i) - u(i - 1));
      least_step = std::min(least_step, step);
      tried[i] = ZigZag(step);
    }
    attempt(kDifference, first, 0, first_bytes);
    tried[0] = 0;
    for (size_t i = 1; i < count; ++i) tried[i] = u(i) - u(i - 1) - static_cast<uint64_t>(least_step);
    attempt(kStep, first, least_step, first_bytes + VarintBytes(BitWidth(ZigZag(least_step))));
  }

  // Of the whole list.
  size_t bytes() const { return bytes_; }
  const std::vector<Choice>& choices() const { return choices_; }

  void Append(std::string* out) const {
    out->push_back(static_cast<char>(transform_));
    if (transform_ != kZigZag) AppendVarint(ZigZag(base_), out);
    if (transform_ == kStep) AppendVarint(ZigZag(step_), out);
    AppendGroups(values_.data(), values_.size(), choices_, out);
  }

 private:
  Transform transform_ = kMinimum;
  int64_t base_ = 0;
  int64_t step_ = 0;
  size_t bytes_ = SIZE_MAX;
  // Transformed.
  std::vector<uint64_t> values_;
  std::vector<Choice> choices_, tried_choices_;
};

// Whether a list without its zeros, and which they are, could be smaller by the part that makes it worth it. An
// estimate from the groups of `plan` that hold zeros and others: the others at their own widths, a bit for each value.
bool ZerosMayPay(const int64_t* values, size_t count, const Plan& plan) {
  int64_t least = INT64_MAX;
  size_t others = 0;
  for (size_t i = 0; i < count; ++i) {
    if (values[i] == 0) continue;
    least = std::min(least, values[i]);
    ++others;
  }
  if (others == 0 || others == count) return false;
  int64_t saved_bits = 0;
  for (size_t at = 0; at < count; at += kGroupValues) {
    const size_t in_group = std::min(kGroupValues, count - at);
    const auto zeros = static_cast<size_t>(std::count(values + at, values + at + in_group, 0));
    if (zeros == 0 || zeros == in_group) continue;
    const size_t others_here = in_group - zeros;
    size_t needed = std::min(in_group, 8 + 16 * std::min(zeros, others_here)) + others_here;
    for (size_t i = at; i < at + in_group; ++i) {
      if (values[i] == 0) continue;
      needed += static_cast<size_t>(BitWidth(static_cast<uint64_t>(values[i]) - static_cast<uint64_t>(least)));
    }
    saved_bits +=
        static_cast<int64_t>(8 * size_t{plan.choices()[at / kGroupValues].bytes}) - static_cast<int64_t>(needed);
  }
  return saved_bits > static_cast<int64_t>(8 * plan.bytes() / kWorthPart);
}

// Appends transform 5 if it is enough smaller than `plan`.
bool AppendZerosApart(const int64_t* values, size_t count, bool bits, const Plan& plan, std::string* out) {
  if (!ZerosMayPay(values, count, plan)) return false;
  std::vector<int64_t> mask(count), others;
  for (size_t i = 0; i < count; ++i) {
    mask[i] = values[i] != 0 ? 1 : 0;
    if (values[i] != 0) others.push_back(values[i]);
  }
  const Plan mask_plan(mask.data(), count, true);
  const Plan others_plan(others.data(), others.size(), bits);
  const size_t bytes = 1 + mask_plan.bytes() + others_plan.bytes();
  if (bytes > plan.bytes() - plan.bytes() / kWorthPart) return false;
  out->push_back(static_cast<char>(kZerosApart));
  mask_plan.Append(out);
  others_plan.Append(out);
  return true;
}

void AppendPlain(const int64_t* values, size_t count, bool bits, std::string* out) {
  const Plan plan(values, count, bits);
  if (!AppendZerosApart(values, count, bits, plan, out)) plan.Append(out);
}

// The greatest number that all values are multiples of; 1 when there is none, or all are 0.
int64_t CommonUnit(const int64_t* values, size_t count) {
  uint64_t unit = 0;
  for (size_t i = 0; i < count && unit != 1; ++i) {
    const uint64_t value = values[i] < 0 ? ~static_cast<uint64_t>(values[i]) + 1 : static_cast<uint64_t>(values[i]);
    if (unit == 0 || value % unit != 0) unit = std::gcd(unit, value);
  }
  return unit == 0 || unit > static_cast<uint64_t>(INT64_MAX) ? 1 : static_cast<int64_t>(unit);
}

// A list of transforms 0 to 4.
bool DecodeList(std::string_view* in, size_t count, int64_t* values) {
  if (count == 0) return true;
  if (in->empty()) return false;
  const auto transform = static_cast<uint8_t>(in->front());
  in->remove_prefix(1);
  if (transform > kXor) return false;
  uint64_t base = 0, step = 0;
  if (transform != kZigZag) {
    if (!ReadVarint(in, &base)) return false;
    base = static_cast<uint64_t>(UnZigZag(base));
  }
  if (transform == kStep) {
    if (!ReadVarint(in, &step)) return false;
    step = static_cast<uint64_t>(UnZigZag(step));
  }
  auto* u = reinterpret_cast<uint64_t*>(values);
  // The count is a constant for whole groups.
  uint64_t last = transform == kStep ? base - step : base;
  switch (transform) {
    case kMinimum:
      return ReadGroups(in, count, u, [base](uint64_t* of, auto some) {
        if (base == 0) return;
        for (size_t i = 0; i < some; ++i) of[i] += base;
      });
    case kZigZag:
      return ReadGroups(in, count, u, [](uint64_t* of, auto some) {
        for (size_t i = 0; i < some; ++i) of[i] = static_cast<uint64_t>(UnZigZag(of[i]));
      });
    case kDifference:
      return ReadGroups(in, count, u, [&last](uint64_t* of, auto some) {
        for (size_t i = 0; i < some; ++i) of[i] = last += static_cast<uint64_t>(UnZigZag(of[i]));
      });
    case kStep:
      return ReadGroups(in, count, u, [&last, step](uint64_t* of, auto some) {
        for (size_t i = 0; i < some; ++i) of[i] = last += of[i] + step;
      });
    case kXor:
      return ReadGroups(in, count, u, [&last](uint64_t* of, auto some) {
        for (size_t i = 0; i < some; ++i) of[i] = last ^= of[i];
      });
    default:
      return false;
  }
}

// Without a unit.
bool DecodePlain(std::string_view* in, size_t count, int64_t* values) {
  if (in->empty()) return false;
  if (static_cast<uint8_t>(in->front()) != kZerosApart) return DecodeList(in, count, values);
  in->remove_prefix(1);
  // What stands apart of a list is a plain list itself.
  if (in->empty() || static_cast<uint8_t>(in->front()) > kXor) return false;
  std::vector<uint8_t> is_other(count);
  if (!DecodeBits(in, count, is_other.data())) return false;
  size_t others = 0;
  for (size_t i = 0; i < count; ++i) others += is_other[i];
  std::vector<int64_t> apart(others);
  if (!DecodeList(in, others, apart.data())) return false;
  // Without a branch: which values are 0 is hard to foresee. The element behind the last stands in for a 0 at the end.
  apart.push_back(0);
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    values[i] = apart[next] & -static_cast<int64_t>(is_other[i]);
    next += is_other[i];
  }
  return true;
}

}  // namespace

void AppendVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

bool ReadVarint(std::string_view* in, uint64_t* value) {
  uint64_t read = 0;
  for (int shift = 0; shift < 64 && !in->empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(in->front());
    in->remove_prefix(1);
    if (shift == 63 && byte > 1) return false;
    read |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) {
      *value = read;
      return true;
    }
  }
  return false;
}

void EncodeInts(const int64_t* values, size_t count, std::string* out, bool bits) {
  if (count == 0) return;
  const size_t begin = out->size();
  AppendPlain(values, count, bits, out);
  const int64_t unit = bits ? 1 : CommonUnit(values, count);
  if (unit == 1) return;
  std::vector<int64_t> units(values, values + count);
  for (int64_t& value : units) value /= unit;
  std::string with_unit(1, static_cast<char>(kUnit));
  AppendVarint(static_cast<uint64_t>(unit), &with_unit);
  AppendPlain(units.data(), count, false, &with_unit);
  const size_t bytes = out->size() - begin;
  if (with_unit.size() < bytes - bytes / kWorthPart) out->replace(begin, bytes, with_unit);
}

bool DecodeBits(std::string_view* in, size_t count, uint8_t* bits) {
  if (count == 0) return true;
  if (in->empty()) return false;
  const std::string_view whole = *in;
  uint64_t base = 0;
  const auto transform = static_cast<uint8_t>(in->front());
  in->remove_prefix(1);
  if ((transform == kMinimum || transform == kXor) && ReadVarint(in, &base) && base == 0) {
    uint64_t group[kGroupValues];
    uint64_t last = 0, seen = 0;
    const auto place = [&group](size_t) { return group; };
    const bool good =
        transform == kMinimum
            ? ReadGroups(
                  in, count, place, [bits](size_t at, size_t some) { std::memset(bits + at, 0, some); },
                  [bits, &seen](const uint64_t* of, size_t at, auto some) {
                    for (size_t i = 0; i < some; ++i) {
                      seen |= of[i];
                      bits[at + i] = static_cast<uint8_t>(of[i]);
                    }
                  })
            : ReadGroups(
                  in, count, place,
                  [bits, &last](size_t at, size_t some) { std::memset(bits + at, static_cast<int>(last & 1), some); },
                  [bits, &seen, &last](const uint64_t* of, size_t at, auto some) {
                    for (size_t i = 0; i < some; ++i) {
                      seen |= last ^= of[i];
                      bits[at + i] = static_cast<uint8_t>(last);
                    }
                  });
    return good && seen <= 1;
  }
  // Rarely anything else.
  *in = whole;
  std::vector<int64_t> values(count);
  if (!DecodeInts(in, count, values.data())) return false;
  uint64_t seen = 0;
  for (size_t i = 0; i < count; ++i) {
    seen |= static_cast<uint64_t>(values[i]);
    bits[i] = static_cast<uint8_t>(values[i]);
  }
  return seen <= 1;
}

bool DecodeInts(std::string_view* in, size_t count, int64_t* values) {
  if (count == 0) return true;
  if (in->empty()) return false;
  if (static_cast<uint8_t>(in->front()) == kUnit) {
    in->remove_prefix(1);
    uint64_t unit = 0;
    if (!ReadVarint(in, &unit) || unit < 2 || unit > static_cast<uint64_t>(INT64_MAX)) return false;
    if (!DecodePlain(in, count, values)) return false;
    for (size_t i = 0; i < count; ++i) values[i] = static_cast<int64_t>(static_cast<uint64_t>(values[i]) * unit);
    return true;
  }
  return DecodePlain(in, count, values);
}

}  // namespace pga::columns
