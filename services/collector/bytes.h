// Byte strings of the collector's own files (spool records, baseline patches and snapshots): little-endian fixed
// integers, LEB128 varints with zigzag for signed numbers, length-prefixed strings. Reading is bounded: every Get
// returns false at the end of the input or on a malformed number and leaves the output untouched.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace pga::collector {

static_assert(std::endian::native == std::endian::little, "the spool's files are little-endian");

inline void PutFixed32(std::string* out, uint32_t v) {
  out->append(reinterpret_cast<const char*>(&v), sizeof v);
}
inline void PutFixed64(std::string* out, uint64_t v) {
  out->append(reinterpret_cast<const char*>(&v), sizeof v);
}

inline void PutVarint(std::string* out, uint64_t v) {
  while (v >= 0x80) {
    out->push_back(static_cast<char>(v | 0x80));
    v >>= 7;
  }
  out->push_back(static_cast<char>(v));
}

inline void PutSigned(std::string* out, int64_t v) {
  PutVarint(out, (static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63));
}

inline void PutBytes(std::string* out, std::string_view bytes) {
  PutVarint(out, bytes.size());
  out->append(bytes);
}

// Reads what the functions above wrote. The input must outlive the reader and every view taken from it.
class ByteReader {
 public:
  explicit ByteReader(std::string_view input) : rest_(input) {}

  bool done() const { return rest_.empty(); }
  size_t remaining() const { return rest_.size(); }

  bool GetByte(uint8_t* v) {
    if (rest_.empty()) return false;
    *v = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return true;
  }

  bool GetFixed32(uint32_t* v) { return GetRaw(v, sizeof *v); }
  bool GetFixed64(uint64_t* v) { return GetRaw(v, sizeof *v); }

  bool GetVarint(uint64_t* v) {
    uint64_t value = 0;
    for (size_t i = 0; i < 10 && i < rest_.size(); ++i) {
      const auto byte = static_cast<uint8_t>(rest_[i]);
      value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if ((byte & 0x80) == 0) {
        rest_.remove_prefix(i + 1);
        *v = value;
        return true;
      }
    }
    return false;
  }

  bool GetSigned(int64_t* v) {
    uint64_t raw = 0;
    if (!GetVarint(&raw)) return false;
    *v = static_cast<int64_t>((raw >> 1) ^ (~(raw & 1) + 1));
    return true;
  }

  bool GetBytes(std::string_view* v) {
    const std::string_view before = rest_;
    uint64_t size = 0;
    if (!GetVarint(&size) || size > rest_.size()) {
      rest_ = before;
      return false;
    }
    *v = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

  bool GetView(size_t size, std::string_view* v) {
    if (size > rest_.size()) return false;
    *v = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

 private:
  bool GetRaw(void* v, size_t size) {
    if (rest_.size() < size) return false;
    std::memcpy(v, rest_.data(), size);
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_;
};

// Stable 64-bit hash for change detection and phase spreading; the value may be stored. Not for hostile input.
inline uint64_t StableHash(std::string_view bytes, uint64_t seed = 0xcbf29ce484222325ULL) {
  uint64_t h = seed ^ (bytes.size() * 0x9e3779b97f4a7c15ULL);
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, 8);
    h = (h ^ word) * 0xff51afd7ed558ccdULL;
    h ^= h >> 32;
  }
  uint64_t tail = 0;
  std::memcpy(&tail, bytes.data() + i, bytes.size() - i);
  h = (h ^ tail) * 0xc4ceb9fe1a85ec53ULL;
  h ^= h >> 29;
  h *= 0x9e3779b97f4a7c15ULL;
  return h ^ (h >> 32);
}

}  // namespace pga::collector
