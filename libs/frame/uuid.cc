#include "libs/frame/uuid.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <array>
#include <cstdlib>

namespace pga::frame {
namespace {

// A random UUID chosen once; fixed for ever, because source ids derive from it.
constexpr std::array<unsigned char, kUuidBytes> kProductNamespace = {0x7b, 0x3c, 0x1f, 0x52, 0x9e, 0x0d, 0x5a, 0x46,
                                                                     0x8d, 0x21, 0x64, 0xc0, 0xb7, 0x5f, 0xe3, 0x19};

std::string WithVersion(const unsigned char* bytes, unsigned version) {
  std::string uuid(reinterpret_cast<const char*>(bytes), kUuidBytes);
  uuid[6] = static_cast<char>((bytes[6] & 0x0fu) | (version << 4));
  uuid[8] = static_cast<char>((bytes[8] & 0x3fu) | 0x80u);
  return uuid;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string RandomUuid() {
  std::array<unsigned char, kUuidBytes> bytes;
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) std::abort();
  return WithVersion(bytes.data(), 4);
}

std::string UuidV5(std::string_view namespace_uuid, std::string_view name) {
  std::string input(namespace_uuid);
  input.append(name);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int length = 0;
  if (EVP_Digest(input.data(), input.size(), digest.data(), &length, EVP_sha1(), nullptr) != 1) std::abort();
  return WithVersion(digest.data(), 5);
}

std::string SourceUuid(std::string_view collector_id, std::string_view source_name) {
  const std::string_view product(reinterpret_cast<const char*>(kProductNamespace.data()), kProductNamespace.size());
  return UuidV5(UuidV5(product, collector_id), source_name);
}

std::string FormatUuid(std::string_view uuid) {
  if (uuid.size() != kUuidBytes) return "invalid";
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(36);
  for (size_t i = 0; i < kUuidBytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
    const auto byte = static_cast<unsigned char>(uuid[i]);
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 0xf]);
  }
  return text;
}

absl::StatusOr<std::string> ParseUuid(std::string_view text) {
  const auto bad = [] { return absl::InvalidArgumentError("not a UUID: want 8-4-4-4-12 hexadecimal digits"); };
  if (text.size() != 36) return bad();
  std::string uuid;
  uuid.reserve(kUuidBytes);
  for (size_t i = 0; i < text.size();) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-') return bad();
      ++i;
      continue;
    }
    const int high = HexDigit(text[i]);
    const int low = HexDigit(text[i + 1]);
    if (high < 0 || low < 0) return bad();
    uuid.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return uuid;
}

}  // namespace pga::frame
